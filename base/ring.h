/* SPDX-License-Identifier: Apache-2.0
 *
 * ring.h - a bounded queue of byte messages between exactly one producer and one consumer thread.
 *
 *      tail (consumer)            head (producer)
 *        v                          v
 *   ┌────┬──────┬────┬──────┬───────┬──────────────┐   a message is contiguous: one that does not
 *   │size│bytes │size│bytes │ ...   │   free       │   fit before the end starts at 0 after a
 *   └────┴──────┴────┴──────┴───────┴──────────────┘   "skip" mark
 *
 * Head and tail are atomics (release/acquire); waiting uses a futex-like condition (mutex and
 * condition variable taken only when a side sleeps). Used between poll and core, core and learner.
 */
#ifndef BASE_RING_H
#define BASE_RING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

struct ring; /* hides atomics and the lock */

struct ring_usage {
    size_t bytes_max;    /* high-water mark */
    size_t messages_max; /* high-water mark */
    size_t bytes;        /* now */
    size_t messages;     /* now */
};

/* capacity is rounded up to a power of two; messages_limit bounds the number held. */
MUST_CHECK enum status ring_init(struct ring **ret_ring, size_t capacity, size_t messages_limit,
                                 struct error *err);
void ring_free(struct ring *ring);

/* Largest message that always fits once the ring is empty: half the capacity less a header. */
size_t ring_message_bytes_max(const struct ring *ring);

/* Producer: room for one message of exactly size bytes (8-byte aligned), NULL when full. size is at
 * most ring_message_bytes_max. Reserving again before publishing drops the earlier reservation. */
void *ring_reserve(struct ring *ring, size_t size);
void ring_publish(
    struct ring *ring); /* makes the reserved message visible and wakes the consumer */
/* Consumer: the oldest message, NULL when empty. Stays valid until ring_release. */
const void *ring_peek(struct ring *ring, size_t *ret_size);
/* Consumer: the message after the `skip` oldest ones, so that several may be held at once. */
const void *ring_peek_at(struct ring *ring, size_t skip, size_t *ret_size);
void ring_release(struct ring *ring, size_t count); /* gives back the `count` oldest */

/* Waits until there is a message / room for size bytes, the ring is closed, or the time is over.
 * True when there is one. timeout_ms < 0 = no end. */
bool ring_wait_message(struct ring *ring, size_t skip, int timeout_ms);
bool ring_wait_room(struct ring *ring, size_t size, int timeout_ms);
/* Wakes both sides for good; pending messages stay readable. */
void ring_close(struct ring *ring);
bool ring_closed(const struct ring *ring);
struct ring_usage ring_usage(const struct ring *ring);

#endif
