/* SPDX-License-Identifier: Apache-2.0
 *
 * learner_lm.h - what the two rooms of the learner's language model share.
 *
 *   learner_lm.c        objects, titles
 *   learner_lm_train.c  prompts, one step, scores, slabs
 */
#ifndef MODEL_LEARNER_LM_H
#define MODEL_LEARNER_LM_H

#include "model/language_model.h"
#include "model/learner_rooms.h"
#include "model/prompt.h"
#include "model/title_vectors.h"

struct learner_lm {
    struct base_model *base;                /* borrows */
    const struct tokenizer *tokenizer;      /* borrows */
    const struct prompt_template *template; /* borrows */
    struct language_model *model;           /* owns */
    struct ilora_params *params;            /* owns; trained */
    struct ilora_params *served;            /* owns; the average of params, what a version holds */
    struct ilora_params *reference;         /* owns; the last version's, for the proximal pull */
    size_t floats;                          /* of one slab */
    float *host;                            /* (floats) owns; scratch for moving slabs */
    struct title_tokens **tokens;           /* (capacity) owns; NULL: not tokenised yet */
    int capacity;
    struct title_vectors titles; /* W = 0: off */
    uint64_t titles_seq;         /* titles are as of this row */
    uint32_t *waiting; /* (waiting_capacity) owns; items whose titles wait to be embedded */
    int waiting_count, waiting_capacity;
    uint8_t *is_waiting; /* (capacity) owns; one byte an item */
    bool items_lent;     /* model scores against a version's items, not the learner's */
};

/* Tokens that a prompt may have: it must fit in a pack with its candidates, and in the positions
 * that the base model was trained for. Below 1: the settings leave no room. */
int learner_lm_prompt_limit(const struct learner *learner);
/* Puts an item at the end of the titles that wait, unless it is there already. */
MUST_CHECK enum status learner_lm_wait_title(struct learner_lm *lm, uint32_t item,
                                             struct error *err);
/* Token ids of an item's title as of titles_seq; count 0: it has none. borrows: until it
 * changes. */
MUST_CHECK enum status learner_lm_title(struct learner *learner, uint32_t item,
                                        const struct title_tokens **ret_tokens, struct error *err);

#endif
