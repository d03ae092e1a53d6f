/* SPDX-License-Identifier: Apache-2.0
 *
 * test_lm_train.c - a step is a transaction, starts from nothing, and fails cleanly. */
#include <math.h>
#include <stdlib.h>

#include "base/fault.h"
#include "tests/model/lm_fixture.h"
#include "tests/support/unit.h"

static const struct lm_step step_settings = {.learning_rate = 1e-2f,
                                             .multiplier = {1.0f, 1.0f, 1.0f, 1.0f},
                                             .beta1 = 0.9f,
                                             .beta2 = 0.999f,
                                             .epsilon = 1e-8f,
                                             .clip_norm = 1.0f,
                                             .step = 1};

static void steps_lower_the_loss(void **state) {
    struct lm_fixture f;
    struct lm_step_stats first, last;
    struct lm_step how = step_settings;
    (void)state;
    lm_fixture_open(&f, 4, ILORA_HEAD_BOTH, true);
    struct language_model *lm = lm_fixture_model(&f, 200, true);
    lm_fixture_train(&f, lm, &how, &first);
    for (how.step = 2; how.step <= 30; how.step++) {
        lm_fixture_train(&f, lm, &how, &last);
    }

    assert_true(last.item_loss < 0.5 * first.item_loss);
    assert_true(last.title_loss < first.title_loss);
    assert_int_equal(first.samples, LM_SAMPLES);
    double sum = first.expert_weight[0] + first.expert_weight[1] + first.expert_weight[2] +
                 first.expert_weight[3];
    assert_true(fabs(sum - 1.0) < 1e-5);
    language_model_free(lm);
    lm_fixture_close(&f);
}

static void fresh_parameters_leave_the_base_alone_and_only_B_learns(void **state) {
    struct error err;
    struct lm_fixture f;
    struct ilora_params *fresh = NULL;
    float adapted[LM_SAMPLES * LM_ITEMS], frozen[LM_SAMPLES * LM_ITEMS];
    (void)state;
    lm_fixture_open(&f, 4, ILORA_HEAD_ITEM, false);
    struct language_model *lm = lm_fixture_model(&f, 200, true);
    ASSERT_OK(
        ilora_params_new(f.be, base_model_description(f.base), &f.shape, 9, true, &fresh, &err),
        err);
    ASSERT_OK(language_model_score_items(lm, fresh, false, f.samples, LM_SAMPLES, adapted, &err),
              err);
    ASSERT_OK(language_model_score_items(lm, fresh, true, f.samples, LM_SAMPLES, frozen, &err),
              err);
    assert_memory_equal(adapted, frozen, sizeof adapted);

    struct lm_step_stats stats;
    ASSERT_OK(language_model_gradients(lm, fresh, f.samples, LM_SAMPLES, &stats, &err), err);
    ASSERT_OK(ilora_params_read(fresh, ILORA_GRAD, f.grads, &err), err);
    for (int i = 0; i < ilora_params_count(fresh); i++) {
        const struct ilora_tensor *t = ilora_params_at(fresh, i);
        double sum = 0.0;
        for (int j = 0; j < t->rows * t->cols; j++) {
            sum += fabs((double)f.grads[t->offset + (size_t)j]);
        }
        bool still = strstr(t->name, ".lora_A.") != NULL || strncmp(t->name, "gate.", 5) == 0;
        if (still != (sum == 0.0)) { fail_msg("%s: gradient sum %g", t->name, sum); }
    }
    ilora_params_free(fresh);
    language_model_free(lm);
    lm_fixture_close(&f);
}

static void start_is_a_function_of_the_seed(void **state) {
    struct error err;
    struct lm_fixture f;
    struct ilora_params *a = NULL, *b = NULL, *c = NULL;
    (void)state;
    lm_fixture_open(&f, 2, ILORA_HEAD_BOTH, true);
    const struct model_description *d = base_model_description(f.base);
    ASSERT_OK(ilora_params_new(f.be, d, &f.shape, 1, false, &a, &err), err);
    ASSERT_OK(ilora_params_new(f.be, d, &f.shape, 1, false, &b, &err), err);
    ASSERT_OK(ilora_params_new(f.be, d, &f.shape, 2, false, &c, &err), err);
    size_t bytes = ilora_params_floats(a) * sizeof(float);
    ASSERT_OK(ilora_params_read(a, ILORA_VALUE, f.values, &err), err);
    ASSERT_OK(ilora_params_read(b, ILORA_VALUE, f.grads, &err), err);
    assert_memory_equal(f.values, f.grads, bytes);
    ASSERT_OK(ilora_params_read(c, ILORA_VALUE, f.grads, &err), err);
    assert_memory_not_equal(f.values, f.grads, bytes);
    ilora_params_free(a);
    ilora_params_free(b);
    ilora_params_free(c);
    lm_fixture_close(&f);
}

static void same_steps_give_the_same_bits(void **state) {
    float *last = NULL;
    (void)state;
    for (int run = 0; run < 2; run++) {
        struct error err;
        struct lm_fixture f;
        struct lm_step_stats stats;
        struct lm_step how = step_settings;
        lm_fixture_open(&f, 4, ILORA_HEAD_BOTH, true);
        struct language_model *lm = lm_fixture_model(&f, 40, true);
        for (; how.step <= 3; how.step++) {
            lm_fixture_train(&f, lm, &how, &stats);
        }
        ASSERT_OK(ilora_params_read(f.params, ILORA_VALUE, f.values, &err), err);
        size_t bytes = ilora_params_floats(f.params) * sizeof(float);
        if (run == 0) {
            last = malloc(bytes);
            assert_non_null(last);
            memcpy(last, f.values, bytes);
        } else {
            assert_memory_equal(last, f.values, bytes);
        }
        language_model_free(lm);
        lm_fixture_close(&f);
    }
    free(last);
}

static void a_step_that_is_not_finite_changes_nothing(void **state) {
    struct error err;
    struct lm_fixture f;
    struct lm_step_stats stats;
    (void)state;
    lm_fixture_open(&f, 2, ILORA_HEAD_ITEM, false);
    struct language_model *lm = lm_fixture_model(&f, 200, true);
    f.samples[1].weight = INFINITY;
    lm_fixture_train(&f, lm, &step_settings, &stats);

    assert_true(stats.discarded);
    const enum ilora_slab slabs[] = {ILORA_MOMENT1, ILORA_MOMENT2};
    for (int s = 0; s < 2; s++) {
        ASSERT_OK(ilora_params_read(f.params, slabs[s], f.grads, &err), err);
        for (size_t i = 0; i < ilora_params_floats(f.params); i++) {
            assert_true(f.grads[i] == 0.0f);
        }
    }
    ASSERT_OK(ilora_params_read(f.params, ILORA_VALUE, f.grads, &err), err);
    assert_memory_equal(f.grads, f.values, ilora_params_floats(f.params) * sizeof(float));
    language_model_free(lm);
    lm_fixture_close(&f);
}

static void a_reference_pulls_the_adapters_back(void **state) {
    struct lm_fixture f;
    double distance[2];
    (void)state;
    for (int run = 0; run < 2; run++) {
        struct error err;
        struct lm_step_stats stats;
        struct lm_step how = step_settings;
        struct ilora_params *reference = NULL;
        lm_fixture_open(&f, 2, ILORA_HEAD_ITEM, false);
        struct language_model *lm = lm_fixture_model(&f, 200, true);
        ASSERT_OK(ilora_params_new(f.be, base_model_description(f.base), &f.shape, 5, false,
                                   &reference, &err),
                  err);
        ASSERT_OK(ilora_params_write(reference, ILORA_VALUE, f.values, &err), err);
        how.proximal = run == 0 ? 0.0f : 100.0f;
        for (how.step = 1; how.step <= 10; how.step++) {
            ASSERT_OK(language_model_train(lm, f.params, reference, f.samples, LM_SAMPLES, &how,
                                           NULL, NULL, &stats, &err),
                      err);
        }
        ASSERT_OK(ilora_params_read(f.params, ILORA_VALUE, f.grads, &err), err);
        distance[run] = 0.0;
        for (int i = 0; i < ilora_params_count(f.params); i++) {
            const struct ilora_tensor *t = ilora_params_at(f.params, i);
            for (int j = 0; t->group == 0 && j < t->rows * t->cols; j++) {
                double d = (double)f.grads[t->offset + (size_t)j] -
                           (double)f.values[t->offset + (size_t)j];
                distance[run] += d * d;
            }
        }
        ilora_params_free(reference);
        language_model_free(lm);
        lm_fixture_close(&f);
    }
    assert_true(distance[1] < 0.8 * distance[0]);
}

static void what_cannot_fit_is_refused_with_numbers(void **state) {
    struct error err;
    struct lm_fixture f;
    struct lm_step_stats stats;
    float scores[LM_ITEMS];
    (void)state;
    lm_fixture_open(&f, 2, ILORA_HEAD_ITEM, false);
    struct language_model *lm = lm_fixture_model(&f, 11, true); /* sample 1 has 12 rows */
    ASSERT_STATUS(language_model_score_items(lm, f.params, false, &f.samples[1], 1, scores, &err),
                  STATUS_LIMIT);
    ASSERT_CONTAINS(err.text, "12 rows");
    ASSERT_STATUS(language_model_gradients(lm, f.params, f.samples, 2, &stats, &err), STATUS_LIMIT);
    f.prompts[0].tokens[3] = 5000;
    ASSERT_STATUS(language_model_score_items(lm, f.params, false, f.samples, 1, scores, &err),
                  STATUS_LIMIT);
    ASSERT_CONTAINS(err.text, "token 5000");
    ASSERT_STATUS(language_model_set_items(lm, f.items, LM_ITEMS + 1, &err), STATUS_LIMIT);
    language_model_free(lm);

    struct ilora_params *params = NULL;
    struct ilora_shape shape = f.shape;
    shape.K = 3;
    ASSERT_STATUS(
        ilora_params_new(f.be, base_model_description(f.base), &shape, 1, true, &params, &err),
        STATUS_CONFIG);
    ASSERT_CONTAINS(err.text, "rank 4 and 3 experts");
    lm_fixture_close(&f);
}

static void every_allocation_may_fail(void **state) {
    struct error err;
    struct lm_fixture f;
    (void)state;
    lm_fixture_open(&f, 2, ILORA_HEAD_BOTH, true);
    struct language_model_settings settings = {
        .tokens_max = 40, .sequences_max = LM_SAMPLES, .items_max = LM_ITEMS, .training = true};
    int failures = 0;
    bool fired = true;
    for (long n = 1; fired; n++) {
        struct base_model *base = NULL;
        struct ilora_params *params = NULL;
        struct language_model *lm = NULL;
        fault_arm(FAULT_MEMORY, n);
        enum status status = base_model_load(f.be, f.checkpoint, PRECISION_F32, true, &base, &err);
        if (status == STATUS_OK) {
            status = ilora_params_new(f.be, base_model_description(base), &f.shape, 1, true,
                                      &params, &err);
        }
        if (status == STATUS_OK) {
            status = language_model_new(base, &settings, &f.shape, &lm, &err);
        }
        fired = fault_fired(FAULT_MEMORY);
        fault_arm(FAULT_MEMORY, 0);
        assert_int_equal(status, fired ? STATUS_NO_MEMORY : STATUS_OK);
        failures += fired;
        language_model_free(lm);
        ilora_params_free(params);
        base_model_free(base);
    }
    assert_true(failures > 30);
    lm_fixture_close(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(steps_lower_the_loss),
        cmocka_unit_test(fresh_parameters_leave_the_base_alone_and_only_B_learns),
        cmocka_unit_test(start_is_a_function_of_the_seed),
        cmocka_unit_test(same_steps_give_the_same_bits),
        cmocka_unit_test(a_step_that_is_not_finite_changes_nothing),
        cmocka_unit_test(a_reference_pulls_the_adapters_back),
        cmocka_unit_test(what_cannot_fit_is_refused_with_numbers),
        cmocka_unit_test(every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
