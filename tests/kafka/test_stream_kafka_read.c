/* SPDX-License-Identifier: Apache-2.0
 *
 * test_stream_kafka_read.c - tails past control markers, ranges with gaps, and what was lost.
 */
#include "tests/kafka/kafka_fixture.h"

static char broker[FIXTURE_TEXT_BYTES];
static long broker_pid;

static void an_empty_partition_has_no_tail(void **state) {
    (void)state;
    struct fixture f;
    fixture_open(&f, broker, "empty");
    struct stream *s = f.stream;
    struct seen *seen = seen_new();
    int64_t first = -1;
    int64_t end = -1;
    ASSERT_STATUS(s->ops->tail(s, STREAM_LEDGER, 0, seen_sink, seen, &f.err), STATUS_NOT_FOUND);
    ASSERT_OK(s->ops->bounds(s, STREAM_LEDGER, 0, &first, &end, &f.err), f.err);
    assert_int_equal(first, 0);
    assert_int_equal(end, 0);
    ASSERT_OK(s->ops->read(s, STREAM_LEDGER, 0, 0, 9, seen_sink, seen, &f.err), f.err);
    assert_int_equal(seen->count, 0);
    ASSERT_STATUS(s->ops->bounds(s, STREAM_LEDGER, 7, &first, &end, &f.err), STATUS_NOT_FOUND);
    fixture_close(&f);
}

static void a_partition_of_aborted_records_has_no_tail(void **state) {
    (void)state;
    struct fixture f;
    fixture_open(&f, broker, "aborted");
    struct stream *s = f.stream;
    struct seen *seen = seen_new();
    ASSERT_OK(s->ops->fence(s, NULL, NULL, &f.err), f.err);
    ASSERT_OK(s->ops->begin(s, &f.err), f.err);
    for (int i = 0; i < 40; i++) {
        publish(&f, s, STREAM_LEDGER, 0, "never");
    }
    ASSERT_OK(s->ops->abort(s, &f.err), f.err);
    ASSERT_STATUS(s->ops->tail(s, STREAM_LEDGER, 0, seen_sink, seen, &f.err), STATUS_NOT_FOUND);
    assert_int_equal(seen->count, 0);
    fixture_close(&f);
}

/* The last committed record lies hundreds of aborted offsets before the end. */
static void the_tail_is_found_behind_many_aborted_records(void **state) {
    (void)state;
    struct fixture f;
    fixture_open(&f, broker, "tail");
    struct stream *s = f.stream;
    ASSERT_OK(s->ops->fence(s, NULL, NULL, &f.err), f.err);
    for (int i = 0; i < 5; i++) {
        char value[16];
        (void)snprintf(value, sizeof value, "epoch %d", i);
        commit_one(&f, s, value, "t", i, i);
    }
    for (int round = 0; round < 3; round++) {
        ASSERT_OK(s->ops->begin(s, &f.err), f.err);
        for (int i = 0; i < 100; i++) {
            publish(&f, s, STREAM_LEDGER, 0, "never");
        }
        /* Only what reached the broker before the abort takes offsets there. */
        clock_sleep_us(100000);
        ASSERT_OK(s->ops->abort(s, &f.err), f.err);
        ASSERT_OK(s->ops->fence(s, NULL, NULL, &f.err), f.err);
    }
    int64_t first = 0;
    int64_t end = 0;
    ASSERT_OK(s->ops->bounds(s, STREAM_LEDGER, 0, &first, &end, &f.err), f.err);
    assert_true(end > 300);

    struct seen *seen = seen_new();
    ASSERT_OK(s->ops->tail(s, STREAM_LEDGER, 0, seen_sink, seen, &f.err), f.err);
    assert_int_equal(seen->count, 1);
    assert_string_equal(seen->records[0].value, "epoch 4");
    assert_int_equal(seen->records[0].offset, 8); /* each record has a marker behind it */
    fixture_close(&f);
}

static void ranges_continue_where_the_last_one_ended(void **state) {
    (void)state;
    struct fixture f;
    fixture_open(&f, broker, "ranges");
    struct stream *s = f.stream;
    for (int i = 0; i < 100; i++) {
        char value[16];
        (void)snprintf(value, sizeof value, "%d", i);
        produce(&f, s, 0, value);
    }
    ASSERT_OK(stream_kafka_flush(s, 10000, &f.err), f.err);
    struct seen *seen = seen_new();
    for (int64_t first = 0; first < 100; first += 10) {
        ASSERT_OK(s->ops->read(s, STREAM_EVENTS, 0, first, first + 9, seen_sink, seen, &f.err),
                  f.err);
    }
    assert_int_equal(seen->count, 100);
    for (int i = 0; i < 100; i++) {
        assert_int_equal(seen->records[i].offset, i);
    }

    seen = seen_new(); /* backwards, one record, beyond the end */
    ASSERT_OK(s->ops->read(s, STREAM_EVENTS, 0, 40, 42, seen_sink, seen, &f.err), f.err);
    ASSERT_OK(s->ops->read(s, STREAM_EVENTS, 0, 7, 7, seen_sink, seen, &f.err), f.err);
    ASSERT_OK(s->ops->read(s, STREAM_EVENTS, 0, 99, 500, seen_sink, seen, &f.err), f.err);
    ASSERT_OK(s->ops->read(s, STREAM_EVENTS, 0, 100, 500, seen_sink, seen, &f.err), f.err);
    assert_int_equal(seen->count, 5);
    assert_int_equal(seen->records[0].offset, 40);
    assert_int_equal(seen->records[3].offset, 7);
    assert_int_equal(seen->records[4].offset, 99);
    fixture_close(&f);
}

static void reading_does_not_disturb_polling(void **state) {
    (void)state;
    struct fixture f;
    fixture_open(&f, broker, "beside");
    struct stream *s = f.stream;
    for (int i = 0; i < 20; i++) {
        produce(&f, s, 0, "e");
    }
    ASSERT_OK(stream_kafka_flush(s, 10000, &f.err), f.err);
    struct stream_position position = {STREAM_EVENTS, 0, 0};
    ASSERT_OK(s->ops->assign(s, &position, 1, &f.err), f.err);
    struct seen *polled = seen_new();
    polled->room = 10;
    poll_until(&f, s, polled, 10);
    struct seen *seen = seen_new();
    ASSERT_OK(s->ops->read(s, STREAM_EVENTS, 0, 5, 15, seen_sink, seen, &f.err), f.err);
    assert_int_equal(seen->count, 11);
    polled->room = -1;
    poll_until(&f, s, polled, 20);
    assert_int_equal(polled->count, 20);
    for (int i = 0; i < 20; i++) {
        assert_int_equal(polled->records[i].offset, i);
    }
    fixture_close(&f);
}

/* A sink's own failure ends the read with that status, and the next read is whole again. */
static void a_failing_sink_ends_the_read(void **state) {
    (void)state;
    struct fixture f;
    fixture_open(&f, broker, "sink");
    struct stream *s = f.stream;
    for (int i = 0; i < 5; i++) {
        produce(&f, s, 0, "e");
    }
    ASSERT_OK(stream_kafka_flush(s, 10000, &f.err), f.err);
    struct seen *seen = seen_new();
    seen->room = 2;
    (void)error_set(&f.err, STATUS_AGAIN, "no room");
    ASSERT_STATUS(s->ops->read(s, STREAM_EVENTS, 0, 0, 4, seen_sink, seen, &f.err), STATUS_AGAIN);
    seen->room = -1;
    ASSERT_OK(s->ops->read(s, STREAM_EVENTS, 0, 2, 4, seen_sink, seen, &f.err), f.err);
    assert_int_equal(seen->count, 5);
    assert_int_equal(seen->records[4].offset, 4);
    fixture_close(&f);
}

/* A position beyond the end can only come from lost data: polling says so instead of skipping. */
static void a_position_outside_the_partition_is_corrupt(void **state) {
    (void)state;
    struct fixture f;
    fixture_open(&f, broker, "outside");
    struct stream *s = f.stream;
    produce(&f, s, 0, "e");
    ASSERT_OK(stream_kafka_flush(s, 10000, &f.err), f.err);
    struct stream_position position = {STREAM_EVENTS, 0, 1000};
    ASSERT_OK(s->ops->assign(s, &position, 1, &f.err), f.err);
    struct seen *seen = seen_new();
    enum status status = STATUS_OK;
    for (int i = 0; i < 50 && status == STATUS_OK; i++) {
        status = s->ops->poll(s, 100, seen_sink, seen, &f.err);
    }
    ASSERT_STATUS(status, STATUS_CORRUPT);
    ASSERT_CONTAINS(f.err.text, f.names[STREAM_EVENTS]);
    assert_int_equal(seen->count, 0);
    fixture_close(&f);
}

int main(int argc, char **argv) {
    if (argc < 2 || !fixture_broker(argv[1], broker, &broker_pid)) {
        (void)printf("skipped: no Kafka broker runs (Java, Maven or its artifacts are missing)\n");
        return TEST_SKIPPED;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_partition_has_no_tail),
        cmocka_unit_test(a_partition_of_aborted_records_has_no_tail),
        cmocka_unit_test(the_tail_is_found_behind_many_aborted_records),
        cmocka_unit_test(ranges_continue_where_the_last_one_ended),
        cmocka_unit_test(reading_does_not_disturb_polling),
        cmocka_unit_test(a_failing_sink_ends_the_read),
        cmocka_unit_test(a_position_outside_the_partition_is_corrupt),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
