/* SPDX-License-Identifier: Apache-2.0
 *
 * test_stacker.c - the stack finds out whom to believe. */
#include <math.h>

#include "base/rng.h"
#include "model/stacker.h"
#include "tests/support/unit.h"

#define LIST 10

static const struct stacker_settings settings = {.rate = 0.1, .l2 = 1e-4, .forgetting = 0.9999};

/* The target is item 0; co-visitation knows it, SASRec does not. */
static void list_make(struct rng *rng, float *ret_features) {
    for (int n = 0; n < LIST * FEATURE_COUNT; n++) {
        ret_features[n] = (float)rng_normal(rng);
    }
    ret_features[FEATURE_COVISITATION] += 2;
}

static double loss_of(const struct stacker *stacker, const float *features) {
    float scores[LIST];

    stacker_score(stacker, features, LIST, scores);
    stacker_probabilities(scores, LIST);
    return -log((double)scores[0]);
}

static void fit_learns_which_feature_predicts(void **state) {
    struct stacker stacker;
    struct rng rng = rng_make(1, 1);
    float features[LIST * FEATURE_COUNT], scratch[LIST];
    double first = 0, last = 0;

    (void)state;
    stacker_init(&stacker, (1u << FEATURE_FAST_COUNT) - 1);
    for (int n = 0; n < 600; n++) {
        list_make(&rng, features);
        if (n < 50) { first += loss_of(&stacker, features); }
        if (n >= 550) { last += loss_of(&stacker, features); }
        stacker_fit(&stacker, &settings, features, LIST, 0, scratch);
    }

    assert_true(last < 0.97 * first);
    assert_true(stacker.weight[FEATURE_COVISITATION] > 1);
    assert_true(fabs(stacker.weight[FEATURE_SASREC]) < 0.4);
    assert_true(stacker.weight[FEATURE_TITLE] == 0);
}

static void a_feature_that_is_not_finite_leaves_the_stack_unchanged(void **state) {
    struct stacker stacker, before;
    struct rng rng = rng_make(1, 1);
    float features[LIST * FEATURE_COUNT], scratch[LIST];

    (void)state;
    stacker_init(&stacker, (1u << FEATURE_FAST_COUNT) - 1);
    list_make(&rng, features);
    features[3 * FEATURE_COUNT + FEATURE_POPULARITY] = NAN;
    before = stacker;
    stacker_fit(&stacker, &settings, features, LIST, 0, scratch);
    assert_memory_equal(&before, &stacker, sizeof before);

    features[3 * FEATURE_COUNT + FEATURE_POPULARITY] = 1; /* an inactive feature may be anything */
    features[2 * FEATURE_COUNT + FEATURE_TITLE] = NAN;
    stacker_fit(&stacker, &settings, features, LIST, 0, scratch);
    assert_memory_not_equal(&before, &stacker, sizeof before);
}

static void a_feature_shifted_for_all_candidates_changes_no_probability(void **state) {
    struct stacker stacker;
    struct rng rng = rng_make(2, 1);
    float features[LIST * FEATURE_COUNT], a[LIST], b[LIST];

    (void)state;
    stacker_init(&stacker, (1u << FEATURE_FAST_COUNT) - 1);
    list_make(&rng, features);
    stacker_score(&stacker, features, LIST, a);
    stacker_probabilities(a, LIST);
    for (int c = 0; c < LIST; c++) {
        features[c * FEATURE_COUNT + FEATURE_SASREC] -= 3;
    }
    stacker_score(&stacker, features, LIST, b);
    stacker_probabilities(b, LIST);

    double sum = 0;
    for (int c = 0; c < LIST; c++) {
        assert_true(fabsf(a[c] - b[c]) < 1e-5F);
        sum += (double)a[c];
    }
    assert_true(fabs(sum - 1) < 1e-5);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fit_learns_which_feature_predicts),
        cmocka_unit_test(a_feature_that_is_not_finite_leaves_the_stack_unchanged),
        cmocka_unit_test(a_feature_shifted_for_all_candidates_changes_no_probability),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
