/* SPDX-License-Identifier: Apache-2.0
 *
 * test_training_log.c - rows and exclusions: what the learner reads is what the core put.
 */
#include "storage/training_log.h"

#include "base/memory.h"
#include "base/rng.h"
#include "storage/sequence.h"
#include "tests/storage/store_fixture.h"

static struct training_row random_row(struct rng *rng, uint64_t seq) {
    static const float rates[] = {1.0f, 0.0f, -0.0f, 0.25f, 1e-30f};
    struct training_row row = {.seq = seq,
                               .topic = (uint8_t)rng_below(rng, 3),
                               .partition = (int32_t)rng_below(rng, 4096),
                               .offset = (int64_t)(rng_u64(rng) >> 1),
                               .user_key = rng_u64(rng),
                               .item = (uint32_t)rng_u64(rng),
                               .time_ms = (int64_t)rng_u64(rng),
                               .weight = rates[rng_below(rng, 5)],
                               .marks = (uint8_t)rng_u64(rng),
                               .argument = rng_below(rng, 2) == 0 ? 0 : rng_u64(rng),
                               .version = rng_below(rng, 3),
                               .lm_rate = rates[rng_below(rng, 5)],
                               .eval_rate = rates[rng_below(rng, 5)],
                               .eval_lm_rate = rates[rng_below(rng, 5)],
                               .sasrec_rate = rates[rng_below(rng, 5)],
                               .window_count = (uint32_t)rng_below(rng, WINDOW_MAX + 1),
                               .repeat = rng_below(rng, 2) == 1};
    for (uint32_t i = 0; i < row.window_count; i++) {
        row.window[i] = (uint32_t)rng_u64(rng);
    }
    return row;
}

static void assert_same_float(float a, float b) {
    assert_memory_equal(&a, &b, sizeof a);
}

static void assert_same(const struct training_row *a, const struct training_row *b) {
    assert_int_equal(a->seq, b->seq);
    assert_int_equal(a->topic, b->topic);
    assert_int_equal(a->partition, b->partition);
    assert_int_equal(a->offset, b->offset);
    assert_true(a->user_key == b->user_key);
    assert_int_equal(a->item, b->item);
    assert_true(a->time_ms == b->time_ms);
    assert_int_equal(a->marks, b->marks);
    assert_true(a->argument == b->argument);
    assert_true(a->version == b->version);
    assert_same_float(a->weight, b->weight);
    assert_same_float(a->lm_rate, b->lm_rate);
    assert_same_float(a->eval_rate, b->eval_rate);
    assert_same_float(a->eval_lm_rate, b->eval_lm_rate);
    assert_same_float(a->sasrec_rate, b->sasrec_rate);
    assert_int_equal(a->repeat, b->repeat);
    assert_int_equal(a->window_count, b->window_count);
    assert_memory_equal(a->window, b->window, a->window_count * sizeof a->window[0]);
}

static void put_random(struct store_fixture *f, uint64_t first, uint64_t last) {
    for (uint64_t seq = first; seq <= last; seq++) {
        struct rng rng = rng_make(21, seq);
        struct training_row row = random_row(&rng, seq);
        ASSERT_OK(training_log_put(f->stage, &row, &f->err), f->err);
    }
}

static struct store_reader *reader_of(struct store_fixture *f) {
    struct store_reader *reader = NULL;
    ASSERT_OK(store_reader_open(f->store, &reader, &f->err), f->err);
    return reader;
}

static void commit(struct store_fixture *f) {
    ASSERT_OK(stage_commit(f->stage, &f->err), f->err);
}

static void random_rows_come_back_in_order(void **state) {
    struct store_fixture *f = *state;
    enum { COUNT = 500 };
    struct training_row *rows = MEMORY_TAKE_ARRAY(struct training_row, COUNT);
    assert_non_null(rows);
    put_random(f, 1, 300);
    commit(f);
    put_random(f, 301, COUNT);
    commit(f);

    struct store_reader *reader = reader_of(f);
    int count = 0;
    ASSERT_OK(training_log_read(reader, 1, UINT64_MAX, rows, COUNT, &count, &f->err), f->err);
    assert_int_equal(count, COUNT);
    for (int i = 0; i < COUNT; i++) {
        struct rng rng = rng_make(21, (uint64_t)i + 1);
        struct training_row expected = random_row(&rng, (uint64_t)i + 1);
        assert_same(&rows[i], &expected);
    }
    ASSERT_OK(training_log_read(reader, 5, 9, rows, COUNT, &count, &f->err), f->err);
    assert_int_equal(count, 5);
    ASSERT_OK(training_log_read(reader, 5, 9, rows, 2, &count, &f->err), f->err);
    assert_int_equal(count, 2);
    assert_int_equal(rows[1].seq, 6);
    ASSERT_OK(training_log_read(reader, COUNT + 1, 999, rows, 2, &count, &f->err), f->err);
    assert_int_equal(count, 0);
    store_reader_close(reader);
    memory_free(rows);
}

static void second_put_of_a_row_replaces_its_marks(void **state) {
    struct store_fixture *f = *state;
    struct rng rng = rng_make(21, 1);
    struct training_row row = random_row(&rng, 1), found;
    ASSERT_OK(training_log_put(f->stage, &row, &f->err), f->err);
    commit(f);
    ASSERT_OK(training_log_get(f->stage, 1, &found, &f->err), f->err);
    found.marks = TRAINING_BATCH_END | TRAINING_VERSION;
    ASSERT_OK(training_log_put(f->stage, &found, &f->err), f->err);
    ASSERT_OK(training_log_get(f->stage, 1, &row, &f->err), f->err);
    assert_same(&row, &found);
    ASSERT_STATUS(training_log_get(f->stage, 2, &row, &f->err), STATUS_NOT_FOUND);
}

static void missing_row_is_corrupt_at_the_front_and_in_between(void **state) {
    struct store_fixture *f = *state;
    struct training_row rows[10];
    int count = 0;
    put_random(f, 3, 4);
    put_random(f, 6, 7);
    commit(f);
    struct store_reader *reader = reader_of(f);
    ASSERT_STATUS(training_log_read(reader, 3, 7, rows, 10, &count, &f->err), STATUS_CORRUPT);
    ASSERT_CONTAINS(f->err.text, "row 5");
    ASSERT_STATUS(training_log_read(reader, 2, 3, rows, 10, &count, &f->err), STATUS_CORRUPT);
    ASSERT_OK(training_log_read(reader, 3, 4, rows, 10, &count, &f->err), f->err);
    assert_int_equal(count, 2);
    store_reader_close(reader);
}

static void exclusions_of_every_size_come_back(void **state) {
    struct store_fixture *f = *state;
    static const uint32_t counts[] = {0, 1, 399, 400, 401, 1000, SEEN_MAX};
    static uint32_t items[SEEN_MAX], found[SEEN_MAX];
    for (size_t k = 0; k < sizeof counts / sizeof counts[0]; k++) {
        struct rng rng = rng_make(4, k);
        uint32_t item = 0;
        for (uint32_t i = 0; i < counts[k]; i++) {
            item += 1 + (uint32_t)rng_below(&rng, 1000000);
            items[i] = item;
        }
        ASSERT_OK(training_exclusions_put(f->stage, 10 + k, items, counts[k], &f->err), f->err);
        commit(f);
        struct store_reader *reader = reader_of(f);
        uint32_t count = 99;
        ASSERT_OK(training_exclusions_read(reader, 10 + k, found, SEEN_MAX, &count, &f->err),
                  f->err);
        assert_int_equal(count, counts[k]);
        assert_memory_equal(found, items, count * sizeof items[0]);
        if (count > 1) {
            ASSERT_STATUS(
                training_exclusions_read(reader, 10 + k, found, count - 1, &count, &f->err),
                STATUS_LIMIT);
        }
        store_reader_close(reader);
    }
}

static void trim_takes_rows_and_exclusions_below_and_bounds_follow(void **state) {
    struct store_fixture *f = *state;
    uint64_t first = 0, last = 0;
    struct store_reader *reader = reader_of(f);
    ASSERT_STATUS(training_log_bounds(reader, &first, &last, &f->err), STATUS_NOT_FOUND);
    put_random(f, 1, 300);
    static const uint32_t items[] = {3, 9};
    ASSERT_OK(training_exclusions_put(f->stage, 99, items, 2, &f->err), f->err);
    ASSERT_OK(training_exclusions_put(f->stage, 100, items, 2, &f->err), f->err);
    commit(f);
    ASSERT_OK(training_log_trim(f->stage, 100, &f->err), f->err);
    commit(f);

    ASSERT_OK(store_reader_renew(reader, &f->err), f->err);
    ASSERT_OK(training_log_bounds(reader, &first, &last, &f->err), f->err);
    assert_int_equal(first, 100);
    assert_int_equal(last, 300);
    uint32_t found[2], count = 9;
    ASSERT_OK(training_exclusions_read(reader, 99, found, 2, &count, &f->err), f->err);
    assert_int_equal(count, 0);
    ASSERT_OK(training_exclusions_read(reader, 100, found, 2, &count, &f->err), f->err);
    assert_int_equal(count, 2);
    store_reader_close(reader);
}

static void erased_user_teaches_nothing_and_leaves_the_digest_alone(void **state) {
    struct store_fixture *f = *state;
    static const uint32_t items[] = {3, 9};
    uint8_t previous[SHA256_BYTES] = {0}, expected[SHA256_BYTES], found[SHA256_BYTES];
    for (uint64_t seq = 1; seq <= 6; seq++) {
        struct rng rng = rng_make(21, seq);
        struct training_row row = random_row(&rng, seq);
        row.user_key = seq % 2;
        ASSERT_OK(training_log_put(f->stage, &row, &f->err), f->err);
        ASSERT_OK(training_exclusions_put(f->stage, seq, items, 2, &f->err), f->err);
    }
    commit(f);
    ASSERT_OK(stage_digest(f->stage, 1, previous, expected, &f->err), f->err);
    struct store_reader *reader = reader_of(f);
    ASSERT_OK(training_log_erase(f->stage, reader, 1, 2, 5, &f->err), f->err);
    ASSERT_OK(stage_digest(f->stage, 1, previous, found, &f->err), f->err);
    assert_memory_equal(found, expected, SHA256_BYTES);
    commit(f);

    struct training_row rows[6];
    int count = 0;
    ASSERT_OK(store_reader_renew(reader, &f->err), f->err);
    ASSERT_OK(training_log_read(reader, 1, 6, rows, 6, &count, &f->err), f->err);
    for (int i = 0; i < 6; i++) {
        struct rng rng = rng_make(21, (uint64_t)i + 1);
        struct training_row original = random_row(&rng, (uint64_t)i + 1);
        bool erased = i + 1 == 3 || i + 1 == 5;
        uint32_t kept[2], kept_count = 9;
        ASSERT_OK(training_exclusions_read(reader, (uint64_t)i + 1, kept, 2, &kept_count, &f->err),
                  f->err);
        assert_int_equal(kept_count, erased ? 0 : 2);
        assert_int_equal(rows[i].offset, original.offset);
        assert_int_equal(rows[i].marks, original.marks);
        assert_true((rows[i].item == ITEM_ERASED) == erased);
        if (!erased) { continue; }
        assert_int_equal(rows[i].window_count, 0);
        assert_int_equal(rows[i].user_key, 0);
        assert_same_float(rows[i].weight, 0.0f);
    }
    store_reader_close(reader);
}

int main(void) {
#define LOG_TEST(name) \
    cmocka_unit_test_setup_teardown(name, store_fixture_setup, store_fixture_teardown)
    const struct CMUnitTest tests[] = {
        LOG_TEST(random_rows_come_back_in_order),
        LOG_TEST(second_put_of_a_row_replaces_its_marks),
        LOG_TEST(missing_row_is_corrupt_at_the_front_and_in_between),
        LOG_TEST(exclusions_of_every_size_come_back),
        LOG_TEST(trim_takes_rows_and_exclusions_below_and_bounds_follow),
        LOG_TEST(erased_user_teaches_nothing_and_leaves_the_digest_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
