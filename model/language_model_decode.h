/* SPDX-License-Identifier: Apache-2.0
 *
 * language_model_decode.h - greedy continuations of many prompts with a key/value cache.
 *
 *   prompts ─pack─▶ all layers once ─▶ keys, values of every row ─▶ cache (layer, row)
 *                     └▶ last rows ─head─▶ largest ─▶ one row a sequence ─▶ cache ─▶ ...
 *
 * The exact mode of MODEL.md lets the model write a title and matches strings, as the paper does;
 * everything else here scores titles and never decodes. The answer is that of running the whole
 * sequence again for every token (tests/model/test_lm_decode.c): on the CPU bit for bit.
 *
 * thread: that of the backend.
 */
#ifndef MODEL_LANGUAGE_MODEL_DECODE_H
#define MODEL_LANGUAGE_MODEL_DECODE_H

#include "model/language_model.h"

/* What was written after one prompt. `ids` is memory of the caller, set before the call. */
struct lm_continuation {
    int32_t *ids; /* borrows: room for tokens_max ids */
    int count;    /* ids written: 0..tokens_max; the stop id is not one of them */
    bool stopped; /* a stop id came; false: tokens_max did */
};

/* Greedy decoding: each time the first id of the largest logit (of equal ones the smallest id; a
 * NaN is never the largest), until one of stop_ids or until tokens_max (>= 1) ids are written.
 *
 * samples: prompt, and with params gate_input; item tokens are written by the projector as in
 * scoring. history, target and candidates are not looked at, except that history enters the item
 * head's inputs when there is one (NULL with history_count 0 is fine). params NULL: the base
 * alone, gate_input may be NULL; frozen: the adapter is left out, the projector stays.
 * ret_continuations (count): ids given, count and stopped written; after a failure, partly.
 *
 * Prompts go in packs of the token budget (settings.tokens_max rows, settings.sequences_max
 * prompts), and those of a pack are decoded together. The cache (language_model_decode_bytes) and
 * on the host a row of logits for each prompt of a pack are taken at the start of the call and
 * given back at its end.
 *
 * LIMIT: a prompt that fits no pack; a prompt that with tokens_max passes the base's positions.
 * NO_MEMORY, DEVICE_LOST. MALFORMED: logits are all NaN. */
MUST_CHECK enum status language_model_decode(struct language_model *lm, struct ilora_params *params,
                                             bool frozen, const struct lm_sample *samples,
                                             int count, int tokens_max, const int32_t *stop_ids,
                                             int stop_count,
                                             struct lm_continuation *ret_continuations,
                                             struct error *err);

/* Device bytes of the cache of a call: 2 L M G D 4 with M = rows_max + sequences_max tokens_max, an
 * upper bound over any prompts (rows_max, sequences_max: the settings of lm). A call that needs
 * fewer rows takes fewer. */
size_t language_model_decode_bytes(const struct language_model *lm, int tokens_max);

#endif
