/* SPDX-License-Identifier: Apache-2.0
 *
 * gate.h - which experts a sequence uses: the stream gate of MODEL.md.
 *
 *     z (B,E) ─LayerNorm─▶ ·─W_g, b─▶ (B,K) ─softmax─▶ w = floor/K + (1-floor) softmax
 *
 * After Kong et al. 2024, eq. 7 (w = softmax(W_g z)), with two changes: z is normalised without a
 * gain (W_g holds one already) and every expert keeps a floor, so none starves. No batch
 * statistics: a user's gate never depends on its batch mates.
 */
#ifndef MODEL_GATE_H
#define MODEL_GATE_H

#include "model/params.h"
#include "model/slab.h"

#define GATE_NORM_EPSILON 1e-5f /* PyTorch's LayerNorm */

struct gate_state {
    struct tensor z;           /* (B,E) written by the caller */
    struct tensor normed;      /* (B,E) */
    struct tensor mean, rstd;  /* (B,1) */
    struct tensor logits;      /* (B,K) */
    struct tensor weight;      /* (B,K) */
    struct tensor dweight;     /* (B,K) */
    struct tensor ones, zeros; /* (1,E) gain and bias of the bare norm */
};

void gate_layout(struct gate_state *state, struct slab *slab, int B, int E, int K);
/* Fills the constants; once, after the memory is there. */
void gate_start(struct gate_state *state, struct backend *be);
/* weight (B,K): = ; dweight: = 0 */
void gate_forward(struct backend *be, struct gate_state *state, const struct ilora_params *params,
                  int B);
/* From dweight: gradients of gate.weight and gate.bias: += */
void gate_backward(struct backend *be, struct gate_state *state, const struct ilora_params *params,
                   int B);

#endif
