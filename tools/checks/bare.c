// The bare invoke, to hold the runner's times against: one step on one frame over and over, and nothing else.
//
//   bare LIBRARY MODEL STEPS
//
// prints nanoseconds, a line per step, after 20 that do not count.

#define _GNU_SOURCE  // clock_gettime

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "context.h"
#include "inputs.h"

static long long now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec * 1000000000LL + time.tv_nsec;
}

int main(int num_arguments, char **arguments) {
  if (num_arguments != 4) return 2;
  long steps = atol(arguments[3]);
  litert_load(arguments[1]);
  struct model model;
  model_load(&model, (struct source){.path = arguments[2], .descriptor = NONE}, 1);
  struct context context;
  context_create(&context, &model, ALIAS, NULL);
  const int32_t *shape = model.inputs.list[model.frame].type.dimensions;
  struct frames noise = frames_open(NULL, (size_t)shape[1], (size_t)shape[2], 0);
  frames_read(&noise, 0, input_memory(&context, model.frame));
  long long *ns = calloc((size_t)steps, sizeof *ns);
  for (long i = -20; i < steps; i++) {
    long long start = now();
    int status = litert.RunCompiledModel(model.compiled, model.signature, model.inputs.count, context.inputs,
                                         model.outputs.count, context.outputs);
    long long end = now();
    if (status) return 3;
    if (i >= 0) ns[i] = end - start;
  }
  for (long i = 0; i < steps; i++) printf("%lld\n", ns[i]);
  return 0;
}
