// What is done when it cannot go on. The runner (fail.c) ends with one line on standard error and an exit code; the
// library (patchwork.c) returns a status.
#ifndef PATCHWORK_FAIL_H
#define PATCHWORK_FAIL_H

// What source files share; static in the library, which is one: an app may have functions of these names.
#ifdef ONE_SOURCE_FILE
#define SHARED static
#else
#define SHARED extern
#endif

enum failure {
  BAD_INPUT = 1,         // model, library, frames or windows
  BAD_USAGE = 2,         // flags
  INFERENCE_FAILED = 3,  // LiteRT accepted the model, but could not run it
  CANNOT_WRITE = 4,      // samples or dump
  NO_MEMORY = 5,
};

SHARED _Noreturn void fail(enum failure code, const char *format, ...) __attribute__((format(printf, 2, 3)));

// From now on what libraries print to standard error is not shown; the errors among it end up in fail's line.
void keep_library_messages(void);

#endif
