/* SPDX-License-Identifier: Apache-2.0
 *
 * poll_thread.h - moves records from the stream into the records ring, and does nothing else.
 *
 * The ring is the only buffer between client library and core: when it is full, polling stops
 * taking and the broker holds the rest. A message is struct poll_record with key and value behind
 * it.
 */
#ifndef DAEMON_POLL_THREAD_H
#define DAEMON_POLL_THREAD_H

#include <stdint.h>

#include "base/ring.h"
#include "base/status.h"
#include "base/stream.h"
#include "daemon/shared.h"

#define POLL_RING_BYTES   (64u * 1024u * 1024u)
#define POLL_RING_RECORDS 65536u

struct poll_record {
    int64_t offset;
    int64_t timestamp_ms;
    int64_t arrived_us; /* CLOCK_MONOTONIC */
    uint32_t key_size, value_size;
    int32_t partition;
    uint8_t topic;
    uint8_t key_is_null, value_is_null;
    /* key bytes, then value bytes */
};

struct poll_thread;

MUST_CHECK enum status poll_thread_start(struct stream *stream, struct ring *ring,
                                         struct shared *shared, struct poll_thread **ret_thread,
                                         struct error *err);
void poll_thread_stop(struct poll_thread *thread);
/* The record of a message; borrows from it. */
void poll_record_view(const void *message, struct stream_record *ret_record,
                      int64_t *ret_arrived_us);

#endif
