/* SPDX-License-Identifier: Apache-2.0
 *
 * title_head.c - log-likelihoods of titles and the two losses made of them.
 *
 * Gradient: with p = softmax(LL - logQ) over a sample's candidates (target first) and n tokens in
 * the target's title, token t of candidate c gets
 *     dloss/dlogits_t = weight (softmax - onehot),
 *     weight = w (-(p_c - [c = 0]) + [c = 0] / n)
 * because dLL_c/dlogits_t = onehot - softmax. So one cross-entropy sweep with signed weights does
 * it. Failure: DEVICE_LOST or NO_MEMORY kept by the backend and seen when the sums are read. */
#include "model/title_head.h"

#include <math.h>

#include "base/memory.h"

enum status title_head_init(struct title_head_state *state, const struct base_model *base,
                            const struct pack *pack, struct error *err) {
    *state =
        (struct title_head_state){.base = base, .tokens_max = pack->capacity[PACK_TITLE_TOKEN]};
    state->host = MEMORY_TAKE_ARRAY(float, (size_t)state->tokens_max);
    state->likelihood = MEMORY_TAKE_ARRAY(double, (size_t)pack->titles_max);
    state->share = MEMORY_TAKE_ARRAY(double, (size_t)pack->titles_max);
    if (state->host == NULL || state->likelihood == NULL || state->share == NULL) {
        title_head_free(state);
        return error_set(err, STATUS_NO_MEMORY, "title head of %d tokens", state->tokens_max);
    }
    return STATUS_OK;
}

void title_head_free(struct title_head_state *state) {
    memory_free(state->host);
    memory_free(state->likelihood);
    memory_free(state->share);
    *state = (struct title_head_state){0};
}

void title_head_layout(struct title_head_state *state, struct slab *slab, int chunk_max) {
    const struct model_description *d = &state->base->description;
    int chunk = (int)(TITLE_HEAD_LOGITS_MAX / (unsigned)d->V);
    if (chunk < 1) { chunk = 1; }
    if (chunk > state->tokens_max) { chunk = state->tokens_max; }
    if (chunk_max > 0 && chunk > chunk_max) { chunk = chunk_max; }
    state->rows = slab_tensor(slab, DTYPE_F32, chunk, d->C);
    state->logits = slab_tensor(slab, DTYPE_F32, chunk, d->V);
    state->logprob = slab_tensor(slab, DTYPE_F32, state->tokens_max, 1);
    state->weight = slab_tensor(slab, DTYPE_F32, state->tokens_max, 1);
}

int title_head_chunk(const struct title_head_state *state) {
    return state->logits.rows;
}

struct tensor title_head_logits(struct title_head_state *state, struct tensor x) {
    struct backend *be = state->base->be;
    struct tensor logits = first_rows(state->logits, x.rows);
    be->ops->linear_forward(be, logits, x, state->base->head, tensor_none());
    return logits;
}

/* Logits of title tokens [first, first+count). */
static struct tensor chunk_logits(struct title_head_state *state, const struct pack *pack,
                                  struct tensor final, int first, int count) {
    struct backend *be = state->base->be;
    struct tensor rows = first_rows(state->rows, count);
    be->ops->gather_rows(be, rows, final,
                         tensor_rows(pack_tensor(pack, PACK_TITLE_ROW), first, count));
    return title_head_logits(state, rows);
}

static int chunk_count(const struct title_head_state *state, int tokens, int first) {
    int left = tokens - first;
    return left < state->logits.rows ? left : state->logits.rows;
}

enum status title_head_score(struct title_head_state *state, const struct pack *pack,
                             struct tensor final, struct error *err) {
    struct backend *be = state->base->be;
    int tokens = pack->count[PACK_TITLE_TOKEN];
    for (int first = 0; first < tokens; first += state->logits.rows) {
        int count = chunk_count(state, tokens, first);
        struct tensor logits = chunk_logits(state, pack, final, first, count);
        be->ops->log_softmax_at(be, tensor_rows(state->logprob, first, count), logits,
                                tensor_rows(pack_tensor(pack, PACK_TITLE_TOKEN), first, count));
    }
    if (tokens == 0) { return STATUS_OK; }

    enum status status =
        be->ops->download(be, state->host, first_rows(state->logprob, tokens), err);
    if (status != STATUS_OK) { return status; }
    for (int i = 0; i < pack->title_count; i++) {
        const struct pack_title *title = &pack->titles[i];
        double sum = 0.0;
        for (int t = 0; t < title->count; t++) {
            sum += (double)state->host[title->first + t];
        }
        state->likelihood[i] = sum;
    }
    return STATUS_OK;
}

/* share = softmax(LL - logQ) over titles [first, first+count) of one sample; returns the loss. */
static double share_out(struct title_head_state *state, const struct lm_sample *sample, int first,
                        int count) {
    double largest = -(double)INFINITY, sum = 0.0;
    for (int c = 0; c < count; c++) {
        double correction =
            sample->candidate_corrections != NULL ? (double)sample->candidate_corrections[c] : 0.0;
        state->share[first + c] = state->likelihood[first + c] - correction;
        largest = fmax(largest, state->share[first + c]);
    }
    double target = state->share[first];
    for (int c = 0; c < count; c++) {
        state->share[first + c] = exp(state->share[first + c] - largest);
        sum += state->share[first + c];
    }
    for (int c = 0; c < count; c++) {
        state->share[first + c] /= sum;
    }
    return largest + log(sum) - target;
}

/* state->host = the signed weight of every title token; adds up the losses. */
static struct title_losses weigh_tokens(struct title_head_state *state, const struct pack *pack,
                                        const struct lm_sample *samples, double scale) {
    struct title_losses losses = {0.0, 0.0};
    int first = 0;
    while (first < pack->title_count) {
        const struct lm_sample *sample = &samples[pack->titles[first].sample];
        int count = sample->candidate_count;
        double weight = (double)sample->weight * scale;
        double rank = share_out(state, sample, first, count);
        int target_tokens = pack->titles[first].count;
        losses.rank += weight * rank;
        losses.title -= weight * state->likelihood[first] / (double)target_tokens;
        for (int c = 0; c < count; c++) {
            const struct pack_title *title = &pack->titles[first + c];
            double w = c == 0 ? weight * (1.0 - state->share[first] + 1.0 / (double)target_tokens)
                              : -weight * state->share[first + c];
            for (int t = 0; t < title->count; t++) {
                state->host[title->first + t] = (float)w;
            }
        }
        first += count;
    }
    return losses;
}

enum status title_head_loss(struct title_head_state *state, const struct pack *pack,
                            const struct lm_sample *samples, double scale, struct tensor final,
                            struct tensor dfinal, struct title_losses *ret_losses,
                            struct error *err) {
    struct backend *be = state->base->be;
    int tokens = pack->count[PACK_TITLE_TOKEN];
    *ret_losses = (struct title_losses){0.0, 0.0};
    if (tokens == 0) { return STATUS_OK; }
    enum status status = title_head_score(state, pack, final, err);
    if (status != STATUS_OK) { return status; }

    struct title_losses losses = weigh_tokens(state, pack, samples, scale);
    status = be->ops->upload(be, first_rows(state->weight, tokens), state->host, err);
    if (status != STATUS_OK) { return status; }
    for (int first = 0; first < tokens; first += state->logits.rows) {
        int count = chunk_count(state, tokens, first);
        /* One chunk: its logits are still there from the first sweep. */
        struct tensor logits = tokens <= state->logits.rows
                                   ? first_rows(state->logits, count)
                                   : chunk_logits(state, pack, final, first, count);
        be->ops->cross_entropy(be, tensor_rows(state->logprob, first, count), logits,
                               tensor_rows(pack_tensor(pack, PACK_TITLE_TOKEN), first, count),
                               tensor_rows(state->weight, first, count));
        struct tensor drows = first_rows(state->rows, count);
        be->ops->linear_backward(be, drows, logits, state->base->head, false);
        be->ops->scatter_add_rows(be, dfinal, drows,
                                  tensor_rows(pack_tensor(pack, PACK_TITLE_ROW), first, count));
    }
    *ret_losses = losses;
    return STATUS_OK;
}
