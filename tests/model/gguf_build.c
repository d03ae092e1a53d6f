/* SPDX-License-Identifier: Apache-2.0
 *
 * gguf_build.c - the writer's side of model/gguf.h, for tests.
 */
#include "tests/model/gguf_build.h"

#include "tests/support/unit.h"

#include <stdio.h>

#include "base/file.h"
#include "model/gguf.h"

static void append(struct buffer *out, const void *data, size_t size) {
    assert_int_equal(buffer_append(out, data, size), STATUS_OK);
}

static void append_u32(struct buffer *out, uint32_t value) {
    uint8_t bytes[4];
    put_u32le(bytes, value);
    append(out, bytes, sizeof bytes);
}

static void append_u64(struct buffer *out, uint64_t value) {
    uint8_t bytes[8];
    put_u64le(bytes, value);
    append(out, bytes, sizeof bytes);
}

static void append_text(struct buffer *out, const char *text) {
    append_u64(out, strlen(text));
    append(out, text, strlen(text));
}

static void append_f32s(struct buffer *out, const float *values, size_t count) {
    for (size_t i = 0; i < count; i++) {
        uint32_t bits;
        memcpy(&bits, &values[i], sizeof bits);
        append_u32(out, bits);
    }
}

static void begin_entry(struct gguf_build *build, const char *key, enum gguf_kind kind) {
    append_text(&build->entries, key);
    append_u32(&build->entries, kind);
    build->entry_count++;
}

static void begin_array(struct gguf_build *build, const char *key, enum gguf_kind element,
                        size_t count) {
    begin_entry(build, key, GGUF_ARRAY);
    append_u32(&build->entries, element);
    append_u64(&build->entries, count);
}

void gguf_build_u32(struct gguf_build *build, const char *key, uint32_t value) {
    begin_entry(build, key, GGUF_U32);
    append_u32(&build->entries, value);
}

void gguf_build_f32(struct gguf_build *build, const char *key, float value) {
    begin_entry(build, key, GGUF_F32);
    append_f32s(&build->entries, &value, 1);
}

void gguf_build_bool(struct gguf_build *build, const char *key, bool value) {
    uint8_t byte = value;
    begin_entry(build, key, GGUF_BOOL);
    append(&build->entries, &byte, 1);
}

void gguf_build_text(struct gguf_build *build, const char *key, const char *text) {
    begin_entry(build, key, GGUF_STRING);
    append_text(&build->entries, text);
}

void gguf_build_texts(struct gguf_build *build, const char *key, const char *const *texts,
                      size_t count) {
    begin_array(build, key, GGUF_STRING, count);
    for (size_t i = 0; i < count; i++) {
        append_text(&build->entries, texts[i]);
    }
}

void gguf_build_i32s(struct gguf_build *build, const char *key, const int32_t *values,
                     size_t count) {
    begin_array(build, key, GGUF_I32, count);
    for (size_t i = 0; i < count; i++) {
        append_u32(&build->entries, (uint32_t)values[i]);
    }
}

void gguf_build_f32s(struct gguf_build *build, const char *key, const float *values, size_t count) {
    begin_array(build, key, GGUF_F32, count);
    append_f32s(&build->entries, values, count);
}

void gguf_build_tensor(struct gguf_build *build, const char *name, int rows, int cols,
                       const float *values) {
    append_text(&build->tensors, name);
    append_u32(&build->tensors, rows == 0 ? 1 : 2);
    append_u64(&build->tensors, (uint64_t)cols);
    if (rows > 0) { append_u64(&build->tensors, (uint64_t)rows); }
    append_u32(&build->tensors, 0); /* F32 */
    append_u64(&build->tensors, build->data.size);
    build->tensor_count++;

    append_f32s(&build->data, values, (size_t)cols * (size_t)(rows == 0 ? 1 : rows));
    while (build->data.size % 32 != 0) {
        append(&build->data, "", 1);
    }
}

/* Values that tell row and column: row + column / 1000. */
static void seeded_tensor(struct gguf_build *build, const char *name, int rows, int cols) {
    float values[40 * 32];
    for (int i = 0; i < (rows == 0 ? 1 : rows) * cols; i++) {
        values[i] = (float)(i / cols) + (float)(i % cols) / 1000.0f;
    }
    gguf_build_tensor(build, name, rows, cols, values);
}

void gguf_build_llama(struct gguf_build *build) {
    gguf_build_text(build, "general.architecture", "llama");
    gguf_build_u32(build, "llama.block_count", 1);
    gguf_build_u32(build, "llama.embedding_length", 16);
    gguf_build_u32(build, "llama.attention.head_count", 2);
    gguf_build_u32(build, "llama.attention.head_count_kv", 1);
    gguf_build_u32(build, "llama.feed_forward_length", 32);
    gguf_build_u32(build, "llama.context_length", 128);
    gguf_build_f32(build, "llama.attention.layer_norm_rms_epsilon", 1e-5f);
    seeded_tensor(build, "token_embd.weight", 40, 16);
    seeded_tensor(build, "output_norm.weight", 0, 16);
    seeded_tensor(build, "blk.0.attn_norm.weight", 0, 16);
    seeded_tensor(build, "blk.0.attn_q.weight", 16, 16);
    seeded_tensor(build, "blk.0.attn_k.weight", 8, 16);
    seeded_tensor(build, "blk.0.attn_v.weight", 8, 16);
    seeded_tensor(build, "blk.0.attn_output.weight", 16, 16);
    seeded_tensor(build, "blk.0.ffn_norm.weight", 0, 16);
    seeded_tensor(build, "blk.0.ffn_gate.weight", 32, 16);
    seeded_tensor(build, "blk.0.ffn_up.weight", 32, 16);
    seeded_tensor(build, "blk.0.ffn_down.weight", 16, 32);
}

struct buffer gguf_build_finish(struct gguf_build *build) {
    struct buffer out = {0};
    append(&out, "GGUF", 4);
    append_u32(&out, 3);
    append_u64(&out, build->tensor_count);
    append_u64(&out, build->entry_count);
    append(&out, build->entries.data, build->entries.size);
    append(&out, build->tensors.data, build->tensors.size);
    while (out.size % 32 != 0) {
        append(&out, "", 1);
    }
    append(&out, build->data.data, build->data.size);
    buffer_free(&build->entries);
    buffer_free(&build->tensors);
    buffer_free(&build->data);
    *build = (struct gguf_build){0};
    return out;
}

void gguf_build_write(struct gguf_build *build, const char *path) {
    struct error err;
    struct buffer bytes = gguf_build_finish(build);
    struct span piece = buffer_span(&bytes);
    ASSERT_OK(file_write(path, &piece, 1, &err), err);
    buffer_free(&bytes);
}
