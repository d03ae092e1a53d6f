/* SPDX-License-Identifier: Apache-2.0
 *
 * test_stream_kafka.c - transactions, fencing and consuming against a real broker.
 */
#include "tests/kafka/kafka_fixture.h"

static char broker[FIXTURE_TEXT_BYTES];
static long broker_pid;

static void a_commit_shows_outputs_positions_and_token_together(void **state) {
    (void)state;
    struct fixture f;
    fixture_open(&f, broker, "commit");
    struct stream *s = f.stream;
    struct stream_position positions[] = {{STREAM_EVENTS, 1, 0}, {STREAM_EVENTS, 0, 0}};
    char token[STREAM_TOKEN_BYTES_MAX] = "?";
    ASSERT_OK(s->ops->fence(s, NULL, NULL, &f.err), f.err);
    ASSERT_OK(s->ops->committed(s, positions, 2, token, &f.err), f.err);
    assert_string_equal(token, "");
    assert_int_equal(positions[0].next, -1);

    commit_one(&f, s, "epoch 1", "v1:0:1:0123456789abcdef", 17, 4);
    assert_false(s->ops->tainted(s));

    struct stream *other = fixture_stream(&f);
    ASSERT_OK(other->ops->committed(other, positions, 2, token, &f.err), f.err);
    assert_string_equal(token, "v1:0:1:0123456789abcdef");
    assert_int_equal(positions[0].next, 4);
    assert_int_equal(positions[1].next, 17);
    struct seen *seen = seen_new();
    tail_until(&f, other, STREAM_LEDGER, "epoch 1", seen);
    assert_string_equal(seen->key, "key");
    other->ops->close(other);
    fixture_close(&f);
}

static void what_is_not_committed_is_not_seen(void **state) {
    (void)state;
    struct fixture f;
    fixture_open(&f, broker, "uncommitted");
    struct stream *s = f.stream;
    struct stream *other = fixture_stream(&f);
    struct seen *seen = seen_new();
    ASSERT_OK(s->ops->fence(s, NULL, NULL, &f.err), f.err);
    commit_one(&f, s, "one", "t1", 1, 1);
    tail_until(&f, other, STREAM_LEDGER, "one", seen);
    ASSERT_OK(s->ops->begin(s, &f.err), f.err);
    publish(&f, s, STREAM_LEDGER, 0, "two");
    clock_sleep_us(300000); /* it is on the broker, uncommitted */
    tail_until(&f, other, STREAM_LEDGER, "one", seen);

    ASSERT_OK(s->ops->abort(s, &f.err), f.err);
    ASSERT_OK(s->ops->abort(s, &f.err), f.err); /* nothing left to abort */
    assert_true(s->ops->tainted(s));
    ASSERT_OK(s->ops->fence(s, NULL, NULL, &f.err), f.err);
    assert_false(s->ops->tainted(s));

    commit_one(&f, s, "three", "t3", 3, 3);
    tail_until(&f, other, STREAM_LEDGER, "three", seen);
    seen = seen_new();
    ASSERT_OK(other->ops->read(other, STREAM_LEDGER, 0, 0, 100, seen_sink, seen, &f.err), f.err);
    assert_int_equal(seen->count, 2);
    assert_string_equal(seen->records[0].value, "one");
    assert_string_equal(seen->records[1].value, "three");
    other->ops->close(other);
    fixture_close(&f);
}

/* The predecessor's open transaction ends with the successor's fence; its commit is refused. */
static void a_zombie_is_fenced(void **state) {
    (void)state;
    struct fixture f;
    fixture_open(&f, broker, "zombie");
    struct stream *zombie = f.stream;
    struct stream *heir = fixture_stream(&f);
    struct stream_position positions[] = {{STREAM_EVENTS, 0, 99}};
    ASSERT_OK(zombie->ops->fence(zombie, NULL, NULL, &f.err), f.err);
    commit_one(&f, zombie, "alive", "t1", 1, 1);
    ASSERT_OK(zombie->ops->begin(zombie, &f.err), f.err);
    publish(&f, zombie, STREAM_LEDGER, 0, "too late");

    ASSERT_OK(heir->ops->fence(heir, NULL, NULL, &f.err), f.err);
    struct seen *seen = seen_new();
    ASSERT_OK(heir->ops->tail(heir, STREAM_LEDGER, 0, seen_sink, seen, &f.err), f.err);
    assert_string_equal(seen->records[0].value, "alive");
    commit_one(&f, heir, "heir", "t2", 2, 2);

    ASSERT_STATUS(zombie->ops->commit(zombie, positions, 1, "t9", NULL, NULL, &f.err),
                  STATUS_FENCED);
    ASSERT_CONTAINS(f.err.text, f.id);

    tail_until(&f, heir, STREAM_LEDGER, "heir", seen);
    seen = seen_new();
    ASSERT_OK(heir->ops->read(heir, STREAM_LEDGER, 0, 0, 100, seen_sink, seen, &f.err), f.err);
    assert_int_equal(seen->count, 2);
    assert_string_equal(seen->records[1].value, "heir");
    char token[STREAM_TOKEN_BYTES_MAX];
    ASSERT_OK(heir->ops->committed(heir, positions, 1, token, &f.err), f.err);
    assert_string_equal(token, "t2");
    assert_int_equal(positions[0].next, 2);
    heir->ops->close(heir);
    fixture_close(&f);
}

static void consuming_starts_exactly_where_it_is_told(void **state) {
    (void)state;
    struct fixture f;
    fixture_open(&f, broker, "consume");
    struct stream *s = f.stream;
    for (int i = 0; i < 50; i++) {
        char value[32];
        (void)snprintf(value, sizeof value, "event %d", i);
        produce(&f, s, i % 2, value);
    }
    ASSERT_OK(stream_kafka_flush(s, 10000, &f.err), f.err);
    struct stream_position positions[] = {{STREAM_EVENTS, 0, 20}, {STREAM_EVENTS, 1, 0}};
    ASSERT_OK(s->ops->assign(s, positions, 2, &f.err), f.err);
    struct seen *seen = seen_new();
    poll_until(&f, s, seen, 30);
    assert_int_equal(seen->count, 30);
    int64_t next[2] = {20, 0};
    for (int i = 0; i < seen->count; i++) {
        int32_t partition = seen->records[i].partition;
        char value[32];
        (void)snprintf(value, sizeof value, "event %d", (int)(2 * next[partition] + partition));
        assert_int_equal(seen->records[i].offset, next[partition]++);
        assert_string_equal(seen->records[i].value, value);
    }
    ASSERT_OK(s->ops->poll(s, 300, seen_sink, seen, &f.err), f.err); /* the ends are seen */
    assert_int_equal(seen->count, 30);
    assert_int_equal(s->ops->lag(s, STREAM_EVENTS, 0, 25), 0);
    assert_int_equal(s->ops->lag(s, STREAM_EVENTS, 0, 20), 5);
    assert_int_equal(s->ops->lag(s, STREAM_ITEMS, 0, 0), -1);
    fixture_close(&f);
}

static void a_sink_without_room_gets_the_same_record_again(void **state) {
    (void)state;
    struct fixture f;
    fixture_open(&f, broker, "room");
    struct stream *s = f.stream;
    for (int i = 0; i < 5; i++) {
        produce(&f, s, 0, "e");
    }
    ASSERT_OK(stream_kafka_flush(s, 10000, &f.err), f.err);
    struct stream_position position = {STREAM_EVENTS, 0, 0};
    ASSERT_OK(s->ops->assign(s, &position, 1, &f.err), f.err);
    struct seen *seen = seen_new();
    seen->room = 2;
    poll_until(&f, s, seen, 2);
    for (int i = 0; i < 3; i++) {
        ASSERT_OK(s->ops->poll(s, 50, seen_sink, seen, &f.err), f.err);
        assert_int_equal(seen->count, 2);
    }
    seen->room = -1;
    poll_until(&f, s, seen, 5);
    assert_int_equal(seen->count, 5);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(seen->records[i].offset, i);
    }
    fixture_close(&f);
}

/* Control markers take offsets: what is consumed has gaps, and the lag still goes to 0. */
static void gaps_of_transactional_input_do_not_count_as_lag(void **state) {
    (void)state;
    struct fixture f;
    fixture_open(&f, broker, "sparse");
    struct stream *s = f.stream;
    ASSERT_OK(s->ops->fence(s, NULL, NULL, &f.err), f.err);
    for (int i = 0; i < 4; i++) {
        ASSERT_OK(s->ops->begin(s, &f.err), f.err);
        publish(&f, s, STREAM_EVENTS, 0, "e");
        if (i == 2) {
            ASSERT_OK(s->ops->abort(s, &f.err), f.err);
            ASSERT_OK(s->ops->fence(s, NULL, NULL, &f.err), f.err);
        } else {
            ASSERT_OK(s->ops->commit(s, NULL, 0, "t", NULL, NULL, &f.err), f.err);
        }
    }
    struct stream_position position = {STREAM_EVENTS, 0, 0};
    ASSERT_OK(s->ops->assign(s, &position, 1, &f.err), f.err);
    struct seen *seen = seen_new();
    poll_until(&f, s, seen, 3);
    assert_int_equal(seen->count, 3);
    assert_int_equal(seen->records[1].offset, 2);
    int64_t last = seen->records[2].offset;
    assert_true(last >= 4); /* each has a marker behind it; the aborted one may take offsets, too */
    int64_t lag = -1;
    for (int i = 0; i < 50 && lag != 0; i++) { /* until the end was seen behind the last marker */
        ASSERT_OK(s->ops->poll(s, 100, seen_sink, seen, &f.err), f.err);
        lag = s->ops->lag(s, STREAM_EVENTS, 0, last + 1);
    }
    assert_int_equal(lag, 0);
    fixture_close(&f);
}

static void headers_keys_and_null_values_travel(void **state) {
    (void)state;
    struct fixture f;
    fixture_open(&f, broker, "headers");
    struct stream *s = f.stream;
    struct stream_header headers[] = {{"ilora-id", span_of("events/0/7/p")}};
    struct stream_output output = {.topic = STREAM_PREDICTIONS,
                                   .partition = -1,
                                   .timestamp_ms = 5,
                                   .key = span_of("ada"),
                                   .value = span_of("v"),
                                   .headers = headers,
                                   .header_count = 1};
    ASSERT_OK(s->ops->fence(s, NULL, NULL, &f.err), f.err);
    ASSERT_OK(s->ops->begin(s, &f.err), f.err);
    ASSERT_OK(s->ops->publish(s, &output, &f.err), f.err);
    ASSERT_OK(s->ops->commit(s, NULL, 0, "", NULL, NULL, &f.err), f.err);
    struct seen *seen = seen_new();
    tail_until(&f, s, STREAM_PREDICTIONS, "v", seen);
    assert_string_equal(seen->header, "ilora-id=events/0/7/p");
    assert_string_equal(seen->key, "ada");

    struct stream_output huge = {.topic = STREAM_PREDICTIONS, .partition = 0, .timestamp_ms = -1};
    huge.value.size = 2000000;
    huge.value.data = calloc(1, huge.value.size);
    ASSERT_OK(s->ops->begin(s, &f.err), f.err);
    ASSERT_STATUS(s->ops->publish(s, &huge, &f.err), STATUS_LIMIT);
    free((void *)(uintptr_t)huge.value.data);
    ASSERT_OK(s->ops->abort(s, &f.err), f.err);
    fixture_close(&f);
}

/* Kafka's own choice of partition and ours are the same function. */
static void partitions_of_keys_are_kafkas(void **state) {
    (void)state;
    struct fixture f;
    fixture_open(&f, broker, "partitioner");
    struct stream *s = f.stream;
    for (int i = 0; i < 40; i++) {
        char key[16];
        (void)snprintf(key, sizeof key, "user-%d", i * i);
        struct stream_output output = {.topic = STREAM_EVENTS,
                                       .partition = -1,
                                       .timestamp_ms = -1,
                                       .key = span_of(key),
                                       .value = span_of(key)};
        ASSERT_OK(stream_kafka_produce(s, &output, &f.err), f.err);
    }
    ASSERT_OK(stream_kafka_flush(s, 10000, &f.err), f.err);
    int total = 0;
    for (int32_t partition = 0; partition < 2; partition++) {
        struct seen *seen = seen_new();
        ASSERT_OK(s->ops->read(s, STREAM_EVENTS, partition, 0, 100, seen_sink, seen, &f.err),
                  f.err);
        for (int i = 0; i < seen->count; i++) {
            assert_int_equal(stream_partition_of_key(span_of(seen->records[i].value), 2),
                             partition);
        }
        total += seen->count;
    }
    assert_int_equal(total, 40);
    fixture_close(&f);
}

static void topics_can_be_made_counted_and_described(void **state) {
    (void)state;
    struct fixture f;
    fixture_open(&f, broker, "admin");
    struct stream *s = f.stream;
    int32_t count = 0;
    bool created = true;
    char value[64];
    ASSERT_OK(s->ops->partitions(s, STREAM_EVENTS, &count, &f.err), f.err);
    assert_int_equal(count, 2);
    struct stream_kafka_topic topic = {f.names[STREAM_EVENTS], 2, 1, NULL, 0};
    ASSERT_OK(stream_kafka_topic_create(s, &topic, &created, &f.err), f.err);
    assert_false(created);
    ASSERT_OK(
        stream_kafka_topic_config(s, STREAM_EVENTS, "retention.ms", value, sizeof value, &f.err),
        f.err);
    assert_string_equal(value, "3600000");
    ASSERT_STATUS(
        stream_kafka_topic_config(s, STREAM_EVENTS, "colour", value, sizeof value, &f.err),
        STATUS_NOT_FOUND);
    static const struct stream_kafka_property bad = {"cleanup.policy", "burn"};
    topic = (struct stream_kafka_topic){"ilora.bad", 1, 1, &bad, 1};
    ASSERT_STATUS(stream_kafka_topic_create(s, &topic, &created, &f.err), STATUS_CONFIG);

    struct stream *absent = NULL;
    f.settings.topics[STREAM_EVENTS] = "ilora.no.such.topic";
    ASSERT_OK(stream_kafka_open(&f.settings, &absent, &f.err), f.err);
    ASSERT_STATUS(absent->ops->partitions(absent, STREAM_EVENTS, &count, &f.err), STATUS_NOT_FOUND);
    ASSERT_CONTAINS(f.err.text, "ilora.no.such.topic");
    absent->ops->close(absent);
    fixture_close(&f);
}

int main(int argc, char **argv) {
    if (argc < 2 || !fixture_broker(argv[1], broker, &broker_pid)) {
        (void)printf("skipped: no Kafka broker runs (Java, Maven or its artifacts are missing)\n");
        return TEST_SKIPPED;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_commit_shows_outputs_positions_and_token_together),
        cmocka_unit_test(what_is_not_committed_is_not_seen),
        cmocka_unit_test(a_zombie_is_fenced),
        cmocka_unit_test(consuming_starts_exactly_where_it_is_told),
        cmocka_unit_test(a_sink_without_room_gets_the_same_record_again),
        cmocka_unit_test(gaps_of_transactional_input_do_not_count_as_lag),
        cmocka_unit_test(headers_keys_and_null_values_travel),
        cmocka_unit_test(partitions_of_keys_are_kafkas),
        cmocka_unit_test(topics_can_be_made_counted_and_described),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
