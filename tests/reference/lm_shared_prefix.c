/* SPDX-License-Identifier: Apache-2.0
 *
 * lm_shared_prefix.c - on a real model: title likelihoods after one shared prompt against each
 * title alone, with the output head at every row.
 *
 * usage: lm_shared_prefix MODEL [f32|bf16]     prints max|a-b| / max|ref|; fails above 1e-4 in
 * f32 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "model/language_model.h"

#define TITLES        20
#define PROMPTS       4
#define PROMPT_TOKENS 80
#define TOKENS_MAX    512

struct run {
    struct backend *be;
    struct checkpoint *checkpoint;
    struct base_model *base;
    struct ilora_params *params;
    struct language_model *lm;
    struct prompt prompts[PROMPTS];
    struct title_tokens titles[PROMPTS][TITLES];
    float gate_input[64];
};

static enum status open_run(struct run *r, const char *path, enum precision precision,
                            struct error *err) {
    struct ilora_shape shape = {
        .R = 8, .K = 4, .alpha = 32.0f, .gate_floor = 0.05f, .E = 64, .head = ILORA_HEAD_TITLE};
    struct language_model_settings settings = {.tokens_max = TOKENS_MAX, .sequences_max = PROMPTS};
    enum status status = backend_cpu_new(2, &r->be, err);
    if (status != STATUS_OK) { return status; }
    status = checkpoint_open(path, &r->checkpoint, err);
    if (status != STATUS_OK) { return status; }
    status = base_model_load(r->be, r->checkpoint, precision, false, &r->base, err);
    if (status != STATUS_OK) { return status; }
    status =
        ilora_params_new(r->be, base_model_description(r->base), &shape, 1, false, &r->params, err);
    if (status != STATUS_OK) { return status; }
    return language_model_new(r->base, &settings, &shape, &r->lm, err);
}

/* Random B, so that the adapters take part; random prompts and titles. */
static enum status fill_run(struct run *r, struct error *err) {
    struct rng rng = rng_make(3, 3);
    size_t floats = ilora_params_floats(r->params);
    float *values = calloc(floats, sizeof *values);
    if (values == NULL) { return error_set(err, STATUS_NO_MEMORY, "values"); }
    for (size_t i = 0; i < floats; i++) {
        values[i] = (float)(rng_normal(&rng) * 0.01);
    }
    enum status status = ilora_params_write(r->params, ILORA_VALUE, values, err);
    free(values);
    for (int e = 0; e < 64; e++) {
        r->gate_input[e] = (float)rng_normal(&rng);
    }
    for (int p = 0; p < PROMPTS; p++) {
        r->prompts[p].count = PROMPT_TOKENS - 7 * p;
        for (int t = 0; t < r->prompts[p].count; t++) {
            r->prompts[p].tokens[t] = (int32_t)rng_below(&rng, 40000);
        }
        for (int c = 0; c < TITLES; c++) {
            r->titles[p][c].count = 1 + (int)rng_below(&rng, 9);
            for (int t = 0; t < r->titles[p][c].count; t++) {
                r->titles[p][c].ids[t] = (int32_t)rng_below(&rng, 40000);
            }
        }
    }
    return status;
}

static double likelihood_of(const float *logits, int V, const struct title_tokens *title,
                            int first) {
    double sum = 0.0;
    for (int t = 0; t < title->count; t++) {
        const float *row = logits + (size_t)(first + t) * (size_t)V;
        double largest = -(double)INFINITY, total = 0.0;
        for (int v = 0; v < V; v++) {
            largest = fmax(largest, (double)row[v]);
        }
        for (int v = 0; v < V; v++) {
            total += exp((double)row[v] - largest);
        }
        sum += (double)row[title->ids[t]] - largest - log(total);
    }
    return sum;
}

static enum status compare(struct run *r, float *shared, double *ret_worst, struct error *err) {
    int V = base_model_description(r->base)->V;
    double off = 0.0, largest = 0.0;
    float *logits = calloc((size_t)V * (PROMPT_TOKENS + TITLE_TOKENS_MAX), sizeof *logits);
    if (logits == NULL) { return error_set(err, STATUS_NO_MEMORY, "logits"); }
    enum status status = STATUS_OK;
    for (int i = 0; status == STATUS_OK && i < PROMPTS * TITLES; i++) {
        const struct prompt *prompt = &r->prompts[i / TITLES];
        const struct title_tokens *title = &r->titles[i / TITLES][i % TITLES];
        int32_t tokens[PROMPT_TOKENS + TITLE_TOKENS_MAX];
        memcpy(tokens, prompt->tokens, (size_t)prompt->count * sizeof tokens[0]);
        memcpy(tokens + prompt->count, title->ids, (size_t)title->count * sizeof tokens[0]);
        status = language_model_logits(r->lm, r->params, r->gate_input, tokens,
                                       prompt->count + title->count, logits, err);
        double alone = likelihood_of(logits, V, title, prompt->count - 1);
        off = fmax(off, fabs(alone - (double)shared[i]));
        largest = fmax(largest, fabs(alone));
    }
    free(logits);
    *ret_worst = off / largest;
    return status;
}

int main(int argc, char **argv) {
    static struct run r;
    struct error err;
    struct lm_sample samples[PROMPTS];
    float shared[PROMPTS * TITLES];
    double worst = (double)INFINITY;
    if (argc < 2) {
        fprintf(stderr, "usage: lm_shared_prefix MODEL [f32|bf16]\n");
        return 64;
    }
    bool bf16 = argc > 2 && strcmp(argv[2], "bf16") == 0;
    enum status status = open_run(&r, argv[1], bf16 ? PRECISION_BF16 : PRECISION_F32, &err);
    if (status == STATUS_OK) { status = fill_run(&r, &err); }
    for (int p = 0; p < PROMPTS; p++) {
        samples[p] = (struct lm_sample){.prompt = &r.prompts[p],
                                        .gate_input = r.gate_input,
                                        .candidates = r.titles[p],
                                        .candidate_count = TITLES};
    }
    if (status == STATUS_OK) {
        status = language_model_score_titles(r.lm, r.params, false, samples, PROMPTS, shared, &err);
    }
    if (status == STATUS_OK) { status = compare(&r, shared, &worst, &err); }
    if (status != STATUS_OK) {
        fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    printf("%d titles after %d shared prompts: max|a-b| = %.3g max|ref|\n", PROMPTS * TITLES,
           PROMPTS, worst);
    language_model_free(r.lm);
    ilora_params_free(r.params);
    base_model_free(r.base);
    checkpoint_close(r.checkpoint);
    r.be->ops->free(r.be);
    return bf16 || worst <= 1e-4 ? 0 : 1;
}
