/* SPDX-License-Identifier: Apache-2.0
 *
 * lm_fixture.h - the built-in tiny Llama with iLoRA whose every parameter is random, and samples.
 *
 * B starts at zero in the product, which hides half of the mathematics; here it is random too.
 */
#ifndef TESTS_MODEL_LM_FIXTURE_H
#define TESTS_MODEL_LM_FIXTURE_H

#include "base/rng.h"
#include "model/language_model.h"

#define LM_SAMPLES 5
#define LM_TITLES  3 /* candidates a sample */
#define LM_ITEMS   20
#define LM_E       8

struct lm_fixture {
    struct backend *be;
    struct checkpoint *checkpoint;
    struct base_model *base;
    struct ilora_params *params;
    struct ilora_shape shape;
    struct prompt prompts[LM_SAMPLES];
    struct title_tokens titles[LM_SAMPLES][LM_TITLES];
    float corrections[LM_SAMPLES][LM_TITLES];
    float gate_inputs[LM_SAMPLES][LM_E];
    uint32_t histories[LM_SAMPLES][3];
    struct lm_sample samples[LM_SAMPLES]; /* unequal lengths, item tokens, candidates, weights */
    float items[LM_ITEMS * LM_E];
    float *values; /* host copy of the VALUE slab */
    float *grads;  /* host copy of the GRAD slab */
};

#define LM_BUILTIN "builtin:tiny:3"

/* K experts of rank 4 together; fails the test on any error. */
void lm_fixture_open(struct lm_fixture *f, int K, enum ilora_head head, bool item_tokens);
/* The same over another base model of at least 256 tokens. */
void lm_fixture_open_base(struct lm_fixture *f, const char *path, int K, enum ilora_head head,
                          bool item_tokens);
/* Over the built-in model on this backend, which the fixture takes. */
void lm_fixture_open_on(struct lm_fixture *f, struct backend *be, int K, enum ilora_head head,
                        bool item_tokens);
/* Over the built-in model with this gate; running variances are positive. */
void lm_fixture_open_gate(struct lm_fixture *f, enum ilora_gate gate, int K, enum ilora_head head,
                          bool item_tokens);
void lm_fixture_close(struct lm_fixture *f);
/* A language model over it with these budgets, items set. */
struct language_model *lm_fixture_model(struct lm_fixture *f, int tokens_max, bool training);
/* values back to the device. */
void lm_fixture_write(struct lm_fixture *f);
/* Zeroes the gradients, runs language_model_gradients on count samples, reads grads; the total
 * loss. */
double lm_fixture_loss(struct lm_fixture *f, struct language_model *lm,
                       const struct lm_sample *samples, int count);
/* One step on all samples, without a reference. */
void lm_fixture_train(struct lm_fixture *f, struct language_model *lm, const struct lm_step *how,
                      struct lm_step_stats *ret_stats);
/* Index of a parameter by name; fails the test when there is none. */
int lm_fixture_find(const struct lm_fixture *f, const char *name);

#endif
