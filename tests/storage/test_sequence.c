/* SPDX-License-Identifier: Apache-2.0
 *
 * test_sequence.c - history, event ids and the published list of a user.
 */
#include "storage/sequence.h"

#include "base/rng.h"
#include "tests/storage/store_fixture.h"

static struct sequence load(struct store_fixture *f, const char *user) {
    struct sequence sequence;
    ASSERT_OK(sequence_load(f->stage, span_of(user), &sequence, &f->err), f->err);
    return sequence;
}

static void save(struct store_fixture *f, const char *user, const struct sequence *sequence) {
    ASSERT_OK(sequence_save(f->stage, span_of(user), sequence, &f->err), f->err);
}

static void assert_same(const struct sequence *a, const struct sequence *b) {
    assert_int_equal(a->total, b->total);
    assert_int_equal(a->count, b->count);
    assert_memory_equal(a->items, b->items, a->count * sizeof a->items[0]);
    assert_memory_equal(a->times, b->times, a->count * sizeof a->times[0]);
    assert_int_equal(a->id_count, b->id_count);
    assert_memory_equal(a->ids, b->ids, a->id_count * sizeof a->ids[0]);
}

static void user_never_seen_is_empty(void **state) {
    struct store_fixture *f = *state;
    struct sequence sequence = load(f, "nobody");
    assert_int_equal(sequence.count, 0);
    assert_int_equal(sequence.id_count, 0);
    assert_int_equal(sequence.total, 0);
}

/* The largest of everything, times forwards and backwards, before 1970 too. */
static void random_sequences_come_back_after_a_commit(void **state) {
    struct store_fixture *f = *state;
    struct rng rng = rng_make(5, 0);
    for (int round = 0; round < 200; round++) {
        struct sequence sequence = {0};
        int events = (int)rng_below(&rng, 200);
        for (int i = 0; i < events; i++) {
            int64_t time = (int64_t)rng_below(&rng, UINT64_C(1) << 42) - (INT64_C(1) << 40);
            sequence_append(&sequence, (uint32_t)rng_below(&rng, 4000000), time, rng_u64(&rng),
                            HISTORY_MAX, DEDUP_MAX);
        }
        save(f, "anna", &sequence);
        struct sequence staged = load(f, "anna");
        assert_same(&sequence, &staged);
        ASSERT_OK(stage_commit(f->stage, &f->err), f->err);

        struct store_reader *reader = NULL;
        struct sequence read;
        ASSERT_OK(store_reader_open(f->store, &reader, &f->err), f->err);
        ASSERT_OK(sequence_read(reader, span_of("anna"), &read, &f->err), f->err);
        assert_same(&sequence, &read);
        store_reader_close(reader);
    }
}

static void append_beyond_limit_drops_the_oldest(void **state) {
    (void)state;
    struct sequence sequence = {0};
    for (uint32_t i = 0; i < 10; i++) {
        sequence_append(&sequence, i, 1000 + i, 100 + i, 4, 3);
    }
    assert_int_equal(sequence.total, 10);
    assert_int_equal(sequence.count, 4);
    assert_int_equal(sequence.items[0], 6);
    assert_int_equal(sequence.items[3], 9);
    assert_int_equal(sequence.times[0], 1006);
    assert_int_equal(sequence.id_count, 3);
    assert_false(sequence_knows_event(&sequence, 106));
    assert_true(sequence_knows_event(&sequence, 107));

    sequence_append(&sequence, 10, 1010, 110, 2, 0); /* limits lowered by a restart */
    assert_int_equal(sequence.count, 2);
    assert_int_equal(sequence.items[0], 9);
    assert_int_equal(sequence.id_count, 0);
}

static void history_leaves_out_the_same_moment_and_later(void **state) {
    (void)state;
    struct sequence sequence = {0};
    static const int64_t times[] = {100, 300, 200, 300, 400};
    uint32_t items[5] = {0};
    for (uint32_t i = 0; i < 5; i++) {
        sequence_append(&sequence, i, times[i], i, 10, 10);
    }
    assert_int_equal(sequence_history(&sequence, 300, 5, items), 2);
    assert_int_equal(items[0], 0);
    assert_int_equal(items[1], 2);
    assert_int_equal(sequence_history(&sequence, 401, 2, items), 2); /* the newest two */
    assert_int_equal(items[0], 3);
    assert_int_equal(items[1], 4);
    assert_int_equal(sequence_history(&sequence, INT64_MAX, 5, items), 5);
    assert_int_equal(sequence_history(&sequence, 100, 5, items), 0);
}

static void absurd_times_cost_the_oldest_entries_not_the_save(void **state) {
    struct store_fixture *f = *state;
    struct sequence sequence = {0};
    for (uint32_t i = 0; i < HISTORY_MAX; i++) {
        sequence_append(&sequence, 4000000 - i, i % 2 == 0 ? INT64_MIN : INT64_MAX, i, HISTORY_MAX,
                        DEDUP_MAX);
    }
    save(f, "anna", &sequence);
    struct sequence found = load(f, "anna");
    assert_true(found.count > 60 && found.count <= HISTORY_MAX);
    assert_int_equal(found.items[found.count - 1], sequence.items[HISTORY_MAX - 1]);
    assert_true(found.times[found.count - 1] == INT64_MAX);
}

/* The memory goal: 20 items of history, 20 event ids. */
static void twenty_items_take_less_than_320_bytes(void **state) {
    struct store_fixture *f = *state;
    struct rng rng = rng_make(5, 1);
    struct sequence sequence = {0};
    int64_t time = INT64_C(1700000000000);
    for (int i = 0; i < 20; i++) {
        time += (int64_t)rng_below(&rng, 86400000);
        sequence_append(&sequence, (uint32_t)rng_below(&rng, 100000), time, rng_u64(&rng), 120, 32);
    }
    save(f, "anna", &sequence);
    struct span value = {0};
    ASSERT_OK(stage_get(f->stage, STORE_USERS, span_of("anna"), &value, &f->err), f->err);
    assert_true(value.size < 320);
}

static void every_cut_of_a_value_is_corrupt(void **state) {
    struct store_fixture *f = *state;
    struct sequence sequence = {0};
    for (uint32_t i = 0; i < 5; i++) {
        sequence_append(&sequence, i * 1000, INT64_C(1000) * i, i, 10, 10);
    }
    save(f, "anna", &sequence);
    struct span value = {0};
    uint8_t bytes[STORE_VALUE_BYTES_MAX];
    ASSERT_OK(stage_get(f->stage, STORE_USERS, span_of("anna"), &value, &f->err), f->err);
    size_t size = value.size;
    memcpy(bytes, value.data, size);
    for (size_t cut = 0; cut < size; cut++) {
        ASSERT_OK(stage_put(f->stage, STORE_USERS, span_of("anna"), span_make(bytes, cut), &f->err),
                  f->err);
        ASSERT_STATUS(sequence_load(f->stage, span_of("anna"), &sequence, &f->err), STATUS_CORRUPT);
        ASSERT_CONTAINS(f->err.text, "'anna'");
    }
}

static void published_list_comes_back_and_is_not_found_before(void **state) {
    struct store_fixture *f = *state;
    struct published list = {.version = 41,
                             .newest_ms = INT64_C(-5),
                             .count = 3,
                             .items = {70000, 2, 4000000},
                             .tier = 2};
    struct published found;
    ASSERT_STATUS(published_load(f->stage, span_of("anna"), &found, &f->err), STATUS_NOT_FOUND);
    ASSERT_OK(published_save(f->stage, span_of("anna"), &list, &f->err), f->err);
    ASSERT_OK(stage_commit(f->stage, &f->err), f->err);

    struct store_reader *reader = NULL;
    ASSERT_OK(store_reader_open(f->store, &reader, &f->err), f->err);
    ASSERT_OK(published_read(reader, span_of("anna"), &found, &f->err), f->err);
    store_reader_close(reader);
    assert_int_equal(found.version, 41);
    assert_int_equal(found.newest_ms, -5);
    assert_int_equal(found.tier, 2);
    assert_int_equal(found.count, 3);
    assert_memory_equal(found.items, list.items, 3 * sizeof list.items[0]);

    ASSERT_OK(stage_put(f->stage, STORE_PUBLISHED, span_of("anna"), span_of("x"), &f->err), f->err);
    ASSERT_STATUS(published_load(f->stage, span_of("anna"), &found, &f->err), STATUS_CORRUPT);
}

int main(void) {
#define SEQUENCE_TEST(name) \
    cmocka_unit_test_setup_teardown(name, store_fixture_setup, store_fixture_teardown)
    const struct CMUnitTest tests[] = {
        SEQUENCE_TEST(user_never_seen_is_empty),
        SEQUENCE_TEST(random_sequences_come_back_after_a_commit),
        cmocka_unit_test(append_beyond_limit_drops_the_oldest),
        cmocka_unit_test(history_leaves_out_the_same_moment_and_later),
        SEQUENCE_TEST(absurd_times_cost_the_oldest_entries_not_the_save),
        SEQUENCE_TEST(twenty_items_take_less_than_320_bytes),
        SEQUENCE_TEST(every_cut_of_a_value_is_corrupt),
        SEQUENCE_TEST(published_list_comes_back_and_is_not_found_before),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
