/* SPDX-License-Identifier: Apache-2.0
 *
 * pack.h - many prompts as one run of rows, without padding, and every index the model needs.
 *
 *   rows   | prompt 0 ........ | cand a | cand b | prompt 1 ..... | cand c |
 *   segment   plain              prefix = prompt 0   plain          prefix = prompt 1
 *
 * A candidate is a branch: same positions as if it stood alone after the prompt, seeing the prompt
 * and itself. Its last token is never fed (nothing is predicted from it), so a title of one token
 * has no row. `need` lists, ascending, the rows whose final hidden state somebody reads: the
 * prompt's last row (item head; first token of every title) and the branch rows. The last layer and
 * both heads work on those rows alone.
 *
 * All indices live in one host block with a device twin of the same layout: one copy a pack.
 */
#ifndef MODEL_PACK_H
#define MODEL_PACK_H

#include <stdbool.h>

#include "kernels/backend.h"
#include "model/language_model.h"
#include "model/slab.h"

/* The index arrays of a pack. */
enum pack_index {
    PACK_TOKEN,         /* (N) ids */
    PACK_POSITION,      /* (N) */
    PACK_SEQUENCE,      /* (N) which sample, so which gate */
    PACK_ITEM_ROW,      /* (placeholders) row of each */
    PACK_ITEM,          /* (placeholders) item number; -1 = no vector yet */
    PACK_NEED,          /* (n) rows, ascending */
    PACK_NEED_SEQUENCE, /* (n) */
    PACK_LAST,          /* (B) where in `need` the prompt's last row is */
    PACK_TARGET,        /* (B) target item; -1 = none */
    PACK_TITLE_ROW,     /* (title tokens) where in `need` the token is predicted */
    PACK_TITLE_TOKEN,   /* (title tokens) its id */
    PACK_INDEX_COUNT,
};

/* A branch on the host: which sample, and its title tokens in PACK_TITLE_*. */
struct pack_title {
    int sample;
    int first, count;
};

struct pack {
    int rows_max, samples_max, titles_max;
    int32_t *host;                   /* owns: all index arrays */
    size_t offset[PACK_INDEX_COUNT]; /* i32 from the block's start */
    int capacity[PACK_INDEX_COUNT];
    int count[PACK_INDEX_COUNT];
    size_t block_count;       /* i32 in the block */
    struct tensor device;     /* (1, block_count) i32, set by the owner */
    struct segment *segments; /* owns */
    int segment_count;
    struct pack_title *titles; /* owns */
    int title_count;
    int samples; /* B */
};

/* What to put in. */
struct pack_options {
    bool titles;    /* candidates as branches */
    bool every_row; /* need = all rows (logits, title vectors) */
    int items;      /* M: item numbers from M on have no vector */
};

/* Host memory for the largest pack; `device` stays to be set. NO_MEMORY. */
MUST_CHECK enum status pack_init(struct pack *pack, int rows_max, int samples_max,
                                 struct error *err);
void pack_free(struct pack *pack);
/* Adds the index block to a slab (twice: counting, then placing). */
void pack_layout(struct pack *pack, struct slab *slab);

void pack_reset(struct pack *pack);
/* Rows that a sample takes. */
int pack_rows_of(const struct lm_sample *sample, const struct pack_options *options);
/* False: it does not fit any more (nothing changed). */
bool pack_add(struct pack *pack, const struct lm_sample *sample,
              const struct pack_options *options);
/* One plain sequence of tokens, every row needed, no items. False: does not fit. */
bool pack_add_tokens(struct pack *pack, const int32_t *tokens, int count);
/* One row of a sequence that goes on (decoding): its place in the sequence, and which row of the
 * gate is its own. Needed; in no segment, so only for passes with a key/value cache. False: does
 * not fit. */
bool pack_add_step(struct pack *pack, int32_t token, int position, int sequence);
/* Copies the indices to the device. */
MUST_CHECK enum status pack_upload(struct pack *pack, struct backend *be, struct error *err);

static inline int pack_rows(const struct pack *pack) {
    return pack->count[PACK_TOKEN];
}
static inline const int32_t *pack_host(const struct pack *pack, enum pack_index index) {
    return pack->host + pack->offset[index];
}
/* (count,1) i32 on the device. */
static inline struct tensor pack_tensor(const struct pack *pack, enum pack_index index) {
    return tensor_over((int32_t *)pack->device.data + pack->offset[index], DTYPE_I32,
                       pack->count[index], 1);
}

#endif
