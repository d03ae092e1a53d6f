/* SPDX-License-Identifier: Apache-2.0
 *
 * family_run.c - losses, gradients, scores, logits and ten steps of a model, for families.py.
 *
 * usage: family_run MODEL IN OUT       files of named arrays (lm_golden.h)
 * IN: "shape" (R, K), samples and starting values as lm_make_reference.py writes them. OUT: losses,
 * grad.*, N.item_logprobs, N.title_likelihoods, logits, losses.ten, ten.* (the change). f32. */
#include <stdlib.h>

#include "tests/reference/lm_reference.h"
#include "tests/support/unit.h"

#define TOKENS_MAX 256

static void put(FILE *out, const char *name, int rows, int cols, const float *values) {
    assert_int_equal(lm_golden_write(out, name, rows, cols, values), 0);
}

/* Each tensor of the slab, less `from` where there is one, as prefix + its name. */
static void put_slab(const struct lm_reference *r, const char *prefix, const float *from,
                     FILE *out) {
    for (int i = 0; i < ilora_params_count(r->params); i++) {
        const struct ilora_tensor *t = ilora_params_at(r->params, i);
        size_t count = (size_t)t->rows * (size_t)t->cols;
        char name[160];
        (void)snprintf(name, sizeof name, "%s%s", prefix, t->name);
        float *values = calloc(count, sizeof *values);
        assert_non_null(values);
        for (size_t j = 0; j < count; j++) {
            values[j] = r->slab[t->offset + j] - (from != NULL ? from[t->offset + j] : 0.0f);
        }
        put(out, name, t->rows, t->cols, values);
        free(values);
    }
}

static void run_once(struct lm_reference *r, FILE *out) {
    struct error err;
    struct lm_step_stats stats;
    ASSERT_OK(
        language_model_gradients(r->lm, r->params, r->samples, LM_REFERENCE_SAMPLES, &stats, &err),
        err);
    const float losses[] = {(float)stats.item_loss, (float)stats.title_loss,
                            (float)stats.rank_loss};
    put(out, "losses", 1, 3, losses);
    ASSERT_OK(ilora_params_read(r->params, ILORA_GRAD, r->slab, &err), err);
    put_slab(r, "grad.", NULL, out);
}

static void run_scores(struct lm_reference *r, FILE *out) {
    struct error err;
    static float items[LM_REFERENCE_SAMPLES * LM_REFERENCE_ITEMS];
    static float titles[LM_REFERENCE_SAMPLES * LM_REFERENCE_TITLES];
    ASSERT_OK(language_model_score_items(r->lm, r->params, false, r->samples, LM_REFERENCE_SAMPLES,
                                         items, &err),
              err);
    ASSERT_OK(language_model_score_titles(r->lm, r->params, false, r->samples, LM_REFERENCE_SAMPLES,
                                          titles, &err),
              err);
    put(out, "item_logprobs", LM_REFERENCE_SAMPLES, LM_REFERENCE_ITEMS, items);
    put(out, "title_likelihoods", LM_REFERENCE_SAMPLES, LM_REFERENCE_TITLES, titles);

    int count = 0, V = base_model_description(r->base)->V;
    const int32_t *tokens = lm_golden_integers(&r->golden, "logits.tokens", &count);
    float *logits = calloc((size_t)V * (size_t)count, sizeof *logits);
    assert_non_null(logits);
    ASSERT_OK(language_model_logits(r->lm, NULL, NULL, tokens, count, logits, &err), err);
    put(out, "logits.base", count, V, logits);
    ASSERT_OK(language_model_logits(r->lm, r->params, r->samples[0].gate_input, tokens, count,
                                    logits, &err),
              err);
    put(out, "logits", count, V, logits);
    free(logits);
}

static void run_ten(struct lm_reference *r, FILE *out) {
    struct error err;
    struct ilora_params *reference = NULL;
    ASSERT_OK(ilora_params_new(r->be, base_model_description(r->base), &r->shape, 1, false,
                               &reference, &err),
              err);
    ASSERT_OK(ilora_params_write(reference, ILORA_VALUE, r->start, &err), err);
    float losses[10][4];
    struct lm_step how = {.learning_rate = 1e-3f,
                          .multiplier = {1.0f, 0.5f, 2.0f, 3.0f},
                          .weight_decay = 0.01f,
                          .beta1 = 0.9f,
                          .beta2 = 0.999f,
                          .epsilon = 1e-5f, /* families.py says why */
                          .clip_norm = 1.0f,
                          .ema_decay = 0.9f,
                          .proximal = 2.0f};
    for (how.step = 1; how.step <= 10; how.step++) {
        struct lm_step_stats stats;
        ASSERT_OK(language_model_train(r->lm, r->params, reference, r->samples,
                                       LM_REFERENCE_SAMPLES, &how, NULL, NULL, &stats, &err),
                  err);
        assert_false(stats.discarded);
        float *row = losses[how.step - 1];
        row[0] = (float)stats.item_loss;
        row[1] = (float)stats.title_loss;
        row[2] = (float)stats.rank_loss;
        row[3] = (float)stats.grad_norm;
    }
    put(out, "losses.ten", 10, 4, losses[0]);
    ASSERT_OK(ilora_params_read(r->params, ILORA_VALUE, r->slab, &err), err);
    put_slab(r, "ten.", r->start, out);
    ilora_params_free(reference);
}

int main(int argc, char **argv) {
    if (argc != 4) {
        (void)fprintf(stderr, "usage: family_run MODEL IN OUT\n");
        return 64;
    }
    static struct lm_golden head;
    static struct lm_reference r;
    if (lm_golden_read(argv[2], &head) != 0) { return 1; }
    const float *sizes = lm_golden_floats(&head, "shape");
    struct ilora_shape shape = lm_reference_shape((int)sizes[1]);
    shape.R = (int)sizes[0];
    lm_golden_free(&head);

    lm_reference_open_file(&r, argv[1], argv[2], &shape, TOKENS_MAX);
    FILE *out = fopen(argv[3], "wb");
    if (out == NULL) { return 1; }
    run_once(&r, out);
    run_scores(&r, out);
    run_ten(&r, out);
    (void)fprintf(stderr, "%s\n", r.be->profile);
    lm_reference_close(&r);
    return fclose(out) == 0 ? 0 : 1;
}
