// Uses the library of benchmarks/library as apps may, to be built with sanitizers: threads open a model each at the same
// time, and close it before its stream; calls get null.
//
//   threads LIBRARY MODEL
//
// prints what is wrong; exit code 0 if nothing is.

#include <pthread.h>
#include <stdio.h>

#include "../../benchmarks/library/patchwork.h"

enum { THREADS = 4, FRAMES = 3, SIDE = 80 };
static char **arguments;
static unsigned char frame[SIDE * SIDE * 3];  // black

static int failures(int wrong, const char *what) {
  if (wrong) fprintf(stderr, "%s: %s\n", what, patchwork_error());
  return wrong;
}

static int push(patchwork_stream *stream) {
  patchwork_answer answer;
  int failed = 0;
  for (int i = 0; i < FRAMES; i++)
    failed += failures(patchwork_stream_push(stream, frame, SIDE, SIDE, SIDE * 3, &answer), "push");
  for (size_t i = 0; i < answer.num_detections; i++) failed += !(answer.detections[i].score > 0);
  return failed;
}

static void *run(void *failed) {
  patchwork_model *model;
  patchwork_stream *stream;
  if (failures(patchwork_model_open(arguments[1], arguments[2], 1, &model), "model") ||
      failures(patchwork_stream_open(model, &stream), "stream"))
    return failed;
  patchwork_model_close(model);
  int wrong = push(stream) + failures(patchwork_stream_reset(stream), "reset") + push(stream);
  patchwork_stream_close(stream);
  return wrong ? failed : NULL;
}

static int nulls(void) {
  patchwork_model *model = (patchwork_model *)frame;
  patchwork_stream *stream = (patchwork_stream *)frame;
  patchwork_answer answer;
  int height, width, cells, window;
  patchwork_model_close(NULL);
  patchwork_stream_close(NULL);
  patchwork_model_size(NULL, &height, &width, &cells, &window);
  return height || patchwork_label(NULL, 0) || patchwork_stream_reset(NULL) != PATCHWORK_BAD_ARGUMENT ||
         patchwork_stream_push(NULL, frame, SIDE, SIDE, SIDE * 3, &answer) != PATCHWORK_BAD_ARGUMENT ||
         patchwork_stream_open(NULL, &stream) != PATCHWORK_BAD_ARGUMENT || stream ||
         patchwork_model_open(NULL, arguments[2], 1, &model) != PATCHWORK_BAD_ARGUMENT || model ||
         patchwork_model_open(arguments[1], arguments[1], 1, &model) != PATCHWORK_BAD_FILE || model;
}

int main(int count, char **values) {
  pthread_t threads[THREADS];
  void *failed = NULL;
  if (count != 3) return 2;
  arguments = values;
  for (int i = 0; i < THREADS; i++) pthread_create(&threads[i], NULL, run, &failed);
  for (int i = 0; i < THREADS; i++) {
    void *result;
    pthread_join(threads[i], &result);
    failed = result ? result : failed;
  }
  return failed || failures(nulls(), "null");
}
