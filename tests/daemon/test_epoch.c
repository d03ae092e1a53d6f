/* SPDX-License-Identifier: Apache-2.0
 *
 * test_epoch.c - the epoch in progress holds runs, groups and outputs as they came.
 */
#include "daemon/epoch.h"

#include <stdio.h>

#include "base/hash.h"
#include "tests/support/fault.h"
#include "tests/support/unit.h"

static int setup(void **state) {
    static struct epoch epoch;
    struct error err = {0};
    ASSERT_OK(epoch_init(&epoch, &err), err);
    *state = &epoch;
    return 0;
}

static int teardown(void **state) {
    epoch_free(*state);
    return 0;
}

static struct stream_record record_at(enum stream_topic topic, int32_t partition, int64_t offset) {
    return (struct stream_record){.topic = topic,
                                  .partition = partition,
                                  .offset = offset,
                                  .key = span_of("key"),
                                  .value = span_of("value")};
}

static void extend(struct epoch *epoch, enum stream_topic topic, int32_t partition,
                   int64_t offset) {
    struct error err = {0};
    struct stream_record record = record_at(topic, partition, offset);
    ASSERT_OK(epoch_run_extend(epoch, &record, &err), err);
}

static void a_run_ends_where_another_partition_begins(void **state) {
    struct epoch *epoch = *state;
    extend(epoch, STREAM_EVENTS, 0, 5);
    extend(epoch, STREAM_EVENTS, 0, 6);
    extend(epoch, STREAM_EVENTS, 0, 9); /* a gap: offsets are sparse */
    extend(epoch, STREAM_EVENTS, 1, 3);
    extend(epoch, STREAM_ITEMS, 1, 4);
    extend(epoch, STREAM_EVENTS, 0, 10);

    assert_int_equal(epoch->run_count, 4);
    assert_int_equal(epoch->records, 6);
    const struct epoch_run *run = &epoch->runs[0];
    assert_true(run->topic == STREAM_EVENTS && run->partition == 0);
    assert_true(run->lo == 5 && run->hi == 9 && run->records == 3);
    assert_true(epoch->runs[3].lo == 10 && epoch->runs[3].hi == 10);
}

static void the_crc_of_a_run_is_its_last_records(void **state) {
    struct epoch *epoch = *state;
    struct error err = {0};
    struct stream_record record = record_at(STREAM_EVENTS, 0, 0);
    ASSERT_OK(epoch_run_extend(epoch, &record, &err), err);
    record.offset = 1;
    record.value = span_of("other");
    ASSERT_OK(epoch_run_extend(epoch, &record, &err), err);

    assert_int_equal(epoch->runs[0].crc, crc32c(0, "keyother", 8));
    record.key = span_make(NULL, 0);
    assert_int_equal(epoch_record_crc(&record), crc32c(0, "other", 5));
}

static void too_many_runs_ask_for_a_close(void **state) {
    struct epoch *epoch = *state;
    struct error err = {0};
    for (int i = 0; i < EPOCH_RUNS_MAX; i++) {
        assert_int_equal(epoch_is_full(epoch), i > EPOCH_RUNS_MAX / 2);
        extend(epoch, STREAM_EVENTS, i % 2, i);
    }

    struct stream_record record = record_at(STREAM_ITEMS, 0, 0);
    ASSERT_STATUS(epoch_run_extend(epoch, &record, &err), STATUS_LIMIT);
    assert_int_equal(epoch->records, EPOCH_RUNS_MAX);
}

static void outputs_come_back_in_order_with_their_headers(void **state) {
    struct epoch *epoch = *state;
    struct error err = {0};
    for (int i = 0; i < 5000; i++) { /* beyond the first room for outputs */
        char text[16];
        int size = snprintf(text, sizeof text, "v%d", i);
        ASSERT_OK(epoch_output_add(epoch, STREAM_PREDICTIONS, -1, i, span_of("k"),
                                   span_make(text, (size_t)size), &err),
                  err);
        ASSERT_OK(epoch_output_header(epoch, "name", span_make(text, (size_t)size), &err), err);
    }

    for (int i = 0; i < 5000; i++) {
        struct stream_header headers[STREAM_HEADERS_MAX];
        struct stream_output output;
        char text[16];
        (void)snprintf(text, sizeof text, "v%d", i);
        epoch_output_get(epoch, i, headers, &output);
        assert_true(span_equal(output.key, span_of("k")));
        assert_true(span_equal(output.value, span_of(text)));
        assert_int_equal(output.timestamp_ms, i);
        assert_int_equal(output.header_count, 1);
        assert_string_equal(output.headers[0].name, "name");
        assert_true(span_equal(output.headers[0].value, span_of(text)));
    }
}

static void an_output_without_a_key_has_none(void **state) {
    struct epoch *epoch = *state;
    struct error err = {0};
    struct stream_header headers[STREAM_HEADERS_MAX];
    struct stream_output output;
    ASSERT_OK(epoch_output_add(epoch, STREAM_DLQ, 3, -1, span_make(NULL, 0), span_of("v"), &err),
              err);
    epoch_output_get(epoch, 0, headers, &output);

    assert_null(output.key.data);
    assert_int_equal(output.partition, 3);
}

static void a_header_too_many_is_refused(void **state) {
    struct epoch *epoch = *state;
    struct error err = {0};
    ASSERT_OK(epoch_output_add(epoch, STREAM_DLQ, 0, -1, span_of("k"), span_of("v"), &err), err);
    for (int i = 0; i < STREAM_HEADERS_MAX; i++) {
        ASSERT_OK(epoch_output_header(epoch, "h", span_of("x"), &err), err);
    }

    ASSERT_STATUS(epoch_output_header(epoch, "h", span_of("x"), &err), STATUS_LIMIT);
}

static void a_reset_leaves_nothing(void **state) {
    struct epoch *epoch = *state;
    struct error err = {0};
    extend(epoch, STREAM_EVENTS, 0, 5);
    ASSERT_OK(epoch_output_add(epoch, STREAM_DLQ, 0, -1, span_of("k"), span_of("v"), &err), err);
    struct epoch_group group = {.seq_hi = 9, .users = 2};
    ASSERT_OK(epoch_group_add(epoch, &group, &err), err);
    epoch->applied = 7;
    epoch->announced_count = 1;
    epoch_reset(epoch, 42);

    assert_int_equal(epoch->seq_lo, 42);
    assert_int_equal(epoch->run_count + epoch->group_count + epoch->output_count, 0);
    assert_int_equal(epoch->records + epoch->applied, 0);
    assert_int_equal(epoch->announced_count, 0);
}

static enum status fill_epoch(void *context) {
    struct error err = {0};
    struct epoch epoch;
    (void)context;
    enum status status = epoch_init(&epoch, &err);
    for (int i = 0; i < 4097 && status == STATUS_OK; i++) {
        status = epoch_output_add(&epoch, STREAM_DLQ, 0, -1, span_of("k"), span_of("v"), &err);
        assert_int_equal(epoch.output_count, i + (status == STATUS_OK));
    }
    epoch_free(&epoch);
    return status;
}

static void without_memory_an_epoch_stays_as_it_was(void **state) {
    (void)state;
    assert_true(fault_sweep(FAULT_MEMORY, STATUS_NO_MEMORY, fill_epoch, NULL) > 4);
}

#define WITH_EPOCH(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        WITH_EPOCH(a_run_ends_where_another_partition_begins),
        WITH_EPOCH(the_crc_of_a_run_is_its_last_records),
        WITH_EPOCH(too_many_runs_ask_for_a_close),
        WITH_EPOCH(outputs_come_back_in_order_with_their_headers),
        WITH_EPOCH(an_output_without_a_key_has_none),
        WITH_EPOCH(a_header_too_many_is_refused),
        WITH_EPOCH(a_reset_leaves_nothing),
        cmocka_unit_test(without_memory_an_epoch_stays_as_it_was),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
