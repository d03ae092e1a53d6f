/* SPDX-License-Identifier: Apache-2.0
 *
 * test_outbound.c - what is published is canonical, complete, and reads back as it was.
 *
 * The generated code is the judge: it reads our bytes, writes them again, and both must be equal;
 * so numbers, types, order and left-out defaults agree with ilora.proto.
 */
#include "tests/support/unit.h"

#include <stdio.h>

#include "proto/ilora.pb-c.h"

#include "base/fault.h"
#include "base/json.h"
#include "tests/proto/outbound_samples.h"

/* Reads with the generated code, writes with it, compares; the caller frees the message. */
static ProtobufCMessage *judge(const ProtobufCMessageDescriptor *descriptor,
                               const struct buffer *bytes) {
    ProtobufCMessage *message =
        protobuf_c_message_unpack(descriptor, NULL, bytes->size, bytes->data);
    assert_non_null(message);
    assert_int_equal(message->n_unknown_fields, 0);
    assert_int_equal(protobuf_c_message_get_packed_size(message), bytes->size);
    uint8_t again[4096];
    assert_true(bytes->size <= sizeof again);
    (void)protobuf_c_message_pack(message, again);
    assert_memory_equal(again, bytes->data, bytes->size);
    return message;
}

static void prediction_is_what_the_schema_says(void **state) {
    (void)state;
    struct prediction_record record = sample_prediction();
    struct buffer out = {0};
    ASSERT_STATUS(outbound_prediction(&record, OUTPUT_PROTOBUF, &out), STATUS_OK);
    ProtobufCMessage *message = judge(&ilora__v1__prediction__descriptor, &out);
    const Ilora__V1__Prediction *prediction = (const Ilora__V1__Prediction *)(void *)message;
    assert_string_equal(prediction->user, "user-1");
    assert_int_equal(prediction->n_items, 3);
    assert_string_equal(prediction->items[0]->source, "item_head");
    assert_int_equal(prediction->items[2]->rank, 3);
    assert_true(prediction->items[1]->score > 0.24f && prediction->items[1]->score < 0.26f);
    assert_int_equal(prediction->model_version, 41);
    assert_string_equal(prediction->tier, "ilora");
    assert_int_equal(prediction->seq, 1234567);
    assert_string_equal(prediction->event->topic, "ilorad.events");
    assert_int_equal(prediction->event->partition, 3);
    assert_int_equal(prediction->event->offset, INT64_C(9876543210));
    assert_int_equal(prediction->timestamp_ms, INT64_C(1700000000123));
    assert_int_equal(prediction->history_length, 120);
    protobuf_c_message_free_unpacked(message, NULL);
    buffer_free(&out);
}

static void manifest_is_what_the_schema_says(void **state) {
    (void)state;
    struct manifest_record record = sample_manifest();
    struct buffer out = {0};
    ASSERT_STATUS(outbound_manifest(&record, OUTPUT_PROTOBUF, &out), STATUS_OK);
    ProtobufCMessage *message = judge(&ilora__v1__snapshot_manifest__descriptor, &out);
    const Ilora__V1__SnapshotManifest *m = (const Ilora__V1__SnapshotManifest *)(void *)message;
    assert_int_equal(m->version, 101);
    assert_int_equal(m->parent, 100);
    assert_int_equal(m->shard, 2);
    assert_int_equal(m->seq_lo, 1025);
    assert_int_equal(m->seq_hi, 3072);
    assert_int_equal(m->covered[1]->offset, 502);
    assert_int_equal(m->rows_trained, 31);
    assert_int_equal(m->rows_unsampled, 32);
    assert_int_equal(m->rows_quarantined, 33);
    assert_int_equal(m->rows_excluded, 34);
    assert_string_equal(m->files[0]->name, "adapter_model.safetensors");
    assert_memory_equal(m->files[0]->sha256.data, record.files[0].sha256, SHA256_BYTES);
    assert_int_equal(m->files[0]->chunk_count, 138);
    assert_string_equal(m->figures[1]->slice, "history_3_9");
    assert_true(m->figures[1]->log_loss < -26.4 && m->figures[0]->mrr > 15.4);
    assert_string_equal(m->numeric_profile, "cpu avx2 threads=2");
    assert_string_equal(m->base_model, "SmolLM2-135M");
    assert_memory_equal(m->base_model_sha256.data, record.base_model_sha256, SHA256_BYTES);
    assert_true(m->rejected);
    assert_string_equal(m->reason, "golden batch");
    assert_int_equal(m->restored_from, 77);
    protobuf_c_message_free_unpacked(message, NULL);
    buffer_free(&out);
}

static void metrics_and_chunks_are_what_the_schema_says(void **state) {
    (void)state;
    struct metrics_record record = sample_metrics();
    struct buffer out = {0};
    ASSERT_STATUS(outbound_metrics(&record, OUTPUT_PROTOBUF, &out), STATUS_OK);
    ProtobufCMessage *message = judge(&ilora__v1__metrics_record__descriptor, &out);
    const Ilora__V1__MetricsRecord *m = (const Ilora__V1__MetricsRecord *)(void *)message;
    assert_int_equal(m->seq, 2001);
    assert_int_equal(m->model_version, 2002);
    assert_int_equal(m->filtered, 2006);
    assert_int_equal(m->n_figures, 2);
    protobuf_c_message_free_unpacked(message, NULL);

    buffer_reset(&out);
    ASSERT_STATUS(outbound_chunk(9, "ilora.safetensors", 0, span_of("data"), &out), STATUS_OK);
    message = judge(&ilora__v1__snapshot_chunk__descriptor, &out);
    const Ilora__V1__SnapshotChunk *chunk = (const Ilora__V1__SnapshotChunk *)(void *)message;
    assert_string_equal(chunk->file, "ilora.safetensors");
    assert_memory_equal(chunk->data.data, "data", 4);
    protobuf_c_message_free_unpacked(message, NULL);

    struct span huge = span_make(out.data, SNAPSHOT_CHUNK_BYTES_MAX + 1);
    ASSERT_STATUS(outbound_chunk(9, "f", 0, huge, &out), STATUS_LIMIT);
    buffer_free(&out);
}

static void an_empty_record_has_only_what_is_always_there(void **state) {
    (void)state;
    struct prediction_record record = {.tier = ""};
    struct buffer out = {0};
    ASSERT_STATUS(outbound_prediction(&record, OUTPUT_PROTOBUF, &out), STATUS_OK);
    assert_int_equal(out.size, 2); /* the event's tag and a length of 0 */
    ProtobufCMessage *message = judge(&ilora__v1__prediction__descriptor, &out);
    protobuf_c_message_free_unpacked(message, NULL);
    buffer_free(&out);
}

/* Pointers inside differ between the two: compare the pieces by writing the record again. */
static void the_ledger_record_reads_back_as_it_was(void **state) {
    (void)state;
    struct epoch_record record = sample_epoch();
    struct buffer out = {0};
    struct buffer again = {0};
    struct error err;
    ASSERT_STATUS(outbound_epoch(&record, &out), STATUS_OK);
    ProtobufCMessage *message = judge(&ilora__v1__epoch_record__descriptor, &out);
    protobuf_c_message_free_unpacked(message, NULL);

    struct arena arena;
    struct epoch_record read;
    ASSERT_OK(arena_init_chained(&arena, 4096, &err), err);
    ASSERT_OK(outbound_epoch_read(buffer_span(&out), &arena, &read, &err), err);
    ASSERT_STATUS(outbound_epoch(&read, &again), STATUS_OK);
    assert_int_equal(out.size, again.size);
    assert_memory_equal(out.data, again.data, out.size);

    assert_int_equal(read.run_count, 2);
    assert_int_equal(read.runs[0].crc, 0xdeadbeefu);
    assert_int_equal(read.runs[1].topic, 2);
    assert_int_equal(read.groups[1].fast_users, 30);
    assert_int_equal(read.decisions.announced_count, 2);
    assert_true(read.decisions.announced[1].rejected);
    assert_true(read.decisions.forgotten[0] == UINT64_C(0x8877665544332211));
    assert_int_equal(read.decisions.crashed_count, 1);
    assert_true(span_equal(read.decisions.crashed[0].topic, span_of("ilorad.events")));
    assert_int_equal(read.decisions.crashed[0].partition, 3);
    assert_int_equal(read.decisions.crashed[0].offset, 120);
    assert_int_equal(read.partitions[1], 300);
    assert_int_equal(read.setting_count, 2);
    assert_int_equal(read.settings[1].value.size, 0);
    assert_memory_equal(read.owner, record.owner, sizeof read.owner);
    arena_free(&arena);
    buffer_free(&out);
    buffer_free(&again);
}

static void a_ledger_record_without_lists_reads_back(void **state) {
    (void)state;
    struct epoch_record record = {.epoch = 3, .decisions = {.claim = true}};
    struct buffer out = {0};
    struct error err;
    struct arena arena;
    struct epoch_record read;
    ASSERT_STATUS(outbound_epoch(&record, &out), STATUS_OK);
    ASSERT_OK(arena_init(&arena, 64 * 1024, &err), err);
    ASSERT_OK(outbound_epoch_read(buffer_span(&out), &arena, &read, &err), err);
    assert_int_equal(read.epoch, 3);
    assert_true(read.decisions.claim);
    assert_int_equal(read.run_count, 0);
    assert_null(read.runs);
    arena_free(&arena);
    buffer_free(&out);
}

/* Every prefix of a record is refused or is a record that lost its last fields; none is accepted
 * with half a field, none crashes. */
static void a_cut_ledger_record_is_refused(void **state) {
    (void)state;
    struct epoch_record record = sample_epoch();
    struct buffer out = {0};
    struct error err;
    struct arena arena;
    struct epoch_record read;
    ASSERT_STATUS(outbound_epoch(&record, &out), STATUS_OK);
    ASSERT_OK(arena_init_chained(&arena, 16 * 1024, &err), err);
    for (size_t size = 0; size < out.size; size++) {
        arena_reset(&arena);
        struct span cut = span_make(out.data, size);
        enum status status = outbound_epoch_read(cut, &arena, &read, &err);
        assert_true(status == STATUS_MALFORMED || status == STATUS_OK);
        if (size < 300) { ASSERT_STATUS(status, STATUS_MALFORMED); }
    }
    arena_free(&arena);
    buffer_free(&out);
}

static void a_wrong_ledger_record_names_its_field(void **state) {
    (void)state;
    static const struct {
        const char *name;
        struct epoch_run run;
        struct epoch_group group;
    } cases[] = {
        {"'runs'", {3, 0, 1, 2, 0, 2}, {1, 1, 1, 1}},
        {"'runs'", {0, -1, 1, 2, 0, 2}, {1, 1, 1, 1}},
        {"'runs'", {0, 0, 1, 2, 0, 0}, {1, 1, 1, 1}},
        {"'groups'", {0, 0, 1, 2, 0, 2}, {1, 1, 2, 1}},
    };
    struct arena arena;
    struct error err;
    ASSERT_OK(arena_init_chained(&arena, 16 * 1024, &err), err);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct epoch_record record = sample_epoch();
        struct epoch_record read;
        struct epoch_run run = cases[i].run;
        struct epoch_group group = cases[i].group;
        record.runs = &run;
        record.run_count = 1;
        record.groups = &group;
        record.group_count = 1;
        struct buffer out = {0};
        ASSERT_STATUS(outbound_epoch(&record, &out), STATUS_OK);
        ASSERT_STATUS(outbound_epoch_read(buffer_span(&out), &arena, &read, &err),
                      STATUS_MALFORMED);
        ASSERT_CONTAINS(err.text, cases[i].name);
        ASSERT_CONTAINS(err.text, "epoch 5001");
        buffer_free(&out);
    }
    arena_free(&arena);
}

static void a_full_buffer_keeps_what_it_held(void **state) {
    (void)state;
    struct epoch_record epoch = sample_epoch();
    struct prediction_record prediction = sample_prediction();
    for (size_t limit = 4; limit < 120; limit++) {
        struct buffer out = {.limit = limit};
        ASSERT_STATUS(buffer_append(&out, "kept", 4), STATUS_OK);
        ASSERT_STATUS(outbound_epoch(&epoch, &out), STATUS_LIMIT);
        assert_int_equal(out.size, 4);
        if (limit < 60) {
            ASSERT_STATUS(outbound_prediction(&prediction, OUTPUT_PROTOBUF, &out), STATUS_LIMIT);
            ASSERT_STATUS(outbound_prediction(&prediction, OUTPUT_JSON, &out), STATUS_LIMIT);
        }
        assert_int_equal(out.size, 4);
        assert_memory_equal(out.data, "kept", 4);
        buffer_free(&out);
    }
}

static void the_arena_that_is_too_small_is_no_fault_of_the_record(void **state) {
    (void)state;
    struct epoch_record record = sample_epoch();
    struct epoch_record read;
    struct buffer out = {0};
    struct error err;
    struct arena arena;
    ASSERT_STATUS(outbound_epoch(&record, &out), STATUS_OK);
    for (size_t capacity = 64; capacity < 2048; capacity += 64) {
        ASSERT_OK(arena_init(&arena, capacity, &err), err);
        ASSERT_STATUS(outbound_epoch_read(buffer_span(&out), &arena, &read, &err),
                      STATUS_NO_MEMORY);
        arena_free(&arena);
    }
    buffer_free(&out);
}

static void prediction_in_json_is_as_documented(void **state) {
    (void)state;
    struct prediction_record record = sample_prediction();
    struct buffer out = {0};
    ASSERT_STATUS(outbound_prediction(&record, OUTPUT_JSON, &out), STATUS_OK);
    ASSERT_STATUS(buffer_append(&out, "", 1), STATUS_OK);
    assert_string_equal(
        (const char *)out.data,
        "{\"user\":\"user-1\",\"items\":[{\"item\":\"item-9\",\"score\":0.5,\"rank\":1,"
        "\"source\":\"item_head\"},{\"item\":\"\xc3\xa9t\xc3\xa9\",\"score\":0.25,\"rank\":2,"
        "\"source\":\"sasrec\"},{\"item\":\"item-7\",\"score\":0,\"rank\":3,\"source\":\"\"}],"
        "\"model_version\":41,\"tier\":\"ilora\",\"seq\":1234567,\"event\":{\"topic\":"
        "\"ilorad.events\",\"partition\":3,\"offset\":9876543210},\"timestamp\":1700000000123,"
        "\"history_length\":120}");
    buffer_free(&out);
}

/* Each kind as a JSON line: parses, and shows one telling member. */
static void every_record_can_be_shown_as_json(void **state) {
    (void)state;
    struct prediction_record prediction = sample_prediction();
    struct manifest_record manifest = sample_manifest();
    struct metrics_record metrics = sample_metrics();
    struct epoch_record epoch = sample_epoch();
    struct buffer records[6];
    memset(records, 0, sizeof records);
    ASSERT_STATUS(outbound_prediction(&prediction, OUTPUT_PROTOBUF, &records[0]), STATUS_OK);
    ASSERT_STATUS(outbound_manifest(&manifest, OUTPUT_PROTOBUF, &records[1]), STATUS_OK);
    ASSERT_STATUS(outbound_chunk(101, "f", 1, span_of("abc"), &records[2]), STATUS_OK);
    ASSERT_STATUS(outbound_metrics(&metrics, OUTPUT_PROTOBUF, &records[3]), STATUS_OK);
    ASSERT_STATUS(outbound_epoch(&epoch, &records[4]), STATUS_OK);
    ASSERT_STATUS(outbound_manifest(&manifest, OUTPUT_JSON, &records[5]), STATUS_OK);
    static const char *const roles[] = {"predictions", "snapshots", "snapshots",
                                        "metrics",     "ledger",    "snapshots"};
    static const char *const parts[] = {"\"timestamp_ms\":1700000000123",
                                        "\"base_model\":\"SmolLM2-135M\"",
                                        "\"data\":\"616263\"",
                                        "\"hit_1\":11.5",
                                        "\"partitions\":[4,300,1]",
                                        "\"restored_from\":77"};
    for (int i = 0; i < 6; i++) {
        struct buffer out = {0};
        struct error err;
        struct json_value *value = NULL;
        ASSERT_OK(outbound_to_json(roles[i], buffer_span(&records[i]), &out, &err), err);
        ASSERT_OK(json_parse(buffer_span(&out), &value, &err), err);
        json_free(value);
        ASSERT_STATUS(buffer_append(&out, "", 1), STATUS_OK);
        ASSERT_CONTAINS((const char *)out.data, parts[i]);
        buffer_free(&out);
        buffer_free(&records[i]);
    }
}

static void what_cannot_be_shown_says_why(void **state) {
    (void)state;
    struct buffer out = {0};
    struct error err;
    ASSERT_STATUS(outbound_to_json("ledger", span_of("xyz"), &out, &err), STATUS_MALFORMED);
    ASSERT_STATUS(outbound_to_json("weather", span_of("xyz"), &out, &err), STATUS_NOT_FOUND);
    ASSERT_CONTAINS(err.text, "weather");
    ASSERT_STATUS(outbound_to_json("ledger", span_of("{\"a\":"), &out, &err), STATUS_MALFORMED);
    assert_int_equal(out.size, 0);
    buffer_free(&out);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(prediction_is_what_the_schema_says),
        cmocka_unit_test(manifest_is_what_the_schema_says),
        cmocka_unit_test(metrics_and_chunks_are_what_the_schema_says),
        cmocka_unit_test(an_empty_record_has_only_what_is_always_there),
        cmocka_unit_test(the_ledger_record_reads_back_as_it_was),
        cmocka_unit_test(a_ledger_record_without_lists_reads_back),
        cmocka_unit_test(a_cut_ledger_record_is_refused),
        cmocka_unit_test(a_wrong_ledger_record_names_its_field),
        cmocka_unit_test(a_full_buffer_keeps_what_it_held),
        cmocka_unit_test(the_arena_that_is_too_small_is_no_fault_of_the_record),
        cmocka_unit_test(prediction_in_json_is_as_documented),
        cmocka_unit_test(every_record_can_be_shown_as_json),
        cmocka_unit_test(what_cannot_be_shown_says_why),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
