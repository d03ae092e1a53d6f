/* SPDX-License-Identifier: Apache-2.0
 *
 * language_model_score.c - forward passes for answers: item scores, title likelihoods, logits,
 * vectors.
 *
 * Samples go through in packs of the token budget, in order; a score does not depend on which
 * samples share a pack (attention is by segment, every other operator by row).
 * Failure: LIMIT for a sample that cannot fit, DEVICE_LOST or NO_MEMORY from the backend; ret_
 * arrays may then be partly written. Thread: that of the backend. */
#include <string.h>

#include "model/language_model_state.h"

enum status language_model_score_items(struct language_model *lm, struct ilora_params *params,
                                       bool frozen, const struct lm_sample *samples, int count,
                                       float *ret_logprobs, struct error *err) {
    assert(params != NULL);
    assert(language_model_has(lm, ILORA_HEAD_ITEM));

    int B = 0;
    for (int first = 0; first < count; first += B) {
        struct llama_pass pass;
        enum status status = pack_fill(lm, samples + first, count - first, false, &B, err);
        if (status != STATUS_OK) { return status; }
        status = pack_run(lm, params, !frozen, samples + first, false, &pass, err);
        if (status != STATUS_OK) { return status; }
        item_head_forward(lm->be, &lm->item_head, params, &lm->pack, lm->llama.final);
        status = item_head_score(lm->be, &lm->item_head, params, first_rows(lm->items, lm->M), B,
                                 ret_logprobs + (size_t)first * (size_t)lm->M, err);
        if (status != STATUS_OK) { return error_wrap(err, "scoring items"); }
    }
    return lm->be->ops->synchronise(lm->be, err);
}

enum status language_model_score_titles(struct language_model *lm, struct ilora_params *params,
                                        bool frozen, const struct lm_sample *samples, int count,
                                        float *ret_loglikelihoods, struct error *err) {
    assert(language_model_has(lm, ILORA_HEAD_TITLE));

    int B = 0;
    size_t written = 0;
    for (int first = 0; first < count; first += B) {
        struct llama_pass pass;
        enum status status = pack_fill(lm, samples + first, count - first, true, &B, err);
        if (status != STATUS_OK) { return status; }
        status =
            pack_run(lm, params, params != NULL && !frozen, samples + first, false, &pass, err);
        if (status != STATUS_OK) { return status; }
        status = title_head_score(&lm->title_head, &lm->pack, lm->llama.final, err);
        if (status != STATUS_OK) { return error_wrap(err, "scoring titles"); }
        for (int i = 0; i < lm->pack.title_count; i++) {
            ret_loglikelihoods[written++] = (float)lm->title_head.likelihood[i];
        }
    }
    return lm->be->ops->synchronise(lm->be, err);
}

enum status language_model_logits(struct language_model *lm, struct ilora_params *params,
                                  const float *gate_input, const int32_t *tokens, int count,
                                  float *ret_logits, struct error *err) {
    enum status status = base_model_prepare_head(lm->base, lm->base->head_backward, err);
    if (status != STATUS_OK) { return status; }
    pack_reset(&lm->pack);
    if (!pack_add_tokens(&lm->pack, tokens, count)) {
        return error_set(err, STATUS_LIMIT, "%d tokens: at most %d", count,
                         lm->settings.tokens_max);
    }

    struct lm_sample sample = {.gate_input = gate_input};
    struct llama_pass pass;
    status = pack_run(lm, params, params != NULL, &sample, false, &pass, err);
    if (status != STATUS_OK) { return status; }
    int chunk = title_head_chunk(&lm->title_head), V = lm->base->description.V;
    for (int first = 0; first < count; first += chunk) {
        int rows = count - first < chunk ? count - first : chunk;
        struct tensor logits =
            title_head_logits(&lm->title_head, tensor_rows(lm->llama.final, first, rows));
        status = lm->be->ops->download(lm->be, ret_logits + (size_t)first * (size_t)V, logits, err);
        if (status != STATUS_OK) { return error_wrap(err, "logits"); }
    }
    return lm->be->ops->synchronise(lm->be, err);
}

/* Sums a hidden state over each title's rows, divides on the host into columns [column,
 * column+C). */
static enum status mean_states(struct language_model *lm, struct tensor states, int column,
                               float *ret_vectors, struct error *err) {
    int B = lm->pack.samples, C = lm->base->description.C;
    struct tensor sums = first_rows(lm->sums, B);
    lm->be->ops->fill(lm->be, sums, 0.0f);
    lm->be->ops->scatter_add_rows(lm->be, sums, first_rows(states, pack_rows(&lm->pack)),
                                  pack_tensor(&lm->pack, PACK_SEQUENCE));
    enum status status = lm->be->ops->download(lm->be, lm->staging, sums, err);
    if (status != STATUS_OK) { return status; }
    for (int b = 0; b < B; b++) {
        const struct segment *s = &lm->pack.segments[b];
        float *vector = ret_vectors + (size_t)b * 2 * (size_t)C + (size_t)column;
        for (int c = 0; c < C; c++) {
            vector[c] = lm->staging[(size_t)b * (size_t)C + (size_t)c] / (float)(s->end - s->begin);
        }
    }
    return STATUS_OK;
}

enum status language_model_embed_titles(struct language_model *lm,
                                        const struct title_tokens *const *titles, int count,
                                        float *ret_vectors, struct error *err) {
    int C = lm->base->description.C;
    size_t width = 2 * (size_t)C;
    int first = 0;
    while (first < count) {
        if (titles[first]->count == 0) { /* no title: no vector */
            memset(ret_vectors + (size_t)first * width, 0, width * sizeof(float));
            first++;
            continue;
        }
        int next = first;
        pack_reset(&lm->pack);
        while (next < count && titles[next]->count > 0 &&
               pack_add_tokens(&lm->pack, titles[next]->ids, titles[next]->count)) {
            next++;
        }
        if (next == first) {
            return error_set(err, STATUS_LIMIT, "title of %d tokens: at most %d",
                             titles[first]->count, lm->settings.tokens_max);
        }

        struct llama_pass pass;
        float *vectors = ret_vectors + (size_t)first * width;
        enum status status = pack_run(lm, NULL, false, NULL, true, &pass, err);
        if (status != STATUS_OK) { return status; }
        status = mean_states(lm, lm->llama.half, 0, vectors, err);
        if (status != STATUS_OK) { return error_wrap(err, "title vectors"); }
        status = mean_states(lm, lm->llama.out, C, vectors, err);
        if (status != STATUS_OK) { return error_wrap(err, "title vectors"); }
        first = next;
    }
    return lm->be->ops->synchronise(lm->be, err);
}
