/* SPDX-License-Identifier: Apache-2.0
 *
 * rates.c - by the learner's backlog, and without one by its busy share.
 *
 * Why it exists: nobody knows in advance how many events a second a device can train on; the
 * backlog of the learner tells.
 * Thread: core. */
#include "daemon/rates.h"

/* a batch of 256 then costs 4 rows: seconds on the slowest CPU */
#define FIRST_LM_RATE  (1.0 / 64)
#define LM_RATE_MIN    (1.0 / 512)
#define EVAL_SHARE_MIN (1.0 / 16)
#define FAST_SHARE_MIN (1.0 / 64)
#define DECREASE       0.7
#define FAST_DECREASE  0.9 /* slowly: a burst is waited out by what the ring holds back */
#define INCREASE       1.15
#define INCREASE_MAX   1.3
#define BUSY_WANTED    0.85 /* share of the time the learner is to work */
#define BUSY_TOO_MUCH  0.95
#define BUSY_DECREASE  0.85
#define BUSY_BATCHES   4 /* behind by more: too much */
#define CALM_BATCHES   2 /* behind by less: there is time */

struct core_rates rates_first(const struct settings *settings) {
    struct core_rates rates = {.lm_rate = settings->train_lm_rate_max,
                               .eval_rate = settings->eval_rate,
                               .eval_lm_rate = settings->eval_lm_rate,
                               .fast_share = settings->predict_fast_share};
    if (!settings->engine_strict && rates.lm_rate > FIRST_LM_RATE) {
        rates.lm_rate = FIRST_LM_RATE;
    }
    return rates;
}

static double towards(double value, double factor, double minimum, double maximum) {
    value *= factor;
    if (value < minimum) { value = minimum; }
    return value > maximum ? maximum : value;
}

/* Without a backlog the learner's busy share of the time decides: up in proportion to what is left,
 * down a little when nothing is. The backlog alone would tell too late: rows already marked take
 * seconds, and the rate swung between a quarter and nothing. */
static double by_business(double busy) {
    if (busy > BUSY_TOO_MUCH) { return BUSY_DECREASE; }
    if (busy * INCREASE_MAX < BUSY_WANTED) { return INCREASE_MAX; }
    return BUSY_WANTED / busy;
}

struct core_rates rates_next(const struct settings *settings, const struct core_rates *now,
                             const struct rates_load *load) {
    struct core_rates next = *now;
    if (settings->engine_strict) { return next; }
    next.eval_rate = settings->eval_rate;
    double lm_max = settings->train_lm_rate_max, lm_min = lm_max * LM_RATE_MIN;
    double eval_max = settings->eval_lm_rate, eval_min = eval_max * EVAL_SHARE_MIN;
    double fast_max = settings->predict_fast_share, fast_min = fast_max * FAST_SHARE_MIN;
    uint64_t batch = (uint64_t)settings->train_batch_events;
    uint64_t most = (uint64_t)settings->train_backlog_max;
    bool lm_at_min = now->lm_rate <= lm_min && now->eval_lm_rate <= eval_min;
    if (load->backlog > most / 4 * 3 && lm_at_min) {
        next.fast_share = towards(now->fast_share, FAST_DECREASE, fast_min, fast_max);
    } else if (load->backlog < most / 2) {
        next.fast_share = towards(now->fast_share, INCREASE, fast_min, fast_max);
    }
    if (load->backlog > BUSY_BATCHES * batch) {
        bool far_behind = load->backlog > most / 2;
        if (now->eval_lm_rate > eval_min) {
            next.eval_lm_rate = towards(now->eval_lm_rate, DECREASE, eval_min, eval_max);
        }
        if (now->eval_lm_rate <= eval_min || far_behind) {
            next.lm_rate = towards(now->lm_rate, DECREASE, lm_min, lm_max);
        }
    } else if (load->backlog < CALM_BATCHES * batch && now->fast_share >= fast_max) {
        next.lm_rate = towards(now->lm_rate, by_business(load->busy), lm_min, lm_max);
        if (load->busy < BUSY_WANTED) {
            next.eval_lm_rate = towards(now->eval_lm_rate, INCREASE, eval_min, eval_max);
        }
    }
    return next;
}
