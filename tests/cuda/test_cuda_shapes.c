/* SPDX-License-Identifier: Apache-2.0
 *
 * test_cuda_shapes.c - what the list of operator cases is too small for: launches that become
 * several, attention beside bf16 weights, a segment at another place. Against the CPU backend. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/rng.h"
#include "tests/cuda/cuda_host_control.h"
#include "tests/kernels/op_case.h"
#include "tests/support/unit.h"

struct pair { /* the same on both backends */
    struct backend *cpu, *cuda;
};

static struct pair open_both(void) {
    struct pair p = {NULL, NULL};
    struct error err;
    ASSERT_OK(backend_cpu_new(1, &p.cpu, &err), err);
    ASSERT_OK(backend_cuda_new(0, &p.cuda, &err), err);
    return p;
}

static void close_both(struct pair *p) {
    p->cpu->ops->free(p->cpu);
    p->cuda->ops->free(p->cuda);
    assert_true(cuda_host_guards_whole());
    assert_int_equal(cuda_host_device_bytes(), 0);
}

static struct tensor take(struct backend *be, int rows, int cols, const float *host) {
    struct tensor t;
    struct error err;
    ASSERT_OK(backend_tensor_take(be, DTYPE_F32, rows, cols, &t, &err), err);
    ASSERT_OK(be->ops->upload(be, t, host, &err), err);
    return t;
}

static void read_back(struct backend *be, struct tensor t, float *host) {
    struct error err;
    ASSERT_OK(be->ops->download(be, host, t, &err), err);
}

static float *random_floats(uint64_t stream, size_t count) {
    struct rng rng = rng_make(5, stream);
    float *x = calloc(count, sizeof *x);
    assert_non_null(x);
    for (size_t i = 0; i < count; i++) {
        x[i] = (float)rng_normal(&rng);
    }
    return x;
}

static void assert_close(const float *got, const float *want, size_t count, double bound) {
    double most = 0.0;
    for (size_t i = 0; i < count; i++) {
        most = fmax(most, fabs((double)want[i]));
    }
    for (size_t i = 0; i < count; i++) {
        assert_true(isfinite(got[i]));
        assert_true(fabs((double)got[i] - (double)want[i]) <= bound * most);
    }
}

/* ---- attention ------------------------------------------------------------------------------- */

/* out, lse, dq, dk, dv of one call, one after the other; N rows, H = 2, G = 1. */
#define HEADS 2
#define D     16
static size_t attention_floats(int N) {
    return (size_t)N * (size_t)(HEADS * D + HEADS + HEADS * D + D + D);
}

static void attention_run(struct backend *be, const float *x, int N, const struct segment *segments,
                          int segment_count, float *ret) {
    const int widths[9] = {HEADS * D, D, D, HEADS * D, HEADS * D, HEADS, HEADS * D, D, D};
    struct tensor t[9]; /* q, k, v, dout; out, lse, dq, dk, dv */
    float *zeros = calloc((size_t)N * HEADS * D, sizeof *zeros);
    assert_non_null(zeros);
    for (int i = 0; i < 9; i++) {
        t[i] = take(be, N, widths[i], i < 4 ? x : zeros);
        x += i < 4 ? (size_t)N * (size_t)widths[i] : 0;
    }
    be->ops->attention_forward(be, t[4], t[5], t[0], t[1], t[2], segments, segment_count, HEADS, 1,
                               0.25f);
    be->ops->attention_backward(be, t[6], t[7], t[8], t[3], t[0], t[1], t[2], t[4], t[5], segments,
                                segment_count, HEADS, 1, 0.25f);
    for (int i = 4; i < 9; i++) {
        read_back(be, t[i], ret);
        ret += (size_t)N * (size_t)widths[i];
    }
    for (int i = 0; i < 9; i++) {
        backend_tensor_give(be, &t[i]);
    }
    free(zeros);
}

/* A prompt of 150 rows, then many branches of 1 to 3 rows: more tiles than one launch has, and a
 * key tile that hundreds of segments see. */
static void hundreds_of_branches_equal_the_cpus(void **state) {
    enum { BRANCHES = 300, PROMPT = 150 };
    static struct segment segments[1 + BRANCHES];
    struct pair p = open_both();
    int N = PROMPT;
    (void)state;
    segments[0] = (struct segment){0, PROMPT, 0, 0};
    for (int i = 1; i <= BRANCHES; i++) {
        segments[i] = (struct segment){N, N + 1 + i % 3, i % 7, PROMPT - i % 5};
        N = segments[i].end;
    }
    size_t count = attention_floats(N);
    float *x = random_floats(1, count), *want = calloc(count, sizeof *want);
    float *got = calloc(count, sizeof *got);
    assert_non_null(want);
    assert_non_null(got);

    attention_run(p.cpu, x, N, segments, 1 + BRANCHES, want);
    attention_run(p.cuda, x, N, segments, 1 + BRANCHES, got);

    assert_close(got, want, count, 1e-5);
    free(x);
    free(want);
    free(got);
    close_both(&p);
}

/* Alone, and behind a segment of 37 rows. */
static void a_segment_has_the_same_bits_at_another_place(void **state) {
    enum { ROWS = 70, BEFORE = 37, ALL = ROWS + BEFORE };
    const struct segment alone[] = {{0, ROWS, 0, 0}};
    const struct segment behind[] = {{0, BEFORE, 0, 0}, {BEFORE, ALL, 0, 0}};
    const int widths[9] = {HEADS * D, D, D, HEADS * D, HEADS * D, HEADS, HEADS * D, D, D};
    struct pair p = open_both();
    float *x = random_floats(2, attention_floats(ALL)),
          *moved = random_floats(2, 4 * HEADS * D * ALL);
    float *want = calloc(attention_floats(ALL), sizeof *want);
    float *got = calloc(attention_floats(ALL), sizeof *got);
    (void)state;
    assert_non_null(want);
    assert_non_null(got);
    size_t from = 0, to = 0;
    for (int i = 0; i < 4; i++) { /* the rows of the one that is alone behind others */
        memcpy(moved + to + (size_t)(BEFORE * widths[i]), x + from,
               (size_t)(ROWS * widths[i]) * sizeof *x);
        from += (size_t)(ROWS * widths[i]);
        to += (size_t)(ALL * widths[i]);
    }

    attention_run(p.cuda, x, ROWS, alone, 1, want);
    attention_run(p.cuda, moved, ALL, behind, 2, got);

    from = to = 0;
    for (int i = 4; i < 9; i++) {
        assert_memory_equal(got + to + (size_t)(BEFORE * widths[i]), want + from,
                            (size_t)(ROWS * widths[i]) * sizeof *want);
        from += (size_t)(ROWS * widths[i]);
        to += (size_t)(ALL * widths[i]);
    }
    free(x);
    free(moved);
    free(want);
    free(got);
    close_both(&p);
}

/* Where a backend holds bf16 weights attention splits numbers in two parts; the cases and their
 * tolerance are those of f32 all the same. */
static void attention_beside_bf16_weights_passes_its_cases(void **state) {
    const float w[1] = {1.0f};
    struct backend *be = NULL;
    struct weight *weight = NULL;
    struct error err;
    char words[256] = "";
    (void)state;
    ASSERT_OK(backend_cuda_new(0, &be, &err), err);
    ASSERT_OK(be->ops->weight_make(be, w, 1, 1, true, PRECISION_BF16, &weight, &err), err);
    for (int i = 0; i < op_case_count; i++) {
        if (strcmp(op_cases[i].op, "attention") != 0) { continue; }
        double forward = op_check_forward(be, &op_cases[i], words, sizeof words);
        double backward = op_check_backward(be, &op_cases[i], words, sizeof words);
        if (!(forward <= 1.0 && backward <= 1.0)) {
            fail_msg("%s: %.3g, %.3g times the tolerance", words, forward, backward);
        }
    }
    be->ops->weight_free(be, weight);
    be->ops->free(be);
}

/* ---- loss ------------------------------------------------------------------------------------ */

/* Rows as wide as a vocabulary take more threads; with and without four at a time. */
static void rows_as_wide_as_a_vocabulary_pass(void **state) {
    static const struct op_case wide[] = {
        {"cross_entropy", .N = 5, .C = 5001, .pad = 3}, {"cross_entropy", .N = 5, .C = 8192},
        {"cross_entropy", .N = 1, .C = 151936},         {"log_softmax_at", .N = 3, .C = 5001},
        {"log_softmax_at", .N = 3, .C = 8192},          {"log_softmax", .N = 3, .C = 49152},
    };
    struct backend *be = NULL;
    struct error err;
    char words[256] = "";
    (void)state;
    ASSERT_OK(backend_cuda_new(0, &be, &err), err);
    for (size_t i = 0; i < sizeof wide / sizeof wide[0]; i++) {
        double excess = op_check_forward(be, &wide[i], words, sizeof words);
        if (!(excess <= 1.0)) { fail_msg("%s: %.3g times the tolerance", words, excess); }
    }
    be->ops->free(be);
}

/* LoRA's shapes in one place: ranks 8, 16, 64, thousands of rows summed, a long k in parts. */
static void products_of_lora_pass(void **state) {
    static const struct op_case lora[] = {
        {"product", .N = 1030, .C = 8, .K = 576, .flag_b = true, .alpha = 1.0f},
        {"product", .N = 4096, .C = 64, .K = 65, .flag_b = true, .alpha = 1.0f},
        {"product", .N = 33, .C = 64, .K = 2049, .flag_b = true, .alpha = 2.0f, .pad = 1},
        {"product", .N = 16, .C = 577, .K = 4096, .flag_a = true, .alpha = 1.0f, .beta = 1.0f},
        {"product", .N = 577, .C = 64, .K = 1500, .flag_a = true, .alpha = 4.0f, .beta = 1.0f},
        {"product", .N = 1, .C = 8, .K = 1024, .flag_b = true, .alpha = 1.0f},
    };
    struct backend *be = NULL;
    struct error err;
    char words[256] = "";
    (void)state;
    ASSERT_OK(backend_cuda_new(0, &be, &err), err);
    for (size_t i = 0; i < sizeof lora / sizeof lora[0]; i++) {
        double excess = op_check_forward(be, &lora[i], words, sizeof words);
        if (!(excess <= 1.0)) { fail_msg("%s: %.3g times the tolerance", words, excess); }
    }
    be->ops->free(be);
}

/* ---- optimiser ------------------------------------------------------------------------------- */

#define TENSORS 150 /* more than a launch takes */

/* Norm, then one step of all tensors; ret: values of all. Shapes (1 + i % 5, 1 + 37 i % 900). */
static double optimise(struct backend *be, const float *x, float *ret) {
    static struct optimizer_tensor tensors[TENSORS];
    static struct tensor grads[TENSORS];
    const struct adamw how = {0.9f, 0.99f, 1e-6f, 4, 0.5f};
    struct error err;
    double sum = 0.0;

    for (int i = 0; i < TENSORS; i++) {
        const int rows = i == 70 ? 0 : 1 + i % 5, cols = 1 + 37 * i % 900;
        struct tensor t[4];
        for (int j = 0; j < 4;
             j++) { /* the second moment must not be negative: the first, squared */
            t[j] = take(be, rows, cols, x + (j == 3 ? 0 : i * 7 + j));
        }
        be->ops->multiply(be, t[3], t[3]);
        tensors[i] = (struct optimizer_tensor){t[0], t[1], t[2], t[3], 0.01f, 0.1f};
        grads[i] = t[1];
    }
    ASSERT_OK(be->ops->squared_norm(be, grads, TENSORS, &sum, &err), err);
    be->ops->adamw(be, tensors, TENSORS, &how);
    for (int i = 0; i < TENSORS; i++) {
        struct optimizer_tensor *t = &tensors[i];
        read_back(be, t->value, ret);
        ret += t->value.rows * t->value.cols;
        backend_tensor_give(be, &t->value);
        backend_tensor_give(be, &t->grad);
        backend_tensor_give(be, &t->moment1);
        backend_tensor_give(be, &t->moment2);
    }
    return sum;
}

static void more_tensors_than_a_launch_takes_equal_the_cpus(void **state) {
    enum { FLOATS = TENSORS * 5 * 900 };
    struct pair p = open_both();
    float *x = random_floats(3, FLOATS), *want = calloc(FLOATS, sizeof *want);
    float *got = calloc(FLOATS, sizeof *got);
    (void)state;
    assert_non_null(want);
    assert_non_null(got);

    double want_sum = optimise(p.cpu, x, want), got_sum = optimise(p.cuda, x, got);

    assert_true(fabs(got_sum - want_sum) <= 1e-12 * want_sum);
    assert_close(got, want, FLOATS, 1e-6);
    free(x);
    free(want);
    free(got);
    close_both(&p);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hundreds_of_branches_equal_the_cpus),
        cmocka_unit_test(a_segment_has_the_same_bits_at_another_place),
        cmocka_unit_test(attention_beside_bf16_weights_passes_its_cases),
        cmocka_unit_test(rows_as_wide_as_a_vocabulary_pass),
        cmocka_unit_test(products_of_lora_pass),
        cmocka_unit_test(more_tensors_than_a_launch_takes_equal_the_cpus),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
