// The file of raw times. Its last line counts and checks it: a file without is not to be believed, whatever the
// exit code said, for a cable may have been pulled.
#ifndef PATCHWORK_SAMPLES_H
#define PATCHWORK_SAMPLES_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

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

// Opens the file, which also makes a stale one invalid. Fails if it cannot be written.
FILE *samples_open(const char *path);

// Writes everything and closes the file.
void samples_write(FILE *file, const struct options *options, const struct run_facts *facts,
                   const struct sample *samples);

#endif
