/* SPDX-License-Identifier: Apache-2.0
 *
 * shared.h - what the daemon's threads share: three rings, the version in force, figures to show,
 * and requests from operators. Everything else belongs to exactly one thread.
 *
 *   poll ──records ring──▶ core ──how far the log reaches──▶ learner
 *                           ▲  ◀── versions, progress ──────────┘  ◀── scoring jobs ── core
 *   http, control socket ───┘ operator requests (bounded, answered within a deadline)
 *
 * thread: any; every function locks for microseconds.
 */
#ifndef DAEMON_SHARED_H
#define DAEMON_SHARED_H

#include <stdbool.h>
#include <stdint.h>

#include "base/metrics.h"
#include "base/status.h"
#include "daemon/settings.h"
#include "model/learner.h"
#include "storage/store.h"

#define SHARED_STATE_TEXT_BYTES 256

/* A picture of the daemon for status, metrics page and STATUS=. Copied whole. */
struct shared_picture {
    char state
        [SHARED_STATE_TEXT_BYTES]; /* "running", "waiting for the broker ...", "disk full: ..." */
    bool ready;
    uint64_t epoch, seq;
    uint64_t applied, duplicate, dead, filtered, other, predictions;
    uint64_t version_in_force, version_newest;
    uint64_t learner_seq;
    int64_t lag;              /* records, -1 unknown */
    double events_per_second; /* over the last seconds */
    double lm_rate, fast_share, eval_lm_rate;
    uint64_t lm_rows, lm_tokens; /* trained so far by this process */
    uint64_t lm_steps;           /* optimiser steps of the language model, by this process */
    double lm_loss, sasrec_loss; /* of the last batch */
    double expert_weight[16];
    int experts;
    int items;
    uint64_t store_used_bytes, disk_free_bytes;
    /* live: was the item in the list last published for the user */
    uint64_t live_count;
    double live_hit_1, live_hit_5, live_hit_10, live_ndcg_10, live_mrr;
    struct eval_figure figures[FIGURES_MAX]; /* the learner's, as of its last batch */
    int figure_count;
    struct eval_pair pairs[8];
    int pair_count;
};

enum operator_command {
    OPERATOR_ROLLBACK,
    OPERATOR_FORGET,
    OPERATOR_PUBLISH_NOW,
    OPERATOR_HIDE,
    OPERATOR_SET
};

struct operator_request {
    enum operator_command command;
    uint64_t version;                        /* ROLLBACK */
    char user[257];                          /* FORGET */
    char item[257];                          /* HIDE */
    char key[128], value[CONFIG_TEXT_BYTES]; /* SET */
};

struct shared;

MUST_CHECK enum status shared_new(const struct settings *settings, struct metrics *metrics,
                                  struct shared **ret_shared, struct error *err);
void shared_free(struct shared *shared);
const struct settings *shared_settings(const struct shared *shared);
struct metrics *shared_metrics(const struct shared *shared);

/* The store of the shard, for readers of other threads; NULL before it is open. */
void shared_set_store(struct shared *shared, struct store *store);
struct store *shared_store(const struct shared *shared);
/* The same for one request of another thread, given back with shared_store_done at its end, readers
 * closed. shared_set_store waits until nobody has the old one, so set NULL before closing it. */
struct store *shared_store_use(struct shared *shared);
void shared_store_done(struct shared *shared);

/* The version in force. set takes a reference of its own (the caller keeps the caller's); what
 * shared_version returns the caller gives back with version_give. NULL before READY. */
void shared_set_version(struct shared *shared, struct version *version);
struct version *shared_version(struct shared *shared);

/* update: called with the picture under the lock. */
void shared_picture_update(struct shared *shared, void (*update)(void *, struct shared_picture *),
                           void *context);
void shared_picture_copy(struct shared *shared, struct shared_picture *ret_picture);

/* Operator requests become control decisions of the core at the next epoch. submit: AGAIN when
 * eight wait already. take (core): false when there is none. */
MUST_CHECK enum status shared_request_submit(struct shared *shared,
                                             const struct operator_request *request,
                                             struct error *err);
bool shared_request_take(struct shared *shared, struct operator_request *ret_request);

/* Heartbeats: each thread beats; the watchdog is fed only while all registered ones are fresh. */
enum shared_thread { THREAD_POLL, THREAD_CORE, THREAD_LEARNER, THREAD_HTTP };
#define SHARED_THREAD_COUNT 4
void shared_beat(struct shared *shared, enum shared_thread thread);
void shared_watch(struct shared *shared, enum shared_thread thread, bool on);
/* Age in microseconds of the oldest heartbeat among the watched threads. */
int64_t shared_oldest_beat_us(const struct shared *shared);

/* Stop: set by a signal or by a thread that failed; the first failure is kept. */
void shared_stop(struct shared *shared, enum status why, const struct error *err);
bool shared_stopping(const struct shared *shared);
/* STATUS_OK: asked to stop. Else the first failure with its text. */
MUST_CHECK enum status shared_stop_reason(struct shared *shared, struct error *ret_err);
/* SIGHUP arrived: core re-reads reloadable settings once. */
void shared_reload_request(struct shared *shared);
bool shared_reload_take(struct shared *shared);
/* True from the request until it is taken: RELOADING=1 becomes READY=1 then. */
bool shared_reload_pending(struct shared *shared);

#endif
