/* SPDX-License-Identifier: Apache-2.0
 *
 * core_score.c - how many users of a group the language model scores.
 *
 * Why it exists: scoring and training share one device; a score that is late is worth less than the
 * fast tier's answer, so scores get a bounded share of the time and a budget a group.
 * Thread: core. */
#include "daemon/core.h"
#include "base/clock.h"

#define SCORE_SHARE        0.3 /* of the time, for language-model scores of predictions */
#define SCORE_SHARE_BEHIND 0.1 /* while the learner is behind by more than so many batches: */
#define SCORE_CALM_BATCHES 2

void core_score_spent(struct core *core, int count, int64_t spent_us) {
    double user_us = (double)spent_us / count;
    core->lm_user_us = core->lm_user_us > 0 ? 0.8 * core->lm_user_us + 0.2 * user_us : user_us;
    core->lm_credit_us -= (double)spent_us;
}

/* The language model's share of time that goes to scores; less while the learner is behind. */
static double score_share(const struct core *core) {
    uint64_t backlog = engine_state(core->engine)->seq - learner_thread_seq(core->learner);
    bool behind = backlog > SCORE_CALM_BATCHES * (uint64_t)core->settings.train_batch_events;
    return behind ? SCORE_SHARE_BEHIND : SCORE_SHARE;
}

/* Language-model users the next group may have: what budget and credit allow at the measured cost,
 * none while records queue up. Recorded, so replay does the same. */
void core_score_choose(struct core *core) {
    if (core->settings.engine_strict) { return; }
    int64_t now_us = clock_monotonic_us();
    double budget_us = (double)core->settings.predict_lm_budget;
    core->lm_credit_us += score_share(core) * (double)(now_us - core->lm_credit_at_us);
    core->lm_credit_at_us = now_us;
    if (core->lm_credit_us > budget_us) { core->lm_credit_us = budget_us; }

    int64_t users = core->settings.predict_lm_users;
    if (core->lm_user_us > 0) {
        double affordable = core->lm_credit_us / core->lm_user_us;
        if (affordable < (double)users) { users = affordable > 0 ? (int64_t)affordable : 0; }
    }
    if (ring_usage(core->ring).messages > (size_t)core->settings.predict_group_events * 16) {
        users = 0;
    }
    engine_set_lm_users(core->engine, (int)users);
}
