/* SPDX-License-Identifier: Apache-2.0
 *
 * stream_kafka_call.c - librdkafka's blocking calls, made so that the caller's watchdog stays fed.
 *
 * Why a thread: sending offsets and committing must be called without a time-out (a shorter one
 * "risks internal state desynchronization", rdkafka.h), and measured, sending offsets to a broker
 * that stopped answering came back after 11 s although 1 s was asked for. The caller waits on a
 * condition instead:
 *
 *   core    ──call──▸ wait 1 s, ask ─▸ wait 1 s, ask ─▸ result        or: asked no ─▸ AGAIN
 *   runner    └─▸ rd_kafka_commit_transaction ......... ─▸ done               └─▸ frees producer
 *
 * While the runner is in librdkafka nobody else touches the producer, so its callbacks need no
 * lock.
 */
#include "proto/stream_kafka_client.h"

#include <assert.h>
#include <pthread.h>
#include <time.h>

#include "base/memory.h"

struct kafka_runner {
    kafka_blocking call;
    struct kafka_producer *producer;          /* borrows; owns once abandoned */
    rd_kafka_topic_partition_list_t *offsets; /* borrows; owns once abandoned */
    pthread_mutex_t mutex;
    pthread_cond_t changed; /* on CLOCK_MONOTONIC */
    rd_kafka_error_t *error;
    bool done;
    bool abandoned;
};

static void runner_free(struct kafka_runner *runner) {
    (void)pthread_cond_destroy(&runner->changed); /* nobody waits any more */
    (void)pthread_mutex_destroy(&runner->mutex);
    memory_free(runner);
}

static void *runner_run(void *context) {
    struct kafka_runner *runner = context;
    rd_kafka_error_t *error = runner->call(runner->producer, runner->offsets);

    (void)pthread_mutex_lock(&runner->mutex);
    runner->error = error;
    runner->done = true;
    bool abandoned = runner->abandoned;
    (void)pthread_cond_signal(&runner->changed);
    (void)pthread_mutex_unlock(&runner->mutex);
    if (!abandoned) { return NULL; } /* the caller frees */

    if (error != NULL) { rd_kafka_error_destroy(error); }
    if (runner->offsets != NULL) { rd_kafka_topic_partition_list_destroy(runner->offsets); }
    kafka_producer_close(runner->producer);
    runner_free(runner);
    return NULL;
}

static struct kafka_runner *runner_make(struct kafka *kafka, kafka_blocking call,
                                        rd_kafka_topic_partition_list_t *offsets) {
    struct kafka_runner *runner = MEMORY_TAKE_ARRAY(struct kafka_runner, 1);
    if (runner == NULL) { return NULL; }
    runner->call = call;
    runner->producer = kafka->producer;
    runner->offsets = offsets;

    pthread_condattr_t attributes;
    (void)pthread_condattr_init(&attributes); /* these four cannot fail on Linux */
    (void)pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&runner->changed, &attributes);
    (void)pthread_condattr_destroy(&attributes);
    (void)pthread_mutex_init(&runner->mutex, NULL);
    return runner;
}

/* Waits one slice at most; true when the call is done. The mutex is held. */
static bool runner_wait_slice(struct kafka_runner *runner) {
    struct timespec until;
    (void)clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += KAFKA_SLICE_MS / 1000;
    int failed = 0;
    while (!runner->done && failed == 0) {
        failed = pthread_cond_timedwait(&runner->changed, &runner->mutex, &until);
    }
    return runner->done;
}

enum status kafka_call(struct kafka *kafka, kafka_blocking call,
                       rd_kafka_topic_partition_list_t *offsets, stream_wait wait,
                       void *wait_context, rd_kafka_error_t **ret_error, struct error *err) {
    assert(kafka->producer != NULL);

    struct kafka_runner *runner = runner_make(kafka, call, offsets);
    if (runner == NULL) { return error_set(err, STATUS_NO_MEMORY, "a call of librdkafka"); }
    pthread_t thread;
    int failed = pthread_create(&thread, NULL, runner_run, runner);
    if (failed != 0) {
        runner_free(runner);
        return error_errno(err, failed, "starting a thread for librdkafka");
    }

    bool goes_on = true;
    bool slow = false; /* no broker needs a slice when all is well */
    (void)pthread_mutex_lock(&runner->mutex);
    while (goes_on && !runner_wait_slice(runner)) {
        slow = true;
        (void)pthread_mutex_unlock(&runner->mutex);
        goes_on = wait == NULL || wait(wait_context);
        (void)pthread_mutex_lock(&runner->mutex);
    }
    bool done = runner->done;
    runner->abandoned = !done;
    (void)pthread_mutex_unlock(&runner->mutex);
    if (!done) {
        (void)pthread_detach(thread);
        kafka->producer = NULL;
        kafka->given_up = true;
        return error_set(err, STATUS_AGAIN, "given up while no broker of '%s' answers",
                         kafka->bootstrap_servers);
    }
    (void)pthread_join(thread, NULL); /* it is past its last use of the runner */
    if (slow) { kafka->producer->disturbed = true; }
    *ret_error = runner->error;
    runner_free(runner);
    return STATUS_OK;
}
