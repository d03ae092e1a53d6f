/* SPDX-License-Identifier: Apache-2.0
 *
 * card_time.c - how fast is the CUDA backend on this machine's card? libc and CUDA alone.
 *
 * usage: card_time ceiling
 *        card_time SHAPE [CEILING]      SmolLM2-135M, Llama-3.2-1B, Llama-2-7B
 *
 * ceiling: bytes a second of a copy, FLOP a second of the largest bf16 product, on random data. The
 * product is the backend's own call: the rounding of its f32 rows to bf16 is in it.
 * SHAPE: training steps and scoring with random weights in that shape, medians of five; shares are
 * of CEILING in TFLOP/s. Each figure is a line "RESULT ...". 77 without a card. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "tests/cuda/card_model.h"

#define SIDE       8192
#define COPY_ROWS  16384
#define COPY_COLS  16384
#define REPEATS    5
#define CALLS      10
#define PROMPTS    10
#define TOKENS     410
#define CANDIDATES 20
#define TITLE      8
#define ITEMS      1682
#define E_WIDTH    64
#define NO_CARD    77

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double seconds_since(int64_t since_us) {
    return (double)(clock_monotonic_us() - since_us) * 1e-6;
}

static void fill_random(float *values, size_t count) {
    uint64_t x = 88172645463325252u;
    for (size_t i = 0; i < count; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        values[i] = (float)(x >> 40) * 0x1p-24f - 0.5f;
    }
}

/* Median seconds of one call; what 0: copy y = x; 1: product y = x w^T. */
static enum status time_calls(struct backend *be, int what, struct tensor y, struct tensor x,
                              const struct weight *w, double *ret_seconds, struct error *err) {
    double times[REPEATS + 1];
    for (int r = 0; r <= REPEATS; r++) {
        int64_t since_us = clock_monotonic_us();
        for (int i = 0; i < CALLS; i++) {
            if (what == 0) {
                be->ops->copy(be, y, x);
            } else {
                be->ops->linear_forward(be, y, x, w, tensor_none());
            }
        }
        enum status status = be->ops->synchronise(be, err);
        if (status != STATUS_OK) { return status; }
        times[r] = seconds_since(since_us) / CALLS;
    }
    qsort(times + 1, REPEATS, sizeof times[0], by_value); /* the first one warms */
    *ret_seconds = times[1 + REPEATS / 2];
    return STATUS_OK;
}

static enum status ceiling(struct backend *be, struct error *err) {
    struct tensor x = {0}, y = {0};
    struct weight *w = NULL;
    double seconds = 0.0;
    float *host = MEMORY_TAKE_ARRAY(float, (size_t)COPY_ROWS *COPY_COLS);
    if (host == NULL) { return error_set(err, STATUS_NO_MEMORY, "random numbers"); }
    fill_random(host, (size_t)COPY_ROWS * COPY_COLS);
    enum status status = backend_tensor_take(be, DTYPE_F32, COPY_ROWS, COPY_COLS, &x, err);
    if (status == STATUS_OK) {
        status = backend_tensor_take(be, DTYPE_F32, COPY_ROWS, COPY_COLS, &y, err);
    }
    if (status == STATUS_OK) { status = be->ops->upload(be, x, host, err); }
    if (status == STATUS_OK) { status = time_calls(be, 0, y, x, NULL, &seconds, err); }
    if (status == STATUS_OK) {
        printf("RESULT copy %.0f GB/s\n", 2.0 * 4.0 * COPY_ROWS * COPY_COLS / seconds * 1e-9);
        status = be->ops->weight_make(be, host, SIDE, SIDE, false, PRECISION_BF16, &w, err);
    }
    if (status == STATUS_OK) {
        x = tensor_over(x.data, DTYPE_F32, SIDE, SIDE);
        y = tensor_over(y.data, DTYPE_F32, SIDE, SIDE);
        status = time_calls(be, 1, y, x, w, &seconds, err);
    }
    if (status == STATUS_OK) {
        printf("RESULT product %.1f TFLOP/s\n", 2.0 * SIDE * SIDE * SIDE / seconds * 1e-12);
    }
    memory_free(host);
    return status; /* the backend's end gives its memory back */
}

struct timed {
    struct language_model *lm;
    struct ilora_params *params;
    struct card_samples samples;
    float *scores; /* owns */
};

/* kind 0: a training step; 1: titles of all prompts; 2: of one. */
static enum status run_once(struct timed *t, int kind, int64_t step, struct error *err) {
    struct lm_step_stats stats;
    const struct lm_step how = {.learning_rate = 1e-4f,
                                .multiplier = {1, 1, 1, 1},
                                .beta1 = 0.9f,
                                .beta2 = 0.999f,
                                .epsilon = 1e-8f,
                                .clip_norm = 1.0f,
                                .step = step};
    if (kind > 0) {
        return language_model_score_titles(t->lm, t->params, false, t->samples.samples,
                                           kind == 1 ? PROMPTS : 1, t->scores, err);
    }
    for (int n = 0; n < PROMPTS; n++) {
        t->samples.samples[n].candidate_count = 0; /* the item head alone */
    }
    enum status status = language_model_train(t->lm, t->params, NULL, t->samples.samples, PROMPTS,
                                              &how, NULL, NULL, &stats, err);
    for (int n = 0; n < PROMPTS; n++) {
        t->samples.samples[n].candidate_count = CANDIDATES;
    }
    return status;
}

static enum status median(struct timed *t, int kind, double *ret_seconds, struct error *err) {
    double times[REPEATS + 1];
    for (int r = 0; r <= REPEATS; r++) {
        int64_t since_us = clock_monotonic_us();
        enum status status = run_once(t, kind, r + 1, err);
        if (status != STATUS_OK) { return status; }
        times[r] = seconds_since(since_us);
    }
    qsort(times + 1, REPEATS, sizeof times[0], by_value);
    *ret_seconds = times[1 + REPEATS / 2];
    return STATUS_OK;
}

static enum status shape_time(struct backend *be, const struct card_model *model, double most,
                              struct error *err) {
    const struct ilora_shape shape = {.R = 8,
                                      .K = 4,
                                      .alpha = 32.0f,
                                      .gate_floor = 0.05f,
                                      .E = E_WIDTH,
                                      .projector_width = 256,
                                      .items_max = ITEMS,
                                      .head = ILORA_HEAD_BOTH};
    const struct language_model_settings how = {.tokens_max = PROMPTS * TOKENS,
                                                .sequences_max = PROMPTS,
                                                .items_max = ITEMS,
                                                .training = true};
    struct checkpoint *checkpoint = NULL;
    struct base_model *base = NULL;
    struct timed t = {0};
    double s[3] = {0};
    enum status status = card_model_open(model, &checkpoint, err);
    if (status != STATUS_OK) { return status; }
    status = base_model_load(be, checkpoint, PRECISION_BF16, true, &base, err);
    checkpoint_close(checkpoint);
    if (status == STATUS_OK) {
        status = ilora_params_new(be, &model->description, &shape, 1, true, &t.params, err);
    }
    if (status == STATUS_OK) { status = language_model_new(base, &how, &shape, &t.lm, err); }
    float *items = MEMORY_TAKE_ARRAY(float, ITEMS *E_WIDTH);
    t.scores = MEMORY_TAKE_ARRAY(float, PROMPTS *CANDIDATES);
    if (status == STATUS_OK &&
        (items == NULL || t.scores == NULL ||
         !card_samples_make(&t.samples, model->description.V, E_WIDTH, ITEMS, PROMPTS, TOKENS,
                            false, false, CANDIDATES, TITLE))) {
        status = error_set(err, STATUS_NO_MEMORY, "samples");
    }
    if (status == STATUS_OK) {
        fill_random(items, (size_t)ITEMS * E_WIDTH);
        status = language_model_set_items(t.lm, items, ITEMS, err);
    }
    for (int kind = 0; kind < 3 && status == STATUS_OK; kind++) {
        status = median(&t, kind, &s[kind], err);
    }
    if (status == STATUS_OK) {
        double tokens = PROMPTS * TOKENS;
        double flops = language_model_flops_per_token(&model->description, &shape, TOKENS, true);
        double rate = tokens / s[0] * flops * 1e-12;
        printf("RESULT %s train %.0f tokens/s, %.1f useful TFLOP/s", model->name, tokens / s[0],
               rate);
        if (most > 0.0) { printf(", %.0f %% of the product's", 100.0 * rate / most); }
        printf("\nRESULT %s score %.1f users/s of 20 titles, one user %.1f ms\n", model->name,
               PROMPTS / s[1], s[2] * 1e3);
    }
    memory_free(items);
    memory_free(t.scores);
    card_samples_free(&t.samples);
    return status; /* the process ends, and the backend's memory with it */
}

int main(int argc, char **argv) {
    struct backend *be = NULL;
    struct error err = {0};
    if (argc < 2) {
        (void)fprintf(stderr, "usage: card_time ceiling | SHAPE [CEILING]\n");
        return 64;
    }
    enum status status = backend_cuda_new(0, &be, &err);
    if (status != STATUS_OK) {
        printf("no device: %s\n", err.text);
        return status == STATUS_NOT_FOUND ? NO_CARD : 1;
    }
    printf("%s\n", be->profile);
    status = error_set(&err, STATUS_CONFIG, "no shape '%s'", argv[1]);
    if (strcmp(argv[1], "ceiling") == 0) { status = ceiling(be, &err); }
    for (int m = 0; card_shapes[m].name != NULL; m++) {
        if (strcmp(argv[1], card_shapes[m].name) != 0) { continue; }
        status = shape_time(be, &card_shapes[m], argc > 2 ? strtod(argv[2], NULL) : 0.0, &err);
    }
    if (status != STATUS_OK) { printf("%s: %s\n", status_name(status), err.text); }
    be->ops->free(be);
    return status == STATUS_OK ? 0 : 1;
}
