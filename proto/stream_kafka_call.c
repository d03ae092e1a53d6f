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
 *   helper    └─▸ rd_kafka_commit_transaction ......... ─▸ done               └─▸ frees producer
 *
 * While the helper is in librdkafka nobody else touches the producer, so its callbacks need no
 * lock.
 */
#include "proto/stream_kafka_client.h"

#include <assert.h>
#include <pthread.h>
#include <time.h>

#include "base/memory.h"

struct kafka_helper {
    kafka_blocking call;
    struct kafka_producer *producer;          /* borrows; owns once abandoned */
    rd_kafka_topic_partition_list_t *offsets; /* borrows; owns once abandoned */
    pthread_mutex_t mutex;
    pthread_cond_t changed; /* on CLOCK_MONOTONIC */
    rd_kafka_error_t *error;
    bool done;
    bool abandoned;
};

static void helper_free(struct kafka_helper *helper) {
    (void)pthread_cond_destroy(&helper->changed); /* nobody waits any more */
    (void)pthread_mutex_destroy(&helper->mutex);
    memory_free(helper);
}

static void *helper_run(void *context) {
    struct kafka_helper *helper = context;
    rd_kafka_error_t *error = helper->call(helper->producer, helper->offsets);

    (void)pthread_mutex_lock(&helper->mutex);
    helper->error = error;
    helper->done = true;
    bool abandoned = helper->abandoned;
    (void)pthread_cond_signal(&helper->changed);
    (void)pthread_mutex_unlock(&helper->mutex);
    if (!abandoned) { return NULL; } /* the caller frees */

    if (error != NULL) { rd_kafka_error_destroy(error); }
    if (helper->offsets != NULL) { rd_kafka_topic_partition_list_destroy(helper->offsets); }
    kafka_producer_close(helper->producer);
    helper_free(helper);
    return NULL;
}

static struct kafka_helper *helper_make(struct kafka *kafka, kafka_blocking call,
                                        rd_kafka_topic_partition_list_t *offsets) {
    struct kafka_helper *helper = MEMORY_TAKE_ARRAY(struct kafka_helper, 1);
    if (helper == NULL) { return NULL; }
    helper->call = call;
    helper->producer = kafka->producer;
    helper->offsets = offsets;

    pthread_condattr_t attributes;
    (void)pthread_condattr_init(&attributes); /* these four cannot fail on Linux */
    (void)pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&helper->changed, &attributes);
    (void)pthread_condattr_destroy(&attributes);
    (void)pthread_mutex_init(&helper->mutex, NULL);
    return helper;
}

/* Waits one slice at most; true when the call is done. The mutex is held. */
static bool helper_wait_slice(struct kafka_helper *helper) {
    struct timespec until;
    (void)clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += KAFKA_SLICE_MS / 1000;
    int failed = 0;
    while (!helper->done && failed == 0) {
        failed = pthread_cond_timedwait(&helper->changed, &helper->mutex, &until);
    }
    return helper->done;
}

enum status kafka_call(struct kafka *kafka, kafka_blocking call,
                       rd_kafka_topic_partition_list_t *offsets, stream_wait wait,
                       void *wait_context, rd_kafka_error_t **ret_error, struct error *err) {
    assert(kafka->producer != NULL);

    struct kafka_helper *helper = helper_make(kafka, call, offsets);
    if (helper == NULL) { return error_set(err, STATUS_NO_MEMORY, "a call of librdkafka"); }
    pthread_t thread;
    int failed = pthread_create(&thread, NULL, helper_run, helper);
    if (failed != 0) {
        helper_free(helper);
        return error_errno(err, failed, "starting a thread for librdkafka");
    }

    bool goes_on = true;
    bool slow = false; /* no broker needs a slice when all is well */
    (void)pthread_mutex_lock(&helper->mutex);
    while (goes_on && !helper_wait_slice(helper)) {
        slow = true;
        (void)pthread_mutex_unlock(&helper->mutex);
        goes_on = wait == NULL || wait(wait_context);
        (void)pthread_mutex_lock(&helper->mutex);
    }
    bool done = helper->done;
    helper->abandoned = !done;
    (void)pthread_mutex_unlock(&helper->mutex);
    if (!done) {
        (void)pthread_detach(thread);
        kafka->producer = NULL;
        kafka->given_up = true;
        return error_set(err, STATUS_AGAIN, "given up while no broker of '%s' answers",
                         kafka->bootstrap_servers);
    }
    (void)pthread_join(thread, NULL); /* it is past its last use of the helper */
    if (slow) { kafka->producer->disturbed = true; }
    *ret_error = helper->error;
    helper_free(helper);
    return STATUS_OK;
}
