/* SPDX-License-Identifier: Apache-2.0
 *
 * core_state.h - where the core stands: everything an epoch advances that is not in a table of its
 * own. Kept in memory, written to META with each epoch, and rebuilt from there at start.
 *
 * META keys: "state" (fixed part, counters, rates), "positions/<n>" (200 a value), "pending/<n>"
 * (versions marked and not yet in force, with the input positions at their mark), "controls".
 */
#ifndef DAEMON_CORE_STATE_H
#define DAEMON_CORE_STATE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/hash.h"
#include "base/status.h"
#include "base/stream.h"
#include "storage/store.h"

#define FOLD_VERSION         2 /* changes when the same input would fold differently */
#define PENDING_VERSIONS_MAX 64
#define PENDING_CONTROLS_MAX 64
#define OWNER_BYTES          16u

/* A version that was marked and is not yet in force. */
struct pending_version {
    uint64_t number;
    uint64_t seq; /* C_v */
    bool announced;
    bool rejected;
    uint64_t rolled_back; /* the version whose weights it takes + 1; 0 = none */
};

/* A control record that waits for a batch end. */
struct pending_control {
    uint8_t mark; /* TRAINING_FORGET, TRAINING_ROLLBACK or TRAINING_VERSION */
    uint64_t argument;
};

struct live_sums {
    uint64_t count;
    double hit_1, hit_5, hit_10, ndcg_10, mrr;
};

struct core_counts {
    uint64_t applied, duplicate, dead, filtered, other;
};

struct core_rates {
    double lm_rate, eval_rate, eval_lm_rate, fast_share;
};

struct core_state {
    uint64_t epoch;                          /* of the last committed epoch record */
    uint64_t seq;                            /* last applied sequence number */
    uint8_t chain[SHA256_BYTES];             /* H */
    uint8_t input_digest[SHA256_BYTES];      /* D, chain 1 */
    uint8_t evaluation_digest[SHA256_BYTES]; /* D, chain 2 */
    bool evaluation_carried; /* a refolded group had no version: chain 2 is the ledger's,
                                             not recomputed, until an epoch of our own is closed */
    uint64_t in_force;       /* version that scores now */
    uint64_t version_next;   /* number the next mark gets */
    uint64_t batch_end;      /* seq of the last batch end */
    uint64_t batches;        /* batch ends since the last version mark */
    uint64_t version_seq;    /* C of the newest marked version */
    uint64_t metrics_seq;    /* seq of the last metrics record */
    /* of the settings that affect outputs, as last recorded */
    uint64_t settings_digest;
    struct core_counts counts; /* since the beginning */
    struct core_rates rates;
    struct live_sums live;
    int pending_count;
    struct pending_version pending[PENDING_VERSIONS_MAX]; /* in order of number */
    int control_count;
    struct pending_control controls[PENDING_CONTROLS_MAX];
    int position_count;
    struct stream_position *positions; /* owns; by topic, then partition */
    int first[STREAM_INPUT_COUNT];     /* index of each topic's partition 0 */
    int32_t partitions[STREAM_INPUT_COUNT];
};

/* Positions all -1. NO_MEMORY, LIMIT beyond STREAM_POSITIONS_MAX. */
MUST_CHECK enum status core_state_init(struct core_state *state,
                                       const int32_t partitions[STREAM_INPUT_COUNT],
                                       struct error *err);
void core_state_free(struct core_state *state);
/* dst is initialised with the same partitions. */
void core_state_copy(struct core_state *dst, const struct core_state *src);
struct stream_position *core_state_position(struct core_state *state, enum stream_topic topic,
                                            int32_t partition); /* NULL: no such partition */

/* NOT_FOUND: an empty state. CORRUPT names the key. */
MUST_CHECK enum status core_state_load(struct core_state *state, struct store_reader *reader,
                                       struct error *err);
MUST_CHECK enum status core_state_save(const struct core_state *state, struct stage *stage,
                                       struct error *err);
/* The live evaluation sums go to table SUMS too: they are part of the evaluation digest. */
MUST_CHECK enum status core_state_save_sums(const struct core_state *state, struct stage *stage,
                                            struct error *err);

#endif
