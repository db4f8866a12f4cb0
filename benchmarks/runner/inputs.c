#include "inputs.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fail.h"

enum { CHANNELS = 3 };

static size_t values_per_frame(const struct frames *frames) { return frames->height * frames->width * CHANNELS; }

struct frames frames_open(const char *path, size_t height, size_t width, uint64_t seed) {
  struct frames frames = {.height = height, .width = width, .seed = seed, .path = path};
  if (!path) return frames;
  frames.file = fopen(path, "rb");
  if (!frames.file || fseek(frames.file, 0, SEEK_END)) fail(BAD_INPUT, "%s: %s", path, strerror(errno));
  long bytes = ftell(frames.file), frame_bytes = (long)(values_per_frame(&frames) * sizeof(float));
  if (bytes <= 0 || bytes % frame_bytes)
    fail(BAD_INPUT, "%s: %ld bytes are no frames of float32 [%zu, %zu, 3], %ld bytes each", path, bytes, height,
         width, frame_bytes);
  frames.count = bytes / frame_bytes;
  return frames;
}

// splitmix64: numbers without a pattern, the same ones from the same seed.
static uint64_t random_bits(uint64_t *state) {
  uint64_t bits = *state += 0x9e3779b97f4a7c15;
  bits = (bits ^ (bits >> 30)) * 0xbf58476d1ce4e5b9;
  bits = (bits ^ (bits >> 27)) * 0x94d049bb133111eb;
  return bits ^ (bits >> 31);
}

// Uniform in [-1, 1); a frame depends on seed and number only, not on which frames were made before.
static void fill_with_noise(float *frame, size_t count, uint64_t seed, long number) {
  uint64_t state = seed;
  state = random_bits(&state) + (uint64_t)number;
  state = random_bits(&state);
  for (size_t i = 0; i < count; i++) frame[i] = (float)(random_bits(&state) >> 40) * 0x1p-23f - 1.0f;
}

void frames_read(const struct frames *frames, long number, float *frame) {
  size_t count = values_per_frame(frames);
  if (!frames->file) {
    fill_with_noise(frame, count, frames->seed, number);
    return;
  }
  long start = number % frames->count * (long)(count * sizeof *frame);
  if (fseek(frames->file, start, SEEK_SET) || fread(frame, sizeof *frame, count, frames->file) != count)
    fail(BAD_INPUT, "%s: cannot read frame %ld", frames->path, number % frames->count);
}

void frame_mirror(const struct frames *frames, const float *frame, float *mirrored) {
  size_t width = frames->width;
  for (size_t y = 0; y < frames->height; y++)
    for (size_t x = 0; x < width; x++)
      memcpy(&mirrored[(y * width + x) * CHANNELS], &frame[(y * width + width - 1 - x) * CHANNELS],
             CHANNELS * sizeof *frame);
}

struct windows windows_read(const char *path) {
  struct windows windows = {0};
  if (!path) return windows;
  FILE *file = fopen(path, "r");
  if (!file) fail(BAD_INPUT, "%s: %s", path, strerror(errno));
  char line[256];
  while (fgets(line, sizeof line, file)) {
    struct window window;
    char rest;
    if (sscanf(line, "%d %d %c", &window.row, &window.column, &rest) != 2 || window.row < 0 || window.column < 0)
      fail(BAD_INPUT, "%s: line %zu is no window; give its row and column, as in '0 2'", path, windows.count + 1);
    windows.list = realloc(windows.list, (windows.count + 1) * sizeof *windows.list);
    windows.list[windows.count++] = window;
  }
  fclose(file);
  if (!windows.count) fail(BAD_INPUT, "%s: no windows in it", path);
  return windows;
}
