/* SPDX-License-Identifier: Apache-2.0
 *
 * test_lm_facts.c - what must be true of iLoRA and of packing whatever the numbers are
 * (MODEL.md). */
#include <math.h>
#include <stdlib.h>

#include "tests/model/lm_fixture.h"
#include "tests/support/tensor_check.h"
#include "tests/support/unit.h"

#define SCORES (LM_SAMPLES * LM_ITEMS)
#define ROWS   200

static void score(struct lm_fixture *f, struct language_model *lm, bool frozen,
                  const struct lm_sample *samples, int count, float *ret_scores) {
    struct error err;
    ASSERT_OK(language_model_score_items(lm, f->params, frozen, samples, count, ret_scores, &err),
              err);
}

/* The same B and heads in a model of K experts with these logits of the gate. */
static void copy_adapter(struct lm_fixture *to, const struct lm_fixture *from) {
    for (int i = 0; i < ilora_params_count(from->params); i++) {
        const struct ilora_tensor *t = ilora_params_at(from->params, i);
        if (strncmp(t->name, "gate.", 5) == 0) { continue; }
        const struct ilora_tensor *u = ilora_params_at(to->params, lm_fixture_find(to, t->name));
        memcpy(to->values + u->offset, from->values + t->offset,
               (size_t)t->rows * (size_t)t->cols * sizeof(float));
    }
    lm_fixture_write(to);
}

static void set_gate(struct lm_fixture *f, float weight_scale, int loud) {
    const struct ilora_tensor *w = ilora_params_at(f->params, lm_fixture_find(f, "gate.weight"));
    const struct ilora_tensor *b = ilora_params_at(f->params, lm_fixture_find(f, "gate.bias"));
    for (int i = 0; i < w->rows * w->cols; i++) {
        f->values[w->offset + (size_t)i] *= weight_scale;
    }
    for (int k = 0; k < b->cols; k++) {
        f->values[b->offset + (size_t)k] = k == loud ? 100.0f : 0.0f;
    }
    lm_fixture_write(f);
}

static void uniform_gate_is_plain_lora_of_the_whole_rank(void **state) {
    struct lm_fixture mixed, plain;
    float a[SCORES], b[SCORES];
    (void)state;
    lm_fixture_open(&mixed, 4, ILORA_HEAD_ITEM, true); /* s = 8/(4/4) = 8, each expert at 1/4 */
    lm_fixture_open(&plain, 1, ILORA_HEAD_ITEM, true); /* s = 8/4 = 2 */
    copy_adapter(&plain, &mixed);
    set_gate(&mixed, 0.0f, -1);
    struct language_model *lm = lm_fixture_model(&mixed, ROWS, false);
    struct language_model *plain_lm = lm_fixture_model(&plain, ROWS, false);
    score(&mixed, lm, false, mixed.samples, LM_SAMPLES, a);
    score(&plain, plain_lm, false, mixed.samples, LM_SAMPLES, b);

    assert_true(tensor_check_scaled("uniform gate", a, b, SCORES, 1e-5));
    language_model_free(lm);
    language_model_free(plain_lm);
    lm_fixture_close(&mixed);
    lm_fixture_close(&plain);
}

/* Zeroes the columns of B that belong to other experts than `kept`, of K. */
static void silence_others(struct lm_fixture *f, int K, int kept) {
    int width = f->shape.R / K;
    for (int i = 0; i < ilora_params_count(f->params); i++) {
        const struct ilora_tensor *t = ilora_params_at(f->params, i);
        if (strstr(t->name, ".lora_B.") == NULL) { continue; }
        for (int j = 0; j < t->rows * t->cols; j++) {
            if (j % t->cols / width != kept) { f->values[t->offset + (size_t)j] = 0.0f; }
        }
    }
    lm_fixture_write(f);
}

static void one_hot_gate_is_lora_of_that_experts_rank(void **state) {
    struct lm_fixture mixed, plain;
    float a[SCORES], b[SCORES];
    (void)state;
    lm_fixture_open(&mixed, 4, ILORA_HEAD_ITEM, false);
    lm_fixture_open(&plain, 1, ILORA_HEAD_ITEM, false);
    copy_adapter(&plain, &mixed);
    silence_others(&plain, 4, 2); /* rank 1 = R/K */
    set_gate(&mixed, 0.0f, 2);
    /* The floor keeps the other experts alive; a language model with floor 0 makes it one-hot. */
    struct error err;
    struct ilora_params *sharp = NULL;
    struct ilora_shape shape = mixed.shape;
    shape.gate_floor = 0.0f;
    ASSERT_OK(ilora_params_new(mixed.be, base_model_description(mixed.base), &shape, 5, false,
                               &sharp, &err),
              err);
    ASSERT_OK(ilora_params_write(sharp, ILORA_VALUE, mixed.values, &err), err);
    struct language_model *lm = lm_fixture_model(&mixed, ROWS, false);
    ASSERT_OK(language_model_score_items(lm, sharp, false, mixed.samples, LM_SAMPLES, a, &err),
              err);

    /* s = alpha/(R/K) = 8; the plain model's own is alpha/R = 2, so alpha is four times as
     * large. */
    struct ilora_params *loud = NULL;
    shape = plain.shape;
    shape.alpha *= 4.0f;
    ASSERT_OK(ilora_params_new(plain.be, base_model_description(plain.base), &shape, 5, false,
                               &loud, &err),
              err);
    ASSERT_OK(ilora_params_write(loud, ILORA_VALUE, plain.values, &err), err);
    struct language_model *plain_lm = lm_fixture_model(&plain, ROWS, false);
    ASSERT_OK(language_model_score_items(plain_lm, loud, false, mixed.samples, LM_SAMPLES, b, &err),
              err);

    assert_true(tensor_check_scaled("one-hot gate", a, b, SCORES, 1e-5));
    language_model_free(lm);
    language_model_free(plain_lm);
    ilora_params_free(sharp);
    ilora_params_free(loud);
    lm_fixture_close(&mixed);
    lm_fixture_close(&plain);
}

static void a_gate_that_differs_changes_the_scores(void **state) {
    struct lm_fixture f;
    float a[SCORES], b[SCORES];
    (void)state;
    lm_fixture_open(&f, 4, ILORA_HEAD_ITEM, false);
    struct language_model *lm = lm_fixture_model(&f, ROWS, false);
    set_gate(&f, 1.0f, 0);
    score(&f, lm, false, f.samples, LM_SAMPLES, a);
    set_gate(&f, 1.0f, 3);
    score(&f, lm, false, f.samples, LM_SAMPLES, b);

    assert_false(fabsf(a[0] - b[0]) < 1e-4f && fabsf(a[1] - b[1]) < 1e-4f);
    language_model_free(lm);
    lm_fixture_close(&f);
}

static void frozen_leaves_the_adapter_out_and_keeps_the_heads(void **state) {
    struct lm_fixture f, bare;
    float a[SCORES], b[SCORES];
    (void)state;
    lm_fixture_open(&f, 2, ILORA_HEAD_ITEM, true);
    lm_fixture_open(&bare, 2, ILORA_HEAD_ITEM, true);
    silence_others(&bare, 2, -1); /* B = 0 */
    struct language_model *lm = lm_fixture_model(&f, ROWS, false);
    struct language_model *bare_lm = lm_fixture_model(&bare, ROWS, false);
    score(&f, lm, true, f.samples, LM_SAMPLES, a);
    score(&bare, bare_lm, false, f.samples, LM_SAMPLES, b);

    assert_true(tensor_check_scaled("frozen", a, b, SCORES, 1e-6));
    language_model_free(lm);
    language_model_free(bare_lm);
    lm_fixture_close(&f);
    lm_fixture_close(&bare);
}

static void packed_samples_score_as_one_by_one(void **state) {
    struct lm_fixture f;
    float packed[SCORES], single[SCORES];
    (void)state;
    lm_fixture_open(&f, 4, ILORA_HEAD_ITEM, true);
    struct language_model *lm = lm_fixture_model(&f, ROWS, false);
    score(&f, lm, false, f.samples, LM_SAMPLES, packed);
    for (int i = 0; i < LM_SAMPLES; i++) {
        score(&f, lm, false, &f.samples[i], 1, single + i * LM_ITEMS);
    }

    assert_true(tensor_check_scaled("packed", packed, single, SCORES, 1e-6));
    language_model_free(lm);
    lm_fixture_close(&f);
}

static void permuting_samples_permutes_scores(void **state) {
    struct lm_fixture f;
    float straight[SCORES], turned[SCORES];
    struct lm_sample samples[LM_SAMPLES];
    (void)state;
    lm_fixture_open(&f, 4, ILORA_HEAD_ITEM, true);
    struct language_model *lm = lm_fixture_model(&f, ROWS, false);
    for (int i = 0; i < LM_SAMPLES; i++) {
        samples[i] = f.samples[(i + 2) % LM_SAMPLES];
    }
    score(&f, lm, false, f.samples, LM_SAMPLES, straight);
    score(&f, lm, false, samples, LM_SAMPLES, turned);

    for (int i = 0; i < LM_SAMPLES; i++) {
        assert_true(tensor_check_scaled("permuted", turned + i * LM_ITEMS,
                                        straight + (i + 2) % LM_SAMPLES * LM_ITEMS, LM_ITEMS,
                                        1e-6));
    }
    language_model_free(lm);
    lm_fixture_close(&f);
}

/* A title's likelihood from the full head at every row of prompt + title. */
static double likelihood_alone(struct lm_fixture *f, struct language_model *lm, int sample,
                               const struct title_tokens *title) {
    struct error err;
    int V = base_model_description(f->base)->V, P = f->prompts[sample].count;
    int32_t tokens[64];
    static float logits[64 * 320];
    memcpy(tokens, f->prompts[sample].tokens, (size_t)P * sizeof tokens[0]);
    memcpy(tokens + P, title->ids, (size_t)title->count * sizeof tokens[0]);
    ASSERT_OK(language_model_logits(lm, f->params, f->gate_inputs[sample], tokens, P + title->count,
                                    logits, &err),
              err);
    double sum = 0.0;
    for (int t = 0; t < title->count; t++) {
        const float *row = logits + (size_t)(P - 1 + t) * (size_t)V;
        double total = 0.0;
        for (int v = 0; v < V; v++) {
            total += exp((double)row[v]);
        }
        sum += (double)row[title->ids[t]] - log(total);
    }
    return sum;
}

static void shared_prefix_and_head_at_title_rows_equal_one_by_one(void **state) {
    struct error err;
    struct lm_fixture f;
    float shared[LM_SAMPLES * LM_TITLES], alone[LM_SAMPLES * LM_TITLES];
    (void)state;
    lm_fixture_open(&f, 2, ILORA_HEAD_TITLE, false);
    struct language_model *lm = lm_fixture_model(&f, ROWS, false);
    ASSERT_OK(language_model_score_titles(lm, f.params, false, f.samples, LM_SAMPLES, shared, &err),
              err);
    for (int i = 0; i < LM_SAMPLES * LM_TITLES; i++) {
        int sample = i / LM_TITLES;
        alone[i] = (float)likelihood_alone(&f, lm, sample, &f.titles[sample][i % LM_TITLES]);
    }

    assert_true(tensor_check_scaled("shared prefix", shared, alone, LM_SAMPLES * LM_TITLES, 1e-4));
    language_model_free(lm);
    lm_fixture_close(&f);
}

static void a_training_model_scores_as_a_scoring_model_and_embeds_titles(void **state) {
    struct error err;
    struct lm_fixture f;
    float a[SCORES], b[SCORES], va[LM_TITLES * 32], vb[LM_TITLES * 32];
    (void)state;
    lm_fixture_open(&f, 2, ILORA_HEAD_ITEM, true);
    struct language_model *lm = lm_fixture_model(&f, ROWS, true);
    struct language_model *scorer = lm_fixture_model(&f, ROWS, false);
    const struct title_tokens empty = {0};
    const struct title_tokens *titles[LM_TITLES] = {&f.titles[1][0], &empty, &f.titles[1][2]};
    score(&f, lm, false, f.samples, LM_SAMPLES, a);
    score(&f, scorer, false, f.samples, LM_SAMPLES, b);
    assert_memory_equal(a, b, sizeof a);

    ASSERT_OK(language_model_embed_titles(lm, titles, LM_TITLES, va, &err), err);
    ASSERT_OK(language_model_embed_titles(scorer, titles, LM_TITLES, vb, &err), err);
    assert_memory_equal(va, vb, sizeof va);
    assert_true(va[0] != 0.0f && va[16] != 0.0f && va[32 + 5] == 0.0f && va[64] != va[0]);
    language_model_free(lm);
    language_model_free(scorer);
    lm_fixture_close(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(uniform_gate_is_plain_lora_of_the_whole_rank),
        cmocka_unit_test(one_hot_gate_is_lora_of_that_experts_rank),
        cmocka_unit_test(a_gate_that_differs_changes_the_scores),
        cmocka_unit_test(frozen_leaves_the_adapter_out_and_keeps_the_heads),
        cmocka_unit_test(packed_samples_score_as_one_by_one),
        cmocka_unit_test(permuting_samples_permutes_scores),
        cmocka_unit_test(shared_prefix_and_head_at_title_rows_equal_one_by_one),
        cmocka_unit_test(a_training_model_scores_as_a_scoring_model_and_embeds_titles),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
