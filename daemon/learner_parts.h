/* SPDX-License-Identifier: Apache-2.0
 *
 * learner_parts.h - the inside of the learner's thread, shared by its rooms only: learner_thread.c
 * (loop, jobs), learner_open.c (what it owns), learner_keep.c (folders of versions and
 * checkpoints).
 */
#ifndef DAEMON_LEARNER_PARTS_H
#define DAEMON_LEARNER_PARTS_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/file.h"
#include "base/training_row.h"
#include "daemon/device_plan.h"
#include "daemon/learner_thread.h"
#include "model/golden_batch.h"
#include "storage/catalogue.h"
#include "storage/training_log.h"

#define DELIVERIES_MAX   80 /* more than the core ever has pending */
#define CHECKPOINTS_KEPT 2

enum learner_job { JOB_NONE, JOB_LOAD, JOB_SCORE };

struct learner_thread {
    /* set at start, then read-only */
    const struct settings *settings;
    struct shared *shared;
    struct store *store;
    char state_path[FILE_PATH_BYTES_MAX];
    pthread_t thread;
    bool thread_started;

    /* thread: learner */
    struct backend *be, *fast_be;
    struct checkpoint *checkpoint;
    struct base_model *base;
    struct tokenizer *tokenizer;
    struct prompt_template *template;
    struct peft_adapter *adapter; /* owns; what version 0 starts from, NULL: fresh */
    struct learner *learner;
    struct store_reader *reader; /* rows and titles of a batch */
    struct learner_catalogue catalogue;
    struct training_row *rows; /* owns, BATCH_EVENTS_MAX */
    struct learner_identity identity;
    bool profile_changed;    /* versions held were made on another numeric profile */
    bool profile_kept;       /* the file names this one */
    uint64_t version_obeyed; /* last version whose mark was obeyed, rejected ones too */
    int versions_since_checkpoint;
    bool in_batch; /* a job that comes now must leave the reader alone */
    uint64_t lm_rows, lm_tokens, lm_steps;
    struct golden_batch golden; /* figures of this device and base */
    uint64_t golden_step;       /* lm_steps at the last check */

    /* under lock */
    pthread_mutex_t lock;
    pthread_cond_t wake;   /* the learner sleeps on it */
    pthread_cond_t answer; /* others sleep on it */
    bool opened, failed, stopping;
    int64_t stop_budget_us;
    struct error failure;
    uint64_t reach;
    int64_t busy_us;    /* time spent on batches that are over */
    int64_t began_us;   /* when the one in work began; 0: none is */
    uint64_t live_from; /* rows up to here are replayed; UINT64_MAX before the claim */
    uint64_t seq;
    uint64_t trim_seq;
    uint64_t keep_from;
    struct learner_delivery deliveries[DELIVERIES_MAX];
    int delivery_count;
    enum learner_job job;
    bool job_done;
    enum status job_status;
    struct error job_error;
    uint64_t job_number;
    struct version *job_version;
    const struct score_request *job_requests;
    int job_count;
    float *job_logprobs;
};

/* learner_open.c */
MUST_CHECK enum status learner_parts_open(struct learner_thread *t, struct error *err);
/* Remembers the numeric profile, once the replay is over: until then versions held may be
 * another's. */
MUST_CHECK enum status learner_parts_keep_profile(struct learner_thread *t, struct error *err);
void learner_parts_close(struct learner_thread *t);

/* learner_golden.c */
/* Records the golden batch of a new device or base, else compares. DEVICE_LOST: it differs, twice.
 * Nothing without a language model. */
MUST_CHECK enum status learner_golden_open(struct learner_thread *t, struct error *err);
/* The same after a batch, every [device] golden_every steps. */
MUST_CHECK enum status learner_golden_step(struct learner_thread *t, struct error *err);

/* learner_jobs.c */
/* Does the job that waits, if any. Called with the lock free. */
void learner_serve_job(struct learner_thread *t);
/* Waits on a condition with the lock held; the caller looks again either way. */
void learner_wait_us(pthread_cond_t *condition, pthread_mutex_t *lock, int64_t us);

/* learner_keep.c */
/* Makes the version with this number from the learner's state, publishes its folder and returns it;
 * a folder that is there already is compared. */
MUST_CHECK enum status learner_keep_version(struct learner_thread *t, uint64_t number,
                                            struct version **ret_version, struct error *err);
MUST_CHECK enum status learner_keep_load(struct learner_thread *t, uint64_t number,
                                         struct version **ret_version, struct error *err);
/* Writes checkpoints/<seq>, then removes what nobody needs. */
MUST_CHECK enum status learner_keep_checkpoint(struct learner_thread *t, struct error *err);
/* Loads the newest checkpoint that can be read; none: the learner stays new. */
MUST_CHECK enum status learner_keep_restore(struct learner_thread *t, struct error *err);
/* Removes "*.tmp" left by a crash; makes the folders. */
MUST_CHECK enum status learner_keep_prepare(struct learner_thread *t, struct error *err);

#endif
