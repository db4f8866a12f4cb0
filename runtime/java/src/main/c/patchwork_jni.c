// What Patchwork.java calls, which has checked all arguments. No function here calls Java.
#include <jni.h>
#include <stdlib.h>
#include <string.h>

#include "patchwork.h"

#define NATIVE(type, name, ...)                              \
  JNIEXPORT type JNICALL Java_org_patchwork_Patchwork_##name( \
      __attribute__((unused)) JNIEnv *env, __attribute__((unused)) jobject self, ##__VA_ARGS__)

_Static_assert(sizeof(patchwork_detection) == 6 * sizeof(jint), "Java reads six numbers of a detection");

// A stream of Java's, with its last answer.
struct stream {
  patchwork_stream *stream;
  patchwork_answer answer;
};

static void *pointer_of(jlong handle) { return (void *)(intptr_t)handle; }

static int give(JNIEnv *env, jlongArray place, const void *pointer, int status) {
  (*env)->SetLongArrayRegion(env, place, 0, 1, &(jlong){(intptr_t)pointer});
  return status;
}

// What is in a place, where 0 is left.
static void *take(JNIEnv *env, jlongArray place) {
  jlong handle;
  (*env)->GetLongArrayRegion(env, place, 0, 1, &handle);
  give(env, place, NULL, 0);
  return pointer_of(handle);
}

static void *address_of(JNIEnv *env, jobject buffer) {
  return buffer ? (*env)->GetDirectBufferAddress(env, buffer) : NULL;
}

static jbyteArray bytes_of(JNIEnv *env, const char *text) {
  jbyteArray bytes = text ? (*env)->NewByteArray(env, (jsize)strlen(text)) : NULL;
  if (bytes) (*env)->SetByteArrayRegion(env, bytes, 0, (jsize)strlen(text), (const jbyte *)text);
  return bytes;
}

NATIVE(jint, loadLibrary, jobject path) { return patchwork_load(address_of(env, path)); }

NATIVE(jbyteArray, error) { return bytes_of(env, patchwork_error()); }

NATIVE(jint, openModel, jobject path, jobject content, jint descriptor, jlong offset, jlong length, jint threads,
       jlongArray place, jintArray size) {
  patchwork_model *model;
  int status, height, width, cells, window;
  if (path)
    status = patchwork_model_open(address_of(env, path), threads, &model);
  else if (content)
    status = patchwork_model_open_memory(address_of(env, content),
                                         (size_t)(*env)->GetDirectBufferCapacity(env, content), threads, &model);
  else
    status = patchwork_model_open_descriptor(descriptor, offset, length, threads, &model);
  patchwork_model_size(model, &height, &width, &cells, &window);
  (*env)->SetIntArrayRegion(env, size, 0, 4, (jint[]){height, width, cells, window});
  return give(env, place, model, status);
}

NATIVE(jint, closeModel, jlongArray place) { return patchwork_model_close(take(env, place)), 0; }

NATIVE(jbyteArray, label, jlong model, jint number) {
  return bytes_of(env, patchwork_label(pointer_of(model), number));
}

NATIVE(jint, openStream, jlong model, jint start, jlongArray place) {
  struct stream *stream = calloc(1, sizeof *stream);
  int status = stream ? patchwork_stream_open(pointer_of(model), start, &stream->stream) : PATCHWORK_NO_MEMORY;
  if (!status) return give(env, place, stream, status);
  free(stream);
  return status;
}

NATIVE(jint, closeStream, jlongArray place) {
  struct stream *stream = take(env, place);
  if (stream) patchwork_stream_close(stream->stream);
  free(stream);
  return 0;
}

NATIVE(jint, resetStream, jlong stream) {
  return patchwork_stream_reset(((struct stream *)pointer_of(stream))->stream);
}

NATIVE(jint, pushFrame, jlong handle, jintArray frame, jobjectArray planes, jintArray facts) {
  struct stream *stream = pointer_of(handle);
  jint is[9];
  (*env)->GetIntArrayRegion(env, frame, 0, 9, is);
  patchwork_frame pixels = {.format = is[0], .height = is[1], .width = is[2], .rotation = is[3], .full_range = is[8]};
  for (jsize i = 0; i < (*env)->GetArrayLength(env, planes); i++) {
    pixels.planes[i] = address_of(env, (*env)->GetObjectArrayElement(env, planes, i));
    pixels.strides[i] = (size_t)is[4 + i];
  }
  pixels.chroma_step = (size_t)is[7];
  int status = patchwork_stream_push(stream->stream, &pixels, &stream->answer);
  if (status) return status;
  const patchwork_answer *answer = &stream->answer;
  jint are[] = {(jint)answer->num_detections, answer->mask != NULL,     answer->classes != NULL,
                (jint)answer->mask_height,    (jint)answer->mask_width, answer->row,
                answer->column,               answer->looked};
  (*env)->SetIntArrayRegion(env, facts, 0, 8, are);
  return status;
}

static void copy_rows(void *target, const void *source, const patchwork_answer *answer) {
  size_t row = 4 * answer->mask_width, stride = 4 * answer->mask_stride;
  for (size_t y = 0; target && y < answer->mask_height; y++)
    memcpy((char *)target + y * row, (const char *)source + y * stride, row);
}

NATIVE(void, copyAnswer, jlong stream, jintArray detections, jobject mask, jobject classes) {
  const patchwork_answer *answer = &((struct stream *)pointer_of(stream))->answer;
  jsize count = (jsize)(6 * answer->num_detections);
  (*env)->SetIntArrayRegion(env, detections, 0, count, (const jint *)answer->detections);
  copy_rows(address_of(env, mask), answer->mask, answer);
  copy_rows(address_of(env, classes), answer->classes, answer);
}
