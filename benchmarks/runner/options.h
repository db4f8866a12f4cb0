// The runner's command line.
#ifndef PATCHWORK_OPTIONS_H
#define PATCHWORK_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "context.h"

struct options {
  const char *library, *model, *samples;  // files; required
  const char *windows, *frames, *dump;    // files; null if not given
  long steps, warmup;                     // frames
  long threads, interval, positions;
  uint64_t cpu_mask;  // 0: any core
  double fps;         // 0: back to back
  uint64_t seed;
  bool flip;
  enum state_buffers state_buffers;
};

// Fails with BAD_USAGE, saying what would be right; --help and --version end the program.
struct options options_parse(int count, char **arguments);

#endif
