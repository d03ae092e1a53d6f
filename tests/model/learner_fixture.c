/* SPDX-License-Identifier: Apache-2.0
 *
 * learner_fixture.c - generates the stream and answers the learner's questions about it. */
#include "tests/model/learner_fixture.h"

#include <stdio.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/rng.h"
#include "tests/support/unit.h"

/* All items are known from the start. */
static enum status count_items(void *context, uint64_t seq, int *ret_count, struct error *err) {
    (void)context;
    (void)seq;
    (void)err;
    *ret_count = FIXTURE_ITEMS;
    return STATUS_OK;
}

static struct span title_of(struct learner_walk *stream, uint32_t item) {
    static const char *const words[] = {"red", "green", "blue", "old", "new"};

    (void)snprintf(stream->title, sizeof stream->title, "The %s story %u", words[item % 5],
                   item / 5);
    return span_of(stream->title);
}

static enum status get_title(void *context, uint32_t item, uint64_t seq, struct span *ret_title,
                             struct error *err) {
    (void)seq;
    (void)err;
    *ret_title = title_of(context, item);
    return STATUS_OK;
}

/* Titles arrive with rows 1 and 200. */
static enum status visit_changes(void *context, uint64_t after, uint64_t upto,
                                 enum status (*visit)(void *visit_context, uint32_t item,
                                                      struct span title, struct error *err),
                                 void *visit_context, struct error *err) {
    for (uint32_t item = 0; item < FIXTURE_ITEMS; item++) {
        uint64_t from = item < FIXTURE_ITEMS / 2 ? 1 : 200;
        if (from <= after || from > upto) { continue; }
        enum status status = visit(visit_context, item, title_of(context, item), err);
        if (status != STATUS_OK) { return status; }
    }
    return STATUS_OK;
}

static enum status get_exclusions(void *context, uint64_t seq, uint32_t *items, int max,
                                  int *ret_count, struct error *err) {
    const struct learner_walk *stream = context;
    int user = stream->user_of_row[seq - 1], count = 0;
    bool consumed[FIXTURE_ITEMS] = {false};

    (void)err;
    for (int n = 0; n < stream->consumed_count[user]; n++) {
        if (stream->consumed_seq[user][n] >= seq) { break; }
        consumed[stream->consumed[user][n]] = true;
    }
    for (uint32_t item = 0; item < FIXTURE_ITEMS && count < max; item++) {
        if (consumed[item]) { items[count++] = item; }
    }
    *ret_count = count;
    return STATUS_OK;
}

static void row_fill(struct learner_walk *stream, int index, int user, uint32_t item) {
    struct training_row *row = &stream->rows[index];
    int held = stream->consumed_count[user];
    int window = held < WINDOW_MAX ? held : WINDOW_MAX;

    *row = (struct training_row){
        .seq = (uint64_t)index + 1,
        .user_key = 1000 + (uint64_t)user,
        .item = item,
        .time_ms = 1000 * (int64_t)index,
        .weight = 1.0F,
        .marks = TRAINING_EVALUATE,
        .sasrec_rate = 1.0F,
        .window_count = (uint32_t)window,
    };
    for (int n = 0; n < window; n++) {
        row->window[n] = stream->consumed[user][held - window + n];
    }
    for (int n = 0; n < held; n++) {
        if (stream->consumed[user][n] == item) { row->repeat = true; }
    }
    if (index % 4 == 0) { row->marks |= TRAINING_LM; }
    if (index % 8 == 0) { row->marks |= TRAINING_EVALUATE_LM; }
    if ((index + 1) % FIXTURE_BATCH == 0) { row->marks |= TRAINING_BATCH_END; }
    stream->consumed[user][held] = item;
    stream->consumed_seq[user][held] = row->seq;
    stream->consumed_count[user]++;
    stream->user_of_row[index] = user;
}

void learner_stream_init(struct learner_walk *stream) {
    struct rng rng = rng_make(17, 1);
    uint32_t place[FIXTURE_USERS];

    memset(stream, 0, sizeof *stream);
    stream->rows = MEMORY_TAKE_ARRAY(struct training_row, FIXTURE_ROWS);
    assert_non_null(stream->rows);
    for (int u = 0; u < FIXTURE_USERS; u++) {
        place[u] = (uint32_t)rng_below(&rng, FIXTURE_ITEMS);
    }
    for (int n = 0; n < FIXTURE_ROWS; n++) {
        int user = (int)rng_below(&rng, FIXTURE_USERS);
        uint32_t step = 1 + (uint32_t)rng_below(&rng, 3);
        place[user] = (place[user] + step) % FIXTURE_ITEMS;
        row_fill(stream, n, user, place[user]);
    }
    stream->catalogue = (struct learner_catalogue){
        .context = stream,
        .count = count_items,
        .title = get_title,
        .changes = visit_changes,
        .exclusions = get_exclusions,
    };
}

void learner_stream_free(struct learner_walk *stream) {
    memory_free(stream->rows);
}

struct learner_settings learner_fixture_settings(void) {
    return (struct learner_settings){
        .seed = 5,
        .fast = {.sasrec = {.E = 16, .blocks = 2, .S = 12, .items_max = 256},
                 .counters = {.items_max = 256, .neighbours_max = 32, .span = 5, .half_life = 200},
                 .history_span = 5,
                 .candidates = 30,
                 .new_share = 0.1},
        .sasrec_step = {.learning_rate = 3e-3F,
                        .beta1 = 0.9F,
                        .beta2 = 0.98F,
                        .epsilon = 1e-8F,
                        .dropout = 0.1F},
        .sasrec_replay_users = 1,
        .replay_rows_max = 200,
        .eval_candidates = 20,
        .min_history = 1,
    };
}

void learner_fixture_run(struct learner *learner, const struct learner_walk *stream, int first,
                         int count) {
    struct error err;

    for (int b = first; b < first + count; b++) {
        struct batch_stats stats;
        ASSERT_OK(learner_batch(learner, stream->rows + (size_t)b * FIXTURE_BATCH, FIXTURE_BATCH,
                                NULL, NULL, &stats, &err),
                  err);
        assert_int_equal(stats.rows, FIXTURE_BATCH);
        assert_false(stats.sasrec.discarded);
    }
}

void assert_same_file(const char *folder_a, const char *folder_b, const char *name) {
    char path[FILE_PATH_BYTES_MAX];
    struct buffer a = {0}, b = {0};
    struct error err;

    ASSERT_OK(path_join(path, folder_a, name, &err), err);
    ASSERT_OK(file_read(path, 1u << 28, &a, &err), err);
    ASSERT_OK(path_join(path, folder_b, name, &err), err);
    ASSERT_OK(file_read(path, 1u << 28, &b, &err), err);
    if (!span_equal(buffer_span(&a), buffer_span(&b))) { fail_msg("'%s' differs", name); }
    buffer_free(&a);
    buffer_free(&b);
}
