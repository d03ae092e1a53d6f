/* SPDX-License-Identifier: Apache-2.0
 *
 * stats.h - 95 % intervals of the offline protocol: over seeds, over samples, and of a
 * difference between two methods on the same samples.
 *
 *   several seeds     mean +- t(0.975, n-1) s / sqrt(n)           Student 1908
 *   one seed          Wilson's score interval of hits in samples  Wilson 1927
 *   method a minus b  paired bootstrap over samples and seeds     Efron & Tibshirani 1993, ch. 13
 */
#ifndef OPS_PAPER_STATS_H
#define OPS_PAPER_STATS_H

#include <stdint.h>

#include "base/status.h"

struct interval {
    double low, high;
};

#define PAPER_BOOTSTRAP_ROUNDS 10000

/* The p-quantile of Student's t with `freedom` >= 1 degrees of freedom; 0 < p < 1. */
double student_t_quantile(double p, int freedom);

/* Mean of count >= 1 values and its 95 % interval by Student's t; with one value the interval is
 * NaN. */
double mean_with_interval(const double *values, int count, struct interval *ret_interval);

/* 95 % interval of a share: hits of samples, samples >= 1. */
struct interval wilson_interval(int64_t hits, int64_t samples);

/* Mean and 95 % percentile interval of per-sample differences (seeds, samples) row-major: each
 * round draws seeds with replacement and, for all of them, one set of samples with replacement, so
 * that a sample which is hard in every seed stays one sample. A function of its arguments alone.
 * NO_MEMORY. */
MUST_CHECK enum status paired_bootstrap(const int8_t *differences, int seeds, int samples,
                                        uint64_t seed, double *ret_mean,
                                        struct interval *ret_interval, struct error *err);

#endif
