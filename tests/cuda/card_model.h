/* SPDX-License-Identifier: Apache-2.0
 *
 * card_model.h - random base models of any shape, made in memory: for programs that a machine with
 * a card and nothing else must be able to build and run (ops/bench/gpu.sh).
 *
 * Small ones stand for the families (which differ in grouped heads, head size, untied head, biases
 * of q, k, v, norms of q and k, kind of rotary scaling), large ones have the published shapes.
 */
#ifndef TESTS_CUDA_CARD_MODEL_H
#define TESTS_CUDA_CARD_MODEL_H

#include "model/language_model.h"

struct card_model {
    const char *name;
    struct model_description description;
};

extern const struct card_model card_families[]; /* small; name NULL behind the last */
extern const struct card_model card_shapes[];   /* published shapes, smallest first; the same */

/* A checkpoint with random weights: a linear layer's standard deviation is 1/sqrt(in), norms lie
 * around 1. A function of the description. NO_MEMORY, CONFIG. */
MUST_CHECK enum status card_model_open(const struct card_model *model,
                                       struct checkpoint **ret_checkpoint, struct error *err);

/* Random prompts with item tokens and candidates. */
struct card_samples {
    struct lm_sample *samples; /* owns, and all it points to */
    float *gate_inputs;        /* owns: (count,E) */
    uint32_t *histories;       /* owns */
    int count;
};
/* count prompts of `tokens` tokens (the n-th is n tokens shorter when ragged), `candidates` titles
 * of title_tokens each. False: no memory. */
bool card_samples_make(struct card_samples *s, int V, int E, int items, int count, int tokens,
                       bool ragged, bool item_tokens, int candidates, int title_tokens);
void card_samples_free(struct card_samples *s);

#endif
