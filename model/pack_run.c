/* SPDX-License-Identifier: Apache-2.0
 *
 * pack_run.c - one pack through the model: what training and every kind of scoring share.
 *
 * Failure: LIMIT when a sample cannot fit or is beyond the base model's positions or vocabulary
 * (the caller's data, checked before anything runs); the rest is kept by the backend. */
#include "model/language_model_state.h"

#include <string.h>

enum status pack_fill(struct language_model *lm, const struct lm_sample *samples, int count,
                      bool titles, int *ret_taken, struct error *err) {
    struct pack_options options = {.titles = titles, .items = lm->M};
    int taken = 0;
    pack_reset(&lm->pack);
    while (taken < count && pack_add(&lm->pack, &samples[taken], &options)) {
        taken++;
    }
    if (taken == 0) {
        return error_set(err, STATUS_LIMIT, "prompt with its candidates takes %d rows: at most %d",
                         pack_rows_of(&samples[0], &options), lm->settings.tokens_max);
    }
    *ret_taken = taken;
    return STATUS_OK;
}

static enum status check_rows(const struct language_model *lm, struct error *err) {
    const int32_t *tokens = pack_host(&lm->pack, PACK_TOKEN);
    const int32_t *positions = pack_host(&lm->pack, PACK_POSITION);
    int V = lm->base->description.V, T = lm->base->rope.rows;
    for (int i = 0; i < pack_rows(&lm->pack); i++) {
        if (tokens[i] < 0 || tokens[i] >= V) {
            return error_set(err, STATUS_LIMIT, "token %d: the base model has 0..%d", tokens[i],
                             V - 1);
        }
        if (positions[i] >= T) {
            return error_set(err, STATUS_LIMIT, "position %d: the base model has 0..%d",
                             positions[i], T - 1);
        }
    }
    return STATUS_OK;
}

/* Mean vector of a history, over the items that have one; zeros when none has. */
static void mean_vector(const struct language_model *lm, const struct lm_sample *sample,
                        float *ret_mean) {
    int E = lm->shape.E, known = 0;
    memset(ret_mean, 0, (size_t)E * sizeof(float));
    for (int i = 0; i < sample->history_count; i++) {
        if (sample->history[i] >= (uint32_t)lm->M) { continue; }
        const float *vector = lm->items_host + (size_t)sample->history[i] * (size_t)E;
        for (int e = 0; e < E; e++) {
            ret_mean[e] += vector[e];
        }
        known++;
    }
    for (int e = 0; known > 0 && e < E; e++) {
        ret_mean[e] /= (float)known;
    }
}

static enum status upload_histories(struct language_model *lm, const struct lm_sample *samples,
                                    struct error *err) {
    int B = lm->pack.samples, E = lm->shape.E;
    for (int b = 0; b < B; b++) {
        mean_vector(lm, &samples[b], lm->staging + (size_t)b * (size_t)E);
    }
    return lm->be->ops->upload(lm->be, first_rows(lm->item_head.history, B), lm->staging, err);
}

enum status pack_prepare(struct language_model *lm, const struct ilora_params *params, bool adapted,
                         const struct lm_sample *samples, bool keep_half,
                         struct llama_pass *ret_pass, struct error *err) {
    assert(params == NULL || samples != NULL);
    assert(params != NULL || !adapted);

    int B = lm->pack.samples;
    enum status status = check_rows(lm, err);
    if (status != STATUS_OK) { return status; }
    status = pack_upload(&lm->pack, lm->be, err);
    if (status != STATUS_OK) { return status; }
    if (params != NULL) {
        status = gate_run(lm, params, samples, err);
        if (status != STATUS_OK) { return status; }
        if (language_model_has(lm, ILORA_HEAD_ITEM)) {
            status = upload_histories(lm, samples, err);
            if (status != STATUS_OK) { return status; }
        }
    }

    llama_embed(&lm->llama, &lm->pack);
    if (params != NULL && lm->shape.item_tokens) {
        projector_forward(lm->be, &lm->projector, params, &lm->pack, lm->items,
                          lm->llama.layers[0].x);
    }
    *ret_pass = (struct llama_pass){.pack = &lm->pack,
                                    .params = params,
                                    .gate = {.weight = first_rows(lm->gate.weight, B),
                                             .dweight = first_rows(lm->gate.dweight, B)},
                                    .adapted = adapted,
                                    .keep_half = keep_half,
                                    .embedding_gradient =
                                        lm->shape.item_tokens && lm->pack.count[PACK_ITEM] > 0};
    return STATUS_OK;
}

enum status pack_run(struct language_model *lm, const struct ilora_params *params, bool adapted,
                     const struct lm_sample *samples, bool keep_half, struct llama_pass *ret_pass,
                     struct error *err) {
    enum status status = pack_prepare(lm, params, adapted, samples, keep_half, ret_pass, err);
    if (status != STATUS_OK) { return status; }
    llama_forward(&lm->llama, ret_pass);
    return STATUS_OK;
}

enum status pack_step(struct language_model *lm, struct llama_pass *pass, struct error *err) {
    assert(pass->pack == &lm->pack && pass->cache != NULL && pass->cache->ranges != NULL);

    enum status status = check_rows(lm, err);
    if (status != STATUS_OK) { return status; }
    status = pack_upload(&lm->pack, lm->be, err);
    if (status != STATUS_OK) { return status; }
    llama_embed(&lm->llama, &lm->pack);
    llama_forward(&lm->llama, pass);
    return STATUS_OK;
}
