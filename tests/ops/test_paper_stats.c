/* SPDX-License-Identifier: Apache-2.0
 *
 * test_paper_stats.c - intervals against tables: Student's t (Fisher & Yates), Wilson's score. */
#include "ops/paper/stats.h"

#include <math.h>

#include "base/rng.h"
#include "tests/support/fault.h"
#include "tests/support/unit.h"

static void assert_near(double found, double expected, double tolerance) {
    if (!(fabs(found - expected) <= tolerance)) {
        fail_msg("%.12g, expected %.12g within %g", found, expected, tolerance);
    }
}

static void quantiles_of_student_are_those_of_the_tables(void **state) {
    (void)state;
    static const struct {
        int freedom;
        double quantile;
    } table[] = {{1, 12.7062047364}, {2, 4.3026527297},  {4, 2.7764451052},
                 {9, 2.2621571628},  {30, 2.0422724563}, {100, 1.9839715185}};

    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        assert_near(student_t_quantile(0.975, table[i].freedom), table[i].quantile, 1e-8);
        assert_near(student_t_quantile(0.025, table[i].freedom), -table[i].quantile, 1e-8);
    }
    assert_near(student_t_quantile(0.5, 3), 0.0, 1e-12);
    assert_near(student_t_quantile(0.95, 5), 2.0150483733, 1e-8);
}

/* 1, 2, 3, 4, 5: mean 3, s = sqrt(2.5), t(0.975, 4) = 2.7764. */
static void a_mean_has_students_interval(void **state) {
    (void)state;
    const double values[] = {1.0, 2.0, 3.0, 4.0, 5.0};
    struct interval interval;

    double mean = mean_with_interval(values, 5, &interval);

    assert_near(mean, 3.0, 1e-12);
    assert_near(interval.high - mean, 2.7764451052 * sqrt(2.5 / 5.0), 1e-8);
    assert_near(mean - interval.low, interval.high - mean, 1e-12);
}

static void one_value_has_no_interval(void **state) {
    (void)state;
    const double value = 0.25;
    struct interval interval;

    assert_near(mean_with_interval(&value, 1, &interval), 0.25, 0.0);

    assert_true(isnan(interval.low) && isnan(interval.high));
}

/* 15 of 50: 0.1910 to 0.4375; none of 10: 0 to 0.2775 (Wilson 1927). */
static void shares_have_wilsons_interval(void **state) {
    (void)state;
    struct interval interval = wilson_interval(15, 50);
    assert_near(interval.low, 0.191035535, 1e-8);
    assert_near(interval.high, 0.437503505, 1e-8);

    interval = wilson_interval(0, 10);
    assert_true(interval.low == 0.0);
    assert_near(interval.high, 0.277532800, 1e-8);
    interval = wilson_interval(10, 10);
    assert_true(interval.high == 1.0);
    assert_near(interval.low, 1.0 - 0.277532800, 1e-8);
}

/* With one seed the percentile interval is near the normal one: mean +- 1.96 s / sqrt(n). */
static void a_difference_has_the_interval_of_its_samples(void **state) {
    (void)state;
    enum { SAMPLES = 400 };
    static int8_t differences[SAMPLES];
    struct rng rng = rng_make(3, 1);
    struct interval interval;
    struct error err;
    double mean = 0.0, sum = 0.0, squares = 0.0;
    for (int i = 0; i < SAMPLES; i++) {
        double draw = rng_unit(&rng);
        differences[i] = draw < 0.3 ? 1 : draw < 0.45 ? -1 : 0;
        sum += differences[i];
        squares += differences[i] * differences[i];
    }
    double share = sum / SAMPLES, deviation = sqrt(squares / SAMPLES - share * share);

    ASSERT_OK(paired_bootstrap(differences, 1, SAMPLES, 7, &mean, &interval, &err), err);

    assert_near(mean, share, 1e-12);
    double half = 1.96 * deviation / sqrt((double)SAMPLES);
    assert_near(interval.high - mean, half, 0.15 * half);
    assert_near(mean - interval.low, half, 0.15 * half);
}

/* Seeds that repeat the same answers are no new samples: the interval stays as wide. */
static void the_same_samples_in_more_seeds_say_no_more(void **state) {
    (void)state;
    enum { SAMPLES = 200, SEEDS = 4 };
    static int8_t differences[SEEDS * SAMPLES];
    struct interval one, four;
    struct error err;
    double mean = 0.0;
    for (int i = 0; i < SEEDS * SAMPLES; i++) {
        differences[i] = (int8_t)(i % SAMPLES % 3 == 0);
    }

    ASSERT_OK(paired_bootstrap(differences, 1, SAMPLES, 7, &mean, &one, &err), err);
    ASSERT_OK(paired_bootstrap(differences, SEEDS, SAMPLES, 7, &mean, &four, &err), err);

    assert_near(four.high - four.low, one.high - one.low, 0.01);
}

/* Seeds that disagree widen it, though each has no spread of its own. */
static void seeds_that_disagree_widen_the_interval(void **state) {
    (void)state;
    enum { SAMPLES = 200, SEEDS = 4 };
    static int8_t differences[SEEDS * SAMPLES];
    struct interval interval;
    struct error err;
    double mean = 0.0;
    for (int i = 0; i < SEEDS * SAMPLES; i++) {
        differences[i] = (int8_t)(i / SAMPLES % 2 == 0 ? 1 : -1);
    }

    ASSERT_OK(paired_bootstrap(differences, SEEDS, SAMPLES, 7, &mean, &interval, &err), err);

    assert_near(mean, 0.0, 1e-12);
    assert_true(interval.low <= -0.5 && interval.high >= 0.5);
}

static enum status bootstrap_once(void *context) {
    const int8_t differences[] = {1, 0, -1, 1};
    struct interval interval;
    struct error err;
    double mean = 0.0;
    (void)context;
    return paired_bootstrap(differences, 2, 2, 1, &mean, &interval, &err);
}

static void a_bootstrap_without_memory_is_refused(void **state) {
    (void)state;
    assert_int_equal(fault_sweep(FAULT_MEMORY, STATUS_NO_MEMORY, bootstrap_once, NULL), 2);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(quantiles_of_student_are_those_of_the_tables),
        cmocka_unit_test(a_mean_has_students_interval),
        cmocka_unit_test(one_value_has_no_interval),
        cmocka_unit_test(shares_have_wilsons_interval),
        cmocka_unit_test(a_difference_has_the_interval_of_its_samples),
        cmocka_unit_test(the_same_samples_in_more_seeds_say_no_more),
        cmocka_unit_test(seeds_that_disagree_widen_the_interval),
        cmocka_unit_test(a_bootstrap_without_memory_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
