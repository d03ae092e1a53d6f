/* SPDX-License-Identifier: Apache-2.0
 *
 * learner_evaluate.c - predicts marked rows with the state before their batch; fits the stacks.
 *
 *   rows ─▶ distinct histories ─▶ chunks of them ─▶ states and log-probabilities together
 *                                                ─▶ each row: ranks over the catalogue, 1 among 20
 *
 * Rows of one second share a history, so most work is done once for several rows. The stacks that
 * predict a batch are those fitted on the batches before: what the batch teaches goes into copies
 * that replace them at the end. The full stack sees few rows, so it follows the fast one and learns
 * only what the language model adds.
 */
#include <assert.h>
#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "base/rng.h"
#include "model/learner_rooms.h"

#define CHUNK_HISTORIES 64

/* A gentle rate: about 90,000 lists of MovieLens 100K settle within the first few thousand. */
static const struct stacker_settings fit_settings = {
    .rate = 0.05, .l2 = 1e-4, .forgetting = 1 - 1.0 / 20000};

struct eval_run {
    struct learner *learner;
    struct batch_stats *stats;
    struct stacker next_fast, next_full; /* learn while the others predict */
    int row[BATCH_EVENTS_MAX];           /* chosen rows, grouped by history */
    int history[BATCH_EVENTS_MAX];       /* and the history of each */
    int rows;
    int representative[BATCH_EVENTS_MAX]; /* a row that shows each history */
    bool wants_lm[BATCH_EVENTS_MAX];      /* of a history: some row is evaluated with them */
    int histories;
    float *states;                      /* (CHUNK_HISTORIES,E) owns */
    float *sasrec, *item_head, *frozen; /* (CHUNK_HISTORIES,M) owns; log-probabilities */
};

static bool row_is_chosen(const struct learner *learner, const struct training_row *row) {
    const struct learner_settings *settings = &learner->settings;
    bool marked = (row->marks & (TRAINING_EVALUATE | TRAINING_EVALUATE_LM)) != 0;

    if (!marked || row->repeat || row->user_key == 0) { return false; }
    return row->seq > settings->warmup_events && (int)row->window_count >= settings->min_history &&
           row->window_count > 0;
}

static bool same_history(const struct training_row *a, const struct training_row *b) {
    return a->user_key == b->user_key && a->window_count == b->window_count &&
           memcmp(a->window, b->window, (size_t)a->window_count * sizeof a->window[0]) == 0;
}

/* Chooses rows and finds their distinct histories: a row shares its user's last one or
 * starts one. */
static void eval_choose(struct eval_run *run, const struct training_row *rows, int count) {
    const struct batch_users *users = run->learner->users;
    int history_of_user[BATCH_EVENTS_MAX];
    int history_of_row[BATCH_EVENTS_MAX];

    for (int u = 0; u < users->count; u++) {
        history_of_user[u] = -1;
    }
    for (int n = 0; n < count; n++) {
        history_of_row[n] = -1;
        if (!row_is_chosen(run->learner, &rows[n])) { continue; }
        int user = users->of_row[n], history = history_of_user[user];
        bool shared = history >= 0 && same_history(&rows[run->representative[history]], &rows[n]);
        if (!shared) {
            history = run->histories++;
            run->representative[history] = n;
            run->wants_lm[history] = false;
            history_of_user[user] = history;
        }
        history_of_row[n] = history;
        bool lm = run->learner->lm != NULL && (rows[n].marks & TRAINING_EVALUATE_LM) != 0;
        if (lm) { run->wants_lm[history] = true; }
    }
    /* grouped by history, in seq order within one: a counting sort */
    int *first = history_of_user; /* not needed any more */
    memset(first, 0, sizeof history_of_user);
    for (int n = 0; n < count; n++) {
        if (history_of_row[n] >= 0) { first[history_of_row[n]]++; }
    }
    for (int h = 0, at = 0; h < run->histories; h++) {
        int held = first[h];
        first[h] = at;
        at += held;
        run->rows = at;
    }
    for (int n = 0; n < count; n++) {
        if (history_of_row[n] < 0) { continue; }
        int at = first[history_of_row[n]]++;
        run->row[at] = n;
        run->history[at] = history_of_row[n];
    }
}

/* ---- one row --------------------------------------------------------------------------------- */

/* The target first, then others by hash that the user has not consumed; false: too few items. */
static bool draw_candidates(struct eval_run *run, const struct training_row *row,
                            const struct rank_request *request, uint32_t *ret_items, int wanted) {
    struct rng rng =
        rng_make(run->learner->settings.seed, learner_stream_of(LEARNER_NEGATIVES, row->seq));
    const int M = run->learner->fast->items;
    int count = 1;

    ret_items[0] = row->item;
    for (int tries = 0; tries < 64 * wanted && count < wanted; tries++) {
        uint32_t item = (uint32_t)rng_below(&rng, (uint64_t)M);
        bool known = false;
        for (int c = 0; c < count && !known; c++) {
            known = ret_items[c] == item;
        }
        int low = 0, high = request->exclude_count; /* ascending */
        while (low < high && !known) {
            int middle = low + (high - low) / 2;
            known = request->exclude[middle] == item;
            if (request->exclude[middle] < item) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        if (!known) { ret_items[count++] = item; }
    }
    return count == wanted;
}

struct candidate_outcomes {
    struct eval_outcome full, fast, ilora, frozen;
};

/* One model's feature as the only score. */
static struct eval_outcome outcome_by_feature(const float *features, int count, int feature) {
    float scores[EVAL_CANDIDATES_MAX];

    for (int c = 0; c < count; c++) {
        scores[c] = features[c * FEATURE_COUNT + feature];
    }
    return eval_outcome_of(scores, count);
}

static struct eval_outcome outcome_by_stack(const struct stacker *stack, const float *features,
                                            int count) {
    float scores[EVAL_CANDIDATES_MAX];

    stacker_score(stack, features, count, scores);
    return eval_outcome_of(scores, count);
}

/* The title head on the same candidates. */
static enum status evaluate_titles(struct eval_run *run, const struct rank_request *request,
                                   unsigned slices, const uint32_t *items, int count,
                                   struct error *err) {
    float scores[EVAL_CANDIDATES_MAX];
    bool scored = false;

    enum status status =
        learner_lm_title_scores(run->learner, request, items, count, scores, &scored, err);
    if (status != STATUS_OK || !scored) { return status; }
    eval_book_add(&run->learner->book, EVAL_ILORA_TITLE, EVAL_CANDIDATES, slices,
                  eval_outcome_of(scores, count));
    return STATUS_OK;
}

/* 1 target among the candidates, by every model. frozen: log-probabilities (M) or NULL. */
static enum status evaluate_candidates(struct eval_run *run, const struct training_row *row,
                                       const struct rank_request *request, unsigned slices,
                                       const float *frozen, struct error *err) {
    struct learner *learner = run->learner;
    struct eval_book *book = &learner->book;
    const struct fast_model *fast = learner->fast;
    const int count = learner->settings.eval_candidates;
    uint32_t items[EVAL_CANDIDATES_MAX];
    float features[EVAL_CANDIDATES_MAX * FEATURE_COUNT], scores[EVAL_CANDIDATES_MAX];

    if (!draw_candidates(run, row, request, items, count)) { return STATUS_OK; }
    ranker_last_features(learner->ranker, items, count, features);
    struct eval_outcome by_fast = outcome_by_stack(&fast->fast_stack, features, count);
    struct eval_outcome by_sasrec = outcome_by_feature(features, count, FEATURE_SASREC);
    eval_book_add(book, EVAL_FAST, EVAL_CANDIDATES, slices, by_fast);
    eval_book_add(book, EVAL_SASREC, EVAL_CANDIDATES, slices, by_sasrec);
    eval_book_add(book, EVAL_COVISITATION, EVAL_CANDIDATES, slices,
                  outcome_by_feature(features, count, FEATURE_COVISITATION));
    eval_book_add(book, EVAL_POPULARITY, EVAL_CANDIDATES, slices,
                  outcome_by_feature(features, count, FEATURE_POPULARITY));
    eval_book_add(book, EVAL_DECAYED, EVAL_CANDIDATES, slices,
                  outcome_by_feature(features, count, FEATURE_DECAYED));
    if (frozen == NULL) { return STATUS_OK; }

    struct eval_outcome by_full = outcome_by_stack(&fast->full_stack, features, count);
    struct eval_outcome by_ilora = outcome_by_feature(features, count, FEATURE_ITEM_HEAD);
    for (int c = 0; c < count; c++) {
        scores[c] = frozen[items[c]];
    }
    struct eval_outcome by_frozen = eval_outcome_of(scores, count);
    eval_book_add(book, EVAL_FULL, EVAL_CANDIDATES, slices, by_full);
    eval_book_add(book, EVAL_ILORA_ITEM, EVAL_CANDIDATES, slices, by_ilora);
    eval_book_add(book, EVAL_FROZEN_ITEM, EVAL_CANDIDATES, slices, by_frozen);
    eval_book_pair(book, PAIR_FULL_FAST, by_full, by_fast);
    eval_book_pair(book, PAIR_ILORA_FROZEN, by_ilora, by_frozen);
    eval_book_pair(book, PAIR_FULL_SASREC, by_full, by_sasrec);
    return evaluate_titles(run, request, slices, items, count, err);
}

static double loss_or_unknown(double loss) {
    return isfinite(loss) ? loss : UNKNOWN_LOSS;
}

static void add_catalogue(struct eval_book *book, const struct catalogue_ranks *ranks,
                          unsigned slices) {
    eval_book_add(book, EVAL_FAST, EVAL_CATALOGUE, slices,
                  (struct eval_outcome){ranks->fast, loss_or_unknown(ranks->fast_log_loss)});
    eval_book_add(book, EVAL_SASREC, EVAL_CATALOGUE, slices,
                  (struct eval_outcome){ranks->sasrec, loss_or_unknown(ranks->sasrec_log_loss)});
    eval_book_add(book, EVAL_COVISITATION, EVAL_CATALOGUE, slices,
                  (struct eval_outcome){ranks->covisitation, 0});
    eval_book_add(book, EVAL_POPULARITY, EVAL_CATALOGUE, slices,
                  (struct eval_outcome){ranks->popularity, 0});
    eval_book_add(book, EVAL_DECAYED, EVAL_CATALOGUE, slices,
                  (struct eval_outcome){ranks->decayed, 0});
}

static unsigned slices_of(const struct learner *learner, const struct training_row *row, bool lm) {
    unsigned slices = 1u << SLICE_ALL;

    if (counters_popularity(learner->fast->counters, row->item) == 0) {
        slices |= 1u << SLICE_UNSEEN;
    }
    slices |= row->window_count < SHORT_HISTORY ? 1u << SLICE_SHORT : 1u << SLICE_LONG;
    if (lm) { slices |= 1u << SLICE_LM; }
    return slices;
}

/* The same row with the item head among the features. */
static enum status evaluate_full(struct eval_run *run, const struct training_row *row,
                                 struct rank_request *request, unsigned slices,
                                 const float *item_head, const float *frozen, struct error *err) {
    struct learner *learner = run->learner;
    struct ranker *ranker = learner->ranker;
    struct catalogue_ranks ranks;

    request->item_head = item_head;
    request->same_history = true;
    enum status status =
        ranker_catalogue_ranks(ranker, learner->fast, request, row->item, &ranks, err);
    if (status != STATUS_OK) { return status; }
    const struct eval_outcome ilora = {ranker_rank_of(ranker, item_head, row->item),
                                       -(double)item_head[row->item]};
    const struct eval_outcome base = {ranker_rank_of(ranker, frozen, row->item),
                                      -(double)frozen[row->item]};
    const struct eval_outcome full = {ranks.fast, loss_or_unknown(ranks.fast_log_loss)};
    eval_book_add(&learner->book, EVAL_FULL, EVAL_CATALOGUE, slices, full);
    eval_book_add(&learner->book, EVAL_ILORA_ITEM, EVAL_CATALOGUE, slices, ilora);
    eval_book_add(&learner->book, EVAL_FROZEN_ITEM, EVAL_CATALOGUE, slices, base);
    ranker_fit(ranker, &run->next_full, &fit_settings);
    run->stats->evaluated_lm++;
    return evaluate_candidates(run, row, request, slices, frozen, err);
}

/* chunk_at: the history's place in the chunk. */
static enum status evaluate_row(struct eval_run *run, const struct training_row *row, int chunk_at,
                                bool same, struct error *err) {
    struct learner *learner = run->learner;
    const size_t M = (size_t)learner->fast->items, E = (size_t)learner->settings.fast.sasrec.E;
    struct catalogue_ranks ranks;
    int excluded = 0;

    enum status status = learner->catalogue.exclusions(
        learner->catalogue.context, row->seq, learner->exclude, EVAL_EXCLUDE_MAX, &excluded, err);
    if (status != STATUS_OK) { return error_wrap(err, "items consumed before a row"); }
    struct rank_request request = {
        .history = row->window,
        .history_count = (int)row->window_count,
        .exclude = learner->exclude,
        .exclude_count = excluded,
        .seq = row->seq,
        .use_sasrec = true,
        .state = run->states + (size_t)chunk_at * E,
        .sasrec = run->sasrec + (size_t)chunk_at * M,
        .same_history = same,
    };
    status =
        ranker_catalogue_ranks(learner->ranker, learner->fast, &request, row->item, &ranks, err);
    if (status != STATUS_OK) { return status; }

    bool known = row->item < (uint32_t)M;
    bool lm = known && learner->lm != NULL && (row->marks & TRAINING_EVALUATE_LM) != 0;
    unsigned slices = slices_of(learner, row, lm);
    add_catalogue(&learner->book, &ranks, slices);
    run->stats->evaluated++;
    if (!known) { return STATUS_OK; }
    ranker_fit(learner->ranker, &run->next_fast, &fit_settings);
    if (!lm) { return evaluate_candidates(run, row, &request, slices, NULL, err); }
    return evaluate_full(run, row, &request, slices, run->item_head + (size_t)chunk_at * M,
                         run->frozen + (size_t)chunk_at * M, err);
}

/* ---- chunks ---------------------------------------------------------------------------------- */

/* Language-model scores of the histories that want them, spread over their places. */
static enum status chunk_lm(struct eval_run *run, const struct rank_request *requests, int first,
                            int count, struct error *err) {
    const size_t M = (size_t)run->learner->fast->items;
    struct rank_request asked[CHUNK_HISTORIES];
    int at[CHUNK_HISTORIES];
    int n = 0;

    for (int h = 0; h < count; h++) {
        if (!run->wants_lm[first + h]) { continue; }
        at[n] = h;
        asked[n++] = requests[h];
    }
    if (n == 0) { return STATUS_OK; }
    enum status status = learner_lm_scores(run->learner, asked, n, false, run->item_head, err);
    if (status != STATUS_OK) { return status; }
    status = learner_lm_scores(run->learner, asked, n, true, run->frozen, err);
    if (status != STATUS_OK) { return status; }
    for (int a = n - 1; a >= 0; a--) { /* from the back: at[a] >= a */
        memmove(run->item_head + (size_t)at[a] * M, run->item_head + (size_t)a * M,
                M * sizeof(float));
        memmove(run->frozen + (size_t)at[a] * M, run->frozen + (size_t)a * M, M * sizeof(float));
    }
    return STATUS_OK;
}

static enum status chunk_scores(struct eval_run *run, const struct training_row *rows, int first,
                                int count, struct error *err) {
    struct learner *learner = run->learner;
    const size_t E = (size_t)learner->settings.fast.sasrec.E;
    struct rank_request requests[CHUNK_HISTORIES];

    for (int h = 0; h < count; h++) {
        const struct training_row *row = &rows[run->representative[first + h]];
        requests[h] = (struct rank_request){.history = row->window,
                                            .history_count = (int)row->window_count,
                                            .seq = row->seq,
                                            .state = run->states + (size_t)h * E};
    }
    enum status status =
        ranker_states(learner->ranker, learner->fast, requests, count, run->states, err);
    if (status != STATUS_OK) { return status; }
    status = ranker_log_probabilities(learner->ranker, learner->fast, run->states, count,
                                      run->sasrec, err);
    if (status != STATUS_OK || learner->lm == NULL) { return status; }
    return chunk_lm(run, requests, first, count, err);
}

static enum status eval_take(struct eval_run *run, struct error *err) {
    const struct learner *learner = run->learner;
    size_t scores = (size_t)CHUNK_HISTORIES * (size_t)learner->fast->items;

    run->states = MEMORY_TAKE_ARRAY(float, CHUNK_HISTORIES * learner->settings.fast.sasrec.E);
    run->sasrec = MEMORY_TAKE_ARRAY(float, scores);
    bool taken = run->states != NULL && run->sasrec != NULL;
    if (learner->lm != NULL) {
        run->item_head = MEMORY_TAKE_ARRAY(float, scores);
        run->frozen = MEMORY_TAKE_ARRAY(float, scores);
        taken = taken && run->item_head != NULL && run->frozen != NULL;
    }
    if (!taken) { return error_set(err, STATUS_NO_MEMORY, "scores of %zu numbers", scores); }
    return STATUS_OK;
}

static enum status eval_rows(struct eval_run *run, const struct training_row *rows,
                             struct error *err) {
    int next = 0; /* row */

    for (int first = 0; first < run->histories; first += CHUNK_HISTORIES) {
        int count = run->histories - first;
        if (count > CHUNK_HISTORIES) { count = CHUNK_HISTORIES; }
        enum status status = chunk_scores(run, rows, first, count, err);
        if (status != STATUS_OK) { return status; }
        learner_beat(run->learner);
        for (; next < run->rows && run->history[next] < first + count; next++) {
            bool same = next > 0 && run->history[next] == run->history[next - 1];
            status =
                evaluate_row(run, &rows[run->row[next]], run->history[next] - first, same, err);
            if (status != STATUS_OK) { return status; }
        }
    }
    return STATUS_OK;
}

enum status learner_evaluate(struct learner *learner, const struct training_row *rows, int count,
                             struct batch_stats *stats, struct error *err) {
    struct eval_run *run = NULL;

    if (learner->fast->items == 0) { return STATUS_OK; }
    run = MEMORY_TAKE_ARRAY(struct eval_run, 1);
    if (run == NULL) { return error_set(err, STATUS_NO_MEMORY, "evaluation"); }
    run->learner = learner;
    run->stats = stats;
    run->next_fast = learner->fast->fast_stack;
    run->next_full = learner->fast->full_stack;
    eval_choose(run, rows, count);

    enum status status = STATUS_OK;
    if (run->rows > 0) {
        (void)sasrec_vectors(learner->fast->sasrec); /* computes them */
        status = eval_take(run, err);
        if (status == STATUS_OK) { status = eval_rows(run, rows, err); }
    }
    if (status == STATUS_OK) {
        stacker_follow(&run->next_full, &learner->fast->fast_stack, &run->next_fast);
        learner->fast->fast_stack = run->next_fast;
        learner->fast->full_stack = run->next_full;
    }
    memory_free(run->states);
    memory_free(run->sasrec);
    memory_free(run->item_head);
    memory_free(run->frozen);
    memory_free(run);
    return status == STATUS_OK ? STATUS_OK : error_wrap(err, "evaluating");
}
