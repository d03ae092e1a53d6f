/* SPDX-License-Identifier: Apache-2.0
 *
 * bench_ops.c - times the operators of the CPU backend at the shapes of SmolLM2-135M and SASRec.
 *
 *   bench_ops [threads]     the median of RUNS timings each, on random data (zeros flatter)
 *
 * Not a test. Useful operations are counted: 2 m n k for a product, causal halves for attention. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/memory.h"
#include "base/rng.h"
#include "kernels/backend.h"

#define RUNS        7
#define SECONDS_MIN 0.02 /* one timing repeats the operator for at least so long */

struct bench {
    struct backend *be;
    struct rng rng;
    struct tensor t[12]; /* what the operator under test works on */
    struct weight *w;
    struct segment *segments;
    int segment_count;
};

static double now_seconds(void) {
    struct timespec at;

    (void)clock_gettime(CLOCK_MONOTONIC, &at); /* cannot fail for this clock */
    return (double)at.tv_sec + 1e-9 * (double)at.tv_nsec;
}

static void must(enum status status, const struct error *err) {
    if (status == STATUS_OK) { return; }
    (void)fprintf(stderr, "bench_ops: %s\n", err->text);
    exit(1);
}

static int by_size(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Median seconds of one call. */
static double seconds_of(struct bench *b, void (*run)(struct bench *b)) {
    double times[RUNS];
    int repeats = 1;

    for (;;) {
        double start = now_seconds();
        for (int i = 0; i < repeats; i++) {
            run(b);
        }
        if (now_seconds() - start >= SECONDS_MIN) { break; }
        repeats *= 2;
    }
    for (int r = 0; r < RUNS; r++) {
        double start = now_seconds();
        for (int i = 0; i < repeats; i++) {
            run(b);
        }
        times[r] = (now_seconds() - start) / repeats;
    }
    qsort(times, RUNS, sizeof times[0], by_size);
    return times[RUNS / 2];
}

static struct tensor random_tensor(struct bench *b, int rows, int cols) {
    struct tensor t;
    struct error err = {0};

    must(backend_tensor_take(b->be, DTYPE_F32, rows, cols, &t, &err), &err);
    float *host = MEMORY_TAKE_ARRAY(float, (size_t)rows *(size_t)cols);
    if (host == NULL) { exit(1); }
    for (size_t i = 0; i < (size_t)rows * (size_t)cols; i++) {
        host[i] = (float)rng_normal(&b->rng);
    }
    must(b->be->ops->upload(b->be, t, host, &err), &err);
    memory_free(host);
    return t;
}

static void take(struct bench *b, int slot, int rows, int cols) {
    backend_tensor_give(b->be, &b->t[slot]);
    b->t[slot] = random_tensor(b, rows, cols);
}

static void report(const char *name, double seconds, double operations, double bytes) {
    (void)printf("%-46s %10.1f us  %8.1f GFLOP/s  %6.1f GB/s\n", name, seconds * 1e6,
                 operations / seconds * 1e-9, bytes / seconds * 1e-9);
}

/* ---- frozen weights -------------------------------------------------------------------------- */

static void run_linear(struct bench *b) {
    b->be->ops->linear_forward(b->be, b->t[0], b->t[1], b->w, tensor_none());
}
static void run_linear_backward(struct bench *b) {
    b->be->ops->linear_backward(b->be, b->t[1], b->t[0], b->w, true);
}

static void bench_linear(struct bench *b, int N, int O, int I, enum precision precision) {
    struct error err = {0};
    char name[80];
    double operations = 2.0 * N * O * I, bytes = 4.0 * N * (O + I);
    const char *type = precision == PRECISION_BF16 ? "bf16" : "f32";

    take(b, 0, N, O);
    take(b, 1, N, I);
    take(b, 2, O, I);
    must(b->be->ops->weight_make(b->be, b->t[2].data, O, I, true, precision, &b->w, &err), &err);
    (void)snprintf(name, sizeof name, "linear %s N=%d (%d,%d)", type, N, O, I);
    report(name, seconds_of(b, run_linear), operations, bytes);
    (void)snprintf(name, sizeof name, "linear back %s N=%d (%d,%d)", type, N, O, I);
    report(name, seconds_of(b, run_linear_backward), operations, bytes);
    b->be->ops->weight_free(b->be, b->w);
}

/* ---- trainable products ---------------------------------------------------------------------- */

static void run_product(struct bench *b) {
    b->be->ops->product(b->be, b->t[0], b->t[1], false, b->t[2], false, 1.0f, 0.0f);
}
static void run_product_bt(struct bench *b) {
    b->be->ops->product(b->be, b->t[0], b->t[1], false, b->t[2], true, 1.0f, 0.0f);
}
static void run_product_at(struct bench *b) {
    b->be->ops->product(b->be, b->t[0], b->t[1], true, b->t[2], false, 1.0f, 1.0f);
}

static void bench_product(struct bench *b, int m, int n, int k, bool ta, bool tb) {
    char name[80];

    take(b, 0, m, n);
    take(b, 1, ta ? k : m, ta ? m : k);
    take(b, 2, tb ? n : k, tb ? k : n);
    (void)snprintf(name, sizeof name, "product%s%s m=%d n=%d k=%d", ta ? " a^T" : "",
                   tb ? " b^T" : "", m, n, k);
    double seconds = seconds_of(b, ta ? run_product_at : tb ? run_product_bt : run_product);
    report(name, seconds, 2.0 * m * n * k, 4.0 * ((double)m * n + (double)m * k + (double)n * k));
}

/* ---- attention ------------------------------------------------------------------------------- */

#define HEADS     9
#define KEY_HEADS 3
#define HEAD_SIZE 64

static void run_attention(struct bench *b) {
    b->be->ops->attention_forward(b->be, b->t[0], b->t[1], b->t[2], b->t[3], b->t[4], b->segments,
                                  b->segment_count, HEADS, KEY_HEADS, 0.125f);
}
static void run_attention_backward(struct bench *b) {
    b->be->ops->attention_backward(b->be, b->t[5], b->t[6], b->t[7], b->t[8], b->t[2], b->t[3],
                                   b->t[4], b->t[0], b->t[1], b->segments, b->segment_count, HEADS,
                                   KEY_HEADS, 0.125f);
}

static void bench_attention(struct bench *b, int count, int T) {
    int N = count * T, q = HEADS * HEAD_SIZE, k = KEY_HEADS * HEAD_SIZE;
    double pairs = 0.5 * count * T * (T + 1.0) * HEADS * HEAD_SIZE, bytes = 4.0 * N * 2.0 * (q + k);
    char name[80];

    b->segments = MEMORY_TAKE_ARRAY(struct segment, count);
    if (b->segments == NULL) { exit(1); }
    for (int i = 0; i < count; i++) {
        b->segments[i] = (struct segment){i * T, (i + 1) * T, 0, 0};
    }
    b->segment_count = count;
    const int cols[] = {q, HEADS, q, k, k, q, k, k, q};
    for (int slot = 0; slot < 9; slot++) {
        take(b, slot, N, cols[slot]);
    }
    (void)snprintf(name, sizeof name, "attention %d x T=%d H=9 G=3 D=64", count, T);
    report(name, seconds_of(b, run_attention), 4.0 * pairs, bytes);
    (void)snprintf(name, sizeof name, "attention back %d x T=%d", count, T);
    report(name, seconds_of(b, run_attention_backward), 10.0 * pairs, 2.0 * bytes);
    memory_free(b->segments);
}

/* ---- rows ------------------------------------------------------------------------------------ */

static void run_rmsnorm(struct bench *b) {
    b->be->ops->rmsnorm_forward(b->be, b->t[0], b->t[1], b->t[2], b->t[3], 1e-5f);
}
static void run_rmsnorm_backward(struct bench *b) {
    b->be->ops->rmsnorm_backward(b->be, b->t[0], b->t[4], b->t[2], b->t[1], b->t[3]);
}
static void run_swiglu(struct bench *b) {
    b->be->ops->swiglu_forward(b->be, b->t[0], b->t[2]);
}
static void run_swiglu_backward(struct bench *b) {
    b->be->ops->swiglu_backward(b->be, b->t[3], b->t[0], b->t[2]);
}
static void run_gelu(struct bench *b) {
    b->be->ops->gelu_forward(b->be, b->t[0], b->t[1]);
}
static void run_log_softmax(struct bench *b) {
    b->be->ops->log_softmax(b->be, b->t[0]);
}
static void run_adamw(struct bench *b) {
    const struct optimizer_tensor t = {b->t[0], b->t[1], b->t[2], b->t[3], 1e-4f, 0.01f};
    const struct adamw how = {0.9f, 0.99f, 1e-8f, 100, 1.0f};
    b->be->ops->adamw(b->be, &t, 1, &how);
}

static void bench_rows(struct bench *b, int N) {
    take(b, 0, N, 576);
    take(b, 1, N, 1);
    take(b, 2, N, 576);
    take(b, 3, 1, 576);
    take(b, 4, N, 576);
    report("rmsnorm N=512 C=576", seconds_of(b, run_rmsnorm), 4.0 * N * 576, 8.0 * N * 576);
    report("rmsnorm back", seconds_of(b, run_rmsnorm_backward), 8.0 * N * 576, 16.0 * N * 576);
    take(b, 0, N, 1536);
    take(b, 2, N, 3072);
    take(b, 3, N, 3072);
    report("swiglu N=512 F=1536", seconds_of(b, run_swiglu), 5.0 * N * 1536, 12.0 * N * 1536);
    report("swiglu back", seconds_of(b, run_swiglu_backward), 10.0 * N * 1536, 20.0 * N * 1536);
    take(b, 0, N, 576);
    take(b, 1, N, 576);
    report("gelu N=512 C=576", seconds_of(b, run_gelu), 5.0 * N * 576, 8.0 * N * 576);
    take(b, 0, N, 1682);
    report("log_softmax N=512 V=1682", seconds_of(b, run_log_softmax), 4.0 * N * 1682,
           8.0 * N * 1682);
    for (int slot = 0; slot < 4; slot++) {
        take(b, slot, 1024, 1024);
    }
    take(b, 3, 1024, 1024);
    b->be->ops->multiply(b->be, b->t[3], b->t[3]);
    report("adamw 1M parameters", seconds_of(b, run_adamw), 12.0 * 1048576, 28.0 * 1048576);
}

static void bench_all(struct bench *b) {
    static const int shapes[][2] = {{960, 576}, {576, 576}, {3072, 576}, {576, 1536}};

    for (int precision = PRECISION_F32; precision <= PRECISION_BF16; precision++) {
        for (int i = 0; i < 4; i++) {
            bench_linear(b, 512, shapes[i][0], shapes[i][1], (enum precision)precision);
        }
        bench_linear(b, 100, 3072, 576, (enum precision)precision);
        bench_linear(b, 1, 3072, 576, (enum precision)precision);
        bench_linear(b, 64, 49152, 576, (enum precision)precision);
    }
    bench_product(b, 512, 8, 576, false, true);
    bench_product(b, 512, 64, 576, false, true);
    bench_product(b, 512, 576, 8, false, true);
    bench_product(b, 512, 576, 64, false, true);
    bench_product(b, 576, 8, 512, true, false);
    bench_product(b, 8, 576, 512, true, false);
    bench_product(b, 512, 576, 8, false, false);
    bench_product(b, 512, 64, 64, false, true);
    bench_product(b, 512, 1682, 64, false, true);
    bench_product(b, 512, 64, 1682, false, false);
    bench_product(b, 1682, 64, 512, true, false);
    bench_product(b, 1, 1682, 64, false, true);
    bench_product(b, 1024, 1024, 1024, false, false);
    bench_attention(b, 8, 64);
    bench_attention(b, 5, 100);
    bench_attention(b, 2, 410);
    bench_rows(b, 512);
}

int main(int argc, char **argv) {
    int threads = argc > 1 ? (int)strtol(argv[1], NULL, 10) : 2;
    struct bench b = {.rng = rng_make(1, 2)};
    struct error err = {0};

    if (threads < 1) { return 64; }
    must(backend_cpu_new_with(threads, argc > 2 ? argv[2] : "avx512", &b.be, &err), &err);
    (void)printf("%s\n", b.be->profile);
    bench_all(&b);
    for (int slot = 0; slot < 12; slot++) {
        backend_tensor_give(b.be, &b.t[slot]);
    }
    b.be->ops->free(b.be);
    return 0;
}
