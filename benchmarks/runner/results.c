#include "results.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "fail.h"

FILE *open_to_write(const char *path) {
  FILE *file = fopen(path, "wb");
  if (!file) fail(CANNOT_WRITE, "%s: %s", path, strerror(errno));
  return file;
}

static void close_file(FILE *file, const char *path) {
  if (ferror(file) | fclose(file)) fail(CANNOT_WRITE, "%s: %s", path, strerror(errno));
}

struct sink {
  FILE *file;
  uint32_t crc;  // of what was written, CRC-32 as in zlib, inverted
};

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

void samples_write(FILE *file, const struct options *options, const struct run_facts *facts,
                   const struct sample *samples) {
  struct sink sink = {file, 0xffffffff};
  const char *slash = strrchr(options->model, '/');
  put(&sink, "patchwork-samples 1\n");
  put(&sink, "model %.255s steps %ld warmup %ld threads %ld fps %g interval %ld flip %d buffers %s\n",
      slash ? slash + 1 : options->model, options->steps, options->warmup, options->threads, options->fps,
      options->interval, options->flip, options->state_buffers == ALIAS ? "alias" : "swap");
  put(&sink, "load_ns %lld\nfirst_ns %lld\n", (long long)facts->load_ns, (long long)facts->first_ns);
  put(&sink, "peak_kb %ld\n", facts->peak_kb);
  for (long i = 0; i < options->steps; i++)
    put(&sink, "%s %lld %d\n", samples[i].kind, (long long)samples[i].ns, samples[i].late);
  fprintf(file, "end %ld %08x\n", options->steps, (unsigned)~sink.crc);
  close_file(file, options->samples);
}

static void insert_by_name(struct dump *dump, const struct tensor *outputs, int index) {
  int place = dump->count++;
  for (; place && strcmp(outputs[dump->order[place - 1]].name, outputs[index].name) > 0; place--)
    dump->order[place] = dump->order[place - 1];
  dump->order[place] = index;
}

static void write_index(const struct dump *dump, const struct tensor *outputs, int num_contexts) {
  char path[4096];
  snprintf(path, sizeof path, "%s.index", dump->path);
  FILE *index = open_to_write(path);
  for (int context = 0; context < num_contexts; context++) {
    for (int i = 0; i < dump->count; i++) {
      const struct tensor *output = &outputs[dump->order[i]];
      fprintf(index, "%s%s %s", context ? "mirrored/" : "", output->name, element_of(output->type.element_type).name);
      for (unsigned axis = 0; axis < output->type.rank; axis++)
        fprintf(index, " %d", output->type.dimensions[axis]);
      fputc('\n', index);
    }
  }
  close_file(index, path);
}

struct dump dump_open(const char *path, const struct model *model, int num_contexts) {
  struct dump dump = {.path = path};
  if (!path) return dump;
  dump.file = open_to_write(path);
  dump.order = calloc(model->outputs.count, sizeof *dump.order);
  for (int i = 0; i < (int)model->outputs.count; i++)
    if (model->outputs.list[i].twin == NONE) insert_by_name(&dump, model->outputs.list, i);
  write_index(&dump, model->outputs.list, num_contexts);
  return dump;
}

void dump_answers(struct dump *dump, const struct context *context) {
  for (int i = 0; i < dump->count; i++) {
    int output = dump->order[i];
    fwrite(output_memory(context, output), 1, context->model->outputs.list[output].bytes, dump->file);
  }
}

void dump_close(struct dump *dump) {
  if (dump->path) close_file(dump->file, dump->path);
}
