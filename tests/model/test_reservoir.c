/* SPDX-License-Identifier: Apache-2.0
 *
 * test_reservoir.c - what stays for replay. */
#include "base/rng.h"
#include "model/reservoir.h"
#include "tests/support/fault.h"
#include "tests/support/unit.h"

static struct reservoir *make(int rows_max) {
    struct reservoir *reservoir = NULL;
    struct error err;

    ASSERT_OK(reservoir_new(rows_max, 7, &reservoir, &err), err);
    return reservoir;
}

static struct training_row row_of(uint64_t seq, uint64_t user) {
    struct training_row row = {.seq = seq, .user_key = user, .item = (uint32_t)seq, .weight = 1};

    row.window_count = (uint32_t)(seq % (WINDOW_MAX + 1));
    for (uint32_t n = 0; n < row.window_count; n++) {
        row.window[n] = n + (uint32_t)seq;
    }
    return row;
}

static void add(struct reservoir *reservoir, uint64_t seq, uint64_t user) {
    const struct training_row row = row_of(seq, user);
    struct error err;

    ASSERT_OK(reservoir_add(reservoir, &row, &err), err);
}

static void a_quiet_user_keeps_its_rows_beside_a_loud_one(void **state) {
    struct reservoir *reservoir = make(20);

    (void)state;
    add(reservoir, 1, 100);
    add(reservoir, 2, 100);
    for (uint64_t n = 3; n < 500; n++) {
        add(reservoir, n, 200);
    }

    assert_int_equal(reservoir_rows(reservoir), 20);
    assert_int_equal(reservoir_users(reservoir), 2);
    assert_int_equal(reservoir_user_rows(reservoir, 0), 2);
    assert_int_equal(reservoir_user_rows(reservoir, 1), 18);
    uint64_t before = 0, early = 0;
    for (int n = 0; n < 18; n++) {
        uint64_t seq = reservoir_at(reservoir, 1, n)->seq;
        assert_true(seq > before);
        before = seq;
        early += seq < 250 ? 1 : 0;
    }
    assert_true(early > 3 && early < 15); /* a sample of all, not the newest */
    reservoir_free(reservoir);
}

static void assert_same(const struct reservoir *a, const struct reservoir *b) {
    struct buffer x = {0}, y = {0};
    struct error err;

    ASSERT_OK(reservoir_save(a, &x, &err), err);
    ASSERT_OK(reservoir_save(b, &y, &err), err);
    assert_true(span_equal(buffer_span(&x), buffer_span(&y)));
    buffer_free(&x);
    buffer_free(&y);
}

static void a_loaded_reservoir_goes_on_like_the_saved_one(void **state) {
    struct reservoir *a = make(50), *b = make(50);
    struct rng rng = rng_make(3, 3);
    struct buffer bytes = {0};
    struct error err;

    (void)state;
    for (uint64_t n = 1; n < 400; n++) {
        add(a, n, 1 + rng_below(&rng, 30));
    }
    ASSERT_OK(reservoir_save(a, &bytes, &err), err);
    ASSERT_OK(reservoir_load(b, buffer_span(&bytes), &err), err);
    assert_same(a, b);
    for (uint64_t n = 400; n < 900; n++) {
        uint64_t user = 1 + rng_below(&rng, 60);
        add(a, n, user);
        add(b, n, user);
    }

    assert_same(a, b);
    buffer_free(&bytes);
    reservoir_free(a);
    reservoir_free(b);
}

static void a_forgotten_user_is_gone(void **state) {
    struct reservoir *reservoir = make(50);

    (void)state;
    for (uint64_t n = 1; n <= 30; n++) {
        add(reservoir, n, 1 + n % 3);
    }
    reservoir_forget(reservoir, 2);
    reservoir_forget(reservoir, 99);

    assert_int_equal(reservoir_users(reservoir), 2);
    assert_int_equal(reservoir_rows(reservoir), 20);
    for (int u = 0; u < 2; u++) {
        for (int n = 0; n < reservoir_user_rows(reservoir, u); n++) {
            assert_true(reservoir_at(reservoir, u, n)->user_key != 2);
        }
    }
    add(reservoir, 31, 2);
    assert_int_equal(reservoir_users(reservoir), 3);
    reservoir_free(reservoir);
}

static void excluded_rows_are_gone_and_others_stay(void **state) {
    struct reservoir *reservoir = make(50);

    (void)state;
    for (uint64_t n = 1; n <= 30; n++) {
        add(reservoir, n, 1 + n % 3);
    }
    reservoir_exclude(reservoir, 11, 20);

    assert_int_equal(reservoir_rows(reservoir), 20);
    add(reservoir, 31, 1);
    assert_int_equal(reservoir_rows(reservoir), 21);
    reservoir_free(reservoir);
}

static void cut_bytes_are_corrupt(void **state) {
    struct reservoir *reservoir = make(50);
    struct buffer bytes = {0};
    struct error err;

    (void)state;
    for (uint64_t n = 1; n <= 9; n++) {
        add(reservoir, n, 1 + n % 3);
    }
    ASSERT_OK(reservoir_save(reservoir, &bytes, &err), err);
    for (size_t size = 0; size < bytes.size; size++) {
        ASSERT_STATUS(reservoir_load(reservoir, span_make(bytes.data, size), &err), STATUS_CORRUPT);
    }
    ASSERT_OK(reservoir_load(reservoir, buffer_span(&bytes), &err), err);
    buffer_free(&bytes);
    reservoir_free(reservoir);
}

static enum status keep_rows(void *context) {
    struct reservoir *reservoir = NULL;
    struct error err;

    (void)context;
    enum status status = reservoir_new(10, 7, &reservoir, &err);
    for (uint64_t n = 1; n < 30 && status == STATUS_OK; n++) {
        const struct training_row row = row_of(n, n % 7);
        status = reservoir_add(reservoir, &row, &err);
    }
    reservoir_free(reservoir);
    return status;
}

static void every_failed_allocation_is_no_memory(void **state) {
    (void)state;
    assert_true(fault_sweep(FAULT_MEMORY, STATUS_NO_MEMORY, keep_rows, NULL) > 30);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_quiet_user_keeps_its_rows_beside_a_loud_one),
        cmocka_unit_test(a_loaded_reservoir_goes_on_like_the_saved_one),
        cmocka_unit_test(a_forgotten_user_is_gone),
        cmocka_unit_test(excluded_rows_are_gone_and_others_stay),
        cmocka_unit_test(cut_bytes_are_corrupt),
        cmocka_unit_test(every_failed_allocation_is_no_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
