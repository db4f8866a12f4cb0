// Patchwork in an app: opens a file of patchwork-export and answers the frames of a video.
//
// Build patchwork.c with your app and link with -ldl -lm; LiteRT's library is loaded when the first model is opened.
// Functions that return an int return a status, PATCHWORK_OK if all is well; patchwork_error says what is wrong.
// Use a model and its streams in one thread at a time; several models may run in several threads.
#ifndef PATCHWORK_H
#define PATCHWORK_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

// These functions leave a shared library also under -fvisibility=hidden, and nothing else does without it.
#ifdef __GNUC__
#define PATCHWORK_API __attribute__((visibility("default")))
#else
#define PATCHWORK_API
#endif

enum patchwork_status {
  PATCHWORK_OK = 0,
  PATCHWORK_BAD_ARGUMENT = 1,  // null, a size of 0, a frame of another size than those before it
  PATCHWORK_BAD_FILE = 2,      // the model, or LiteRT's library
  PATCHWORK_FAILED = 3,        // LiteRT accepted the model, but could not run it
  PATCHWORK_NO_MEMORY = 4,
};

typedef struct patchwork_model patchwork_model;
typedef struct patchwork_stream patchwork_stream;

// An object in a frame.
typedef struct {
  float ymin, xmin, ymax, xmax;  // fractions of the frame
  float score;                   // in [0, 1]
  int label;                     // for patchwork_label
} patchwork_detection;

// What is known after a frame, all of it, also what was not looked at. `detections`, `mask` and `classes` belong to the
// stream and last until it is next pushed a frame, reset or closed; copy what is needed longer.
typedef struct {
  const patchwork_detection *detections;  // of a detector, the best first
  size_t num_detections;
  const float *mask;  // of a segmenter, probabilities; mask[y * mask_stride + x] is at (y, x) of mask_height x mask_width,
  size_t mask_height, mask_width, mask_stride;  // which cover the whole frame; null for a detector
  const int32_t *classes;  // of a segmenter of several classes, at the same places; null for others. 0 is background, any
                           // other number is 1 more than that of the label, for patchwork_label
  int row, column;  // of the window that was looked at, in cells; -1 for the whole frame
  int looked;       // 0 if the system skips this frame, and the answer is the one before
} patchwork_answer;

// Opens a file. `library` is the path of LiteRT's library, or its name if the system finds it by that, as on Android;
// `threads` of inference. The first model's library serves the whole program; another one is PATCHWORK_BAD_FILE. On
// failure *model is null.
PATCHWORK_API int patchwork_model_open(const char *library, const char *path, int threads, patchwork_model **model);

// The app uses the model no more; its memory is freed when its last stream is closed, too. Null is allowed.
PATCHWORK_API void patchwork_model_close(patchwork_model *model);

// Height and width of the frames that the network sees, in pixels; cells per side of its grid, and of a window. All are 0
// for null.
PATCHWORK_API void patchwork_model_size(const patchwork_model *model, int *height, int *width, int *cells, int *window);

// Names of classes, UTF-8, which last as long as the model; null beyond the last, and for a model that is null.
PATCHWORK_API const char *patchwork_label(const patchwork_model *model, int label);

// Starts a video. A model may have several. On failure *stream is null.
PATCHWORK_API int patchwork_stream_open(patchwork_model *model, patchwork_stream **stream);
PATCHWORK_API void patchwork_stream_close(patchwork_stream *stream);  // null is allowed

// Answers the next frame: RGB, 8 bits each, rows `stride` bytes apart, upright. Frames of one video have one size.
// Nothing is allocated but for the first frame. On failure *answer is as it was.
PATCHWORK_API int patchwork_stream_push(patchwork_stream *stream, const uint8_t *rgb, int height, int width,
                                        size_t stride, patchwork_answer *answer);

// Forgets the video: the next frame is the first of another. Call it after a cut, or when the app was paused.
PATCHWORK_API int patchwork_stream_reset(patchwork_stream *stream);

// What went wrong in this thread's last call that returned a status, in one line; "" if nothing did. It lasts until the
// next such call.
PATCHWORK_API const char *patchwork_error(void);

#ifdef __cplusplus
}
#endif

#endif
