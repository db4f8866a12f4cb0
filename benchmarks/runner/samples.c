#include "samples.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>

#include "fail.h"

struct sink {
  FILE *file;
  uint32_t crc;  // of what was written, CRC-32 as in zlib, inverted
};

FILE *samples_open(const char *path) {
  FILE *file = fopen(path, "wb");
  if (!file) fail(CANNOT_WRITE, "%s: %s", path, strerror(errno));
  return file;
}

static uint32_t crc_update(uint32_t crc, const char *text) {
  for (; *text; text++) {
    crc ^= (unsigned char)*text;
    for (int bit = 0; bit < 8; bit++) crc = (crc >> 1) ^ (crc & 1 ? 0xedb88320 : 0);
  }
  return crc;
}

__attribute__((format(printf, 2, 3))) static void put(struct sink *sink, const char *format, ...) {
  char line[1024];
  va_list values;
  va_start(values, format);
  vsnprintf(line, sizeof line, format, values);
  va_end(values);
  sink->crc = crc_update(sink->crc, line);
  fputs(line, sink->file);
}

static const char *basename_of(const char *path) {
  const char *slash = strrchr(path, '/');
  return slash ? slash + 1 : path;
}

void samples_write(FILE *file, const struct options *options, const struct run_facts *facts,
                   const struct sample *samples) {
  struct sink sink = {file, 0xffffffff};
  put(&sink, "patchwork-samples 1\n");
  put(&sink, "model %.255s steps %ld warmup %ld threads %ld fps %g interval %ld flip %d buffers %s\n",
      basename_of(options->model), options->steps, options->warmup, options->threads, options->fps,
      options->interval, options->flip, options->state_buffers == ALIAS ? "alias" : "swap");
  put(&sink, "load_ns %lld\nfirst_ns %lld\n", (long long)facts->load_ns, (long long)facts->first_ns);
  put(&sink, "peak_kb %ld\n", facts->peak_kb);
  for (long i = 0; i < options->steps; i++)
    put(&sink, "%s %lld %d\n", samples[i].kind, (long long)samples[i].ns, samples[i].late);
  fprintf(file, "end %ld %08x\n", options->steps, (unsigned)~sink.crc);
  if (ferror(file) | fclose(file)) fail(CANNOT_WRITE, "%s: %s", options->samples, strerror(errno));
}
