/* SPDX-License-Identifier: Apache-2.0
 *
 * test_ledger.c - the chain is read back link by link, and a broken one is found.
 */
#include "daemon/ledger.h"

#include <stdio.h>

#include "tests/support/stream_memory.h"
#include "tests/support/unit.h"

#define EPOCHS 500

struct fixture {
    struct memory_broker *broker;
    struct stream *stream;
    uint8_t chain[SHA256_BYTES];          /* of the last record appended */
    uint8_t chains[EPOCHS][SHA256_BYTES]; /* after each */
    uint64_t next;                        /* epoch of the next record */
    uint64_t visited;
    struct error err;
};

static int setup(void **state) {
    static struct fixture f;
    memset(&f, 0, sizeof f);
    f.broker = memory_broker_new(1);
    f.stream = stream_memory_open(f.broker, NULL);
    *state = &f;
    return 0;
}

static int teardown(void **state) {
    struct fixture *f = *state;
    f->stream->ops->close(f->stream);
    memory_broker_free(f->broker);
    return 0;
}

static void append_bytes(struct fixture *f, struct span bytes) {
    struct stream_output output = {.topic = STREAM_LEDGER, .key = span_of("0"), .value = bytes};
    (void)memory_broker_append(f->broker, &output);
}

/* One record; the chain goes on from `previous`. */
static void append_record(struct fixture *f, uint64_t epoch, const uint8_t *previous) {
    struct epoch_record record;
    memset(&record, 0, sizeof record);
    record.epoch = epoch;
    record.seq_hi = epoch * 10;
    record.fold_version = FOLD_VERSION;
    memset(record.owner, 9, OWNER_BYTES);
    memcpy(record.previous, previous, SHA256_BYTES);
    struct buffer bytes = {0};
    assert_int_equal(outbound_epoch(&record, &bytes), STATUS_OK);
    append_bytes(f, buffer_span(&bytes));
    memcpy(f->chain, previous, SHA256_BYTES);
    ASSERT_OK(ledger_chain_advance(f->chain, buffer_span(&bytes), &f->err), f->err);
    buffer_free(&bytes);
}

static void append_epochs(struct fixture *f, int count) {
    for (int i = 0; i < count; i++) {
        uint8_t previous[SHA256_BYTES];
        memcpy(previous, f->chain, SHA256_BYTES);
        append_record(f, f->next, previous);
        memcpy(f->chains[f->next], f->chain, SHA256_BYTES);
        f->next++;
    }
}

static enum status visit(void *context, const struct epoch_record *record,
                         const uint8_t chain_after[SHA256_BYTES], struct error *err) {
    struct fixture *f = context;
    if (record->seq_hi != record->epoch * 10) {
        return error_set(err, STATUS_MALFORMED, "another record");
    }
    assert_memory_equal(chain_after, f->chains[record->epoch], SHA256_BYTES);
    f->visited++;
    return STATUS_OK;
}

static enum status read_range(struct fixture *f, uint64_t first, uint64_t last) {
    static const uint8_t origin[SHA256_BYTES] = {0};
    struct ledger_tail tail;
    ASSERT_OK(ledger_read_tail(f->stream, 0, &tail, &f->err), f->err);
    f->visited = 0;
    return ledger_each(f->stream, 0, first, last, tail.offset,
                       first == 0 ? origin : f->chains[first - 1], visit, f, &f->err);
}

static void an_empty_ledger_has_no_tail(void **state) {
    struct fixture *f = *state;
    struct ledger_tail tail;
    ASSERT_OK(ledger_read_tail(f->stream, 0, &tail, &f->err), f->err);

    assert_true(tail.empty);
}

static void the_tail_says_epoch_owner_and_chain(void **state) {
    struct fixture *f = *state;
    append_epochs(f, 3);
    struct ledger_tail tail;
    ASSERT_OK(ledger_read_tail(f->stream, 0, &tail, &f->err), f->err);

    assert_false(tail.empty);
    assert_int_equal(tail.epoch, 2);
    assert_int_equal(tail.offset, 2);
    assert_int_equal(tail.owner[5], 9);
    assert_int_equal(tail.fold_version, FOLD_VERSION);
    assert_memory_equal(tail.chain, f->chain, SHA256_BYTES);
}

static void a_tail_that_does_not_parse_is_corrupt(void **state) {
    struct fixture *f = *state;
    append_epochs(f, 1);
    append_bytes(f, span_of("\xff\xff not a record"));
    struct ledger_tail tail;

    ASSERT_STATUS(ledger_read_tail(f->stream, 0, &tail, &f->err), STATUS_CORRUPT);
    ASSERT_CONTAINS(f->err.text, "offset 1");
}

static void any_range_is_read_in_order(void **state) {
    struct fixture *f = *state;
    append_epochs(f, EPOCHS);
    static const uint64_t ranges[][2] = {{0, 0},   {0, EPOCHS - 1}, {EPOCHS - 1, EPOCHS - 1},
                                         {17, 18}, {250, 499},      {1, 3}};
    for (size_t i = 0; i < sizeof ranges / sizeof ranges[0]; i++) {
        ASSERT_OK(read_range(f, ranges[i][0], ranges[i][1]), f->err);
        assert_int_equal(f->visited, ranges[i][1] - ranges[i][0] + 1);
    }
    ASSERT_OK(read_range(f, 5, 4), f->err); /* nothing to do */
    assert_int_equal(f->visited, 0);
}

/* A visit reads other topics of the same stream, which a read in progress would not survive. */
static enum status (*memory_read)(struct stream *, enum stream_topic, int32_t, int64_t, int64_t,
                                  stream_sink, void *, struct error *);
static bool reading;

static enum status read_noted(struct stream *s, enum stream_topic topic, int32_t partition,
                              int64_t first, int64_t last, stream_sink sink, void *context,
                              struct error *err) {
    reading = true;
    enum status status = memory_read(s, topic, partition, first, last, sink, context, err);
    reading = false;
    return status;
}

static enum status visit_outside(void *context, const struct epoch_record *record,
                                 const uint8_t chain_after[SHA256_BYTES], struct error *err) {
    assert_false(reading);
    return visit(context, record, chain_after, err);
}

static void visits_come_after_a_read_and_not_inside_it(void **state) {
    struct fixture *f = *state;
    static const uint8_t origin[SHA256_BYTES] = {0};
    append_epochs(f, EPOCHS);
    struct ledger_tail tail;
    ASSERT_OK(ledger_read_tail(f->stream, 0, &tail, &f->err), f->err);
    struct stream_ops ops = *f->stream->ops;
    memory_read = ops.read;
    ops.read = read_noted;
    const struct stream_ops *before = f->stream->ops;
    f->stream->ops = &ops;

    ASSERT_OK(
        ledger_each(f->stream, 0, 0, EPOCHS - 1, tail.offset, origin, visit_outside, f, &f->err),
        f->err);

    f->stream->ops = before;
    assert_int_equal(f->visited, EPOCHS);
}

static void a_missing_epoch_is_corrupt(void **state) {
    struct fixture *f = *state;
    append_epochs(f, 10);
    uint8_t previous[SHA256_BYTES];
    memcpy(previous, f->chain, SHA256_BYTES);
    append_record(f, 11, previous);

    ASSERT_STATUS(read_range(f, 5, 11), STATUS_CORRUPT);
    assert_int_equal(f->visited, 5);
}

static void a_link_that_does_not_fit_is_corrupt(void **state) {
    struct fixture *f = *state;
    append_epochs(f, 10);
    uint8_t forged[SHA256_BYTES] = {1};
    append_record(f, 10, forged);

    ASSERT_STATUS(read_range(f, 5, 10), STATUS_CORRUPT);
    ASSERT_CONTAINS(f->err.text, "10");
}

static void a_ledger_trimmed_below_the_range_is_corrupt(void **state) {
    struct fixture *f = *state;
    append_epochs(f, 100);
    memory_broker_trim(f->broker, STREAM_LEDGER, 0, 50);

    ASSERT_OK(read_range(f, 50, 99), f->err);
    ASSERT_STATUS(read_range(f, 49, 99), STATUS_CORRUPT);
    ASSERT_STATUS(read_range(f, 0, 99), STATUS_CORRUPT);
}

static void a_visit_that_fails_ends_the_reading_with_its_own_words(void **state) {
    struct fixture *f = *state;
    append_epochs(f, 3);
    struct epoch_record record;
    memset(&record, 0, sizeof record);
    record.epoch = 3;
    record.seq_hi = 77;
    memcpy(record.previous, f->chain, SHA256_BYTES);
    struct buffer bytes = {0};
    assert_int_equal(outbound_epoch(&record, &bytes), STATUS_OK);
    append_bytes(f, buffer_span(&bytes));
    buffer_free(&bytes);

    ASSERT_STATUS(read_range(f, 0, 3), STATUS_MALFORMED);
    ASSERT_CONTAINS(f->err.text, "another record");
}

static void a_token_names_shard_epoch_and_chain(void **state) {
    (void)state;
    uint8_t chain[SHA256_BYTES], prefix[8];
    char token[STREAM_TOKEN_BYTES_MAX];
    uint64_t epoch;
    for (size_t i = 0; i < SHA256_BYTES; i++) {
        chain[i] = (uint8_t)(0xf0 + i);
    }
    ledger_token_write(token, 7, INT64_MAX - 1, chain);

    assert_string_equal(token, "v1:7:9223372036854775806:f0f1f2f3f4f5f6f7");
    assert_true(ledger_token_read(token, 7, &epoch, prefix));
    assert_int_equal(epoch, INT64_MAX - 1);
    assert_memory_equal(prefix, chain, 8);
    assert_false(ledger_token_read(token, 8, &epoch, prefix));
}

static void what_is_no_token_is_not_read(void **state) {
    static const char *const bad[] = {"",
                                      "v2:0:1:0011223344556677",
                                      "v1:0:1:0011",
                                      "v1:0:1:00112233445566778",
                                      "v1:0:1",
                                      "v1:0:1:0011223344556677 ",
                                      "v1:0:x:0011223344556677"};
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        uint64_t epoch;
        uint8_t prefix[8];
        if (ledger_token_read(bad[i], 0, &epoch, prefix)) { fail_msg("'%s' was read", bad[i]); }
    }
}

#define WITH_BROKER(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        WITH_BROKER(an_empty_ledger_has_no_tail),
        WITH_BROKER(the_tail_says_epoch_owner_and_chain),
        WITH_BROKER(a_tail_that_does_not_parse_is_corrupt),
        WITH_BROKER(any_range_is_read_in_order),
        WITH_BROKER(visits_come_after_a_read_and_not_inside_it),
        WITH_BROKER(a_missing_epoch_is_corrupt),
        WITH_BROKER(a_link_that_does_not_fit_is_corrupt),
        WITH_BROKER(a_ledger_trimmed_below_the_range_is_corrupt),
        WITH_BROKER(a_visit_that_fails_ends_the_reading_with_its_own_words),
        cmocka_unit_test(a_token_names_shard_epoch_and_chain),
        cmocka_unit_test(what_is_no_token_is_not_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
