/* SPDX-License-Identifier: Apache-2.0
 *
 * test_rates.c - what costs most gives way first, and comes back last.
 */
#include "daemon/rates.h"

#include <stdlib.h>

#include "tests/support/unit.h"

static int setup(void **state) {
    struct settings *settings = calloc(1, sizeof *settings);
    struct error err = {0};
    assert_non_null(settings);
    ASSERT_OK(settings_load(NULL, NULL, 0, settings, &err), err);
    *state = settings;
    return 0;
}

static int teardown(void **state) {
    free(*state);
    return 0;
}

static struct core_rates after(const struct settings *settings, struct core_rates rates,
                               uint64_t backlog, int seconds) {
    struct rates_load load = {.backlog = backlog};
    for (int i = 0; i < seconds; i++) {
        rates = rates_next(settings, &rates, &load);
    }
    return rates;
}

static void a_new_shard_begins_low_and_grows_to_the_maximum(void **state) {
    const struct settings *s = *state;
    struct core_rates rates = rates_first(s);
    assert_true(rates.lm_rate < 0.1 * s->train_lm_rate_max);
    assert_true(rates.fast_share >= s->predict_fast_share);

    rates = after(s, rates, 0, 60);

    assert_true(rates.lm_rate == s->train_lm_rate_max);
    assert_true(rates.eval_lm_rate == s->eval_lm_rate);
    assert_true(rates.fast_share == s->predict_fast_share);
}

static void strict_mode_has_fixed_rates(void **state) {
    struct settings *s = *state;
    s->engine_strict = true;
    struct core_rates first = rates_first(s);
    struct core_rates rates = after(s, first, 1000000, 50);

    assert_true(first.lm_rate == s->train_lm_rate_max);
    assert_memory_equal(&rates, &first, sizeof rates);
}

static void evaluation_gives_way_before_training_and_training_before_the_fast_tier(void **state) {
    const struct settings *s = *state;
    struct core_rates full = {s->train_lm_rate_max, s->eval_rate, s->eval_lm_rate,
                              s->predict_fast_share};
    uint64_t busy = 5 * (uint64_t)s->train_batch_events; /* behind, not far behind */
    struct core_rates once = after(s, full, busy, 1);
    assert_true(once.eval_lm_rate < full.eval_lm_rate);
    assert_true(once.lm_rate == full.lm_rate);

    struct core_rates later = after(s, full, busy, 200);
    assert_true(later.eval_lm_rate > 0 && later.eval_lm_rate < 0.1 * full.eval_lm_rate);
    assert_true(later.lm_rate > 0 && later.lm_rate < 0.01);
    assert_true(later.fast_share == full.fast_share); /* not far behind: untouched */

    uint64_t far = (uint64_t)s->train_backlog_max;
    struct core_rates worst = after(s, full, far, 400);
    assert_true(worst.fast_share > 0 && worst.fast_share < 0.1);
}

static void recovery_goes_the_other_way_round(void **state) {
    const struct settings *s = *state;
    struct core_rates full = {s->train_lm_rate_max, s->eval_rate, s->eval_lm_rate,
                              s->predict_fast_share};
    struct core_rates worst = after(s, full, (uint64_t)s->train_backlog_max, 400);
    struct core_rates once = after(s, worst, 0, 1);
    assert_true(once.fast_share > worst.fast_share);
    assert_true(once.lm_rate == worst.lm_rate);

    struct core_rates back = after(s, worst, 0, 200);
    assert_true(back.fast_share == full.fast_share && back.lm_rate == full.lm_rate);
}

static void between_busy_and_calm_nothing_moves(void **state) {
    const struct settings *s = *state;
    struct core_rates rates = {0.5, s->eval_rate, 0.5 * s->eval_lm_rate, 1.0};
    struct core_rates next = after(s, rates, 3 * (uint64_t)s->train_batch_events, 10);

    assert_memory_equal(&next, &rates, sizeof next);
}

static void without_a_backlog_the_busy_share_decides(void **state) {
    const struct settings *s = *state;
    struct core_rates rates = {0.1, s->eval_rate, s->eval_lm_rate, s->predict_fast_share};
    struct rates_load idle = {.busy = 0.2}, half = {.busy = 0.8}, full = {.busy = 1.0};

    struct core_rates more = rates_next(s, &rates, &idle);
    struct core_rates little = rates_next(s, &rates, &half);
    struct core_rates less = rates_next(s, &rates, &full);

    assert_true(more.lm_rate > little.lm_rate && little.lm_rate > rates.lm_rate);
    assert_true(more.lm_rate < 2 * rates.lm_rate); /* one batch is a small sample */
    assert_true(less.lm_rate < rates.lm_rate && less.lm_rate > 0.5 * rates.lm_rate);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_new_shard_begins_low_and_grows_to_the_maximum, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(strict_mode_has_fixed_rates, setup, teardown),
        cmocka_unit_test_setup_teardown(
            evaluation_gives_way_before_training_and_training_before_the_fast_tier, setup,
            teardown),
        cmocka_unit_test_setup_teardown(recovery_goes_the_other_way_round, setup, teardown),
        cmocka_unit_test_setup_teardown(without_a_backlog_the_busy_share_decides, setup, teardown),
        cmocka_unit_test_setup_teardown(between_busy_and_calm_nothing_moves, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
