/* SPDX-License-Identifier: Apache-2.0
 *
 * projector.h - an item's SASRec vector as one input token of the language model (LLaRA; MODEL.md).
 *
 *     vector (P,E) ─in─▶ (P,C') ─GELU─▶ ·─out─▶ (P,C), written over the placeholder rows
 *
 * P is the number of placeholders in the pack. An item without a vector is read as zeros.
 */
#ifndef MODEL_PROJECTOR_H
#define MODEL_PROJECTOR_H

#include "model/pack.h"
#include "model/params.h"

struct projector_state {
    struct tensor vectors; /* (P,E) */
    struct tensor hidden;  /* (P,C') before GELU */
    struct tensor active;  /* (P,C') after it */
    struct tensor tokens;  /* (P,C); in the backward pass its gradient */
};

void projector_layout(struct projector_state *state, struct slab *slab,
                      const struct ilora_shape *shape, int C, int rows_max);
/* x (N,C): placeholder rows = . items (M,E): the catalogue's vectors. */
void projector_forward(struct backend *be, struct projector_state *state,
                       const struct ilora_params *params, const struct pack *pack,
                       struct tensor items, struct tensor x);
/* dx (N,C) at the placeholder rows to the projector's gradients: += */
void projector_backward(struct backend *be, struct projector_state *state,
                        const struct ilora_params *params, const struct pack *pack,
                        struct tensor dx);

#endif
