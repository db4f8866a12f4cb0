// An exported file, compiled for the CPU: its signatures `step` and `whole_frame`, and the tensors
// that go in and out.
#ifndef PATCHWORK_MODEL_H
#define PATCHWORK_MODEL_H

#include <stdbool.h>
#include <stdio.h>

#include "litert.h"

#define METADATA "patchwork.json"

enum { NONE = -1 };

struct tensor {
  const char *name;  // in the signature
  LiteRtRankedTensorType type;
  size_t bytes;
  int zero;  // what each of its bytes is where it is zero: the zero point of int8
  int twin;  // state: index of the output, or input, of the same name; NONE for what is no state
};

struct tensors {
  size_t count;
  struct tensor *list;  // in the order that LiteRT wants their buffers, which is not that of their names
};

struct model {
  const char *path;  // or what else to call it in messages
  FILE *opened;      // null once it is mapped
  void *mapped;      // what is to be unmapped; null for a file in memory
  size_t mapped_bytes;
  LiteRtEnvironment environment;
  LiteRtModel file;
  LiteRtOptions options;
  LiteRtCompiledModel compiled;
  size_t signature;
  struct tensors inputs, outputs;
  bool has_start;               // whether there is a signature `whole_frame` for the first frame, whose one input is `frame`
  size_t start;                 // that signature
  struct tensors start_outputs;  // twin: index of the output of `step` of the same name
  bool has_state;           // single-frame models have none
  int frame;                // index of the input, float32 [1, H, W, 3]
  int window, next_window;  // of input and output, int32 [2] (row, column); NONE if there is none
};

// Where a file is: at `content`, if that is not null, else behind a descriptor, else at `path`.
struct source {
  const char *path;  // or what else to call it in messages
  const void *content;
  int descriptor;  // NONE if there is none
  int64_t offset, bytes;
};

// Loads and compiles a file. Fails, naming the file, if it is no model that can be fed; what there is until then can
// be closed.
SHARED void model_load(struct model *model, struct source source, int threads);

// Frees all that a model has. Nothing may use it any more.
SHARED void model_close(struct model *model);

// The index of the tensor of that name, or NONE.
SHARED int model_find(struct tensors tensors, const char *name);

#endif
