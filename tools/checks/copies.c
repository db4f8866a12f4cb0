// Counts how much of the state is copied: an executable's own memcpy and memmove serve the libraries it loads too.
//
//   copies LIBRARY MODEL STEPS alias|swap
//
// prints, for one step on average: carried_copies, of a complete state tensor from one state buffer to another,
// which is what feeding state back costs; bytes_read and bytes_written, what the graph itself copies out of state
// buffers and into them; and state_bytes, how much there is. Needs glibc, whose bcopy is a third way to copy.

#define _DEFAULT_SOURCE  // bcopy

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "context.h"

enum { MOST_BUFFERS = 1024 };

static struct buffer {
  const char *start;
  size_t bytes;
} buffers[MOST_BUFFERS];
static int num_buffers;

static struct {
  size_t carried_copies, bytes_read, bytes_written;
} total;

static void (*volatile copy)(const void *, void *, size_t) = bcopy;  // volatile, or it becomes memmove again

static const struct buffer *state_buffer_at(const char *address) {
  for (int i = 0; i < num_buffers; i++)
    if (address >= buffers[i].start && address < buffers[i].start + buffers[i].bytes) return &buffers[i];
  return NULL;
}

static void count(const void *to, const void *from, size_t bytes) {
  const struct buffer *source = state_buffer_at(from), *target = state_buffer_at(to);
  if (source && target && bytes >= source->bytes) total.carried_copies++;
  if (source) total.bytes_read += bytes;
  if (target) total.bytes_written += bytes;
}

void *memmove(void *to, const void *from, size_t bytes) {
  count(to, from, bytes);
  copy(from, to, bytes);
  return to;
}

void *memcpy(void *restrict to, const void *restrict from, size_t bytes) { return memmove(to, from, bytes); }

void *__memcpy_chk(void *to, const void *from, size_t bytes, size_t room) {
  (void)room;
  return memmove(to, from, bytes);
}

void *__memmove_chk(void *to, const void *from, size_t bytes, size_t room) {
  return __memcpy_chk(to, from, bytes, room);
}

static void watch(const char *start, size_t bytes) {
  if (num_buffers == MOST_BUFFERS) exit(1);
  buffers[num_buffers++] = (struct buffer){start, bytes};
}

// Watches every state buffer once: aliased ones are input and output.
static size_t watch_states(const struct context *context) {
  size_t state_bytes = 0;
  for (int i = 0; i < (int)context->model->inputs.count; i++) {
    const struct tensor *input = &context->model->inputs.list[i];
    if (input->twin == NONE) continue;
    state_bytes += input->bytes;
    watch(input_memory(context, i), input->bytes);
    if (context->state_buffers == SWAP) watch(output_memory(context, input->twin), input->bytes);
  }
  return state_bytes;
}

int main(int num_arguments, char **arguments) {
  if (num_arguments != 5) return 2;
  long steps = atol(arguments[3]);
  litert_load(arguments[1]);
  struct model model;
  model_load(&model, (struct source){.path = arguments[2], .descriptor = NONE}, 1);
  struct context context;
  context_create(&context, &model, strcmp(arguments[4], "swap") ? ALIAS : SWAP, NULL);
  context_step(&context);  // the first one may lay out memory
  size_t state_bytes = watch_states(&context);
  for (long i = 0; i < steps; i++) context_step(&context);
  num_buffers = 0;
  printf("state_bytes %zu\ncarried_copies %g\nbytes_read %g\nbytes_written %g\n", state_bytes,
         (double)total.carried_copies / (double)steps, (double)total.bytes_read / (double)steps,
         (double)total.bytes_written / (double)steps);
  return 0;
}
