/* SPDX-License-Identifier: Apache-2.0
 *
 * test_base_adapter.c - a mixture folded into an adapter is the gate it stands for. */
#include "ops/base_adapter.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/model/lm_fixture.h"
#include "tests/support/tensor_check.h"
#include "tests/support/tmpdir.h"
#include "tests/support/unit.h"

#define TOKENS  9
#define V_MAX   320
#define EXPERTS 2

static const int32_t tokens[TOKENS] = {5, 17, 99, 200, 31, 4, 250, 8, 77};

static void logits_of(struct base_model *base, const struct ilora_shape *shape,
                      struct ilora_params *params, const float *gate_input, float *ret_logits) {
    struct language_model_settings settings = {.tokens_max = TOKENS, .sequences_max = 1};
    struct language_model *lm = NULL;
    struct error err;
    ASSERT_OK(language_model_new(base, &settings, shape, &lm, &err), err);
    ASSERT_OK(language_model_logits(lm, params, gate_input, tokens, TOKENS, ret_logits, &err), err);
    language_model_free(lm);
}

/* Every gate is that of these logits; returns it as the words of --gate. */
static void fix_gate(struct lm_fixture *f, const float bias[EXPERTS], char *ret_words,
                     size_t words_bytes) {
    const struct ilora_tensor *w = ilora_params_at(f->params, lm_fixture_find(f, "gate.weight"));
    const struct ilora_tensor *b = ilora_params_at(f->params, lm_fixture_find(f, "gate.bias"));
    double e[EXPERTS], sum = 0.0, floor = (double)f->shape.gate_floor;
    memset(f->values + w->offset, 0, (size_t)w->rows * (size_t)w->cols * sizeof(float));
    for (int k = 0; k < EXPERTS; k++) {
        f->values[b->offset + (size_t)k] = bias[k];
        e[k] = exp((double)bias[k]);
        sum += e[k];
    }
    lm_fixture_write(f);
    (void)snprintf(ret_words, words_bytes, "%.12g,%.12g",
                   floor / EXPERTS + (1.0 - floor) * e[0] / sum,
                   floor / EXPERTS + (1.0 - floor) * e[1] / sum);
}

/* The fixture's adapter as a PEFT folder. */
static void write_folder(const struct lm_fixture *f, const char *folder) {
    struct tensor_list list = {0};
    struct error err;
    for (int i = 0; i < ilora_params_count(f->params); i++) {
        const struct ilora_tensor *t = ilora_params_at(f->params, i);
        if (strstr(t->name, ".lora_") == NULL) { continue; }
        tensor_list_add(&list, t->name, "", "F32", t->rows, t->cols, f->values + t->offset);
    }
    ASSERT_OK(peft_adapter_write(&list, f->shape.R, (double)f->shape.alpha, "tiny", folder, &err),
              err);
    tensor_list_free(&list);
}

static void a_folded_mixture_is_the_gate_it_stands_for(void **state) {
    static float gated[TOKENS * V_MAX], folded[TOKENS * V_MAX];
    struct tmpdir dir;
    struct lm_fixture f;
    struct base_adapter adapter;
    struct ilora_params *params = NULL;
    struct error err;
    char words[64];
    (void)state;
    tmpdir_init(&dir);
    lm_fixture_open(&f, EXPERTS, ILORA_HEAD_TITLE, false);
    fix_gate(&f, (const float[EXPERTS]){0.9f, -0.4f}, words, sizeof words);
    write_folder(&f, dir.path);
    size_t count = TOKENS * (size_t)base_model_description(f.base)->V;
    assert_true(count <= sizeof gated / sizeof gated[0]);
    logits_of(f.base, &f.shape, f.params, f.gate_inputs[0], gated);

    ASSERT_OK(base_adapter_open_peft(dir.path, &adapter, &err), err);
    assert_int_equal(adapter.experts, 1);
    adapter.experts = EXPERTS;
    ASSERT_OK(base_adapter_mix(&adapter, words, &err), err);
    struct ilora_shape shape = f.shape;
    base_adapter_shape(&adapter, &shape);
    ASSERT_OK(base_adapter_params(&adapter, f.base, f.be, &shape, &params, &err), err);
    logits_of(f.base, &shape, params, f.gate_inputs[1], folded);

    assert_true(tensor_check_scaled("folded mixture", folded, gated, count, 1e-5));
    ilora_params_free(params);
    base_adapter_close(&adapter);
    lm_fixture_close(&f);
    tmpdir_free(&dir);
}

static void weights_of_another_number_or_sum_are_refused(void **state) {
    static const char *const bad[] = {"",         "1",       "0.5,0.5,0", "0.5,0.5,", "0.5",
                                      "1.5,-0.5", "0.4,0.5", "x,1",       "0.5 0.5",  "nan,1"};
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct base_adapter adapter = {.experts = EXPERTS, .mixture = {0.25f, 0.75f}};
        struct error err;
        ASSERT_STATUS(base_adapter_mix(&adapter, bad[i], &err), STATUS_CONFIG);
        ASSERT_CONTAINS(err.text, "expected 2 numbers >= 0 of sum 1");
        assert_true(adapter.mixture[0] == 0.25f && adapter.mixture[1] == 0.75f);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_folded_mixture_is_the_gate_it_stands_for),
        cmocka_unit_test(weights_of_another_number_or_sum_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
