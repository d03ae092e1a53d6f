/* SPDX-License-Identifier: Apache-2.0
 *
 * test_seen.c - the set of items ever consumed, against a plain array.
 */
#include "base/rng.h"
#include "storage/sequence.h"
#include "tests/storage/store_fixture.h"

struct seen_model {
    uint32_t items[SEEN_MAX + 1];
    uint32_t count;
};

static void model_add(struct seen_model *model, uint32_t item, uint32_t seen_max) {
    for (uint32_t i = 0; i < model->count; i++) {
        if (model->items[i] == item) { return; }
    }
    model->items[model->count++] = item;
    while (model->count > seen_max) {
        memmove(model->items, model->items + 1, --model->count * sizeof model->items[0]);
    }
}

static void assert_like_model(struct store_fixture *f, const char *user,
                              const struct seen_model *model) {
    uint32_t items[SEEN_MAX];
    uint32_t count = 0;
    ASSERT_OK(seen_load(f->stage, span_of(user), items, SEEN_MAX, &count, &f->err), f->err);
    assert_int_equal(count, model->count);
    assert_memory_equal(items, model->items, count * sizeof items[0]);
}

static void add(struct store_fixture *f, const char *user, uint32_t item, uint32_t seen_max) {
    ASSERT_OK(seen_add(f->stage, span_of(user), item, seen_max, &f->err), f->err);
}

/* Limits below, at and between multiples of a chunk, with repeats, over commits. */
static void sets_of_any_limit_agree_with_an_array(void **state) {
    struct store_fixture *f = *state;
    static const uint32_t limits[] = {1, 7, 127, 128, 129, 256, 300, 1024};
    static struct seen_model model;
    for (size_t k = 0; k < sizeof limits / sizeof limits[0]; k++) {
        char user[8] = {'u', (char)('0' + k), 0};
        struct rng rng = rng_make(9, k);
        model.count = 0;
        for (int i = 0; i < 3000; i++) {
            uint32_t item = (uint32_t)rng_below(&rng, 2000);
            add(f, user, item, limits[k]);
            model_add(&model, item, limits[k]);
            if (i % 97 == 0) { assert_like_model(f, user, &model); }
            if (i % 500 == 0) { ASSERT_OK(stage_commit(f->stage, &f->err), f->err); }
        }
        assert_like_model(f, user, &model);
    }
}

static void largest_set_holds_exactly_its_limit(void **state) {
    struct store_fixture *f = *state;
    static struct seen_model model;
    model.count = 0;
    for (uint32_t i = 0; i < SEEN_MAX + 300; i++) {
        add(f, "anna", i * 7, SEEN_MAX);
        model_add(&model, i * 7, SEEN_MAX);
    }
    assert_int_equal(model.count, SEEN_MAX);
    assert_like_model(f, "anna", &model);
    uint32_t newest[10];
    uint32_t count = 0;
    ASSERT_OK(seen_load(f->stage, span_of("anna"), newest, 10, &count, &f->err), f->err);
    assert_int_equal(count, 10);
    assert_int_equal(newest[9], (SEEN_MAX + 299) * 7);
    assert_int_equal(newest[0], (SEEN_MAX + 290) * 7);
}

static void lowered_limit_evicts_at_the_next_add(void **state) {
    struct store_fixture *f = *state;
    for (uint32_t i = 0; i < 500; i++) {
        add(f, "anna", i, 1000);
    }
    add(f, "anna", 1000, 10);
    uint32_t items[SEEN_MAX];
    uint32_t count = 0;
    ASSERT_OK(seen_load(f->stage, span_of("anna"), items, SEEN_MAX, &count, &f->err), f->err);
    assert_int_equal(count, 10);
    assert_int_equal(items[0], 491);
    assert_int_equal(items[9], 1000);
}

static void repeat_writes_nothing(void **state) {
    struct store_fixture *f = *state;
    add(f, "anna", 5, 100);
    ASSERT_OK(stage_commit(f->stage, &f->err), f->err);
    add(f, "anna", 5, 100);
    assert_int_equal(stage_entries(f->stage), 0);
}

/* "u" and ids that continue it with bytes that look like chunk numbers. */
static void users_whose_ids_continue_another_stay_apart(void **state) {
    struct store_fixture *f = *state;
    uint32_t items[SEEN_MAX];
    uint32_t count = 0;
    struct span longer = span_make("u\0\1", 3);
    for (uint32_t i = 0; i < 300; i++) {
        add(f, "u", i, 1000);
    }
    ASSERT_OK(seen_add(f->stage, longer, 77, 1000, &f->err), f->err);
    ASSERT_OK(seen_load(f->stage, longer, items, SEEN_MAX, &count, &f->err), f->err);
    assert_int_equal(count, 1);
    ASSERT_OK(seen_load(f->stage, span_of("u"), items, SEEN_MAX, &count, &f->err), f->err);
    assert_int_equal(count, 300);
}

static void forgotten_user_leaves_no_row(void **state) {
    struct store_fixture *f = *state;
    struct sequence sequence = {0};
    struct published list = {.count = 1};
    for (uint32_t i = 0; i < 600; i++) {
        add(f, "anna", i, 400);
    }
    sequence_append(&sequence, 1, 2, 3, 10, 10);
    ASSERT_OK(sequence_save(f->stage, span_of("anna"), &sequence, &f->err), f->err);
    ASSERT_OK(published_save(f->stage, span_of("anna"), &list, &f->err), f->err);
    add(f, "bert", 1, 400);
    ASSERT_OK(stage_commit(f->stage, &f->err), f->err);

    ASSERT_OK(sequence_forget(f->stage, span_of("anna"), &f->err), f->err);
    ASSERT_OK(stage_commit(f->stage, &f->err), f->err);

    struct store_usage usage;
    ASSERT_OK(store_usage(f->store, &usage, &f->err), f->err);
    assert_int_equal(usage.entries[STORE_USERS], 0);
    assert_int_equal(usage.entries[STORE_PUBLISHED], 0);
    assert_int_equal(usage.entries[STORE_SEEN], 1); /* bert's */
}

static void reader_sees_the_committed_set(void **state) {
    struct store_fixture *f = *state;
    struct store_reader *reader = NULL;
    uint32_t items[SEEN_MAX];
    uint32_t count = 0;
    for (uint32_t i = 0; i < 200; i++) {
        add(f, "anna", i, 1000);
    }
    ASSERT_OK(stage_commit(f->stage, &f->err), f->err);
    add(f, "anna", 200, 1000);
    ASSERT_OK(store_reader_open(f->store, &reader, &f->err), f->err);
    ASSERT_OK(seen_read(reader, span_of("anna"), items, SEEN_MAX, &count, &f->err), f->err);
    assert_int_equal(count, 200);
    assert_int_equal(items[199], 199);
    store_reader_close(reader);
}

int main(void) {
#define SEEN_TEST(name) \
    cmocka_unit_test_setup_teardown(name, store_fixture_setup, store_fixture_teardown)
    const struct CMUnitTest tests[] = {
        SEEN_TEST(sets_of_any_limit_agree_with_an_array),
        SEEN_TEST(largest_set_holds_exactly_its_limit),
        SEEN_TEST(lowered_limit_evicts_at_the_next_add),
        SEEN_TEST(repeat_writes_nothing),
        SEEN_TEST(users_whose_ids_continue_another_stay_apart),
        SEEN_TEST(forgotten_user_leaves_no_row),
        SEEN_TEST(reader_sees_the_committed_set),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
