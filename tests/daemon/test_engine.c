/* SPDX-License-Identifier: Apache-2.0
 *
 * test_engine.c - what one record does: folded, refused, counted, obeyed.
 */
#include "tests/daemon/engine_fixture.h"

#include "base/hash.h"

/* ---- events ---------------------------------------------------------------------------------- */

static void an_event_id_is_folded_once(void **state) {
    (void)state;
    struct fixture *f = open_with(false, NULL, 0);
    event(f, "a", "u", "x");
    event(f, "b", "u", "y");
    event(f, "a", "u", "z");
    event(f, "a", "other", "x"); /* ids are a user's own */

    run_all(f);

    assert_int_equal(state_of(f)->counts.applied, 3);
    assert_int_equal(state_of(f)->counts.duplicate, 1);
    assert_int_equal(sequence_of(f, "u").count, 2);
    close_fixture(f);
}

static void events_without_an_id_are_known_by_their_place(void **state) {
    (void)state;
    struct fixture *f = open_with(false, NULL, 0);
    for (int i = 0; i < 2; i++) {
        tiny_send(f->broker, STREAM_EVENTS, "u",
                  "{\"user\":\"u\",\"item\":\"x\",\"ts\":1700000000}");
    }

    run_all(f);

    assert_int_equal(state_of(f)->counts.applied, 2);
    close_fixture(f);
}

static void a_bad_record_becomes_a_dead_letter_and_the_rest_flows(void **state) {
    (void)state;
    struct fixture *f = open_with(false, NULL, 0);
    event(f, "a", "u", "x");
    tiny_send(f->broker, STREAM_EVENTS, "k", "{\"user\":\"u\"}");
    event(f, "b", "u", "y");

    run_all(f);

    assert_int_equal(state_of(f)->counts.applied, 2);
    assert_int_equal(state_of(f)->counts.dead, 1);
    const char *text = topic_text(f, STREAM_DLQ);
    ASSERT_CONTAINS(text, "k\t{\"user\":\"u\"}\t");
    ASSERT_CONTAINS(text, "ilora.error.reason=no-item;");
    ASSERT_CONTAINS(text, "ilora.error.topic=ilorad.events;");
    ASSERT_CONTAINS(text, "ilora.error.partition=0;");
    ASSERT_CONTAINS(text, "ilora.error.offset=1;");
    ASSERT_CONTAINS(text, "ilora.error.message=");
    ASSERT_CONTAINS(text, "ilora-id=ilorad.events/0/1/dead-letter;");
    close_fixture(f);
}

static void events_of_other_types_and_weak_ones_are_filtered(void **state) {
    (void)state;
    const char *const more[] = {"events.train_types=buy,play", "events.min_strength=3"};
    struct fixture *f = open_with(false, more, 2);
    tiny_send(f->broker, STREAM_EVENTS, "u", "{\"user\":\"u\",\"item\":\"a\",\"type\":\"play\"}");
    tiny_send(f->broker, STREAM_EVENTS, "u", "{\"user\":\"u\",\"item\":\"b\",\"type\":\"view\"}");
    tiny_send(f->broker, STREAM_EVENTS, "u",
              "{\"user\":\"u\",\"item\":\"c\",\"type\":\"buy\","
              "\"rating\":2.5}");
    tiny_send(f->broker, STREAM_EVENTS, "u",
              "{\"user\":\"u\",\"item\":\"d\",\"type\":\"buy\","
              "\"rating\":3}");

    run_all(f);

    assert_int_equal(state_of(f)->counts.applied, 2);
    assert_int_equal(state_of(f)->counts.filtered, 2);
    close_fixture(f);
}

static void the_frozen_window_holds_only_earlier_times(void **state) {
    (void)state;
    struct fixture *f = open_with(false, NULL, 0);
    tiny_send(f->broker, STREAM_EVENTS, "u", "{\"user\":\"u\",\"item\":\"a\",\"ts\":1700000000}");
    tiny_send(f->broker, STREAM_EVENTS, "u", "{\"user\":\"u\",\"item\":\"b\",\"ts\":1700000001}");
    tiny_send(f->broker, STREAM_EVENTS, "u", "{\"user\":\"u\",\"item\":\"c\",\"ts\":1700000001}");

    run_all(f);

    struct training_row second = row_of(f, 2), third = row_of(f, 3);
    assert_int_equal(second.window_count, 1);
    assert_int_equal(third.window_count, 1); /* b is of the same second */
    assert_int_equal(third.window[0], row_of(f, 1).item);
    close_fixture(f);
}

static void a_full_catalogue_dead_letters_new_items_only(void **state) {
    (void)state;
    const char *const more[] = {"state.items_max=16"};
    struct fixture *f = open_with(false, more, 1);
    crowd(f, 0, 20); /* 20 items */
    event(f, "known", "u", "i3");

    run_all(f);

    assert_int_equal(state_of(f)->counts.applied, 17);
    assert_int_equal(state_of(f)->counts.dead, 4);
    ASSERT_CONTAINS(topic_text(f, STREAM_DLQ), "ilora.error.reason=catalogue-full;");
    close_fixture(f);
}

/* ---- items ----------------------------------------------------------------------------------- */

static void a_title_holds_from_its_number_on(void **state) {
    (void)state;
    struct fixture *f = open_with(false, NULL, 0);
    event(f, "a", "u", "x");
    event(f, "b", "u", "y");
    run_all(f);
    tiny_send(f->broker, STREAM_ITEMS, "x", "{\"item\":\"x\",\"title\":\"The X\"}");
    run_all(f);
    event(f, "c", "u", "z");
    run_all(f);

    struct catalogue_item item;
    ASSERT_OK(store_reader_renew(f->core.reader, &f->err), f->err);
    ASSERT_OK(catalogue_read(f->core.reader, 0, 2, &item, &f->err), f->err);
    assert_int_equal(item.title.size, 0);
    ASSERT_OK(catalogue_read(f->core.reader, 0, 3, &item, &f->err), f->err);
    assert_true(span_equal(item.title, span_of("The X")));
    close_fixture(f);
}

/* The last list of a user, as the line of JSON. */
static const char *last_prediction(struct fixture *f) {
    (void)topic_text(f, STREAM_PREDICTIONS);
    char *text = (char *)f->text.data;
    text[strlen(text) - 1] = '\0'; /* the newline at the end */
    char *line = strrchr(text, '\n');
    return line == NULL ? text : line + 1;
}

static void hidden_items_leave_every_list_until_shown_again(void **state) {
    (void)state;
    struct fixture *f = open_with(false, NULL, 0);
    crowd(f, 0, 64);
    run_with(f, (struct tiny_pace){.epoch_records = 32, .version_every = 1});
    event(f, "seen", "u", "i29");
    run_all(f);
    ASSERT_CONTAINS(last_prediction(f), "\"item\":\"i2\"");

    control(f, "{\"command\":\"hide_item\",\"item\":\"i2\"}");
    run_all(f);
    event(f, "hidden", "u", "i28");
    run_all(f);
    assert_null(strstr(last_prediction(f), "\"item\":\"i2\""));

    tiny_send(f->broker, STREAM_ITEMS, "i2", "{\"item\":\"i2\",\"title\":\"back\"}");
    run_all(f);
    event(f, "shown", "u", "i27");
    run_all(f);
    ASSERT_CONTAINS(last_prediction(f), "\"item\":\"i2\"");
    close_fixture(f);
}

static void consumed_items_are_left_out_of_lists(void **state) {
    (void)state;
    struct fixture *f = open_with(false, NULL, 0);
    crowd(f, 0, 64);
    run_with(f, (struct tiny_pace){.epoch_records = 32, .version_every = 1});
    event(f, "a", "u", "i1");
    run_all(f);

    assert_null(strstr(last_prediction(f), "\"item\":\"i1\""));
    close_fixture(f);
}

/* ---- control records ------------------------------------------------------------------------- */

static void a_forgotten_user_is_gone_at_once_and_marked_for_the_learner(void **state) {
    (void)state;
    struct fixture *f = open_with(false, NULL, 0);
    event(f, "a", "u", "x");
    event(f, "b", "u", "y");
    run_all(f);
    uint64_t key = row_of(f, 1).user_key;
    control(f, "{\"command\":\"forget_user\",\"user\":\"u\"}");
    run_all(f);

    struct published published;
    assert_int_equal(sequence_of(f, "u").count, 0);
    ASSERT_STATUS(published_load(f->core.stage, span_of("u"), &published, &f->err),
                  STATUS_NOT_FOUND);
    assert_int_equal(row_of(f, 2).marks & TRAINING_FORGET, TRAINING_FORGET);
    assert_int_equal(row_of(f, 2).argument, key);
    assert_int_not_equal(f->core.learner.forgets, 0);
    struct arena arena;
    struct epoch_record record;
    ASSERT_OK(arena_init_chained(&arena, 65536, &f->err), f->err);
    tiny_ledger_last(f->broker, &arena, &record);
    assert_int_equal(record.decisions.forgotten_count, 1);
    assert_int_equal(record.decisions.forgotten[0], key);
    arena_free(&arena);
    close_fixture(f);
}

static void a_rollback_is_a_new_version_at_the_batch_end(void **state) {
    (void)state;
    struct fixture *f = open_with(false, NULL, 0);
    crowd(f, 0, 96);
    run_with(f, (struct tiny_pace){.epoch_records = 32, .version_every = 1});
    uint64_t before = state_of(f)->version_next;
    assert_true(before >= 3);
    event(f, "later", "u", "i1"); /* a row makes one version, and the last one has its own */
    control(f, "{\"command\":\"rollback\",\"version\":1}");
    run_all(f);

    struct training_row row = row_of(f, state_of(f)->seq);
    assert_int_equal(row.marks & (TRAINING_ROLLBACK | TRAINING_VERSION),
                     TRAINING_ROLLBACK | TRAINING_VERSION);
    assert_int_equal(row.argument, 1);
    assert_int_equal(row.version, before);
    assert_int_equal(f->core.learner.rollbacks, 1);
    assert_int_equal(state_of(f)->in_force, before);
    close_fixture(f);
}

static void a_rollback_to_nothing_spends_its_number_and_changes_nothing(void **state) {
    (void)state;
    struct fixture *f = open_with(false, NULL, 0);
    crowd(f, 0, 96);
    run_with(f, (struct tiny_pace){.epoch_records = 32, .version_every = 1});
    uint64_t before = state_of(f)->version_next, in_force = state_of(f)->in_force;
    event(f, "later", "u", "i1"); /* a row makes one version, and the last one has its own */
    control(f, "{\"command\":\"rollback\",\"version\":77}");
    run_all(f);

    assert_int_equal(state_of(f)->version_next, before + 1);
    assert_int_equal(state_of(f)->in_force, in_force);
    assert_int_equal(state_of(f)->pending_count, 0);
    ASSERT_CONTAINS(topic_text(f, STREAM_SNAPSHOTS), "\"rejected\":true");
    close_fixture(f);
}

static void a_control_that_waits_for_a_row_commits_no_epochs(void **state) {
    (void)state;
    struct fixture *f = open_with(false, NULL, 0);
    crowd(f, 0, 40);
    run_with(f, (struct tiny_pace){.epoch_records = 40, .version_every = 1});
    control(f, "{\"command\":\"publish_now\"}");
    control(f, "{\"command\":\"publish_now\"}");
    run_all(f);
    assert_int_not_equal(state_of(f)->control_count, 0);

    assert_false(engine_has_work(f->core.engine));
    close_fixture(f);
}

static void publish_now_makes_a_version_of_what_is_there(void **state) {
    (void)state;
    struct fixture *f = open_with(false, NULL, 0);
    crowd(f, 0, 5);
    run_all(f);
    assert_int_equal(state_of(f)->version_next, 1);
    control(f, "{\"command\":\"publish_now\"}");
    run_all(f);

    assert_int_equal(state_of(f)->version_next, 2);
    assert_int_equal(state_of(f)->in_force, 1);
    close_fixture(f);
}

static void strict_mode_refuses_publish_now_with_a_dead_letter(void **state) {
    (void)state;
    struct fixture *f = open_with(true, NULL, 0);
    control(f, "{\"event\":\"control\",\"command\":\"publish_now\"}");
    crowd(f, 0, 8);
    run_all(f);

    assert_int_equal(state_of(f)->counts.dead, 1);
    assert_int_equal(state_of(f)->counts.applied, 8);
    ASSERT_CONTAINS(topic_text(f, STREAM_DLQ), "ilora.error.reason=bad-control;");
    close_fixture(f);
}

static void strict_controls_take_effect_at_the_first_batch_end_behind_them(void **state) {
    (void)state;
    struct fixture *f = open_with(true, NULL, 0);
    crowd(f, 0, 70);
    control(f, "{\"event\":\"control\",\"command\":\"rollback\",\"version\":1}");
    crowd(f, 70, 90); /* batches end at 32, 64, 96, 128, 160; versions at 64, 128 */
    run_all(f);

    assert_int_equal(row_of(f, 64).version, 1);
    assert_int_equal(row_of(f, 96).marks & TRAINING_ROLLBACK, TRAINING_ROLLBACK);
    assert_int_equal(row_of(f, 96).argument, 1);
    assert_int_equal(row_of(f, 96).version, 2);
    for (uint64_t seq = 1; seq <= 160; seq++) {
        assert_int_equal(row_of(f, seq).marks & TRAINING_BATCH_END, seq % 32 == 0);
    }
    close_fixture(f);
}

static void a_set_record_is_handed_over_once(void **state) {
    (void)state;
    struct fixture *f = open_with(false, NULL, 0);
    control(f, "{\"command\":\"set\",\"key\":\"log.level\",\"value\":\"debug\"}");
    run_all(f);

    char key[128], value[CONFIG_TEXT_BYTES];
    assert_true(engine_take_set(f->core.engine, key, value));
    assert_string_equal(key, "log.level");
    assert_string_equal(value, "debug");
    assert_false(engine_take_set(f->core.engine, key, value));
    close_fixture(f);
}

/* ---- live evaluation ------------------------------------------------------------------------- */

static void an_event_is_evaluated_against_the_list_published_before_it(void **state) {
    (void)state;
    struct fixture *f = open_with(false, NULL, 0);
    crowd(f, 0, 64);
    run_with(f, (struct tiny_pace){.epoch_records = 32, .version_every = 1});
    event(f, "a", "u", "i5");
    run_all(f);
    struct published published;
    ASSERT_OK(published_load(f->core.stage, span_of("u"), &published, &f->err), f->err);
    struct catalogue_item item;
    ASSERT_OK(catalogue_get(f->core.catalogue, published.items[2], &item, &f->err), f->err);
    char third[32];
    (void)snprintf(third, sizeof third, "%.*s", SPAN_ARG(item.id));
    struct live_sums before = state_of(f)->live;
    event(f, "b", "u", third);
    run_all(f);

    const struct live_sums *live = &state_of(f)->live;
    assert_int_equal(live->count - before.count, 1);
    assert_true(live->hit_1 - before.hit_1 < 0.5);
    assert_true(live->hit_5 - before.hit_5 > 0.5);
    assert_true(live->mrr - before.mrr > 0.33 && live->mrr - before.mrr < 0.34);
    assert_true(live->ndcg_10 - before.ndcg_10 > 0.499 && live->ndcg_10 - before.ndcg_10 < 0.501);
    close_fixture(f);
}

static void a_list_that_knew_the_same_second_is_not_evaluated(void **state) {
    (void)state;
    struct fixture *f = open_with(false, NULL, 0);
    tiny_send(f->broker, STREAM_EVENTS, "u", "{\"user\":\"u\",\"item\":\"a\",\"ts\":1700000005}");
    run_all(f);
    tiny_send(f->broker, STREAM_EVENTS, "u", "{\"user\":\"u\",\"item\":\"b\",\"ts\":1700000005}");
    run_all(f);

    assert_int_equal(state_of(f)->live.count, 0);
    close_fixture(f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_event_id_is_folded_once),
        cmocka_unit_test(events_without_an_id_are_known_by_their_place),
        cmocka_unit_test(a_bad_record_becomes_a_dead_letter_and_the_rest_flows),
        cmocka_unit_test(events_of_other_types_and_weak_ones_are_filtered),
        cmocka_unit_test(the_frozen_window_holds_only_earlier_times),
        cmocka_unit_test(a_full_catalogue_dead_letters_new_items_only),
        cmocka_unit_test(a_title_holds_from_its_number_on),
        cmocka_unit_test(hidden_items_leave_every_list_until_shown_again),
        cmocka_unit_test(consumed_items_are_left_out_of_lists),
        cmocka_unit_test(a_forgotten_user_is_gone_at_once_and_marked_for_the_learner),
        cmocka_unit_test(a_rollback_is_a_new_version_at_the_batch_end),
        cmocka_unit_test(a_rollback_to_nothing_spends_its_number_and_changes_nothing),
        cmocka_unit_test(a_control_that_waits_for_a_row_commits_no_epochs),
        cmocka_unit_test(publish_now_makes_a_version_of_what_is_there),
        cmocka_unit_test(strict_mode_refuses_publish_now_with_a_dead_letter),
        cmocka_unit_test(strict_controls_take_effect_at_the_first_batch_end_behind_them),
        cmocka_unit_test(a_set_record_is_handed_over_once),
        cmocka_unit_test(an_event_is_evaluated_against_the_list_published_before_it),
        cmocka_unit_test(a_list_that_knew_the_same_second_is_not_evaluated),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
