/* SPDX-License-Identifier: Apache-2.0
 *
 * test_clock.c - the clocks go forward and a sleep is not shorter than asked.
 */
#include "base/clock.h"

#include "tests/support/unit.h"

static void a_sleep_lasts_at_least_as_long_as_asked(void **state) {
    (void)state;
    int64_t begin = clock_monotonic_us();
    clock_sleep_us(3000);
    assert_true(clock_monotonic_us() - begin >= 3000);

    clock_sleep_us(0);
    clock_sleep_us(-5);
}

static void the_wall_clock_is_in_this_century(void **state) {
    (void)state;
    int64_t now = clock_wall_us();
    assert_true(now > INT64_C(1700000000) * 1000000);
    assert_true(now < INT64_C(4102444800) * 1000000);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_sleep_lasts_at_least_as_long_as_asked),
        cmocka_unit_test(the_wall_clock_is_in_this_century),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
