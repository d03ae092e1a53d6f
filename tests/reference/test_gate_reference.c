/* SPDX-License-Identifier: Apache-2.0
 *
 * test_gate_reference.c - exact mode's gates and optimiser against PyTorch.
 *
 * gate_make_golden.py writes both files: gate_resnet.bin, the ResNet gate alone at its published
 * size; gate_steps.bin, ten steps of torch.optim.Adam over the tiny language model with each gate,
 * learning rates x1 / x1 / x0.3 and L2 on projector and gate. Bounds: per tensor max|a-b| <= 1e-4
 * max|ref|; after ten steps the change of every parameter within 1e-3 of its norm. */
#include <math.h>
#include <stdlib.h>

#include "model/params.h"
#include "tests/reference/lm_reference.h"
#include "tests/support/tensor_check.h"
#include "tests/support/unit.h"

#define SAMPLED 200 /* elements of a tensor that the files keep */
#define E_WIDTH 64
#define EXPERTS 4
#define BATCHES 3
#define BATCH   5
#define BOUND   1e-4
/* Tensor numbers of spread beside those of the gate. */
#define Z_TENSOR         200
#define VECTORS_TENSOR   300
#define PROJECTOR_TENSOR 301

/* ---- what both sides compute ----------------------------------------------------------------- */

/* In [0,1), a multiple of 2^-24: a hash of (tensor, element). */
static float spread(int tensor, size_t element) {
    uint32_t x = (uint32_t)element * 0x85EBCA77u + (uint32_t)tensor * 0x9E3779B1u + 12345u;
    x = (x ^ (x >> 15)) * 0x2C1B3C6Du;
    x = (x ^ (x >> 12)) * 0x297A2D39u;
    return (float)((x ^ (x >> 15)) >> 8) / 16777216.0f;
}

/* The starting value of a gate's tensor: around one for gains and variances, else around zero. */
static float start_value(int tensor, const char *name, int cols, size_t element) {
    float u = spread(tensor, element);
    if (strstr(name, ".bn2.weight") != NULL) { return (0.5f + u) * 0.25f; }
    if (strstr(name, "running_var") != NULL) { return 0.5f + u; }
    if (strstr(name, "bn") != NULL && strstr(name, ".weight") != NULL) { return 0.5f + u; }
    if (strstr(name, "conv") != NULL) {
        float width = cols == CONV_TAPS ? 1.0f : cols < 32 * CONV_TAPS ? 0.5f : 0.25f;
        return (u - 0.5f) * width;
    }
    return (u - 0.5f) * 0.5f;
}

/* Where tensor `index` of the ResNet gate starts among its values. */
static size_t offset_of(const struct gate_resnet *net, int index) {
    if (index >= GATE_RESNET_TRAINED) {
        const struct gate_resnet_conv *conv = &net->convs[(index - GATE_RESNET_TRAINED) / 2];
        return (index - GATE_RESNET_TRAINED) % 2 == 0 ? conv->mean : conv->variance;
    }
    if (index == 3 * GATE_RESNET_CONVS) { return net->fc_weight; }
    if (index == 3 * GATE_RESNET_CONVS + 1) { return net->fc_bias; }
    const struct gate_resnet_conv *conv = &net->convs[index / 3];
    return index % 3 == 0 ? conv->weight : index % 3 == 1 ? conv->gain : conv->bias;
}

/* ---- the network alone ----------------------------------------------------------------------- */

struct alone {
    struct lm_golden golden;
    struct gate_resnet net;
};

static void alone_open(struct alone *a) {
    struct error err;
    assert_int_equal(lm_golden_read(LM_GOLDEN_FOLDER "/gate_resnet.bin", &a->golden), 0);
    ASSERT_OK(gate_resnet_init(&a->net, E_WIDTH, EXPERTS, PARAMS_ALIGNMENT_FLOATS, BATCH, &err),
              err);
    for (int i = 0; i < GATE_RESNET_TENSORS; i++) {
        struct gate_resnet_tensor t;
        gate_resnet_describe(i, EXPERTS, &t);
        for (size_t j = 0; j < (size_t)t.rows * (size_t)t.cols; j++) {
            a->net.values[offset_of(&a->net, i) + j] = start_value(i, t.name, t.cols, j);
        }
    }
}

static void alone_close(struct alone *a) {
    gate_resnet_free(&a->net);
    lm_golden_free(&a->golden);
}

static void learn_batch(struct alone *a, int batch) {
    const float *z = lm_golden_floats(&a->golden, "z") + batch * BATCH * E_WIDTH;
    memcpy(a->net.tape.z, z, BATCH * E_WIDTH * sizeof(float));
    gate_resnet_forward(&a->net, 0, BATCH);
}

static void check_scores(struct alone *a, const char *name) {
    float w[BATCH * EXPERTS];
    for (int b = 0; b < BATCH; b++) {
        gate_resnet_score(&a->net, a->net.values, lm_golden_floats(&a->golden, "z") + b * E_WIDTH,
                          w + b * EXPERTS);
    }
    assert_true(
        tensor_check_scaled(name, w, lm_golden_floats(&a->golden, name), BATCH * EXPERTS, BOUND));
}

/* The kept elements of a gradient, within BOUND of the largest of all. */
static void check_gradient(const struct alone *a, int index) {
    struct gate_resnet_tensor t;
    char name[80];
    gate_resnet_describe(index, EXPERTS, &t);
    (void)snprintf(name, sizeof name, "max.grad.%s", t.name);
    double largest = (double)*lm_golden_floats(&a->golden, name);
    const float *ref = lm_golden_floats(&a->golden, name + strlen("max."));
    size_t count = (size_t)t.rows * (size_t)t.cols, step = (count + SAMPLED - 1) / SAMPLED;
    assert_true(largest > 0.0);
    for (size_t j = 0; j < count; j += step) {
        double off = a->net.gradient[offset_of(&a->net, index) + j] - (double)ref[j / step];
        if (!(fabs(off) <= BOUND * largest)) {
            fail_msg("%s[%zu]: off by %g, largest %g", t.name, j, off, largest);
        }
    }
}

static void resnet_gate_equals_pytorch_in_training_and_scoring(void **state) {
    static struct alone a;
    (void)state;
    alone_open(&a);
    check_scores(&a, "scored.first");
    for (int batch = 0; batch < BATCHES; batch++) {
        char name[16];
        (void)snprintf(name, sizeof name, "%d.w", batch);
        learn_batch(&a, batch);
        assert_true(tensor_check_scaled(name, a.net.tape.weight, lm_golden_floats(&a.golden, name),
                                        BATCH * EXPERTS, BOUND));
    }
    for (int i = GATE_RESNET_TRAINED; i < GATE_RESNET_TENSORS; i++) {
        struct gate_resnet_tensor t;
        gate_resnet_describe(i, EXPERTS, &t);
        assert_true(tensor_check_scaled(t.name, a.net.values + offset_of(&a.net, i),
                                        lm_golden_floats(&a.golden, t.name), (size_t)t.cols,
                                        BOUND));
    }
    check_scores(&a, "scored.last");
    alone_close(&a);
}

static void resnet_gate_gradients_equal_pytorch(void **state) {
    static struct alone a;
    (void)state;
    alone_open(&a);
    learn_batch(&a, 0);
    memcpy(a.net.dweight, lm_golden_floats(&a.golden, "dw"), BATCH * EXPERTS * sizeof(float));
    gate_resnet_backward(&a.net, 0, BATCH);
    for (int i = 0; i < GATE_RESNET_TRAINED; i++) {
        check_gradient(&a, i);
    }
    alone_close(&a);
}

/* ---- ten steps of the language model --------------------------------------------------------- */

static void fill_centred(int tensor, float width, float *values, size_t count) {
    for (size_t j = 0; j < count; j++) {
        values[j] = (spread(tensor, j) - 0.5f) * width;
    }
}

/* What the language model's file does not have at this width and gate. */
static void start_rest(struct lm_reference *r, float z[LM_REFERENCE_SAMPLES][E_WIDTH]) {
    struct error err;
    float vectors[LM_REFERENCE_ITEMS * E_WIDTH];
    int tensor = 0;
    fill_centred(VECTORS_TENSOR, 4.0f, vectors, LM_REFERENCE_ITEMS * E_WIDTH);
    ASSERT_OK(language_model_set_items(r->lm, vectors, LM_REFERENCE_ITEMS, &err), err);
    for (int i = 0; i < LM_REFERENCE_SAMPLES; i++) {
        fill_centred(Z_TENSOR + i, 4.0f, z[i], E_WIDTH);
        r->samples[i].gate_input = z[i];
        r->samples[i].candidate_count = 1; /* exact mode: the target's title alone */
        r->samples[i].candidate_corrections = NULL;
    }
    for (int i = 0; i < ilora_params_count(r->params); i++) {
        const struct ilora_tensor *t = ilora_params_at(r->params, i);
        if (strcmp(t->name, "projector.0.weight") == 0) {
            fill_centred(PROJECTOR_TENSOR, 0.25f, r->start + t->offset,
                         (size_t)t->rows * (size_t)t->cols);
        }
        if (t->group != GROUP_GATE && t->group != GROUP_STATISTICS) { continue; }
        for (size_t j = 0; j < (size_t)t->rows * (size_t)t->cols; j++) {
            r->start[t->offset + j] = start_value(tensor, t->name, t->cols, j);
        }
        tensor++;
    }
    lm_reference_restart(r);
}

static void check_change(const struct lm_reference *r, const struct lm_golden *golden,
                         const char *label, const struct ilora_tensor *t) {
    char name[160];
    (void)snprintf(name, sizeof name, "%s.%s", label, t->name);
    const float *ref = lm_golden_floats(golden, name);
    size_t count = (size_t)t->rows * (size_t)t->cols, step = (count + SAMPLED - 1) / SAMPLED;
    double off = 0.0, norm = 0.0;
    for (size_t j = 0; j < count; j += step) {
        double change = (double)r->slab[t->offset + j] - (double)r->start[t->offset + j];
        off += pow(change - (double)ref[j / step], 2.0);
        norm += pow((double)ref[j / step], 2.0);
    }
    if (!(sqrt(off) <= 1e-3 * sqrt(norm))) {
        fail_msg("%s: differs by %g of a change of %g", name, sqrt(off), sqrt(norm));
    }
}

static void check_near(const char *what, double a, double ref, double bound) {
    if (!(fabs(a - ref) <= bound * fabs(ref))) {
        fail_msg("%s: %.9g, reference %.9g", what, a, ref);
    }
}

static void ten_steps(struct lm_reference *r, const struct lm_golden *golden, const char *label,
                      float l2) {
    struct error err;
    char name[32];
    struct lm_step how = {.learning_rate = 1e-3f,
                          .multiplier = {1.0f, 1.0f, 0.3f, 1.0f},
                          .beta1 = 0.9f,
                          .beta2 = 0.999f,
                          .epsilon = 1e-8f,
                          .l2 = {0.0f, l2, l2, 0.0f}};
    (void)snprintf(name, sizeof name, "%s.losses", label);
    const float *losses = lm_golden_floats(golden, name);
    for (how.step = 1; how.step <= 10; how.step++) {
        struct lm_step_stats stats;
        ASSERT_OK(language_model_train(r->lm, r->params, NULL, r->samples, LM_REFERENCE_SAMPLES,
                                       &how, NULL, NULL, &stats, &err),
                  err);
        assert_false(stats.discarded);
        assert_true(stats.rank_loss == 0.0);
        check_near("loss", stats.title_loss, (double)losses[0], 1e-4);
        check_near("gradient norm", stats.grad_norm, (double)losses[1], 1e-3);
        losses += 2;
    }
}

static void steps_equal(enum ilora_gate gate, const char *label, float l2, int tokens_max) {
    struct error err;
    static struct lm_reference r;
    static struct lm_golden golden;
    float z[LM_REFERENCE_SAMPLES][E_WIDTH];
    assert_int_equal(lm_golden_read(LM_GOLDEN_FOLDER "/gate_steps.bin", &golden), 0);
    struct ilora_shape shape = lm_reference_shape(EXPERTS);
    shape.gate = gate;
    shape.E = E_WIDTH;
    shape.head = ILORA_HEAD_TITLE;
    lm_reference_open(&r, &shape, tokens_max);
    start_rest(&r, z);
    ten_steps(&r, &golden, label, l2);

    ASSERT_OK(ilora_params_read(r.params, ILORA_VALUE, r.slab, &err), err);
    for (int i = 0; i < ilora_params_count(r.params); i++) {
        check_change(&r, &golden, label, ilora_params_at(r.params, i));
    }
    lm_reference_close(&r);
    lm_golden_free(&golden);
}

static void ten_adam_steps_with_the_linear_gate_equal_pytorch(void **state) {
    (void)state;
    steps_equal(ILORA_GATE_LINEAR, "linear", 1e-5f, 200);
}

/* The published L2 is too small to see in ten steps; this one is not. */
static void coupled_l2_equals_weight_decay_of_pytorchs_adam(void **state) {
    (void)state;
    steps_equal(ILORA_GATE_LINEAR, "decay", 0.1f, 200);
}

static void ten_adam_steps_with_the_resnet_gate_equal_pytorch(void **state) {
    (void)state;
    steps_equal(ILORA_GATE_RESNET, "resnet", 1e-5f, 200);
}

/* One or two samples a micro-batch: BatchNorm still sees all six. */
static void the_resnet_gate_does_not_depend_on_micro_batches(void **state) {
    (void)state;
    steps_equal(ILORA_GATE_RESNET, "resnet", 1e-5f, 24);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(resnet_gate_equals_pytorch_in_training_and_scoring),
        cmocka_unit_test(resnet_gate_gradients_equal_pytorch),
        cmocka_unit_test(ten_adam_steps_with_the_linear_gate_equal_pytorch),
        cmocka_unit_test(coupled_l2_equals_weight_decay_of_pytorchs_adam),
        cmocka_unit_test(ten_adam_steps_with_the_resnet_gate_equal_pytorch),
        cmocka_unit_test(the_resnet_gate_does_not_depend_on_micro_batches),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
