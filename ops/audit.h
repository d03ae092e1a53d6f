/* SPDX-License-Identifier: Apache-2.0
 *
 * audit.h - the state of one audit, shared by its two halves: the ledger and the topics it speaks
 * of.
 */
#ifndef OPS_AUDIT_H
#define OPS_AUDIT_H

#include "base/arena.h"
#include "base/hash.h"
#include "ops/stream_access.h"
#include "proto/outbound.h"

#define AUDIT_PROBLEMS_SHOWN 20

/* One run of the ledger, and what the input topic says of it. */
struct audit_run {
    uint32_t topic;
    int32_t partition;
    int64_t lo, hi;
    uint32_t crc, records;
    uint32_t seen;     /* records found in [lo, hi] */
    uint32_t last_crc; /* of the one found last */
};

struct audit_version {
    uint64_t number;
    bool rejected;
    uint32_t manifests; /* records seen on the snapshots topic */
    uint32_t chunks, chunks_expected;
};

/* A set of 64-bit hashes; 0 is never a member. */
struct hash_set {
    uint64_t *slots; /* owns: (capacity), a power of two */
    size_t capacity, count;
};

struct audit {
    const struct settings *settings; /* borrows: until the end */
    struct stream *stream;           /* borrows: until the end */
    struct arena arena;              /* one record's */
    struct buffer text;              /* one record as JSON */
    /* ledger */
    uint64_t epochs, first_epoch, last_epoch;
    bool ledger_trimmed;
    uint8_t chain[SHA256_BYTES];
    uint64_t seq; /* last */
    uint64_t applied, duplicate, dead, filtered, other;
    uint64_t predictions, dead_letters, metrics_records;
    uint64_t takeovers;
    uint8_t owner[16];
    struct audit_run *runs; /* owns; in order of the ledger, then sorted */
    size_t run_count, run_capacity;
    struct audit_version *versions; /* owns */
    size_t version_count, version_capacity;
    struct position_record *start; /* owns; of epoch 0 */
    int start_count;
    /* topics */
    uint64_t input_records, input_trimmed, input_waiting;
    uint64_t predictions_seen, dead_letters_seen, metrics_seen, manifests_seen;
    bool predictions_trimmed, dead_letters_trimmed, metrics_trimmed, snapshots_trimmed;
    struct hash_set ids;
    /* verdict */
    uint64_t problems;
    bool quiet; /* problems are counted, not printed */
};

/* Counts a contradiction and prints the first few. */
void audit_problem(struct audit *audit, const char *format, ...) PRINTF_LIKE(2, 3);
struct audit_version *audit_version_find(struct audit *audit, uint64_t number);
/* audit_ledger.c: the chain, numbering and counts of the shard's ledger partition. */
MUST_CHECK enum status audit_ledger(struct audit *audit, struct error *err);
/* audit_topics.c: input against the runs; outputs once each, counted, of existing versions. */
MUST_CHECK enum status audit_input(struct audit *audit, struct error *err);
MUST_CHECK enum status audit_outputs(struct audit *audit, struct error *err);

#endif
