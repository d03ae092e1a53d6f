/* SPDX-License-Identifier: Apache-2.0
 *
 * test_ring.c - order, wrapping, limits, and two threads that pass many messages (run under TSan).
 */
#include "base/ring.h"

#include <pthread.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/rng.h"
#include "tests/support/fault.h"
#include "tests/support/unit.h"

static struct ring *ring_of(size_t capacity, size_t messages_limit) {
    struct ring *ring = NULL;
    struct error err;
    ASSERT_OK(ring_init(&ring, capacity, messages_limit, &err), err);
    return ring;
}

static bool send(struct ring *ring, const char *text) {
    void *place = ring_reserve(ring, strlen(text));
    if (place == NULL) { return false; }
    assert_int_equal((uintptr_t)place % 8, 0);
    memcpy(place, text, strlen(text));
    ring_publish(ring);
    return true;
}

static void assert_message(struct ring *ring, size_t skip, const char *expected) {
    size_t size = 0;
    const void *message = ring_peek_at(ring, skip, &size);
    assert_non_null(message);
    assert_true(span_equal(span_make(message, size), span_of(expected)));
}

static void messages_come_in_order_and_stay_until_released(void **state) {
    (void)state;
    struct ring *ring = ring_of(256, 100);
    size_t size = 42;

    assert_null(ring_peek(ring, &size));
    assert_int_equal(size, 42);
    assert_true(send(ring, "one"));
    assert_true(send(ring, ""));
    assert_true(send(ring, "three"));
    assert_message(ring, 2, "three");
    assert_message(ring, 0, "one");
    assert_message(ring, 1, "");
    assert_null(ring_peek_at(ring, 3, &size));

    ring_release(ring, 2);
    assert_message(ring, 0, "three");
    ring_release(ring, 1);
    assert_null(ring_peek(ring, &size));
    ring_free(ring);
    ring_free(NULL);
}

static void looking_ahead_and_releasing_do_not_disturb_each_other(void **state) {
    (void)state;
    struct ring *ring = ring_of(256, 100);
    assert_true(send(ring, "0") && send(ring, "1") && send(ring, "2") && send(ring, "3"));

    assert_message(ring, 2, "2");
    ring_release(ring, 1);
    assert_message(ring, 0, "1");
    assert_message(ring, 2, "3");
    ring_release(ring, 1);
    assert_message(ring, 1, "3");
    ring_release(ring, 2);
    assert_true(send(ring, "4"));
    assert_message(ring, 0, "4");
    ring_free(ring);
}

static void a_message_that_does_not_fit_before_the_end_starts_over(void **state) {
    (void)state;
    struct ring *ring = ring_of(64, 100);

    /* 64 bytes: two messages of 16 taken bytes, then one of 24 + 8 that reaches over the end. */
    for (int round = 0; round < 50; round++) {
        assert_true(send(ring, "12345678"));
        assert_true(send(ring, "abc"));
        assert_message(ring, 1, "abc");
        ring_release(ring, 1);
        assert_true(send(ring, "a long one that"));
        assert_message(ring, 0, "abc");
        assert_message(ring, 1, "a long one that");
        ring_release(ring, 2);
    }
    assert_int_equal(ring_usage(ring).bytes, 0);
    assert_int_equal(ring_usage(ring).messages, 0);
    ring_free(ring);
}

static void a_full_ring_refuses_by_bytes_and_by_messages(void **state) {
    (void)state;
    struct ring *ring = ring_of(64, 3);

    assert_int_equal(ring_message_bytes_max(ring), 24);
    assert_true(send(ring, "123456789012345678901234"));
    assert_true(send(ring, "123456789012345678901234"));
    assert_false(send(ring, ""));
    assert_int_equal(ring_usage(ring).bytes, 64);
    ring_release(ring, 2);
    assert_true(send(ring, "1"));
    assert_true(send(ring, "2"));
    assert_true(send(ring, "3"));
    assert_false(send(ring, "4"));
    assert_int_equal(ring_usage(ring).messages, 3);
    assert_int_equal(ring_usage(ring).messages_max, 3);
    assert_int_equal(ring_usage(ring).bytes_max, 64);
    ring_free(ring);
}

static void the_largest_message_fits_wherever_the_empty_ring_stands(void **state) {
    (void)state;
    struct ring *ring = ring_of(64, 10);
    for (int i = 0; i < 8; i++) {
        assert_true(send(ring, "1"));
        ring_release(ring, 1);
        assert_true(send(ring, "123456789012345678901234"));
        ring_release(ring, 1);
    }
    ring_free(ring);
}

static void waiting_ends_with_time_close_or_a_message(void **state) {
    (void)state;
    struct ring *ring = ring_of(64, 1);

    int64_t begin = clock_monotonic_us();
    assert_false(ring_wait_message(ring, 0, 20));
    assert_true(clock_monotonic_us() - begin >= 20000);
    assert_true(ring_wait_room(ring, 8, 20));
    assert_true(send(ring, "x"));
    assert_true(ring_wait_message(ring, 0, -1));
    assert_false(ring_wait_message(ring, 1, 0));
    assert_false(ring_wait_room(ring, 8, 1));
    assert_false(ring_closed(ring));
    ring_close(ring);
    assert_true(ring_closed(ring));
    assert_false(ring_wait_room(ring, 8, -1));
    assert_true(ring_wait_message(ring, 0, -1));
    assert_message(ring, 0, "x");
    ring_release(ring, 1);
    assert_false(ring_wait_message(ring, 0, -1));
    ring_free(ring);
}

#define PASSED_MESSAGES 100000

/* Sizes 0..200 from the counter; every byte says which message it belongs to. */
static size_t passed_size(uint64_t i) {
    struct rng rng = rng_make(1, 0);
    rng.index = i;
    return (size_t)rng_below(&rng, 201);
}

static void *produce(void *context) {
    struct ring *ring = context;
    for (uint64_t i = 0; i < PASSED_MESSAGES; i++) {
        size_t size = passed_size(i);
        void *place = NULL;
        while ((place = ring_reserve(ring, size)) == NULL) {
            (void)ring_wait_room(ring, size, 1000); /* asked again above */
        }
        memset(place, (int)(i & 255), size);
        ring_publish(ring);
    }
    ring_close(ring);
    return NULL;
}

static void two_threads_pass_every_byte_in_order(void **state) {
    (void)state;
    struct ring *ring = ring_of(4096, 32);
    pthread_t producer;
    assert_int_equal(pthread_create(&producer, NULL, produce, ring), 0);

    uint64_t next = 0;
    size_t held = 0; /* up to five messages are held before they are given back together */
    while (ring_wait_message(ring, held, -1)) {
        size_t size = 0;
        const uint8_t *bytes = ring_peek_at(ring, held, &size);
        assert_non_null(bytes);
        assert_int_equal(size, passed_size(next));
        for (size_t i = 0; i < size; i++) {
            if (bytes[i] != (next & 255)) { fail_msg("message %d is damaged", (int)next); }
        }
        next++;
        held++;
        if (held > next % 5) {
            ring_release(ring, held);
            held = 0;
        }
    }

    assert_int_equal(pthread_join(producer, NULL), 0);
    assert_int_equal(next, PASSED_MESSAGES);
    assert_true(ring_usage(ring).messages_max <= 32);
    ring_free(ring);
}

static enum status init_ring(void *context) {
    (void)context;
    struct ring *ring = NULL;
    struct error err;
    enum status status = ring_init(&ring, 100, 1, &err);
    ring_free(ring);
    return status;
}

static void every_allocation_of_init_may_fail(void **state) {
    (void)state;
    assert_int_equal(fault_sweep(FAULT_MEMORY, STATUS_NO_MEMORY, init_ring, NULL), 2);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(messages_come_in_order_and_stay_until_released),
        cmocka_unit_test(looking_ahead_and_releasing_do_not_disturb_each_other),
        cmocka_unit_test(a_message_that_does_not_fit_before_the_end_starts_over),
        cmocka_unit_test(a_full_ring_refuses_by_bytes_and_by_messages),
        cmocka_unit_test(the_largest_message_fits_wherever_the_empty_ring_stands),
        cmocka_unit_test(waiting_ends_with_time_close_or_a_message),
        cmocka_unit_test(two_threads_pass_every_byte_in_order),
        cmocka_unit_test(every_allocation_of_init_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
