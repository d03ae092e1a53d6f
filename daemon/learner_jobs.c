/* SPDX-License-Identifier: Apache-2.0
 *
 * learner_jobs.c - what the core asks of the device's owner: load a version, score under one.
 *
 * Why it exists: a prediction waits for its score, training does not; so the learner looks here
 * between micro-batches. One job at a time, the core waits for it.
 * Failure: the job's own status; AGAIN when the learner stops.
 * Thread: learner serves, core asks. */
#include <assert.h>
#include <string.h>
#include <time.h>

#include "daemon/learner_parts.h"

#define ANSWER_WAIT_US 200000

void learner_wait_us(pthread_cond_t *condition, pthread_mutex_t *lock, int64_t us) {
    struct timespec until;
    (void)clock_gettime(CLOCK_MONOTONIC, &until); /* cannot fail with these arguments */
    int64_t ns = until.tv_nsec + us * 1000;
    until.tv_sec += ns / 1000000000;
    until.tv_nsec = ns % 1000000000;
    (void)pthread_cond_timedwait(condition, lock, &until); /* the caller looks again either way */
}

/* Between batches the reader is at rest; within one it must stay where it is. */
static enum status load_version(struct learner_thread *t, uint64_t number,
                                struct version **ret_version, struct error *err) {
    if (!t->in_batch) {
        enum status status = store_reader_renew(t->reader, err);
        if (status != STATUS_OK) { return status; }
    }
    return learner_keep_load(t, number, ret_version, err);
}

/* Does the job that waits, if any. Called with the lock free. */
void learner_serve_job(struct learner_thread *t) {
    pthread_mutex_lock(&t->lock);
    enum learner_job job = t->job_done ? JOB_NONE : t->job;
    pthread_mutex_unlock(&t->lock);
    if (job == JOB_NONE) { return; }

    struct error err = {0};
    enum status status;
    struct version *version = NULL;
    if (job == JOB_LOAD) {
        status = load_version(t, t->job_number, &version, &err);
    } else {
        status = learner_score_items(t->learner, t->job_version, t->job_requests, t->job_count,
                                     t->job_logprobs, &err);
    }
    pthread_mutex_lock(&t->lock);
    if (job == JOB_LOAD) { t->job_version = version; }
    t->job_status = status;
    t->job_error = err;
    t->job_done = true;
    pthread_cond_broadcast(&t->answer);
    pthread_mutex_unlock(&t->lock);
}

/* thread: core. Waits for the job it has set; lock held on entry and exit. */
static enum status await_job(struct learner_thread *t, bool (*wait)(void *), void *wait_context,
                             struct error *err) {
    pthread_cond_signal(&t->wake);
    while (!t->job_done && !t->failed && !t->stopping) {
        learner_wait_us(&t->answer, &t->lock, ANSWER_WAIT_US);
        pthread_mutex_unlock(&t->lock);
        bool go_on = wait(wait_context);
        pthread_mutex_lock(&t->lock);
        /* The learner may be reading the request: it must be left in place until it is done. */
        if (!go_on && t->job == JOB_NONE) { break; }
    }
    if (!t->job_done) {
        t->job = JOB_NONE;
        if (t->failed) {
            *err = t->failure;
            return t->failure.code;
        }
        return error_set(err, STATUS_AGAIN, "the learner is stopping");
    }
    t->job = JOB_NONE;
    t->job_done = false;
    if (t->job_status != STATUS_OK) { *err = t->job_error; }
    return t->job_status;
}

enum status learner_thread_load(struct learner_thread *t, uint64_t number, bool (*wait)(void *),
                                void *wait_context, struct version **ret_version,
                                struct error *err) {
    pthread_mutex_lock(&t->lock);
    assert(t->job == JOB_NONE);
    t->job_number = number;
    t->job_version = NULL;
    t->job_done = false;
    t->job = JOB_LOAD;
    enum status status = await_job(t, wait, wait_context, err);
    if (status == STATUS_OK) { *ret_version = t->job_version; }
    pthread_mutex_unlock(&t->lock);
    return status;
}

enum status learner_thread_score(struct learner_thread *t, struct version *version,
                                 const struct score_request *requests, int count,
                                 bool (*wait)(void *), void *wait_context, float *ret_logprobs,
                                 struct error *err) {
    pthread_mutex_lock(&t->lock);
    assert(t->job == JOB_NONE);
    t->job_version = version;
    t->job_requests = requests;
    t->job_count = count;
    t->job_logprobs = ret_logprobs;
    t->job_done = false;
    t->job = JOB_SCORE;
    enum status status = await_job(t, wait, wait_context, err);
    pthread_mutex_unlock(&t->lock);
    return status;
}
