/* SPDX-License-Identifier: Apache-2.0
 *
 * test_lm_reference.c - the language model against the PyTorch implementation of MODEL.md.
 *
 * The golden files hold samples, starting values and, in double: losses, every gradient, item
 * scores, title likelihoods, logits, and where ten optimiser steps lead (lm_make_reference.py
 * writes them). Bounds of the project: per tensor max|a-b| <= 1e-4 max|ref|; after ten steps the
 * change of every parameter within 1e-3 of its norm. */
#include <math.h>
#include <stdlib.h>

#include "tests/reference/lm_reference.h"
#include "tests/support/tensor_check.h"
#include "tests/support/unit.h"

static void open_file(struct lm_reference *r, int K, int tokens_max) {
    struct ilora_shape shape = lm_reference_shape(K);
    lm_reference_open(r, &shape, tokens_max);
}

static void check_near(const char *what, double a, double ref, double bound) {
    if (!(fabs(a - ref) <= bound * fabs(ref))) {
        fail_msg("%s: %.9g, reference %.9g", what, a, ref);
    }
}

/* Every tensor of the slab against prefix + its name. */
static void check_gradients(const struct lm_reference *r) {
    for (int i = 0; i < ilora_params_count(r->params); i++) {
        const struct ilora_tensor *t = ilora_params_at(r->params, i);
        size_t count = (size_t)t->rows * (size_t)t->cols;
        char name[160];
        (void)snprintf(name, sizeof name, "grad.%s", t->name);
        const float *ref = lm_golden_floats(&r->golden, name);
        if (r->shape.K == 1 && strncmp(t->name, "gate.", 5) == 0) { /* exactly nothing to learn */
            for (size_t j = 0; j < count; j++) {
                assert_true(fabsf(r->slab[t->offset + j]) < 1e-6f);
            }
            continue;
        }
        assert_true(tensor_check_scaled(t->name, r->slab + t->offset, ref, count, 1e-4));
    }
}

static void gradients_equal(int K, int tokens_max) {
    struct error err;
    struct lm_reference r;
    struct lm_step_stats stats;
    open_file(&r, K, tokens_max);
    ASSERT_OK(
        language_model_gradients(r.lm, r.params, r.samples, LM_REFERENCE_SAMPLES, &stats, &err),
        err);
    ASSERT_OK(ilora_params_read(r.params, ILORA_GRAD, r.slab, &err), err);

    const float *losses = lm_golden_floats(&r.golden, "losses");
    check_near("item loss", stats.item_loss, (double)losses[0], 1e-5);
    check_near("title loss", stats.title_loss, (double)losses[1], 1e-5);
    check_near("rank loss", stats.rank_loss, (double)losses[2], 1e-5);
    check_gradients(&r);
    lm_reference_close(&r);
}

static void losses_and_gradients_equal_pytorch_with_one_expert(void **state) {
    (void)state;
    gradients_equal(1, 200);
}

static void losses_and_gradients_equal_pytorch_with_two_experts(void **state) {
    (void)state;
    gradients_equal(2, 200);
}

static void losses_and_gradients_equal_pytorch_with_four_experts(void **state) {
    (void)state;
    gradients_equal(4, 200);
}

static void gradients_do_not_depend_on_micro_batches(void **state) {
    (void)state;
    gradients_equal(4,
                    24); /* the longest sample with its titles takes 20 rows: one or two a pack */
}

static void scores_equal_pytorch(void **state) {
    struct error err;
    struct lm_reference r;
    (void)state;
    open_file(&r, 4, 200);
    float items[LM_REFERENCE_SAMPLES * LM_REFERENCE_ITEMS],
        titles[LM_REFERENCE_SAMPLES * LM_REFERENCE_TITLES];
    ASSERT_OK(language_model_score_items(r.lm, r.params, false, r.samples, LM_REFERENCE_SAMPLES,
                                         items, &err),
              err);
    ASSERT_OK(language_model_score_titles(r.lm, r.params, false, r.samples, LM_REFERENCE_SAMPLES,
                                          titles, &err),
              err);
    for (int i = 0; i < LM_REFERENCE_SAMPLES; i++) {
        assert_true(tensor_check_scaled("item log-probabilities", items + i * LM_REFERENCE_ITEMS,
                                        lm_reference_floats(&r, i, "item_logprobs"),
                                        LM_REFERENCE_ITEMS, 1e-4));
        assert_true(tensor_check_scaled("title likelihoods", titles + i * LM_REFERENCE_TITLES,
                                        lm_reference_floats(&r, i, "title_likelihoods"),
                                        LM_REFERENCE_TITLES, 1e-4));
    }
    lm_reference_close(&r);
}

static void logits_equal_pytorch(void **state) {
    struct error err;
    struct lm_reference r;
    (void)state;
    open_file(&r, 4, 200);
    int V = base_model_description(r.base)->V, count = r.prompts[3].count;
    float *logits = calloc((size_t)V * (size_t)count, sizeof(float));
    assert_non_null(logits);
    ASSERT_OK(language_model_logits(r.lm, r.params, r.samples[3].gate_input, r.prompts[3].tokens,
                                    count, logits, &err),
              err);
    assert_true(tensor_check_scaled("logits", logits, lm_golden_floats(&r.golden, "logits"),
                                    (size_t)V * (size_t)count, 1e-4));
    free(logits);
    lm_reference_close(&r);
}

/* |a - ref| within 1e-3 of |ref|, both changes from the start. */
static void check_change(const struct lm_reference *r, const struct ilora_tensor *t,
                         const char *prefix, double floor) {
    char name[160];
    (void)snprintf(name, sizeof name, "%s%s", prefix, t->name);
    const float *ref = lm_golden_floats(&r->golden, name);
    double off = 0.0, norm = 0.0;
    for (size_t j = 0; j < (size_t)t->rows * (size_t)t->cols; j++) {
        double change = (double)r->slab[t->offset + j] - (double)r->start[t->offset + j];
        off += (change - (double)ref[j]) * (change - (double)ref[j]);
        norm += (double)ref[j] * (double)ref[j];
    }
    if (!(sqrt(off) <= 1e-3 * sqrt(norm) + floor)) {
        fail_msg("%s: differs by %g of a change of %g", name, sqrt(off), sqrt(norm));
    }
}

static void ten_steps_lead_where_pytorch_goes(void **state) {
    (void)state;
    for (int K = 1; K <= 4; K *= 2) {
        struct error err;
        struct lm_reference r;
        struct ilora_params *reference = NULL;
        open_file(&r, K, 200);
        ASSERT_OK(ilora_params_new(r.be, base_model_description(r.base), &r.shape, 1, false,
                                   &reference, &err),
                  err);
        ASSERT_OK(ilora_params_write(reference, ILORA_VALUE, r.start, &err), err);
        const float *losses = lm_golden_floats(&r.golden, "losses.ten");
        struct lm_step how = {.learning_rate = 1e-3f,
                              .multiplier = {1.0f, 0.5f, 2.0f, 3.0f},
                              .weight_decay = 0.01f,
                              .beta1 = 0.9f,
                              .beta2 = 0.999f,
                              .epsilon = 1e-8f,
                              .clip_norm = 1.0f,
                              .ema_decay = 0.9f,
                              .proximal = 2.0f};
        for (how.step = 1; how.step <= 10; how.step++) {
            struct lm_step_stats stats;
            ASSERT_OK(language_model_train(r.lm, r.params, reference, r.samples,
                                           LM_REFERENCE_SAMPLES, &how, NULL, NULL, &stats, &err),
                      err);
            assert_false(stats.discarded);
            check_near("item loss", stats.item_loss, (double)losses[0], 1e-4);
            check_near("title loss", stats.title_loss, (double)losses[1], 1e-4);
            check_near("rank loss", stats.rank_loss, (double)losses[2], 1e-4);
            check_near("gradient norm", stats.grad_norm, (double)losses[3], 1e-3);
            losses += 4;
        }

        ASSERT_OK(ilora_params_read(r.params, ILORA_VALUE, r.slab, &err), err);
        for (int i = 0; i < ilora_params_count(r.params); i++) {
            const struct ilora_tensor *t = ilora_params_at(r.params, i);
            /* One expert: the gate's gradient is rounding alone, and Adam would walk on it. */
            if (K > 1 || t->group != 2) { check_change(&r, t, "ten.", 0.0); }
        }
        ASSERT_OK(ilora_params_read(r.params, ILORA_EMA, r.slab, &err), err);
        for (int i = 0; i < ilora_params_count(r.params); i++) {
            const struct ilora_tensor *t = ilora_params_at(r.params, i);
            if (t->group != 0 && (K > 1 || t->group != 2)) { check_change(&r, t, "ema.", 0.0); }
        }
        ilora_params_free(reference);
        lm_reference_close(&r);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(losses_and_gradients_equal_pytorch_with_one_expert),
        cmocka_unit_test(losses_and_gradients_equal_pytorch_with_two_experts),
        cmocka_unit_test(losses_and_gradients_equal_pytorch_with_four_experts),
        cmocka_unit_test(gradients_do_not_depend_on_micro_batches),
        cmocka_unit_test(scores_equal_pytorch),
        cmocka_unit_test(logits_equal_pytorch),
        cmocka_unit_test(ten_steps_lead_where_pytorch_goes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
