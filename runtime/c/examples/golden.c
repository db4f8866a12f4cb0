// Holds the library, with LiteRT as it is here, against golden vectors of `patchwork-export --golden=FOLDER`.
//
//   cc -O2 -o golden runtime/c/examples/golden.c runtime/c/patchwork.c -ldl -lm -lpthread
//   ./golden libLiteRt.so pw.tflite FOLDER
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../patchwork.h"

static const double TOLERANCE = 1e-3;

struct golden {
  FILE *text, *frames;
  char line[256];  // the next one; empty at the end
  long number;     // of it
  int count, height, width;
  double worst;
};

static void next_line(struct golden *golden) {
  golden->number++;
  if (!fgets(golden->line, sizeof golden->line, golden->text)) golden->line[0] = '\0';
}

static FILE *open_in(const char *folder, const char *name) {
  char path[4096];
  snprintf(path, sizeof path, "%s/%s", folder, name);
  FILE *file = fopen(path, "rb");
  if (!file) perror(path);
  return file;
}

static int differs(const struct golden *golden, const char *what) {
  fprintf(stderr, "golden.txt:%ld: %s, expected %s\n", golden->number, what, golden->line);
  return 1;
}

static int compare(struct golden *golden, const double *found, const double *expected, int count) {
  for (int i = 0; i < count; i++) {
    double difference = fabs(found[i] - expected[i]);
    if (!(difference <= TOLERANCE)) return differs(golden, "another number");
    golden->worst = fmax(golden->worst, difference);
  }
  return 0;
}

static int compare_boxes(struct golden *golden, const patchwork_answer *answer) {
  for (size_t i = 0; i < answer->num_detections; i++, next_line(golden)) {
    const patchwork_detection *found = &answer->detections[i];
    double values[] = {found->ymin, found->xmin, found->ymax, found->xmax, found->score, found->label}, box[6];
    if (sscanf(golden->line, "box %lf %lf %lf %lf %lf %lf", box, box + 1, box + 2, box + 3, box + 4, box + 5) != 6)
      return differs(golden, "one more box");
    if (compare(golden, values, box, 6)) return 1;
  }
  return strncmp(golden->line, "box", 3) ? 0 : differs(golden, "no more boxes");
}

// Of several classes a pixel has its class, too.
static int compare_pixels(struct golden *golden, const patchwork_answer *answer) {
  int numbers = answer->classes ? 2 : 1;
  double y, x, expected[2];
  for (; !strncmp(golden->line, "pixel", 5); next_line(golden)) {
    if (sscanf(golden->line, "pixel %lf %lf %lf %lf", &y, &x, expected, expected + 1) != 2 + numbers)
      return differs(golden, answer->classes ? "a pixel with a class" : "a pixel without a class");
    size_t row = (size_t)(y * (double)answer->mask_height), column = (size_t)(x * (double)answer->mask_width);
    size_t place = row * answer->mask_stride + column;
    double found[] = {answer->mask[place], answer->classes ? answer->classes[place] : 0};
    if (compare(golden, found, expected, numbers)) return 1;
  }
  return 0;
}

static int compare_frame(struct golden *golden, long number, const patchwork_answer *answer) {
  char head[64];
  const char *format = answer->row < 0 ? "frame %ld whole\n" : "frame %ld window %d %d\n";
  snprintf(head, sizeof head, format, number, answer->row, answer->column);
  if (strcmp(golden->line, head)) return differs(golden, head);
  next_line(golden);
  return answer->mask ? compare_pixels(golden, answer) : compare_boxes(golden, answer);
}

static int run(struct golden *golden, patchwork_stream *stream) {
  size_t bytes = 3 * (size_t)golden->height * (size_t)golden->width;
  unsigned char *pixels = malloc(bytes);
  patchwork_frame frame = {
      PATCHWORK_RGB, golden->height, golden->width, 0, {pixels}, {3 * (size_t)golden->width}, 0, 0};
  patchwork_answer answer;
  int failed = !pixels;
  for (long number = 0; !failed && number < golden->count; number++) {
    failed = fread(pixels, 1, bytes, golden->frames) != bytes;
    if (failed) fprintf(stderr, "frames.rgb: frame %ld is missing\n", number);
    failed = failed || patchwork_stream_push(stream, &frame, &answer);
    failed = failed || compare_frame(golden, number, &answer);
  }
  free(pixels);
  return failed;
}

int main(int count, char **arguments) {
  if (count != 4) {
    fprintf(stderr, "usage: %s LIBRARY MODEL FOLDER\n", arguments[0]);
    return 2;
  }
  struct golden golden = {0};
  golden.text = open_in(arguments[3], "golden.txt");
  golden.frames = open_in(arguments[3], "frames.rgb");
  if (!golden.text || !golden.frames) return 1;
  next_line(&golden);
  if (sscanf(golden.line, "golden %d %d %d", &golden.count, &golden.height, &golden.width) != 3 ||
      golden.height < 1 || golden.width < 1)
    return differs(&golden, "no golden vectors");
  next_line(&golden);
  patchwork_model *model = NULL;
  patchwork_stream *stream = NULL;
  int failed = patchwork_load(arguments[1]) || patchwork_model_open(arguments[2], 1, &model);
  failed = failed || patchwork_stream_open(model, PATCHWORK_WHOLE, &stream);
  failed = failed || run(&golden, stream);
  if (failed && *patchwork_error()) fprintf(stderr, "golden: %s\n", patchwork_error());
  patchwork_stream_close(stream);
  patchwork_model_close(model);
  if (!failed) printf("%d frames agree; the largest difference is %.1e\n", golden.count, golden.worst);
  return failed;
}
