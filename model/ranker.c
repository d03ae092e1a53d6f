/* SPDX-License-Identifier: Apache-2.0
 *
 * ranker.c - lists for many users: SASRec for all of them at once, then each user's own list. */
#include <assert.h>
#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "model/ranker_rooms.h"

enum status ranker_new(struct backend *be, const struct fast_settings *settings,
                       struct ranker **ret_ranker, struct error *err) {
    struct ranker *ranker = MEMORY_TAKE_ARRAY(struct ranker, 1);
    if (ranker == NULL) { return error_set(err, STATUS_NO_MEMORY, "ranker"); }

    ranker->be = be;
    ranker->settings = *settings;
    enum status status = sasrec_work_new(be, &settings->sasrec, false, &ranker->work, err);
    if (status == STATUS_OK) {
        ranker->states = MEMORY_TAKE_ARRAY(float, STATES_CHUNK * settings->sasrec.E);
        if (ranker->states == NULL) { status = error_set(err, STATUS_NO_MEMORY, "ranker"); }
    }
    if (status != STATUS_OK) {
        ranker_free(ranker);
        return status;
    }
    *ret_ranker = ranker;
    return STATUS_OK;
}

static void ranker_give_items(struct ranker *ranker) {
    memory_free(ranker->sasrec);
    memory_free(ranker->covisitation);
    memory_free(ranker->covisitation_log);
    memory_free(ranker->decayed);
    memory_free(ranker->score);
    memory_free(ranker->features);
    memory_free(ranker->left_out);
    memory_free(ranker->taken);
}

void ranker_free(struct ranker *ranker) {
    if (ranker == NULL) { return; }
    ranker_give_items(ranker);
    sasrec_work_free(ranker->work);
    memory_free(ranker->states);
    memory_free(ranker);
}

enum status ranker_reserve(struct ranker *ranker, int M, struct error *err) {
    if (M <= ranker->capacity) { return STATUS_OK; }
    int64_t capacity = ranker->capacity > 0 ? ranker->capacity : 1024;
    while (capacity < M) {
        capacity *= 2;
    }

    ranker_give_items(ranker);
    ranker->capacity = 0;
    ranker->sasrec = MEMORY_TAKE_ARRAY(float, STATES_CHUNK *capacity);
    ranker->covisitation = MEMORY_TAKE_ARRAY(float, capacity);
    ranker->covisitation_log = MEMORY_TAKE_ARRAY(float, capacity);
    ranker->decayed = MEMORY_TAKE_ARRAY(float, capacity);
    ranker->score = MEMORY_TAKE_ARRAY(float, capacity);
    ranker->features = MEMORY_TAKE_ARRAY(float, capacity *FEATURE_COUNT);
    ranker->left_out = MEMORY_TAKE_ARRAY(uint8_t, capacity);
    ranker->taken = MEMORY_TAKE_ARRAY(uint8_t, capacity);
    bool scores = ranker->sasrec != NULL && ranker->covisitation != NULL &&
                  ranker->covisitation_log != NULL && ranker->decayed != NULL;
    bool rest = ranker->score != NULL && ranker->features != NULL && ranker->left_out != NULL &&
                ranker->taken != NULL;
    if (!scores || !rest) {
        return error_set(err, STATUS_NO_MEMORY, "ranker of %d items", (int)capacity);
    }
    ranker->capacity = (int)capacity;
    return STATUS_OK;
}

enum status ranker_states(struct ranker *ranker, const struct fast_model *model,
                          const struct rank_request *requests, int count, float *ret_states,
                          struct error *err) {
    const size_t E = (size_t)model->settings.sasrec.E;
    struct sasrec_sequence sequences[STATES_CHUNK];

    for (int first = 0; first < count; first += STATES_CHUNK) {
        int n = count - first < STATES_CHUNK ? count - first : STATES_CHUNK;
        for (int r = 0; r < n; r++) {
            const struct rank_request *request = &requests[first + r];
            sequences[r] = (struct sasrec_sequence){request->history, request->history_count, 1.0F};
        }
        enum status status = sasrec_states(model->sasrec, ranker->work, sequences, n,
                                           ret_states + (size_t)first * E, err);
        if (status != STATUS_OK) { return error_wrap(err, "states of %d histories", count); }
    }
    return STATUS_OK;
}

enum status ranker_log_probabilities(struct ranker *ranker, const struct fast_model *model,
                                     const float *states, int count, float *ret_values,
                                     struct error *err) {
    return sasrec_log_probabilities(model->sasrec, ranker->work, states, count, ret_values, err);
}

enum status ranker_sasrec(struct ranker *ranker, const struct fast_model *model,
                          const struct rank_request *request, const float **ret_sasrec,
                          struct error *err) {
    *ret_sasrec = request->sasrec;
    if (request->sasrec != NULL || !request->use_sasrec || request->history_count == 0) {
        return STATUS_OK;
    }
    enum status status = ranker_reserve(ranker, model->items, err);
    if (status != STATUS_OK) { return status; }
    const float *state = request->state;
    if (state == NULL) {
        status = ranker_states(ranker, model, request, 1, ranker->states, err);
        if (status != STATUS_OK) { return status; }
        state = ranker->states;
    }
    status = ranker_log_probabilities(ranker, model, state, 1, ranker->sasrec, err);
    if (status == STATUS_OK) { *ret_sasrec = ranker->sasrec; }
    return status;
}

/* Position of the best not yet taken. */
static int highest(const float *score, const uint32_t *items, int count, const uint8_t *taken) {
    int best = -1;

    for (int c = 0; c < count; c++) {
        if (taken[c]) { continue; }
        bool better = best < 0 || score[c] > score[best] ||
                      (score[c] == score[best] && items[c] < items[best]);
        if (better) { best = c; }
    }
    return best;
}

static void list_fill(const float *probability, const uint32_t *items, const uint8_t *sources,
                      int count, int wanted, struct rank_list *ret_list) {
    uint8_t taken[CANDIDATES_MAX] = {0};

    int length = wanted < count ? wanted : count;
    for (int n = 0; n < length; n++) {
        int best = highest(probability, items, count, taken);
        taken[best] = 1;
        ret_list->items[n] = items[best];
        ret_list->probability[n] = probability[best];
        ret_list->source[n] = sources[best];
    }
    ret_list->count = length;
}

static enum status rank_one(struct ranker *ranker, const struct fast_model *model,
                            const struct rank_request *request, const float *sasrec,
                            struct rank_list *ret_list, struct error *err) {
    uint32_t items[CANDIDATES_MAX];
    uint8_t sources[CANDIDATES_MAX];
    float features[CANDIDATES_MAX * FEATURE_COUNT];
    float scores[CANDIDATES_MAX];
    struct view view;

    assert(request->list > 0 && request->list <= LIST_MAX);
    enum status status = ranker_view(ranker, model, request, sasrec, &view, err);
    if (status != STATUS_OK) { return status; }
    const struct stacker *stack = request_stack(model, request);
    int count = view_candidates(ranker, &view, model->settings.candidates, items, sources);
    for (int c = 0; c < count; c++) {
        view_features(ranker, &view, stack, items[c], features + (size_t)c * FEATURE_COUNT);
    }
    stacker_score(stack, features, count, scores);
    stacker_probabilities(scores, count);
    list_fill(scores, items, sources, count, request->list, ret_list);
    return STATUS_OK;
}

/* A chunk of requests: log-probabilities together, lists one by one. */
static enum status rank_chunk(struct ranker *ranker, const struct fast_model *model,
                              const struct rank_request *requests, int count,
                              struct rank_list *ret_lists, struct error *err) {
    const size_t E = (size_t)model->settings.sasrec.E, M = (size_t)model->items;
    struct rank_request asked[STATES_CHUNK];
    int at[STATES_CHUNK];
    int n = 0;

    for (int r = 0; r < count; r++) {
        const struct rank_request *request = &requests[r];
        at[r] = -1;
        if (request->sasrec != NULL || !request->use_sasrec || request->history_count == 0) {
            continue;
        }
        at[r] = n;
        asked[n++] = *request;
    }
    enum status status = STATUS_OK;
    if (n > 0) { status = ranker_states(ranker, model, asked, n, ranker->states, err); }
    for (int r = 0; r < count && status == STATUS_OK; r++) {
        if (at[r] < 0 || requests[r].state == NULL) { continue; }
        memcpy(ranker->states + (size_t)at[r] * E, requests[r].state, E * sizeof(float));
    }
    if (n > 0 && status == STATUS_OK) {
        status = ranker_log_probabilities(ranker, model, ranker->states, n, ranker->sasrec, err);
    }
    for (int r = 0; r < count && status == STATUS_OK; r++) {
        const float *sasrec = at[r] >= 0 ? ranker->sasrec + (size_t)at[r] * M : requests[r].sasrec;
        status = rank_one(ranker, model, &requests[r], sasrec, &ret_lists[r], err);
    }
    return status;
}

enum status ranker_rank(struct ranker *ranker, const struct fast_model *model,
                        const struct rank_request *requests, int count, struct rank_list *ret_lists,
                        struct error *err) {
    enum status status = ranker_reserve(ranker, model->items, err);

    for (int first = 0; first < count && status == STATUS_OK; first += STATES_CHUNK) {
        int n = count - first < STATES_CHUNK ? count - first : STATES_CHUNK;
        status = rank_chunk(ranker, model, requests + first, n, ret_lists + first, err);
    }
    return status;
}
