/* SPDX-License-Identifier: Apache-2.0
 *
 * features.c - what each model says about an item, side by side: the stacker's input.
 *
 * Everything is a logarithm, so that a weighted sum is a weighted product of the models' opinions.
 * What a model does not know stands at a floor; a model that is not asked stands at the stacker's
 * mean, where it says nothing.
 */
#include <assert.h>
#include <math.h>
#include <string.h>

#include "model/ranker_rooms.h"

/* log(cosine sum + this): about a fifth of what one shared visit between two items of average
 * popularity gives */
#define COVISITATION_EPS 1e-3f

const struct stacker *request_stack(const struct fast_model *model,
                                    const struct rank_request *request) {
    bool language_model = request->item_head != NULL || request->title_scores != NULL;

    return language_model ? &model->full_stack : &model->fast_stack;
}

static void covisitation_logs(struct ranker *ranker, int M) {
    const float floor = logf(COVISITATION_EPS);

    for (int i = 0; i < M; i++) {
        float cosine = ranker->covisitation[i];
        ranker->covisitation_log[i] = cosine > 0 ? logf(cosine + COVISITATION_EPS) : floor;
    }
}

static void leave_out(struct ranker *ranker, const struct rank_request *request, int M) {
    if (M == 0) { return; }
    if (request->hidden != NULL) {
        memcpy(ranker->left_out, request->hidden, (size_t)M);
    } else {
        memset(ranker->left_out, 0, (size_t)M);
    }
    for (int n = 0; n < request->exclude_count; n++) {
        if (request->exclude[n] < (uint32_t)M) { ranker->left_out[request->exclude[n]] = 1; }
    }
}

enum status ranker_view(struct ranker *ranker, const struct fast_model *model,
                        const struct rank_request *request, const float *sasrec,
                        struct view *ret_view, struct error *err) {
    const int M = model->items;

    enum status status = ranker_reserve(ranker, M, err);
    if (status != STATUS_OK) { return status; }
    if (!request->same_history) {
        counters_covisitation(model->counters, request->history, request->history_count,
                              model->settings.history_span, ranker->covisitation, M);
        covisitation_logs(ranker, M);
    }
    for (int i = 0; i < M; i++) {
        ranker->decayed[i] = counters_decayed_log(model->counters, (uint32_t)i, request->seq);
    }
    leave_out(ranker, request, M);
    int counted = counters_items(model->counters);
    *ret_view = (struct view){
        .M = M,
        .request = request,
        .sasrec = sasrec,
        .popularity_log = counters_popularity_logs(model->counters),
        .counted = counted < M ? counted : M,
    };
    return STATUS_OK;
}

/* Title scores of an item when the request brings them; false: not among them. */
static bool title_features(const struct rank_request *request, uint32_t item, float *ret_score,
                           float *ret_prior) {
    for (int n = 0; n < request->title_count; n++) {
        if (request->title_items[n] != item) { continue; }
        *ret_score = request->title_scores[n];
        *ret_prior = request->title_priors != NULL ? request->title_priors[n] : 0.0F;
        return true;
    }
    return false;
}

void view_features(const struct ranker *ranker, const struct view *view,
                   const struct stacker *stack, uint32_t item, float *ret_features) {
    static const float log_new = 1.7917595F; /* log(NEW_ITEM_EVENTS + 1) */
    const struct rank_request *request = view->request;
    float popularity = item < (uint32_t)view->counted ? view->popularity_log[item] : 0.0F;

    assert(item < (uint32_t)view->M);
    ret_features[FEATURE_SASREC] =
        view->sasrec != NULL ? view->sasrec[item] : (float)stack->mean[FEATURE_SASREC];
    ret_features[FEATURE_COVISITATION] = ranker->covisitation_log[item];
    ret_features[FEATURE_POPULARITY] = popularity;
    ret_features[FEATURE_DECAYED] = ranker->decayed[item];
    ret_features[FEATURE_UNSEEN] = popularity < log_new - 1e-3F ? 1.0F : 0.0F;
    ret_features[FEATURE_ITEM_HEAD] = request->item_head != NULL
                                          ? request->item_head[item]
                                          : (float)stack->mean[FEATURE_ITEM_HEAD];
    ret_features[FEATURE_TITLE] = (float)stack->mean[FEATURE_TITLE];
    ret_features[FEATURE_TITLE_PRIOR] = (float)stack->mean[FEATURE_TITLE_PRIOR];
    if (request->title_count > 0) {
        (void)title_features(request, item, &ret_features[FEATURE_TITLE],
                             &ret_features[FEATURE_TITLE_PRIOR]); /* else the mean stays */
    }
}

enum status ranker_features(struct ranker *ranker, const struct fast_model *model,
                            const struct rank_request *request, const uint32_t *candidates,
                            int count, float *ret_features, struct error *err) {
    const float *sasrec = NULL;
    struct view view;

    enum status status = ranker_sasrec(ranker, model, request, &sasrec, err);
    if (status != STATUS_OK) { return status; }
    status = ranker_view(ranker, model, request, sasrec, &view, err);
    if (status != STATUS_OK) { return status; }
    const struct stacker *stack = request_stack(model, request);
    for (int c = 0; c < count; c++) {
        float *x = ret_features + (size_t)c * FEATURE_COUNT;
        if (candidates[c] < (uint32_t)view.M) {
            view_features(ranker, &view, stack, candidates[c], x);
            continue;
        }
        for (int f = 0; f < FEATURE_COUNT; f++) {
            x[f] = f == FEATURE_SASREC || f == FEATURE_ITEM_HEAD ? LOG_FLOOR : 0.0F;
        }
        x[FEATURE_COVISITATION] = logf(COVISITATION_EPS);
        x[FEATURE_DECAYED] = (float)DECAYED_LOG_FLOOR;
        x[FEATURE_UNSEEN] = 1.0F;
    }
    return STATUS_OK;
}
