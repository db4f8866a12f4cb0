// Answers a raw video, frame by frame.
//
//   cc -O2 -o stream runtime/c/examples/stream.c runtime/c/patchwork.c -ldl -lm -lpthread
//   ffmpeg -i clip.mp4 -f rawvideo -pix_fmt rgb24 - | ./stream libLiteRt.so pw.tflite 720 1280
//
// libLiteRt.so is that of `pip install ai-edge-litert`, or of LiteRT's AAR on Android.
#include <stdio.h>
#include <stdlib.h>

#include "../patchwork.h"

static void print(const patchwork_model *model, long number, const patchwork_answer *answer) {
  printf("frame %ld", number);
  if (!answer->looked)
    printf(" skipped");
  else if (answer->row < 0)
    printf(" whole");
  else
    printf(" window %d %d", answer->row, answer->column);
  printf("\n");
  for (size_t i = 0; i < answer->num_detections; i++) {
    const patchwork_detection *found = &answer->detections[i];
    printf("  %.6f %.6f %.6f %.6f %.6f %d %s\n", found->ymin, found->xmin, found->ymax, found->xmax, found->score,
           found->label, patchwork_label(model, found->label));
  }
  if (!answer->mask) return;
  double sum = 0;
  for (size_t y = 0; y < answer->mask_height; y++)
    for (size_t x = 0; x < answer->mask_width; x++) sum += answer->mask[y * answer->mask_stride + x];
  printf("  foreground %.6f\n", sum / (double)(answer->mask_height * answer->mask_width));
}

static int failed(void) {
  fprintf(stderr, "stream: %s\n", patchwork_error());
  return EXIT_FAILURE;
}

int main(int count, char **arguments) {
  if (count != 5) {
    fprintf(stderr, "usage: %s LIBRARY MODEL HEIGHT WIDTH < frames.rgb\n", arguments[0]);
    return 2;
  }
  int height = atoi(arguments[3]), width = atoi(arguments[4]);
  patchwork_model *model;
  patchwork_stream *stream;
  patchwork_answer answer;
  if (patchwork_load(arguments[1]) || patchwork_model_open(arguments[2], 1, &model)) return failed();
  if (patchwork_stream_open(model, PATCHWORK_WHOLE, &stream)) return failed();
  size_t bytes = height > 0 && width > 0 ? 3 * (size_t)height * (size_t)width : 1;
  unsigned char *pixels = malloc(bytes);
  patchwork_frame frame = {PATCHWORK_RGB, height, width, 0, {pixels}, {3 * (size_t)width}, 0, 0};
  int status = PATCHWORK_OK;
  for (long number = 0; pixels && fread(pixels, 1, bytes, stdin) == bytes; number++) {
    status = patchwork_stream_push(stream, &frame, &answer);
    if (status) break;
    print(model, number, &answer);
  }
  free(pixels);
  patchwork_stream_close(stream);
  patchwork_model_close(model);
  return status ? failed() : EXIT_SUCCESS;
}
