// What a run leaves: the file of raw times, and the answers of measured frames, to hold against other runtimes'.
#ifndef PATCHWORK_RESULTS_H
#define PATCHWORK_RESULTS_H

#include <stdio.h>

#include "context.h"
#include "options.h"

struct sample {
  const char *kind;  // window, whole, key or skip
  int64_t ns;        // of inference
  bool late;         // it ended when the next frame was due already
};

struct run_facts {
  int64_t load_ns;   // of reading and compiling the model
  int64_t first_ns;  // of the very first frame
  long peak_kb;      // most memory ever held, in KiB
};

struct dump {
  const char *path;  // null: nothing is dumped
  FILE *file;
  int *order;  // indices of the outputs that are no state, by name
  int count;
};

// Opens a file to write, which also makes a stale one invalid. Fails if it cannot be written.
FILE *open_to_write(const char *path);

// Writes all times and closes the file. Its last line counts and checks it: a file without is not to be believed,
// whatever the exit code said, for a cable may have been pulled.
void samples_write(FILE *file, const struct options *options, const struct run_facts *facts,
                   const struct sample *samples);

// Opens the dump and writes its index: a line "name dtype size size ..." per output, in the order in which every
// frame has them. With two contexts the mirrored one's follow, as "mirrored/name".
struct dump dump_open(const char *path, const struct model *model, int num_contexts);

// Appends what a context answered last.
void dump_answers(struct dump *dump, const struct context *context);

void dump_close(struct dump *dump);

#endif
