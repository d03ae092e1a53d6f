/* SPDX-License-Identifier: Apache-2.0
 *
 * ring.c - one producer, one consumer, messages of any size in one piece of memory.
 *
 * head and tail are byte positions that only grow; their low bits are the place in memory. Each
 * message is an 8-byte size and the bytes, rounded up to 8. A size of all ones is the skip mark.
 *
 * Sleeping: a side that finds nothing takes the lock, raises its `waiting` flag, looks again, and
 * sleeps. The other side moves its position first and looks at the flag afterwards. Both use
 * sequentially consistent operations, so one of the two always sees the other (Dekker's rule), and
 * the fast path takes no lock.
 *
 *   producer owns  head, reserved_*     consumer owns  tail, cursor_*      anyone reads the atomics
 */
#include "base/ring.h"

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>

#include "base/memory.h"

#define RING_HEADER_BYTES 8u
#define RING_SKIP         UINT64_MAX
#define RING_BYTES_MIN    64u
#define CACHE_LINE_BYTES  64u

struct ring {
    uint8_t *data;         /* owns; (capacity) */
    size_t capacity;       /* bytes, a power of two */
    size_t messages_limit; /* messages held at once */

    /* thread: producer */
    _Alignas(CACHE_LINE_BYTES) _Atomic size_t head; /* position of the next message */
    _Atomic size_t published;                       /* messages so far */
    _Atomic size_t bytes_max;
    _Atomic size_t messages_max;
    size_t reserved_at;  /* position of the reserved message; valid when reserved_end != 0 */
    size_t reserved_end; /* position after it; 0 = nothing reserved */

    /* thread: consumer */
    _Alignas(CACHE_LINE_BYTES) _Atomic size_t tail; /* position of the oldest message */
    _Atomic size_t released;                        /* messages so far */
    size_t cursor_skip; /* the message found last is the one after this many */
    size_t cursor_at;   /* its position, so that walking forward costs one step a message */

    /* sleeping */
    _Alignas(CACHE_LINE_BYTES) pthread_mutex_t lock;
    pthread_cond_t message_came;
    pthread_cond_t room_came;
    atomic_bool consumer_waiting;
    atomic_bool producer_waiting;
    atomic_bool closed;
};

static size_t ring_rounded(size_t size) {
    return (size + 7u) & ~(size_t)7u;
}

/* Bytes that a message of this size takes. */
static size_t ring_taken(size_t size) {
    return RING_HEADER_BYTES + ring_rounded(size);
}

static uint64_t ring_size_at(const struct ring *ring, size_t position) {
    uint64_t size;
    memcpy(&size, ring->data + (position & (ring->capacity - 1)), sizeof size);
    return size;
}

/* The mutex, and conditions that measure time by the monotonic clock. 0 or errno. */
static int ring_init_sleeping(struct ring *ring) {
    pthread_condattr_t attributes;
    int reason = pthread_condattr_init(&attributes);
    if (reason != 0) { return reason; }

    reason = pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    if (reason == 0) { reason = pthread_mutex_init(&ring->lock, NULL); }
    if (reason == 0) { reason = pthread_cond_init(&ring->message_came, &attributes); }
    if (reason == 0) { reason = pthread_cond_init(&ring->room_came, &attributes); }
    (void)pthread_condattr_destroy(&attributes); /* cannot fail on Linux */
    return reason;
}

enum status ring_init(struct ring **ret_ring, size_t capacity, size_t messages_limit,
                      struct error *err) {
    assert(messages_limit > 0);
    assert(capacity <= SIZE_MAX / 2);

    size_t rounded = RING_BYTES_MIN;
    while (rounded < capacity) {
        rounded *= 2;
    }

    struct ring *ring = memory_take_aligned(CACHE_LINE_BYTES, sizeof *ring);
    if (ring == NULL) { return error_set(err, STATUS_NO_MEMORY, "ring"); }
    memset(ring, 0, sizeof *ring);
    ring->capacity = rounded;
    ring->messages_limit = messages_limit;
    ring->data = memory_take_aligned(CACHE_LINE_BYTES, rounded);
    if (ring->data == NULL) {
        memory_free(ring);
        return error_set(err, STATUS_NO_MEMORY, "ring of %zu bytes", rounded);
    }
    int reason = ring_init_sleeping(ring);
    if (reason != 0) {
        memory_free(ring->data);
        memory_free(ring);
        return error_errno(err, reason, "locks of a ring");
    }

    *ret_ring = ring;
    return STATUS_OK;
}

void ring_free(struct ring *ring) {
    if (ring == NULL) { return; }

    (void)pthread_cond_destroy(&ring->room_came);    /* nobody waits any more */
    (void)pthread_cond_destroy(&ring->message_came); /* the same */
    (void)pthread_mutex_destroy(&ring->lock);        /* the same */
    memory_free(ring->data);
    memory_free(ring);
}

size_t ring_message_bytes_max(const struct ring *ring) {
    return ring->capacity / 2 - RING_HEADER_BYTES;
}

/* thread: producer. Where a message of this size would start; false when there is no room now. */
static bool ring_find_room(const struct ring *ring, size_t size, size_t *ret_at) {
    size_t head = atomic_load_explicit(&ring->head, memory_order_relaxed);
    size_t left = ring->capacity - (head - atomic_load(&ring->tail));
    size_t held =
        atomic_load_explicit(&ring->published, memory_order_relaxed) - atomic_load(&ring->released);
    if (held >= ring->messages_limit) { return false; }

    size_t to_end = ring->capacity - (head & (ring->capacity - 1));
    size_t taken = ring_taken(size);
    size_t skipped = taken > to_end ? to_end : 0;
    if (skipped + taken > left) { return false; }
    *ret_at = head + skipped;
    return true;
}

void *ring_reserve(struct ring *ring, size_t size) {
    assert(size <= ring_message_bytes_max(ring));

    size_t at = 0;
    if (!ring_find_room(ring, size, &at)) { return NULL; }

    size_t head = atomic_load_explicit(&ring->head, memory_order_relaxed);
    if (at != head) {
        const uint64_t skip = RING_SKIP;
        memcpy(ring->data + (head & (ring->capacity - 1)), &skip, sizeof skip);
    }
    uint8_t *place = ring->data + (at & (ring->capacity - 1));
    const uint64_t header = size;
    memcpy(place, &header, sizeof header);
    ring->reserved_at = at;
    ring->reserved_end = at + ring_taken(size);
    return place + RING_HEADER_BYTES;
}

/* Wakes the other side when it said that it sleeps. */
static void ring_wake(struct ring *ring, atomic_bool *waiting, pthread_cond_t *condition) {
    if (!atomic_load(waiting)) { return; }
    (void)pthread_mutex_lock(&ring->lock); /* cannot fail: a plain mutex that we do not hold */
    (void)pthread_cond_broadcast(condition);
    (void)pthread_mutex_unlock(&ring->lock);
}

static void ring_raise(_Atomic size_t *mark, size_t value) {
    if (value > atomic_load_explicit(mark, memory_order_relaxed)) {
        atomic_store_explicit(mark, value, memory_order_relaxed);
    }
}

void ring_publish(struct ring *ring) {
    assert(ring->reserved_end != 0);

    size_t published = atomic_load_explicit(&ring->published, memory_order_relaxed) + 1;
    size_t end = ring->reserved_end;
    ring->reserved_end = 0;
    ring_raise(&ring->bytes_max, end - atomic_load_explicit(&ring->tail, memory_order_relaxed));
    ring_raise(&ring->messages_max,
               published - atomic_load_explicit(&ring->released, memory_order_relaxed));
    atomic_store_explicit(&ring->head, end, memory_order_relaxed);
    atomic_store(&ring->published, published); /* releases the bytes and head */
    ring_wake(ring, &ring->consumer_waiting, &ring->message_came);
}

/* The position of the message at or after a skip mark. */
static size_t ring_past_skip(const struct ring *ring, size_t position) {
    if (ring_size_at(ring, position) != RING_SKIP) { return position; }
    return (position | (ring->capacity - 1)) + 1;
}

const void *ring_peek_at(struct ring *ring, size_t skip, size_t *ret_size) {
    size_t held =
        atomic_load(&ring->published) - atomic_load_explicit(&ring->released, memory_order_relaxed);
    if (skip >= held) { return NULL; }

    if (skip < ring->cursor_skip) {
        ring->cursor_skip = 0;
        ring->cursor_at = atomic_load_explicit(&ring->tail, memory_order_relaxed);
    }
    size_t at = ring_past_skip(ring, ring->cursor_at);
    for (; ring->cursor_skip < skip; ring->cursor_skip++) {
        at = ring_past_skip(ring, at + ring_taken((size_t)ring_size_at(ring, at)));
    }
    ring->cursor_at = at;
    *ret_size = (size_t)ring_size_at(ring, at);
    return ring->data + (at & (ring->capacity - 1)) + RING_HEADER_BYTES;
}

const void *ring_peek(struct ring *ring, size_t *ret_size) {
    return ring_peek_at(ring, 0, ret_size);
}

void ring_release(struct ring *ring, size_t count) {
    size_t released = atomic_load_explicit(&ring->released, memory_order_relaxed);
    assert(count <= atomic_load(&ring->published) - released);
    if (count == 0) { return; }

    size_t at = atomic_load_explicit(&ring->tail, memory_order_relaxed);
    for (size_t i = 0; i < count; i++) {
        at = ring_past_skip(ring, at);
        at += ring_taken((size_t)ring_size_at(ring, at));
    }
    if (ring->cursor_skip >= count) {
        ring->cursor_skip -= count;
    } else {
        ring->cursor_skip = 0;
        ring->cursor_at = at;
    }
    atomic_store(&ring->released, released + count);
    atomic_store(&ring->tail, at); /* after this the producer may overwrite the bytes */
    ring_wake(ring, &ring->producer_waiting, &ring->room_came);
}

static bool ring_has_message(struct ring *ring, size_t skip) {
    return atomic_load(&ring->published) - atomic_load(&ring->released) > skip;
}

static bool ring_has_room(struct ring *ring, size_t size) {
    size_t at;
    return ring_find_room(ring, size, &at);
}

/* One of the two sides sleeps until has() says true, the ring is closed or the time is over. */
static bool ring_sleep(struct ring *ring, bool (*has)(struct ring *, size_t), size_t argument,
                       atomic_bool *waiting, pthread_cond_t *condition, int timeout_ms) {
    if (has(ring, argument)) { return true; }
    if (timeout_ms == 0 || atomic_load(&ring->closed)) { return false; }

    struct timespec until;
    (void)clock_gettime(CLOCK_MONOTONIC, &until); /* fails only for an unknown clock */
    until.tv_sec += timeout_ms / 1000;
    until.tv_nsec += timeout_ms % 1000 * 1000000L;
    if (until.tv_nsec >= 1000000000) {
        until.tv_nsec -= 1000000000;
        until.tv_sec++;
    }

    (void)pthread_mutex_lock(&ring->lock); /* cannot fail: a plain mutex that we do not hold */
    atomic_store(waiting, true);
    int reason = 0;
    bool found = has(ring, argument);
    while (!found && reason == 0 && !atomic_load(&ring->closed)) {
        reason = timeout_ms < 0 ? pthread_cond_wait(condition, &ring->lock)
                                : pthread_cond_timedwait(condition, &ring->lock, &until);
        found = has(ring, argument);
    }
    atomic_store(waiting, false);
    (void)pthread_mutex_unlock(&ring->lock);
    return found;
}

bool ring_wait_message(struct ring *ring, size_t skip, int timeout_ms) {
    return ring_sleep(ring, ring_has_message, skip, &ring->consumer_waiting, &ring->message_came,
                      timeout_ms);
}

bool ring_wait_room(struct ring *ring, size_t size, int timeout_ms) {
    assert(size <= ring_message_bytes_max(ring));
    return ring_sleep(ring, ring_has_room, size, &ring->producer_waiting, &ring->room_came,
                      timeout_ms);
}

void ring_close(struct ring *ring) {
    (void)pthread_mutex_lock(&ring->lock); /* cannot fail: a plain mutex that we do not hold */
    atomic_store(&ring->closed, true);
    (void)pthread_cond_broadcast(&ring->message_came);
    (void)pthread_cond_broadcast(&ring->room_came);
    (void)pthread_mutex_unlock(&ring->lock);
}

bool ring_closed(const struct ring *ring) {
    return atomic_load(&ring->closed);
}

struct ring_usage ring_usage(const struct ring *ring) {
    /* The consumer's side first: what it gave back was published before, so nothing is negative. */
    size_t tail = atomic_load(&ring->tail);
    size_t released = atomic_load(&ring->released);
    return (struct ring_usage){
        .bytes_max = atomic_load(&ring->bytes_max),
        .messages_max = atomic_load(&ring->messages_max),
        .bytes = atomic_load(&ring->head) - tail,
        .messages = atomic_load(&ring->published) - released,
    };
}
