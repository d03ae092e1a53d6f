/* SPDX-License-Identifier: Apache-2.0
 *
 * epoch.h - the epoch in progress: what was consumed, which groups were cut, what will be
 * published.
 *
 *   record ─▶ runs [(topic, partition, lo, hi, crc)]     one a stretch of a partition
 *   group  ─▶ groups [(seq_hi, users, lm_users, fast_users)]
 *   output ─▶ one byte buffer + index: key, value, headers; in this order, ledger last
 *
 * Nothing here touches the stream or LMDB; the commit room (commit.h) does both.
 */
#ifndef DAEMON_EPOCH_H
#define DAEMON_EPOCH_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/bytes.h"
#include "base/status.h"
#include "base/stream.h"
#include "proto/outbound.h"

#define EPOCH_RUNS_MAX       8192
#define EPOCH_GROUPS_MAX     8192
#define EPOCH_ANNOUNCED_MAX  64
#define EPOCH_FORGOTTEN_MAX  192
#define EPOCH_FORGOTTEN_FULL 64 /* then it is closed at the next group: one more group fits */
#define EPOCH_CRASHED_MAX    64

struct epoch_output {
    enum stream_topic topic;
    int32_t partition;
    int64_t timestamp_ms;
    size_t key, key_size; /* offset in `bytes`, and size; key_size 0 = no key */
    size_t value, value_size;
    size_t header_name[STREAM_HEADERS_MAX]; /* offsets of NUL-terminated names */
    size_t header_value[STREAM_HEADERS_MAX], header_value_size[STREAM_HEADERS_MAX];
    int header_count;
};

struct epoch {
    struct epoch_run *runs; /* owns, EPOCH_RUNS_MAX */
    int run_count;
    struct epoch_group *groups; /* owns, EPOCH_GROUPS_MAX */
    int group_count;
    struct buffer bytes;          /* owns; of outputs */
    struct epoch_output *outputs; /* owns; grows */
    int output_count, output_capacity;
    uint64_t applied, duplicate, dead, filtered, other;
    uint64_t predictions, dead_letters, metrics_records;
    uint64_t records; /* consumed */
    uint64_t seq_lo;  /* seq_hi of the epoch before + 1 */
    struct epoch_version announced[EPOCH_ANNOUNCED_MAX];
    int announced_count;
    uint64_t forgotten[EPOCH_FORGOTTEN_MAX];
    int forgotten_count;
    struct position_record crashed[EPOCH_CRASHED_MAX]; /* given up; topics are settings' */
    int crashed_count;
};

MUST_CHECK enum status epoch_init(struct epoch *epoch, struct error *err);
void epoch_free(struct epoch *epoch);
void epoch_reset(struct epoch *epoch, uint64_t seq_lo);

/* Notes one consumed record. LIMIT: the epoch must be closed first (EPOCH_RUNS_MAX). */
MUST_CHECK enum status epoch_run_extend(struct epoch *epoch, const struct stream_record *record,
                                        struct error *err);
MUST_CHECK enum status epoch_group_add(struct epoch *epoch, const struct epoch_group *group,
                                       struct error *err);
/* True when little room is left: close soon. */
bool epoch_is_full(const struct epoch *epoch);

/* Starts an output: key and value are copied. */
MUST_CHECK enum status epoch_output_add(struct epoch *epoch, enum stream_topic topic,
                                        int32_t partition, int64_t timestamp_ms, struct span key,
                                        struct span value, struct error *err);
/* Adds a header to the output added last. LIMIT beyond STREAM_HEADERS_MAX. */
MUST_CHECK enum status epoch_output_header(struct epoch *epoch, const char *name, struct span value,
                                           struct error *err);
/* The output at index as the stream port takes it; headers has room for STREAM_HEADERS_MAX.
 * borrows: until the next add. */
void epoch_output_get(const struct epoch *epoch, int index, struct stream_header *headers,
                      struct stream_output *ret_output);

/* CRC-32C over key and value, as runs carry it. */
uint32_t epoch_record_crc(const struct stream_record *record);

#endif
