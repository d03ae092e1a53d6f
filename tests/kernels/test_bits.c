/* SPDX-License-Identifier: Apache-2.0
 *
 * test_bits.c - what backend.h promises about bits: the same call gives the same ones, however the
 * team is, and a row's do not depend on where the row stands. */
#include "tests/support/unit.h"

#include <stdio.h>

#include "base/memory.h"
#include "base/rng.h"
#include "tests/kernels/op_case.h"

static struct backend *backend_with(int threads) {
    struct backend *be = NULL;
    struct error err = {0};

    ASSERT_OK(backend_cpu_new(threads, &be, &err), err);
    return be;
}

static void assert_same_bits(struct backend *a, struct backend *b) {
    int differ = 0;

    for (int i = 0; i < op_case_count; i++) {
        const struct op_case *c = &op_cases[i];
        if (op_bits(a, c) == op_bits(b, c)) { continue; }
        print_error("%s N=%d C=%d K=%d differs\n", c->op, c->N, c->C, c->K);
        differ++;
    }
    assert_int_equal(differ, 0);
}

static void every_operator_repeats_its_bits(void **state) {
    struct backend *be = backend_with(2), *other = backend_with(2);

    (void)state;
    assert_same_bits(be, be);
    assert_same_bits(be, other);
    be->ops->free(be);
    other->ops->free(other);
}

static void the_size_of_the_team_does_not_show(void **state) {
    struct backend *one = backend_with(1), *two = backend_with(2), *three = backend_with(3);

    (void)state;
    assert_same_bits(one, two);
    assert_same_bits(one, three);
    one->ops->free(one);
    two->ops->free(two);
    three->ops->free(three);
}

/* ---- rows ------------------------------------------------------------------------------------ */

#define ROWS_MAX 257
#define WIDE     192 /* in */
#define OUT      160 /* out: 30,720 numbers, so that oneDNN multiplies them */

struct rows_bench {
    struct backend *be;
    struct weight *w;
    struct tensor x, y;
    float *row;   /* (WIDE): what every row of x holds */
    float *first; /* (OUT): the answer of the first call */
};

static struct rows_bench rows_open(enum precision precision) {
    struct rows_bench b = {.be = backend_with(2)};
    struct rng rng = rng_make(3, 4);
    struct error err = {0};
    float *weight = MEMORY_TAKE_ARRAY(float, OUT *WIDE);

    assert_non_null(weight);
    for (int i = 0; i < OUT * WIDE; i++) {
        weight[i] = (float)rng_normal(&rng);
    }
    ASSERT_OK(b.be->ops->weight_make(b.be, weight, OUT, WIDE, true, precision, &b.w, &err), err);
    memory_free(weight);
    ASSERT_OK(backend_tensor_take(b.be, DTYPE_F32, ROWS_MAX, WIDE, &b.x, &err), err);
    ASSERT_OK(backend_tensor_take(b.be, DTYPE_F32, ROWS_MAX, OUT, &b.y, &err), err);
    b.row = MEMORY_TAKE_ARRAY(float, WIDE);
    b.first = MEMORY_TAKE_ARRAY(float, OUT);
    assert_true(b.row != NULL && b.first != NULL);
    for (int i = 0; i < WIDE; i++) {
        b.row[i] = (float)rng_normal(&rng);
    }
    for (int n = 0; n < ROWS_MAX; n++) {
        ASSERT_OK(b.be->ops->upload(b.be, tensor_rows(b.x, n, 1), b.row, &err), err);
    }
    return b;
}

static void rows_close(struct rows_bench *b) {
    b->be->ops->weight_free(b->be, b->w);
    backend_tensor_give(b->be, &b->x);
    backend_tensor_give(b->be, &b->y);
    memory_free(b->row);
    memory_free(b->first);
    b->be->ops->free(b->be);
}

/* All rows of x are equal, so all rows of y must be, whatever piece they fell into. */
static void assert_rows_equal(struct rows_bench *b, int N) {
    struct error err = {0};
    float row[OUT];
    struct tensor y = tensor_rows(b->y, 0, N), x = tensor_rows(b->x, 0, N);

    b->be->ops->linear_forward(b->be, y, x, b->w, tensor_none());
    for (int n = 0; n < N; n++) {
        ASSERT_OK(b->be->ops->download(b->be, n == 0 ? b->first : row, tensor_rows(y, n, 1), &err),
                  err);
        if (n > 0 && memcmp(row, b->first, sizeof row) != 0) {
            fail_msg("row %d of %d differs from row 0", n, N);
        }
    }
}

static void a_row_has_the_same_bits_wherever_it_stands(enum precision precision) {
    struct rows_bench b = rows_open(precision);
    float alone[OUT];

    for (int N = 1; N <= ROWS_MAX; N += N < 64 ? 1 : 31) {
        assert_rows_equal(&b, N);
        if (N == 1) { memcpy(alone, b.first, sizeof alone); }
        if (memcmp(alone, b.first, sizeof alone) != 0) {
            fail_msg("a row among %d differs from the row alone", N);
        }
    }
    rows_close(&b);
}

static void a_row_keeps_its_bits_in_f32(void **state) {
    (void)state;
    a_row_has_the_same_bits_wherever_it_stands(PRECISION_F32);
}

static void a_row_keeps_its_bits_in_bf16(void **state) {
    (void)state;
    a_row_has_the_same_bits_wherever_it_stands(PRECISION_BF16);
}

/* A sequence packed between others gets what it gets alone. */
static void a_segment_keeps_its_bits_among_others(void **state) {
    const struct segment together[] = {{0, 21, 0, 0}, {21, 58, 0, 0}, {58, 97, 0, 0}};
    const struct segment alone[] = {{0, 37, 0, 0}};
    struct backend *be = backend_with(2);
    struct rng rng = rng_make(8, 9);
    struct error err = {0};
    struct tensor q, k, v, out, lse, out_alone, lse_alone;
    float values[97 * 64], got[37 * 64], want[37 * 64];

    (void)state;
    struct tensor *all[] = {&q, &k, &v, &out, &out_alone};
    for (int i = 0; i < 5; i++) {
        ASSERT_OK(backend_tensor_take(be, DTYPE_F32, 97, 64, all[i], &err), err);
        for (int e = 0; e < 97 * 64; e++) {
            values[e] = (float)rng_normal(&rng);
        }
        ASSERT_OK(be->ops->upload(be, *all[i], values, &err), err);
    }
    ASSERT_OK(backend_tensor_take(be, DTYPE_F32, 97, 2, &lse, &err), err);
    ASSERT_OK(backend_tensor_take(be, DTYPE_F32, 97, 2, &lse_alone, &err), err);

    be->ops->attention_forward(be, out, lse, q, k, v, together, 3, 2, 2, 0.2f);
    be->ops->attention_forward(be, tensor_rows(out_alone, 0, 37), tensor_rows(lse_alone, 0, 37),
                               tensor_rows(q, 21, 37), tensor_rows(k, 21, 37),
                               tensor_rows(v, 21, 37), alone, 1, 2, 2, 0.2f);

    ASSERT_OK(be->ops->download(be, got, tensor_rows(out, 21, 37), &err), err);
    ASSERT_OK(be->ops->download(be, want, tensor_rows(out_alone, 0, 37), &err), err);
    assert_memory_equal(got, want, sizeof got);
    for (int i = 0; i < 5; i++) {
        backend_tensor_give(be, all[i]);
    }
    backend_tensor_give(be, &lse);
    backend_tensor_give(be, &lse_alone);
    be->ops->free(be);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_operator_repeats_its_bits),
        cmocka_unit_test(the_size_of_the_team_does_not_show),
        cmocka_unit_test(a_row_keeps_its_bits_in_f32),
        cmocka_unit_test(a_row_keeps_its_bits_in_bf16),
        cmocka_unit_test(a_segment_keeps_its_bits_among_others),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
