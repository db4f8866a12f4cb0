#include "context.h"

#include <stdlib.h>
#include <string.h>

#include "fail.h"

static void *memory(LiteRtTensorBuffer buffer) {
  void *address;
  if (litert.GetTensorBufferHostMemory(buffer, &address))
    fail(INFERENCE_FAILED, "LiteRT keeps a tensor buffer elsewhere than in main memory");
  return address;
}

void *input_memory(const struct context *context, int index) { return memory(context->inputs[index]); }

void *output_memory(const struct context *context, int index) { return memory(context->outputs[index]); }

static LiteRtTensorBuffer create_buffer(const struct model *model, const struct tensor *tensor) {
  LiteRtTensorBuffer buffer;
  if (litert.CreateManagedTensorBuffer(model->environment, LITERT_HOST_MEMORY, &tensor->type, tensor->bytes,
                                       &buffer))
    fail(NO_MEMORY, "%s: no memory for '%s', %zu bytes", model->path, tensor->name, tensor->bytes);
  return buffer;
}

// Room for buffers, none made yet.
static LiteRtTensorBuffer *new_list(const struct model *model, size_t count) {
  LiteRtTensorBuffer *list = calloc(count ? count : 1, sizeof *list);
  if (!list) fail(NO_MEMORY, "%s: no memory for %zu buffers", model->path, count);
  return list;
}

static bool is_shared(const struct context *context, size_t output) {
  return context->model->outputs.list[output].twin != NONE && context->state_buffers == ALIAS;
}

// Masks last until the stream's next frame; of all else that is no state the app gets a copy.
static bool can_be_lent(const struct tensor *tensor) {
  return tensor->twin == NONE && strcmp(tensor->name, "mask") && strcmp(tensor->name, "classes");
}

// Makes the buffers of one side, or borrows them.
static void create_buffers(const struct context *context, struct tensors tensors, const LiteRtTensorBuffer *lent,
                           LiteRtTensorBuffer *buffers) {
  for (size_t i = 0; i < tensors.count; i++) {
    const struct tensor *tensor = &tensors.list[i];
    if (lent && can_be_lent(tensor))
      buffers[i] = lent[i];
    else if (!buffers[i] && (context->state_buffers != LEND || can_be_lent(tensor)))
      buffers[i] = create_buffer(context->model, tensor);
  }
}

void context_create(struct context *context, const struct model *model, enum state_buffers state_buffers,
                    const struct context *lender) {
  *context = (struct context){.model = model, .lender = lender, .state_buffers = state_buffers};
  context->inputs = new_list(model, model->inputs.count);
  context->outputs = new_list(model, model->outputs.count);
  context->start_outputs = new_list(model, model->start_outputs.count);
  create_buffers(context, model->inputs, lender ? lender->inputs : NULL, context->inputs);
  for (size_t i = 0; i < model->outputs.count; i++)
    if (is_shared(context, i)) context->outputs[i] = context->inputs[model->outputs.list[i].twin];
  create_buffers(context, model->outputs, lender ? lender->outputs : NULL, context->outputs);
  for (size_t i = 0; i < model->start_outputs.count; i++) {
    int output = model->start_outputs.list[i].twin, input = model->outputs.list[output].twin;
    context->start_outputs[i] = input == NONE ? context->outputs[output] : context->inputs[input];
  }
  context_reset(context);
}

static void clear(struct tensors tensors, const LiteRtTensorBuffer *buffers) {
  for (size_t i = 0; i < tensors.count; i++)
    if (buffers[i]) memset(memory(buffers[i]), tensors.list[i].zero, tensors.list[i].bytes);
}

void context_reset(struct context *context) {
  clear(context->model->inputs, context->inputs);
  clear(context->model->outputs, context->outputs);
}

void context_close(struct context *context) {
  const struct model *model = context->model;
  for (size_t i = 0; context->outputs && i < model->outputs.count; i++)
    if (!is_shared(context, i) && !(context->lender && can_be_lent(&model->outputs.list[i])))
      litert.DestroyTensorBuffer(context->outputs[i]);
  for (size_t i = 0; context->inputs && i < model->inputs.count; i++)
    if (!(context->lender && can_be_lent(&model->inputs.list[i]))) litert.DestroyTensorBuffer(context->inputs[i]);
  free(context->inputs);
  free(context->outputs);
  free(context->start_outputs);
  *context = (struct context){0};
}

static void swap_states(struct context *context) {
  for (size_t i = 0; i < context->model->inputs.count; i++) {
    int twin = context->model->inputs.list[i].twin;
    if (twin == NONE) continue;
    LiteRtTensorBuffer input = context->inputs[i];
    context->inputs[i] = context->outputs[twin];
    context->outputs[twin] = input;
  }
}

static void run(const struct context *context, size_t signature, size_t num_inputs, LiteRtTensorBuffer *inputs,
                size_t num_outputs, LiteRtTensorBuffer *outputs) {
  const struct model *model = context->model;
  int status = litert.RunCompiledModel(model->compiled, signature, num_inputs, inputs, num_outputs, outputs);
  if (status)
    fail(INFERENCE_FAILED, "%s: inference failed: %s (status %d)", model->path, litert_status(status), status);
}

void context_step(struct context *context) {
  const struct model *model = context->model;
  run(context, model->signature, model->inputs.count, context->inputs, model->outputs.count, context->outputs);
  if (context->state_buffers == SWAP) swap_states(context);
}

void context_start(struct context *context) {
  const struct model *model = context->model;
  run(context, model->start, 1, &context->inputs[model->frame], model->start_outputs.count, context->start_outputs);
}
