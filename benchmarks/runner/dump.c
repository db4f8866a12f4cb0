#include "dump.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fail.h"

static FILE *open_file(const char *path) {
  FILE *file = fopen(path, "wb");
  if (!file) fail(CANNOT_WRITE, "%s: %s", path, strerror(errno));
  return file;
}

static void close_file(FILE *file, const char *path) {
  if (ferror(file) | fclose(file)) fail(CANNOT_WRITE, "%s: %s", path, strerror(errno));
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
  FILE *index = open_file(path);
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
  dump.file = open_file(path);
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
