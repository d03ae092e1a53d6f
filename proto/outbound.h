/* SPDX-License-Identifier: Apache-2.0
 *
 * outbound.h - plain structs -> the bytes of what is published, and the ledger's records back.
 *
 * Each function appends one canonical record to a buffer; the same struct always gives the same
 * bytes. protobuf-c stays inside proto/.
 */
#ifndef PROTO_OUTBOUND_H
#define PROTO_OUTBOUND_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/bytes.h"
#include "base/hash.h"
#include "base/status.h"

#define SNAPSHOT_CHUNK_BYTES_MAX 900000u /* of a file's data in one record */

enum output_format { OUTPUT_PROTOBUF, OUTPUT_JSON };

struct position_record {
    struct span topic; /* the topic's name */
    int32_t partition;
    int64_t offset;
};

struct predicted_item {
    struct span item;
    float score; /* probability over the list's candidates */
    const char *source;
};

struct prediction_record {
    struct span user;
    const struct predicted_item *items; /* best first; ranks are 1.. */
    int item_count;
    uint64_t model_version;
    const char *tier; /* "ilora", "fast", "popular" */
    uint64_t seq;
    struct position_record event;
    int64_t timestamp_ms;
    uint32_t history_length;
};

struct figure {
    char model[24];
    char kind[16];  /* live, candidates, catalogue */
    char slice[24]; /* all, unseen, ... */
    uint64_t count;
    double hit_1, hit_5, hit_10, ndcg_10, mrr, log_loss; /* sums over count events */
};

struct snapshot_file {
    char name[64];
    uint64_t size; /* bytes */
    uint8_t sha256[SHA256_BYTES];
    uint32_t chunk_count;
};

struct manifest_record {
    uint64_t version, parent;
    uint32_t shard;
    uint64_t seq_lo, seq_hi;
    const struct position_record *covered;
    int covered_count;
    uint64_t rows_trained, rows_unsampled, rows_quarantined, rows_excluded;
    const struct snapshot_file *files;
    int file_count;
    const struct figure *figures;
    int figure_count;
    struct span numeric_profile;
    struct span base_model;
    uint8_t base_model_sha256[SHA256_BYTES];
    bool rejected;
    struct span reason;
    uint64_t restored_from;
};

struct metrics_record {
    uint32_t shard;
    uint64_t seq, model_version, applied, duplicate, dead, filtered;
    const struct figure *figures;
    int figure_count;
};

struct epoch_run {
    uint32_t topic;
    int32_t partition;
    int64_t lo, hi;
    uint32_t crc;
    uint32_t records;
};

struct epoch_group {
    uint64_t seq_hi;
    uint32_t users, lm_users, fast_users;
};

struct epoch_version {
    uint64_t version, seq;
    uint8_t digest[SHA256_BYTES];
    bool rejected;
};

struct epoch_setting {
    struct span key, value;
};

struct epoch_decisions {
    bool batch_cut, version_mark, rollback, claim;
    uint64_t in_force;
    uint64_t rollback_version;
    double lm_rate, eval_rate, eval_lm_rate, fast_share;
    struct epoch_version *announced;
    int announced_count;
    uint64_t *forgotten; /* keyed hashes of user ids */
    int forgotten_count;
    struct position_record *crashed; /* records given up after three crashes */
    int crashed_count;
};

/* The ledger's record. Pointers borrow from the caller (encode) or from the arena (decode). */
struct epoch_record {
    uint32_t shard;
    uint64_t epoch;
    uint8_t owner[16];
    uint8_t previous[SHA256_BYTES];
    struct epoch_run *runs;
    int run_count;
    uint64_t seq_lo, seq_hi;
    uint64_t applied, duplicate, dead, filtered, other;
    struct epoch_group *groups;
    int group_count;
    struct epoch_decisions decisions;
    uint8_t input_digest[SHA256_BYTES], evaluation_digest[SHA256_BYTES];
    uint32_t fold_version;
    struct epoch_setting *settings;
    int setting_count;
    struct position_record *start;
    int start_count;
    uint8_t base_model_sha256[SHA256_BYTES]; /* all zero: absent */
    uint32_t *partitions;
    int partition_count;
    struct span numeric_profile;
    uint64_t predictions, dead_letters, metrics_records;
};

/* All append to out; LIMIT or NO_MEMORY on failure, out then holds what it held before. */
MUST_CHECK enum status outbound_prediction(const struct prediction_record *record,
                                           enum output_format format, struct buffer *out);
MUST_CHECK enum status outbound_manifest(const struct manifest_record *record,
                                         enum output_format format, struct buffer *out);
MUST_CHECK enum status outbound_chunk(uint64_t version, const char *file, uint32_t index,
                                      struct span data, struct buffer *out);
MUST_CHECK enum status outbound_metrics(const struct metrics_record *record,
                                        enum output_format format, struct buffer *out);
MUST_CHECK enum status outbound_epoch(const struct epoch_record *record, struct buffer *out);

/* Parses a ledger record; everything it points to is taken from arena (chained or large enough).
 * MALFORMED names the field. */
MUST_CHECK enum status outbound_epoch_read(struct span bytes, struct arena *arena,
                                           struct epoch_record *ret_record, struct error *err);
/* One ledger, prediction, snapshot, chunk or metrics record as a JSON line (iloractl consume). */
MUST_CHECK enum status outbound_to_json(const char *topic_role, struct span bytes,
                                        struct buffer *out, struct error *err);

#endif
