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
    fail(INFERENCE_FAILED, "%s: no memory for '%s', %zu bytes", model->path, tensor->name, tensor->bytes);
  memset(memory(buffer), tensor->zero, tensor->bytes);
  return buffer;
}

struct context context_create(const struct model *model, enum state_buffers state_buffers) {
  struct context context = {.model = model, .state_buffers = state_buffers};
  context.inputs = calloc(model->inputs.count, sizeof *context.inputs);
  context.outputs = calloc(model->outputs.count, sizeof *context.outputs);
  for (size_t i = 0; i < model->inputs.count; i++)
    context.inputs[i] = create_buffer(model, &model->inputs.list[i]);
  for (size_t i = 0; i < model->outputs.count; i++) {
    const struct tensor *output = &model->outputs.list[i];
    bool shared = output->twin != NONE && state_buffers == ALIAS;
    context.outputs[i] = shared ? context.inputs[output->twin] : create_buffer(model, output);
  }
  context.start_outputs = calloc(model->start_outputs.count, sizeof *context.start_outputs);
  for (size_t i = 0; i < model->start_outputs.count; i++) {
    int output = model->start_outputs.list[i].twin, input = model->outputs.list[output].twin;
    context.start_outputs[i] = input == NONE ? context.outputs[output] : context.inputs[input];
  }
  return context;
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
