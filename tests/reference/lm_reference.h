/* SPDX-License-Identifier: Apache-2.0
 *
 * lm_reference.h - the tiny language model with the samples and starting values of a golden file.
 *
 * lm_make_reference.py writes lm_tiny_k1.bin, lm_tiny_k2.bin and lm_tiny_k4.bin; lm_reference_open
 * makes the same model here. Any error fails the test.
 */
#ifndef TESTS_REFERENCE_LM_REFERENCE_H
#define TESTS_REFERENCE_LM_REFERENCE_H

#include "model/language_model.h"
#include "tests/reference/lm_golden.h"

#define LM_REFERENCE_SAMPLES 6
#define LM_REFERENCE_TITLES  3
#define LM_REFERENCE_ITEMS   20
#define LM_REFERENCE_E       8

struct lm_reference {
    struct lm_golden golden;
    struct backend *be;
    struct checkpoint *checkpoint;
    struct base_model *base;
    struct ilora_shape shape;
    struct ilora_params *params;
    struct language_model *lm;
    struct prompt prompts[LM_REFERENCE_SAMPLES];
    struct title_tokens titles[LM_REFERENCE_SAMPLES][LM_REFERENCE_TITLES];
    struct lm_sample samples[LM_REFERENCE_SAMPLES];
    float *start; /* owns: VALUE slab as in the golden file */
    float *slab;  /* owns: room for one */
};

/* The shape that the file of K experts describes: both heads, item tokens, stream gate. */
struct ilora_shape lm_reference_shape(int K);
/* Opens the file of shape->K experts. With another gate or width E than the file's, what depends on
 * them is left zero for the caller: the gate's values, projector.0.weight, item vectors, z. */
void lm_reference_open(struct lm_reference *r, const struct ilora_shape *shape, int tokens_max);
/* The same with any model as for checkpoint_open and any file of such samples. */
void lm_reference_open_file(struct lm_reference *r, const char *model, const char *golden,
                            const struct ilora_shape *shape, int tokens_max);
void lm_reference_close(struct lm_reference *r);
/* r->start into VALUE and EMA. */
void lm_reference_restart(struct lm_reference *r);
/* What the file says of sample i. */
const float *lm_reference_floats(const struct lm_reference *r, int i, const char *what);

#endif
