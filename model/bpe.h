/* SPDX-License-Identifier: Apache-2.0
 *
 * bpe.h - byte-pair encoding of one word: symbols are joined, best-ranked pair first, leftmost
 * first.
 *
 * Sennrich et al. 2016, in the order of Hugging Face `tokenizers`: the pair with the lowest rank
 * anywhere in the word is joined; among equals the leftmost. Symbols are ids throughout; text is
 * only looked up where a word begins (bytes, or characters with byte fallback).
 */
#ifndef MODEL_BPE_H
#define MODEL_BPE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/status.h"
#include "model/vocabulary.h"

struct bpe_merge {
    uint64_t pair; /* left << 32 | right; UINT64_MAX = empty slot */
    uint32_t rank;
    int32_t joined;
};

struct bpe {
    struct bpe_merge *slots; /* owns; open addressing */
    size_t slot_count;       /* a power of two, at least twice the merges */
    unsigned shift;          /* 64 - log2(slot_count) */
    bool byte_level;         /* words are bytes; otherwise characters */
    bool ignore_merges;      /* a word that is a token is that token (Llama 3) */
    bool byte_fallback;      /* unknown characters become <0xXX> tokens (Llama 2) */
    bool fuse_unknown;       /* neighbouring unknown characters become one token */
    int32_t unknown;         /* id, -1 = unknown characters vanish */
    int32_t byte_ids[256]; /* byte_level: its symbol; byte_fallback: its <0xXX> token; -1 = none */
};

/* Room for `merges` pairs. */
MUST_CHECK enum status bpe_init(struct bpe *bpe, size_t merges, struct error *err);
void bpe_free(struct bpe *bpe);
/* A pair that is there already takes the new rank, as in tokenizers. */
void bpe_add(struct bpe *bpe, int32_t left, int32_t right, uint32_t rank, int32_t joined);
/* Fills byte_ids from the vocabulary, once byte_level and byte_fallback are set. */
void bpe_bind(struct bpe *bpe, const struct vocabulary *vocabulary);

/* Working memory of an encoding; zero-initialised is valid. */
struct bpe_scratch {
    int32_t *ids;               /* owns; (capacity) */
    uint32_t *ranks;            /* owns; (capacity): of the pair that begins here */
    int32_t *next;              /* owns; (capacity): long words, the symbol behind; -1 at the end */
    int32_t *previous;          /* owns; (capacity) */
    struct bpe_candidate *heap; /* owns; (3 capacity) */
    size_t capacity;            /* symbols */
};
void bpe_scratch_free(struct bpe_scratch *scratch);

/* Appends the ids of one word. LIMIT: more than max ids in all. NO_MEMORY. */
MUST_CHECK enum status bpe_encode(const struct bpe *bpe, const struct vocabulary *vocabulary,
                                  struct bpe_scratch *scratch, struct span word, int32_t *ids,
                                  int max, int *count, struct error *err);

#endif
