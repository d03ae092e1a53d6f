/* SPDX-License-Identifier: Apache-2.0
 *
 * stacker.c - softmax regression over lists: standardise, score, one AdaGrad step a list.
 *
 * Standardisation: mean and variance of each feature over the candidates of the lists seen, with
 * forgetting. A constant shift of a feature within a list does not change its softmax, so only the
 * scale matters for the fit; the mean keeps scores small.
 */
#include "model/stacker.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#define VARIANCE_FLOOR 1e-4 /* a feature that never moved is not blown up */
#define ADAGRAD_EPS    1e-6

void stacker_init(struct stacker *stacker, uint32_t active) {
    assert(active != 0 && active < 1u << FEATURE_COUNT);
    memset(stacker, 0, sizeof *stacker);
    stacker->active = active;
    for (int f = 0; f < FEATURE_COUNT; f++) {
        stacker->variance[f] = 1;
        bool first_three = f <= FEATURE_POPULARITY;
        if ((active >> f & 1u) != 0 && first_three) { stacker->weight[f] = f == 2 ? 0.25 : 1; }
    }
}

void stacker_follow(struct stacker *stacker, const struct stacker *before,
                    const struct stacker *after) {
    assert((stacker->active & after->active) == after->active);
    for (int f = 0; f < FEATURE_COUNT; f++) {
        if ((after->active >> f & 1u) == 0) { continue; }
        stacker->weight[f] += after->weight[f] - before->weight[f];
        stacker->mean[f] = after->mean[f];
        stacker->variance[f] = after->variance[f];
    }
}

static bool stacker_uses(const struct stacker *stacker, int feature) {
    return (stacker->active >> feature & 1u) != 0;
}

void stacker_score(const struct stacker *stacker, const float *features, int count,
                   float *ret_scores) {
    float scale[FEATURE_COUNT]; /* of the features that count */
    int used[FEATURE_COUNT];
    int used_count = 0;
    double offset = 0;

    for (int f = 0; f < FEATURE_COUNT; f++) {
        double deviation = sqrt(stacker->variance[f] + VARIANCE_FLOOR);
        double weight = stacker_uses(stacker, f) ? stacker->weight[f] / deviation : 0;
        if (weight == 0) { continue; }
        scale[used_count] = (float)weight;
        used[used_count++] = f;
        offset -= weight * stacker->mean[f];
    }
    for (int c = 0; c < count; c++) {
        const float *x = features + (size_t)c * FEATURE_COUNT; /* x (FEATURE_COUNT) */
        float score = (float)offset;
        for (int k = 0; k < used_count; k++) {
            score += scale[k] * x[used[k]];
        }
        ret_scores[c] = score;
    }
}

void stacker_probabilities(float *scores, int count) {
    float highest = -INFINITY;
    double sum = 0;

    for (int c = 0; c < count; c++) {
        if (scores[c] > highest) { highest = scores[c]; }
    }
    for (int c = 0; c < count; c++) {
        scores[c] = expf(scores[c] - highest);
        sum += (double)scores[c];
    }
    for (int c = 0; c < count; c++) {
        scores[c] = (float)((double)scores[c] / sum);
    }
}

/* Sums and squares of every feature over the list, in one pass over memory. */
struct list_sums {
    double sum[FEATURE_COUNT], squares[FEATURE_COUNT];
};

static void list_sums(const float *features, int count, struct list_sums *ret_sums) {
    memset(ret_sums, 0, sizeof *ret_sums);
    for (int c = 0; c < count; c++) {
        const float *x = features + (size_t)c * FEATURE_COUNT;
        for (int f = 0; f < FEATURE_COUNT; f++) {
            ret_sums->sum[f] += (double)x[f];
            ret_sums->squares[f] += (double)x[f] * (double)x[f];
        }
    }
}

/* A feature that is not finite makes its sum so. */
static bool sums_are_finite(const struct stacker *stacker, const struct list_sums *sums) {
    for (int f = 0; f < FEATURE_COUNT; f++) {
        if (stacker_uses(stacker, f) && !isfinite(sums->squares[f])) { return false; }
    }
    return true;
}

/* Means and variances move towards this list's, the faster the fewer lists were seen. */
static void stacker_observe(struct stacker *stacker, const struct stacker_settings *settings,
                            const struct list_sums *sums, int count) {
    stacker->seen = stacker->seen * settings->forgetting + 1;
    double share = 1 / stacker->seen;

    for (int f = 0; f < FEATURE_COUNT; f++) {
        if (!stacker_uses(stacker, f)) { continue; }
        double mean = sums->sum[f] / count;
        double variance = sums->squares[f] / count - mean * mean;
        if (variance < 0) { variance = 0; }
        double delta = mean - stacker->mean[f];
        stacker->mean[f] += share * delta;
        stacker->variance[f] += share * (variance - stacker->variance[f]);
    }
}

/* gradient of -log p(target) with respect to the weights of standardised features */
static void stacker_gradient(const struct stacker *stacker, const float *features,
                             const float *probabilities, int count, int target,
                             double ret_gradient[FEATURE_COUNT]) {
    const float *at_target = features + (size_t)target * FEATURE_COUNT;
    double expected[FEATURE_COUNT] = {0};

    for (int c = 0; c < count; c++) {
        const float *x = features + (size_t)c * FEATURE_COUNT;
        for (int f = 0; f < FEATURE_COUNT; f++) {
            expected[f] += (double)probabilities[c] * (double)x[f];
        }
    }
    for (int f = 0; f < FEATURE_COUNT; f++) {
        double deviation = sqrt(stacker->variance[f] + VARIANCE_FLOOR);
        bool used = stacker_uses(stacker, f);
        ret_gradient[f] = used ? (expected[f] - (double)at_target[f]) / deviation : 0;
    }
}

void stacker_fit(struct stacker *stacker, const struct stacker_settings *settings,
                 const float *features, int count, int target, float *scratch) {
    float *probabilities = scratch; /* (count) */
    double gradient[FEATURE_COUNT];
    struct list_sums sums;

    assert(count > 0);
    assert(target >= 0 && target < count);
    if (count < 2) { return; }
    list_sums(features, count, &sums);
    if (!sums_are_finite(stacker, &sums)) { return; }
    stacker_observe(stacker, settings, &sums, count);
    stacker_score(stacker, features, count, probabilities);
    stacker_probabilities(probabilities, count);
    stacker_gradient(stacker, features, probabilities, count, target, gradient);

    for (int f = 0; f < FEATURE_COUNT; f++) {
        if (!stacker_uses(stacker, f)) { continue; }
        double step = gradient[f] + settings->l2 * stacker->weight[f];
        stacker->gradient2[f] = stacker->gradient2[f] * settings->forgetting + step * step;
        stacker->weight[f] -= settings->rate * step / sqrt(stacker->gradient2[f] + ADAGRAD_EPS);
    }
}
