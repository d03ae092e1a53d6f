/* SPDX-License-Identifier: Apache-2.0
 *
 * test_shared.c - requests, heartbeats, stop and reload between threads. */
#include "daemon/shared.h"

#include <pthread.h>

#include "base/clock.h"
#include "base/fault.h"
#include "tests/support/unit.h"

static const struct settings *no_settings = NULL;

static struct shared *new_shared(void) {
    struct shared *shared = NULL;
    struct error err = {0};
    ASSERT_OK(shared_new(no_settings, NULL, &shared, &err), err);
    return shared;
}

static void requests_come_out_in_order_and_the_ninth_waits(void **state) {
    (void)state;
    struct shared *shared = new_shared();
    struct operator_request request = {.command = OPERATOR_ROLLBACK};
    struct error err = {0};
    for (uint64_t i = 0; i < 8; i++) {
        request.version = i;
        ASSERT_OK(shared_request_submit(shared, &request, &err), err);
    }

    ASSERT_STATUS(shared_request_submit(shared, &request, &err), STATUS_AGAIN);

    for (uint64_t i = 0; i < 8; i++) {
        assert_true(shared_request_take(shared, &request));
        assert_int_equal(request.version, i);
    }
    assert_false(shared_request_take(shared, &request));
    shared_free(shared);
}

static void only_watched_threads_age(void **state) {
    (void)state;
    struct shared *shared = new_shared();

    assert_int_equal(shared_oldest_beat_us(shared), 0);
    shared_watch(shared, THREAD_CORE, true);
    clock_sleep_us(3000);
    assert_true(shared_oldest_beat_us(shared) >= 3000);
    shared_beat(shared, THREAD_CORE);
    assert_true(shared_oldest_beat_us(shared) < 3000);
    clock_sleep_us(3000);
    shared_watch(shared, THREAD_CORE, false);
    shared_beat(shared, THREAD_CORE); /* late: must not put it under watch again */
    assert_int_equal(shared_oldest_beat_us(shared), 0);
    shared_free(shared);
}

static void the_first_failure_is_kept(void **state) {
    (void)state;
    struct shared *shared = new_shared();
    struct error first = {0}, second = {0}, seen = {0};
    (void)error_set(&first, STATUS_IO, "disk gone");
    (void)error_set(&second, STATUS_CORRUPT, "later");

    assert_false(shared_stopping(shared));
    shared_stop(shared, STATUS_OK, NULL);
    ASSERT_STATUS(shared_stop_reason(shared, &seen), STATUS_OK);
    shared_stop(shared, STATUS_IO, &first);
    shared_stop(shared, STATUS_CORRUPT, &second);

    assert_true(shared_stopping(shared));
    ASSERT_STATUS(shared_stop_reason(shared, &seen), STATUS_IO);
    assert_string_equal(seen.text, "disk gone");
    shared_free(shared);
}

static void a_reload_is_taken_once(void **state) {
    (void)state;
    struct shared *shared = new_shared();

    assert_false(shared_reload_take(shared));
    shared_reload_request(shared);
    assert_true(shared_reload_pending(shared));
    assert_true(shared_reload_take(shared));
    assert_false(shared_reload_pending(shared));
    assert_false(shared_reload_take(shared));
    shared_free(shared);
}

static void count_up(void *context, struct shared_picture *picture) {
    (void)context;
    picture->applied++;
}

static void *update_often(void *context) {
    for (int i = 0; i < 2000; i++) {
        shared_picture_update(context, count_up, NULL);
    }
    return NULL;
}

static void updates_of_two_threads_are_not_lost(void **state) {
    (void)state;
    struct shared *shared = new_shared();
    struct shared_picture picture;
    pthread_t other;

    assert_int_equal(pthread_create(&other, NULL, update_often, shared), 0);
    (void)update_often(shared);
    assert_int_equal(pthread_join(other, NULL), 0);

    shared_picture_copy(shared, &picture);
    assert_int_equal(picture.applied, 4000);
    shared_free(shared);
}

static void without_memory_there_is_a_clean_refusal(void **state) {
    (void)state;
    struct shared *shared = NULL;
    struct error err = {0};
    fault_arm(FAULT_MEMORY, 1);

    ASSERT_STATUS(shared_new(no_settings, NULL, &shared, &err), STATUS_NO_MEMORY);

    fault_arm(FAULT_MEMORY, 0);
    assert_null(shared);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_come_out_in_order_and_the_ninth_waits),
        cmocka_unit_test(only_watched_threads_age),
        cmocka_unit_test(the_first_failure_is_kept),
        cmocka_unit_test(a_reload_is_taken_once),
        cmocka_unit_test(updates_of_two_threads_are_not_lost),
        cmocka_unit_test(without_memory_there_is_a_clean_refusal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
