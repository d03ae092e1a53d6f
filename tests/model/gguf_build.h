/* SPDX-License-Identifier: Apache-2.0
 *
 * gguf_build.h - writes small GGUF files for tests: metadata one entry at a time, then F32 tensors.
 */
#ifndef TESTS_MODEL_GGUF_BUILD_H
#define TESTS_MODEL_GGUF_BUILD_H

#include "base/bytes.h"

/* A file in the making: two tables and the data, joined by gguf_build_finish. */
struct gguf_build {
    struct buffer entries, tensors, data;
    uint64_t entry_count, tensor_count;
};

void gguf_build_u32(struct gguf_build *build, const char *key, uint32_t value);
void gguf_build_f32(struct gguf_build *build, const char *key, float value);
void gguf_build_bool(struct gguf_build *build, const char *key, bool value);
void gguf_build_text(struct gguf_build *build, const char *key, const char *text);
void gguf_build_texts(struct gguf_build *build, const char *key, const char *const *texts,
                      size_t count);
void gguf_build_i32s(struct gguf_build *build, const char *key, const int32_t *values,
                     size_t count);
void gguf_build_f32s(struct gguf_build *build, const char *key, const float *values, size_t count);
/* rows 0: a vector of cols values. */
void gguf_build_tensor(struct gguf_build *build, const char *name, int rows, int cols,
                       const float *values);
/* Metadata and seeded tensors of a Llama: C=16 L=1 H=2 G=1 D=8 F=32 V=40. */
void gguf_build_llama(struct gguf_build *build);
/* The whole file; owns: caller. The build is empty afterwards. */
struct buffer gguf_build_finish(struct gguf_build *build);
/* The same into path. */
void gguf_build_write(struct gguf_build *build, const char *path);

#endif
