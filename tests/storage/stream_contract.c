/* SPDX-License-Identifier: Apache-2.0
 *
 * stream_contract.c - see stream_contract.h.
 */
#include "tests/storage/stream_contract.h"

#include <stdio.h>

static struct error err; /* of the running test */

#define KEPT_MAX 2000

struct kept { /* what a sink saw */
    int count;
    int64_t offsets[KEPT_MAX];
    int32_t partitions[KEPT_MAX];
    char values[KEPT_MAX][16];
    int room; /* records it takes before it says AGAIN; < 0 = all */
};

static enum status keep(void *context, const struct stream_record *record, struct error *e) {
    struct kept *kept = context;
    if (kept->room == 0) { return error_set(e, STATUS_AGAIN, "no room"); }
    if (kept->room > 0) { kept->room--; }
    assert_true(kept->count < KEPT_MAX);
    kept->offsets[kept->count] = record->offset;
    kept->partitions[kept->count] = record->partition;
    assert_true(record->value.size < sizeof kept->values[0]);
    memset(kept->values[kept->count], 0, sizeof kept->values[0]);
    if (record->value.size > 0) {
        memcpy(kept->values[kept->count], record->value.data, record->value.size);
    }
    kept->count++;
    return STATUS_OK;
}

static struct stream_output output_of(enum stream_topic topic, int32_t partition,
                                      const char *value) {
    return (struct stream_output){.topic = topic,
                                  .partition = partition,
                                  .timestamp_ms = 1000,
                                  .key = span_of("k"),
                                  .value = span_of(value)};
}

static void publish(struct stream *s, enum stream_topic topic, const char *value) {
    struct stream_output output = output_of(topic, 0, value);
    ASSERT_OK(s->ops->publish(s, &output, &err), err);
}

static void append(struct stream_under_test *t, struct stream *s, int32_t partition,
                   const char *value) {
    struct stream_output output = output_of(STREAM_EVENTS, partition, value);
    t->append(t->context, s, &output);
}

static void commit(struct stream *s, int64_t next, const char *token) {
    struct stream_position position = {STREAM_EVENTS, 0, next};
    ASSERT_OK(s->ops->commit(s, &position, 1, token, NULL, NULL, &err), err);
}

void contract_start(struct stream *s) {
    struct stream_position positions[] = {
        {STREAM_EVENTS, 0, 0}, {STREAM_EVENTS, 1, 0}, {STREAM_ITEMS, 0, 0}, {STREAM_CONTROL, 0, 0}};
    ASSERT_OK(s->ops->fence(s, NULL, NULL, &err), err);
    ASSERT_OK(s->ops->assign(s, positions, 4, &err), err);
}

static int64_t end_of(struct stream *s, enum stream_topic topic) {
    int64_t first = -1, end = -1;
    ASSERT_OK(s->ops->bounds(s, topic, 0, &first, &end, &err), err);
    assert_int_equal(first, 0);
    return end;
}

void contract_commit_shows_outputs_positions_and_token_together(struct stream_under_test *t) {
    struct stream *s = t->open(t->context, "one");
    char token[STREAM_TOKEN_BYTES_MAX];
    struct stream_position positions[] = {{STREAM_EVENTS, 0, 7}, {STREAM_EVENTS, 1, 7}};
    contract_start(s);
    ASSERT_OK(s->ops->committed(s, positions, 2, token, &err), err);
    assert_int_equal(positions[0].next, -1);
    assert_string_equal(token, "");

    ASSERT_OK(s->ops->begin(s, &err), err);
    publish(s, STREAM_PREDICTIONS, "p0");
    publish(s, STREAM_LEDGER, "l0");
    publish(s, STREAM_PREDICTIONS, "p1");
    assert_int_equal(end_of(s, STREAM_PREDICTIONS), 0);
    commit(s, 5, "v1:0:1:abc");

    assert_int_equal(end_of(s, STREAM_PREDICTIONS), 2);
    assert_int_equal(end_of(s, STREAM_LEDGER), 1);
    t->close(t->context, s);
    s = t->open(t->context, "one");
    ASSERT_OK(s->ops->committed(s, positions, 2, token, &err), err);
    assert_int_equal(positions[0].next, 5);
    assert_int_equal(positions[1].next, -1);
    assert_string_equal(token, "v1:0:1:abc");
    struct kept kept = {.room = -1};
    ASSERT_OK(s->ops->read(s, STREAM_PREDICTIONS, 0, 0, 10, keep, &kept, &err), err);
    assert_int_equal(kept.count, 2);
    assert_string_equal(kept.values[0], "p0");
    assert_string_equal(kept.values[1], "p1");
    t->close(t->context, s);
}

void contract_abort_leaves_nothing(struct stream_under_test *t) {
    struct stream *s = t->open(t->context, "one");
    contract_start(s);
    ASSERT_OK(s->ops->begin(s, &err), err);
    publish(s, STREAM_PREDICTIONS, "gone");
    ASSERT_OK(s->ops->abort(s, &err), err);
    ASSERT_OK(s->ops->begin(s, &err), err);
    publish(s, STREAM_PREDICTIONS, "kept");
    commit(s, 1, "t");

    struct kept kept = {.room = -1};
    ASSERT_OK(s->ops->read(s, STREAM_PREDICTIONS, 0, 0, INT64_MAX, keep, &kept, &err), err);
    assert_int_equal(kept.count, 1);
    assert_string_equal(kept.values[0], "kept");
    t->close(t->context, s);
}

void contract_second_fence_keeps_the_first_owner_out(struct stream_under_test *t) {
    struct stream *s = t->open(t->context, "one");
    contract_start(s);
    ASSERT_OK(s->ops->begin(s, &err), err);
    publish(s, STREAM_LEDGER, "one");
    commit(s, 1, "t1");
    ASSERT_OK(s->ops->fence(s, NULL, NULL, &err), err); /* ourselves again: goes on */
    ASSERT_OK(s->ops->begin(s, &err), err);
    publish(s, STREAM_LEDGER, "two");
    commit(s, 2, "t2");
    assert_int_equal(end_of(s, STREAM_LEDGER), 2);
    assert_false(s->ops->tainted(s));
    t->close(t->context, s);
}

/* Keys and values: absent, empty, with zero bytes; headers; timestamps. */
static enum status check_record(void *context, const struct stream_record *record,
                                struct error *e) {
    (void)e;
    const struct stream_output *expected = context;
    assert_int_equal(record->topic, expected->topic);
    assert_int_equal(record->timestamp_ms, expected->timestamp_ms);
    assert_true((record->key.data == NULL) == (expected->key.data == NULL));
    assert_true((record->value.data == NULL) == (expected->value.data == NULL));
    assert_true(span_equal(record->key, expected->key));
    assert_true(span_equal(record->value, expected->value));
    assert_int_equal(record->header_count, expected->header_count);
    for (int i = 0; i < record->header_count; i++) {
        assert_string_equal(record->headers[i].name, expected->headers[i].name);
        assert_true((record->headers[i].value.data == NULL) ==
                    (expected->headers[i].value.data == NULL));
        assert_true(span_equal(record->headers[i].value, expected->headers[i].value));
    }
    return STATUS_OK;
}

void contract_records_come_back_as_they_were(struct stream_under_test *t) {
    struct stream *s = t->open(t->context, "one");
    static uint8_t large[900 * 1024];
    memset(large, 0xa5, sizeof large);
    const struct stream_header headers[] = {{"ilora-id", span_of("e/0/1/p")},
                                            {"empty", span_make("", 0)},
                                            {"null", span_make(NULL, 0)}};
    struct stream_output outputs[] = {
        {STREAM_DLQ, 0, 123456789012345, span_of("key"), span_of("value"), headers, 3},
        {STREAM_DLQ, 0, 0, span_make(NULL, 0), span_make(NULL, 0), NULL, 0},
        {STREAM_DLQ, 0, 1, span_make("", 0), span_make("", 0), NULL, 0},
        {STREAM_DLQ, 0, 2, span_make("a\0b", 3), span_make(large, sizeof large), headers, 1},
    };
    contract_start(s);
    ASSERT_OK(s->ops->begin(s, &err), err);
    for (int i = 0; i < 4; i++) {
        ASSERT_OK(s->ops->publish(s, &outputs[i], &err), err);
    }
    struct stream_output too_large = outputs[3];
    static uint8_t larger[STREAM_RECORD_BYTES_MAX + 1];
    too_large.value = span_make(larger, sizeof larger);
    ASSERT_STATUS(s->ops->publish(s, &too_large, &err), STATUS_LIMIT);
    commit(s, 0, "");

    for (int i = 0; i < 4; i++) {
        ASSERT_OK(s->ops->read(s, STREAM_DLQ, 0, i, i, check_record, &outputs[i], &err), err);
    }
    ASSERT_OK(s->ops->tail(s, STREAM_DLQ, 0, check_record, &outputs[3], &err), err);
    t->close(t->context, s);
}

void contract_poll_gives_each_record_once_in_order_and_again_when_refused(
    struct stream_under_test *t) {
    struct stream *s = t->open(t->context, "one");
    contract_start(s);
    char text[16];
    for (int i = 0; i < 10; i++) {
        (void)snprintf(text, sizeof text, "e%d", i);
        append(t, s, 0, text);
    }

    struct kept kept = {.room = 3};
    ASSERT_OK(s->ops->poll(s, 0, keep, &kept, &err), err);
    assert_int_equal(kept.count, 3);
    kept.room = 0;
    ASSERT_OK(s->ops->poll(s, 0, keep, &kept, &err), err);
    assert_int_equal(kept.count, 3);
    kept.room = -1;
    ASSERT_OK(s->ops->poll(s, 0, keep, &kept, &err), err);
    ASSERT_OK(s->ops->poll(s, 1, keep, &kept, &err), err);
    assert_int_equal(kept.count, 10);
    for (int i = 0; i < 10; i++) {
        (void)snprintf(text, sizeof text, "e%d", i);
        assert_string_equal(kept.values[i], text);
        assert_int_equal(kept.offsets[i], i);
    }
    assert_int_equal(s->ops->lag(s, STREAM_EVENTS, 0, 4), 6);
    assert_int_equal(s->ops->lag(s, STREAM_EVENTS, 0, 10), 0);
    t->close(t->context, s);
}

void contract_poll_takes_partitions_in_turn(struct stream_under_test *t) {
    struct stream *s = t->open(t->context, "one");
    contract_start(s);
    for (int i = 0; i < 600; i++) {
        append(t, s, 0, "a");
    }
    append(t, s, 1, "b");

    struct kept kept = {.room = -1};
    int at_b = -1;
    for (int polls = 0; polls < 10 && kept.count < 601; polls++) {
        ASSERT_OK(s->ops->poll(s, 0, keep, &kept, &err), err);
    }
    assert_int_equal(kept.count, 601);
    for (int i = 0; i < kept.count; i++) {
        if (kept.partitions[i] == 1) { at_b = i; }
    }
    assert_true(at_b >= 0 && at_b <= 256); /* not behind all of the long partition */
    t->close(t->context, s);
}

void contract_read_bounds_and_tail_agree(struct stream_under_test *t) {
    struct stream *s = t->open(t->context, "one");
    contract_start(s);
    struct kept kept = {.room = -1};
    int64_t first = -1, end = -1;
    int32_t count = 0;
    ASSERT_OK(s->ops->partitions(s, STREAM_EVENTS, &count, &err), err);
    assert_int_equal(count, 2);
    ASSERT_OK(s->ops->bounds(s, STREAM_EVENTS, 1, &first, &end, &err), err);
    assert_true(first == 0 && end == 0);
    ASSERT_STATUS(s->ops->tail(s, STREAM_EVENTS, 1, keep, &kept, &err), STATUS_NOT_FOUND);
    ASSERT_OK(s->ops->read(s, STREAM_EVENTS, 1, 0, INT64_MAX, keep, &kept, &err), err);
    assert_int_equal(kept.count, 0);
    ASSERT_STATUS(s->ops->bounds(s, STREAM_EVENTS, 2, &first, &end, &err), STATUS_NOT_FOUND);

    append(t, s, 1, "x0");
    append(t, s, 1, "x1");
    append(t, s, 1, "x2");
    ASSERT_OK(s->ops->bounds(s, STREAM_EVENTS, 1, &first, &end, &err), err);
    assert_true(first == 0 && end == 3);
    ASSERT_OK(s->ops->tail(s, STREAM_EVENTS, 1, keep, &kept, &err), err);
    assert_int_equal(kept.count, 1);
    assert_string_equal(kept.values[0], "x2");
    ASSERT_OK(s->ops->read(s, STREAM_EVENTS, 1, 1, 1, keep, &kept, &err), err);
    assert_string_equal(kept.values[1], "x1");
    kept.room = 1;
    ASSERT_STATUS(s->ops->read(s, STREAM_EVENTS, 1, 0, 2, keep, &kept, &err), STATUS_AGAIN);
    assert_string_equal(kept.values[2], "x0");
    t->close(t->context, s);
}
