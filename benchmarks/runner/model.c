#include "model.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fail.h"

static void check(int status, const char *path, const char *action) {
  if (status) fail(BAD_INPUT, "%s: cannot %s: %s (status %d)", path, action, litert_status(status), status);
}

static LiteRtEnvironment create_environment(void) {
  // Loading what drives GPUs takes time and memory that are not the model's.
  LiteRtEnvOption options[] = {
      {LITERT_AUTO_REGISTER_ACCELERATORS, {LITERT_ANY_INT, LITERT_CPU}},
      {LITERT_MIN_LOGGER_SEVERITY, {LITERT_ANY_INT, LITERT_SEVERITY_ERROR}},
  };
  LiteRtEnvironment environment;
  int status = litert.CreateEnvironment(2, options, &environment);
  if (status) fail(BAD_INPUT, "LiteRT does not start: %s (status %d)", litert_status(status), status);
  return environment;
}

static LiteRtOptions cpu_options(const char *path, int threads) {
  LiteRtOptions options;
  LiteRtOpaqueOptions xnnpack;
  char *text = malloc(32);
  snprintf(text, 32, "num_threads = %d\n", threads);
  check(litert.CreateOptions(&options), path, "set options");
  check(litert.SetOptionsHardwareAccelerators(options, LITERT_CPU), path, "choose the CPU");
  check(litert.CreateOpaqueOptions("xnnpack", text, free, &xnnpack), path, "set the number of threads");
  check(litert.AddOpaqueOptions(options, xnnpack), path, "set the number of threads");
  return options;
}

// Null if there is no signature of that name.
static LiteRtSignature find_signature(LiteRtModel file, const char *path, const char *name, size_t *index) {
  size_t count;
  check(litert.GetNumModelSignatures(file, &count), path, "read its signatures");
  for (*index = 0; *index < count; ++*index) {
    LiteRtSignature signature;
    const char *key;
    check(litert.GetModelSignature(file, *index, &signature), path, "read its signatures");
    check(litert.GetSignatureKey(signature, &key), path, "read its signatures");
    if (!strcmp(key, name)) return signature;
  }
  return NULL;
}

static int zero_byte(LiteRtTensor tensor, const LiteRtRankedTensorType *type, const char *path) {
  int kind;
  LiteRtQuantizationPerTensor quantization;
  check(litert.GetQuantizationTypeId(tensor, &kind), path, "read its tensors");
  if (kind != LITERT_QUANTIZED_PER_TENSOR || element_bytes(type->element_type) != 1) return 0;
  check(litert.GetPerTensorQuantization(tensor, &quantization), path, "read its tensors");
  return (int)quantization.zero_point;
}

static struct tensor describe(LiteRtTensor tensor, const char *name, const char *path) {
  struct tensor described = {.name = name, .twin = NONE};
  check(litert.GetRankedTensorType(tensor, &described.type), path, "read its tensors");
  described.zero = zero_byte(tensor, &described.type, path);
  described.bytes = element_bytes(described.type.element_type);
  for (unsigned axis = 0; axis < described.type.rank; axis++) {
    int size = described.type.dimensions[axis];
    described.bytes *= size < 0 ? 0 : (size_t)size;
  }
  if (!described.bytes) fail(BAD_INPUT, "%s: the runner cannot hold tensor '%s'", path, name);
  return described;
}

// The tensors of one side of a signature, by that side's functions.
static struct tensors read_tensors(LiteRtSignature signature, const char *path,
                                   int (*get_count)(LiteRtSignature, size_t *),
                                   int (*get_name)(LiteRtSignature, size_t, const char **),
                                   int (*get_tensor)(LiteRtSignature, const char *, LiteRtTensor *)) {
  struct tensors tensors;
  check(get_count(signature, &tensors.count), path, "read its tensors");
  tensors.list = calloc(tensors.count, sizeof *tensors.list);
  for (size_t i = 0; i < tensors.count; i++) {
    const char *name;
    LiteRtTensor tensor;
    check(get_name(signature, i, &name), path, "read its tensors");
    check(get_tensor(signature, name, &tensor), path, "read its tensors");
    tensors.list[i] = describe(tensor, name, path);
  }
  return tensors;
}

static int find(struct tensors tensors, const char *name) {
  for (size_t i = 0; i < tensors.count; i++)
    if (!strcmp(tensors.list[i].name, name)) return (int)i;
  return NONE;
}

// Marks every state input and the output that becomes it in the next step.
static void pair_states(struct model *model) {
  for (size_t i = 0; i < model->inputs.count; i++) {
    struct tensor *input = &model->inputs.list[i];
    if (strncmp(input->name, "state_", strlen("state_"))) continue;
    input->twin = find(model->outputs, input->name);
    if (input->twin == NONE) fail(BAD_INPUT, "%s: state '%s' goes in and never out", model->path, input->name);
    struct tensor *output = &model->outputs.list[input->twin];
    if (input->bytes != output->bytes || input->type.element_type != output->type.element_type)
      fail(BAD_INPUT, "%s: state '%s' is of one kind as input and of another as output", model->path, input->name);
    output->twin = (int)i;
    model->has_state = true;
  }
}

// A first frame is looked at as a whole: the frame goes in, and all that a step has comes out.
static void read_start(struct model *model, LiteRtModel file) {
  LiteRtSignature signature = find_signature(file, model->path, "whole_frame", &model->start);
  if (!signature) return;
  model->has_start = true;
  size_t inputs;
  check(litert.GetNumSignatureInputs(signature, &inputs), model->path, "read its tensors");
  model->start_outputs = read_tensors(signature, model->path, litert.GetNumSignatureOutputs,
                                      litert.GetSignatureOutputName, litert.GetSignatureOutputTensor);
  if (inputs != 1 || model->start_outputs.count != model->outputs.count)
    fail(BAD_INPUT, "%s: its signature 'whole_frame' does not go with 'step'", model->path);
  for (size_t i = 0; i < model->start_outputs.count; i++) {
    struct tensor *output = &model->start_outputs.list[i];
    output->twin = find(model->outputs, output->name);
    if (output->twin == NONE || output->bytes != model->outputs.list[output->twin].bytes)
      fail(BAD_INPUT, "%s: 'whole_frame' gives another '%s' than 'step'", model->path, output->name);
  }
}

static void check_window(const struct model *model, struct tensors tensors, int index) {
  if (index == NONE) return;
  const struct tensor *window = &tensors.list[index];
  if (window->type.element_type != LITERT_INT32 || window->bytes != 2 * sizeof(int32_t))
    fail(BAD_INPUT, "%s: '%s' is not int32 [2]", model->path, window->name);
}

static void check_tensors(const struct model *model) {
  if (model->frame == NONE) fail(BAD_INPUT, "%s: no input 'frame'", model->path);
  LiteRtRankedTensorType frame = model->inputs.list[model->frame].type;
  if (frame.element_type != LITERT_FLOAT32 || frame.rank != 4 || frame.dimensions[0] != 1 ||
      frame.dimensions[3] != 3)
    fail(BAD_INPUT, "%s: input 'frame' is not float32 [1, H, W, 3]", model->path);
  check_window(model, model->inputs, model->window);
  check_window(model, model->outputs, model->next_window);
  for (int i = 0; i < (int)model->inputs.count; i++)
    if (i != model->frame && i != model->window && model->inputs.list[i].twin == NONE)
      fail(BAD_INPUT, "%s: nothing to feed its input '%s'", model->path, model->inputs.list[i].name);
}

// LiteRT verifies what it gets as a buffer; given the name of a damaged file it crashes.
static LiteRtModel read_file(LiteRtEnvironment environment, const char *path) {
  int file = open(path, O_RDONLY);
  struct stat facts;
  if (file < 0 || fstat(file, &facts)) fail(BAD_INPUT, "%s: %s", path, strerror(errno));
  if (!facts.st_size) fail(BAD_INPUT, "%s: empty", path);
  size_t bytes = (size_t)facts.st_size;
  const void *content = mmap(NULL, bytes, PROT_READ, MAP_PRIVATE, file, 0);  // for as long as the model lives
  if (content == MAP_FAILED) fail(BAD_INPUT, "%s: %s", path, strerror(errno));
  close(file);
  LiteRtModel model;
  check(litert.CreateModelFromBuffer(environment, content, bytes, &model), path, "load it");
  return model;
}

struct model model_load(const char *path, int threads) {
  struct model model = {.path = path};
  model.environment = create_environment();
  LiteRtModel file = read_file(model.environment, path);
  LiteRtSignature signature = find_signature(file, path, "step", &model.signature);
  if (!signature) fail(BAD_INPUT, "%s: no signature 'step' in it; was it exported by patchwork-export?", path);
  model.inputs = read_tensors(signature, path, litert.GetNumSignatureInputs, litert.GetSignatureInputName,
                              litert.GetSignatureInputTensor);
  model.outputs = read_tensors(signature, path, litert.GetNumSignatureOutputs, litert.GetSignatureOutputName,
                               litert.GetSignatureOutputTensor);
  model.frame = find(model.inputs, "frame");
  model.window = find(model.inputs, "window");
  model.next_window = find(model.outputs, "next_window");
  pair_states(&model);
  check_tensors(&model);
  read_start(&model, file);
  LiteRtOptions options = cpu_options(path, threads);
  check(litert.CreateCompiledModel(model.environment, file, options, &model.compiled), path, "compile it");
  return model;
}
