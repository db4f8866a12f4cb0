// The answers of measured frames as raw bytes, to hold against those of other runtimes.
#ifndef PATCHWORK_DUMP_H
#define PATCHWORK_DUMP_H

#include <stdio.h>

#include "context.h"

struct dump {
  const char *path;  // null: nothing is dumped
  FILE *file;
  int *order;  // indices of the outputs that are no state, by name
  int count;
};

// Opens the file and writes its index: a line "name dtype size size ..." per output, in the order in which every
// frame has them. With two contexts the mirrored one's follow, as "mirrored/name".
struct dump dump_open(const char *path, const struct model *model, int num_contexts);

// Appends what a context answered last.
void dump_answers(struct dump *dump, const struct context *context);

void dump_close(struct dump *dump);

#endif
