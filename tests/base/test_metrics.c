/* SPDX-License-Identifier: Apache-2.0
 *
 * test_metrics.c - the exposition text, limits, and updates from two threads.
 */
#include "base/metrics.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>

#include "tests/support/fault.h"
#include "tests/support/unit.h"

static struct metric *add(struct metrics *metrics, enum metric_kind kind, const char *name,
                          const char *labels) {
    struct metric *metric = NULL;
    struct error err;
    ASSERT_OK(metrics_add(metrics, kind, name, labels, "Help.", NULL, 0, &metric, &err), err);
    return metric;
}

static struct metrics *registry(void) {
    struct metrics *metrics = NULL;
    struct error err;
    ASSERT_OK(metrics_init(&metrics, &err), err);
    return metrics;
}

static void the_text_is_sorted_and_escaped(void **state) {
    (void)state;
    static const double bounds[] = {0.005, 1};
    struct metrics *metrics = registry();
    struct metric *histogram = NULL;
    struct buffer out = {.size = 0};
    struct error err;

    metric_add(add(metrics, METRIC_COUNTER, "b_total", "k=\"2\""), 3);
    metric_add(add(metrics, METRIC_COUNTER, "b_total", "k=\"1\""), 0.5);
    metric_add(add(metrics, METRIC_COUNTER, "b_total", "k=\"2\""), 1e15);
    metric_set(add(metrics, METRIC_GAUGE, "c", ""), -HUGE_VAL);
    ASSERT_OK(metrics_add(metrics, METRIC_HISTOGRAM, "a_seconds", "t=\"x\"", "One\nline \\ of help",
                          bounds, 2, &histogram, &err),
              err);
    metric_observe(histogram, 0.005);
    metric_observe(histogram, 0.5);
    metric_observe(histogram, 2);
    metric_observe(histogram, 2);
    ASSERT_STATUS(metrics_render(metrics, &out), STATUS_OK);
    ASSERT_STATUS(buffer_append(&out, "", 1), STATUS_OK);

    assert_string_equal((const char *)out.data, "# HELP a_seconds One\\nline \\\\ of help\n"
                                                "# TYPE a_seconds histogram\n"
                                                "a_seconds_bucket{t=\"x\",le=\"0.005\"} 1\n"
                                                "a_seconds_bucket{t=\"x\",le=\"1\"} 2\n"
                                                "a_seconds_bucket{t=\"x\",le=\"+Inf\"} 4\n"
                                                "a_seconds_sum{t=\"x\"} 4.505\n"
                                                "a_seconds_count{t=\"x\"} 4\n"
                                                "# HELP b_total Help.\n"
                                                "# TYPE b_total counter\n"
                                                "b_total{k=\"1\"} 0.5\n"
                                                "b_total{k=\"2\"} 1000000000000003\n"
                                                "# HELP c Help.\n"
                                                "# TYPE c gauge\n"
                                                "c -Inf\n");
    assert_true(metric_value(histogram) == 4.505);
    buffer_free(&out);
    metrics_free(metrics);
    metrics_free(NULL);
}

static void the_same_name_and_labels_are_the_same_series(void **state) {
    (void)state;
    struct metrics *metrics = registry();
    struct metric *a = add(metrics, METRIC_GAUGE, "g", "k=\"1\"");
    (void)add(metrics, METRIC_GAUGE, "g", "k=\"0\"");
    assert_ptr_equal(add(metrics, METRIC_GAUGE, "g", "k=\"1\""), a);
    metrics_free(metrics);
}

static void one_series_too_many_is_refused_by_name(void **state) {
    (void)state;
    struct metrics *metrics = registry();
    struct metric *metric = NULL;
    struct error err;
    char labels[32];
    for (int i = 0; i < METRIC_SERIES_MAX; i++) {
        (void)snprintf(labels, sizeof labels, "i=\"%d\"", i);
        (void)add(metrics, METRIC_COUNTER, "n_total", labels);
    }
    ASSERT_STATUS(
        metrics_add(metrics, METRIC_COUNTER, "n_total", "i=\"x\"", "Help.", NULL, 0, &metric, &err),
        STATUS_LIMIT);
    assert_null(metric);
    ASSERT_CONTAINS(err.text, "n_total{i=\"x\"}");
    assert_non_null(add(metrics, METRIC_COUNTER, "n_total", "i=\"7\""));
    metrics_free(metrics);
}

static void *add_many(void *context) {
    for (int i = 0; i < 20000; i++) {
        metric_add(context, 1);
    }
    return NULL;
}

static void no_addition_of_two_threads_is_lost(void **state) {
    (void)state;
    struct metrics *metrics = registry();
    struct metric *metric = add(metrics, METRIC_COUNTER, "n_total", "");
    struct buffer out = {.size = 0};
    pthread_t other;

    assert_int_equal(pthread_create(&other, NULL, add_many, metric), 0);
    (void)add_many(metric);
    ASSERT_STATUS(metrics_render(metrics, &out), STATUS_OK);
    assert_int_equal(pthread_join(other, NULL), 0);
    assert_true(metric_value(metric) == 40000);
    buffer_free(&out);
    metrics_free(metrics);
}

static enum status build_and_render(void *context) {
    (void)context;
    static const double bounds[] = {1};
    struct metrics *metrics = NULL;
    struct metric *metric = NULL;
    struct buffer out = {.size = 0};
    struct error err;
    enum status status = metrics_init(&metrics, &err);
    if (status == STATUS_OK) {
        status = metrics_add(metrics, METRIC_HISTOGRAM, "a", "", "h", bounds, 1, &metric, &err);
    }
    if (status == STATUS_OK) {
        status = metrics_add(metrics, METRIC_COUNTER, "b", "", "h", NULL, 0, &metric, &err);
    }
    if (status == STATUS_OK) { status = metrics_render(metrics, &out); }
    buffer_free(&out);
    metrics_free(metrics);
    return status;
}

static void every_allocation_may_fail(void **state) {
    (void)state;
    assert_true(fault_sweep(FAULT_MEMORY, STATUS_NO_MEMORY, build_and_render, NULL) > 15);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_text_is_sorted_and_escaped),
        cmocka_unit_test(the_same_name_and_labels_are_the_same_series),
        cmocka_unit_test(one_series_too_many_is_refused_by_name),
        cmocka_unit_test(no_addition_of_two_threads_is_lost),
        cmocka_unit_test(every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
