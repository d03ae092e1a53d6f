/* SPDX-License-Identifier: Apache-2.0
 *
 * test_paper_report.c - which interval is shown, the paired difference, and what a limited run
 * says of itself. */
#include "ops/paper/report.h"

#include <math.h>

#include "base/memory.h"
#include "tests/support/unit.h"

#define SAMPLES 40

static struct error err;

/* A result whose first `hits` answers are right and the rest none. */
static void put(struct paper_report *report, enum paper_method method, int seed, int hits) {
    struct paper_result *result = &report->results[method][seed - 1];
    ASSERT_OK(paper_result_init(result, SAMPLES, &err), err);
    for (int i = 0; i < SAMPLES; i++) {
        result->target[i] = i % 20;
        result->answered[i] = result->lenient[i] = i < hits ? i % 20 : -1;
        result->scored[i] = i < hits ? i % 20 : (i + 1) % 20;
    }
}

static const struct paper_settings settings = {.experts = 4, .rank = 8, .epochs = 1, .batch = 128};

static struct paper_report *report_new(void) {
    struct paper_report *report = MEMORY_TAKE_ARRAY(struct paper_report, 1);
    assert_non_null(report);
    report->settings = &settings;
    report->train_samples = report->train_total = 100;
    report->test_samples = report->test_total = SAMPLES;
    return report;
}

static void report_end(struct paper_report *report) {
    paper_report_free(report);
    memory_free(report);
}

static void one_seed_has_wilsons_interval_and_more_have_students(void **state) {
    (void)state;
    struct paper_report *report = report_new();
    put(report, PAPER_LORA, 1, 10);

    struct paper_summary one = paper_report_figure(report, PAPER_LORA, PAPER_HIT_ALL);
    put(report, PAPER_LORA, 2, 14);
    struct paper_summary two = paper_report_figure(report, PAPER_LORA, PAPER_HIT_ALL);

    assert_int_equal(one.seeds, 1);
    assert_true(fabs(one.mean - 0.25) < 1e-12);
    assert_true(fabs(one.interval.low - wilson_interval(10, SAMPLES).low) < 1e-12);
    assert_int_equal(two.seeds, 2);
    assert_true(fabs(two.mean - 0.30) < 1e-12);
    /* s = 0.05 sqrt(2), so the half width is t(0.975, 1) 0.05 */
    assert_true(fabs(two.interval.high - two.mean - 12.7062047364 * 0.05) < 1e-6);
    report_end(report);
}

static void the_difference_pairs_seeds_that_both_have(void **state) {
    (void)state;
    struct paper_report *report = report_new();
    struct paper_summary difference;
    put(report, PAPER_LORA, 1, 10);
    put(report, PAPER_ILORA, 1, 20);
    put(report, PAPER_ILORA, 2, 0); /* no LoRA of that seed */

    ASSERT_OK(paper_report_difference(report, false, &difference, &err), err);

    assert_int_equal(difference.seeds, 1);
    assert_true(fabs(difference.mean - 0.25) < 1e-12);
    assert_true(difference.interval.low > 0.0 && difference.interval.high < 0.5);
    report_end(report);
}

static void nothing_to_pair_is_no_difference(void **state) {
    (void)state;
    struct paper_report *report = report_new();
    struct paper_summary difference;
    put(report, PAPER_ILORA, 1, 20);

    ASSERT_OK(paper_report_difference(report, false, &difference, &err), err);

    assert_int_equal(difference.seeds, 0);
    report_end(report);
}

static void a_limited_run_says_so_and_a_full_one_does_not(void **state) {
    (void)state;
    struct paper_report *report = report_new();
    struct buffer full = {0}, limited = {0};
    put(report, PAPER_ILORA, 1, 20);

    ASSERT_OK(paper_report_table(report, &full, &err), err);
    report->train_total = 1000;
    ASSERT_OK(paper_report_table(report, &limited, &err), err);

    assert_int_equal(buffer_append(&full, "", 1), STATUS_OK);
    assert_int_equal(buffer_append(&limited, "", 1), STATUS_OK);
    ASSERT_CONTAINS((char *)limited.data, "LIMITED RUN: 100 of 1000 training samples");
    ASSERT_CONTAINS((char *)limited.data, "iLoRA, K=4");
    assert_null(strstr((char *)full.data, "LIMITED"));
    assert_null(strstr((char *)full.data, "LoRA, K=1")); /* a method that did not run */
    buffer_free(&full);
    buffer_free(&limited);
    report_end(report);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_seed_has_wilsons_interval_and_more_have_students),
        cmocka_unit_test(the_difference_pairs_seeds_that_both_have),
        cmocka_unit_test(nothing_to_pair_is_no_difference),
        cmocka_unit_test(a_limited_run_says_so_and_a_full_one_does_not),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
