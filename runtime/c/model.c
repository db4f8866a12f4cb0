#ifndef _DEFAULT_SOURCE
#define _DEFAULT_SOURCE  // madvise
#endif

#include "model.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fail.h"

static const size_t MOST_BYTES = 1 << 30;  // of a tensor

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

// Whether its metadata say a text. False if it has none.
static bool metadata_say(const struct model *model, const char *text) {
  const void *content;
  size_t bytes, length = strlen(text);
  if (litert.GetModelMetadata(model->file, METADATA, &content, &bytes)) return false;
  for (const char *at = content, *end = at + bytes; at + length <= end; at++)
    if (!memcmp(at, text, length)) return true;
  return false;
}

static void set_options(struct model *model, int threads) {
  // In a cache both signatures find the same packed weights; else each has its own. XNNPACK packs zero points with
  // weights in 8 bits, and these are not the same in both: it would find the wrong ones.
  bool shared = !metadata_say(model, "\"quantization\": \"int8\"");
  enum { SIZE = 80 };
  LiteRtOpaqueOptions xnnpack;
  char *text = malloc(SIZE);
  if (!text) fail(NO_MEMORY, "%s: no memory", model->path);
  snprintf(text, SIZE, "num_threads = %d\n%s", threads, shared ? "weight_cache_file_path = \":memory\"\n" : "");
  check(litert.CreateOptions(&model->options), model->path, "set options");
  check(litert.SetOptionsHardwareAccelerators(model->options, LITERT_CPU), model->path, "choose the CPU");
  check(litert.CreateOpaqueOptions("xnnpack", text, free, &xnnpack), model->path, "set XNNPACK's options");
  check(litert.AddOpaqueOptions(model->options, xnnpack), model->path, "set XNNPACK's options");
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
  if (kind != LITERT_QUANTIZED_PER_TENSOR || element_of(type->element_type).bytes != 1) return 0;
  check(litert.GetPerTensorQuantization(tensor, &quantization), path, "read its tensors");
  return (int)quantization.zero_point;
}

static struct tensor describe(LiteRtTensor tensor, const char *name, const char *path) {
  struct tensor described = {.name = name, .twin = NONE};
  check(litert.GetRankedTensorType(tensor, &described.type), path, "read its tensors");
  described.zero = zero_byte(tensor, &described.type, path);
  described.bytes = element_of(described.type.element_type).bytes;
  for (unsigned axis = 0; axis < described.type.rank && described.bytes <= MOST_BYTES; axis++) {
    int size = described.type.dimensions[axis];
    described.bytes *= size < 0 ? 0 : (size_t)size;
  }
  if (!described.bytes || described.bytes > MOST_BYTES) fail(BAD_INPUT, "%s: cannot hold tensor '%s'", path, name);
  return described;
}

// The tensors of one side of a signature, by that side's functions.
static void read_tensors(struct tensors *tensors, LiteRtSignature signature, const char *path,
                         int (*get_count)(LiteRtSignature, size_t *),
                         int (*get_name)(LiteRtSignature, size_t, const char **),
                         int (*get_tensor)(LiteRtSignature, const char *, LiteRtTensor *)) {
  check(get_count(signature, &tensors->count), path, "read its tensors");
  tensors->list = calloc(tensors->count, sizeof *tensors->list);
  if (!tensors->list) fail(NO_MEMORY, "%s: no memory for %zu tensors", path, tensors->count);
  for (size_t i = 0; i < tensors->count; i++) {
    const char *name;
    LiteRtTensor tensor;
    check(get_name(signature, i, &name), path, "read its tensors");
    check(get_tensor(signature, name, &tensor), path, "read its tensors");
    tensors->list[i] = describe(tensor, name, path);
  }
}

int model_find(struct tensors tensors, const char *name) {
  for (size_t i = 0; i < tensors.count; i++)
    if (!strcmp(tensors.list[i].name, name)) return (int)i;
  return NONE;
}

// Marks every state input and the output that becomes it in the next step.
static void pair_states(struct model *model) {
  for (size_t i = 0; i < model->inputs.count; i++) {
    struct tensor *input = &model->inputs.list[i];
    if (strncmp(input->name, "state_", strlen("state_"))) continue;
    input->twin = model_find(model->outputs, input->name);
    if (input->twin == NONE) fail(BAD_INPUT, "%s: state '%s' goes in and never out", model->path, input->name);
    struct tensor *output = &model->outputs.list[input->twin];
    if (input->bytes != output->bytes || input->type.element_type != output->type.element_type)
      fail(BAD_INPUT, "%s: state '%s' is of one kind as input and of another as output", model->path, input->name);
    output->twin = (int)i;
    model->has_state = true;
  }
}

// A first frame is looked at as a whole: the frame goes in, and all that a step has comes out.
static void read_start(struct model *model) {
  LiteRtSignature signature = find_signature(model->file, model->path, "whole_frame", &model->start);
  if (!signature) return;
  model->has_start = true;
  size_t inputs;
  check(litert.GetNumSignatureInputs(signature, &inputs), model->path, "read its tensors");
  read_tensors(&model->start_outputs, signature, model->path, litert.GetNumSignatureOutputs,
               litert.GetSignatureOutputName, litert.GetSignatureOutputTensor);
  if (inputs != 1 || model->start_outputs.count != model->outputs.count)
    fail(BAD_INPUT, "%s: its signature 'whole_frame' does not go with 'step'", model->path);
  for (size_t i = 0; i < model->start_outputs.count; i++) {
    struct tensor *output = &model->start_outputs.list[i];
    output->twin = model_find(model->outputs, output->name);
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

// Maps a part of a file into memory, to the end if `bytes` is negative. The mapping begins at a page.
static const void *map_part(struct model *model, int file, int64_t offset, int64_t *bytes) {
  struct stat facts;
  if (fstat(file, &facts)) fail(BAD_INPUT, "%s: %s", model->path, strerror(errno));
  if (*bytes < 0) *bytes = facts.st_size;
  if (!*bytes) fail(BAD_INPUT, "%s: empty", model->path);
  if (offset < 0 || offset > facts.st_size || *bytes > facts.st_size - offset)
    fail(BAD_INPUT, "%s: it ends before byte %lld", model->path, (long long)(offset + *bytes));
  int64_t into = offset % sysconf(_SC_PAGESIZE);
  void *start = mmap(NULL, (size_t)(*bytes + into), PROT_READ, MAP_PRIVATE, file, offset - into);
  if (start == MAP_FAILED) fail(BAD_INPUT, "%s: %s", model->path, strerror(errno));
  model->mapped = start;
  model->mapped_bytes = (size_t)(*bytes + into);
  return (const char *)start + into;
}

static const void *map_path(struct model *model, int64_t *bytes) {
  model->opened = fopen(model->path, "rb");
  if (!model->opened) fail(BAD_INPUT, "%s: %s", model->path, strerror(errno));
  *bytes = -1;
  const void *content = map_part(model, fileno(model->opened), 0, bytes);
  fclose(model->opened);
  model->opened = NULL;
  return content;
}

// LiteRT verifies what it gets as a buffer; given the name of a damaged file it crashes.
static void read_file(struct model *model, struct source source) {
  const void *content = source.content;
  if (!content && source.descriptor != NONE)
    content = map_part(model, source.descriptor, source.offset, &source.bytes);
  else if (!content)
    content = map_path(model, &source.bytes);
  check(litert.CreateModelFromBuffer(model->environment, content, (size_t)source.bytes, &model->file), model->path,
        "load it");
}

void model_load(struct model *model, struct source source, int threads) {
  const char *path = source.path;
  *model = (struct model){.path = path};
  model->environment = create_environment();
  read_file(model, source);
  LiteRtSignature signature = find_signature(model->file, path, "step", &model->signature);
  if (!signature) fail(BAD_INPUT, "%s: no signature 'step' in it; was it exported by patchwork-export?", path);
  read_tensors(&model->inputs, signature, path, litert.GetNumSignatureInputs, litert.GetSignatureInputName,
               litert.GetSignatureInputTensor);
  read_tensors(&model->outputs, signature, path, litert.GetNumSignatureOutputs, litert.GetSignatureOutputName,
               litert.GetSignatureOutputTensor);
  model->frame = model_find(model->inputs, "frame");
  model->window = model_find(model->inputs, "window");
  model->next_window = model_find(model->outputs, "next_window");
  pair_states(model);
  check_tensors(model);
  read_start(model);
  set_options(model, threads);
  int status = litert.CreateCompiledModel(model->environment, model->file, model->options, &model->compiled);
  check(status, path, "compile it");
  // XNNPACK has packed the weights it computes with: what is mapped is read again where it is needed.
  if (model->mapped) madvise(model->mapped, model->mapped_bytes, MADV_DONTNEED);
}

void model_close(struct model *model) {
  if (model->compiled) litert.DestroyCompiledModel(model->compiled);
  if (model->options) litert.DestroyOptions(model->options);
  if (model->file) litert.DestroyModel(model->file);
  if (model->environment) litert.DestroyEnvironment(model->environment);
  if (model->opened) fclose(model->opened);
  if (model->mapped) munmap(model->mapped, model->mapped_bytes);
  free(model->inputs.list);
  free(model->outputs.list);
  free(model->start_outputs.list);
  *model = (struct model){0};
}
