/* SPDX-License-Identifier: Apache-2.0
 *
 * title_head.h - likelihood of titles after a shared prompt (MODEL.md, title head).
 *
 *   LL_c = sum over the tokens of title c of log softmax(h W_head^T)[token]
 *   loss = token cross-entropy of the target's title (mean over its tokens)
 *        + cross-entropy of softmax_c(LL_c - logQ_c) at the target, both weighted by sample
 *
 * The output head runs at title rows only, a chunk of rows at a time: V is large. Two sweeps: one
 * for the log-likelihoods, then one with the weights that the softmax over candidates gives each
 * token.
 */
#ifndef MODEL_TITLE_HEAD_H
#define MODEL_TITLE_HEAD_H

#include "model/base_model.h"
#include "model/pack.h"

#define TITLE_HEAD_LOGITS_MAX (16u * 1024u * 1024u) /* floats of logits at a time */

struct title_head_state {
    const struct base_model *base; /* borrows */
    int tokens_max;
    struct tensor rows;    /* (chunk,C) final hidden states, then their gradient */
    struct tensor logits;  /* (chunk,V) */
    struct tensor logprob; /* (title tokens,1) */
    struct tensor weight;  /* (title tokens,1) */
    float *host;           /* owns: (title tokens) */
    double *likelihood;    /* owns: (titles) summed log-likelihood of each */
    double *share;         /* owns: (titles) softmax over the candidates of a sample */
};

/* What the loss of a pack came to, not yet divided: sums of weight * loss. */
struct title_losses {
    double title, rank;
};

/* Host memory. NO_MEMORY. */
MUST_CHECK enum status title_head_init(struct title_head_state *state,
                                       const struct base_model *base, const struct pack *pack,
                                       struct error *err);
void title_head_free(struct title_head_state *state);
/* chunk_max: rows of logits at a time; 0 = as many as TITLE_HEAD_LOGITS_MAX allows. */
void title_head_layout(struct title_head_state *state, struct slab *slab, int chunk_max);

/* state->likelihood of each title of the pack: = . final (n,C). Waits. */
MUST_CHECK enum status title_head_score(struct title_head_state *state, const struct pack *pack,
                                        struct tensor final, struct error *err);
/* Loss and dfinal (n,C): += . samples: those of the pack, in order; scale multiplies their weights
 * (1 / sum of weights of the step). Waits. */
MUST_CHECK enum status title_head_loss(struct title_head_state *state, const struct pack *pack,
                                       const struct lm_sample *samples, double scale,
                                       struct tensor final, struct tensor dfinal,
                                       struct title_losses *ret_losses, struct error *err);

/* Rows of logits that fit at a time. */
int title_head_chunk(const struct title_head_state *state);
/* logits (count,V) of rows [first, first+count) of x, count <= chunk: = */
struct tensor title_head_logits(struct title_head_state *state, struct tensor x);

#endif
