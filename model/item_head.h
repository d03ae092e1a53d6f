/* SPDX-License-Identifier: Apache-2.0
 *
 * item_head.h - one forward over the prompt scores the whole catalogue (MODEL.md, item head).
 *
 *     h (B,C) ─LayerNorm─▶ ·─P─▶ z (B,E) += mean(history) P2^T      score (B,M) = z V^T + b
 *
 * h is the final hidden state of the prompt's last token, V (M,E) the item vectors of SASRec (no
 * gradient into them), b one number an item. Loss = cross-entropy over the catalogue.
 */
#ifndef MODEL_ITEM_HEAD_H
#define MODEL_ITEM_HEAD_H

#include "model/pack.h"
#include "model/params.h"

#define ITEM_HEAD_NORM_EPSILON 1e-5f
#define ITEM_HEAD_LOGITS_MAX   (8u * 1024u * 1024u) /* floats of logits at a time */

struct item_head_state {
    struct tensor history;     /* (B,E) mean item vector, written by the caller */
    struct tensor h;           /* (B,C) */
    struct tensor normed;      /* (B,C) */
    struct tensor mean, rstd;  /* (B,1) */
    struct tensor z;           /* (B,E) */
    struct tensor logits;      /* (b,M) of a chunk of b sequences */
    struct tensor loss;        /* (B,1) */
    struct tensor weight;      /* (B,1) loss weight, written by the caller */
    struct tensor ones, zeros; /* (1,C) */
    struct tensor dz;          /* (B,E) */
    struct tensor dh;          /* (B,C) */
};

void item_head_layout(struct item_head_state *state, struct slab *slab,
                      const struct ilora_shape *shape, int C, int B, int items_max, bool training);
void item_head_start(struct item_head_state *state, struct backend *be);

/* z (B,E): = from the pack's last rows of final (n,C). */
void item_head_forward(struct backend *be, struct item_head_state *state,
                       const struct ilora_params *params, const struct pack *pack,
                       struct tensor final);
/* loss (B,1): = ; gradients of P, P2 and b: += ; dfinal (n,C): += . items (M,E). */
void item_head_loss(struct backend *be, struct item_head_state *state,
                    const struct ilora_params *params, const struct pack *pack, struct tensor items,
                    struct tensor dfinal);
/* Log-probabilities of all B sequences to ret (B,M) on the host. */
MUST_CHECK enum status item_head_score(struct backend *be, struct item_head_state *state,
                                       const struct ilora_params *params, struct tensor items,
                                       int B, float *ret_logprobs, struct error *err);

#endif
