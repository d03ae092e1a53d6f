/* SPDX-License-Identifier: Apache-2.0
 *
 * learner.c - the object, and the order in which a batch is evaluated and learned.
 *
 * The order is the contract: what is predicted must not have been learned, and what a version holds
 * must be a function of the rows up to its end. Nothing here reads a clock, the environment or an
 * address. */
#include "model/learner.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>

#include "base/failpoint.h"
#include "base/memory.h"
#include "model/learner_rooms.h"

enum status learner_new(const struct learner_settings *settings, struct backend *be,
                        struct backend *fast_be, struct base_model *base,
                        const struct tokenizer *tokenizer, const struct prompt_template *template,
                        const struct learner_catalogue *catalogue, struct learner **ret_learner,
                        struct error *err) {
    assert(!settings->lm || (base != NULL && tokenizer != NULL && template != NULL));
    assert(settings->eval_candidates >= 2 && settings->eval_candidates <= EVAL_CANDIDATES_MAX);
    struct learner *learner = MEMORY_TAKE_ARRAY(struct learner, 1);
    if (learner == NULL) { return error_set(err, STATUS_NO_MEMORY, "learner"); }

    learner->settings = *settings;
    learner->be = be;
    learner->fast_be = fast_be;
    learner->catalogue = *catalogue;
    learner->users = MEMORY_TAKE_ARRAY(struct batch_users, 1);
    learner->exclude = MEMORY_TAKE_ARRAY(uint32_t, EVAL_EXCLUDE_MAX);
    enum status status = STATUS_OK;
    if (learner->users == NULL || learner->exclude == NULL) {
        status = error_set(err, STATUS_NO_MEMORY, "learner");
        goto fail;
    }
    uint64_t seed = settings->seed;
    status =
        fast_model_new(fast_be, &settings->fast, hash64_pair(seed, (uint64_t)LEARNER_SASREC, 0),
                       true, &learner->fast, err);
    if (status != STATUS_OK) { goto fail; }
    status = ranker_new(fast_be, &settings->fast, &learner->ranker, err);
    if (status != STATUS_OK) { goto fail; }
    status =
        reservoir_new(settings->replay_rows_max, hash64_pair(seed, (uint64_t)LEARNER_RESERVOIR, 0),
                      &learner->reservoir, err);
    if (status != STATUS_OK) { goto fail; }
    if (settings->lm) { status = learner_lm_new(learner, base, tokenizer, template, err); }
    if (status != STATUS_OK) { goto fail; }
    *ret_learner = learner;
    return STATUS_OK;
fail:
    learner_free(learner);
    return error_wrap(err, "opening the learner");
}

void learner_free(struct learner *learner) {
    if (learner == NULL) { return; }
    learner_lm_free(learner->lm);
    reservoir_free(learner->reservoir);
    ranker_free(learner->ranker);
    fast_model_free(learner->fast);
    memory_free(learner->users);
    memory_free(learner->exclude);
    memory_free(learner);
}

uint64_t learner_seq(const struct learner *learner) {
    return learner->seq;
}

uint64_t learner_version(const struct learner *learner) {
    return learner->version;
}

int learner_figures(const struct learner *learner, struct eval_figure *ret_figures, int max) {
    return eval_book_figures(&learner->book, ret_figures, max);
}

int learner_pairs(const struct learner *learner, struct eval_pair *ret_pairs, int max) {
    return eval_book_pairs(&learner->book, ret_pairs, max);
}

void learner_forget(struct learner *learner, uint64_t user_key) {
    reservoir_forget(learner->reservoir, user_key);
}

/* The rows follow what was learned, without a gap. */
static enum status batch_check(const struct learner *learner, const struct training_row *rows,
                               int count, struct error *err) {
    for (int n = 0; n < count; n++) {
        uint64_t expected = learner->seq + 1 + (uint64_t)n;
        if (rows[n].seq != expected) {
            return error_set(err, STATUS_CORRUPT, "row %" PRIu64 " where %" PRIu64 " is due",
                             rows[n].seq, expected);
        }
        if (rows[n].window_count > WINDOW_MAX) {
            return error_set(err, STATUS_CORRUPT, "row %" PRIu64 " has a window of %u items",
                             rows[n].seq, rows[n].window_count);
        }
    }
    return STATUS_OK;
}

static enum status learner_grow(struct learner *learner, uint64_t seq, struct error *err) {
    int items = 0;

    enum status status = learner->catalogue.count(learner->catalogue.context, seq, &items, err);
    if (status != STATUS_OK) { return error_wrap(err, "items known at %" PRIu64, seq); }
    return fast_model_grow(learner->fast, items, err);
}

/* Rows enter the reservoir last: what a batch replays was there before it. */
static enum status learner_keep_rows(struct learner *learner, const struct training_row *rows,
                                     int count, struct error *err) {
    for (int n = 0; n < count; n++) {
        if (rows[n].user_key == 0) { continue; }
        enum status status = reservoir_add(learner->reservoir, &rows[n], err);
        if (status != STATUS_OK) { return status; }
    }
    return STATUS_OK;
}

static void learner_count_rows(struct learner *learner, const struct training_row *rows, int count,
                               const struct batch_stats *stats) {
    bool lost = learner->lm != NULL ? stats->lm.discarded : stats->sasrec.discarded;

    for (int n = 0; n < count; n++) {
        if (rows[n].user_key == 0) {
            learner->since.excluded++;
        } else if (learner->lm != NULL && (rows[n].marks & TRAINING_LM) == 0) {
            learner->since.unsampled++;
        } else if (lost) {
            learner->since.quarantined++;
        } else {
            learner->since.trained++;
        }
    }
}

enum status learner_batch(struct learner *learner, const struct training_row *rows, int count,
                          void (*beat)(void *), void *beat_context, struct batch_stats *ret_stats,
                          struct error *err) {
    struct batch_stats stats = {.rows = count};

    assert(count > 0 && count <= BATCH_EVENTS_MAX);
    enum status status = batch_check(learner, rows, count, err);
    if (status != STATUS_OK) { return status; }
    uint64_t last = rows[count - 1].seq;
    learner->beat = beat;
    learner->beat_context = beat_context;
    batch_users_find(learner->users, rows, count);

    status = learner_evaluate(learner, rows, count, &stats, err);
    if (status == STATUS_OK) { status = failpoint_pass(FAILPOINT_batch_evaluated, err); }
    if (status != STATUS_OK) { goto fail; }
    learner_beat(learner);
    status = learner_grow(learner, last, err);
    if (status != STATUS_OK) { goto fail; }
    if (learner->lm != NULL) { status = learner_lm_titles(learner, last, err); }
    if (status != STATUS_OK) { goto fail; }
    status = learner_train_counters(learner, rows, count, err);
    if (status != STATUS_OK) { goto fail; }
    status = learner_train_sasrec(learner, rows, count, &stats, err);
    if (status != STATUS_OK) { goto fail; }
    learner_beat(learner);
    if (learner->lm != NULL) {
        status = learner_lm_train(learner, rows, count, &stats, err);
        if (status != STATUS_OK) { goto fail; }
    }
    status = learner_keep_rows(learner, rows, count, err);
    if (status != STATUS_OK) { goto fail; }
    learner_count_rows(learner, rows, count, &stats);
    learner->seq = last;
    learner->beat = NULL;
    *ret_stats = stats;
    return STATUS_OK;
fail:
    learner->beat = NULL;
    return error_wrap(err, "learning rows %" PRIu64 " to %" PRIu64, rows[0].seq, last);
}
