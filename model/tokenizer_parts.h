/* SPDX-License-Identifier: Apache-2.0
 *
 * tokenizer_parts.h - what a tokenizer is made of, whatever it was read from; inside model/.
 *
 *   text ▸ added tokens (raw) ▸ normaliser ▸ added tokens (normalised) ▸ splitter ▸
 * words ▸ bpe ▸ ids
 *
 * tokenizer_json.c and tokenizer_gguf.c fill the parts, tokenizer.c runs them.
 */
#ifndef MODEL_TOKENIZER_PARTS_H
#define MODEL_TOKENIZER_PARTS_H

#include "base/bytes.h"
#include "base/status.h"
#include "model/added_tokens.h"
#include "model/bpe.h"
#include "model/gguf.h"
#include "model/text_steps.h"
#include "model/tokenizer.h"
#include "model/vocabulary.h"

#define TOKENIZER_JSON_BYTES_MAX (64u * 1024u * 1024u)
/* Gemma's vocabulary, the largest known, has 262,144; twice as many take half a second. */
#define TOKENIZER_JSON_TOKENS_MAX (512u * 1024u)
#define TOKENIZER_JSON_VALUES_MAX (4u * 1024u * 1024u) /* Gemma's, the largest known: 3.2 M */
/* Merges a tokenizer may have: several may give the same token, Llama 2's give each two. */
#define TOKENIZER_MERGES_MAX(tokens) (16u * (size_t)(tokens) + 1024u)

struct tokenizer_parts {
    struct vocabulary vocabulary;
    struct bpe bpe;
    struct added_tokens added;
    struct text_steps normaliser;
    struct text_steps splitter;
    int size;    /* ids are 0 .. size-1: vocabulary and added tokens */
    int32_t bos; /* stands in front of every text; -1 = none */
};

/* parts: zeroed. On failure they hold what was read so far: tokenizer_parts_free. CONFIG names the
 * field. */
MUST_CHECK enum status tokenizer_parts_of_json(struct span text, struct tokenizer_parts *parts,
                                               struct error *err);
MUST_CHECK enum status tokenizer_parts_of_gguf(const struct gguf *file,
                                               struct tokenizer_parts *parts, struct error *err);
/* 256 bytes, then "<|endoftext|>" (256) and "<|item|>" (257); no merges, no splitting. */
MUST_CHECK enum status tokenizer_parts_of_bytes(struct tokenizer_parts *parts, struct error *err);
void tokenizer_parts_free(struct tokenizer_parts *parts);

/* GPT-2's splitting pattern (Radford et al. 2019), the one that ByteLevel applies by itself. */
extern const char tokenizer_pattern_gpt2[];

/* A tokenizer over parts read elsewhere (tests, fuzzing). takes: parts, also on failure. */
MUST_CHECK enum status tokenizer_of_parts(struct tokenizer_parts *parts,
                                          struct tokenizer **ret_tokenizer, struct error *err);

#endif
