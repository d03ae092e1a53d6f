/* SPDX-License-Identifier: Apache-2.0
 *
 * test_catalogue.c - items by number and id, as of now and as of a sequence number.
 */
#include "storage/catalogue.h"

#include <stdio.h>

#include "tests/storage/store_fixture.h"

static struct catalogue *open_catalogue(struct store_fixture *f, uint32_t items_max) {
    struct catalogue *catalogue = NULL;
    ASSERT_OK(catalogue_open(f->stage, items_max, &catalogue, &f->err), f->err);
    return catalogue;
}

static uint32_t add(struct store_fixture *f, struct catalogue *catalogue, const char *id,
                    uint64_t seq) {
    uint32_t item = ITEM_NONE;
    ASSERT_OK(catalogue_add(catalogue, span_of(id), seq, &item, &f->err), f->err);
    return item;
}

static void set(struct store_fixture *f, struct catalogue *catalogue, uint32_t item, uint64_t seq,
                const char *title, bool hidden) {
    struct span span = title != NULL ? span_of(title) : span_make(NULL, 0);
    ASSERT_OK(catalogue_set(catalogue, item, seq, span, hidden, &f->err), f->err);
}

static void commit(struct store_fixture *f, struct catalogue *catalogue) {
    ASSERT_OK(stage_commit(f->stage, &f->err), f->err);
    catalogue_committed(catalogue);
}

static void assert_now(struct store_fixture *f, struct catalogue *catalogue, uint32_t item,
                       const char *id, const char *title, bool hidden) {
    struct catalogue_item row;
    ASSERT_OK(catalogue_get(catalogue, item, &row, &f->err), f->err);
    assert_true(span_equal(row.id, span_of(id)));
    assert_true((row.title.data == NULL) == (title == NULL));
    if (title != NULL) { assert_true(span_equal(row.title, span_of(title))); }
    assert_int_equal(row.hidden, hidden);
    assert_int_equal(catalogue_hidden(catalogue, item), hidden);
}

static void numbers_follow_first_appearance_and_last_over_a_restart(void **state) {
    struct store_fixture *f = *state;
    struct catalogue *catalogue = open_catalogue(f, 100);
    assert_int_equal(add(f, catalogue, "b", 1), 0);
    assert_int_equal(add(f, catalogue, "a", 1), 1);
    assert_int_equal(add(f, catalogue, "b", 2), 0);
    set(f, catalogue, 1, 3, "Title of a", false);
    set(f, catalogue, 0, 3, NULL, true);
    commit(f, catalogue);
    catalogue_close(catalogue);
    store_fixture_reopen(f);

    catalogue = open_catalogue(f, 100);
    assert_int_equal(catalogue_count(catalogue), 2);
    assert_now(f, catalogue, 0, "b", NULL, true);
    assert_now(f, catalogue, 1, "a", "Title of a", false);
    uint32_t item = 9;
    ASSERT_OK(catalogue_find(catalogue, span_of("a"), &item, &f->err), f->err);
    assert_int_equal(item, 1);
    ASSERT_STATUS(catalogue_find(catalogue, span_of("c"), &item, &f->err), STATUS_NOT_FOUND);
    assert_int_equal(add(f, catalogue, "c", 4), 2);
    catalogue_close(catalogue);
}

static void full_catalogue_refuses_a_new_item_and_knows_the_old(void **state) {
    struct store_fixture *f = *state;
    struct catalogue *catalogue = open_catalogue(f, 2);
    uint32_t item = 9;
    (void)add(f, catalogue, "a", 1);
    (void)add(f, catalogue, "b", 1);
    ASSERT_STATUS(catalogue_add(catalogue, span_of("c"), 1, &item, &f->err), STATUS_LIMIT);
    ASSERT_CONTAINS(f->err.text, "items_max is 2");
    assert_int_equal(add(f, catalogue, "b", 2), 1);
    commit(f, catalogue);
    catalogue_close(catalogue);

    ASSERT_STATUS(catalogue_open(f->stage, 1, &catalogue, &f->err), STATUS_CONFIG);
}

static void unchanged_values_write_nothing(void **state) {
    struct store_fixture *f = *state;
    struct catalogue *catalogue = open_catalogue(f, 10);
    (void)add(f, catalogue, "a", 1);
    set(f, catalogue, 0, 1, "T", false);
    commit(f, catalogue);
    set(f, catalogue, 0, 5, "T", false);
    set(f, catalogue, 0, 5, NULL, false);
    assert_int_equal(stage_entries(f->stage), 0);
    set(f, catalogue, 0, 5, "", false); /* an empty title is another title */
    assert_int_equal(stage_entries(f->stage), 2);
    catalogue_close(catalogue);
}

static void rows_are_read_as_of_a_sequence_number(void **state) {
    struct store_fixture *f = *state;
    struct catalogue *catalogue = open_catalogue(f, 10);
    (void)add(f, catalogue, "x", 1);
    (void)add(f, catalogue, "a", 10);
    set(f, catalogue, 1, 20, "first", false);
    set(f, catalogue, 1, 30, "second", true);
    (void)add(f, catalogue, "y", 40);
    commit(f, catalogue);

    static const struct {
        uint64_t seq, from_seq;
        const char *title;
        bool hidden;
    } cases[] = {{10, 10, NULL, false},    {19, 10, NULL, false},
                 {20, 20, "first", false}, {29, 20, "first", false},
                 {30, 30, "second", true}, {UINT64_MAX, 30, "second", true}};
    struct store_reader *reader = NULL;
    struct catalogue_item row;
    ASSERT_OK(store_reader_open(f->store, &reader, &f->err), f->err);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        ASSERT_OK(catalogue_read(reader, 1, cases[i].seq, &row, &f->err), f->err);
        assert_int_equal(row.from_seq, cases[i].from_seq);
        assert_int_equal(row.hidden, cases[i].hidden);
        assert_true((row.title.data == NULL) == (cases[i].title == NULL));
        if (cases[i].title != NULL) { assert_true(span_equal(row.title, span_of(cases[i].title))); }
    }
    ASSERT_STATUS(catalogue_read(reader, 1, 9, &row, &f->err), STATUS_NOT_FOUND);
    ASSERT_STATUS(catalogue_read(reader, 7, 99, &row, &f->err), STATUS_NOT_FOUND);
    uint32_t item = 9;
    ASSERT_OK(catalogue_read_number(reader, span_of("y"), &item, &f->err), f->err);
    assert_int_equal(item, 2);
    store_reader_close(reader);
    catalogue_close(catalogue);
}

struct changes {
    int count;
    char text[256];
};

static enum status note_change(void *context, uint32_t item, const struct catalogue_item *row,
                               struct error *err) {
    (void)err;
    struct changes *changes = context;
    size_t at = strlen(changes->text);
    (void)snprintf(changes->text + at, sizeof changes->text - at, "%u@%llu%s ", item,
                   (unsigned long long)row->from_seq, row->hidden ? "h" : "");
    changes->count++;
    return STATUS_OK;
}

static void changes_come_in_order_and_trimming_keeps_what_is_needed(void **state) {
    struct store_fixture *f = *state;
    struct catalogue *catalogue = open_catalogue(f, 10);
    (void)add(f, catalogue, "a", 5);
    (void)add(f, catalogue, "b", 5);
    set(f, catalogue, 1, 7, "B", false);
    set(f, catalogue, 0, 8, NULL, true);
    set(f, catalogue, 1, 9, "BB", false);
    commit(f, catalogue);
    struct store_reader *reader = NULL;
    struct changes changes = {0};
    ASSERT_OK(store_reader_open(f->store, &reader, &f->err), f->err);
    ASSERT_OK(catalogue_changes(reader, 0, 99, note_change, &changes, &f->err), f->err);
    assert_string_equal(changes.text, "0@5 1@5 1@7 0@8h 1@9 ");
    changes = (struct changes){0};
    ASSERT_OK(catalogue_changes(reader, 5, 8, note_change, &changes, &f->err), f->err);
    assert_string_equal(changes.text, "1@7 0@8h ");
    ASSERT_OK(catalogue_changes(reader, UINT64_MAX, UINT64_MAX, note_change, &changes, &f->err),
              f->err);

    ASSERT_OK(catalogue_trim(catalogue, 8, &f->err), f->err);
    commit(f, catalogue);
    ASSERT_OK(store_reader_renew(reader, &f->err), f->err);
    struct catalogue_item row;
    ASSERT_OK(catalogue_read(reader, 1, 8, &row, &f->err), f->err);
    assert_int_equal(row.from_seq, 7); /* what held at 8 stays */
    ASSERT_STATUS(catalogue_read(reader, 1, 6, &row, &f->err), STATUS_NOT_FOUND);
    ASSERT_STATUS(catalogue_read(reader, 0, 7, &row, &f->err), STATUS_NOT_FOUND);
    changes = (struct changes){0};
    ASSERT_OK(catalogue_changes(reader, 0, 99, note_change, &changes, &f->err), f->err);
    assert_string_equal(changes.text, "0@8h 1@9 ");

    ASSERT_OK(catalogue_trim(catalogue, 100, &f->err), f->err);
    commit(f, catalogue);
    struct store_usage usage;
    ASSERT_OK(store_usage(f->store, &usage, &f->err), f->err);
    assert_int_equal(usage.entries[STORE_ITEMS], 2);
    assert_int_equal(usage.entries[STORE_ITEM_CHANGES], 0);
    assert_now(f, catalogue, 1, "b", "BB", false);
    store_reader_close(reader);
    catalogue_close(catalogue);
}

static void rollback_forgets_numbers_titles_and_flags_of_the_epoch(void **state) {
    struct store_fixture *f = *state;
    struct catalogue *catalogue = open_catalogue(f, 10);
    (void)add(f, catalogue, "a", 1);
    set(f, catalogue, 0, 2, "A", false);
    commit(f, catalogue);

    set(f, catalogue, 0, 3, "AA", true);
    set(f, catalogue, 0, 4, "AAA", false);
    set(f, catalogue, 0, 4, NULL, true);
    (void)add(f, catalogue, "b", 4);
    stage_reset(f->stage);
    ASSERT_OK(catalogue_rollback(catalogue, &f->err), f->err);

    assert_int_equal(catalogue_count(catalogue), 1);
    assert_now(f, catalogue, 0, "a", "A", false);
    assert_int_equal(add(f, catalogue, "c", 4), 1);
    catalogue_close(catalogue);
}

static void row_set_before_its_newest_moves_to_it(void **state) {
    struct store_fixture *f = *state;
    struct catalogue *catalogue = open_catalogue(f, 10);
    (void)add(f, catalogue, "a", 10);
    set(f, catalogue, 0, 4, "early", false);
    struct catalogue_item row;
    ASSERT_OK(catalogue_get(catalogue, 0, &row, &f->err), f->err);
    assert_int_equal(row.from_seq, 10);
    assert_true(span_equal(row.title, span_of("early")));
    catalogue_close(catalogue);
}

int main(void) {
#define CATALOGUE_TEST(name) \
    cmocka_unit_test_setup_teardown(name, store_fixture_setup, store_fixture_teardown)
    const struct CMUnitTest tests[] = {
        CATALOGUE_TEST(numbers_follow_first_appearance_and_last_over_a_restart),
        CATALOGUE_TEST(full_catalogue_refuses_a_new_item_and_knows_the_old),
        CATALOGUE_TEST(unchanged_values_write_nothing),
        CATALOGUE_TEST(rows_are_read_as_of_a_sequence_number),
        CATALOGUE_TEST(changes_come_in_order_and_trimming_keeps_what_is_needed),
        CATALOGUE_TEST(rollback_forgets_numbers_titles_and_flags_of_the_epoch),
        CATALOGUE_TEST(row_set_before_its_newest_moves_to_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
