/* SPDX-License-Identifier: Apache-2.0
 *
 * fast_model.c - SASRec, counters and the two stacks as one object that is copied into versions. */
#include "model/fast_model.h"

#include <assert.h>

#include "base/memory.h"

#define FEATURES_FAST (1u << FEATURE_FAST_COUNT) - 1u

enum status fast_model_new(struct backend *be, const struct fast_settings *settings, uint64_t seed,
                           bool trainable, struct fast_model **ret_model, struct error *err) {
    assert(settings->sasrec.items_max == settings->counters.items_max);
    assert(settings->candidates > 0 && settings->candidates <= CANDIDATES_MAX);
    struct fast_model *model = MEMORY_TAKE_ARRAY(struct fast_model, 1);
    if (model == NULL) { return error_set(err, STATUS_NO_MEMORY, "fast model"); }

    model->settings = *settings;
    stacker_init(&model->fast_stack, FEATURES_FAST);
    stacker_init(&model->full_stack, (FEATURES_FAST) | 1u << FEATURE_ITEM_HEAD);
    enum status status = sasrec_new(be, &settings->sasrec, seed, trainable, &model->sasrec, err);
    if (status != STATUS_OK) { goto fail; }
    status = counters_new(&settings->counters, &model->counters, err);
    if (status != STATUS_OK) { goto fail; }
    *ret_model = model;
    return STATUS_OK;
fail:
    fast_model_free(model);
    return status;
}

void fast_model_free(struct fast_model *model) {
    if (model == NULL) { return; }
    sasrec_free(model->sasrec);
    counters_free(model->counters);
    memory_free(model);
}

enum status fast_model_copy(struct fast_model *dst, const struct fast_model *src,
                            struct error *err) {
    enum status status = sasrec_copy(dst->sasrec, src->sasrec, err);
    if (status != STATUS_OK) { return error_wrap(err, "copying the fast model"); }
    status = counters_copy(dst->counters, src->counters, err);
    if (status != STATUS_OK) { return error_wrap(err, "copying the fast model"); }
    dst->fast_stack = src->fast_stack;
    dst->full_stack = src->full_stack;
    dst->items = src->items > dst->items ? src->items : dst->items;
    return STATUS_OK;
}

enum status fast_model_grow(struct fast_model *model, int M, struct error *err) {
    enum status status = sasrec_grow(model->sasrec, M, err);
    if (status != STATUS_OK) { return status; }
    if (M > model->items) { model->items = M; }
    return STATUS_OK;
}

const char *list_source_name(int source) {
    static const char *const names[] = {"sasrec", "covisitation", "popularity", "new", "item_head"};

    assert(source >= 0 && source <= SOURCE_ITEM_HEAD);
    return names[source];
}
