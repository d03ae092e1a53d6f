/* SPDX-License-Identifier: Apache-2.0
 *
 * tensor_check.c - compares arrays in double and names the first element that is wrong.
 */
#include "tests/support/tensor_check.h"

#include <math.h>
#include <stdio.h>

/* Running sums of one comparison. */
struct comparison {
    const char *name;
    struct tensor_tolerance tolerance;
    double error_sum;     /* sum (a-b)^2 */
    double reference_sum; /* sum ref^2 */
};

static bool compare_one(struct comparison *comparison, size_t index, double a, double ref) {
    if (!isfinite(ref)) {
        (void)fprintf(stderr, "%s[%zu]: the reference is %g\n", comparison->name, index, ref);
        return false;
    }
    if (!isfinite(a)) {
        (void)fprintf(stderr, "%s[%zu] = %g, expected %.9g\n", comparison->name, index, a, ref);
        return false;
    }

    double allowed = comparison->tolerance.atol + comparison->tolerance.rtol * fabs(ref);
    double difference = fabs(a - ref);
    if (difference > allowed) {
        (void)fprintf(stderr, "%s[%zu] = %.9g, expected %.9g: off by %.3g, allowed %.3g\n",
                      comparison->name, index, a, ref, difference, allowed);
        return false;
    }
    comparison->error_sum += difference * difference;
    comparison->reference_sum += ref * ref;
    return true;
}

static bool compare_end(const struct comparison *comparison) {
    if (comparison->reference_sum == 0) { return true; } /* only zeros: atol has decided */
    double nmse = comparison->error_sum / comparison->reference_sum;
    if (nmse <= comparison->tolerance.nmse) { return true; }
    (void)fprintf(stderr, "%s: NMSE %.3g, allowed %.3g\n", comparison->name, nmse,
                  comparison->tolerance.nmse);
    return false;
}

bool tensor_check(const char *name, const float *a, const float *ref, size_t count,
                  struct tensor_tolerance tolerance) {
    struct comparison comparison = {.name = name, .tolerance = tolerance};
    for (size_t i = 0; i < count; i++) {
        if (!compare_one(&comparison, i, (double)a[i], (double)ref[i])) { return false; }
    }
    return compare_end(&comparison);
}

bool tensor_check_double(const char *name, const float *a, const double *ref, size_t count,
                         struct tensor_tolerance tolerance) {
    struct comparison comparison = {.name = name, .tolerance = tolerance};
    for (size_t i = 0; i < count; i++) {
        if (!compare_one(&comparison, i, (double)a[i], ref[i])) { return false; }
    }
    return compare_end(&comparison);
}

bool tensor_check_scaled(const char *name, const float *a, const float *ref, size_t count,
                         double bound) {
    double largest = 0;
    for (size_t i = 0; i < count; i++) {
        double magnitude = fabs((double)ref[i]);
        if (magnitude > largest) { largest = magnitude; }
    }
    return tensor_check(name, a, ref, count,
                        (struct tensor_tolerance){bound * largest, 0, HUGE_VAL});
}
