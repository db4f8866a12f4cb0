// What the library of runtime/c costs: loading, the first frame, each of those after it, and a second stream.
//
//   push LIBRARY MODEL HEIGHT WIDTH FRAMES START
//
// prints a line of JSON: milliseconds, and megabytes of memory that this process holds.

#define _GNU_SOURCE  // clock_gettime

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "../../runtime/c/patchwork.h"

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec * 1e3 + (double)time.tv_nsec / 1e6;
}

static double megabytes(void) {
  long kb = 0;
  char line[128];
  FILE *status = fopen("/proc/self/status", "r");
  while (status && fgets(line, sizeof line, status) && !sscanf(line, "VmRSS: %ld", &kb)) continue;
  if (status) fclose(status);
  return (double)kb / 1e3;
}

static double push(patchwork_stream *stream, const patchwork_frame *frame) {
  patchwork_answer answer;
  double start = now();
  if (patchwork_stream_push(stream, frame, &answer)) exit(3);
  return now() - start;
}

int main(int count, char **arguments) {
  if (count != 7) return 2;
  int height = atoi(arguments[3]), width = atoi(arguments[4]), frames = atoi(arguments[5]);
  unsigned char *pixels = malloc(3 * (size_t)height * (size_t)width);
  for (size_t i = 0; i < 3 * (size_t)height * (size_t)width; i++) pixels[i] = (unsigned char)(i / 60 * 31 + i / 115200 * 7);
  patchwork_frame frame = {PATCHWORK_RGB, height, width, 0, {pixels}, {3 * (size_t)width}, 0, 0};
  patchwork_model *model;
  patchwork_stream *stream, *second;
  double before = megabytes(), start = now();
  if (patchwork_load(arguments[1]) || patchwork_model_open(arguments[2], 1, &model)) return 3;
  if (patchwork_stream_open(model, atoi(arguments[6]), &stream)) return 3;
  printf("{\"load_ms\": %.3f, ", now() - start);
  printf("\"first_ms\": %.3f, \"frame_ms\": [", push(stream, &frame));
  for (int i = 0; i < frames; i++) printf("%s%.3f", i ? ", " : "", push(stream, &frame));
  double held = megabytes();
  if (patchwork_stream_open(model, atoi(arguments[6]), &second)) return 3;
  for (int i = 0; i < 20; i++) push(second, &frame);
  printf("], \"mb\": %.2f, \"stream_mb\": %.2f}\n", held - before, megabytes() - held);
  return 0;
}
