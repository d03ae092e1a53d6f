/* SPDX-License-Identifier: Apache-2.0
 *
 * gate.h - which experts a sequence uses: the stream gate of MODEL.md, and the paper's linear one.
 *
 *   stream   z (B,E) ─LayerNorm─▶ ·─W_g, b─▶ (B,K) ─softmax─▶ w = floor/K + (1-floor) softmax
 *   linear   z (B,E) ─W_g─▶ (B,K) ─softmax─▶ w       (Kong et al. 2024, eq. 7)
 *
 * The stream gate changes two things: z is normalised without a gain (W_g holds one already) and
 * every expert keeps a floor, so none starves. The linear gate is the paper's: no bias, no norm, no
 * floor (the released code's per-layer gating is a linear layer without a bias too). Neither has
 * batch statistics: a user's gate never depends on its batch mates. The released code's own gate
 * has them: gate_resnet.h.
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
/* Stream or linear, as params say. weight (B,K): = ; dweight: = 0 */
void gate_forward(struct backend *be, struct gate_state *state, const struct ilora_params *params,
                  int B);
/* From dweight: gradients of gate.weight and (stream) gate.bias: += */
void gate_backward(struct backend *be, struct gate_state *state, const struct ilora_params *params,
                   int B);

#endif
