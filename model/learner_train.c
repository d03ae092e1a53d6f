/* SPDX-License-Identifier: Apache-2.0
 *
 * learner_train.c - counters and SASRec learn a batch.
 *
 * SASRec: one sequence for each distinct user, its window before the batch and then all its new
 * items, cut into pieces of S+1 so that every new item is a target; and for each four rows of the
 * batch one replayed user with a random row of its past. Random rows and not the newest: the newest
 * would be learned again and again (MovieLens 100K: NDCG@10 of SASRec 0.071 against 0.061).
 */
#include <assert.h>
#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "base/rng.h"
#include "model/learner_rooms.h"

#define REPLAY_ROWS_A_USER 4 /* rows of the batch for one replayed user, at a share of 1 */
#define COUNTERS_SPAN_MAX  WINDOW_MAX
#define FULL_CATALOGUE_MAX 100000 /* items; beyond, the softmax is over a sample (MODEL.md) */
#define SAMPLED_NEGATIVES  4096

enum status learner_train_counters(struct learner *learner, const struct training_row *rows,
                                   int count, struct error *err) {
    uint32_t before[COUNTERS_SPAN_MAX];
    int span = learner->settings.fast.counters.span;

    if (span > COUNTERS_SPAN_MAX) { span = COUNTERS_SPAN_MAX; }
    for (int n = 0; n < count; n++) {
        if (rows[n].user_key == 0) { continue; }
        int known = batch_users_before(learner->users, rows, n, span, before);
        enum status status =
            counters_add(learner->fast->counters, before, known, rows[n].item, rows[n].seq, err);
        if (status != STATUS_OK) { return error_wrap(err, "counting item %u", rows[n].item); }
    }
    return STATUS_OK;
}

/* Sequences of one step and the items they point into. */
struct sequences {
    struct sasrec_sequence *list; /* owns */
    int count, capacity;
    uint32_t *items; /* owns */
    size_t used, items_max;
};

static void sequences_free(struct sequences *sequences) {
    memory_free(sequences->list);
    memory_free(sequences->items);
}

static enum status sequences_new(struct sequences *sequences, const struct batch_users *users,
                                 int rows, int replayed, int S, struct error *err) {
    sequences->capacity = users->count + rows / S + replayed + 1;
    sequences->items_max =
        (size_t)users->count * WINDOW_MAX + (size_t)rows + (size_t)replayed * (WINDOW_MAX + 1);
    sequences->list = MEMORY_TAKE_ARRAY(struct sasrec_sequence, sequences->capacity);
    sequences->items = MEMORY_TAKE_ARRAY(uint32_t, sequences->items_max + 1);
    if (sequences->list == NULL || sequences->items == NULL) {
        return error_set(err, STATUS_NO_MEMORY, "%d sequences", sequences->capacity);
    }
    return STATUS_OK;
}

static void items_append(struct sequences *sequences, const uint32_t *items, size_t count) {
    assert(sequences->used + count <= sequences->items_max);
    memcpy(sequences->items + sequences->used, items, count * sizeof *items);
    sequences->used += count;
}

/* A user's window before the batch, its rows, cut from the end so that each new item is
 * a target. */
static void sequences_add_user(struct sequences *sequences, const struct batch_users *users,
                               const struct training_row *rows, int count, int user, int S) {
    const uint32_t *items = sequences->items + sequences->used;
    const struct training_row *first = &rows[users->first[user]];
    double weight = 0;
    int length = (int)first->window_count;

    items_append(sequences, first->window, first->window_count);
    for (int n = users->first[user]; n < count; n++) {
        if (users->of_row[n] != user) { continue; }
        items_append(sequences, &rows[n].item, 1);
        weight += (double)rows[n].weight;
        length++;
    }
    int fresh = users->rows[user];
    weight /= fresh;
    for (int end = length; fresh > 0 && end > 1; fresh -= S, end -= S) {
        int piece = end < S + 1 ? end : S + 1;
        assert(sequences->count < sequences->capacity);
        sequences->list[sequences->count++] =
            (struct sasrec_sequence){items + end - piece, piece, (float)weight};
    }
}

static void sequences_add_row(struct sequences *sequences, const struct training_row *row) {
    const uint32_t *items = sequences->items + sequences->used;

    items_append(sequences, row->window, row->window_count);
    items_append(sequences, &row->item, 1);
    assert(sequences->count < sequences->capacity);
    sequences->list[sequences->count++] =
        (struct sasrec_sequence){items, (int)row->window_count + 1, 1.0F};
}

/* Random users of the reservoir that are not in the batch, each with a random row. A user may come
 * twice: then with another row, most likely. */
static int sequences_replay(struct learner *learner, struct sequences *sequences,
                            const struct training_row *rows, int wanted) {
    const struct reservoir *reservoir = learner->reservoir;
    int users = reservoir_users(reservoir), added = 0;
    struct rng rng =
        rng_make(learner->settings.seed, learner_stream_of(LEARNER_REPLAY, rows[0].seq));

    for (int n = 0; n < wanted && users > 0; n++) {
        int user = (int)rng_below(&rng, (uint64_t)users);
        int held = reservoir_user_rows(reservoir, user);
        if (held == 0) { continue; }
        const struct training_row *row =
            reservoir_at(reservoir, user, (int)rng_below(&rng, (uint64_t)held));
        if (row->window_count == 0) { continue; }
        if (batch_users_has(learner->users, rows, row->user_key)) { continue; }
        sequences_add_row(sequences, row);
        added++;
    }
    return added;
}

/* Under load only a share of the users is trained on; the row that ended the batch says which. */
static bool user_is_sampled(const struct learner *learner, const struct training_row *row,
                            const struct training_row *last) {
    if (last->sasrec_rate >= 1.0F) { return true; }
    return hash_unit(row->user_key, last->seq, learner->settings.seed + LEARNER_USERS) <
           (double)last->sasrec_rate;
}

enum status learner_train_sasrec(struct learner *learner, const struct training_row *rows,
                                 int count, struct batch_stats *stats, struct error *err) {
    const struct batch_users *users = learner->users;
    const int S = learner->settings.fast.sasrec.S;
    const struct training_row *last = &rows[count - 1];
    struct sequences sequences = {0};

    double share = learner->settings.sasrec_replay_users * (double)last->sasrec_rate;
    int replayed = (int)lround(share * count / REPLAY_ROWS_A_USER);
    enum status status = sequences_new(&sequences, users, count, replayed, S, err);
    for (int u = 0; u < users->count && status == STATUS_OK; u++) {
        if (!user_is_sampled(learner, &rows[users->first[u]], last)) { continue; }
        sequences_add_user(&sequences, users, rows, count, u, S);
    }
    if (status == STATUS_OK) {
        stats->replayed += sequences_replay(learner, &sequences, rows, replayed);
    }
    if (status == STATUS_OK && sequences.count > 0) {
        struct sasrec_step step = learner->settings.sasrec_step;
        step.step = ++learner->sasrec_steps;
        bool large = learner->fast->items > FULL_CATALOGUE_MAX;
        if (large && step.sampled_negatives == 0) { step.sampled_negatives = SAMPLED_NEGATIVES; }
        status = sasrec_train(learner->fast->sasrec, sequences.list, sequences.count, &step,
                              &stats->sasrec, err);
    }
    sequences_free(&sequences);
    return status;
}
