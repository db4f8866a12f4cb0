#include "options.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fail.h"

#define VERSION "0.1.0"

static const char HELP[] =
    "Measures how long an exported Patchwork file takes per frame, its state fed back without copies.\n"
    "\n"
    "  patchwork_runner --library=./libLiteRt.so --model=F.tflite --samples=OUT.txt\n"
    "\n"
    "  --library=FILE     libLiteRt.so of LiteRT 2.2 or newer\n"
    "  --model=FILE       exported by patchwork-export\n"
    "  --samples=FILE     where the time of every frame goes\n"
    "  --steps=1000       frames to measure\n"
    "  --warmup=20        frames before that, all of them processed\n"
    "  --threads=1        of XNNPACK\n"
    "  --cpu_mask=HEX     cores to run on, a bit each, as in f0; any by default\n"
    "  --fps=0            frames per second, each processed when it is due; 0 is back to back\n"
    "  --interval=1       process every 2nd, 3rd, ... frame; the others keep its answer\n"
    "  --flip             run the mirrored frame as a second stream, with a state of its own\n"
    "  --positions=1      of a window along one side, cells - window + 1; for --flip\n"
    "  --windows=FILE     lines of 'row column', repeated for ever, instead of what the model chooses\n"
    "  --frames=FILE      raw float32 [n, H, W, 3], repeated for ever, instead of noise\n"
    "  --seed=0           of the noise\n"
    "  --buffers=alias    state tensors: alias (one buffer, input and output) or swap (two, changing places)\n"
    "  --dump=FILE        all outputs but the state of every measured frame; FILE.index says how they lie\n"
    "\n"
    "Exit codes: 0 done, 1 bad model, library or input, 2 wrong usage, 3 inference failed, 4 cannot write.\n";

// The value of an argument that reads --name=value, else null.
static const char *value_of(const char *argument, const char *name) {
  size_t length = strlen(name);
  if (strncmp(argument, "--", 2) || strncmp(argument + 2, name, length) || argument[2 + length] != '=')
    return NULL;
  return argument + 2 + length + 1;
}

static bool parse_file(const char *argument, const char *name, const char **file) {
  const char *value = value_of(argument, name);
  if (!value) return false;
  if (!*value) fail(BAD_USAGE, "%s: name a file (see --help)", argument);
  *file = value;
  return true;
}

static bool parse_count(const char *argument, const char *name, long least, long *count) {
  const char *value = value_of(argument, name);
  if (!value) return false;
  enum { MOST = 1000000000 };
  char *end;
  errno = 0;
  *count = strtol(value, &end, 10);
  if (errno || end == value || *end || *count < least || *count > MOST)
    fail(BAD_USAGE, "%s: give a whole number from %ld to %d (see --help)", argument, least, MOST);
  return true;
}

static bool parse_bits(const char *argument, const char *name, int base, uint64_t *bits) {
  const char *value = value_of(argument, name);
  if (!value) return false;
  char *end;
  errno = 0;
  *bits = strtoull(value, &end, base);
  if (errno || end == value || *end || *value == '-')
    fail(BAD_USAGE, "%s: give a %s number below 2^64 (see --help)", argument,
         base == 16 ? "hexadecimal" : "whole");
  return true;
}

static bool parse_rate(const char *argument, const char *name, double *rate) {
  const char *value = value_of(argument, name);
  if (!value) return false;
  char *end;
  *rate = strtod(value, &end);
  if (end == value || *end || !(*rate == 0 || (*rate >= 0.001 && *rate <= 100000)))
    fail(BAD_USAGE, "%s: give frames per second, or 0 for back to back (see --help)", argument);
  return true;
}

static bool parse_buffers(const char *argument, const char *name, enum state_buffers *buffers) {
  const char *value = value_of(argument, name);
  if (!value) return false;
  if (strcmp(value, "alias") && strcmp(value, "swap"))
    fail(BAD_USAGE, "%s: give alias or swap (see --help)", argument);
  *buffers = strcmp(value, "swap") ? ALIAS : SWAP;
  return true;
}

static bool parse_switch(const char *argument, const char *name, bool *on) {
  if (strncmp(argument, "--", 2) || strcmp(argument + 2, name)) return false;
  return *on = true;
}

static bool parse(const char *argument, struct options *options) {
  return parse_file(argument, "library", &options->library) || parse_file(argument, "model", &options->model) ||
         parse_file(argument, "samples", &options->samples) ||
         parse_file(argument, "windows", &options->windows) || parse_file(argument, "frames", &options->frames) ||
         parse_file(argument, "dump", &options->dump) || parse_count(argument, "steps", 1, &options->steps) ||
         parse_count(argument, "warmup", 0, &options->warmup) ||
         parse_count(argument, "threads", 1, &options->threads) ||
         parse_count(argument, "interval", 1, &options->interval) ||
         parse_count(argument, "positions", 1, &options->positions) ||
         parse_bits(argument, "cpu_mask", 16, &options->cpu_mask) ||
         parse_bits(argument, "seed", 10, &options->seed) || parse_rate(argument, "fps", &options->fps) ||
         parse_switch(argument, "flip", &options->flip) ||
         parse_buffers(argument, "buffers", &options->state_buffers);
}

struct options options_parse(int count, char **arguments) {
  struct options options = {.steps = 1000, .warmup = 20, .threads = 1, .interval = 1, .positions = 1};
  for (int i = 1; i < count; i++) {
    bool help = !strcmp(arguments[i], "--help");
    if (help || !strcmp(arguments[i], "--version")) {
      fputs(help ? HELP : "patchwork_runner " VERSION "\n", stdout);
      exit(0);
    }
    if (!parse(arguments[i], &options)) fail(BAD_USAGE, "%s: no such flag (see --help)", arguments[i]);
  }
  if (!options.library) fail(BAD_USAGE, "--library is missing: where libLiteRt.so is (see --help)");
  if (!options.model) fail(BAD_USAGE, "--model is missing: the file to measure (see --help)");
  if (!options.samples) fail(BAD_USAGE, "--samples is missing: where the times go (see --help)");
  return options;
}
