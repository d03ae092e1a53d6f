/* SPDX-License-Identifier: Apache-2.0
 *
 * bench_lm.c - tokens a second of training and scoring, and which operator takes the time.
 *
 * usage: bench_lm MODEL f32|bf16 [PROMPT_TOKENS PROMPTS TOKENS_MAX REPEATS THREADS]
 *
 * Random tokens, item head, R = 8, K = 4. Prints the median of REPEATS, useful GFLOP/s by
 * language_model_flops_per_token, and a table of operators timed from outside: the backend's table
 * is wrapped, so the code that runs is the product's. With one thread, times are the thread's CPU
 * time, so a busy machine does not spoil them; with more they are wall time. Not a ctest. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/rng.h"
#include "model/language_model.h"

#define ITEMS    1682
#define E_WIDTH  64
#define HISTORY  10
#define ROWS_MAX 64

/* One line of the table. */
struct row {
    char name[48];
    double seconds;
    double flops;
    int calls;
};

static struct row rows[ROWS_MAX];
static int row_count;
static clockid_t bench_clock = CLOCK_MONOTONIC;
static struct backend_ops real; /* the table behind the wrappers */
static struct backend_ops timed;

static int64_t now_us(void) {
    struct timespec t;
    (void)clock_gettime(bench_clock, &t); /* cannot fail for these clocks */
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static void add_time(const char *name, int64_t since_us, double flops) {
    double seconds = (double)(now_us() - since_us) * 1e-6;
    int i = 0;
    while (i < row_count && strcmp(rows[i].name, name) != 0) {
        i++;
    }
    if (i == ROWS_MAX) { return; }
    if (i == row_count) {
        (void)snprintf(rows[i].name, sizeof rows[i].name, "%s", name);
        row_count++;
    }
    rows[i].seconds += seconds;
    rows[i].flops += flops;
    rows[i].calls++;
}

/* A wrapper: same arguments, time added under the operator's name. */
#define WRAP(op, parameters, arguments) \
    static void timed_##op parameters { \
        int64_t since = now_us();       \
        real.op arguments;              \
        add_time(#op, since, 0.0);      \
    }

WRAP(fill, (struct backend * be, struct tensor d, float v), (be, d, v))
WRAP(copy, (struct backend * be, struct tensor d, struct tensor s), (be, d, s))
WRAP(rmsnorm_forward,
     (struct backend * be, struct tensor y, struct tensor r, struct tensor x, struct tensor g,
      float e),
     (be, y, r, x, g, e))
WRAP(rmsnorm_backward,
     (struct backend * be, struct tensor dx, struct tensor dy, struct tensor x, struct tensor r,
      struct tensor g),
     (be, dx, dy, x, r, g))
WRAP(rotary,
     (struct backend * be, struct tensor x, struct tensor t, struct tensor p, int D, bool inverse),
     (be, x, t, p, D, inverse))
WRAP(attention_forward,
     (struct backend * be, struct tensor o, struct tensor l, struct tensor q, struct tensor k,
      struct tensor v, const struct segment *s, int n, int H, int G, float scale),
     (be, o, l, q, k, v, s, n, H, G, scale))
WRAP(attention_backward,
     (struct backend * be, struct tensor dq, struct tensor dk, struct tensor dv, struct tensor d,
      struct tensor q, struct tensor k, struct tensor v, struct tensor o, struct tensor l,
      const struct segment *s, int n, int H, int G, float scale),
     (be, dq, dk, dv, d, q, k, v, o, l, s, n, H, G, scale))
WRAP(swiglu_forward, (struct backend * be, struct tensor y, struct tensor x), (be, y, x))
WRAP(swiglu_backward, (struct backend * be, struct tensor dx, struct tensor dy, struct tensor x),
     (be, dx, dy, x))
WRAP(axpby, (struct backend * be, struct tensor d, float a, struct tensor x, float b),
     (be, d, a, x, b))
WRAP(gather_rows, (struct backend * be, struct tensor d, struct tensor s, struct tensor i),
     (be, d, s, i))
WRAP(scatter_rows, (struct backend * be, struct tensor d, struct tensor s, struct tensor i),
     (be, d, s, i))
WRAP(gate_forward,
     (struct backend * be, struct tensor u, struct tensor h, struct tensor g, struct tensor s),
     (be, u, h, g, s))
WRAP(gate_backward,
     (struct backend * be, struct tensor dh, struct tensor dg, struct tensor du, struct tensor h,
      struct tensor g, struct tensor s),
     (be, dh, dg, du, h, g, s))
WRAP(cross_entropy,
     (struct backend * be, struct tensor l, struct tensor x, struct tensor t, struct tensor w),
     (be, l, x, t, w))
WRAP(log_softmax, (struct backend * be, struct tensor x), (be, x))
WRAP(adamw, (struct backend * be, const struct optimizer_tensor *t, int n, const struct adamw *how),
     (be, t, n, how))

static void timed_linear_forward(struct backend *be, struct tensor y, struct tensor x,
                                 const struct weight *w, struct tensor bias) {
    char name[48];
    int64_t since = now_us();
    real.linear_forward(be, y, x, w, bias);
    (void)snprintf(name, sizeof name, "linear_forward %d->%d", x.cols, y.cols);
    add_time(name, since, 2.0 * x.rows * x.cols * y.cols);
}

static void timed_linear_backward(struct backend *be, struct tensor dx, struct tensor dy,
                                  const struct weight *w, bool accumulate) {
    char name[48];
    int64_t since = now_us();
    real.linear_backward(be, dx, dy, w, accumulate);
    (void)snprintf(name, sizeof name, "linear_backward %d->%d", dy.cols, dx.cols);
    add_time(name, since, 2.0 * dx.rows * dx.cols * dy.cols);
}

static void timed_product(struct backend *be, struct tensor c, struct tensor a, bool ta,
                          struct tensor b, bool tb, float alpha, float beta) {
    char name[48];
    int k = ta ? a.rows : a.cols;
    int64_t since = now_us();
    real.product(be, c, a, ta, b, tb, alpha, beta);
    (void)snprintf(name, sizeof name, "product %s%s %s x %s x %s", ta ? "t" : "n", tb ? "t" : "n",
                   c.rows < 64 ? "thin" : "wide", k < 64 ? "thin" : "wide",
                   c.cols < 64 ? "thin" : "wide");
    add_time(name, since, 2.0 * c.rows * c.cols * k);
}

static void wrap(struct backend *be) {
    real = *be->ops;
    timed = real;
    timed.fill = timed_fill;
    timed.copy = timed_copy;
    timed.rmsnorm_forward = timed_rmsnorm_forward;
    timed.rmsnorm_backward = timed_rmsnorm_backward;
    timed.rotary = timed_rotary;
    timed.attention_forward = timed_attention_forward;
    timed.attention_backward = timed_attention_backward;
    timed.swiglu_forward = timed_swiglu_forward;
    timed.swiglu_backward = timed_swiglu_backward;
    timed.axpby = timed_axpby;
    timed.gather_rows = timed_gather_rows;
    timed.scatter_rows = timed_scatter_rows;
    timed.gate_forward = timed_gate_forward;
    timed.gate_backward = timed_gate_backward;
    timed.cross_entropy = timed_cross_entropy;
    timed.log_softmax = timed_log_softmax;
    timed.adamw = timed_adamw;
    timed.linear_forward = timed_linear_forward;
    timed.linear_backward = timed_linear_backward;
    timed.product = timed_product;
    be->ops = &timed;
}

static int slower_first(const void *a, const void *b) {
    double x = ((const struct row *)a)->seconds, y = ((const struct row *)b)->seconds;
    return (x < y) - (x > y);
}

static void print_table(double total, int repeats) {
    double known = 0.0;
    qsort(rows, (size_t)row_count, sizeof rows[0], slower_first);
    for (int i = 0; i < row_count; i++) {
        known += rows[i].seconds;
        printf("  %-40s %8.2f ms  %5.1f %%  %6d calls", rows[i].name,
               rows[i].seconds * 1e3 / repeats, 100.0 * rows[i].seconds / total,
               rows[i].calls / repeats);
        if (rows[i].flops > 0.0) {
            printf("  %8.1f GFLOP/s", rows[i].flops / rows[i].seconds * 1e-9);
        }
        printf("\n");
    }
    printf("  %-40s %8.2f ms  %5.1f %%\n", "(everything else)", (total - known) * 1e3 / repeats,
           100.0 * (total - known) / total);
    row_count = 0;
    memset(rows, 0, sizeof rows);
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

struct bench {
    struct language_model *lm;
    struct ilora_params *params;
    struct lm_sample *samples;
    float *scores;
    int prompts, tokens, repeats;
    double flops[2]; /* a token: scoring, training */
};

static enum status run_once(struct bench *b, bool training, int64_t step, struct error *err) {
    struct lm_step_stats stats;
    struct lm_step how = {.learning_rate = 1e-4f,
                          .multiplier = {1, 1, 1, 1},
                          .beta1 = 0.9f,
                          .beta2 = 0.999f,
                          .epsilon = 1e-8f,
                          .clip_norm = 1.0f,
                          .step = step};
    if (training) {
        return language_model_train(b->lm, b->params, NULL, b->samples, b->prompts, &how, NULL,
                                    NULL, &stats, err);
    }
    return language_model_score_items(b->lm, b->params, false, b->samples, b->prompts, b->scores,
                                      err);
}

static enum status measure(struct bench *b, bool training, struct error *err) {
    double times[64], total = 0.0;
    enum status status = run_once(b, training, 1, err); /* warm */
    row_count = 0;
    memset(rows, 0, sizeof rows);
    for (int i = 0; status == STATUS_OK && i < b->repeats; i++) {
        int64_t since = now_us();
        status = run_once(b, training, 2 + i, err);
        times[i] = (double)(now_us() - since) * 1e-6;
        total += times[i];
    }
    if (status != STATUS_OK) { return status; }
    qsort(times, (size_t)b->repeats, sizeof times[0], by_value);
    double median = times[b->repeats / 2], tokens = (double)b->prompts * b->tokens;
    printf("%s: %.0f tokens in %.3f s (best %.3f): %.0f tok/s, %.1f useful GFLOP/s\n",
           training ? "train" : "score", tokens, median, times[0], tokens / median,
           tokens / median * b->flops[training] * 1e-9);
    print_table(total, b->repeats);
    return STATUS_OK;
}

static enum status open_all(struct bench *b, const char *path, enum precision precision,
                            int tokens_max, int threads, struct error *err) {
    struct backend *be = NULL;
    struct checkpoint *checkpoint = NULL;
    struct base_model *base = NULL;
    enum status status = backend_cpu_new(threads, &be, err);
    if (status != STATUS_OK) { return status; }
    wrap(be);
    status = checkpoint_open(path, &checkpoint, err);
    if (status != STATUS_OK) { return status; }
    status = base_model_load(be, checkpoint, precision, true, &base, err);
    checkpoint_close(checkpoint);
    if (status != STATUS_OK) { return status; }
    struct ilora_shape shape = {.R = 8,
                                .K = 4,
                                .alpha = 32.0f,
                                .gate_floor = 0.05f,
                                .E = E_WIDTH,
                                .projector_width = 256,
                                .items_max = ITEMS,
                                .head = ILORA_HEAD_ITEM};
    const struct model_description *d = base_model_description(base);
    status = ilora_params_new(be, d, &shape, 1, true, &b->params, err);
    if (status != STATUS_OK) { return status; }
    struct language_model_settings settings = {.tokens_max = tokens_max,
                                               .sequences_max = b->prompts,
                                               .items_max = ITEMS,
                                               .training = true};
    status = language_model_new(base, &settings, &shape, &b->lm, err);
    if (status != STATUS_OK) { return status; }
    b->flops[0] = language_model_flops_per_token(d, &shape, b->tokens, false);
    b->flops[1] = language_model_flops_per_token(d, &shape, b->tokens, true);
    printf("%s\nbase %.0f MB, buffers %.0f MB, %zu trainable floats\n", be->profile,
           (double)base_model_bytes(base) * 1e-6, (double)language_model_bytes(b->lm) * 1e-6,
           ilora_params_floats(b->params));
    return STATUS_OK;
}

static void make_samples(struct bench *b, int V) {
    static float gate_input[E_WIDTH];
    static uint32_t history[HISTORY];
    struct rng rng = rng_make(1, 1);
    for (int e = 0; e < E_WIDTH; e++) {
        gate_input[e] = (float)rng_normal(&rng);
    }
    for (int i = 0; i < b->prompts; i++) {
        struct prompt *prompt = calloc(1, sizeof *prompt);
        if (prompt == NULL) { abort(); }
        prompt->count = b->tokens;
        for (int t = 0; t < b->tokens; t++) {
            prompt->tokens[t] = (int32_t)rng_below(&rng, (uint64_t)V);
        }
        b->samples[i] = (struct lm_sample){.prompt = prompt,
                                           .gate_input = gate_input,
                                           .history = history,
                                           .history_count = HISTORY,
                                           .target = (uint32_t)i % ITEMS,
                                           .weight = 1.0f};
    }
}

int main(int argc, char **argv) {
    struct error err = {0};
    if (argc < 3) {
        fprintf(stderr, "usage: bench_lm MODEL f32|bf16 [PROMPT_TOKENS PROMPTS TOKENS_MAX REPEATS "
                        "THREADS]\n");
        return 64;
    }
    long numbers[5] = {100, 20, 2048, 5, 2};
    for (int i = 3; i < argc && i < 8; i++) {
        numbers[i - 3] = strtol(argv[i], NULL, 10);
    }
    struct bench b = {.tokens = (int)numbers[0],
                      .prompts = (int)numbers[1],
                      .repeats = numbers[3] < 64 ? (int)numbers[3] : 63};
    b.samples = calloc((size_t)b.prompts, sizeof *b.samples);
    b.scores = calloc((size_t)b.prompts * ITEMS, sizeof *b.scores);
    float *items = calloc((size_t)ITEMS * E_WIDTH, sizeof *items);
    if (b.samples == NULL || b.scores == NULL || items == NULL) { return 1; }
    struct rng rng = rng_make(2, 2);
    for (int i = 0; i < ITEMS * E_WIDTH; i++) {
        items[i] = (float)rng_normal(&rng);
    }

    if (numbers[4] == 1) { bench_clock = CLOCK_THREAD_CPUTIME_ID; }
    enum precision precision = strcmp(argv[2], "bf16") == 0 ? PRECISION_BF16 : PRECISION_F32;
    enum status status = open_all(&b, argv[1], precision, (int)numbers[2], (int)numbers[4], &err);
    if (status == STATUS_OK) { status = language_model_set_items(b.lm, items, ITEMS, &err); }
    make_samples(&b, 300);
    if (status == STATUS_OK) { status = measure(&b, false, &err); }
    if (status == STATUS_OK) { status = measure(&b, true, &err); }
    if (status != STATUS_OK) { fprintf(stderr, "%s\n", err.text); }
    return status == STATUS_OK ? 0 : 1;
}
