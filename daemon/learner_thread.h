/* SPDX-License-Identifier: Apache-2.0
 *
 * learner_thread.h - the thread that owns the device: learns batches from the training log, makes
 * versions and checkpoints, and scores for the core between them.
 *
 *   core ──reach(seq)──▶ ┌──────────────────────────────┐ ──deliveries (versions)──▶ core
 *   core ──score job───▶ │ jobs first, then one batch,   │
 *   core ──load job────▶ │ between micro-batches jobs    │ ──folders──▶ versions/ checkpoints/
 *                        └──────────────────────────────┘
 *
 * Replay after a restart is the same loop, from the newest checkpoint. A version made again must
 * have the digest of the folder held (same numeric profile), else CORRUPT in strict mode, and a
 * warning in recorded mode (the folder held stays what it was).
 */
#ifndef DAEMON_LEARNER_THREAD_H
#define DAEMON_LEARNER_THREAD_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "daemon/settings.h"
#include "daemon/shared.h"
#include "model/learner.h"
#include "storage/store.h"

struct learner_thread;

/* What others need to know once base model and learner are there. */
struct learner_identity {
    char numeric_profile[512];
    char base_model[256];
    uint8_t base_model_sha256[SHA256_BYTES]; /* zero without a base model */
    bool has_lm;
};

struct learner_delivery {
    uint64_t number;
    struct version *version; /* one reference, taker's; NULL: rejected */
    char reason[128];        /* rejected: why */
};

/* Starts the thread; it opens backend, base model and learner, makes version 0 when it is not there
 * and loads the newest checkpoint. state_path: folder with versions/ and checkpoints/. */
MUST_CHECK enum status learner_thread_start(const struct settings *settings, struct shared *shared,
                                            struct store *store, const char *state_path,
                                            struct learner_thread **ret_thread, struct error *err);
/* Waits until it is open (or failed: its error). wait is called at least once a second. */
MUST_CHECK enum status learner_thread_wait_open(struct learner_thread *thread, bool (*wait)(void *),
                                                void *wait_context,
                                                struct learner_identity *ret_identity,
                                                struct error *err);
/* Ends it: the batch in work is finished, then a checkpoint is written if budget_us allows. */
void learner_thread_stop(struct learner_thread *thread, int64_t budget_us);

/* The training log is in LMDB up to seq. */
void learner_thread_reach(struct learner_thread *thread, uint64_t seq);
/* The start procedure is over: rows up to seq are replayed, later ones are new. */
void learner_thread_live_from(struct learner_thread *thread, uint64_t seq);
uint64_t learner_thread_seq(struct learner_thread *thread); /* last row learned */
/* Time it has spent on batches so far, the one in work included. */
int64_t learner_thread_busy_us(struct learner_thread *thread);
/* Rows with a smaller seq are needed by no checkpoint kept; 0 = unknown. */
uint64_t learner_thread_trim_seq(struct learner_thread *thread);
/* Versions below this number are needed by nobody but checkpoints. */
void learner_thread_keep_from(struct learner_thread *thread, uint64_t number);
/* The next delivery in order of number, if there is one. */
bool learner_thread_take(struct learner_thread *thread, struct learner_delivery *ret_delivery);

/* Both wait for the thread to do the job (between micro-batches at the latest). AGAIN: it is
 * stopping. wait as above; returning false gives up. */
MUST_CHECK enum status learner_thread_load(struct learner_thread *thread, uint64_t number,
                                           bool (*wait)(void *), void *wait_context,
                                           struct version **ret_version, struct error *err);
MUST_CHECK enum status learner_thread_score(struct learner_thread *thread, struct version *version,
                                            const struct score_request *requests, int count,
                                            bool (*wait)(void *), void *wait_context,
                                            float *ret_logprobs, struct error *err);

/* Why a rollback's version is announced as rejected: the same words from whoever finds out, the
 * learner or, after a restart, the core. */
#define LEARNER_REASON_BYTES 128
void learner_thread_no_rollback(uint64_t target, char reason[LEARNER_REASON_BYTES]);

/* "<state_path>/versions/<number>" */
MUST_CHECK enum status learner_thread_version_path(const char *state_path, uint64_t number,
                                                   char *path, struct error *err);

#endif
