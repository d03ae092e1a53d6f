/* SPDX-License-Identifier: Apache-2.0
 *
 * test_lm_exact.c - exact mode's trainable side: both gates of the paper, running statistics,
 * dropout, coupled L2 (PyTorch's numbers for them: tests/reference/test_gate_reference.c). */
#include <math.h>
#include <stdlib.h>

#include "base/fault.h"
#include "model/params.h"
#include "tests/model/lm_fixture.h"
#include "tests/support/tensor_check.h"
#include "tests/support/unit.h"

#define SCORES (LM_SAMPLES * LM_ITEMS)
#define ROWS   200 /* all samples in one pack */
#define FEW    40  /* several micro-batches */

static const struct lm_step exact_step = {.learning_rate = 1e-2f,
                                          .multiplier = {1.0f, 1.0f, 0.3f, 1.0f},
                                          .beta1 = 0.9f,
                                          .beta2 = 0.999f,
                                          .epsilon = 1e-8f,
                                          .ema_decay = 0.5f,
                                          .step = 1};

static void score(struct lm_fixture *f, struct language_model *lm, const struct lm_sample *samples,
                  int count, float *ret_scores) {
    struct error err;
    ASSERT_OK(language_model_score_items(lm, f->params, false, samples, count, ret_scores, &err),
              err);
}

static float *value_of(struct lm_fixture *f, const char *name, size_t *ret_count) {
    const struct ilora_tensor *t = ilora_params_at(f->params, lm_fixture_find(f, name));
    if (ret_count != NULL) { *ret_count = (size_t)t->rows * (size_t)t->cols; }
    return f->values + t->offset;
}

/* One row of a slab, from the params. */
static float *read_slab(const struct lm_fixture *f, enum ilora_slab slab) {
    struct error err;
    float *host = calloc(ilora_params_floats(f->params), sizeof(float));
    assert_non_null(host);
    ASSERT_OK(ilora_params_read(f->params, slab, host, &err), err);
    return host;
}

/* Whether tensors of a group differ between two slabs. */
static bool group_differs(const struct lm_fixture *f, int group, const float *a, const float *b) {
    for (int i = 0; i < ilora_params_count(f->params); i++) {
        const struct ilora_tensor *t = ilora_params_at(f->params, i);
        size_t bytes = (size_t)t->rows * (size_t)t->cols * sizeof(float);
        if (t->group == group && memcmp(a + t->offset, b + t->offset, bytes) != 0) { return true; }
    }
    return false;
}

/* ---- facts of the gates ---------------------------------------------------------------------- */

/* Everything but the gate, from another fixture. */
static void copy_rest(struct lm_fixture *to, const struct lm_fixture *from) {
    for (int i = 0; i < ilora_params_count(to->params); i++) {
        const struct ilora_tensor *t = ilora_params_at(to->params, i);
        if (strncmp(t->name, "gate.", 5) == 0) { continue; }
        const struct ilora_tensor *u =
            ilora_params_at(from->params, lm_fixture_find(from, t->name));
        memcpy(to->values + t->offset, from->values + u->offset,
               (size_t)t->rows * (size_t)t->cols * sizeof(float));
    }
    lm_fixture_write(to);
}

static void set_all(struct lm_fixture *f, const char *name, float value) {
    size_t count = 0;
    float *values = value_of(f, name, &count);
    for (size_t i = 0; i < count; i++) {
        values[i] = value;
    }
    lm_fixture_write(f);
}

/* s = alpha/(R/4) and each expert at 1/4, against alpha/R. */
static void a_uniform_gate_of_either_kind_is_plain_lora(void **state) {
    static const enum ilora_gate gates[] = {ILORA_GATE_LINEAR, ILORA_GATE_RESNET};
    (void)state;
    for (int g = 0; g < 2; g++) {
        struct lm_fixture mixed, plain;
        float a[SCORES], b[SCORES];
        lm_fixture_open_gate(&mixed, gates[g], 4, ILORA_HEAD_ITEM, true);
        lm_fixture_open_gate(&plain, ILORA_GATE_LINEAR, 1, ILORA_HEAD_ITEM, true);
        copy_rest(&plain, &mixed);
        set_all(&mixed, gates[g] == ILORA_GATE_LINEAR ? "gate.weight" : "gate.fc.weight", 0.0f);
        if (gates[g] == ILORA_GATE_RESNET) { set_all(&mixed, "gate.fc.bias", 0.3f); }
        struct language_model *lm = lm_fixture_model(&mixed, ROWS, false);
        struct language_model *plain_lm = lm_fixture_model(&plain, ROWS, false);
        score(&mixed, lm, mixed.samples, LM_SAMPLES, a);
        score(&plain, plain_lm, mixed.samples, LM_SAMPLES, b);

        assert_true(tensor_check_scaled("uniform gate", a, b, SCORES, 1e-5));
        language_model_free(lm);
        language_model_free(plain_lm);
        lm_fixture_close(&mixed);
        lm_fixture_close(&plain);
    }
}

/* Expert `kept` of `from` as the whole of an adapter of rank R/K. */
static void keep_expert(const struct lm_fixture *from, int kept, const struct ilora_params *to,
                        float *values) {
    int width = ilora_params_shape(to)->R;
    for (int i = 0; i < ilora_params_count(to); i++) {
        const struct ilora_tensor *t = ilora_params_at(to, i);
        if (strncmp(t->name, "gate.", 5) == 0) { continue; }
        const struct ilora_tensor *u =
            ilora_params_at(from->params, lm_fixture_find(from, t->name));
        bool down = strstr(t->name, ".lora_A.") != NULL, up = strstr(t->name, ".lora_B.") != NULL;
        int row = down ? kept * width : 0, column = up ? kept * width : 0;
        for (int r = 0; r < t->rows; r++) {
            for (int c = 0; c < t->cols; c++) {
                values[t->offset + (size_t)r * (size_t)t->cols + (size_t)c] =
                    from->values[u->offset + (size_t)(r + row) * (size_t)u->cols +
                                 (size_t)(c + column)];
            }
        }
    }
}

/* R = 4, K = 2: expert 1 alone is LoRA of rank 2 with scale alpha/2. */
static void a_one_hot_gate_is_lora_of_rank_R_over_K(void **state) {
    struct error err;
    struct lm_fixture mixed;
    struct ilora_params *small = NULL;
    float a[SCORES], b[SCORES];
    (void)state;
    lm_fixture_open_gate(&mixed, ILORA_GATE_RESNET, 2, ILORA_HEAD_ITEM, false);
    set_all(&mixed, "gate.fc.weight", 0.0f);
    set_all(&mixed, "gate.fc.bias", 0.0f);
    value_of(&mixed, "gate.fc.bias", NULL)[1] = 200.0f;
    lm_fixture_write(&mixed);
    struct language_model *lm = lm_fixture_model(&mixed, ROWS, false);
    score(&mixed, lm, mixed.samples, LM_SAMPLES, a);
    language_model_free(lm);

    struct ilora_shape shape = mixed.shape;
    shape.R = 2;
    shape.K = 1;
    shape.gate = ILORA_GATE_LINEAR;
    ASSERT_OK(ilora_params_new(mixed.be, base_model_description(mixed.base), &shape, 1, false,
                               &small, &err),
              err);
    float *values = calloc(ilora_params_floats(small), sizeof(float));
    assert_non_null(values);
    keep_expert(&mixed, 1, small, values);
    ASSERT_OK(ilora_params_write(small, ILORA_VALUE, values, &err), err);
    struct ilora_shape whole = mixed.shape;
    mixed.shape = shape;
    lm = lm_fixture_model(&mixed, ROWS, false);
    mixed.shape = whole;
    ASSERT_OK(language_model_score_items(lm, small, false, mixed.samples, LM_SAMPLES, b, &err),
              err);

    assert_true(tensor_check_scaled("one-hot gate", a, b, SCORES, 1e-5));
    free(values);
    language_model_free(lm);
    ilora_params_free(small);
    lm_fixture_close(&mixed);
}

static void scores_do_not_depend_on_batch_mates_whatever_the_gate(void **state) {
    static const enum ilora_gate gates[] = {ILORA_GATE_LINEAR, ILORA_GATE_RESNET};
    (void)state;
    for (int g = 0; g < 2; g++) {
        struct lm_fixture f;
        float packed[SCORES], turned[SCORES], single[SCORES];
        struct lm_sample samples[LM_SAMPLES];
        lm_fixture_open_gate(&f, gates[g], 4, ILORA_HEAD_ITEM, true);
        struct language_model *lm = lm_fixture_model(&f, ROWS, false);
        for (int i = 0; i < LM_SAMPLES; i++) {
            samples[i] = f.samples[(i + 2) % LM_SAMPLES];
            score(&f, lm, &f.samples[i], 1, single + i * LM_ITEMS);
        }
        score(&f, lm, f.samples, LM_SAMPLES, packed);
        score(&f, lm, samples, LM_SAMPLES, turned);

        for (int i = 0; i < LM_SAMPLES; i++) {
            const float *alone = single + (i + 2) % LM_SAMPLES * LM_ITEMS;
            assert_true(
                tensor_check_scaled("permuted", turned + i * LM_ITEMS, alone, LM_ITEMS, 1e-6));
        }
        assert_true(tensor_check_scaled("packed", packed, single, SCORES, 1e-6));
        language_model_free(lm);
        lm_fixture_close(&f);
    }
}

/* ---- running statistics ---------------------------------------------------------------------- */

static void running_statistics_follow_the_steps_and_nothing_else_touches_them(void **state) {
    struct error err;
    struct lm_fixture f;
    struct lm_step_stats stats;
    (void)state;
    lm_fixture_open_gate(&f, ILORA_GATE_RESNET, 4, ILORA_HEAD_ITEM, false);
    struct language_model *lm = lm_fixture_model(&f, FEW, true);
    ASSERT_OK(language_model_gradients(lm, f.params, f.samples, LM_SAMPLES, &stats, &err), err);
    float *before = read_slab(&f, ILORA_VALUE);
    assert_false(group_differs(&f, GROUP_STATISTICS, before, f.values));

    lm_fixture_train(&f, lm, &exact_step, &stats);
    float *value = read_slab(&f, ILORA_VALUE), *ema = read_slab(&f, ILORA_EMA);
    float *grad = read_slab(&f, ILORA_GRAD), *moment = read_slab(&f, ILORA_MOMENT2);
    float *zeros = calloc(ilora_params_floats(f.params), sizeof(float));
    assert_non_null(zeros);
    assert_true(group_differs(&f, GROUP_STATISTICS, value, before));
    assert_false(group_differs(&f, GROUP_STATISTICS, value, ema)); /* not averaged twice */
    assert_true(group_differs(&f, GROUP_GATE, value, ema));
    assert_false(group_differs(&f, GROUP_STATISTICS, grad, zeros));
    assert_false(group_differs(&f, GROUP_STATISTICS, moment, zeros));
    assert_true(group_differs(&f, GROUP_GATE, moment, zeros));

    f.samples[1].weight = INFINITY; /* a step that is discarded */
    lm_fixture_train(&f, lm, &exact_step, &stats);
    float *after = read_slab(&f, ILORA_VALUE);
    assert_true(stats.discarded);
    assert_memory_equal(after, value, ilora_params_floats(f.params) * sizeof(float));
    float *slabs[] = {before, value, ema, grad, moment, zeros, after};
    for (size_t i = 0; i < sizeof slabs / sizeof slabs[0]; i++) {
        free(slabs[i]);
    }
    language_model_free(lm);
    lm_fixture_close(&f);
}

static void gate_and_projector_start_as_pytorch_starts_its_layers(void **state) {
    struct error err;
    struct lm_fixture f;
    struct ilora_params *fresh = NULL;
    (void)state;
    lm_fixture_open_gate(&f, ILORA_GATE_RESNET, 4, ILORA_HEAD_ITEM, true);
    ASSERT_OK(
        ilora_params_new(f.be, base_model_description(f.base), &f.shape, 9, false, &fresh, &err),
        err);
    ASSERT_OK(ilora_params_read(fresh, ILORA_VALUE, f.values, &err), err);
    static const struct {
        const char *name;
        float low, high; /* of all its values */
        bool spread;     /* they reach both ends */
    } cases[] = {
        {"gate.conv1.weight", -0.5774f, 0.5774f, true},          /* 1/sqrt(3) */
        {"gate.layer3.0.conv1.weight", -0.1021f, 0.1021f, true}, /* 1/sqrt(96) */
        {"gate.fc.weight", -0.125f, 0.125f, true},               /* 1/sqrt(64) */
        {"gate.fc.bias", -0.125f, 0.125f, false},                /* of fc's inputs too */
        {"projector.0.weight", -0.3536f, 0.3536f, true},         /* 1/sqrt(8) */
        {"projector.0.bias", -0.3536f, 0.3536f, false},
        {"projector.2.bias", -0.2887f, 0.2887f, false},       /* 1/sqrt(12) */
        {"gate.layer2.1.bn1.weight", 1.0f, 1.0f, true},       /* gain */
        {"gate.layer2.1.bn1.bias", 0.0f, 0.0f, true},         /* shift */
        {"gate.layer1.2.bn2.running_mean", 0.0f, 0.0f, true}, /* nothing seen */
        {"gate.layer1.2.bn2.running_var", 1.0f, 1.0f, true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        size_t count = 0;
        const float *values = value_of(&f, cases[i].name, &count);
        float low = INFINITY, high = -INFINITY;
        for (size_t j = 0; j < count; j++) {
            low = fminf(low, values[j]);
            high = fmaxf(high, values[j]);
        }
        assert_true(low >= cases[i].low && high <= cases[i].high &&
                    (count == 1 || low < high || cases[i].low == cases[i].high));
        if (cases[i].spread) { assert_true(high > 0.8f * cases[i].high || high == cases[i].high); }
    }
    ilora_params_free(fresh);
    lm_fixture_close(&f);
}

/* ---- the step -------------------------------------------------------------------------------- */

/* VALUE after two steps with this gate_batch, micro-batches of `rows`, and this beat. */
static float *values_after(int gate_batch, int rows, void (*beat)(void *), struct lm_fixture *f) {
    struct error err;
    struct lm_step how = exact_step;
    lm_fixture_open_gate(f, ILORA_GATE_RESNET, 4, ILORA_HEAD_ITEM, true);
    struct language_model *lm = lm_fixture_model(f, rows, true);
    float before[SCORES];
    void *context[3] = {f, lm, before};
    how.gate_batch = gate_batch;
    how.dropout = beat != NULL ? 0.2f : 0.0f;
    how.dropout_seed = 5;
    for (; how.step <= 2; how.step++) {
        struct lm_step_stats stats;
        score(f, lm, f->samples, LM_SAMPLES, before);
        ASSERT_OK(language_model_train(lm, f->params, NULL, f->samples, LM_SAMPLES, &how, beat,
                                       context, &stats, &err),
                  err);
    }
    float *values = read_slab(f, ILORA_VALUE);
    language_model_free(lm);
    return values;
}

static void batchnorm_sees_as_many_samples_as_gate_batch_says(void **state) {
    struct lm_fixture a, b, c;
    (void)state;
    float *all = values_after(0, ROWS, NULL, &a), *five = values_after(LM_SAMPLES, ROWS, NULL, &b);
    float *two = values_after(2, ROWS, NULL, &c);
    size_t bytes = ilora_params_floats(a.params) * sizeof(float);
    assert_memory_equal(all, five, bytes);
    assert_true(group_differs(&a, GROUP_STATISTICS, all, two));
    assert_true(group_differs(&a, GROUP_GATE, all, two));
    free(all);
    free(five);
    free(two);
    lm_fixture_close(&a);
    lm_fixture_close(&b);
    lm_fixture_close(&c);
}

static void rest(void *context) {
    (void)context;
}

/* Scores with the model that is in the middle of a step. */
static void score_between(void *context) {
    void **both = context;
    float scores[SCORES];
    struct lm_fixture *f = both[0];
    score(f, both[1], f->samples, LM_SAMPLES, scores);
    assert_memory_equal(scores, both[2], sizeof scores); /* parameters move at the end of a step */
}

static void scoring_between_micro_batches_does_not_disturb_the_step(void **state) {
    struct lm_fixture a, b;
    (void)state;
    float *quiet = values_after(0, FEW, rest, &a), *busy = values_after(0, FEW, score_between, &b);
    assert_memory_equal(quiet, busy, ilora_params_floats(a.params) * sizeof(float));
    free(quiet);
    free(busy);
    lm_fixture_close(&a);
    lm_fixture_close(&b);
}

static void l2_acts_on_its_group_alone(void **state) {
    struct lm_fixture f;
    float *values[2];
    (void)state;
    for (int run = 0; run < 2; run++) {
        struct lm_step_stats stats;
        struct lm_step how = exact_step;
        lm_fixture_open_gate(&f, ILORA_GATE_LINEAR, 4, ILORA_HEAD_BOTH, true);
        struct language_model *lm = lm_fixture_model(&f, ROWS, true);
        how.l2[1] = run == 0 ? 0.0f : 0.5f;
        lm_fixture_train(&f, lm, &how, &stats);
        values[run] = read_slab(&f, ILORA_VALUE);
        language_model_free(lm);
        if (run == 0) { lm_fixture_close(&f); }
    }
    for (int group = 0; group < 4; group++) {
        assert_int_equal(group_differs(&f, group, values[0], values[1]), group == 1);
    }
    free(values[0]);
    free(values[1]);
    lm_fixture_close(&f);
}

static void more_samples_than_the_resnet_gate_holds_are_refused(void **state) {
    struct error err;
    struct lm_fixture f;
    struct lm_step_stats stats;
    struct language_model *lm = NULL;
    (void)state;
    lm_fixture_open_gate(&f, ILORA_GATE_RESNET, 4, ILORA_HEAD_ITEM, false);
    struct language_model_settings settings = {.tokens_max = ROWS,
                                               .sequences_max = LM_SAMPLES,
                                               .items_max = LM_ITEMS,
                                               .training = true,
                                               .step_samples_max = LM_SAMPLES - 1};
    ASSERT_OK(language_model_new(f.base, &settings, &f.shape, &lm, &err), err);
    ASSERT_OK(language_model_set_items(lm, f.items, LM_ITEMS, &err), err);
    ASSERT_STATUS(language_model_gradients(lm, f.params, f.samples, LM_SAMPLES, &stats, &err),
                  STATUS_LIMIT);
    ASSERT_CONTAINS(err.text, "step of 5 samples: the gate holds 4");
    ASSERT_OK(language_model_gradients(lm, f.params, f.samples, LM_SAMPLES - 1, &stats, &err), err);
    language_model_free(lm);
    lm_fixture_close(&f);
}

static void every_allocation_of_a_resnet_gate_may_fail(void **state) {
    struct error err;
    struct lm_fixture f;
    int failures = 0;
    bool fired = true;
    (void)state;
    lm_fixture_open_gate(&f, ILORA_GATE_RESNET, 2, ILORA_HEAD_ITEM, false);
    struct language_model_settings settings = {
        .tokens_max = FEW, .sequences_max = LM_SAMPLES, .items_max = LM_ITEMS, .training = true};
    for (long n = 1; fired; n++) {
        struct language_model *lm = NULL;
        fault_arm(FAULT_MEMORY, n);
        enum status status = language_model_new(f.base, &settings, &f.shape, &lm, &err);
        fired = fault_fired(FAULT_MEMORY);
        fault_arm(FAULT_MEMORY, 0);
        assert_int_equal(status, fired ? STATUS_NO_MEMORY : STATUS_OK);
        failures += fired;
        language_model_free(lm);
    }
    assert_true(failures > 8);
    lm_fixture_close(&f);
}

/* ---- dropout --------------------------------------------------------------------------------- */

#define N 300
#define I 16

/* Two layers with A the identity: what each A reads stands in h. */
static void each_layer_of_a_site_drops_inputs_of_its_own(void **state) {
    struct error err;
    struct backend *be = NULL;
    static float x[N * I], down[2 * I * I], up[4 * I], h[N * 2 * I], u[N * 2 * I], y[N * 4];
    static float scratch[N * I], gate[1] = {1.0f};
    static int32_t sequence[N];
    int dropped[2] = {0, 0}, both = 0;
    (void)state;
    ASSERT_OK(backend_cpu_new(1, &be, &err), err);
    for (int i = 0; i < N * I; i++) {
        x[i] = 1.0f + (float)i;
    }
    for (int i = 0; i < 2 * I; i++) {
        down[i * I + i % I] = 1.0f;
    }
    struct adapter_site site = {
        .parts = 2,
        .R = I,
        .scale = 1.0f,
        .down = tensor_over(down, DTYPE_F32, 2 * I, I),
        .up = {tensor_over(up, DTYPE_F32, 2, I), tensor_over(up + 2 * I, DTYPE_F32, 2, I)}};
    struct adapter_gate one = {.weight = tensor_over(gate, DTYPE_F32, 1, 1),
                               .sequence = tensor_over(sequence, DTYPE_I32, N, 1)};
    struct adapter_dropout dropout = {
        .p = 0.25f, .seed = 3, .scratch = tensor_over(scratch, DTYPE_F32, N, I)};
    adapter_forward(be, tensor_over(y, DTYPE_F32, N, 4), tensor_over(h, DTYPE_F32, N, 2 * I),
                    tensor_over(u, DTYPE_F32, N, 2 * I), tensor_over(x, DTYPE_F32, N, I), &site,
                    &one, &dropout);

    for (int i = 0; i < N * I; i++) {
        const float *row = h + (i / I) * 2 * I + i % I;
        for (int j = 0; j < 2; j++) {
            dropped[j] += row[j * I] == 0.0f;
            assert_true(row[j * I] == 0.0f || row[j * I] == x[i] * (1.0f / 0.75f));
        }
        both += row[0] == 0.0f && row[I] == 0.0f;
        assert_true(x[i] == 1.0f + (float)i); /* the frozen product still reads all of it */
    }
    assert_true(abs(dropped[0] - N * I / 4) < 150 && abs(dropped[1] - N * I / 4) < 150);
    assert_true(abs(both - N * I / 16) < 100); /* independent of one another */
    be->ops->free(be);
}

/* Loss and GRAD under dropout; the step has no length, so values stay. */
static double dropped_loss(struct lm_fixture *f, struct language_model *lm, uint64_t seed,
                           int64_t step) {
    struct error err;
    struct lm_step_stats stats;
    struct lm_step how = exact_step;
    how.learning_rate = 0.0f;
    how.dropout = 0.3f;
    how.dropout_seed = seed;
    how.step = step;
    lm_fixture_train(f, lm, &how, &stats);
    ASSERT_OK(ilora_params_read(f->params, ILORA_GRAD, f->grads, &err), err);
    return stats.item_loss + stats.title_loss + stats.rank_loss;
}

/* The loss moved along the gradient of one tensor, both ways, under the same masks. */
static double difference(struct lm_fixture *f, struct language_model *lm,
                         const struct ilora_tensor *t, double norm, double by) {
    double loss[2];
    size_t count = (size_t)t->rows * (size_t)t->cols;
    float *grad = malloc(count * sizeof(float)), *saved = malloc(count * sizeof(float));
    assert_true(grad != NULL && saved != NULL);
    memcpy(grad, f->grads + t->offset, count * sizeof(float));
    memcpy(saved, f->values + t->offset, count * sizeof(float));
    for (int side = 0; side < 2; side++) {
        for (size_t j = 0; j < count; j++) {
            f->values[t->offset + j] =
                saved[j] + (float)((side == 0 ? by : -by) * (double)grad[j] / norm);
        }
        lm_fixture_write(f);
        loss[side] = dropped_loss(f, lm, 1, 1);
    }
    memcpy(f->values + t->offset, saved, count * sizeof(float));
    lm_fixture_write(f);
    free(grad);
    free(saved);
    return (loss[0] - loss[1]) / (2.0 * by);
}

static void dropout_has_the_same_masks_in_both_passes(void **state) {
    struct lm_fixture f;
    (void)state;
    lm_fixture_open_gate(&f, ILORA_GATE_LINEAR, 2, ILORA_HEAD_BOTH, true);
    struct language_model *lm = lm_fixture_model(&f, FEW, true);
    for (int i = 0; i < ilora_params_count(f.params); i++) {
        const struct ilora_tensor *t = ilora_params_at(f.params, i);
        double norm = 0.0;
        (void)dropped_loss(&f, lm, 1, 1);
        for (size_t j = t->offset; j < t->offset + (size_t)t->rows * (size_t)t->cols; j++) {
            norm += (double)f.grads[j] * (double)f.grads[j];
        }
        norm = sqrt(norm);
        double by = 2e-3 * fmax(1.0, 0.2 / norm) * fmin(1.0, 1.0 / norm);
        double found = difference(&f, lm, t, norm, by);
        if (!(fabs(found - norm) <= 0.02 * norm + 2e-4)) {
            fail_msg("%s: gradient %g, finite difference %g", t->name, norm, found);
        }
    }
    language_model_free(lm);
    lm_fixture_close(&f);
}

static void masks_are_a_function_of_seed_step_and_micro_batch(void **state) {
    struct lm_fixture f;
    (void)state;
    lm_fixture_open_gate(&f, ILORA_GATE_LINEAR, 2, ILORA_HEAD_ITEM, false);
    struct language_model *lm = lm_fixture_model(&f, FEW, true);
    double plain = lm_fixture_loss(&f, lm, f.samples, LM_SAMPLES);
    double first = dropped_loss(&f, lm, 1, 1), again = dropped_loss(&f, lm, 1, 1);
    assert_true(first == again);
    assert_true(first != plain);
    assert_true(dropped_loss(&f, lm, 2, 1) != first);
    assert_true(dropped_loss(&f, lm, 1, 2) != first);
    language_model_free(lm);

    f.samples[1] = f.samples[0]; /* the same sample twice, in a micro-batch each */
    lm = lm_fixture_model(&f, f.prompts[0].count, true);
    double pair[2] = {0.0, 0.0};
    for (int i = 0; i < 2; i++) {
        struct error err;
        struct lm_step_stats stats;
        struct lm_step how = exact_step;
        how.learning_rate = 0.0f;
        how.dropout = 0.3f;
        f.samples[0].weight = i == 0 ? 1.0f : 0.0f;
        f.samples[1].weight = i == 0 ? 0.0f : 1.0f;
        ASSERT_OK(
            language_model_train(lm, f.params, NULL, f.samples, 2, &how, NULL, NULL, &stats, &err),
            err);
        pair[i] = stats.item_loss;
    }
    assert_true(pair[0] != pair[1]);
    language_model_free(lm);
    lm_fixture_close(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_uniform_gate_of_either_kind_is_plain_lora),
        cmocka_unit_test(a_one_hot_gate_is_lora_of_rank_R_over_K),
        cmocka_unit_test(scores_do_not_depend_on_batch_mates_whatever_the_gate),
        cmocka_unit_test(running_statistics_follow_the_steps_and_nothing_else_touches_them),
        cmocka_unit_test(gate_and_projector_start_as_pytorch_starts_its_layers),
        cmocka_unit_test(batchnorm_sees_as_many_samples_as_gate_batch_says),
        cmocka_unit_test(scoring_between_micro_batches_does_not_disturb_the_step),
        cmocka_unit_test(l2_acts_on_its_group_alone),
        cmocka_unit_test(more_samples_than_the_resnet_gate_holds_are_refused),
        cmocka_unit_test(every_allocation_of_a_resnet_gate_may_fail),
        cmocka_unit_test(each_layer_of_a_site_drops_inputs_of_its_own),
        cmocka_unit_test(dropout_has_the_same_masks_in_both_passes),
        cmocka_unit_test(masks_are_a_function_of_seed_step_and_micro_batch),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
