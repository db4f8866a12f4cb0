// Measures an exported Patchwork file frame by frame, the way its system runs over a stream.
//
// The first frame is looked at as a whole if the file can do that, every other through a window. What is timed is
// what a frame costs once it is there: one step, or two for flip, and the exchange of state buffers. Filling the
// inputs is not: on a phone the camera does that.

#define _GNU_SOURCE  // sched_setaffinity

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#ifdef __linux__
#include <sched.h>
#else
#include <sys/resource.h>
#endif

#include "context.h"
#include "fail.h"
#include "inputs.h"
#include "litert.h"
#include "model.h"
#include "options.h"
#include "results.h"

static const int64_t SECOND = 1000000000;

// One stream, or with flip the stream and its mirror image.
struct stream {
  const struct model *model;
  const struct options *options;
  struct frames frames;
  struct windows windows;
  struct window window;  // of the next frame
  struct context contexts[2];
  int num_contexts;
  long processed;  // frames so far
};

static int64_t now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec * SECOND + time.tv_nsec;
}

static void sleep_until(int64_t due) {
#ifdef __linux__
  struct timespec time = {due / SECOND, due % SECOND};
  while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &time, NULL) == EINTR) continue;
#else  // macOS has no absolute sleep
  for (int64_t rest; (rest = due - now()) > 0;) {
    struct timespec time = {rest / SECOND, rest % SECOND};
    nanosleep(&time, NULL);
  }
#endif
}

// Before the library is loaded, so that its threads stay there as well.
static void pin_to_cores(uint64_t mask) {
  if (!mask) return;
#ifdef __linux__
  cpu_set_t cores;
  CPU_ZERO(&cores);
  for (int core = 0; core < 64; core++)
    if (mask >> core & 1) CPU_SET(core, &cores);
  if (sched_setaffinity(0, sizeof cores, &cores))
    fail(BAD_USAGE, "--cpu_mask=%llx: %s; are there such cores?", (unsigned long long)mask, strerror(errno));
#else
  fail(BAD_USAGE, "--cpu_mask: this system cannot pin a program to cores");
#endif
}

// Most memory that this program ever held. What the system calls ru_maxrss may be that of whoever started it.
static long peak_memory_kb(void) {
#ifdef __linux__
  long kb = 0;
  char line[128];
  FILE *status = fopen("/proc/self/status", "r");
  while (status && fgets(line, sizeof line, status) && !sscanf(line, "VmHWM: %ld", &kb)) continue;
  if (status) fclose(status);
  return kb;
#else
  struct rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_maxrss / 1024;
#endif
}

static struct stream stream_open(const struct model *model, const struct options *options) {
  const int32_t *shape = model->inputs.list[model->frame].type.dimensions;
  struct stream stream = {.model = model, .options = options, .num_contexts = options->flip ? 2 : 1};
  stream.frames = frames_open(options->frames, (size_t)shape[1], (size_t)shape[2], options->seed);
  stream.windows = windows_read(options->windows);
  for (int i = 0; i < stream.num_contexts; i++) context_create(&stream.contexts[i], model, options->state_buffers, NULL);
  return stream;
}

static void load_window(struct context *context, struct window window) {
  if (context->model->window != NONE)
    memcpy(input_memory(context, context->model->window), &window, sizeof window);
}

// Fills the inputs of the next step with a frame and the window to look at.
static void load_inputs(struct stream *stream, long frame_number) {
  if (stream->windows.list) stream->window = stream->windows.list[stream->processed % stream->windows.count];
  stream->processed++;
  float *frame = input_memory(&stream->contexts[0], stream->model->frame);
  frames_read(&stream->frames, frame_number, frame);
  load_window(&stream->contexts[0], stream->window);
  if (stream->num_contexts == 1) return;
  struct window mirrored = {stream->window.row, (int32_t)stream->options->positions - 1 - stream->window.column};
  frame_mirror(&stream->frames, frame, input_memory(&stream->contexts[1], stream->model->frame));
  load_window(&stream->contexts[1], mirrored);
}

// Both contexts look where the first one wants to.
static void follow_window(struct stream *stream) {
  if (stream->model->next_window == NONE) return;
  memcpy(&stream->window, output_memory(&stream->contexts[0], stream->model->next_window), sizeof stream->window);
}

// Nanoseconds of all steps of a frame.
static int64_t time_frame(struct stream *stream, bool is_first) {
  int64_t start = now();
  for (int i = 0; i < stream->num_contexts; i++) {
    if (is_first && stream->model->has_start)
      context_start(&stream->contexts[i]);
    else
      context_step(&stream->contexts[i]);
  }
  return now() - start;
}

static const char *kind_of(const struct stream *stream, bool is_key, bool is_start) {
  if (stream->options->interval > 1) return is_key ? "key" : "skip";
  return stream->model->has_state && !is_start ? "window" : "whole";
}

// Runs warm-up and measured frames. The measured ones begin with a key frame and, if paced, on time. No frame is
// dropped: one that is late delays those after it until they have caught up.
static void run(struct stream *stream, struct dump *dump, struct sample *samples, int64_t *first_ns) {
  const struct options *options = stream->options;
  int64_t period = options->fps ? (int64_t)((double)SECOND / options->fps) : 0;
  int64_t due = now();
  for (long number = 0; number < options->warmup + options->steps; number++, due += period) {
    long measured = number - options->warmup;
    bool is_key = measured < 0 || measured % options->interval == 0;
    if (is_key) load_inputs(stream, number);
    if (measured == 0 && due < now()) due = now();
    if (period) sleep_until(due);
    int64_t ns = is_key ? time_frame(stream, number == 0) : 0;
    bool late = period && now() > due + period;
    if (is_key) follow_window(stream);
    if (number == 0) *first_ns = ns;
    if (measured < 0) continue;
    samples[measured] = (struct sample){kind_of(stream, is_key, number == 0 && stream->model->has_start), ns, late};
    for (int i = 0; i < stream->num_contexts; i++) dump_answers(dump, &stream->contexts[i]);
  }
}

int main(int count, char **arguments) {
  struct options options = options_parse(count, arguments);
  FILE *samples_file = open_to_write(options.samples);
  pin_to_cores(options.cpu_mask);
  keep_library_messages();
  char library[4096];  // without a slash dlopen looks in the system's folders only
  snprintf(library, sizeof library, "%s%s", strchr(options.library, '/') ? "" : "./", options.library);
  litert_load(library);
  int64_t start = now();
  struct model model;
  model_load(&model, (struct source){.path = options.model, .descriptor = NONE}, (int)options.threads);
  struct run_facts facts = {.load_ns = now() - start};
  struct stream stream = stream_open(&model, &options);
  struct dump dump = dump_open(options.dump, &model, stream.num_contexts);
  struct sample *samples = calloc((size_t)options.steps, sizeof *samples);
  if (!samples) fail(BAD_USAGE, "--steps=%ld: too many for this machine's memory", options.steps);
  run(&stream, &dump, samples, &facts.first_ns);
  facts.peak_kb = peak_memory_kb();
  dump_close(&dump);
  samples_write(samples_file, &options, &facts, samples);
  return 0;  // the system frees what is left, the library's objects included
}
