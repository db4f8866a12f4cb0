// The part of LiteRT's C API that is used here, loaded with dlopen and declared here: no headers and no
// LiteRT library are needed to build. The declarations are those of LiteRT 2.2 and 2.3; 2.1 and older differ.
#ifndef PATCHWORK_LITERT_H
#define PATCHWORK_LITERT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fail.h"

typedef struct LiteRtEnvironmentT *LiteRtEnvironment;
typedef struct LiteRtModelT *LiteRtModel;
typedef struct LiteRtSignatureT *LiteRtSignature;
typedef struct LiteRtTensorT *LiteRtTensor;
typedef struct LiteRtOptionsT *LiteRtOptions;
typedef struct LiteRtOpaqueOptionsT *LiteRtOpaqueOptions;
typedef struct LiteRtCompiledModelT *LiteRtCompiledModel;
typedef struct LiteRtTensorBufferT *LiteRtTensorBuffer;

enum { LITERT_CPU = 1 };                        // hardware accelerators, a bit each
enum { LITERT_HOST_MEMORY = 1 };                // kinds of tensor buffers
enum { LITERT_FLOAT32 = 1, LITERT_INT32 = 2 };  // element types; litert.c knows some more

// Options of an environment.
enum { LITERT_AUTO_REGISTER_ACCELERATORS = 24, LITERT_MIN_LOGGER_SEVERITY = 25 };
enum { LITERT_ANY_INT = 2 };
enum { LITERT_SEVERITY_ERROR = 3 };

typedef struct {
  int tag;
  struct {
    int type;
    int64_t value;
  } any;
} LiteRtEnvOption;

typedef struct {
  int element_type;
  unsigned rank : 7;
  unsigned has_strides : 1;
  int32_t dimensions[8];
  uint32_t strides[8];
} LiteRtRankedTensorType;

enum { LITERT_QUANTIZED_PER_TENSOR = 1 };

typedef struct {
  float scale;
  int64_t zero_point;
} LiteRtQuantizationPerTensor;

_Static_assert(sizeof(LiteRtEnvOption) == 24, "as LiteRT lays it out");
_Static_assert(sizeof(LiteRtRankedTensorType) == 72, "as LiteRT lays it out");

// Every function returns a status, 0 if all is well.
#define LITERT_FUNCTIONS(F)                                                                                  \
  F(CreateEnvironment, (int, const LiteRtEnvOption *, LiteRtEnvironment *))                                  \
  F(GetModelMetadata, (LiteRtModel, const char *key, const void **content, size_t *bytes))                   \
  F(CreateModelFromBuffer, (LiteRtEnvironment, const void *content, size_t bytes, LiteRtModel *))            \
  F(GetNumModelSignatures, (LiteRtModel, size_t *))                                                          \
  F(GetModelSignature, (LiteRtModel, size_t, LiteRtSignature *))                                             \
  F(GetSignatureKey, (LiteRtSignature, const char **))                                                       \
  F(GetNumSignatureInputs, (LiteRtSignature, size_t *))                                                      \
  F(GetSignatureInputName, (LiteRtSignature, size_t, const char **))                                         \
  F(GetSignatureInputTensor, (LiteRtSignature, const char *name, LiteRtTensor *))                            \
  F(GetNumSignatureOutputs, (LiteRtSignature, size_t *))                                                     \
  F(GetSignatureOutputName, (LiteRtSignature, size_t, const char **))                                        \
  F(GetSignatureOutputTensor, (LiteRtSignature, const char *name, LiteRtTensor *))                           \
  F(GetRankedTensorType, (LiteRtTensor, LiteRtRankedTensorType *))                                           \
  F(GetQuantizationTypeId, (LiteRtTensor, int *))                                                            \
  F(GetPerTensorQuantization, (LiteRtTensor, LiteRtQuantizationPerTensor *))                                 \
  F(CreateOptions, (LiteRtOptions *))                                                                        \
  F(SetOptionsHardwareAccelerators, (LiteRtOptions, int))                                                    \
  F(CreateOpaqueOptions, (const char *, void *payload, void (*release)(void *), LiteRtOpaqueOptions *))      \
  F(AddOpaqueOptions, (LiteRtOptions, LiteRtOpaqueOptions))                                                  \
  F(CreateCompiledModel, (LiteRtEnvironment, LiteRtModel, LiteRtOptions, LiteRtCompiledModel *))             \
  F(CreateManagedTensorBuffer,                                                                               \
    (LiteRtEnvironment, int kind, const LiteRtRankedTensorType *, size_t bytes, LiteRtTensorBuffer *))       \
  F(GetTensorBufferHostMemory, (LiteRtTensorBuffer, void **))                                                \
  F(RunCompiledModel, (LiteRtCompiledModel, size_t signature, size_t num_inputs, LiteRtTensorBuffer *inputs, \
                       size_t num_outputs, LiteRtTensorBuffer *outputs))

// These return nothing, and take null too.
#define LITERT_DESTROYERS(F)                       \
  F(DestroyEnvironment, LiteRtEnvironment)         \
  F(DestroyModel, LiteRtModel)                     \
  F(DestroyOptions, LiteRtOptions)                 \
  F(DestroyCompiledModel, LiteRtCompiledModel)     \
  F(DestroyTensorBuffer, LiteRtTensorBuffer)

#define LITERT_MEMBER(name, arguments) int(*name) arguments;
#define LITERT_DESTROYER(name, kind) void (*name)(kind);
struct litert {
  LITERT_FUNCTIONS(LITERT_MEMBER)
  LITERT_DESTROYERS(LITERT_DESTROYER)
};
#undef LITERT_MEMBER
#undef LITERT_DESTROYER

SHARED struct litert litert;

// Loads the library, as dlopen finds it, once in a program; any thread may. Fails if it is missing, no LiteRT, too old,
// or another than the one that is there.
SHARED void litert_load(const char *path);

// The same of what dlopen returned. The first to come is the program's.
SHARED void litert_use(void *library, const char *name);

// Whether one of these has been called, and did not fail.
SHARED bool litert_is_loaded(void);

// What a status means, for error messages.
SHARED const char *litert_status(int status);

struct element {
  int type;
  size_t bytes;
  const char *name;  // numpy's
};

// What an element type is; no bytes and no name if our files never have it.
SHARED struct element element_of(int element_type);

#endif
