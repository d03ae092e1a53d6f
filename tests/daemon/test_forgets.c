/* SPDX-License-Identifier: Apache-2.0
 *
 * test_forgets.c - what a forgotten user leaves: nothing in tables and lists, and a record of what
 * had learned from it.
 */
#include "daemon/forgets.h"

#include "base/hash.h"
#include "tests/daemon/engine_fixture.h"

static struct forget_record forget_of(struct fixture *f, const char *user) {
    struct forget_record record = {0};
    uint64_t key = hash64(span_of(user), (uint64_t)f->settings.train_seed);
    ASSERT_OK(store_reader_renew(f->core.reader, &f->err), f->err);
    ASSERT_OK(forget_read(f->core.reader, key, &record, &f->err), f->err);
    return record;
}

static void a_forget_names_the_rows_and_versions_that_knew_the_user(void **state) {
    (void)state;
    struct fixture *f = open_with(true, NULL, 0);
    crowd(f, 0, 600);
    event(f, "a", "u", "x");
    crowd(f, 600, 300);
    event(f, "b", "u", "y");
    control(f, "{\"event\":\"control\",\"command\":\"forget_user\",\"user\":\"u\"}");
    crowd(f, 900, 600);
    run_all(f);

    struct forget_record record = forget_of(f, "u");
    assert_int_equal(record.first_seq, 601);
    assert_int_equal(record.events, 2);
    assert_int_equal(record.seq, 902);
    assert_true(record.mark_seq >= 902);
    struct training_row mark = row_of(f, record.mark_seq);
    assert_int_equal(mark.marks & TRAINING_FORGET, TRAINING_FORGET);
    /* Every version between is named: none made from rows of the user lies outside. */
    uint64_t before = 0, covering = 0;
    for (uint64_t seq = 1; seq <= state_of(f)->seq; seq++) {
        struct training_row row = row_of(f, seq);
        if ((row.marks & TRAINING_VERSION) == 0) { continue; }
        if (seq < 601) { before = row.version; }
        if (seq >= record.mark_seq && covering == 0) { covering = row.version; }
    }
    assert_int_equal(record.first_version, before + 1);
    assert_int_equal(record.last_version, covering);
    close_fixture(f);
}

static void a_user_forgotten_twice_has_one_record_of_both(void **state) {
    (void)state;
    struct fixture *f = open_with(false, NULL, 0);
    event(f, "a", "u", "x");
    run_all(f);
    control(f, "{\"command\":\"forget_user\",\"user\":\"u\"}");
    run_all(f);
    control(f, "{\"command\":\"forget_user\",\"user\":\"u\"}"); /* nothing is left to forget */
    run_all(f);
    assert_int_equal(forget_of(f, "u").seq, 1);
    crowd(f, 0, 50);
    event(f, "b", "u", "y");
    run_all(f);
    control(f, "{\"command\":\"forget_user\",\"user\":\"u\"}");
    run_all(f);

    struct forget_record record = forget_of(f, "u");
    assert_int_equal(record.first_seq, 1);
    assert_int_equal(record.events, 2);
    assert_int_equal(record.seq, 52);
    assert_true(record.mark_seq >= 52);
    close_fixture(f);
}

/* How many fit an epoch must not show: strict mode is the same wherever epochs end. */
static void many_forgets_in_one_epoch_are_all_obeyed(void **state) {
    (void)state;
    static const char *const no_versions[] = {"publish.version_batches=100000"};
    struct fixture *f = open_with(true, no_versions, 1);
    for (int i = 0; i < 200; i++) {
        char text[96], user[16], id[16];
        (void)snprintf(user, sizeof user, "gone%d", i);
        (void)snprintf(id, sizeof id, "g%d", i);
        event(f, id, user, "i1");
        (void)snprintf(text, sizeof text,
                       "{\"event\":\"control\",\"command\":\"forget_user\",\"user\":\"%s\"}", user);
        control(f, text);
        crowd(f, 40 * i, 40); /* a batch end for each */
    }
    run_with(f, (struct tiny_pace){.epoch_records = 1000000});

    assert_int_equal(state_of(f)->counts.dead, 0);
    assert_in_range(state_of(f)->epoch, 3, 12); /* closed by what was forgotten */
    for (int i = 0; i < 200; i++) {
        char user[16];
        (void)snprintf(user, sizeof user, "gone%d", i);
        assert_int_equal(sequence_of(f, user).count, 0);
    }
    assert_int_equal(forget_of(f, "gone199").events, 1);
    close_fixture(f);
}

static void what_waits_for_a_batch_end_is_limited_and_the_rest_said_so(void **state) {
    (void)state;
    struct fixture *f = open_with(true, NULL, 0);
    crowd(f, 0, 64);
    for (int i = 0; i < PENDING_CONTROLS_MAX + 6; i++) {
        control(f, "{\"event\":\"control\",\"command\":\"forget_user\",\"user\":\"crowd1\"}");
    }
    run_all(f);

    assert_int_equal(state_of(f)->control_count, PENDING_CONTROLS_MAX);
    assert_int_equal(state_of(f)->counts.dead, 6);
    ASSERT_CONTAINS(topic_text(f, STREAM_DLQ), "wait for a batch end");
    close_fixture(f);
}

/* The group that is open when the user is forgotten would publish a list for it again. */
static void a_user_forgotten_within_a_group_gets_no_list_at_its_end(void **state) {
    (void)state;
    struct fixture *f = open_with(true, NULL, 0);
    crowd(f, 0, 1600); /* a version that knows items is in force */
    event(f, "a", "forgotten-one", "i1");
    control(f, "{\"event\":\"control\",\"command\":\"forget_user\",\"user\":\"forgotten-one\"}");
    crowd(f, 1600, 200);
    run_all(f);

    struct published published;
    assert_int_not_equal(state_of(f)->in_force, 0);
    ASSERT_STATUS(published_load(f->core.stage, span_of("forgotten-one"), &published, &f->err),
                  STATUS_NOT_FOUND);
    assert_null(strstr(topic_text(f, STREAM_PREDICTIONS), "forgotten-one"));
    ASSERT_CONTAINS(topic_text(f, STREAM_PREDICTIONS), "crowd1");
    close_fixture(f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_forget_names_the_rows_and_versions_that_knew_the_user),
        cmocka_unit_test(a_user_forgotten_twice_has_one_record_of_both),
        cmocka_unit_test(many_forgets_in_one_epoch_are_all_obeyed),
        cmocka_unit_test(what_waits_for_a_batch_end_is_limited_and_the_rest_said_so),
        cmocka_unit_test(a_user_forgotten_within_a_group_gets_no_list_at_its_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
