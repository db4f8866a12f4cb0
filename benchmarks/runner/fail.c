#define _GNU_SOURCE  // dprintf

#include "fail.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int terminal = STDERR_FILENO;  // where our line goes
static int messages = -1;             // what libraries printed can be read here

void keep_library_messages(void) {
  int ends[2];
  if (pipe(ends)) return;
  for (int i = 0; i < 2; i++) fcntl(ends[i], F_SETFL, O_NONBLOCK);  // a full pipe must not stop anybody
  terminal = dup(STDERR_FILENO);
  messages = ends[0];
  dup2(ends[1], STDERR_FILENO);
  close(ends[1]);
}

// The errors that libraries printed, in one line; empty if there were none.
static const char *library_errors(void) {
  static char text[4096];
  long length = read(messages, text, sizeof text - 1);
  text[length > 0 ? length : 0] = '\0';
  const char *error = strstr(text, "ERROR: ");
  for (char *c = text; *c; c++)
    if (*c == '\n') *c = ' ';
  return error ? error : "";
}

void fail(enum failure code, const char *format, ...) {
  char message[4096];
  va_list values;
  va_start(values, format);
  vsnprintf(message, sizeof message, format, values);
  va_end(values);
  const char *errors = library_errors();
  dprintf(terminal, "patchwork_runner: %s%s%s\n", message, *errors ? "; LiteRT says: " : "", errors);
  exit(code);
}
