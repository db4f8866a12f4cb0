// The buffers of one stream through a model. Its state stays where it is: nothing is copied between steps.
#ifndef PATCHWORK_CONTEXT_H
#define PATCHWORK_CONTEXT_H

#include "model.h"

enum state_buffers {
  ALIAS,  // every state tensor has one buffer, which is input and output at once
  SWAP,   // every state tensor has two, which change places after each step
  LEND,   // none: what is no state and no answer that lasts, for streams to borrow, which take turns
};

struct context {
  const struct model *model;
  const struct context *lender;  // or null
  enum state_buffers state_buffers;
  LiteRtTensorBuffer *inputs, *outputs;  // of the next step
  LiteRtTensorBuffer *start_outputs;     // of a first frame, if the model can start with one
};

// Makes the buffers of a new stream, all zero, but for those that it borrows from a context that LENDs, if `lender` is not
// null. If it fails, what there is until then can be closed.
SHARED void context_create(struct context *context, const struct model *model, enum state_buffers state_buffers,
                           const struct context *lender);

// Forgets the video so far: all state is zero.
SHARED void context_reset(struct context *context);

// Frees the buffers.
SHARED void context_close(struct context *context);

// Runs one step; its state outputs are the state inputs of the next.
SHARED void context_step(struct context *context);

// Runs the first frame of a video, looked at as a whole; its state outputs are the state inputs of the next step.
SHARED void context_start(struct context *context);

// Where the content of an input of the next step, or of an output of the last, lies.
SHARED void *input_memory(const struct context *context, int index);
SHARED void *output_memory(const struct context *context, int index);

#endif
