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

#include "model/language_model.h"
#include "tests/reference/lm_golden.h"
#include "tests/support/tensor_check.h"
#include "tests/support/unit.h"

#define SAMPLES 6
#define TITLES  3
#define ITEMS   20
#define E_WIDTH 8
#define MODEL   "builtin:tiny:3" /* whose weights the golden files were made with */

struct reference {
    struct lm_golden golden;
    struct backend *be;
    struct checkpoint *checkpoint;
    struct base_model *base;
    struct ilora_shape shape;
    struct ilora_params *params;
    struct language_model *lm;
    struct prompt prompts[SAMPLES];
    struct title_tokens titles[SAMPLES][TITLES];
    struct lm_sample samples[SAMPLES];
    float *start; /* VALUE slab as in the golden file */
    float *slab;  /* room for one */
};

static const float *sample_floats(const struct reference *r, int i, const char *what) {
    char name[64];
    (void)snprintf(name, sizeof name, "%d.%s", i, what);
    return lm_golden_floats(&r->golden, name);
}

static const int32_t *sample_integers(const struct reference *r, int i, const char *what,
                                      int *ret_count) {
    char name[64];
    (void)snprintf(name, sizeof name, "%d.%s", i, what);
    return lm_golden_integers(&r->golden, name, ret_count);
}

static void load_sample(struct reference *r, int i) {
    struct prompt *prompt = &r->prompts[i];
    int count = 0;
    const int32_t *tokens = sample_integers(r, i, "tokens", &prompt->count);
    memcpy(prompt->tokens, tokens, (size_t)prompt->count * sizeof tokens[0]);
    const int32_t *rows = sample_integers(r, i, "item_rows", &prompt->item_count);
    const int32_t *items = sample_integers(r, i, "items", &count);
    for (int j = 0; j < prompt->item_count; j++) {
        prompt->item_rows[j] = rows[j];
        prompt->items[j] = (uint32_t)items[j];
    }
    for (int c = 0; c < TITLES; c++) {
        char name[32];
        (void)snprintf(name, sizeof name, "title.%d", c);
        const int32_t *ids = sample_integers(r, i, name, &r->titles[i][c].count);
        memcpy(r->titles[i][c].ids, ids, (size_t)r->titles[i][c].count * sizeof ids[0]);
    }
    const int32_t *history = sample_integers(r, i, "history", &count);
    r->samples[i] = (struct lm_sample){.prompt = prompt,
                                       .gate_input = sample_floats(r, i, "z"),
                                       .history = (const uint32_t *)history,
                                       .history_count = count,
                                       .target = (uint32_t)*sample_integers(r, i, "target", NULL),
                                       .weight = *sample_floats(r, i, "weight"),
                                       .candidates = r->titles[i],
                                       .candidate_corrections = sample_floats(r, i, "corrections"),
                                       .candidate_count = TITLES};
}

static void load_values(struct reference *r) {
    struct error err;
    size_t floats = ilora_params_floats(r->params);
    r->start = calloc(floats, sizeof(float));
    r->slab = calloc(floats, sizeof(float));
    assert_non_null(r->start);
    assert_non_null(r->slab);
    for (int i = 0; i < ilora_params_count(r->params); i++) {
        const struct ilora_tensor *t = ilora_params_at(r->params, i);
        char name[160];
        (void)snprintf(name, sizeof name, "value.%s", t->name);
        const struct lm_array *array = lm_golden_find(&r->golden, name);
        assert_non_null(array);
        assert_int_equal(array->rows, t->rows);
        assert_int_equal(array->cols, t->cols);
        memcpy(r->start + t->offset, array->values,
               (size_t)t->rows * (size_t)t->cols * sizeof(float));
    }
    ASSERT_OK(ilora_params_write(r->params, ILORA_VALUE, r->start, &err), err);
    ASSERT_OK(ilora_params_write(r->params, ILORA_EMA, r->start, &err), err);
}

static void reference_open(struct reference *r, int K, int tokens_max) {
    struct error err;
    char path[1024];
    memset(r, 0, sizeof *r);
    (void)snprintf(path, sizeof path, "%s/lm_tiny_k%d.bin", LM_GOLDEN_FOLDER, K);
    assert_int_equal(lm_golden_read(path, &r->golden), 0);
    r->shape = (struct ilora_shape){.R = 4,
                                    .K = K,
                                    .alpha = 8.0f,
                                    .gate_floor = 0.05f,
                                    .E = E_WIDTH,
                                    .projector_width = 12,
                                    .items_max = ITEMS,
                                    .head = ILORA_HEAD_BOTH,
                                    .item_tokens = true};
    ASSERT_OK(backend_cpu_new(2, &r->be, &err), err);
    ASSERT_OK(checkpoint_open(MODEL, &r->checkpoint, &err), err);
    ASSERT_OK(base_model_load(r->be, r->checkpoint, PRECISION_F32, true, &r->base, &err), err);
    ASSERT_OK(ilora_params_new(r->be, base_model_description(r->base), &r->shape, 1, true,
                               &r->params, &err),
              err);
    struct language_model_settings settings = {
        .tokens_max = tokens_max, .sequences_max = SAMPLES, .items_max = ITEMS, .training = true};
    ASSERT_OK(language_model_new(r->base, &settings, &r->shape, &r->lm, &err), err);
    ASSERT_OK(language_model_set_items(r->lm, lm_golden_floats(&r->golden, "vectors"), ITEMS, &err),
              err);
    load_values(r);
    for (int i = 0; i < SAMPLES; i++) {
        load_sample(r, i);
    }
}

static void reference_close(struct reference *r) {
    free(r->start);
    free(r->slab);
    language_model_free(r->lm);
    ilora_params_free(r->params);
    base_model_free(r->base);
    checkpoint_close(r->checkpoint);
    r->be->ops->free(r->be);
    lm_golden_free(&r->golden);
}

static void check_near(const char *what, double a, double ref, double bound) {
    if (!(fabs(a - ref) <= bound * fabs(ref))) {
        fail_msg("%s: %.9g, reference %.9g", what, a, ref);
    }
}

/* Every tensor of the slab against prefix + its name. */
static void check_gradients(const struct reference *r) {
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
    struct reference r;
    struct lm_step_stats stats;
    reference_open(&r, K, tokens_max);
    ASSERT_OK(language_model_gradients(r.lm, r.params, r.samples, SAMPLES, &stats, &err), err);
    ASSERT_OK(ilora_params_read(r.params, ILORA_GRAD, r.slab, &err), err);

    const float *losses = lm_golden_floats(&r.golden, "losses");
    check_near("item loss", stats.item_loss, (double)losses[0], 1e-5);
    check_near("title loss", stats.title_loss, (double)losses[1], 1e-5);
    check_near("rank loss", stats.rank_loss, (double)losses[2], 1e-5);
    check_gradients(&r);
    reference_close(&r);
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
    struct reference r;
    (void)state;
    reference_open(&r, 4, 200);
    float items[SAMPLES * ITEMS], titles[SAMPLES * TITLES];
    ASSERT_OK(language_model_score_items(r.lm, r.params, false, r.samples, SAMPLES, items, &err),
              err);
    ASSERT_OK(language_model_score_titles(r.lm, r.params, false, r.samples, SAMPLES, titles, &err),
              err);
    for (int i = 0; i < SAMPLES; i++) {
        assert_true(tensor_check_scaled("item log-probabilities", items + i * ITEMS,
                                        sample_floats(&r, i, "item_logprobs"), ITEMS, 1e-4));
        assert_true(tensor_check_scaled("title likelihoods", titles + i * TITLES,
                                        sample_floats(&r, i, "title_likelihoods"), TITLES, 1e-4));
    }
    reference_close(&r);
}

static void logits_equal_pytorch(void **state) {
    struct error err;
    struct reference r;
    (void)state;
    reference_open(&r, 4, 200);
    int V = base_model_description(r.base)->V, count = r.prompts[3].count;
    float *logits = calloc((size_t)V * (size_t)count, sizeof(float));
    assert_non_null(logits);
    ASSERT_OK(language_model_logits(r.lm, r.params, r.samples[3].gate_input, r.prompts[3].tokens,
                                    count, logits, &err),
              err);
    assert_true(tensor_check_scaled("logits", logits, lm_golden_floats(&r.golden, "logits"),
                                    (size_t)V * (size_t)count, 1e-4));
    free(logits);
    reference_close(&r);
}

/* |a - ref| within 1e-3 of |ref|, both changes from the start. */
static void check_change(const struct reference *r, const struct ilora_tensor *t,
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
        struct reference r;
        struct ilora_params *reference = NULL;
        reference_open(&r, K, 200);
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
            ASSERT_OK(language_model_train(r.lm, r.params, reference, r.samples, SAMPLES, &how,
                                           NULL, NULL, &stats, &err),
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
        reference_close(&r);
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
