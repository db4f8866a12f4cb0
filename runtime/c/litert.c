#include "litert.h"

#include <dlfcn.h>
#include <pthread.h>

#include "fail.h"

#ifndef ONE_SOURCE_FILE  // where its declaration defines it
struct litert litert;
#endif
static pthread_mutex_t loading = PTHREAD_MUTEX_INITIALIZER;
static void *loaded;

// Finds all functions; returns the name of one that is missing, else null.
static const char *find_functions(void *library) {
#define LOAD(name, arguments) \
  if (!(*(void **)&litert.name = dlsym(library, "LiteRt" #name))) return "LiteRt" #name;
  LITERT_FUNCTIONS(LOAD)
  LITERT_DESTROYERS(LOAD)
#undef LOAD
  // Came with the argument that CreateModelFromBuffer lacks in LiteRT 2.1, which would crash.
  const char *newest = "LiteRtCreateModelFromFd";
  return dlsym(library, newest) ? NULL : newest;
}

static _Noreturn void refuse_other(const char *name) {
  fail(BAD_INPUT, "%s: not the LiteRT that this program has loaded, and it can have only one", name);
}

void litert_use(void *library, const char *name) {
  pthread_mutex_lock(&loading);
  bool is_other = loaded && library != loaded;
  const char *missing = loaded ? NULL : find_functions(library);
  if (!loaded && !missing) loaded = library;
  pthread_mutex_unlock(&loading);
  if (is_other) refuse_other(name);
  if (missing) fail(BAD_INPUT, "%s: no %s in it; LiteRT 2.2 or newer is needed", name, missing);
}

void litert_load(const char *path) {
  bool is_first = !litert_is_loaded();
  void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL | (is_first ? 0 : RTLD_NOLOAD));
  if (!library && !is_first) refuse_other(path);
  if (!library) fail(BAD_INPUT, "cannot load the library: %s", dlerror());
  litert_use(library, path);
}

bool litert_is_loaded(void) {
  pthread_mutex_lock(&loading);
  bool is_loaded = loaded;
  pthread_mutex_unlock(&loading);
  return is_loaded;
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

static const struct element ELEMENTS[] = {
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

struct element element_of(int element_type) {
  for (int i = 0; i < NUM_ELEMENTS; i++)
    if (ELEMENTS[i].type == element_type) return ELEMENTS[i];
  return (struct element){element_type, 0, NULL};
}
