// Uses the library of runtime/c as apps may, to be built with sanitizers: threads open a model each at the same time, and
// close it before its stream; they push to streams of one model, of which one is let in; calls get null.
//
//   threads LIBRARY MODEL
//
// prints what is wrong; exit code 0 if nothing is.

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "../../runtime/c/patchwork.h"

enum { THREADS = 4, FRAMES = 3, SIDE = 80 };
static char **arguments;
static unsigned char pixels[SIDE * SIDE * 3];  // black
static const patchwork_frame frame = {PATCHWORK_RGB, SIDE, SIDE, 0, {pixels}, {3 * SIDE}, 0, 0};
static patchwork_model *shared;

static int failures(int wrong, const char *what) {
  if (wrong) fprintf(stderr, "%s: %s\n", what, patchwork_error());
  return wrong;
}

static int push(patchwork_stream *stream) {
  patchwork_answer answer;
  int failed = 0;
  for (int i = 0; i < FRAMES; i++)
    failed += failures(patchwork_stream_push(stream, &frame, &answer), "push");
  for (size_t i = 0; i < answer.num_detections; i++) failed += !(answer.detections[i].score > 0);
  return failed;
}

static void *run(void *failed) {
  patchwork_model *model;
  patchwork_stream *stream;
  if (failures(patchwork_load(arguments[1]), "library") ||
      failures(patchwork_model_open(arguments[2], 1, &model), "model") ||
      failures(patchwork_stream_open(model, PATCHWORK_WHOLE, &stream), "stream"))
    return failed;
  patchwork_model_close(model);
  int wrong = push(stream) + failures(patchwork_stream_reset(stream), "reset") + push(stream);
  patchwork_stream_close(stream);
  return wrong ? failed : NULL;
}

// Streams of one model: each call is let in, or told that another thread is.
static void *crowd(void *failed) {
  patchwork_stream *stream;
  int status, wrong = 0;
  while ((status = patchwork_stream_open(shared, PATCHWORK_SWEEP, &stream)) == PATCHWORK_BUSY) continue;
  if (failures(status, "stream")) return failed;
  for (int i = 0; i < FRAMES; i++) {
    patchwork_answer answer;
    while ((status = patchwork_stream_push(stream, &frame, &answer)) == PATCHWORK_BUSY) continue;
    wrong += failures(status, "push");
  }
  patchwork_stream_close(stream);
  return wrong ? failed : NULL;
}

// Every format and rotation, of an odd size, in planes that end with their last pixel: a byte beyond is reported.
static int formats(void) {
  enum { HEIGHT = 75, WIDTH = 91, PAIRS = (WIDTH + 1) / 2, ROWS = (HEIGHT + 1) / 2 };
  static const size_t PIXEL[] = {3, 3, 4, 4, 1, 1, 1, 1};
  int wrong = 0;
  for (int format = PATCHWORK_RGB; format <= PATCHWORK_I420; format++) {
    size_t chroma = format == PATCHWORK_I420 ? PAIRS : 2 * PAIRS;
    size_t sizes[] = {PIXEL[format] * WIDTH * HEIGHT, chroma * ROWS, chroma * ROWS};
    patchwork_frame taken = {format, HEIGHT, WIDTH, 0, {0}, {PIXEL[format] * WIDTH, chroma, chroma}, 0, 0};
    unsigned char *planes[3];
    for (int i = 0; i < 3; i++) taken.planes[i] = planes[i] = calloc(sizes[i], 1);
    for (taken.rotation = 0; taken.rotation < 360; taken.rotation += 90) {
      patchwork_stream *stream;
      patchwork_answer answer;
      if (failures(patchwork_stream_open(shared, PATCHWORK_WHOLE, &stream), "stream")) return 1;
      for (int i = 0; i < FRAMES; i++) wrong += failures(patchwork_stream_push(stream, &taken, &answer), "format");
      patchwork_stream_close(stream);
    }
    for (int i = 0; i < 3; i++) free(planes[i]);
  }
  return wrong;
}

static int together(void *(*run)(void *)) {
  pthread_t threads[THREADS];
  void *failed = NULL, *result;
  for (int i = 0; i < THREADS; i++) pthread_create(&threads[i], NULL, run, &failed);
  for (int i = 0; i < THREADS; i++) {
    pthread_join(threads[i], &result);
    failed = result ? result : failed;
  }
  return failed != NULL;
}

static int nulls(void) {
  patchwork_model *model = (patchwork_model *)pixels;
  patchwork_stream *stream = (patchwork_stream *)pixels;
  patchwork_answer answer;
  int height, width, cells, window;
  patchwork_model_close(NULL);
  patchwork_stream_close(NULL);
  patchwork_model_size(NULL, &height, &width, &cells, &window);
  return height || patchwork_label(NULL, 0) || patchwork_stream_reset(NULL) != PATCHWORK_BAD_ARGUMENT ||
         patchwork_stream_push(NULL, &frame, &answer) != PATCHWORK_BAD_ARGUMENT ||
         patchwork_stream_open(NULL, PATCHWORK_WHOLE, &stream) != PATCHWORK_BAD_ARGUMENT || stream ||
         patchwork_model_open(NULL, 1, &model) != PATCHWORK_BAD_ARGUMENT || model ||
         patchwork_load(NULL) != PATCHWORK_BAD_ARGUMENT || patchwork_load_handle(NULL) != PATCHWORK_BAD_ARGUMENT ||
         patchwork_model_open_descriptor(-1, 0, 1, 1, &model) != PATCHWORK_BAD_ARGUMENT || model ||
         patchwork_model_open_memory(pixels + 1, 1, 1, &model) != PATCHWORK_BAD_ARGUMENT || model ||
         patchwork_model_open(arguments[1], 1, &model) != PATCHWORK_BAD_FILE || model;
}

int main(int count, char **values) {
  if (count != 3) return 2;
  arguments = values;
  if (together(run) || failures(patchwork_model_open(arguments[2], 1, &shared), "model")) return 1;
  int failed = together(crowd) || formats() || failures(nulls(), "null");
  patchwork_model_close(shared);
  return failed;
}
