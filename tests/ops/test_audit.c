/* SPDX-License-Identifier: Apache-2.0
 *
 * test_audit.c - an audit that cannot fail proves nothing: forged ledgers and outputs on an
 * embedded stream, one contradiction each. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/file.h"
#include "base/memory.h"
#include "daemon/epoch.h"
#include "daemon/ledger.h"
#include "ops/audit.h"
#include "storage/stream_local.h"
#include "tests/support/unit.h"

/* What is forged; all zero is an honest stream. */
struct forgery {
    bool broken_chain;        /* epoch 1 names another previous hash */
    bool short_run;           /* the run ends before the last record */
    bool long_count;          /* the run says one record more */
    bool other_content;       /* the run's last record had another content */
    bool twice;               /* the second prediction has the first one's id */
    bool one_prediction_more; /* counted, not published */
    bool unknown_version;     /* predictions name version 9 */
    bool gap_in_seq;          /* sequence numbers begin at 2 */
    bool no_manifest;         /* version 1 is announced without one */
};

struct fixture {
    char folder[64];
    struct settings *settings;
    struct stream *stream;
    struct audit audit;
    struct error err;
    uint8_t chain[SHA256_BYTES];
    uint32_t last_crc;
};

static int setup(void **state) {
    struct fixture *f = memory_take_zeroed(1, sizeof *f);
    assert_non_null(f);
    (void)snprintf(f->folder, sizeof f->folder, "/tmp/ilora-audit-XXXXXX");
    assert_non_null(mkdtemp(f->folder));
    f->settings = memory_take_zeroed(1, sizeof *f->settings);
    assert_non_null(f->settings);
    ASSERT_OK(settings_load(NULL, NULL, 0, f->settings, &f->err), f->err);
    struct stream_local_settings settings = {.path = f->folder,
                                             .identity = "ilora.test.0",
                                             .partitions = 1,
                                             .map_bytes_max = 1u << 26,
                                             .retention_bytes = 1u << 25};
    ASSERT_OK(stream_local_open(&settings, &f->stream, &f->err), f->err);
    ASSERT_OK(f->stream->ops->fence(f->stream, NULL, NULL, &f->err), f->err);
    f->audit.settings = f->settings;
    f->audit.stream = f->stream;
    ASSERT_OK(arena_init_chained(&f->audit.arena, 65536, &f->err), f->err);
    *state = f;
    return 0;
}

static int teardown(void **state) {
    struct fixture *f = *state;
    for (int i = 0; i < f->audit.start_count; i++) {
        memory_free((void *)(uintptr_t)f->audit.start[i].topic.data);
    }
    memory_free(f->audit.start);
    memory_free(f->audit.runs);
    memory_free(f->audit.versions);
    memory_free(f->audit.ids.slots);
    buffer_free(&f->audit.text);
    arena_free(&f->audit.arena);
    f->stream->ops->close(f->stream);
    assert_int_equal(dir_remove(f->folder, &f->err), STATUS_OK);
    memory_free(f->settings);
    memory_free(f);
    return 0;
}

static void produce_events(struct fixture *f) {
    static const char *const events[] = {"{\"user\":\"a\",\"item\":\"1\"}",
                                         "{\"user\":\"b\",\"item\":\"2\"}",
                                         "{\"user\":\"a\",\"item\":\"3\"}"};
    struct stream_output outputs[3];
    for (int i = 0; i < 3; i++) {
        outputs[i] = (struct stream_output){.topic = STREAM_EVENTS,
                                            .partition = -1,
                                            .timestamp_ms = -1,
                                            .value = span_of(events[i])};
    }
    ASSERT_OK(stream_local_produce(f->stream, outputs, 3, &f->err), f->err);
    struct stream_record last = {.value = outputs[2].value};
    f->last_crc = epoch_record_crc(&last);
}

static void publish(struct fixture *f, enum stream_topic topic, struct span key, struct span value,
                    const struct stream_header *headers, int header_count) {
    struct stream_output output = {.topic = topic,
                                   .partition = 0,
                                   .timestamp_ms = 0,
                                   .key = key,
                                   .value = value,
                                   .headers = headers,
                                   .header_count = header_count};
    ASSERT_OK(f->stream->ops->publish(f->stream, &output, &f->err), f->err);
}

static void commit_epoch(struct fixture *f, const struct epoch_record *record, int64_t next) {
    struct buffer bytes = {0};
    struct stream_position position = {.topic = STREAM_EVENTS, .partition = 0, .next = next};
    assert_int_equal(outbound_epoch(record, &bytes), STATUS_OK);
    publish(f, STREAM_LEDGER, span_of("0"), buffer_span(&bytes), NULL, 0);
    ASSERT_OK(f->stream->ops->commit(f->stream, &position, 1, "v1:0:0:0", NULL, NULL, &f->err),
              f->err);
    ASSERT_OK(ledger_chain_advance(f->chain, buffer_span(&bytes), &f->err), f->err);
    buffer_free(&bytes);
}

static void commit_first(struct fixture *f) {
    struct position_record start = {span_of("ilorad.events"), 0, 0};
    struct epoch_record record = {.seq_lo = 1, .start = &start, .start_count = 1};
    ASSERT_OK(f->stream->ops->begin(f->stream, &f->err), f->err);
    commit_epoch(f, &record, 0);
}

static void publish_prediction_of(struct fixture *f, const struct forgery *forgery, int number) {
    static const struct predicted_item item = {{(const uint8_t *)"3", 1}, 0.5f, "sasrec"};
    const char *id = number == 0 || forgery->twice ? "ilorad.events/0/1/prediction"
                                                   : "ilorad.events/0/2/prediction";
    struct stream_header header = {"ilora-id", span_of(id)};
    struct buffer bytes = {0};
    struct prediction_record record = {.user = span_of(number == 0 ? "b" : "a"),
                                       .items = &item,
                                       .item_count = 1,
                                       .model_version = forgery->unknown_version ? 9 : 0,
                                       .tier = "fast",
                                       .seq = number == 0 ? 2 : 3,
                                       .event = {span_of("ilorad.events"), 0, number + 1},
                                       .history_length = 1};
    assert_int_equal(outbound_prediction(&record, OUTPUT_PROTOBUF, &bytes), STATUS_OK);
    publish(f, STREAM_PREDICTIONS, record.user, buffer_span(&bytes), &header, 1);
    buffer_free(&bytes);
}

static void publish_manifest_of(struct fixture *f) {
    struct stream_header header = {"ilora-kind", span_of("manifest")};
    struct manifest_record record = {.version = 1, .seq_lo = 1, .seq_hi = 3};
    struct buffer bytes = {0};
    assert_int_equal(outbound_manifest(&record, OUTPUT_PROTOBUF, &bytes), STATUS_OK);
    publish(f, STREAM_SNAPSHOTS, span_of("1"), buffer_span(&bytes), &header, 1);
    buffer_free(&bytes);
}

static void commit_second(struct fixture *f, const struct forgery *forgery) {
    struct epoch_run run = {.lo = 0,
                            .hi = forgery->short_run ? 1 : 2,
                            .crc = forgery->other_content ? f->last_crc + 1 : f->last_crc,
                            .records = forgery->short_run    ? 2
                                       : forgery->long_count ? 4
                                                             : 3};
    struct epoch_group group = {.seq_hi = 3, .users = 2, .fast_users = 2};
    struct epoch_version version = {.version = 1, .seq = 3};
    uint64_t first = forgery->gap_in_seq ? 2 : 1;
    struct epoch_record record = {.epoch = 1,
                                  .runs = &run,
                                  .run_count = 1,
                                  .seq_lo = first,
                                  .seq_hi = first + 2,
                                  .applied = forgery->short_run    ? 2
                                             : forgery->long_count ? 4
                                                                   : 3,
                                  .groups = &group,
                                  .group_count = 1,
                                  .predictions = forgery->one_prediction_more ? 3 : 2,
                                  .decisions = {.announced = &version, .announced_count = 1}};
    if (forgery->short_run) {
        record.seq_hi = group.seq_hi = 2;
    } else {
        group.seq_hi = record.seq_hi;
    }
    if (forgery->long_count) { record.seq_hi = group.seq_hi = 4; }
    memcpy(record.previous, f->chain, SHA256_BYTES);
    if (forgery->broken_chain) { record.previous[0] ^= 1; }
    ASSERT_OK(f->stream->ops->begin(f->stream, &f->err), f->err);
    publish_prediction_of(f, forgery, 0);
    publish_prediction_of(f, forgery, 1);
    if (!forgery->no_manifest) { publish_manifest_of(f); }
    commit_epoch(f, &record, 3);
}

/* Contradictions found on a stream with this forgery. */
static uint64_t audit(struct fixture *f, struct forgery forgery) {
    produce_events(f);
    commit_first(f);
    commit_second(f, &forgery);
    ASSERT_OK(audit_ledger(&f->audit, &f->err), f->err);
    ASSERT_OK(audit_input(&f->audit, &f->err), f->err);
    ASSERT_OK(audit_outputs(&f->audit, &f->err), f->err);
    return f->audit.problems;
}

static void an_honest_stream_holds(void **state) {
    struct fixture *f = *state;

    assert_int_equal(audit(f, (struct forgery){0}), 0);

    assert_int_equal(f->audit.epochs, 2);
    assert_int_equal(f->audit.input_records, 3);
    assert_int_equal(f->audit.predictions_seen, 2);
    assert_int_equal(f->audit.manifests_seen, 1);
    assert_memory_equal(f->audit.chain, f->chain, SHA256_BYTES);
}

static void a_broken_chain_is_found(void **state) {
    assert_true(audit(*state, (struct forgery){.broken_chain = true}) > 0);
}

static void a_record_in_no_run_only_waits_at_the_end(void **state) {
    struct fixture *f = *state;

    (void)audit(f, (struct forgery){.short_run = true}); /* seq 3 of a prediction lies beyond */

    assert_int_equal(f->audit.input_waiting, 1);
}

static void a_run_with_too_few_records_is_found(void **state) {
    assert_true(audit(*state, (struct forgery){.long_count = true}) > 0);
}

static void changed_content_is_found(void **state) {
    assert_int_equal(audit(*state, (struct forgery){.other_content = true}), 1);
}

static void an_output_published_twice_is_found(void **state) {
    assert_int_equal(audit(*state, (struct forgery){.twice = true}), 1);
}

static void a_missing_output_is_found(void **state) {
    assert_true(audit(*state, (struct forgery){.one_prediction_more = true}) > 0);
}

static void a_version_that_does_not_exist_is_found(void **state) {
    assert_int_equal(audit(*state, (struct forgery){.unknown_version = true}), 2);
}

static void a_gap_in_sequence_numbers_is_found(void **state) {
    assert_true(audit(*state, (struct forgery){.gap_in_seq = true}) > 0);
}

static void a_version_without_manifest_is_found(void **state) {
    assert_int_equal(audit(*state, (struct forgery){.no_manifest = true}), 1);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        CASE(an_honest_stream_holds),
        CASE(a_broken_chain_is_found),
        CASE(a_record_in_no_run_only_waits_at_the_end),
        CASE(a_run_with_too_few_records_is_found),
        CASE(changed_content_is_found),
        CASE(an_output_published_twice_is_found),
        CASE(a_missing_output_is_found),
        CASE(a_version_that_does_not_exist_is_found),
        CASE(a_gap_in_sequence_numbers_is_found),
        CASE(a_version_without_manifest_is_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
