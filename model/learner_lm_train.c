/* SPDX-License-Identifier: Apache-2.0
 *
 * learner_lm_train.c - prompts, one step a batch, scores.
 *
 *   row ─▶ newest items with their titles ─▶ prompt ┐
 *       ─▶ SASRec state z ─▶ gate                   ├─▶ lm_sample ─▶ language_model_train, _score
 *       ─▶ the same items' mean vector ─▶ item head ┘
 *
 * The item vectors that the head scores against are SASRec's of the moment; they are handed over
 * before each use, because scoring jobs of versions run in between.
 */
#include <assert.h>
#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "base/rng.h"
#include "model/learner_lm.h"

#define TITLE_TRIES 16 /* draws for one negative title */

/* What one sample points into. */
struct lm_case {
    struct prompt prompt;
    uint32_t history[PROMPT_ITEMS_MAX]; /* in the prompt */
    int history_count;
    const uint32_t *known; /* borrowed: all that is known of the user, for z, as when serving */
    int known_count;
};

struct lm_cases {
    struct lm_case *list;            /* (capacity) owns */
    struct lm_sample *samples;       /* (capacity) owns */
    float *states;                   /* (capacity,E) owns */
    struct title_tokens *candidates; /* (capacity,per_sample) owns; title head only */
    int per_sample;
    int count, capacity;
};

static void cases_free(struct lm_cases *cases) {
    memory_free(cases->list);
    memory_free(cases->samples);
    memory_free(cases->states);
    memory_free(cases->candidates);
}

static enum status cases_new(struct lm_cases *cases, const struct learner *learner, int capacity,
                             int per_sample, struct error *err) {
    cases->capacity = capacity;
    cases->per_sample = per_sample;
    cases->list = MEMORY_TAKE_ARRAY(struct lm_case, capacity);
    cases->samples = MEMORY_TAKE_ARRAY(struct lm_sample, capacity);
    cases->states = MEMORY_TAKE_ARRAY(float, capacity * learner->settings.fast.sasrec.E);
    bool taken = cases->list != NULL && cases->samples != NULL && cases->states != NULL;
    if (per_sample > 0) {
        cases->candidates = MEMORY_TAKE_ARRAY(struct title_tokens, capacity * per_sample);
        taken = taken && cases->candidates != NULL;
    }
    if (!taken) { return error_set(err, STATUS_NO_MEMORY, "%d prompts", capacity); }
    return STATUS_OK;
}

/* ---- prompts --------------------------------------------------------------------------------- */

/* Where the newest items below M begin, at most settings.history of them. */
static int newest_begin(const struct learner *learner, const uint32_t *history, int count, int M) {
    int wanted = learner->settings.history;
    if (wanted > PROMPT_ITEMS_MAX) { wanted = PROMPT_ITEMS_MAX; }
    int at = count, known = 0;

    while (at > 0 && known < wanted) {
        at--;
        if (history[at] < (uint32_t)M) { known++; }
    }
    return at;
}

/* Those items, oldest first. */
static int newest_items(const struct learner *learner, const uint32_t *history, int count, int M,
                        uint32_t *ret_items) {
    int written = 0;
    for (int at = newest_begin(learner, history, count, M); at < count; at++) {
        if (history[at] < (uint32_t)M) { ret_items[written++] = history[at]; }
    }
    return written;
}

/* Appends a case for a history, which must live as long; its state is filled in later. */
static enum status case_add(struct learner *learner, struct lm_cases *cases,
                            const uint32_t *history, int history_count, int M,
                            const struct title_tokens *const *titles, struct error *err) {
    struct learner_lm *lm = learner->lm;
    const struct title_tokens *known[PROMPT_ITEMS_MAX];

    assert(cases->count < cases->capacity);
    struct lm_case *one = &cases->list[cases->count];
    one->known = history;
    one->known_count = history_count;
    one->history_count = newest_items(learner, history, history_count, M, one->history);
    for (int n = 0; n < one->history_count && titles == NULL; n++) {
        enum status status = learner_lm_title(learner, one->history[n], &known[n], err);
        if (status != STATUS_OK) { return status; }
    }
    enum status status =
        prompt_build(lm->template, one->history, titles != NULL ? titles : known,
                     one->history_count, learner_lm_prompt_limit(learner), &one->prompt, err);
    if (status != STATUS_OK) { return status; }

    const size_t E = (size_t)learner->settings.fast.sasrec.E;
    cases->samples[cases->count] = (struct lm_sample){
        .prompt = &one->prompt,
        .gate_input = cases->states + (size_t)cases->count * E,
        .history = one->history,
        .history_count = one->history_count,
        .weight = 1.0F,
    };
    cases->count++;
    return STATUS_OK;
}

/* The target's title and negatives drawn from the catalogue; none when the target has no title. */
static enum status case_titles(struct learner *learner, struct lm_cases *cases, int index,
                               const struct training_row *row, struct error *err) {
    struct learner_lm *lm = learner->lm;
    struct title_tokens *out = cases->candidates + (size_t)index * (size_t)cases->per_sample;
    struct rng rng = rng_make(learner->settings.seed, learner_stream_of(LEARNER_TITLES, row->seq));
    const struct title_tokens *tokens = NULL;
    int count = 0;

    if (cases->per_sample == 0) { return STATUS_OK; }
    enum status status = learner_lm_title(learner, row->item, &tokens, err);
    if (status != STATUS_OK || tokens->count == 0) { return status; }
    status = prompt_candidate(lm->template, tokens, &out[count++], err);
    for (int n = 0; n < TITLE_TRIES * cases->per_sample && status == STATUS_OK; n++) {
        if (count == cases->per_sample) { break; }
        uint32_t item = (uint32_t)rng_below(&rng, (uint64_t)learner->fast->items);
        bool consumed = item == row->item;
        for (uint32_t w = 0; w < row->window_count && !consumed; w++) {
            consumed = row->window[w] == item;
        }
        if (consumed) { continue; }
        status = learner_lm_title(learner, item, &tokens, err);
        if (status != STATUS_OK || tokens->count == 0) { continue; }
        status = prompt_candidate(lm->template, tokens, &out[count++], err);
    }
    if (status != STATUS_OK) { return status; }
    cases->samples[index].candidates = out;
    cases->samples[index].candidate_count = count;
    return STATUS_OK;
}

static enum status case_add_row(struct learner *learner, struct lm_cases *cases,
                                const struct training_row *row, struct error *err) {
    int index = cases->count;

    if (row->item >= (uint32_t)learner->fast->items) { return STATUS_OK; }
    enum status status = case_add(learner, cases, row->window, (int)row->window_count,
                                  learner->fast->items, NULL, err);
    if (status != STATUS_OK) { return error_wrap(err, "prompt of a row"); }
    cases->samples[index].target = row->item;
    cases->samples[index].weight = row->weight;
    return case_titles(learner, cases, index, row, err);
}

/* ---- one step -------------------------------------------------------------------------------- */

/* Rows that the language model learns: the marked ones, then rows of random users of the past. */
static enum status choose_rows(struct learner *learner, const struct training_row *rows, int count,
                               const struct training_row **chosen, int *ret_fresh, int *ret_all) {
    const struct reservoir *reservoir = learner->reservoir;
    double replay = learner->settings.replay;
    int fresh = 0;

    for (int n = 0; n < count; n++) {
        bool marked = (rows[n].marks & TRAINING_LM) != 0 && rows[n].user_key != 0;
        if (marked && rows[n].window_count > 0) { chosen[fresh++] = &rows[n]; }
    }
    *ret_fresh = *ret_all = fresh;
    int users = reservoir_users(reservoir);
    int wanted = (int)lround(fresh * replay / (1 - replay));
    struct rng rng =
        rng_make(learner->settings.seed, learner_stream_of(LEARNER_LM_REPLAY, rows[0].seq));
    for (int n = 0; n < wanted && users > 0; n++) {
        int user = (int)rng_below(&rng, (uint64_t)users);
        int held = reservoir_user_rows(reservoir, user);
        if (held == 0) { continue; }
        const struct training_row *row =
            reservoir_at(reservoir, user, (int)rng_below(&rng, (uint64_t)held));
        if (row->window_count > 0) { chosen[(*ret_all)++] = row; }
    }
    return STATUS_OK;
}

/* z of all cases at once */
static enum status cases_states(struct learner *learner, struct lm_cases *cases,
                                struct error *err) {
    struct rank_request *requests = MEMORY_TAKE_ARRAY(struct rank_request, cases->count + 1);
    if (requests == NULL) { return error_set(err, STATUS_NO_MEMORY, "states"); }

    for (int n = 0; n < cases->count; n++) {
        requests[n].history = cases->list[n].known;
        requests[n].history_count = cases->list[n].known_count;
    }
    (void)sasrec_vectors(learner->fast->sasrec); /* computes them */
    enum status status =
        ranker_states(learner->ranker, learner->fast, requests, cases->count, cases->states, err);
    memory_free(requests);
    return status;
}

static enum status use_items(struct learner *learner, struct error *err) {
    learner->lm->items_lent = false;
    return language_model_set_items(learner->lm->model, sasrec_vectors(learner->fast->sasrec),
                                    learner->fast->items, err);
}

/* One slab of params to the values of another object. */
static enum status slab_copy(struct learner_lm *lm, struct ilora_params *from, enum ilora_slab slab,
                             struct ilora_params *to, struct error *err) {
    enum status status = ilora_params_read(from, slab, lm->host, err);
    if (status != STATUS_OK) { return status; }
    return ilora_params_write(to, ILORA_VALUE, lm->host, err);
}

static struct lm_step step_of(const struct learner *learner, int64_t step) {
    struct lm_step how = learner->settings.lm_step;
    int warmup = learner->settings.lm_warmup_steps;

    how.step = step;
    if (warmup > 0 && step < warmup) {
        how.learning_rate *= (float)step / (float)warmup; /* linear, from 1/warmup */
    }
    return how;
}

/* A beat may run scoring jobs of versions: after it the step's own items come back. */
struct step_beat {
    struct learner *learner;
    enum status status; /* of taking the items back; the first failure stays */
    struct error err;
};

static void beat_between_packs(void *context) {
    struct step_beat *step = context;

    learner_beat(step->learner);
    if (!step->learner->lm->items_lent || step->status != STATUS_OK) { return; }
    step->status = use_items(step->learner, &step->err);
}

static enum status lm_step_run(struct learner *learner, struct lm_cases *cases,
                               struct batch_stats *stats, struct error *err) {
    struct learner_lm *lm = learner->lm;
    const struct lm_step how = step_of(learner, learner->lm_steps + 1);

    enum status status = cases_states(learner, cases, err);
    if (status != STATUS_OK) { return status; }
    status = use_items(learner, err);
    if (status != STATUS_OK) { return status; }
    const struct ilora_params *reference = learner->version > 0 ? lm->reference : NULL;
    struct step_beat step = {.learner = learner};
    status = language_model_train(lm->model, lm->params, reference, cases->samples, cases->count,
                                  &how, beat_between_packs, &step, &stats->lm, err);
    if (status == STATUS_OK && step.status != STATUS_OK) {
        *err = step.err;
        status = step.status;
    }
    if (status != STATUS_OK) { return status; }
    stats->lm_tokens += stats->lm.tokens;
    if (stats->lm.discarded) { return STATUS_OK; }
    learner->lm_steps++;
    return slab_copy(lm, lm->params, ILORA_EMA, lm->served, err);
}

enum status learner_lm_train(struct learner *learner, const struct training_row *rows, int count,
                             struct batch_stats *stats, struct error *err) {
    struct lm_cases cases = {0};
    int fresh = 0, all = 0;
    bool title = (learner->settings.ilora.head & ILORA_HEAD_TITLE) != 0;
    int room =
        count + (int)lround(count * learner->settings.replay / (1 - learner->settings.replay)) + 1;

    assert(learner->settings.replay >= 0 && learner->settings.replay < 1);
    const struct training_row **chosen = MEMORY_TAKE_ARRAY(const struct training_row *, room);
    if (chosen == NULL) { return error_set(err, STATUS_NO_MEMORY, "rows of a step"); }
    enum status status = choose_rows(learner, rows, count, chosen, &fresh, &all);
    if (status == STATUS_OK && fresh > 0) {
        status =
            cases_new(&cases, learner, all, title ? learner->settings.title_negatives + 1 : 0, err);
        for (int n = 0; n < all && status == STATUS_OK; n++) {
            status = case_add_row(learner, &cases, chosen[n], err);
        }
        if (status == STATUS_OK && cases.count > 0) {
            status = lm_step_run(learner, &cases, stats, err);
        }
        stats->lm_rows = fresh;
        stats->replayed += all - fresh;
        if (stats->lm.discarded) { stats->quarantined += fresh; }
    }
    cases_free(&cases);
    memory_free(chosen);
    return status == STATUS_OK ? STATUS_OK : error_wrap(err, "training the language model");
}

/* ---- scores ---------------------------------------------------------------------------------- */

enum status learner_lm_scores(struct learner *learner, const struct rank_request *requests,
                              int count, bool frozen, float *ret_logprobs, struct error *err) {
    struct lm_cases cases = {0};

    enum status status = cases_new(&cases, learner, count, 0, err);
    for (int n = 0; n < count && status == STATUS_OK; n++) {
        status = case_add(learner, &cases, requests[n].history, requests[n].history_count,
                          learner->fast->items, NULL, err);
    }
    if (status == STATUS_OK) { status = cases_states(learner, &cases, err); }
    if (status == STATUS_OK) { status = use_items(learner, err); }
    if (status == STATUS_OK) {
        status = language_model_score_items(learner->lm->model, learner->lm->served, frozen,
                                            cases.samples, count, ret_logprobs, err);
    }
    cases_free(&cases);
    return status == STATUS_OK ? STATUS_OK : error_wrap(err, "scoring with the language model");
}

enum status learner_lm_title_scores(struct learner *learner, const struct rank_request *request,
                                    const uint32_t *items, int count, float *ret_scores,
                                    bool *ret_scored, struct error *err) {
    struct lm_cases cases = {0};
    const struct title_tokens *tokens = NULL;

    *ret_scored = false;
    if ((learner->settings.ilora.head & ILORA_HEAD_TITLE) == 0) { return STATUS_OK; }
    enum status status = cases_new(&cases, learner, 1, count, err);
    if (status == STATUS_OK) {
        status = case_add(learner, &cases, request->history, request->history_count,
                          learner->fast->items, NULL, err);
    }
    int rows = status == STATUS_OK ? cases.list[0].prompt.count : 0;
    for (int c = 0; c < count && status == STATUS_OK; c++) {
        status = learner_lm_title(learner, items[c], &tokens, err);
        if (status != STATUS_OK) { break; }
        status = prompt_candidate(learner->lm->template, tokens, &cases.candidates[c], err);
        rows += cases.candidates[c].count;
    }
    bool fits = rows <= learner->settings.micro_batch_tokens;
    if (status == STATUS_OK && fits) { status = cases_states(learner, &cases, err); }
    if (status == STATUS_OK && fits) { status = use_items(learner, err); }
    if (status == STATUS_OK && fits) {
        cases.samples[0].candidates = cases.candidates;
        cases.samples[0].candidate_count = count;
        status = language_model_score_titles(learner->lm->model, learner->lm->served, false,
                                             cases.samples, 1, ret_scores, err);
        *ret_scored = status == STATUS_OK;
    }
    cases_free(&cases);
    return status == STATUS_OK ? STATUS_OK : error_wrap(err, "scoring titles");
}

/* Titles of a request's newest items as token ids, in the order of newest_items. */
static enum status request_titles(struct learner *learner, const struct score_request *request,
                                  int M, struct title_tokens *tokens,
                                  const struct title_tokens **ret_titles, struct error *err) {
    int at = newest_begin(learner, request->history, request->history_count, M);

    for (int n = 0; at < request->history_count; at++) {
        if (request->history[at] >= (uint32_t)M) { continue; }
        tokens[n].count = 0;
        if (request->titles[at].size > 0) {
            enum status status =
                prompt_title_tokens(learner->lm->template, request->titles[at], &tokens[n], err);
            if (status != STATUS_OK) { return status; }
        }
        ret_titles[n] = &tokens[n];
        n++;
    }
    return STATUS_OK;
}

enum status learner_score_items(struct learner *learner, struct version *version,
                                const struct score_request *requests, int count,
                                float *ret_logprobs, struct error *err) {
    struct title_tokens tokens[PROMPT_ITEMS_MAX];
    const struct title_tokens *titles[PROMPT_ITEMS_MAX];
    struct lm_cases cases = {0};

    assert(learner->lm != NULL && version->params != NULL);
    const int M = version->fast->items;
    const size_t E = (size_t)learner->settings.fast.sasrec.E;
    enum status status = cases_new(&cases, learner, count, 0, err);
    for (int n = 0; n < count && status == STATUS_OK; n++) {
        const struct score_request *request = &requests[n];
        status = request_titles(learner, request, M, tokens, titles, err);
        if (status != STATUS_OK) { break; }
        status =
            case_add(learner, &cases, request->history, request->history_count, M, titles, err);
        memcpy(cases.states + (size_t)n * E, request->state, E * sizeof(float));
    }
    if (status == STATUS_OK) {
        learner->lm->items_lent = true;
        status = language_model_set_items(learner->lm->model, version->vectors, M, err);
    }
    if (status == STATUS_OK) {
        status = language_model_score_items(learner->lm->model, version->params, false,
                                            cases.samples, count, ret_logprobs, err);
    }
    cases_free(&cases);
    return status == STATUS_OK ? STATUS_OK : error_wrap(err, "scoring under a version");
}

/* ---- slabs ----------------------------------------------------------------------------------- */

enum status learner_lm_empty(struct learner *learner, struct ilora_params **ret_params,
                             struct error *err) {
    return ilora_params_new(learner->be, base_model_description(learner->lm->base),
                            &learner->settings.ilora, 0, false, ret_params, err);
}

enum status learner_lm_served(struct learner *learner, struct ilora_params **ret_params,
                              struct error *err) {
    struct ilora_params *params = NULL;

    enum status status = learner_lm_empty(learner, &params, err);
    if (status != STATUS_OK) { return status; }
    status = slab_copy(learner->lm, learner->lm->served, ILORA_VALUE, params, err);
    if (status != STATUS_OK) {
        ilora_params_free(params);
        return status;
    }
    *ret_params = params;
    return STATUS_OK;
}

enum status learner_lm_refer(struct learner *learner, struct ilora_params *params,
                             struct error *err) {
    return slab_copy(learner->lm, params, ILORA_VALUE, learner->lm->reference, err);
}

enum status learner_lm_restore(struct learner *learner, struct ilora_params *params,
                               struct error *err) {
    struct learner_lm *lm = learner->lm;

    enum status status = slab_copy(lm, params, ILORA_VALUE, lm->served, err);
    if (status != STATUS_OK) { return status; }
    status = ilora_params_write(lm->params, ILORA_VALUE, lm->host, err);
    if (status != STATUS_OK) { return status; }
    status = ilora_params_write(lm->params, ILORA_EMA, lm->host, err);
    if (status != STATUS_OK) { return status; }
    status = ilora_params_write(lm->reference, ILORA_VALUE, lm->host, err);
    if (status != STATUS_OK) { return status; }
    memset(lm->host, 0, lm->floats * sizeof *lm->host);
    status = ilora_params_write(lm->params, ILORA_MOMENT1, lm->host, err);
    if (status != STATUS_OK) { return status; }
    return ilora_params_write(lm->params, ILORA_MOMENT2, lm->host, err);
}

size_t learner_lm_floats(const struct learner *learner) {
    return learner->lm->floats;
}

static const enum ilora_slab kept_slabs[LEARNER_LM_SLABS - 1] = {ILORA_VALUE, ILORA_MOMENT1,
                                                                 ILORA_MOMENT2, ILORA_EMA};

enum status learner_lm_read(struct learner *learner, float *ret_values, struct error *err) {
    struct learner_lm *lm = learner->lm;

    for (int s = 0; s < LEARNER_LM_SLABS - 1; s++) {
        enum status status =
            ilora_params_read(lm->params, kept_slabs[s], ret_values + (size_t)s * lm->floats, err);
        if (status != STATUS_OK) { return status; }
    }
    return ilora_params_read(lm->reference, ILORA_VALUE,
                             ret_values + (LEARNER_LM_SLABS - 1) * lm->floats, err);
}

enum status learner_lm_write(struct learner *learner, const float *values, struct error *err) {
    struct learner_lm *lm = learner->lm;

    for (int s = 0; s < LEARNER_LM_SLABS - 1; s++) {
        enum status status =
            ilora_params_write(lm->params, kept_slabs[s], values + (size_t)s * lm->floats, err);
        if (status != STATUS_OK) { return status; }
    }
    enum status status = ilora_params_write(lm->reference, ILORA_VALUE,
                                            values + (LEARNER_LM_SLABS - 1) * lm->floats, err);
    if (status != STATUS_OK) { return status; }
    return slab_copy(lm, lm->params, ILORA_EMA, lm->served, err);
}
