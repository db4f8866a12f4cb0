#define _DEFAULT_SOURCE  // of model.c

#include "patchwork.h"

#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// One source file to build: LiteRT's functions, the file's signatures and a stream's buffers are the runner's.
#define ONE_SOURCE_FILE
#include "context.c"
#include "litert.c"
#include "model.c"

enum { VERSION = 5 };               // of the metadata
enum { MOST_PIXELS = 1 << 15 };     // of a side of a frame
enum { ALIGNMENT = 16 };            // of a file in memory, as its format has it
static const double NO_OVERLAP = 1e-3;  // of an input pixel with an output pixel, as OpenCV has it

// ---- errors: fail() returns to the function of the API that is running

static _Thread_local char error_text[1024];
static _Thread_local jmp_buf *boundary;

void fail(enum failure code, const char *format, ...) {
  va_list values;
  va_start(values, format);
  vsnprintf(error_text, sizeof error_text, format, values);
  va_end(values);
  longjmp(*boundary, code == NO_MEMORY          ? PATCHWORK_NO_MEMORY
                     : code == INFERENCE_FAILED ? PATCHWORK_FAILED
                     : code == BAD_USAGE        ? PATCHWORK_BAD_ARGUMENT
                                                : PATCHWORK_BAD_FILE);
}

// Runs what may fail() on behalf of a function of the API; returns its status.
static int try(void (*run)(void *), void *of) {
  error_text[0] = '\0';
  jmp_buf here;
  boundary = &here;
  int status = setjmp(here);
  if (!status) run(of);
  return status;
}

static int refused(int status, const char *text) {
  snprintf(error_text, sizeof error_text, "%s", text);
  return status;
}

static int bad_argument(const char *text) { return refused(PATCHWORK_BAD_ARGUMENT, text); }

const char *patchwork_error(void) { return error_text; }

static void *allocate(size_t count, size_t size) {
  void *memory = calloc(count ? count : 1, size);
  if (!memory) fail(NO_MEMORY, "no memory for %zu x %zu bytes", count, size);
  return memory;
}

// ---- metadata: a JSON object; what json.dumps writes, and nothing that is damaged, is read

struct text {
  const char *at, *end;
};

static void skip_space(struct text *text) {
  while (text->at < text->end && strchr(" \t\r\n", *text->at) && *text->at) text->at++;
}

static bool take(struct text *text, char wanted) {
  skip_space(text);
  if (text->at >= text->end || *text->at != wanted) return false;
  text->at++;
  return true;
}

// Appends a character in UTF-8.
static size_t put_character(char *out, unsigned code) {
  if (code < 0x80) return out[0] = (char)code, 1;
  if (code < 0x800) return out[0] = (char)(0xC0 | code >> 6), out[1] = (char)(0x80 | (code & 63)), 2;
  if (code < 0x10000)
    return out[0] = (char)(0xE0 | code >> 12), out[1] = (char)(0x80 | (code >> 6 & 63)),
           out[2] = (char)(0x80 | (code & 63)), 3;
  return out[0] = (char)(0xF0 | code >> 18), out[1] = (char)(0x80 | (code >> 12 & 63)),
         out[2] = (char)(0x80 | (code >> 6 & 63)), out[3] = (char)(0x80 | (code & 63)), 4;
}

static bool take_hex(struct text *text, unsigned *code) {
  *code = 0;
  for (int i = 0; i < 4; i++, text->at++) {
    if (text->at >= text->end) return false;
    const char *digits = "0123456789abcdef", *digit = memchr(digits, *text->at | 32, 16);
    if (!digit) return false;
    *code = *code << 4 | (unsigned)(digit - digits);
  }
  return true;
}

// A string into `out`, which has room for all of the text; without `out` it is skipped.
static bool take_string(struct text *text, char *out) {
  char scratch[4];
  if (!take(text, '"')) return false;
  while (text->at < text->end && *text->at != '"') {
    unsigned code = (unsigned char)*text->at++, low;
    if (code != '\\') {
      if (out) *out++ = (char)code;
      continue;
    }
    if (text->at >= text->end) return false;
    char escape = *text->at++;
    const char *escapes = "bfnrt\"\\/", *meanings = "\b\f\n\r\t\"\\/", *found = strchr(escapes, escape);
    if (escape == 'u') {
      if (!take_hex(text, &code)) return false;
      bool is_high = code >= 0xD800 && code < 0xDC00;
      if (is_high && text->end - text->at > 6 && text->at[0] == '\\' && text->at[1] == 'u') {
        text->at += 2;
        if (!take_hex(text, &low)) return false;
        code = 0x10000 + ((code & 0x3FF) << 10) + (low & 0x3FF);
      }
    } else if (found && escape) {
      code = (unsigned char)meanings[found - escapes];
    } else {
      return false;
    }
    size_t bytes = put_character(out ? out : scratch, code);
    if (out) out += bytes;
  }
  if (out) *out = '\0';
  return take(text, '"');
}

static bool skip_value(struct text *text, int depth) {
  skip_space(text);
  if (text->at >= text->end || depth > 16) return false;
  char first = *text->at;
  if (first == '"') return take_string(text, NULL);
  if (first != '{' && first != '[') {  // a number, true, false or null
    const char *start = text->at;
    while (text->at < text->end && strchr("+-.0123456789eEaflnrstu", *text->at) && *text->at) text->at++;
    return text->at > start;
  }
  char close = first == '{' ? '}' : ']';
  text->at++;
  if (take(text, close)) return true;
  do {
    if (first == '{' && (!take_string(text, NULL) || !take(text, ':'))) return false;
    if (!skip_value(text, depth + 1)) return false;
  } while (take(text, ','));
  return take(text, close);
}

// The value of a key of an object; false if there is none, or the text is damaged before it.
static bool find_value(struct text object, const char *key, struct text *value) {
  if (!take(&object, '{')) return false;
  do {
    skip_space(&object);
    const char *name = object.at + 1;
    if (!take_string(&object, NULL)) return false;
    bool same = (size_t)(object.at - 1 - name) == strlen(key) && !memcmp(name, key, strlen(key));
    if (!take(&object, ':')) return false;
    *value = object;
    if (!skip_value(&object, 0)) return false;
    if (same) {
      value->end = object.at;
      return true;
    }
  } while (take(&object, ','));
  return false;
}

static struct text value_of(struct text object, const char *key, const char *path) {
  struct text value;
  if (!find_value(object, key, &value)) fail(BAD_INPUT, "%s: no '%s' in its metadata, or it is damaged", path, key);
  skip_space(&value);
  return value;
}

static long number_of(struct text object, const char *key, const char *path) {
  struct text value = value_of(object, key, path);
  char digits[24] = "";
  size_t count = (size_t)(value.end - value.at);
  memcpy(digits, value.at, count < sizeof digits ? count : sizeof digits - 1);
  return strtol(digits, NULL, 10);
}

static bool is_word(struct text value, const char *word) {
  return (size_t)(value.end - value.at) == strlen(word) && !memcmp(value.at, word, strlen(word));
}

// ---- models

struct patchwork_model {
  atomic_int users;  // the app, until it closes it, and streams
  atomic_flag busy;  // while a thread is in a function of the model or of one of its streams
  struct source source;
  int threads;
  struct model model;
  struct context common;  // what its streams share
  char *path;
  char **labels;
  char *letters;  // of the labels
  int num_labels;
  int height, width;  // of the network's frames
  int cells, window;
  long interval;  // every so many frames one is looked at
  bool letterbox;
  int boxes, scores, classes, count, mask;  // outputs, or NONE
};

static void read_labels(patchwork_model *model, struct text list) {
  struct text counted = list;
  int count = 0;
  if (!take(&counted, '[')) fail(BAD_INPUT, "%s: its labels are damaged", model->path);
  do {
    if (!take_string(&counted, NULL)) fail(BAD_INPUT, "%s: its labels are damaged", model->path);
    count++;
  } while (take(&counted, ','));
  model->labels = allocate((size_t)count, sizeof *model->labels);
  char *letters = model->letters = allocate((size_t)(list.end - list.at) + 1, 1);
  take(&list, '[');
  for (; model->num_labels < count; model->num_labels++, take(&list, ',')) {
    take_string(&list, letters);
    model->labels[model->num_labels] = letters;
    letters += strlen(letters) + 1;
  }
}

static void read_metadata(patchwork_model *model) {
  const void *content;
  size_t bytes;
  if (litert.GetModelMetadata(model->model.file, METADATA, &content, &bytes))
    fail(BAD_INPUT, "%s: no Patchwork metadata in it; was it exported by patchwork-export?", model->path);
  struct text facts = {content, (const char *)content + bytes};
  if (number_of(facts, "patchwork", model->path) != VERSION)
    fail(BAD_INPUT, "%s: its metadata is of another version than %d: export it anew", model->path, VERSION);
  struct text stream = value_of(facts, "stream", model->path), grid = value_of(facts, "grid", model->path);
  if (!is_word(value_of(stream, "flip", model->path), "false") || number_of(stream, "delay", model->path))
    fail(BAD_INPUT, "%s: systems with flip or delay are not known here", model->path);
  model->interval = number_of(stream, "interval", model->path);
  model->cells = (int)number_of(grid, "cells", model->path);
  model->window = (int)number_of(grid, "window_cells", model->path);
  if (model->interval < 1 || model->cells < 1 || model->window < 1 || model->window > model->cells)
    fail(BAD_INPUT, "%s: its grid or interval is damaged", model->path);
  model->letterbox = is_word(value_of(facts, "resize_mode", model->path), "\"letterbox\"");
  read_labels(model, value_of(facts, "labels", model->path));
}

// An output of that name, type and number of values per row, of which there are at least `rows`; NONE if it is missing.
static int find_output(const patchwork_model *model, const char *name, int type, size_t values) {
  int index = model_find(model->model.outputs, name);
  if (index == NONE) return NONE;
  const struct tensor *output = &model->model.outputs.list[index];
  if (output->type.element_type != type || output->bytes / 4 % values)
    fail(BAD_INPUT, "%s: '%s' is of another type than it should be", model->path, name);
  return index;
}

static void find_outputs(patchwork_model *model) {
  const struct tensor *list = model->model.outputs.list;
  model->mask = find_output(model, "mask", LITERT_FLOAT32, 1);
  model->boxes = find_output(model, "boxes", LITERT_FLOAT32, 4);
  model->scores = find_output(model, "scores", LITERT_FLOAT32, 1);
  model->classes = find_output(model, "classes", LITERT_INT32, 1);
  model->count = find_output(model, "count", LITERT_INT32, 1);
  if (model->mask != NONE) {
    if (list[model->mask].bytes != 4 * (size_t)model->height * (size_t)model->width)
      fail(BAD_INPUT, "%s: its mask is not of the frame's size", model->path);
    if (model->classes != NONE && list[model->classes].bytes != list[model->mask].bytes)
      fail(BAD_INPUT, "%s: its classes are not of the mask's size", model->path);
    return;
  }
  if (model->boxes == NONE || model->scores == NONE || model->classes == NONE || model->count == NONE)
    fail(BAD_INPUT, "%s: neither a mask nor suppressed detections in it; export it without --nosuppression", model->path);
  if (list[model->boxes].bytes != 4 * list[model->scores].bytes ||
      list[model->classes].bytes != list[model->scores].bytes || list[model->count].bytes != 4)
    fail(BAD_INPUT, "%s: its detections do not go together", model->path);
}

static void open_model(void *of) {
  patchwork_model *model = of;
  model->path = allocate(strlen(model->source.path) + 1, 1);
  model->source.path = strcpy(model->path, model->source.path);
  model_load(&model->model, model->source, model->threads);
  const int32_t *shape = model->model.inputs.list[model->model.frame].type.dimensions;
  model->height = shape[1];
  model->width = shape[2];
  read_metadata(model);
  find_outputs(model);
  context_create(&model->common, &model->model, LEND, NULL);
}

static int new_model(struct source source, int threads, patchwork_model **opened) {
  if (!litert_is_loaded()) return bad_argument("no LiteRT yet: call patchwork_load first");
  patchwork_model *model = calloc(1, sizeof *model);
  if (!model) return refused(PATCHWORK_NO_MEMORY, "no memory for a model");
  model->users = 1;
  model->source = source;
  model->threads = threads;
  atomic_flag_clear(&model->busy);
  int status = try(open_model, model);
  if (status)
    patchwork_model_close(model);
  else
    *opened = model;
  return status;
}

static void load_library(void *path) { litert_load(path); }

static void use_library(void *handle) { litert_use(handle, "the library of this handle"); }

int patchwork_load(const char *library) {
  return library ? try(load_library, (void *)(uintptr_t)library) : bad_argument("library: null");
}

int patchwork_load_handle(void *handle) { return handle ? try(use_library, handle) : bad_argument("handle: null"); }

int patchwork_model_open(const char *path, int threads, patchwork_model **opened) {
  if (opened) *opened = NULL;
  if (!path || !opened || threads < 1) return bad_argument("path, model or threads: null, or 0");
  return new_model((struct source){.path = path, .descriptor = NONE}, threads, opened);
}

int patchwork_model_open_memory(const void *content, size_t bytes, int threads, patchwork_model **opened) {
  if (opened) *opened = NULL;
  if (!content || !opened || threads < 1) return bad_argument("content, model or threads: null, or 0");
  if ((uintptr_t)content % ALIGNMENT) return bad_argument("content: 16 does not divide its address");
  return new_model((struct source){"a file in memory", content, NONE, 0, (int64_t)bytes}, threads, opened);
}

int patchwork_model_open_descriptor(int descriptor, int64_t offset, int64_t length, int threads,
                                    patchwork_model **opened) {
  if (opened) *opened = NULL;
  if (descriptor < 0 || offset < 0 || length < 0 || !opened || threads < 1)
    return bad_argument("descriptor, offset or length: negative, or model or threads: null, or 0");
  return new_model((struct source){"a file's part", NULL, descriptor, offset, length}, threads, opened);
}

void patchwork_model_close(patchwork_model *model) {
  if (!model || --model->users) return;  // the last of its streams closes it
  if (model->common.model) context_close(&model->common);
  model_close(&model->model);
  free(model->labels);
  free(model->letters);
  free(model->path);
  free(model);
}

void patchwork_model_size(const patchwork_model *model, int *height, int *width, int *cells, int *window) {
  static const patchwork_model none;
  model = model ? model : &none;
  *height = model->height;
  *width = model->width;
  *cells = model->cells;
  *window = model->window;
}

const char *patchwork_label(const patchwork_model *model, int label) {
  return model && label >= 0 && label < model->num_labels ? model->labels[label] : NULL;
}

// ---- frames: rows of RGB out of whatever a camera gives, upright

struct packed {
  int bytes, red, green, blue;  // of a pixel, and where in it
};

static const struct packed PACKED[] = {{3, 0, 1, 2}, {3, 2, 1, 0}, {4, 0, 1, 2}, {4, 2, 1, 0}, {1, 0, 0, 0}};

static bool is_yuv(const patchwork_frame *frame) { return frame->format >= PATCHWORK_NV12; }

static bool is_turned(const patchwork_frame *frame) { return frame->rotation == 90 || frame->rotation == 270; }

// Where pixels of an upright row lie in what is stored.
struct walk {
  int row, column;            // of the first
  int row_step, column_step;  // from one to the next
};

static struct walk walk_along(const patchwork_frame *frame, int y, int x) {
  switch (frame->rotation) {
    case 90: return (struct walk){frame->height - 1 - x, y, -1, 0};
    case 180: return (struct walk){frame->height - 1 - y, frame->width - 1 - x, 0, -1};
    case 270: return (struct walk){x, frame->width - 1 - y, 1, 0};
    default: return (struct walk){y, x, 0, 1};
  }
}

static void copy_packed(const patchwork_frame *frame, struct walk walk, int count, uint8_t *rgb) {
  struct packed packed = PACKED[frame->format];
  ptrdiff_t stride = (ptrdiff_t)frame->strides[0];
  const uint8_t *pixel = frame->planes[0] + walk.row * stride + (ptrdiff_t)walk.column * packed.bytes;
  ptrdiff_t step = walk.row_step * stride + walk.column_step * packed.bytes;
  for (int i = 0; i < count; i++, pixel += step, rgb += 3) {
    rgb[0] = pixel[packed.red];
    rgb[1] = pixel[packed.green];
    rgb[2] = pixel[packed.blue];
  }
}

// BT.601 in parts of 2^20, as OpenCV has it: what luma, V and U count in red, green and blue.
struct colours {
  int black, luma, red_v, green_v, green_u, blue_u;
};

static const struct colours VIDEO_RANGE = {16, 1220542, 1673527, -852492, -409993, 2116026};
static const struct colours FULL_RANGE = {0, 1048576, 1470104, -748826, -360853, 1858077};

static uint8_t to_byte(int parts) {
  int value = (parts + (1 << 19)) >> 20;
  return (uint8_t)(value < 0 ? 0 : value > 255 ? 255 : value);
}

static void convert_yuv(const patchwork_frame *frame, struct walk walk, int count, uint8_t *rgb) {
  const struct colours *colours = frame->full_range ? &FULL_RANGE : &VIDEO_RANGE;
  bool planar = frame->format == PATCHWORK_I420;
  size_t step = !planar ? 2 : frame->chroma_step ? frame->chroma_step : 1;
  const uint8_t *us = frame->planes[1], *vs = planar ? frame->planes[2] : us + 1;
  size_t u_stride = frame->strides[1], v_stride = planar ? frame->strides[2] : u_stride;
  if (frame->format == PATCHWORK_NV21) {
    vs = frame->planes[1];
    us = vs + 1;
  }
  for (int i = 0; i < count; i++, walk.row += walk.row_step, walk.column += walk.column_step, rgb += 3) {
    size_t row = (size_t)walk.row, column = (size_t)walk.column;
    int luma = frame->planes[0][row * frame->strides[0] + column] - colours->black;
    int u = us[row / 2 * u_stride + column / 2 * step] - 128, v = vs[row / 2 * v_stride + column / 2 * step] - 128;
    luma = (luma < 0 ? 0 : luma) * colours->luma;
    rgb[0] = to_byte(luma + colours->red_v * v);
    rgb[1] = to_byte(luma + colours->green_v * v + colours->green_u * u);
    rgb[2] = to_byte(luma + colours->blue_u * u);
  }
}

// A frame of which rows are asked for, between two columns.
struct picture {
  const patchwork_frame *frame;
  uint8_t *rgb;
  int row;  // which is in `rgb`; -1 if none
  int first, end;
};

static const uint8_t *row_of(struct picture *picture, int y) {
  const patchwork_frame *frame = picture->frame;
  if (frame->format == PATCHWORK_RGB && !frame->rotation) return frame->planes[0] + (size_t)y * frame->strides[0];
  if (picture->row != y) {
    struct walk walk = walk_along(frame, y, picture->first);
    uint8_t *rgb = picture->rgb + 3 * (size_t)picture->first;
    (is_yuv(frame) ? convert_yuv : copy_packed)(frame, walk, picture->end - picture->first, rgb);
    picture->row = y;
  }
  return picture->rgb;
}

static bool sides_can_be(const patchwork_frame *frame) {
  return frame->height > 0 && frame->width > 0 && frame->height <= MOST_PIXELS && frame->width <= MOST_PIXELS;
}

// What is wrong with a frame; null if nothing is.
static const char *fault_of(const patchwork_frame *frame) {
  if (frame->format < PATCHWORK_RGB || frame->format > PATCHWORK_I420) return "the frame's format is unknown";
  if (frame->rotation % 90 || frame->rotation < 0 || frame->rotation > 270)
    return "the frame's rotation is 0, 90, 180 or 270";
  int planes = frame->format == PATCHWORK_I420 ? 3 : is_yuv(frame) ? 2 : 1;
  for (int i = 0; i < planes; i++)
    if (!frame->planes[i]) return "a plane of the frame: null";
  const char *cannot_be = "the frame's height, width or stride cannot be";
  if (!sides_can_be(frame)) return cannot_be;
  size_t width = (size_t)frame->width, pairs = (width + 1) / 2, step = frame->chroma_step ? frame->chroma_step : 1;
  size_t bytes = is_yuv(frame) ? width : width * (size_t)PACKED[frame->format].bytes;
  if (step > 4 || frame->strides[0] < bytes) return cannot_be;
  for (int i = 1; i < planes; i++)
    if (frame->strides[i] < (planes == 3 ? (pairs - 1) * step + 1 : 2 * pairs)) return cannot_be;
  return NULL;
}

// ---- from a frame to the network's: as patchwork_tf/resizing.py has it, by OpenCV's rules

// By what part an input pixel counts in an output pixel.
struct share {
  int from, to;
  float part;
};

// The same of an axis of which each output pixel is made of the areas of several input pixels.
struct shares {
  size_t count;
  struct share *list;  // by output pixel
  size_t *starts;      // of each output pixel in the list, and of the end
};

static struct shares share_areas(int from, int to) {
  double scale = (double)from / to;
  struct shares shares = {0, allocate((size_t)from + 3 * (size_t)to, sizeof *shares.list), NULL};
  shares.starts = allocate((size_t)to + 1, sizeof *shares.starts);
  for (int pixel = 0; pixel < to; pixel++) {
    shares.starts[pixel] = shares.count;
    double start = pixel * scale, end = start + scale, width = fmin(scale, from - start);
    int first = (int)ceil(start), last = (int)floor(end);
    last = last < from - 1 ? last : from - 1;
    first = first < last ? first : last;
    if (first - start > NO_OVERLAP)
      shares.list[shares.count++] = (struct share){first - 1, pixel, (float)((first - start) / width)};
    for (int i = first; i < last; i++) shares.list[shares.count++] = (struct share){i, pixel, (float)(1 / width)};
    if (end - last > NO_OVERLAP)
      shares.list[shares.count++] = (struct share){last, pixel, (float)(fmin(fmin(end - last, 1), width) / width)};
  }
  shares.starts[to] = shares.count;
  return shares;
}

// The two input pixels around the place of an output pixel, and their parts of 2048.
struct pair {
  int first, second, first_part, second_part;
};

// Where the other side shrinks, OpenCV keeps pixels sharp that grow.
static struct pair *pair_pixels(int from, int to, bool sharp) {
  double scale = (double)from / to;
  struct pair *pairs = allocate((size_t)to, sizeof *pairs);
  for (int pixel = 0; pixel < to; pixel++) {
    float place = (float)((pixel + 0.5) * scale - 0.5);
    int first = (int)floorf(place);
    float part = place - (float)first;
    if (sharp) {
      first = (int)floor(pixel * scale);
      part = (float)((pixel + 1) - (first + 1) * ((double)to / from));
      part = part <= 0 ? 0 : part - floorf(part);
    }
    if (first < 0 || first >= from - 1) part = 0;
    first = first < 0 ? 0 : first < from - 1 ? first : from - 1;
    int second = first < from - 1 ? first + 1 : first;
    pairs[pixel] = (struct pair){first, second, (int)rintf((1 - part) * 2048), (int)rintf(part * 2048)};
  }
  return pairs;
}

struct resizing {
  int height, width, rotation;               // of the frame, upright; 0 before the first
  int top, left, inner_height, inner_width;  // where it lies in the network's
  bool by_area;                              // neither side grows
  bool halves;                               // both sides to a half, where OpenCV rounds up what lies in between
  struct shares rows, columns;
  float *row, *sum;  // of the inner width, 3 channels
  struct pair *row_pairs, *column_pairs;
  int32_t *lines[2];  // of the inner width, 3 channels
  uint8_t *rgb;       // a row of the frame
};

static void resizing_close(struct resizing *resizing) {
  free(resizing->rows.list);
  free(resizing->rows.starts);
  free(resizing->columns.list);
  free(resizing->columns.starts);
  free(resizing->row);
  free(resizing->sum);
  free(resizing->row_pairs);
  free(resizing->column_pairs);
  free(resizing->lines[0]);
  free(resizing->lines[1]);
  free(resizing->rgb);
  *resizing = (struct resizing){0};
}

static void place_frame(struct resizing *resizing, const patchwork_model *model, int height, int width) {
  resizing->inner_height = model->height;
  resizing->inner_width = model->width;
  if (!model->letterbox) return;
  float vertical = (float)model->height / (float)height, horizontal = (float)model->width / (float)width;
  float scale = vertical < horizontal ? vertical : horizontal;
  resizing->inner_height = (int)fmaxf(rintf((float)height * scale), 1);
  resizing->inner_width = (int)fmaxf(rintf((float)width * scale), 1);
  resizing->top = (model->height - resizing->inner_height) / 2;
  resizing->left = (model->width - resizing->inner_width) / 2;
}

static void resizing_open(struct resizing *resizing, const patchwork_model *model, int height, int width) {
  resizing_close(resizing);  // one that failed may be half made
  place_frame(resizing, model, height, width);
  size_t values = 3 * (size_t)resizing->inner_width;
  bool shrinks = height > model->height || width > model->width;
  resizing->by_area = shrinks && height >= resizing->inner_height && width >= resizing->inner_width;
  resizing->halves = height == 2 * resizing->inner_height && width == 2 * resizing->inner_width;
  if (resizing->by_area) {
    resizing->rows = share_areas(height, resizing->inner_height);
    resizing->columns = share_areas(width, resizing->inner_width);
    resizing->row = allocate(values, sizeof *resizing->row);
    resizing->sum = allocate(values, sizeof *resizing->sum);
  } else {
    resizing->row_pairs = pair_pixels(height, resizing->inner_height, shrinks);
    resizing->column_pairs = pair_pixels(width, resizing->inner_width, shrinks);
    for (int i = 0; i < 2; i++) resizing->lines[i] = allocate(values, sizeof **resizing->lines);
  }
  resizing->rgb = allocate((size_t)width, 3);
  resizing->height = height;
  resizing->width = width;
}

// Part of the frame as it lies in the network's, without the bars of a letterbox.
struct part {
  int top, left, bottom, right;
};

static float normalised(int value) { return (float)(value < 0 ? 0 : value > 255 ? 255 : value) / 127.5f - 1; }

static void shrink(const struct resizing *resizing, struct picture *picture, struct part part, float *target,
                   size_t pitch) {
  const struct shares *rows = &resizing->rows, *columns = &resizing->columns;
  size_t first = 3 * (size_t)part.left, end = 3 * (size_t)part.right;
  for (int y = part.top; y < part.bottom; y++) {
    memset(resizing->sum, 0, end * sizeof(float));
    for (size_t j = rows->starts[y]; j < rows->starts[y + 1]; j++) {
      const uint8_t *source = row_of(picture, rows->list[j].from);
      memset(resizing->row, 0, end * sizeof(float));
      for (size_t k = columns->starts[part.left]; k < columns->starts[part.right]; k++) {
        struct share share = columns->list[k];
        const uint8_t *pixel = source + 3 * (size_t)share.from;
        float *value = resizing->row + 3 * (size_t)share.to;
        for (int c = 0; c < 3; c++) value[c] += (float)pixel[c] * share.part;
      }
      for (size_t i = first; i < end; i++) resizing->sum[i] += rows->list[j].part * resizing->row[i];
    }
    // Rounded, as networks are trained on 8 bits.
    for (size_t i = first; i < end; i++) {
      float value = resizing->sum[i];
      target[(size_t)y * pitch + i] = normalised((int)(resizing->halves ? floorf(value + 0.5f) : rintf(value)));
    }
  }
}

static void stretch_line(const struct resizing *resizing, const uint8_t *source, struct part part, int32_t *line) {
  for (int x = part.left; x < part.right; x++) {
    struct pair pair = resizing->column_pairs[x];
    for (int c = 0; c < 3; c++)
      line[3 * x + c] = source[3 * pair.first + c] * pair.first_part + source[3 * pair.second + c] * pair.second_part;
  }
}

static void stretch(const struct resizing *resizing, struct picture *picture, struct part part, float *target,
                    size_t pitch) {
  for (int y = part.top; y < part.bottom; y++) {
    struct pair pair = resizing->row_pairs[y];
    stretch_line(resizing, row_of(picture, pair.first), part, resizing->lines[0]);
    stretch_line(resizing, row_of(picture, pair.second), part, resizing->lines[1]);
    for (int i = 3 * part.left; i < 3 * part.right; i++) {  // in fixed point, to OpenCV's bits
      int32_t first = pair.first_part * (resizing->lines[0][i] >> 4) >> 16;
      int32_t second = pair.second_part * (resizing->lines[1][i] >> 4) >> 16;
      target[(size_t)y * pitch + (size_t)i] = normalised((first + second + 2) >> 2);
    }
  }
}

static int between(int value, int least, int most) { return value < least ? least : value > most ? most : value; }

// A frame into the network's, float32 in [-1, 1]: what lies between two rows and columns of that. All other pixels stay
// as they are; a step reads none outside of its window.
static void resize_frame(const struct resizing *resizing, const patchwork_model *model, const patchwork_frame *frame,
                         struct part seen, float *input) {
  size_t pitch = 3 * (size_t)model->width;
  struct part part = {
      between(seen.top - resizing->top, 0, resizing->inner_height),
      between(seen.left - resizing->left, 0, resizing->inner_width),
      between(seen.bottom - resizing->top, 0, resizing->inner_height),
      between(seen.right - resizing->left, 0, resizing->inner_width),
  };
  if (model->letterbox)  // black bars, where another stream may have had its frame
    for (int y = seen.top; y < seen.bottom; y++)
      for (int i = 3 * seen.left; i < 3 * seen.right; i++) input[(size_t)y * pitch + (size_t)i] = -1;
  if (part.top == part.bottom || part.left == part.right) return;
  struct picture picture = {frame, resizing->rgb, -1, 0, 0};
  if (resizing->by_area) {
    picture.first = resizing->columns.list[resizing->columns.starts[part.left]].from;
    picture.end = resizing->columns.list[resizing->columns.starts[part.right] - 1].from + 1;
  } else {
    picture.first = resizing->column_pairs[part.left].first;
    picture.end = resizing->column_pairs[part.right - 1].second + 1;
  }
  float *target = input + (size_t)resizing->top * pitch + 3 * (size_t)resizing->left;
  (resizing->by_area ? shrink : stretch)(resizing, &picture, part, target, pitch);
}

// ---- streams

struct patchwork_stream {
  patchwork_model *model;
  bool sweeps;  // to start with, one window a frame
  struct context context;
  struct resizing resizing;
  patchwork_detection *detections;
  patchwork_answer answer;
  int32_t window[2];             // of the next step
  long number;                   // of the next frame
  const patchwork_frame *frame;  // that is pushed
};

static void open_stream(void *of) {
  patchwork_stream *stream = of;
  const patchwork_model *model = stream->model;
  context_create(&stream->context, &model->model, ALIAS, &model->common);
  size_t most = model->mask == NONE ? model->model.outputs.list[model->scores].bytes / sizeof(float) : 0;
  stream->detections = allocate(most, sizeof *stream->detections);
}

// Runs what may fail() while no other thread is at the model.
static int try_alone(void (*run)(void *), patchwork_stream *stream) {
  if (atomic_flag_test_and_set(&stream->model->busy))
    return refused(PATCHWORK_BUSY, "another thread is at this model or at one of its streams");
  int status = try(run, stream);
  atomic_flag_clear(&stream->model->busy);
  return status;
}

int patchwork_stream_open(patchwork_model *model, int start, patchwork_stream **opened) {
  if (opened) *opened = NULL;
  if (!model || !opened) return bad_argument("model or stream: null");
  if (start != PATCHWORK_WHOLE && start != PATCHWORK_SWEEP) return bad_argument("a stream's start is WHOLE or SWEEP");
  patchwork_stream *stream = calloc(1, sizeof *stream);
  if (!stream) return refused(PATCHWORK_NO_MEMORY, "no memory for a stream");
  stream->model = model;
  stream->sweeps = start == PATCHWORK_SWEEP;
  model->users++;
  int status = try_alone(open_stream, stream);
  if (status)
    patchwork_stream_close(stream);
  else
    *opened = stream;
  return status;
}

void patchwork_stream_close(patchwork_stream *stream) {
  if (!stream) return;
  if (stream->context.model) context_close(&stream->context);
  resizing_close(&stream->resizing);
  free(stream->detections);
  patchwork_model_close(stream->model);
  free(stream);
}

static void begin_anew(void *of) {
  patchwork_stream *stream = of;
  context_reset(&stream->context);
  resizing_close(&stream->resizing);
  stream->number = 0;
  stream->window[0] = stream->window[1] = 0;
}

int patchwork_stream_reset(patchwork_stream *stream) {
  return stream ? try_alone(begin_anew, stream) : bad_argument("stream: null");
}

static float inside(float value) { return value < 0 ? 0 : value > 1 ? 1 : value; }

// Fractions of the network's frame as fractions of the frame that was pushed.
static patchwork_detection restore(const patchwork_stream *stream, patchwork_detection found) {
  const struct resizing *resizing = &stream->resizing;
  if (!stream->model->letterbox) return found;
  float height = (float)stream->model->height, width = (float)stream->model->width;
  float *vertical[] = {&found.ymin, &found.ymax}, *horizontal[] = {&found.xmin, &found.xmax};
  for (int i = 0; i < 2; i++) {
    *vertical[i] = inside((*vertical[i] * height - (float)resizing->top) / (float)resizing->inner_height);
    *horizontal[i] = inside((*horizontal[i] * width - (float)resizing->left) / (float)resizing->inner_width);
  }
  return found;
}

static void read_detections(patchwork_stream *stream) {
  const patchwork_model *model = stream->model;
  const float *boxes = output_memory(&stream->context, model->boxes);
  const float *scores = output_memory(&stream->context, model->scores);
  const int32_t *classes = output_memory(&stream->context, model->classes);
  int32_t count = *(const int32_t *)output_memory(&stream->context, model->count);
  size_t most = model->model.outputs.list[model->scores].bytes / sizeof(float);
  stream->answer.num_detections = count < 0 ? 0 : (size_t)count < most ? (size_t)count : most;
  for (size_t i = 0; i < stream->answer.num_detections; i++) {
    const float *box = boxes + 4 * i;
    stream->detections[i] =
        restore(stream, (patchwork_detection){box[0], box[1], box[2], box[3], scores[i], (int)classes[i]});
  }
  stream->answer.detections = stream->detections;
}

static void read_mask(patchwork_stream *stream) {
  const struct resizing *resizing = &stream->resizing;
  patchwork_answer *answer = &stream->answer;
  answer->mask_stride = (size_t)stream->model->width;
  size_t first = (size_t)resizing->top * answer->mask_stride + (size_t)resizing->left;
  answer->mask = (const float *)output_memory(&stream->context, stream->model->mask) + first;
  if (stream->model->classes != NONE)
    answer->classes = (const int32_t *)output_memory(&stream->context, stream->model->classes) + first;
  answer->mask_height = (size_t)resizing->inner_height;
  answer->mask_width = (size_t)resizing->inner_width;
}

// The pixels of the network's frame that the next step looks at.
static struct part window_of(const patchwork_stream *stream) {
  const patchwork_model *model = stream->model;
  int height = model->height / model->cells, width = model->width / model->cells;
  int last = model->cells - model->window;
  int row = between(stream->window[0], 0, last), column = between(stream->window[1], 0, last);
  return (struct part){row * height, column * width, (row + model->window) * height, (column + model->window) * width};
}

static void step_through(patchwork_stream *stream, int row, int column) {
  int32_t window[2] = {row, column};
  int input = stream->model->model.window;
  if (input != NONE) memcpy(input_memory(&stream->context, input), window, sizeof window);
  context_step(&stream->context);
}

// Of the fewest windows that cover the frame, row by row, the one of that number; false beyond the last.
static bool covering_window(const patchwork_model *model, long number, int32_t window[2]) {
  int size = model->window, last = model->cells - size, side = (model->cells + size - 1) / size;
  if (number >= (long)side * side) return false;
  window[0] = between((int)(number / side) * size, 0, last);
  window[1] = between((int)(number % side) * size, 0, last);
  return true;
}

// A first frame where the file cannot look at it as a whole, as of earlier versions.
static void sweep_frame(patchwork_stream *stream) {
  int32_t window[2];
  for (long i = 0; covering_window(stream->model, i, window); i++) step_through(stream, window[0], window[1]);
}

static void look(patchwork_stream *stream) {
  struct context *context = &stream->context;
  const struct model *model = context->model;
  patchwork_answer *answer = &stream->answer;
  if (stream->sweeps) covering_window(stream->model, stream->number / stream->model->interval, stream->window);
  bool whole = !model->has_state || (stream->number == 0 && !stream->sweeps);
  struct part seen = whole ? (struct part){0, 0, stream->model->height, stream->model->width} : window_of(stream);
  float *input = input_memory(context, model->frame);
  resize_frame(&stream->resizing, stream->model, stream->frame, seen, input);
  answer->row = whole ? -1 : stream->window[0];
  answer->column = whole ? -1 : stream->window[1];
  if (!whole || !model->has_state)
    step_through(stream, stream->window[0], stream->window[1]);
  else if (model->has_start)
    context_start(context);
  else
    sweep_frame(stream);
  if (model->next_window != NONE)
    memcpy(stream->window, output_memory(context, model->next_window), sizeof stream->window);
  if (stream->model->mask == NONE)
    read_detections(stream);
  else
    read_mask(stream);
}

static void push(void *of) {
  patchwork_stream *stream = of;
  const patchwork_frame *frame = stream->frame;
  int height = is_turned(frame) ? frame->width : frame->height, width = is_turned(frame) ? frame->height : frame->width;
  struct resizing *resizing = &stream->resizing;
  if (!resizing->height) {
    resizing_open(resizing, stream->model, height, width);
    resizing->rotation = frame->rotation;
  }
  if (resizing->height != height || resizing->width != width || resizing->rotation != frame->rotation)
    fail(BAD_USAGE, "the frame has another size or rotation than those before it; patchwork_stream_reset begins anew");
  stream->answer.looked = stream->number % stream->model->interval == 0;
  if (stream->answer.looked) look(stream);
  stream->number++;
}

int patchwork_stream_push(patchwork_stream *stream, const patchwork_frame *frame, patchwork_answer *answer) {
  if (!stream || !frame || !answer) return bad_argument("stream, frame or answer: null");
  const char *fault = fault_of(frame);
  if (fault) return bad_argument(fault);
  if (atomic_flag_test_and_set(&stream->model->busy))
    return refused(PATCHWORK_BUSY, "another thread is at this model or at one of its streams");
  stream->frame = frame;
  int status = try(push, stream);
  if (!status) *answer = stream->answer;
  atomic_flag_clear(&stream->model->busy);
  return status;
}
