/* SPDX-License-Identifier: Apache-2.0
 *
 * checkpoint.h - a frozen base model on disk, whatever its container: one description, named
 * tensors.
 *
 *   HF directory  config.json + *.safetensors (+ index) + tokenizer.json      model/safetensors.c
 *   GGUF file     metadata + quantised tensors + tokenizer                    model/gguf.c
 *   built-in      seeded random weights of a small Llama, byte-level tokenizer (tests, --offline)
 *
 * Tensor names are HF's ("model.layers.3.self_attn.q_proj.weight"); GGUF names are translated, its
 * q and k rows are un-permuted to the rotate-half order. Values come back as host f32.
 *
 * Everything is checked before use: sizes, offsets, shapes against the description, dtype, NaN.
 * Errors are CONFIG (the operator chose this file) and name file, tensor or field, found and
 * expected.
 */
#ifndef MODEL_CHECKPOINT_H
#define MODEL_CHECKPOINT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/status.h"

enum rope_scaling { ROPE_PLAIN, ROPE_LINEAR, ROPE_LLAMA3 };

/* What the forward pass needs to know. */
struct model_description {
    char architecture[32]; /* "llama", "mistral", "qwen2", "qwen3" */
    int L, C, H, G, D, F, V;
    int context; /* positions the model was trained for */
    float norm_epsilon;
    float rope_theta;
    enum rope_scaling rope_scaling;
    float rope_factor, rope_low,
        rope_high;    /* ROPE_LLAMA3: factor, low_freq_factor, high_freq_factor */
    int rope_context; /* ROPE_LLAMA3: original_max_position_embeddings */
    bool tied_head;
    bool qkv_bias; /* Qwen2 */
    bool qk_norm;  /* Qwen3: RMSNorm per head on q and k */
    int bos, eos;  /* token ids, -1 = none */
};

struct checkpoint; /* hides the mapped files */

/* path: HF directory, .gguf file, or "builtin:tiny[:seed]" / "builtin:small[:seed]". */
MUST_CHECK enum status checkpoint_open(const char *path, struct checkpoint **ret_checkpoint,
                                       struct error *err);
void checkpoint_close(struct checkpoint *checkpoint);
const struct model_description *checkpoint_description(const struct checkpoint *checkpoint);
/* "gguf", "hf", "builtin" */
const char *checkpoint_kind(const struct checkpoint *checkpoint);
/* SHA-256 over the files that hold weights and tokenizer (builtin: over the description and
 * seed). */
MUST_CHECK enum status checkpoint_sha256(struct checkpoint *checkpoint, uint8_t ret_digest[32],
                                         struct error *err);

/* Reads one tensor as f32 (rows, cols); a vector has rows 1. CONFIG when absent or of another
 * shape. */
MUST_CHECK enum status checkpoint_read(struct checkpoint *checkpoint, const char *name, int rows,
                                       int cols, float *ret_values, struct error *err);
bool checkpoint_has(const struct checkpoint *checkpoint, const char *name);

/* ---- building blocks, also used for snapshots ------------------------------------------------ */

/* A safetensors file: 8-byte little-endian header size, JSON header, data. Format of Hugging
 * Face. */
struct safetensors_entry {
    char name[128];
    char dtype[8]; /* "F32", "F16", "BF16", "I64", "U8", ... */
    int64_t shape[4];
    int dims;
    const void *data; /* writing: borrows; reading: borrows from the mapping */
    size_t bytes;
};
struct safetensors;
MUST_CHECK enum status safetensors_open(const char *path, struct safetensors **ret_file,
                                        struct error *err);
void safetensors_close(struct safetensors *file);
int safetensors_count(const struct safetensors *file);
const struct safetensors_entry *safetensors_at(const struct safetensors *file, int index);
const struct safetensors_entry *safetensors_find(const struct safetensors *file, const char *name);
/* Writes a file (fsynced, not renamed): header keys sorted by name, 8-byte aligned data, so the
 * same tensors always give the same bytes. metadata: name/value pairs for "__metadata__" or
 * NULL. */
MUST_CHECK enum status safetensors_write(const char *path, const struct safetensors_entry *entries,
                                         int count, const char *const (*metadata)[2],
                                         int metadata_count, struct error *err);

#endif
