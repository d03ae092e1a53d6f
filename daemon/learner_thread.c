/* SPDX-License-Identifier: Apache-2.0
 *
 * learner_thread.c - the learner's loop: jobs of the core first, then the next batch of the log.
 *
 * Why it exists: training takes seconds and scoring must not wait that long; both need the device,
 * so one thread owns it and takes scoring jobs between micro-batches.
 * Rule: the loop is a function of the training log. A mark that was put on the last row after its
 * batch was learned (an idle stream) is looked at before the next row.
 * Failure: the first error stops the daemon; what was not made durable is made again by replay.
 * Thread: learner, except where said. */
#include "daemon/learner_thread.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/failpoint.h"
#include "base/log.h"
#include "base/memory.h"
#include "daemon/learner_parts.h"

#define IDLE_WAIT_US 100000
#define OPEN_WAIT_US 200000

/* ---- what the core asks ---- */

void learner_thread_reach(struct learner_thread *t, uint64_t seq) {
    pthread_mutex_lock(&t->lock);
    t->reach = seq;
    pthread_cond_signal(&t->wake);
    pthread_mutex_unlock(&t->lock);
}

void learner_thread_live_from(struct learner_thread *t, uint64_t seq) {
    pthread_mutex_lock(&t->lock);
    t->live_from = seq;
    pthread_mutex_unlock(&t->lock);
}

uint64_t learner_thread_seq(struct learner_thread *t) {
    pthread_mutex_lock(&t->lock);
    uint64_t seq = t->seq;
    pthread_mutex_unlock(&t->lock);
    return seq;
}

int64_t learner_thread_busy_us(struct learner_thread *t) {
    pthread_mutex_lock(&t->lock);
    int64_t busy_us = t->busy_us;
    if (t->began_us > 0) { busy_us += clock_monotonic_us() - t->began_us; }
    pthread_mutex_unlock(&t->lock);
    return busy_us;
}

static void note_busy(struct learner_thread *t, bool busy) {
    int64_t now_us = clock_monotonic_us();
    pthread_mutex_lock(&t->lock);
    if (!busy) { t->busy_us += now_us - t->began_us; }
    t->began_us = busy ? now_us : 0;
    pthread_mutex_unlock(&t->lock);
}

uint64_t learner_thread_trim_seq(struct learner_thread *t) {
    pthread_mutex_lock(&t->lock);
    uint64_t seq = t->trim_seq;
    pthread_mutex_unlock(&t->lock);
    return seq;
}

void learner_thread_keep_from(struct learner_thread *t, uint64_t number) {
    pthread_mutex_lock(&t->lock);
    t->keep_from = number;
    pthread_mutex_unlock(&t->lock);
}

bool learner_thread_take(struct learner_thread *t, struct learner_delivery *ret_delivery) {
    pthread_mutex_lock(&t->lock);
    bool some = t->delivery_count > 0;
    if (some) {
        *ret_delivery = t->deliveries[0];
        t->delivery_count--;
        memmove(t->deliveries, t->deliveries + 1,
                (size_t)t->delivery_count * sizeof(t->deliveries[0]));
        pthread_cond_signal(&t->wake);
    }
    pthread_mutex_unlock(&t->lock);
    return some;
}

/* Between micro-batches. */
static void beat(void *context) {
    struct learner_thread *t = context;
    shared_beat(t->shared, THREAD_LEARNER);
    learner_serve_job(t);
}

/* Waits for room: in strict mode the core stops at A_v, so the list drains. */
static void deliver(struct learner_thread *t, const struct learner_delivery *delivery) {
    pthread_mutex_lock(&t->lock);
    while (t->delivery_count == DELIVERIES_MAX && !t->stopping) {
        learner_wait_us(&t->wake, &t->lock, IDLE_WAIT_US);
        pthread_mutex_unlock(&t->lock);
        beat(t);
        pthread_mutex_lock(&t->lock);
    }
    if (t->delivery_count < DELIVERIES_MAX) {
        t->deliveries[t->delivery_count] = *delivery;
        t->delivery_count++;
    } else if (delivery->version != NULL) {
        version_give(delivery->version);
    }
    pthread_mutex_unlock(&t->lock);
}

/* ---- marks ---- */

/* Which folders are held is a matter of when they were trimmed; strict mode goes by numbers alone.
 * The version marked here may be held already (made before a kill), so one less than `keep` is
 * certain. */
static bool is_certainly_held(const struct learner_thread *t, uint64_t target) {
    uint64_t keep = (uint64_t)t->settings->publish_keep;
    return target + keep >= learner_version(t->learner) + 2;
}

void learner_thread_no_rollback(uint64_t target, char reason[LEARNER_REASON_BYTES]) {
    (void)snprintf(reason, LEARNER_REASON_BYTES, "no version %" PRIu64 " is held to go back to",
                   target); /* fits */
}

/* A reason: the version is rejected. */
static enum status roll_back(struct learner_thread *t, uint64_t target, char reason[128],
                             struct error *err) {
    /* A folder of a number not made yet may be there, from before a kill. */
    if (target > learner_version(t->learner) ||
        (t->settings->engine_strict && !is_certainly_held(t, target))) {
        learner_thread_no_rollback(target, reason);
        return STATUS_OK;
    }
    struct version *version;
    enum status status = learner_keep_load(t, target, &version, err);
    if (status == STATUS_NOT_FOUND) {
        learner_thread_no_rollback(target, reason);
        return STATUS_OK;
    }
    if (status != STATUS_OK) { return status; }
    status = learner_restore_version(t->learner, version, err);
    version_give(version);
    return status == STATUS_OK ? failpoint_pass(FAILPOINT_rolled_back, err) : status;
}

static void show_version(void *context, struct shared_picture *picture) {
    const struct learner_thread *t = context;
    picture->version_newest = learner_version(t->learner);
}

/* True while rows are learned that were in the log when the shard was claimed. */
static bool is_replaying(struct learner_thread *t) {
    pthread_mutex_lock(&t->lock);
    bool replaying = learner_seq(t->learner) <= t->live_from;
    pthread_mutex_unlock(&t->lock);
    return replaying;
}

/* A number is never given to two contents: on another numeric profile a version that is gone is not
 * made again (PROTOCOL.md, Checkpoint); strict mode, which would wait for it, stops. */
static enum status may_remake(struct learner_thread *t, uint64_t number, bool *ret_may,
                              struct error *err) {
    *ret_may = true;
    if (!t->profile_changed || !is_replaying(t)) { return STATUS_OK; }
    char path[FILE_PATH_BYTES_MAX];
    enum status status = learner_thread_version_path(t->state_path, number, path, err);
    if (status != STATUS_OK) { return status; }
    *ret_may = file_exists(path);
    if (*ret_may || !t->settings->engine_strict) { return STATUS_OK; }
    return error_set(err, STATUS_CONFIG,
                     "version %" PRIu64 " must be made again and the numeric profile is not the "
                     "one it was marked under: '%s'",
                     number, t->identity.numeric_profile);
}

static enum status make_version(struct learner_thread *t, const struct training_row *row,
                                struct error *err) {
    struct learner_delivery delivery = {.number = row->version};
    bool may;
    enum status status = may_remake(t, row->version, &may, err);
    if (status != STATUS_OK) { return status; }
    if ((row->marks & TRAINING_ROLLBACK) != 0) {
        status = roll_back(t, row->argument, delivery.reason, err);
        if (status != STATUS_OK) { return status; }
    }
    if (!may) { return STATUS_OK; }
    if (delivery.reason[0] == '\0') {
        status = golden_batch_version(t->learner, delivery.reason, err);
        if (status != STATUS_OK) { return status; }
    }
    if (delivery.reason[0] == '\0') {
        status = learner_keep_version(t, row->version, &delivery.version, err);
        if (status != STATUS_OK) { return status; }
    }
    deliver(t, &delivery);
    failpoint_mark(FAILPOINT_version_delivered);
    shared_picture_update(t->shared, show_version, t);
    t->versions_since_checkpoint++;
    bool replaying = is_replaying(t);
    bool rolled_back = (row->marks & TRAINING_ROLLBACK) != 0;
    if (!replaying && !rolled_back &&
        t->versions_since_checkpoint < (int)t->settings->publish_checkpoint_every) {
        return STATUS_OK;
    }
    return learner_keep_checkpoint(t, err);
}

/* What the marks of the row that ended a batch ask for, once. */
static enum status obey_marks(struct learner_thread *t, const struct training_row *row,
                              struct error *err) {
    if ((row->marks & TRAINING_FORGET) != 0) {
        learner_forget(t->learner, row->argument);
        failpoint_mark(FAILPOINT_forgotten);
    }
    bool made = row->version <= learner_version(t->learner) || row->version <= t->version_obeyed;
    if ((row->marks & TRAINING_VERSION) == 0 || made) { return STATUS_OK; }
    t->version_obeyed = row->version;
    return make_version(t, row, err);
}

/* ---- batches ---- */

/* Where the learner stands, also right after a checkpoint was loaded. */
static void show_learned(const struct learner_thread *t, struct shared_picture *picture) {
    picture->learner_seq = learner_seq(t->learner);
    picture->version_newest = learner_version(t->learner);
    picture->figure_count = learner_figures(t->learner, picture->figures, FIGURES_MAX);
    picture->pair_count = learner_pairs(t->learner, picture->pairs,
                                        (int)(sizeof(picture->pairs) / sizeof(picture->pairs[0])));
}

static void show_opened(void *context, struct shared_picture *picture) {
    show_learned(context, picture);
}

static void show_batch(void *context, struct shared_picture *picture) {
    const struct learner_thread *t = ((const void **)context)[0];
    const struct batch_stats *stats = ((const void **)context)[1];
    show_learned(t, picture);
    picture->lm_rows = t->lm_rows;
    picture->lm_tokens = t->lm_tokens;
    picture->lm_steps = t->lm_steps;
    picture->sasrec_loss = stats->sasrec.loss;
    if (stats->lm_rows > 0) {
        picture->lm_loss = stats->lm.item_loss + stats->lm.title_loss;
        picture->experts = (int)t->settings->ilora_experts;
        memcpy(picture->expert_weight, stats->lm.expert_weight, sizeof(picture->expert_weight));
    }
}

/* Reads the next whole batch; *ret_count 0 when the log does not hold one yet. */
static enum status read_batch(struct learner_thread *t, uint64_t reach, int *ret_count,
                              struct error *err) {
    uint64_t first = learner_seq(t->learner) + 1;
    *ret_count = 0;
    if (first > reach) { return STATUS_OK; }
    uint64_t last = first + BATCH_EVENTS_MAX - 1;
    if (last > reach) { last = reach; }
    int count = 0;
    enum status status =
        training_log_read(t->reader, first, last, t->rows, BATCH_EVENTS_MAX, &count, err);
    if (status != STATUS_OK) { return status; }
    for (int i = 0; i < count; i++) {
        if ((t->rows[i].marks & TRAINING_BATCH_END) == 0) { continue; }
        *ret_count = i + 1;
        return STATUS_OK;
    }
    return STATUS_OK;
}

/* Marks that came after the batch was learned. */
static enum status late_marks(struct learner_thread *t, struct error *err) {
    uint64_t seq = learner_seq(t->learner);
    if (seq == 0) { return STATUS_OK; }
    int count = 0;
    enum status status = training_log_read(t->reader, seq, seq, t->rows, 1, &count, err);
    if (status != STATUS_OK || count == 0) { return status; }
    return obey_marks(t, &t->rows[0], err);
}

/* Learns one batch if there is one; *ret_idle true when there was none. */
static enum status learn(struct learner_thread *t, uint64_t reach, bool *ret_idle,
                         struct error *err) {
    *ret_idle = true;
    enum status status = store_reader_renew(t->reader, err);
    if (status != STATUS_OK) { return status; }
    status = late_marks(t, err);
    if (status != STATUS_OK) { return status; }
    int count = 0;
    status = read_batch(t, reach, &count, err);
    if (status == STATUS_OK && count > 0) { status = failpoint_pass(FAILPOINT_batch_read, err); }
    if (status != STATUS_OK || count == 0) { return status; }

    note_busy(t, true);
    struct batch_stats stats = {0};
    t->in_batch = true;
    status = learner_batch(t->learner, t->rows, count, beat, t, &stats, err);
    t->in_batch = false;
    if (status == STATUS_OK) { status = failpoint_pass(FAILPOINT_batch_learned, err); }
    if (status != STATUS_OK) {
        return error_wrap(err, "learning rows %" PRIu64 " to %" PRIu64, t->rows[0].seq,
                          t->rows[count - 1].seq);
    }
    t->lm_rows += (uint64_t)stats.lm_rows;
    t->lm_steps += stats.lm_rows > 0 && !stats.lm.discarded;
    t->lm_tokens += (uint64_t)stats.lm_tokens;
    status = learner_golden_step(t, err);
    if (status == STATUS_OK) { status = obey_marks(t, &t->rows[count - 1], err); }
    if (status != STATUS_OK) { return status; }
    note_busy(t, false);
    const void *context[2] = {t, &stats};
    shared_picture_update(t->shared, show_batch, context);
    pthread_mutex_lock(&t->lock);
    t->seq = learner_seq(t->learner);
    pthread_mutex_unlock(&t->lock);
    *ret_idle = false;
    return STATUS_OK;
}

static enum status loop(struct learner_thread *t, struct error *err) {
    for (;;) {
        shared_beat(t->shared, THREAD_LEARNER);
        learner_serve_job(t);
        pthread_mutex_lock(&t->lock);
        bool stopping = t->stopping;
        uint64_t reach = t->reach;
        pthread_mutex_unlock(&t->lock);
        if (stopping) { return STATUS_OK; }
        bool idle;
        enum status status = learn(t, reach, &idle, err);
        if (status != STATUS_OK) { return status; }
        if (!idle) { continue; }
        if (learner_seq(t->learner) > 0 && !is_replaying(t)) {
            status = learner_parts_keep_profile(t, err);
            if (status != STATUS_OK) { return status; }
        }
        store_reader_reset(t->reader);
        pthread_mutex_lock(&t->lock);
        if (!t->stopping && t->reach == reach && (t->job == JOB_NONE || t->job_done)) {
            learner_wait_us(&t->wake, &t->lock, IDLE_WAIT_US);
        }
        pthread_mutex_unlock(&t->lock);
    }
}

/* ---- life ---- */

static void fail(struct learner_thread *t, enum status status, const struct error *err) {
    pthread_mutex_lock(&t->lock);
    t->failed = true;
    t->failure = *err;
    pthread_cond_broadcast(&t->answer);
    pthread_mutex_unlock(&t->lock);
    shared_stop(t->shared, status, err);
}

/* Version 0 is the state before anything was learned; it is written before epoch 1. */
static enum status first_version(struct learner_thread *t, struct error *err) {
    if (learner_seq(t->learner) > 0) { return STATUS_OK; }
    struct version *version;
    enum status status = store_reader_renew(t->reader, err);
    if (status != STATUS_OK) { return status; }
    status = learner_keep_version(t, 0, &version, err);
    if (status == STATUS_OK) { version_give(version); }
    return status;
}

static void *run(void *context) {
    struct learner_thread *t = context;
    struct error err = {0};
    enum status status = learner_parts_open(t, &err);
    if (status == STATUS_OK) { status = first_version(t, &err); }
    if (status != STATUS_OK) {
        fail(t, status, &err);
        return NULL;
    }
    pthread_mutex_lock(&t->lock);
    t->opened = true;
    t->seq = learner_seq(t->learner);
    pthread_cond_broadcast(&t->answer);
    pthread_mutex_unlock(&t->lock);

    shared_picture_update(t->shared, show_opened, t);
    shared_watch(t->shared, THREAD_LEARNER, true);
    status = loop(t, &err);
    if (status != STATUS_OK) { fail(t, status, &err); }
    shared_watch(t->shared, THREAD_LEARNER, false);
    if (status == STATUS_OK && t->stop_budget_us > 0 && learner_seq(t->learner) > 0 &&
        learner_keep_checkpoint(t, &err) != STATUS_OK) {
        LOG_DEBUG("no checkpoint at the end: %s; the next start replays", err.text);
    }
    failpoint_mark(FAILPOINT_stop_checkpointed);
    return NULL;
}

enum status learner_thread_start(const struct settings *settings, struct shared *shared,
                                 struct store *store, const char *state_path,
                                 struct learner_thread **ret_thread, struct error *err) {
    struct learner_thread *t = memory_take_zeroed(1, sizeof(*t));
    if (t == NULL) { return error_set(err, STATUS_NO_MEMORY, "the learner's thread"); }
    t->settings = settings;
    t->shared = shared;
    t->store = store;
    (void)snprintf(t->state_path, sizeof(t->state_path), "%s", state_path); /* a checked path */
    pthread_condattr_t attributes;
    (void)pthread_condattr_init(&attributes);                      /* cannot fail here */
    (void)pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC); /* a clock glibc has */
    (void)pthread_mutex_init(&t->lock, NULL);                      /* cannot fail */
    (void)pthread_cond_init(&t->wake, &attributes);                /* cannot fail */
    (void)pthread_cond_init(&t->answer, &attributes);              /* cannot fail */
    (void)pthread_condattr_destroy(&attributes);                   /* cannot fail */

    t->live_from = UINT64_MAX;
    struct store_reader *reader;
    enum status status = store_reader_open(store, &reader, err);
    if (status == STATUS_OK) {
        uint64_t first;
        status = training_log_bounds(reader, &first, &t->reach, err);
        store_reader_close(reader);
        if (status == STATUS_NOT_FOUND) { status = STATUS_OK; }
    }
    if (status == STATUS_OK) {
        int code = pthread_create(&t->thread, NULL, run, t);
        if (code != 0) { status = error_errno(err, code, "starting the learner's thread"); }
        t->thread_started = code == 0;
    }
    if (status != STATUS_OK) {
        learner_thread_stop(t, 0);
        return status;
    }
    *ret_thread = t;
    return STATUS_OK;
}

enum status learner_thread_wait_open(struct learner_thread *t, bool (*wait)(void *),
                                     void *wait_context, struct learner_identity *ret_identity,
                                     struct error *err) {
    enum status status = STATUS_OK;
    pthread_mutex_lock(&t->lock);
    while (!t->opened && !t->failed && status == STATUS_OK) {
        learner_wait_us(&t->answer, &t->lock, OPEN_WAIT_US);
        pthread_mutex_unlock(&t->lock);
        if (!wait(wait_context)) { status = error_set(err, STATUS_AGAIN, "stopped while opening"); }
        pthread_mutex_lock(&t->lock);
    }
    if (t->failed) {
        *err = t->failure;
        status = t->failure.code;
    }
    if (status == STATUS_OK) { *ret_identity = t->identity; }
    pthread_mutex_unlock(&t->lock);
    return status;
}

void learner_thread_stop(struct learner_thread *t, int64_t budget_us) {
    if (t == NULL) { return; }
    if (t->thread_started) {
        pthread_mutex_lock(&t->lock);
        t->stopping = true;
        t->stop_budget_us = budget_us;
        pthread_cond_broadcast(&t->wake);
        pthread_cond_broadcast(&t->answer);
        pthread_mutex_unlock(&t->lock);
        (void)pthread_join(t->thread, NULL); /* cannot fail: it was started and not joined */
    }
    for (int i = 0; i < t->delivery_count; i++) {
        if (t->deliveries[i].version != NULL) { version_give(t->deliveries[i].version); }
    }
    learner_parts_close(t);
    (void)pthread_cond_destroy(&t->wake);   /* nobody waits any more */
    (void)pthread_cond_destroy(&t->answer); /* nobody waits any more */
    (void)pthread_mutex_destroy(&t->lock);  /* free */
    memory_free(t);
}
