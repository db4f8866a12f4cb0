// What a stream sees: its frames, and the windows to look at if the model does not choose them.
#ifndef PATCHWORK_INPUTS_H
#define PATCHWORK_INPUTS_H

#include <stdint.h>
#include <stdio.h>

// Without a file, noise. That does for latency: what a convolution or a copy costs depends on shapes, not on
// values, as long as these are no denormals. Only suppression has more to do the more a model believes to see.
struct frames {
  size_t height, width;  // of the model's frame, 3 channels
  uint64_t seed;         // of the noise
  FILE *file;            // raw float32 [count, H, W, 3], or null
  const char *path;
  long count;
};

struct window {
  int32_t row, column;
};

struct windows {
  struct window *list;  // null: the model chooses
  size_t count;
};

// Opens a file of frames; `path` null means noise. Fails if it holds no whole number of frames.
struct frames frames_open(const char *path, size_t height, size_t width, uint64_t seed);

// Writes the frame of that number, [H, W, 3]; a file starts over when it is through.
void frames_read(const struct frames *frames, long number, float *frame);

// The frame as a mirror shows it, left and right exchanged.
void frame_mirror(const struct frames *frames, const float *frame, float *mirrored);

// Reads lines of "row column"; `path` null means none. Fails at a line that is something else.
struct windows windows_read(const char *path);

#endif
