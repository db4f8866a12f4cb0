#include "litert.h"

#include <dlfcn.h>
#include <stdbool.h>

#include "fail.h"

struct litert litert;
static bool is_loaded;

static void *function(void *library, const char *path, const char *name) {
  void *address = dlsym(library, name);
  if (!address) fail(BAD_INPUT, "%s: no %s in it; LiteRT 2.2 or newer is needed", path, name);
  return address;
}

void litert_load(const char *path) {
  if (is_loaded) return;
  void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (!library) fail(BAD_INPUT, "cannot load the library: %s", dlerror());
  // Came with the argument that CreateModelFromBuffer lacks in LiteRT 2.1, which would crash.
  function(library, path, "LiteRtCreateModelFromFd");
#define LOAD(name, arguments) *(void **)&litert.name = function(library, path, "LiteRt" #name);
  LITERT_FUNCTIONS(LOAD)
  LITERT_DESTROYERS(LOAD)
#undef LOAD
  is_loaded = true;
}

const char *litert_status(int status) {
  switch (status) {
    case 2: return "out of memory";
    case 3: return "runtime failure";
    case 500: return "cannot read the file";
    case 501: return "not a TFLite file, or a damaged one";
    case 504: return "cannot compile it: an operator that this library lacks?";
    default: return "LiteRT refused it";
  }
}

static const struct {
  int type;
  size_t bytes;
  const char *name;
} ELEMENTS[] = {
    {LITERT_FLOAT32, 4, "float32"},
    {LITERT_INT32, 4, "int32"},
    {3, 1, "uint8"},
    {4, 8, "int64"},
    {6, 1, "bool"},
    {7, 2, "int16"},
    {9, 1, "int8"},
    {10, 2, "float16"},
};
enum { NUM_ELEMENTS = sizeof ELEMENTS / sizeof *ELEMENTS };

const char *element_name(int element_type) {
  for (int i = 0; i < NUM_ELEMENTS; i++)
    if (ELEMENTS[i].type == element_type) return ELEMENTS[i].name;
  return NULL;
}

size_t element_bytes(int element_type) {
  for (int i = 0; i < NUM_ELEMENTS; i++)
    if (ELEMENTS[i].type == element_type) return ELEMENTS[i].bytes;
  return 0;
}
