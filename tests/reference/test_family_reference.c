/* SPDX-License-Identifier: Apache-2.0
 *
 * test_family_reference.c - each family's small model against transformers, from golden files.
 *
 * family_model.c writes the models, families.py --golden computed with them: logits by
 * transformers, losses and gradients by autograd through transformers' layers. Bounds of the
 * project: per tensor max|a-b| <= 1e-4 max|ref|. */
#include <math.h>
#include <stdlib.h>

#include "tests/reference/family_model.h"
#include "tests/reference/lm_reference.h"
#include "tests/support/tensor_check.h"
#include "tests/support/tmpdir.h"
#include "tests/support/unit.h"

#define BOUND 1e-4

static void check_logits(struct lm_reference *r, bool adapted) {
    struct error err;
    int count = 0, V = base_model_description(r->base)->V;
    const int32_t *tokens = lm_golden_integers(&r->golden, "logits.tokens", &count);
    float *logits = calloc((size_t)V * (size_t)count, sizeof *logits);
    assert_non_null(logits);
    ASSERT_OK(language_model_logits(r->lm, adapted ? r->params : NULL,
                                    adapted ? r->samples[0].gate_input : NULL, tokens, count,
                                    logits, &err),
              err);
    const float *last = logits + (size_t)V * (size_t)(count - 1); /* the file holds the last row */
    const char *name = adapted ? "logits" : "logits.base";
    assert_true(
        tensor_check_scaled(name, last, lm_golden_floats(&r->golden, name), (size_t)V, BOUND));
    free(logits);
}

static void check_gradients(struct lm_reference *r) {
    struct error err;
    struct lm_step_stats stats;
    ASSERT_OK(
        language_model_gradients(r->lm, r->params, r->samples, LM_REFERENCE_SAMPLES, &stats, &err),
        err);
    const float *losses = lm_golden_floats(&r->golden, "losses");
    const double found[] = {stats.item_loss, stats.title_loss, stats.rank_loss};
    for (int i = 0; i < 3; i++) {
        assert_true(fabs(found[i] - (double)losses[i]) <= 1e-5 * fabs((double)losses[i]));
    }
    ASSERT_OK(ilora_params_read(r->params, ILORA_GRAD, r->slab, &err), err);
    for (int i = 0; i < ilora_params_count(r->params); i++) {
        const struct ilora_tensor *t = ilora_params_at(r->params, i);
        char name[160];
        (void)snprintf(name, sizeof name, "grad.%s", t->name);
        assert_true(tensor_check_scaled(t->name, r->slab + t->offset,
                                        lm_golden_floats(&r->golden, name),
                                        (size_t)t->rows * (size_t)t->cols, BOUND));
    }
}

static void check_family(const char *name) {
    struct tmpdir folder;
    static struct lm_reference r;
    char path[1024];
    struct ilora_shape shape = lm_reference_shape(2);
    shape.R = 2;
    tmpdir_init(&folder);
    assert_int_equal(family_write(name, folder.path), 0);
    (void)snprintf(path, sizeof path, "%s/family_%s.bin", LM_GOLDEN_FOLDER, name);
    lm_reference_open_file(&r, folder.path, path, &shape, 200);

    check_logits(&r, false);
    check_logits(&r, true);
    check_gradients(&r);

    lm_reference_close(&r);
    tmpdir_free(&folder);
}

static void llama2_equals_transformers(void **state) {
    (void)state;
    check_family("llama2");
}

static void llama3_with_scaled_rope_equals_transformers(void **state) {
    (void)state;
    check_family("llama3");
}

static void tinyllama_equals_transformers(void **state) {
    (void)state;
    check_family("tinyllama");
}

static void smollm2_equals_transformers(void **state) {
    (void)state;
    check_family("smollm2");
}

static void mistral_with_wide_heads_equals_transformers(void **state) {
    (void)state;
    check_family("mistral");
}

static void qwen2_with_biases_equals_transformers(void **state) {
    (void)state;
    check_family("qwen2");
}

static void qwen3_with_head_norms_equals_transformers(void **state) {
    (void)state;
    check_family("qwen3");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(llama2_equals_transformers),
        cmocka_unit_test(llama3_with_scaled_rope_equals_transformers),
        cmocka_unit_test(tinyllama_equals_transformers),
        cmocka_unit_test(smollm2_equals_transformers),
        cmocka_unit_test(mistral_with_wide_heads_equals_transformers),
        cmocka_unit_test(qwen2_with_biases_equals_transformers),
        cmocka_unit_test(qwen3_with_head_norms_equals_transformers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
