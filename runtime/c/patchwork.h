// Patchwork in an app, in C and C++: opens a file of patchwork-export and answers the frames of a video.
//
// Build patchwork.c with your app and link with -ldl -lm -lpthread, or take CMakeLists.txt. LiteRT's library is loaded by
// patchwork_load. Functions that return an int return a status, PATCHWORK_OK if all is well; patchwork_error says what is
// wrong. A model and its streams are used by one thread at a time, any, and closed when none uses them; several models may
// run in several threads.
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
  PATCHWORK_BUSY = 5,  // another thread is in a function of this model or of one of its streams
};

// How pixels are stored, 8 bits each.
enum patchwork_format {
  PATCHWORK_RGB = 0,
  PATCHWORK_BGR = 1,
  PATCHWORK_RGBA = 2,  // alpha is not looked at
  PATCHWORK_BGRA = 3,
  PATCHWORK_GREY = 4,
  PATCHWORK_NV12 = 5,  // YUV with colours at half of the height and width: planes Y and UV,
  PATCHWORK_NV21 = 6,  // Y and VU,
  PATCHWORK_I420 = 7,  // Y, U and V
};

// A frame as a camera or a decoder gives it. It is read in patchwork_stream_push, and not kept. Fields that a format does
// not have may be 0.
typedef struct {
  int format;
  int height, width;         // as it is stored, in pixels
  int rotation;              // 0, 90, 180 or 270 degrees: turned so far clockwise, it stands upright
  const uint8_t *planes[3];  // the first row of each
  size_t strides[3];         // bytes from one row to the next
  size_t chroma_step;        // of I420: bytes from one U to the next, and of V, as Android's pixelStride; 0 is 1
  int full_range;            // of YUV (BT.601): 0 if black is 16 and white 235, as in video; 1 if 0 and 255, as of cameras
} patchwork_frame;

// How a video begins.
enum patchwork_start {
  PATCHWORK_WHOLE = 0,  // the first frame is looked at as a whole: 1.1 to 1.2 times the cost of the single-frame network
  PATCHWORK_SWEEP = 1,  // no frame costs more than a window: the first ones look through windows that cover the frame
};

typedef struct patchwork_model patchwork_model;
typedef struct patchwork_stream patchwork_stream;

// An object in a frame.
typedef struct {
  float ymin, xmin, ymax, xmax;  // fractions of the frame, upright
  float score;                   // in [0, 1]
  int label;                     // for patchwork_label
} patchwork_detection;

// What is known after a frame, all of it, also what was not looked at. `detections`, `mask` and `classes` belong to the
// stream and last until it is next pushed a frame, reset or closed; copy what is needed longer.
typedef struct {
  const patchwork_detection *detections;  // of a detector, the best first
  size_t num_detections;
  const float *mask;  // of a segmenter, probabilities; mask[y * mask_stride + x] is at (y, x) of mask_height x mask_width,
  size_t mask_height, mask_width, mask_stride;  // which cover the whole frame, upright; null for a detector
  const int32_t *classes;  // of a segmenter of several classes, at the same places; null for others. 0 is background, any
                           // other number is 1 more than that of the label, for patchwork_label
  int row, column;  // of the window that was looked at, in cells; -1 for the whole frame
  int looked;       // 0 if the system skips this frame, and the answer is the one before
} patchwork_answer;

// Loads LiteRT's library, once in a program: `library` is its path, or its name if the system finds it by that, as on
// Android. Again with the same one is fine; with another one it is PATCHWORK_BAD_FILE.
PATCHWORK_API int patchwork_load(const char *library);

// The same of a library that the app has loaded: what dlopen returned.
PATCHWORK_API int patchwork_load_handle(void *handle);

// Opens a file by its path; `threads` of inference. The file is mapped into memory: to replace it, write another one and
// rename it. On failure *model is null.
PATCHWORK_API int patchwork_model_open(const char *path, int threads, patchwork_model **model);

// The same of a file in memory, at an address that 16 divides. It must stay as it is until the model and its streams are
// closed.
PATCHWORK_API int patchwork_model_open_memory(const void *content, size_t bytes, int threads, patchwork_model **model);

// The same of a file, or of a part of one, as Android's AssetFileDescriptor gives it. The descriptor may be closed after.
PATCHWORK_API int patchwork_model_open_descriptor(int descriptor, int64_t offset, int64_t length, int threads,
                                                  patchwork_model **model);

// The app uses the model no more; its memory is freed when its last stream is closed, too. Null is allowed.
PATCHWORK_API void patchwork_model_close(patchwork_model *model);

// Height and width of the frames that the network sees, in pixels; cells per side of its grid, and of a window. All are 0
// for null.
PATCHWORK_API void patchwork_model_size(const patchwork_model *model, int *height, int *width, int *cells, int *window);

// Names of classes, UTF-8, which last as long as the model; null beyond the last, and for a model that is null.
PATCHWORK_API const char *patchwork_label(const patchwork_model *model, int label);

// Starts a video, by one of enum patchwork_start. A model may have several, which take turns; one more costs its states
// and its answer. On failure *stream is null.
PATCHWORK_API int patchwork_stream_open(patchwork_model *model, int start, patchwork_stream **stream);
PATCHWORK_API void patchwork_stream_close(patchwork_stream *stream);  // null is allowed

// Answers the next frame. Frames of one video have one size and rotation. Nothing is allocated but for the first frame. On
// failure *answer is as it was.
PATCHWORK_API int patchwork_stream_push(patchwork_stream *stream, const patchwork_frame *frame, patchwork_answer *answer);

// Forgets the video: the next frame is the first of another. Call it after a cut, a turn of the phone, or a pause.
PATCHWORK_API int patchwork_stream_reset(patchwork_stream *stream);

// What went wrong in this thread's last call that returned a status, in one line; "" if nothing did. It lasts until the
// next such call.
PATCHWORK_API const char *patchwork_error(void);

#ifdef __cplusplus
}
#endif

#endif
