/* SPDX-License-Identifier: Apache-2.0
 *
 * test_lm_gradients.c - the whole loss against finite differences, every trainable tensor.
 *
 * Along a random direction d of one tensor: (loss(v + e d) - loss(v - e d)) / 2e must be grad . d.
 * The passes are f32, so e is large enough for the difference to stand above rounding (1e-7 of a
 * loss near 10) and small enough for the cubic term; 2 % of the larger side is what that leaves.
 * With an argument: the same over that base model (tests/reference/lm_architectures.py). */
#include <math.h>
#include <stdio.h>

#include "tests/model/lm_fixture.h"
#include "tests/support/unit.h"

#define STEP      2e-3
#define TOLERANCE 0.02
#define LARGEST   16384 /* values of one tensor */

static const char *base_path = LM_BUILTIN;

static double loss_moved(struct lm_fixture *f, struct language_model *lm,
                         const struct ilora_tensor *t, const float *direction, double by) {
    size_t count = (size_t)t->rows * (size_t)t->cols;
    float *value = f->values + t->offset;
    static float saved[LARGEST];
    assert_true(count <= LARGEST);
    memcpy(saved, value, count * sizeof(float));
    for (size_t i = 0; i < count; i++) {
        value[i] = saved[i] + (float)by * direction[i];
    }
    lm_fixture_write(f);
    double loss = lm_fixture_loss(f, lm, f->samples, LM_SAMPLES);
    memcpy(value, saved, count * sizeof(float));
    lm_fixture_write(f);
    return loss;
}

/* The norm of one tensor's gradient. */
static double norm_of(const struct lm_fixture *f, const struct ilora_tensor *t) {
    double norm = 0.0;
    for (size_t j = t->offset; j < t->offset + (size_t)t->rows * (size_t)t->cols; j++) {
        norm += (double)f->grads[j] * (double)f->grads[j];
    }
    return sqrt(norm);
}

/* Along the gradient: the largest signal. */
static void check_tensor(struct lm_fixture *f, struct language_model *lm,
                         const struct ilora_tensor *t, double norm, double tolerance) {
    static float direction[LARGEST];
    double expected = 0.0;
    size_t count = (size_t)t->rows * (size_t)t->cols;
    assert_true(count <= LARGEST);
    for (size_t j = 0; j < count; j++) {
        direction[j] = (float)((double)f->grads[t->offset + j] / norm);
        expected += (double)direction[j] * (double)f->grads[t->offset + j];
    }

    double step = STEP * fmax(1.0, 0.2 / norm) * fmin(1.0, 1.0 / norm);
    double difference =
        (loss_moved(f, lm, t, direction, step) - loss_moved(f, lm, t, direction, -step)) /
        (2.0 * step);
    double larger = fmax(fabs(expected), fabs(difference));
    if (fabs(expected - difference) > tolerance * larger + 2e-4) {
        fail_msg("%s: gradient %g, finite difference %g", t->name, expected, difference);
    }
}

static void check_fixture(struct lm_fixture *f, double tolerance) {
    struct language_model *lm = lm_fixture_model(f, 200, true);
    for (int i = 0; i < ilora_params_count(f->params); i++) {
        const struct ilora_tensor *t = ilora_params_at(f->params, i);
        (void)lm_fixture_loss(f, lm, f->samples, LM_SAMPLES);
        double norm = norm_of(f, t);
        if (t->group == 4) { /* running statistics */
            assert_true(norm == 0.0);
            continue;
        }
        if (f->shape.K == 1 && t->group == 2) { /* one expert has weight 1, always */
            assert_true(norm < 1e-6);
            continue;
        }
        if (!(norm > 1e-6)) { fail_msg("%s: gradient norm %g", t->name, norm); }
        check_tensor(f, lm, t, norm, tolerance);
    }
    language_model_free(lm);
    lm_fixture_close(f);
}

static void check_all(int K, enum ilora_head head, bool item_tokens) {
    struct lm_fixture f;
    lm_fixture_open_base(&f, base_path, K, head, item_tokens);
    check_fixture(&f, TOLERANCE);
}

static void the_linear_gate_has_right_gradients(void **state) {
    struct lm_fixture f;
    (void)state;
    lm_fixture_open_gate(&f, ILORA_GATE_LINEAR, 4, ILORA_HEAD_ITEM, false);
    check_fixture(&f, TOLERANCE);
}

static void the_resnet_gate_has_right_gradients(void **state) {
    struct lm_fixture f;
    (void)state;
    lm_fixture_open_gate(&f, ILORA_GATE_RESNET, 2, ILORA_HEAD_ITEM, true);
    /* A ReLU behind every BatchNorm of a dozen numbers: differences see some of them switch. The
     * tight comparison is with PyTorch (tests/reference/test_gate_reference.c). */
    check_fixture(&f, 0.05);
}

static void item_head_gradients_are_differences_of_the_loss(void **state) {
    (void)state;
    check_all(4, ILORA_HEAD_ITEM, false);
}

static void both_heads_with_item_tokens_have_right_gradients(void **state) {
    (void)state;
    check_all(2, ILORA_HEAD_BOTH, true);
}

static void title_head_alone_has_right_gradients_and_one_expert_no_gate(void **state) {
    (void)state;
    check_all(1, ILORA_HEAD_TITLE, true);
}

int main(int argc, char **argv) {
    if (argc > 1) { base_path = argv[1]; }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(item_head_gradients_are_differences_of_the_loss),
        cmocka_unit_test(both_heads_with_item_tokens_have_right_gradients),
        cmocka_unit_test(title_head_alone_has_right_gradients_and_one_expert_no_gate),
        cmocka_unit_test(the_linear_gate_has_right_gradients),
        cmocka_unit_test(the_resnet_gate_has_right_gradients),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
