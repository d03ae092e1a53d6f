/* SPDX-License-Identifier: Apache-2.0
 *
 * outbound_samples.h - one full record of each kind, shared by the C test and the golden writer.
 *
 * Every field holds a value that no other field holds, so that a swapped number shows.
 */
#ifndef TESTS_PROTO_OUTBOUND_SAMPLES_H
#define TESTS_PROTO_OUTBOUND_SAMPLES_H

#include <string.h>

#include "proto/outbound.h"

static inline void sample_bytes(uint8_t *bytes, size_t size, uint8_t first) {
    for (size_t i = 0; i < size; i++) {
        bytes[i] = (uint8_t)(first + i);
    }
}

static inline struct prediction_record sample_prediction(void) {
    static struct predicted_item items[3];
    items[0] = (struct predicted_item){span_of("item-9"), 0.5f, "item_head"};
    items[1] = (struct predicted_item){span_of("\xc3\xa9t\xc3\xa9"), 0.25f, "sasrec"};
    items[2] = (struct predicted_item){span_of("item-7"), 0.0f, NULL};
    return (struct prediction_record){
        .user = span_of("user-1"),
        .items = items,
        .item_count = 3,
        .model_version = 41,
        .tier = "ilora",
        .seq = 1234567,
        .event = {span_of("ilorad.events"), 3, INT64_C(9876543210)},
        .timestamp_ms = INT64_C(1700000000123),
        .history_length = 120,
    };
}

static inline const struct figure *sample_figures(void) {
    static const struct figure figures[2] = {
        {"sasrec", "live", "all", 1001, 11.5, 12.5, 13.5, 14.5, 15.5, 16.5},
        {"ilora+fast", "catalogue", "history_3_9", 1002, 21.5, 22.5, 23.5, 24.5, 25.5, -26.5},
    };
    return figures;
}

static inline struct manifest_record sample_manifest(void) {
    static struct position_record covered[2];
    static struct snapshot_file files[1];
    covered[0] = (struct position_record){span_of("ilorad.events"), 0, 501};
    covered[1] = (struct position_record){span_of("ilorad.items"), 1, 502};
    memset(files, 0, sizeof files);
    memcpy(files[0].name, "adapter_model.safetensors", 26);
    files[0].size = 123456789;
    sample_bytes(files[0].sha256, SHA256_BYTES, 7);
    files[0].chunk_count = 138;
    struct manifest_record record = {
        .version = 101,
        .parent = 100,
        .shard = 2,
        .seq_lo = 1025,
        .seq_hi = 3072,
        .covered = covered,
        .covered_count = 2,
        .rows_trained = 31,
        .rows_unsampled = 32,
        .rows_quarantined = 33,
        .rows_excluded = 34,
        .files = files,
        .file_count = 1,
        .figures = sample_figures(),
        .figure_count = 2,
        .numeric_profile = span_of("cpu avx2 threads=2"),
        .base_model = span_of("SmolLM2-135M"),
        .rejected = true,
        .reason = span_of("golden batch"),
        .restored_from = 77,
    };
    sample_bytes(record.base_model_sha256, SHA256_BYTES, 60);
    return record;
}

static inline struct metrics_record sample_metrics(void) {
    return (struct metrics_record){.shard = 1,
                                   .seq = 2001,
                                   .model_version = 2002,
                                   .applied = 2003,
                                   .duplicate = 2004,
                                   .dead = 2005,
                                   .filtered = 2006,
                                   .figures = sample_figures(),
                                   .figure_count = 2};
}

static inline struct epoch_record sample_epoch(void) {
    static struct epoch_run runs[2] = {{0, 3, 100, 355, 0xdeadbeefu, 250}, {2, 0, 7, 7, 5, 1}};
    static struct epoch_group groups[2] = {{1064, 60, 20, 55}, {1100, 30, 0, 30}};
    static struct epoch_version announced[2];
    static uint64_t forgotten[2] = {UINT64_C(0x8877665544332211), 1};
    static struct epoch_setting settings[2];
    static struct position_record start[1], crashed[1];
    static uint32_t partitions[3] = {4, 300, 1};
    announced[0] = (struct epoch_version){.version = 8, .seq = 900};
    announced[1] = (struct epoch_version){.version = 9, .seq = 950, .rejected = true};
    sample_bytes(announced[0].digest, SHA256_BYTES, 1);
    sample_bytes(announced[1].digest, SHA256_BYTES, 2);
    settings[0] = (struct epoch_setting){span_of("train.replay"), span_of("0.25")};
    settings[1] = (struct epoch_setting){span_of("events.field.title"), span_make(NULL, 0)};
    start[0] = (struct position_record){span_of("ilorad.events"), 3, 99};
    crashed[0] = (struct position_record){span_of("ilorad.events"), 3, 120};
    struct epoch_record record = {
        .shard = 6,
        .epoch = 5001,
        .runs = runs,
        .run_count = 2,
        .seq_lo = 1001,
        .seq_hi = 1100,
        .applied = 100,
        .duplicate = 90,
        .dead = 40,
        .filtered = 20,
        .other = 1,
        .groups = groups,
        .group_count = 2,
        .decisions = {.batch_cut = true,
                      .version_mark = true,
                      .rollback = true,
                      .claim = true,
                      .in_force = 7,
                      .rollback_version = 3,
                      .lm_rate = 0.125,
                      .eval_rate = 0.1,
                      .eval_lm_rate = 0.01,
                      .fast_share = 0.75,
                      .announced = announced,
                      .announced_count = 2,
                      .forgotten = forgotten,
                      .forgotten_count = 2,
                      .crashed = crashed,
                      .crashed_count = 1},
        .fold_version = 12,
        .settings = settings,
        .setting_count = 2,
        .start = start,
        .start_count = 1,
        .partitions = partitions,
        .partition_count = 3,
        .numeric_profile = span_of("cpu"),
        .predictions = 91,
        .dead_letters = 92,
        .metrics_records = 93,
    };
    sample_bytes(record.owner, sizeof record.owner, 200);
    sample_bytes(record.previous, SHA256_BYTES, 3);
    sample_bytes(record.input_digest, SHA256_BYTES, 4);
    sample_bytes(record.evaluation_digest, SHA256_BYTES, 5);
    sample_bytes(record.base_model_sha256, SHA256_BYTES, 6);
    return record;
}

#endif
