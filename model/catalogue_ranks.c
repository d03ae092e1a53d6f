/* SPDX-License-Identifier: Apache-2.0
 *
 * catalogue_ranks.c - where one item stands among all that the user has not consumed, by each cheap
 * model; and the list that a stack learns from. */
#include <assert.h>
#include <math.h>

#include "model/ranker_rooms.h"

/* Expected rank of the target when ties are in random order, rounded up. */
static int rank_among(const float *score, const uint8_t *left_out, int M, uint32_t target) {
    const float mine = score[target];
    int higher = 0, equal = 0;

    for (int i = 0; i < M; i++) {
        int counts = left_out[i] == 0;
        higher += counts & (score[i] > mine);
        equal += counts & (score[i] == mine);
    }
    if (left_out[target] == 0) { equal--; }
    return 1 + higher + (equal + 1) / 2;
}

/* log-sum-exp over what is not left out, target included */
static double log_sum_exp(const float *score, const uint8_t *left_out, int M, uint32_t target) {
    float highest = score[target];
    double sum = 0;

    for (int i = 0; i < M; i++) {
        if (!left_out[i] && score[i] > highest) { highest = score[i]; }
    }
    for (int i = 0; i < M; i++) {
        if (left_out[i] && (uint32_t)i != target) { continue; }
        sum += (double)expf(score[i] - highest);
    }
    return (double)highest + log(sum);
}

/* score (M) of the stack; items in the order of their numbers */
static void stack_scores(struct ranker *ranker, const struct view *view,
                         const struct stacker *stack) {
    for (int i = 0; i < view->M; i++) {
        view_features(ranker, view, stack, (uint32_t)i,
                      ranker->features + (size_t)i * FEATURE_COUNT);
    }
    stacker_score(stack, ranker->features, view->M, ranker->score);
}

/* Moves the rows of features that a stack learns from to the front: all that is not left out. */
static void keep_fit_list(struct ranker *ranker, const struct view *view, uint32_t target) {
    int count = 0;

    for (int i = 0; i < view->M; i++) {
        if (ranker->left_out[i] && (uint32_t)i != target) { continue; }
        if ((uint32_t)i == target) { ranker->fit_target = count; }
        for (int f = 0; f < FEATURE_COUNT && count != i; f++) {
            ranker->features[(size_t)count * FEATURE_COUNT + (size_t)f] =
                ranker->features[(size_t)i * FEATURE_COUNT + (size_t)f];
        }
        count++;
    }
    ranker->fit_count = count;
}

enum status ranker_catalogue_ranks(struct ranker *ranker, const struct fast_model *model,
                                   const struct rank_request *request, uint32_t target,
                                   struct catalogue_ranks *ret_ranks, struct error *err) {
    const int M = model->items;
    const float *sasrec = NULL;
    struct view view;

    ranker->fit_count = 0;
    if (target >= (uint32_t)M) {
        *ret_ranks =
            (struct catalogue_ranks){M + 1, M + 1, M + 1, M + 1, M + 1, (double)NAN, (double)NAN};
        return STATUS_OK;
    }
    enum status status = ranker_sasrec(ranker, model, request, &sasrec, err);
    if (status != STATUS_OK) { return status; }
    status = ranker_view(ranker, model, request, sasrec, &view, err);
    if (status != STATUS_OK) { return status; }

    const uint8_t *left_out = ranker->left_out;
    stack_scores(ranker, &view, request_stack(model, request));
    ret_ranks->fast = rank_among(ranker->score, left_out, M, target);
    ret_ranks->fast_log_loss =
        log_sum_exp(ranker->score, left_out, M, target) - (double)ranker->score[target];
    ret_ranks->covisitation = rank_among(ranker->covisitation, left_out, M, target);
    ret_ranks->decayed = rank_among(ranker->decayed, left_out, M, target);
    ret_ranks->sasrec = sasrec != NULL ? rank_among(sasrec, left_out, M, target) : M + 1;
    ret_ranks->sasrec_log_loss = sasrec != NULL ? -(double)sasrec[target] : (double)NAN;
    for (int i = 0; i < M; i++) {
        ranker->score[i] = i < view.counted ? view.popularity_log[i] : 0.0F;
    }
    ret_ranks->popularity = rank_among(ranker->score, left_out, M, target);
    keep_fit_list(ranker, &view, target);
    ranker->last = view;
    ranker->last_stack = request_stack(model, request);
    return STATUS_OK;
}

int ranker_rank_of(const struct ranker *ranker, const float *scores, uint32_t target) {
    assert(target < (uint32_t)ranker->last.M);
    return rank_among(scores, ranker->left_out, ranker->last.M, target);
}

void ranker_last_features(const struct ranker *ranker, const uint32_t *items, int count,
                          float *ret_features) {
    for (int c = 0; c < count; c++) {
        view_features(ranker, &ranker->last, ranker->last_stack, items[c],
                      ret_features + (size_t)c * FEATURE_COUNT);
    }
}

void ranker_fit(struct ranker *ranker, struct stacker *stack,
                const struct stacker_settings *settings) {
    if (ranker->fit_count < 2) { return; }
    stacker_fit(stack, settings, ranker->features, ranker->fit_count, ranker->fit_target,
                ranker->score);
}
