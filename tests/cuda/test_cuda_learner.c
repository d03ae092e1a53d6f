/* SPDX-License-Identifier: Apache-2.0
 *
 * test_cuda_learner.c - the language model on the CUDA backend, run by the executor, against the
 * same model on the CPU backend: gradients, one step, scores.
 *
 * The bound is a tenth of that of a snapshot that moves between backends, which is 1e-3 max|ref|
 * per tensor. Where the exact gradient is 0 (a bias before a softmax that shifts with it) only
 * rounding is left: such a tensor is judged by the largest of all. */
#include <math.h>
#include <stdlib.h>

#include "tests/cuda/cuda_host_control.h"
#include "tests/model/lm_fixture.h"
#include "tests/support/unit.h"

#define BOUND     1e-4
#define ROUNDING  1e-6 /* of the largest number of all tensors */
#define TOKENS    200
#define STEP_RATE 1e-2f

static double greatest(const float *values, size_t count) {
    double most = 0.0;

    for (size_t i = 0; i < count; i++) {
        assert_true(isfinite(values[i]));
        most = fmax(most, fabs((double)values[i]));
    }
    return most;
}

/* Tensor by tensor. */
static void assert_close(const struct lm_fixture *f, const float *got, const float *want,
                         const char *what) {
    const double floor_all = ROUNDING * greatest(want, ilora_params_floats(f->params));

    for (int i = 0; i < ilora_params_count(f->params); i++) {
        const struct ilora_tensor *t = ilora_params_at(f->params, i);
        size_t count = (size_t)t->rows * (size_t)t->cols;
        double worst = 0.0, most = greatest(want + t->offset, count);
        for (size_t j = t->offset; j < t->offset + count; j++) {
            assert_true(isfinite(got[j]));
            worst = fmax(worst, fabs((double)got[j] - (double)want[j]));
        }
        if (worst > BOUND * most + floor_all) {
            fail_msg("%s of %s: off by %.3g, largest %.3g", what, t->name, worst, most);
        }
    }
}

static void open_cuda(struct lm_fixture *f, int K, enum ilora_head head) {
    struct error err;
    struct backend *be = NULL;
    ASSERT_OK(backend_cuda_new(0, &be, &err), err);
    lm_fixture_open_on(f, be, K, head, true);
}

/* Gradients of all samples on both backends, and twice on CUDA. */
static void check_gradients(int K, enum ilora_head head) {
    struct lm_fixture cpu, cuda;
    lm_fixture_open(&cpu, K, head, true);
    open_cuda(&cuda, K, head);
    size_t floats = ilora_params_floats(cpu.params);
    struct language_model *on_cpu = lm_fixture_model(&cpu, TOKENS, true);
    struct language_model *on_cuda = lm_fixture_model(&cuda, TOKENS, true);
    float *first = calloc(floats, sizeof *first);
    assert_non_null(first);

    double want = lm_fixture_loss(&cpu, on_cpu, cpu.samples, LM_SAMPLES);
    double got = lm_fixture_loss(&cuda, on_cuda, cuda.samples, LM_SAMPLES);
    memcpy(first, cuda.grads, floats * sizeof *first);
    cuda_host_set_order(CUDA_HOST_SHUFFLED, 3);
    double again = lm_fixture_loss(&cuda, on_cuda, cuda.samples, LM_SAMPLES);
    cuda_host_set_order(CUDA_HOST_ASCENDING, 1);

    assert_true(fabs(got - want) <= BOUND * fabs(want));
    assert_close(&cpu, first, cpu.grads, "gradient");
    assert_memory_equal(first, cuda.grads, floats * sizeof *first);
    assert_memory_equal(&again, &got, sizeof got);
    free(first);
    language_model_free(on_cpu);
    language_model_free(on_cuda);
    lm_fixture_close(&cpu);
    lm_fixture_close(&cuda);
    assert_true(cuda_host_guards_whole());
    assert_int_equal(cuda_host_device_bytes(), 0);
}

static void item_head_gradients_are_the_cpus(void **state) {
    (void)state;
    check_gradients(4, ILORA_HEAD_ITEM);
}

static void both_heads_gradients_are_the_cpus(void **state) {
    (void)state;
    check_gradients(2, ILORA_HEAD_BOTH);
}

/* Two AdamW steps; ret_values: calloc'ed. */
static void train(struct lm_fixture *f, float **ret_values, struct lm_step_stats *ret_stats) {
    struct language_model *lm = lm_fixture_model(f, TOKENS, true);
    struct error err;
    struct lm_step how = {.learning_rate = STEP_RATE,
                          .multiplier = {1.0f, 1.0f, 1.0f, 1.0f},
                          .weight_decay = 0.01f,
                          .beta1 = 0.9f,
                          .beta2 = 0.999f,
                          /* steps of a size that is not the sign of rounding where a gradient
                           * is next to nothing */
                          .epsilon = 1e-2f,
                          .clip_norm = 1.0f,
                          .ema_decay = 0.9f};
    float *values = calloc(ilora_params_floats(f->params), sizeof *values);
    assert_non_null(values);

    for (how.step = 1; how.step <= 2; how.step++) {
        ASSERT_OK(language_model_train(lm, f->params, NULL, f->samples, LM_SAMPLES, &how, NULL,
                                       NULL, ret_stats, &err),
                  err);
        assert_false(ret_stats->discarded);
    }
    ASSERT_OK(ilora_params_read(f->params, ILORA_VALUE, values, &err), err);
    language_model_free(lm);
    *ret_values = values;
}

static void two_steps_leave_the_cpus_parameters(void **state) {
    struct lm_fixture cpu, cuda;
    struct lm_step_stats want_stats, got_stats;
    float *want = NULL, *got = NULL;
    (void)state;
    lm_fixture_open(&cpu, 4, ILORA_HEAD_BOTH, true);
    open_cuda(&cuda, 4, ILORA_HEAD_BOTH);

    train(&cpu, &want, &want_stats);
    train(&cuda, &got, &got_stats);

    assert_close(&cpu, got, want, "value");
    assert_true(fabs(got_stats.grad_norm - want_stats.grad_norm) <= BOUND * want_stats.grad_norm);
    assert_true(memcmp(want, cpu.values, sizeof *want) != 0); /* it did learn */
    free(want);
    free(got);
    lm_fixture_close(&cpu);
    lm_fixture_close(&cuda);
}

static void catalogue_scores_are_the_cpus(void **state) {
    struct lm_fixture cpu, cuda;
    struct error err;
    float want[LM_SAMPLES * LM_ITEMS], got[LM_SAMPLES * LM_ITEMS];
    (void)state;
    lm_fixture_open(&cpu, 4, ILORA_HEAD_ITEM, true);
    open_cuda(&cuda, 4, ILORA_HEAD_ITEM);
    struct language_model *on_cpu = lm_fixture_model(&cpu, TOKENS, false);
    struct language_model *on_cuda = lm_fixture_model(&cuda, TOKENS, false);

    ASSERT_OK(
        language_model_score_items(on_cpu, cpu.params, false, cpu.samples, LM_SAMPLES, want, &err),
        err);
    ASSERT_OK(language_model_score_items(on_cuda, cuda.params, false, cuda.samples, LM_SAMPLES, got,
                                         &err),
              err);

    for (int i = 0; i < LM_SAMPLES * LM_ITEMS; i++) {
        assert_true(fabs((double)got[i] - (double)want[i]) <= BOUND * fabs((double)want[i]));
    }
    language_model_free(on_cpu);
    language_model_free(on_cuda);
    lm_fixture_close(&cpu);
    lm_fixture_close(&cuda);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(item_head_gradients_are_the_cpus),
        cmocka_unit_test(both_heads_gradients_are_the_cpus),
        cmocka_unit_test(two_steps_leave_the_cpus_parameters),
        cmocka_unit_test(catalogue_scores_are_the_cpus),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
