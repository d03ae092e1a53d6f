/* SPDX-License-Identifier: Apache-2.0
 *
 * lm_fixture.c - makes the tiny model and its samples from fixed seeds. */
#include "tests/model/lm_fixture.h"

#include <math.h>
#include <stdlib.h>

#include "tests/support/unit.h"

static void random_floats(uint64_t stream, double scale, float *values, size_t count) {
    struct rng rng = rng_make(7, stream);
    for (size_t i = 0; i < count; i++) {
        values[i] = (float)(rng_normal(&rng) * scale);
    }
}

static void make_sample(struct lm_fixture *f, int i) {
    static const int lengths[LM_SAMPLES] = {7, 12, 1, 9, 4};
    struct rng rng = rng_make(11, (uint64_t)i);
    struct prompt *prompt = &f->prompts[i];
    prompt->count = lengths[i];
    for (int t = 0; t < prompt->count; t++) {
        prompt->tokens[t] = (int32_t)rng_below(&rng, 256);
    }
    for (int t = 2; f->shape.item_tokens && t < prompt->count; t += 4) {
        prompt->item_rows[prompt->item_count] = t;
        prompt->items[prompt->item_count++] = (uint32_t)rng_below(&rng, LM_ITEMS);
    }
    for (int c = 0; c < LM_TITLES; c++) {
        f->titles[i][c].count = 1 + (i + 2 * c) % 4;
        for (int t = 0; t < f->titles[i][c].count; t++) {
            f->titles[i][c].ids[t] = (int32_t)rng_below(&rng, 256);
        }
        f->corrections[i][c] = 0.3f * (float)c;
    }
    for (int h = 0; h < 3; h++) {
        f->histories[i][h] = (uint32_t)rng_below(&rng, LM_ITEMS);
    }
    random_floats(100 + (uint64_t)i, 1.0, f->gate_inputs[i], LM_E);
    f->samples[i] = (struct lm_sample){.prompt = prompt,
                                       .gate_input = f->gate_inputs[i],
                                       .history = f->histories[i],
                                       .history_count = 1 + i % 3,
                                       .target = (uint32_t)rng_below(&rng, LM_ITEMS),
                                       .weight = 1.0f + 0.5f * (float)(i % 2),
                                       .candidates = f->titles[i],
                                       .candidate_corrections = f->corrections[i],
                                       .candidate_count =
                                           (f->shape.head & ILORA_HEAD_TITLE) != 0 ? LM_TITLES : 0};
}

/* Random values of every tensor; running variances around one. */
static void start_values(struct lm_fixture *f) {
    for (int i = 0; i < ilora_params_count(f->params); i++) {
        const struct ilora_tensor *t = ilora_params_at(f->params, i);
        size_t count = (size_t)t->rows * (size_t)t->cols;
        random_floats(1000 + (uint64_t)i, 0.3, f->values + t->offset, count);
        for (size_t j = 0; j < count && strstr(t->name, "running_var") != NULL; j++) {
            f->values[t->offset + j] = 0.5f + fabsf(f->values[t->offset + j]);
        }
    }
    lm_fixture_write(f);
}

static void open_all(struct lm_fixture *f, const char *path) {
    struct error err;
    if (f->be == NULL) { ASSERT_OK(backend_cpu_new(1, &f->be, &err), err); }
    ASSERT_OK(checkpoint_open(path, &f->checkpoint, &err), err);
    ASSERT_OK(base_model_load(f->be, f->checkpoint, PRECISION_F32, true, &f->base, &err), err);
    ASSERT_OK(ilora_params_new(f->be, base_model_description(f->base), &f->shape, 5, true,
                               &f->params, &err),
              err);
    size_t floats = ilora_params_floats(f->params);
    f->values = calloc(floats, sizeof(float));
    f->grads = calloc(floats, sizeof(float));
    assert_non_null(f->values);
    assert_non_null(f->grads);
    start_values(f);
    random_floats(50, 1.0, f->items, LM_ITEMS * LM_E);
    for (int i = 0; i < LM_SAMPLES; i++) {
        make_sample(f, i);
    }
}

static struct ilora_shape shape_of(enum ilora_gate gate, int K, enum ilora_head head,
                                   bool item_tokens) {
    return (struct ilora_shape){.R = 4,
                                .K = K,
                                .alpha = 8.0f,
                                .gate_floor = 0.05f,
                                .E = LM_E,
                                .projector_width = 12,
                                .items_max = LM_ITEMS,
                                .head = head,
                                .item_tokens = item_tokens,
                                .gate = gate};
}

void lm_fixture_open_base(struct lm_fixture *f, const char *path, int K, enum ilora_head head,
                          bool item_tokens) {
    memset(f, 0, sizeof *f);
    f->shape = shape_of(ILORA_GATE_STREAM, K, head, item_tokens);
    open_all(f, path);
}

void lm_fixture_open_on(struct lm_fixture *f, struct backend *be, int K, enum ilora_head head,
                        bool item_tokens) {
    memset(f, 0, sizeof *f);
    f->be = be;
    f->shape = shape_of(ILORA_GATE_STREAM, K, head, item_tokens);
    open_all(f, LM_BUILTIN);
}

void lm_fixture_open(struct lm_fixture *f, int K, enum ilora_head head, bool item_tokens) {
    lm_fixture_open_base(f, LM_BUILTIN, K, head, item_tokens);
}

void lm_fixture_open_gate(struct lm_fixture *f, enum ilora_gate gate, int K, enum ilora_head head,
                          bool item_tokens) {
    memset(f, 0, sizeof *f);
    f->shape = shape_of(gate, K, head, item_tokens);
    open_all(f, LM_BUILTIN);
}

void lm_fixture_close(struct lm_fixture *f) {
    free(f->values);
    free(f->grads);
    ilora_params_free(f->params);
    base_model_free(f->base);
    checkpoint_close(f->checkpoint);
    f->be->ops->free(f->be);
}

struct language_model *lm_fixture_model(struct lm_fixture *f, int tokens_max, bool training) {
    struct error err;
    struct language_model *lm = NULL;
    struct language_model_settings settings = {.tokens_max = tokens_max,
                                               .sequences_max = LM_SAMPLES,
                                               .items_max = LM_ITEMS,
                                               .training = training};
    ASSERT_OK(language_model_new(f->base, &settings, &f->shape, &lm, &err), err);
    ASSERT_OK(language_model_set_items(lm, f->items, LM_ITEMS, &err), err);
    return lm;
}

void lm_fixture_write(struct lm_fixture *f) {
    struct error err;
    ASSERT_OK(ilora_params_write(f->params, ILORA_VALUE, f->values, &err), err);
}

double lm_fixture_loss(struct lm_fixture *f, struct language_model *lm,
                       const struct lm_sample *samples, int count) {
    struct error err;
    struct lm_step_stats stats;
    memset(f->grads, 0, ilora_params_floats(f->params) * sizeof(float));
    ASSERT_OK(ilora_params_write(f->params, ILORA_GRAD, f->grads, &err), err);
    ASSERT_OK(language_model_gradients(lm, f->params, samples, count, &stats, &err), err);
    ASSERT_OK(ilora_params_read(f->params, ILORA_GRAD, f->grads, &err), err);
    return stats.item_loss + stats.title_loss + stats.rank_loss;
}

void lm_fixture_train(struct lm_fixture *f, struct language_model *lm, const struct lm_step *how,
                      struct lm_step_stats *ret_stats) {
    struct error err;
    ASSERT_OK(language_model_train(lm, f->params, NULL, f->samples, LM_SAMPLES, how, NULL, NULL,
                                   ret_stats, &err),
              err);
}

int lm_fixture_find(const struct lm_fixture *f, const char *name) {
    for (int i = 0; i < ilora_params_count(f->params); i++) {
        if (strcmp(ilora_params_at(f->params, i)->name, name) == 0) { return i; }
    }
    fail_msg("no parameter '%s'", name);
    return -1;
}
