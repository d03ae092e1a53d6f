/* SPDX-License-Identifier: Apache-2.0
 *
 * poll_thread.c - the poll loop.
 *
 * Why it exists: a client library wants to be asked often; the core may be busy scoring for longer
 * than its sessions like. So one thread only copies records into a bounded ring.
 * Failure: AGAIN (broker away) is shown and asked again; anything else stops the daemon.
 * Thread: poll. */
#include "daemon/poll_thread.h"

#include <assert.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/failpoint.h"
#include "base/log.h"
#include "base/memory.h"

#define POLL_TIMEOUT_MS 100
#define ROOM_WAIT_MS    100
#define AWAY_WAIT_US    200000

struct poll_thread {
    struct stream *stream;
    struct ring *ring;
    struct shared *shared;
    pthread_t thread;
    bool away;
    bool refused; /* the ring had no room in this call */
};

static enum status take(void *context, const struct stream_record *record, struct error *err) {
    struct poll_thread *t = context;
    size_t size = sizeof(struct poll_record) + record->key.size + record->value.size;
    enum status status = failpoint_pass(FAILPOINT_poll_record, err);
    if (status != STATUS_OK) { return status; }
    uint8_t *message = ring_reserve(t->ring, size);
    if (message == NULL) {
        t->refused = true;
        return error_set(err, STATUS_AGAIN, "the records ring is full");
    }
    struct poll_record head = {.offset = record->offset,
                               .timestamp_ms = record->timestamp_ms,
                               .arrived_us = clock_monotonic_us(),
                               .key_size = (uint32_t)record->key.size,
                               .value_size = (uint32_t)record->value.size,
                               .partition = record->partition,
                               .topic = (uint8_t)record->topic,
                               .key_is_null = record->key.data == NULL,
                               .value_is_null = record->value.data == NULL};
    memcpy(message, &head, sizeof(head));
    if (record->key.size > 0) {
        memcpy(message + sizeof(head), record->key.data, record->key.size);
    }
    if (record->value.size > 0) {
        memcpy(message + sizeof(head) + record->key.size, record->value.data, record->value.size);
    }
    ring_publish(t->ring);
    return STATUS_OK;
}

void poll_record_view(const void *message, struct stream_record *ret_record,
                      int64_t *ret_arrived_us) {
    struct poll_record head;
    memcpy(&head, message, sizeof(head));
    const uint8_t *bytes = (const uint8_t *)message + sizeof(head);
    memset(ret_record, 0, sizeof(*ret_record));
    ret_record->topic = (enum stream_topic)head.topic;
    ret_record->partition = head.partition;
    ret_record->offset = head.offset;
    ret_record->timestamp_ms = head.timestamp_ms;
    ret_record->key = span_make(head.key_is_null ? NULL : bytes, head.key_size);
    ret_record->value =
        span_make(head.value_is_null ? NULL : bytes + head.key_size, head.value_size);
    *ret_arrived_us = head.arrived_us;
}

static void show_state(void *context, struct shared_picture *picture) {
    (void)snprintf(picture->state, sizeof(picture->state), "%s", (const char *)context); /* cut */
}

static void note_away(struct poll_thread *t, bool away, const struct error *err) {
    if (away == t->away) { return; }
    t->away = away;
    char text[SHARED_STATE_TEXT_BYTES];
    if (away) {
        (void)snprintf(text, sizeof(text), "waiting for the stream: %.200s", err->text); /* cut */
        LOG_WARNING("%s; asking again", text);
    } else {
        (void)snprintf(text, sizeof(text), "running");
        LOG_NOTICE("the stream is back");
    }
    shared_picture_update(t->shared, show_state, text);
}

static void *run(void *context) {
    struct poll_thread *t = context;
    struct error err = {0};
    shared_watch(t->shared, THREAD_POLL, true);
    while (!shared_stopping(t->shared) && !ring_closed(t->ring)) {
        shared_beat(t->shared, THREAD_POLL);
        t->refused = false;
        enum status status = t->stream->ops->poll(t->stream, POLL_TIMEOUT_MS, take, t, &err);
        if (status == STATUS_OK) {
            note_away(t, false, &err);
        } else if (status == STATUS_AGAIN && t->refused) {
            /* or ask anyway */
            (void)ring_wait_room(t->ring, STREAM_RECORD_BYTES_MAX, ROOM_WAIT_MS);
        } else if (status == STATUS_AGAIN) {
            note_away(t, true, &err);
            clock_sleep_us(AWAY_WAIT_US);
        } else {
            (void)error_wrap(&err, "polling the stream");
            shared_stop(t->shared, err.code, &err);
            break;
        }
    }
    shared_watch(t->shared, THREAD_POLL, false);
    return NULL;
}

enum status poll_thread_start(struct stream *stream, struct ring *ring, struct shared *shared,
                              struct poll_thread **ret_thread, struct error *err) {
    struct poll_thread *t = memory_take_zeroed(1, sizeof(*t));
    if (t == NULL) { return error_set(err, STATUS_NO_MEMORY, "the poll thread"); }
    t->stream = stream;
    t->ring = ring;
    t->shared = shared;
    int code = pthread_create(&t->thread, NULL, run, t);
    if (code != 0) {
        memory_free(t);
        return error_errno(err, code, "starting the poll thread");
    }
    *ret_thread = t;
    return STATUS_OK;
}

void poll_thread_stop(struct poll_thread *t) {
    if (t == NULL) { return; }
    ring_close(t->ring);
    (void)pthread_join(t->thread, NULL); /* cannot fail: it was started and not joined */
    memory_free(t);
}
