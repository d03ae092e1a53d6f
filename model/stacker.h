/* SPDX-License-Identifier: Apache-2.0
 *
 * stacker.h - one score out of several: softmax regression over candidate lists, fitted online.
 *
 *   score(c) = w · standardised features(c);  p = softmax over the list;  loss = -log p(target) +
 * L2
 *
 * Features are standardised by running means and variances with forgetting. Steps are plain
 * gradient steps with a per-feature AdaGrad rate; everything is double, in list order: a function
 * of the lists alone.
 */
#ifndef MODEL_STACKER_H
#define MODEL_STACKER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"

enum feature {
    FEATURE_SASREC,       /* log-probability over the catalogue */
    FEATURE_COVISITATION, /* log(cosine sum + epsilon) */
    FEATURE_POPULARITY,   /* log(count + 1) */
    FEATURE_DECAYED,      /* log(decayed + epsilon) */
    FEATURE_UNSEEN,       /* 1 when the item has fewer than 5 events */
    FEATURE_ITEM_HEAD,    /* log-probability of the language model's item head */
    FEATURE_TITLE,        /* summed token log-likelihood of the title given the prompt */
    FEATURE_TITLE_PRIOR,  /* the same under an empty history */
};
#define FEATURE_COUNT      8
#define FEATURE_FAST_COUNT 5 /* the first five: what the fast tier has */

struct stacker {
    double weight[FEATURE_COUNT];
    double mean[FEATURE_COUNT], variance[FEATURE_COUNT];
    double gradient2[FEATURE_COUNT]; /* AdaGrad sums, with forgetting */
    double seen;                     /* lists, with forgetting */
    uint32_t active;                 /* bit a feature in use */
};

struct stacker_settings {
    double rate;       /* 0.05 */
    double l2;         /* 1e-4 */
    double forgetting; /* per list: 1 - 1/20000 */
};

/* active: bits of the features; weights start at 1, 1 and 1/4 for the first three, else at 0. */
void stacker_init(struct stacker *stacker, uint32_t active);
/* A stack with more features follows one that sees many more lists: the change of its weights since
 * `before` and its measured means and variances are taken over; what the stack learned on top of
 * them stays. */
void stacker_follow(struct stacker *stacker, const struct stacker *before,
                    const struct stacker *after);
/* score (count) of candidates with features (count, FEATURE_COUNT). */
void stacker_score(const struct stacker *stacker, const float *features, int count,
                   float *ret_scores);
/* Learns from one list; target is an index into it; scratch (count). A non-finite feature leaves it
 * unchanged, a list of one teaches nothing. */
void stacker_fit(struct stacker *stacker, const struct stacker_settings *settings,
                 const float *features, int count, int target, float *scratch);
/* In place: probabilities over the list. */
void stacker_probabilities(float *scores, int count);

#endif
