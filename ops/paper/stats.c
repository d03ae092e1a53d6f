/* SPDX-License-Identifier: Apache-2.0
 *
 * stats.c - quantiles by bisection of exact distribution functions, resampling by counter.
 *
 * Everything is a function of its arguments: the same results give the same intervals. */
#include "ops/paper/stats.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>

#include "base/memory.h"
#include "base/rng.h"

#define CONFIDENCE       0.95
#define NORMAL_975       1.959963984540054 /* 0.975 quantile of the normal distribution */
#define FRACTION_STEPS   300               /* of the continued fraction; converges in tens */
#define BISECTION_STEPS  200
#define T_QUANTILE_MAX   1e6
#define STREAM_BOOTSTRAP 0x626f6f74u /* "boot" */

/* ---- Student's t ----------------------------------------------------------------------------- */

/* Continued fraction of the incomplete beta function by Lentz's method (Abramowitz & Stegun
 * 26.5.8). */
static double beta_fraction(double a, double b, double x) {
    const double tiny = 1e-300;
    double c = 1.0, d = 1.0 - (a + b) * x / (a + 1.0);
    d = 1.0 / (fabs(d) < tiny ? tiny : d);
    double fraction = d;
    for (int m = 1; m <= FRACTION_STEPS; m++) {
        double even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        double odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        const double terms[2] = {even, odd};
        double change = 1.0;
        for (int i = 0; i < 2; i++) {
            d = 1.0 + terms[i] * d;
            c = 1.0 + terms[i] / c;
            d = 1.0 / (fabs(d) < tiny ? tiny : d);
            if (fabs(c) < tiny) { c = tiny; }
            change = c * d;
            fraction *= change;
        }
        if (fabs(change - 1.0) < 1e-15) { break; }
    }
    return fraction;
}

/* Regularised incomplete beta I_x(a, b). */
static double beta_incomplete(double a, double b, double x) {
    if (x <= 0.0) { return 0.0; }
    if (x >= 1.0) { return 1.0; }
    double front =
        exp(lgamma(a + b) - lgamma(a) - lgamma(b) + a * log(x) + b * log1p(-x)); /* x^a (1-x)^b/B */
    if (x < (a + 1.0) / (a + b + 2.0)) { return front * beta_fraction(a, b, x) / a; }
    return 1.0 - front * beta_fraction(b, a, 1.0 - x) / b;
}

/* P(T <= t), t >= 0 */
static double student_t_below(double t, double freedom) {
    return 1.0 - 0.5 * beta_incomplete(freedom / 2.0, 0.5, freedom / (freedom + t * t));
}

double student_t_quantile(double p, int freedom) {
    assert(p > 0.0 && p < 1.0);
    assert(freedom >= 1);
    if (p < 0.5) { return -student_t_quantile(1.0 - p, freedom); }
    double low = 0.0, high = T_QUANTILE_MAX;
    for (int i = 0; i < BISECTION_STEPS; i++) {
        double middle = 0.5 * (low + high);
        if (student_t_below(middle, (double)freedom) < p) {
            low = middle;
        } else {
            high = middle;
        }
    }
    return 0.5 * (low + high);
}

double mean_with_interval(const double *values, int count, struct interval *ret_interval) {
    assert(count >= 1);
    double sum = 0.0, squares = 0.0;
    for (int i = 0; i < count; i++) {
        sum += values[i];
    }
    double mean = sum / count;
    if (count == 1) {
        *ret_interval = (struct interval){(double)NAN, (double)NAN};
        return mean;
    }
    for (int i = 0; i < count; i++) {
        squares += (values[i] - mean) * (values[i] - mean);
    }
    double error_of_mean = sqrt(squares / (count - 1) / count);
    double half = student_t_quantile(0.5 + CONFIDENCE / 2.0, count - 1) * error_of_mean;
    *ret_interval = (struct interval){mean - half, mean + half};
    return mean;
}

/* ---- shares ---------------------------------------------------------------------------------- */

struct interval wilson_interval(int64_t hits, int64_t samples) {
    assert(samples >= 1);
    assert(hits >= 0 && hits <= samples);
    const double n = (double)samples, z = NORMAL_975, share = (double)hits / n;
    double centre = (share + z * z / (2.0 * n)) / (1.0 + z * z / n);
    double half = z / (1.0 + z * z / n) * sqrt(share * (1.0 - share) / n + z * z / (4.0 * n * n));
    struct interval interval = {centre - half, centre + half};
    if (hits == 0 || interval.low < 0.0) { interval.low = 0.0; }
    if (hits == samples || interval.high > 1.0) { interval.high = 1.0; }
    return interval;
}

/* ---- bootstrap ------------------------------------------------------------------------------- */

static int compare_reals(const void *a, const void *b) {
    double left = *(const double *)a, right = *(const double *)b;
    return (left > right) - (left < right);
}

/* The value below which a share p of the sorted values lies, between neighbours by weight. */
static double percentile(const double *sorted, int count, double p) {
    double place = p * (count - 1);
    int below = (int)floor(place);
    int above = below + 1 < count ? below + 1 : below;
    return sorted[below] + (place - below) * (sorted[above] - sorted[below]);
}

/* One round: how often each seed is drawn, then samples, each summed over the drawn seeds. */
static double one_round(const int8_t *differences, int seeds, int samples, int *drawn,
                        struct rng *rng) {
    int64_t sum = 0;
    for (int s = 0; s < seeds; s++) {
        drawn[s] = 0;
    }
    for (int s = 0; s < seeds; s++) {
        drawn[rng_below(rng, (uint64_t)seeds)]++;
    }
    for (int i = 0; i < samples; i++) {
        size_t sample = (size_t)rng_below(rng, (uint64_t)samples);
        for (int s = 0; s < seeds; s++) {
            sum += (int64_t)drawn[s] * differences[(size_t)s * (size_t)samples + sample];
        }
    }
    return (double)sum / ((double)seeds * (double)samples);
}

enum status paired_bootstrap(const int8_t *differences, int seeds, int samples, uint64_t seed,
                             double *ret_mean, struct interval *ret_interval, struct error *err) {
    assert(seeds >= 1 && samples >= 1);
    double *means = MEMORY_TAKE_ARRAY(double, PAPER_BOOTSTRAP_ROUNDS);
    int *drawn = MEMORY_TAKE_ARRAY(int, seeds);
    enum status status = STATUS_OK;
    if (means == NULL || drawn == NULL) {
        status = error_set(err, STATUS_NO_MEMORY, "bootstrap of %d rounds", PAPER_BOOTSTRAP_ROUNDS);
        goto done;
    }
    struct rng rng = rng_make(seed, STREAM_BOOTSTRAP);
    for (int round = 0; round < PAPER_BOOTSTRAP_ROUNDS; round++) {
        means[round] = one_round(differences, seeds, samples, drawn, &rng);
    }
    qsort(means, PAPER_BOOTSTRAP_ROUNDS, sizeof *means, compare_reals);

    int64_t sum = 0;
    for (size_t i = 0; i < (size_t)seeds * (size_t)samples; i++) {
        sum += differences[i];
    }
    *ret_mean = (double)sum / ((double)seeds * (double)samples);
    ret_interval->low = percentile(means, PAPER_BOOTSTRAP_ROUNDS, (1.0 - CONFIDENCE) / 2.0);
    ret_interval->high = percentile(means, PAPER_BOOTSTRAP_ROUNDS, (1.0 + CONFIDENCE) / 2.0);
done:
    memory_free(means);
    memory_free(drawn);
    return status;
}
