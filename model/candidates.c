/* SPDX-License-Identifier: Apache-2.0
 *
 * candidates.c - who proposes which items: each model's best, dealt in turn, plus a share for new
 * ones.
 *
 *   SASRec       s1 s2 s3 ...  ┐
 *   co-visitation c1 c2 ...    ├─ dealt in turn, each item once ─▶ up to max - new share
 *   popularity   p1 p2 ...     │
 *   item head    h1 h2 ...     ┘   (when the language model was asked)
 *   new items, best by SASRec or item head ─▶ the rest
 *
 * Order: higher score first, then the smaller item number: a function of the scores alone.
 */
#include <assert.h>
#include <string.h>

#include "model/ranker_rooms.h"

/* The best `limit` items as a heap whose root is the worst of them. */
struct best {
    int count, limit;
    uint32_t item[CANDIDATES_MAX];
    float score[CANDIDATES_MAX];
};

static bool best_is_worse(const struct best *best, int a, int b) {
    if (best->score[a] != best->score[b]) { return best->score[a] < best->score[b]; }
    return best->item[a] > best->item[b];
}

static void best_exchange(struct best *best, int a, int b) {
    uint32_t item = best->item[a];
    float score = best->score[a];

    best->item[a] = best->item[b];
    best->score[a] = best->score[b];
    best->item[b] = item;
    best->score[b] = score;
}

static void best_sink(struct best *best, int at, int count) {
    for (;;) {
        int child = 2 * at + 1;
        if (child >= count) { return; }
        if (child + 1 < count && best_is_worse(best, child + 1, child)) { child++; }
        if (!best_is_worse(best, child, at)) { return; }
        best_exchange(best, child, at);
        at = child;
    }
}

static void best_offer(struct best *best, uint32_t item, float score) {
    if (best->count == best->limit) {
        if (best->limit == 0 || score < best->score[0]) { return; }
        if (score == best->score[0] && item > best->item[0]) { return; }
        best->item[0] = item;
        best->score[0] = score;
        best_sink(best, 0, best->count);
        return;
    }
    int at = best->count++;
    best->item[at] = item;
    best->score[at] = score;
    while (at > 0 && best_is_worse(best, at, (at - 1) / 2)) {
        best_exchange(best, at, (at - 1) / 2);
        at = (at - 1) / 2;
    }
}

/* Best first. */
static void best_sort(struct best *best) {
    for (int end = best->count - 1; end > 0; end--) {
        best_exchange(best, 0, end);
        best_sink(best, 0, end);
    }
}

/* The best items of one model; above: scores not higher are never proposed. */
static void best_of(struct best *best, const struct ranker *ranker, const float *score, int M,
                    int limit, float above) {
    best->count = 0;
    best->limit = limit;
    for (int i = 0; i < M; i++) {
        if (ranker->left_out[i] || score[i] <= above) { continue; }
        best_offer(best, (uint32_t)i, score[i]);
    }
    best_sort(best);
}

struct proposals {
    struct best by[4]; /* owners in order of their turn */
    uint8_t source[4];
    int count; /* of `by` */
};

/* Deals the proposals in turn; returns how many items stand in ret_items then. */
static int deal(struct ranker *ranker, const struct proposals *proposals, int count, int max,
                uint32_t *ret_items, uint8_t *ret_sources) {
    for (int turn = 0; turn < CANDIDATES_MAX && count < max; turn++) {
        for (int p = 0; p < proposals->count && count < max; p++) {
            if (turn >= proposals->by[p].count) { continue; }
            uint32_t item = proposals->by[p].item[turn];
            if (ranker->taken[item]) { continue; }
            ranker->taken[item] = 1;
            ret_items[count] = item;
            if (ret_sources != NULL) { ret_sources[count] = proposals->source[p]; }
            count++;
        }
    }
    return count;
}

static void propose(struct ranker *ranker, const struct view *view, int max,
                    struct proposals *proposals) {
    const float *const scores[4] = {view->sasrec, ranker->covisitation, ranker->decayed,
                                    view->request->item_head};
    static const uint8_t sources[4] = {SOURCE_SASREC, SOURCE_COVISITATION, SOURCE_POPULARITY,
                                       SOURCE_ITEM_HEAD};
    static const float above[4] = {-1e30F, 0.0F, (float)DECAYED_LOG_FLOOR, -1e30F};

    proposals->count = 0;
    for (int p = 0; p < 4; p++) {
        if (scores[p] == NULL) { continue; }
        best_of(&proposals->by[proposals->count], ranker, scores[p], view->M, max, above[p]);
        proposals->source[proposals->count++] = sources[p];
    }
}

/* New items, best by whoever can judge an item without events. */
static int deal_new(struct ranker *ranker, const struct view *view, int count, int max,
                    struct proposals *scratch, uint32_t *ret_items, uint8_t *ret_sources) {
    const float *judge = view->request->item_head != NULL ? view->request->item_head : view->sasrec;
    const float log_new = 1.7917595F; /* log(NEW_ITEM_EVENTS + 1) */
    struct best *best = &scratch->by[0];

    best->count = 0;
    best->limit = max - count;
    for (int i = view->M - 1; i >= 0; i--) {
        bool known = i < view->counted && view->popularity_log[i] > log_new - 1e-3F;
        if (known || ranker->left_out[i] || ranker->taken[i]) { continue; }
        best_offer(best, (uint32_t)i, judge != NULL ? judge[i] : 0.0F);
    }
    best_sort(best);
    scratch->count = 1;
    scratch->source[0] = SOURCE_NEW;
    return deal(ranker, scratch, count, max, ret_items, ret_sources);
}

int view_candidates(struct ranker *ranker, const struct view *view, int max, uint32_t *ret_items,
                    uint8_t *ret_sources) {
    struct proposals proposals;

    assert(max > 0 && max <= CANDIDATES_MAX);
    int reserved = (int)((double)max * ranker->settings.new_share);
    propose(ranker, view, max, &proposals);
    struct proposals fresh;
    int count = deal(ranker, &proposals, 0, max - reserved, ret_items, ret_sources);
    count = deal_new(ranker, view, count, count + reserved, &fresh, ret_items, ret_sources);
    count = deal(ranker, &proposals, count, max, ret_items, ret_sources);
    for (int n = 0; n < count; n++) {
        ranker->taken[ret_items[n]] = 0;
    }
    return count;
}

enum status ranker_candidates(struct ranker *ranker, const struct fast_model *model,
                              const struct rank_request *request, int max, uint32_t *ret_items,
                              int *ret_count, struct error *err) {
    const float *sasrec = NULL;
    struct view view;

    enum status status = ranker_sasrec(ranker, model, request, &sasrec, err);
    if (status != STATUS_OK) { return status; }
    status = ranker_view(ranker, model, request, sasrec, &view, err);
    if (status != STATUS_OK) { return status; }
    int limit = max < CANDIDATES_MAX ? max : CANDIDATES_MAX;
    *ret_count = limit > 0 ? view_candidates(ranker, &view, limit, ret_items, NULL) : 0;
    return STATUS_OK;
}
