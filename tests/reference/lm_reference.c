/* SPDX-License-Identifier: Apache-2.0
 *
 * lm_reference.c - opens what a golden file describes, closes it. */
#include "tests/reference/lm_reference.h"

#include <stdlib.h>

#include "tests/support/unit.h"

#ifndef LM_GOLDEN_FOLDER
#define LM_GOLDEN_FOLDER "." /* programs that name their files */
#endif
#define MODEL "builtin:tiny:3" /* whose weights the golden files were made with */

const float *lm_reference_floats(const struct lm_reference *r, int i, const char *what) {
    char name[64];
    (void)snprintf(name, sizeof name, "%d.%s", i, what);
    return lm_golden_floats(&r->golden, name);
}

static const int32_t *sample_integers(const struct lm_reference *r, int i, const char *what,
                                      int *ret_count) {
    char name[64];
    (void)snprintf(name, sizeof name, "%d.%s", i, what);
    return lm_golden_integers(&r->golden, name, ret_count);
}

static void load_sample(struct lm_reference *r, int i) {
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
    for (int c = 0; c < LM_REFERENCE_TITLES; c++) {
        char name[32];
        (void)snprintf(name, sizeof name, "title.%d", c);
        const int32_t *ids = sample_integers(r, i, name, &r->titles[i][c].count);
        memcpy(r->titles[i][c].ids, ids, (size_t)r->titles[i][c].count * sizeof ids[0]);
    }
    const int32_t *history = sample_integers(r, i, "history", &count);
    r->samples[i] =
        (struct lm_sample){.prompt = prompt,
                           .gate_input = lm_reference_floats(r, i, "z"),
                           .history = (const uint32_t *)history,
                           .history_count = count,
                           .target = (uint32_t)*sample_integers(r, i, "target", NULL),
                           .weight = *lm_reference_floats(r, i, "weight"),
                           .candidates = r->titles[i],
                           .candidate_corrections = lm_reference_floats(r, i, "corrections"),
                           .candidate_count = LM_REFERENCE_TITLES};
}

static void load_values(struct lm_reference *r) {
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
        bool same = r->shape.gate == ILORA_GATE_STREAM && r->shape.E == LM_REFERENCE_E;
        if (!same && (array == NULL || array->cols != t->cols || t->group == 2)) { continue; }
        assert_non_null(array);
        assert_int_equal(array->rows, t->rows);
        assert_int_equal(array->cols, t->cols);
        memcpy(r->start + t->offset, array->values,
               (size_t)t->rows * (size_t)t->cols * sizeof(float));
    }
    lm_reference_restart(r);
}

void lm_reference_restart(struct lm_reference *r) {
    struct error err;
    ASSERT_OK(ilora_params_write(r->params, ILORA_VALUE, r->start, &err), err);
    ASSERT_OK(ilora_params_write(r->params, ILORA_EMA, r->start, &err), err);
}

struct ilora_shape lm_reference_shape(int K) {
    return (struct ilora_shape){.R = 4,
                                .K = K,
                                .alpha = 8.0f,
                                .gate_floor = 0.05f,
                                .E = LM_REFERENCE_E,
                                .projector_width = 12,
                                .items_max = LM_REFERENCE_ITEMS,
                                .head = ILORA_HEAD_BOTH,
                                .item_tokens = true};
}

void lm_reference_open(struct lm_reference *r, const struct ilora_shape *shape, int tokens_max) {
    char path[1024];
    (void)snprintf(path, sizeof path, "%s/lm_tiny_k%d.bin", LM_GOLDEN_FOLDER, shape->K);
    lm_reference_open_file(r, MODEL, path, shape, tokens_max);
}

void lm_reference_open_file(struct lm_reference *r, const char *model, const char *golden,
                            const struct ilora_shape *shape, int tokens_max) {
    struct error err;
    memset(r, 0, sizeof *r);
    assert_int_equal(lm_golden_read(golden, &r->golden), 0);
    r->shape = *shape;
    ASSERT_OK(backend_cpu_new(2, &r->be, &err), err);
    ASSERT_OK(checkpoint_open(model, &r->checkpoint, &err), err);
    ASSERT_OK(base_model_load(r->be, r->checkpoint, PRECISION_F32, true, &r->base, &err), err);
    ASSERT_OK(ilora_params_new(r->be, base_model_description(r->base), &r->shape, 1, true,
                               &r->params, &err),
              err);
    struct language_model_settings settings = {.tokens_max = tokens_max,
                                               .sequences_max = LM_REFERENCE_SAMPLES,
                                               .items_max = LM_REFERENCE_ITEMS,
                                               .training = true};
    ASSERT_OK(language_model_new(r->base, &settings, &r->shape, &r->lm, &err), err);
    if (shape->E == LM_REFERENCE_E) {
        ASSERT_OK(language_model_set_items(r->lm, lm_golden_floats(&r->golden, "vectors"),
                                           LM_REFERENCE_ITEMS, &err),
                  err);
    }
    load_values(r);
    for (int i = 0; i < LM_REFERENCE_SAMPLES; i++) {
        load_sample(r, i);
    }
}

void lm_reference_close(struct lm_reference *r) {
    free(r->start);
    free(r->slab);
    language_model_free(r->lm);
    ilora_params_free(r->params);
    base_model_free(r->base);
    checkpoint_close(r->checkpoint);
    r->be->ops->free(r->be);
    lm_golden_free(&r->golden);
}
