/* SPDX-License-Identifier: Apache-2.0
 *
 * test_backend.c - the backend as an object: memory, failures, dropout, the norm, many shapes. */
#include "tests/support/unit.h"

#include <math.h>

#include "base/fault.h"
#include "base/memory.h"
#include "base/rng.h"
#include "kernels/backend.h"

static int setup(void **state) {
    struct backend *be = NULL;
    struct error err = {0};

    ASSERT_OK(backend_cpu_new(2, &be, &err), err);
    *state = be;
    return 0;
}

static int teardown(void **state) {
    struct backend *be = *state;

    be->ops->free(be);
    return 0;
}

static struct tensor take(struct backend *be, int rows, int cols) {
    struct tensor t;
    struct error err = {0};

    ASSERT_OK(backend_tensor_take(be, DTYPE_F32, rows, cols, &t, &err), err);
    return t;
}

/* Normal numbers. The CPU's device memory is host memory: this file is the CPU's own. */
static struct tensor take_random(struct backend *be, int rows, int cols, uint64_t seed) {
    struct tensor t = take(be, rows, cols);
    struct rng rng = rng_make(seed, 1);
    float *x = t.data;

    for (int i = 0; i < rows * cols; i++) {
        x[i] = (float)rng_normal(&rng);
    }
    return t;
}

static void a_view_comes_back_as_it_was_sent(void **state) {
    struct backend *be = *state;
    struct error err = {0};
    struct tensor whole = take(be, 5, 9);
    float sent[6] = {1, 2, 3, 4, 5, 6}, got[6] = {0}, all[45];

    struct tensor view = tensor_cols(tensor_rows(whole, 1, 2), 4, 3);
    ASSERT_OK(be->ops->upload(be, view, sent, &err), err);
    ASSERT_OK(be->ops->download(be, got, view, &err), err);
    ASSERT_OK(be->ops->download(be, all, whole, &err), err);

    assert_memory_equal(sent, got, sizeof sent);
    float sum = 0.0f;
    for (int i = 0; i < 45; i++) {
        sum += all[i];
    }
    assert_true(sum == 21.0f); /* memory starts as zeros and only the view was written */
    backend_tensor_give(be, &whole);
}

static void the_profile_names_loops_products_and_threads(void **state) {
    struct backend *be = *state;

    assert_int_equal(be->threads, 2);
    ASSERT_CONTAINS(be->profile, "loops=");
    ASSERT_CONTAINS(be->profile, "products=");
    ASSERT_CONTAINS(be->profile, "threads=2");
}

/* ---- failure --------------------------------------------------------------------------------- */

/* One life of a backend: made, a weight packed in both directions, used, freed. */
static enum status live_once(struct error *err) {
    struct backend *be = NULL;
    struct weight *w = NULL;
    struct tensor x = {0}, y = {0};
    static float values[128 * 96];
    const struct segment segment = {0, 40, 0, 0};
    double norm;

    enum status status = backend_cpu_new(2, &be, err);
    if (status != STATUS_OK) { return status; }
    status = backend_tensor_take(be, DTYPE_F32, 40, 96, &x, err);
    if (status == STATUS_OK) { status = backend_tensor_take(be, DTYPE_F32, 40, 128, &y, err); }
    if (status == STATUS_OK) {
        status = be->ops->weight_make(be, values, 128, 96, true, PRECISION_BF16, &w, err);
    }
    if (status == STATUS_OK) {
        be->ops->linear_forward(be, y, x, w, tensor_none());
        be->ops->linear_backward(be, x, y, w, true);
        be->ops->product(be, tensor_cols(x, 0, 40), y, false, y, true, 1.0f, 0.0f);
        struct tensor lse = tensor_cols(y, 0, 6);
        be->ops->attention_forward(be, x, lse, x, x, x, &segment, 1, 6, 6, 1.0f);
        status = be->ops->squared_norm(be, &x, 1, &norm, err);
        be->ops->weight_free(be, w);
    }
    backend_tensor_give(be, &x);
    backend_tensor_give(be, &y);
    be->ops->free(be);
    return status;
}

/* Whichever allocation fails, the caller hears NO_MEMORY at the latest when it synchronises, and
 * nothing leaks (the address sanitizer watches). */
static void every_failed_allocation_is_reported(void **state) {
    struct error err = {0};
    int failed = 0;

    (void)state;
    for (long nth = 1; nth < 100; nth++) {
        fault_arm(FAULT_MEMORY, nth);
        enum status status = live_once(&err);
        bool fired = fault_fired(FAULT_MEMORY);
        fault_arm(FAULT_MEMORY, 0);
        if (!fired) { break; }
        ASSERT_STATUS(status, STATUS_NO_MEMORY);
        failed++;
    }
    assert_true(failed >= 6);
    ASSERT_OK(live_once(&err), err);
}

static void a_fault_is_returned_once(void **state) {
    struct backend *be = *state;
    struct error err = {0};
    struct tensor a = take(be, 300, 300), c = take(be, 300, 300);

    fault_arm(FAULT_MEMORY, 1);
    be->ops->product(be, c, a, false, a, true, 1.0f, 0.0f);
    fault_arm(FAULT_MEMORY, 0);

    ASSERT_STATUS(be->ops->synchronise(be, &err), STATUS_NO_MEMORY);
    ASSERT_CONTAINS(err.text, "scratch");
    ASSERT_OK(be->ops->synchronise(be, &err), err);
    be->ops->product(be, c, a, false, a, true, 1.0f, 0.0f);
    ASSERT_OK(be->ops->synchronise(be, &err), err);
    backend_tensor_give(be, &a);
    backend_tensor_give(be, &c);
}

/* ---- shapes ---------------------------------------------------------------------------------- */

/* More shapes than the cache of primitives holds: those that were thrown out are made again. */
static void products_outlive_their_cache(void **state) {
    struct backend *be = *state;
    struct error err = {0};
    struct tensor w = take_random(be, 96, 112, 5), x = take_random(be, 16, 500, 6);
    struct tensor first = take(be, 16, 96), again = take(be, 16, 96);
    struct weight *weight = NULL;

    ASSERT_OK(be->ops->weight_make(be, w.data, 96, 112, false, PRECISION_F32, &weight, &err), err);
    struct tensor x_112 = {x.data, 16, 112, 112, DTYPE_F32};
    be->ops->linear_forward(be, first, x_112, weight, tensor_none());
    for (int stride = 113; stride < 500; stride++) {
        struct tensor view = {x.data, 16, 112, stride, DTYPE_F32};
        be->ops->linear_forward(be, again, view, weight, tensor_none());
    }
    be->ops->linear_forward(be, again, x_112, weight, tensor_none());

    ASSERT_OK(be->ops->synchronise(be, &err), err);
    assert_memory_equal(first.data, again.data, 16 * 96 * sizeof(float));
    be->ops->weight_free(be, weight);
    backend_tensor_give(be, &w);
    backend_tensor_give(be, &x);
    backend_tensor_give(be, &first);
    backend_tensor_give(be, &again);
}

static void nothing_happens_to_no_rows(void **state) {
    struct backend *be = *state;
    struct error err = {0};
    struct tensor t = take_random(be, 1, 64, 3), empty = tensor_rows(t, 0, 0);
    struct tensor column = tensor_cols(empty, 0, 2);
    const struct segment nobody = {0, 0, 0, 0};
    float before = ((float *)t.data)[0];
    double norm = 1.0;

    be->ops->product(be, tensor_cols(empty, 0, 1), empty, false, t, true, 1.0f, 0.0f);
    be->ops->attention_forward(be, empty, column, empty, empty, empty, &nobody, 1, 2, 2, 1.0f);
    be->ops->attention_backward(be, empty, empty, empty, empty, empty, empty, empty, empty, column,
                                &nobody, 1, 2, 2, 1.0f);
    be->ops->log_softmax(be, empty);
    ASSERT_OK(be->ops->squared_norm(be, &empty, 1, &norm, &err), err);

    assert_true(norm == 0.0);
    assert_true(((float *)t.data)[0] == before);
    backend_tensor_give(be, &t);
}

/* ---- values ---------------------------------------------------------------------------------- */

static bool any_nan(struct tensor t) {
    for (int n = 0; n < t.rows; n++) {
        for (int c = 0; c < t.cols; c++) {
            if (isnan(((float *)t.data)[(size_t)n * (size_t)t.stride + (size_t)c])) { return true; }
        }
    }
    return false;
}

/* A step is thrown away when its loss or norm is not finite: so a NaN must reach them. */
static void a_nan_is_not_swallowed(void **state) {
    struct backend *be = *state;
    struct error err = {0};
    struct tensor x = take_random(be, 8, 96, 1), y = take(be, 8, 96), row = take(be, 1, 96);
    struct tensor kept = take(be, 8, 1), w = take_random(be, 96, 96, 2), logits = take(be, 8, 96);
    const struct segment segment = {0, 8, 0, 0};
    struct weight *weight = NULL;
    int32_t targets[8] = {0, 1, 2, 3, 4, 5, 6, 7};
    double norm = 0.0;

    ((float *)x.data)[37] = NAN;
    ASSERT_OK(be->ops->weight_make(be, w.data, 96, 96, false, PRECISION_BF16, &weight, &err), err);
    be->ops->linear_forward(be, y, x, weight, tensor_none());
    assert_true(any_nan(y));
    be->ops->rmsnorm_forward(be, y, kept, x, row, 1e-5f);
    assert_true(any_nan(y));
    be->ops->attention_forward(be, y, tensor_cols(logits, 0, 6), x, x, x, &segment, 1, 6, 6, 0.2f);
    assert_true(any_nan(y));
    be->ops->relu_forward(be, y, x);
    assert_true(any_nan(y));
    be->ops->copy(be, logits, x);
    be->ops->cross_entropy(be, kept, logits, tensor_over(targets, DTYPE_I32, 8, 1), kept);
    assert_true(any_nan(kept));
    ASSERT_OK(be->ops->squared_norm(be, &x, 1, &norm, &err), err);
    assert_true(isnan(norm));

    be->ops->weight_free(be, weight);
    struct tensor *all[] = {&x, &y, &row, &kept, &w, &logits};
    for (int i = 0; i < 6; i++) {
        backend_tensor_give(be, all[i]);
    }
}

static void the_norm_is_the_sum_of_all_squares(void **state) {
    struct backend *be = *state;
    struct error err = {0};
    struct tensor a = take_random(be, 257, 33, 4), b = take_random(be, 1, 7, 5);
    struct tensor both[] = {tensor_cols(a, 1, 30), b};
    double want = 0.0, got = 0.0;

    for (int n = 0; n < 257; n++) {
        for (int c = 1; c < 31; c++) {
            want += pow((double)((float *)a.data)[n * 33 + c], 2.0);
        }
    }
    for (int c = 0; c < 7; c++) {
        want += pow((double)((float *)b.data)[c], 2.0);
    }
    ASSERT_OK(be->ops->squared_norm(be, both, 2, &got, &err), err);

    assert_true(fabs(got - want) <= 1e-12 * want);
    backend_tensor_give(be, &a);
    backend_tensor_give(be, &b);
}

/* Softmax of huge, equal and hopeless logits. */
static void softmax_survives_extremes(void **state) {
    struct backend *be = *state;
    struct tensor x = take(be, 1, 40), logprob = take(be, 1, 1);
    int32_t target = 3;

    be->ops->fill(be, x, 3e38f);
    be->ops->log_softmax_at(be, logprob, x, tensor_over(&target, DTYPE_I32, 1, 1));
    assert_true(fabsf(*(float *)logprob.data + logf(40.0f)) < 1e-5f);

    be->ops->fill(be, x, 0.0f);
    ((float *)x.data)[3] = -1e30f;
    be->ops->log_softmax_at(be, logprob, x, tensor_over(&target, DTYPE_I32, 1, 1));
    assert_true(*(float *)logprob.data <= -1e30f);

    ((float *)x.data)[3] = 1000.0f;
    be->ops->log_softmax(be, x);
    assert_true(((float *)x.data)[3] == 0.0f && ((float *)x.data)[0] == -1000.0f);
    backend_tensor_give(be, &x);
    backend_tensor_give(be, &logprob);
}

/* ---- dropout --------------------------------------------------------------------------------- */

static void dropout_keeps_the_mean_and_repeats(void **state) {
    struct backend *be = *state;
    struct tensor x = take(be, 300, 101), y = take(be, 300, 140), z = take(be, 300, 101);
    struct tensor view = tensor_cols(y, 20, 101);
    int dropped = 0, differ = 0;

    be->ops->fill(be, x, 1.0f);
    be->ops->fill(be, y, 1.0f);
    be->ops->fill(be, z, 1.0f);
    be->ops->dropout(be, x, 0.25f, 42, 7);
    be->ops->dropout(be, view, 0.25f, 42, 7);
    be->ops->dropout(be, z, 0.25f, 42, 8);

    for (int n = 0; n < 300; n++) {
        for (int c = 0; c < 101; c++) {
            float at = ((float *)x.data)[n * 101 + c];
            assert_true(at == 0.0f || fabsf(at - 4.0f / 3.0f) < 1e-6f);
            assert_true(at == ((float *)view.data)[n * 140 + c]);
            dropped += at == 0.0f;
            differ += at != ((float *)z.data)[n * 101 + c];
        }
    }
    /* 30,300 draws: a standard deviation is 75 */
    assert_in_range(dropped, 7575 - 400, 7575 + 400);
    assert_in_range(differ, 11363 - 500, 11363 + 500);
    backend_tensor_give(be, &x);
    backend_tensor_give(be, &y);
    backend_tensor_give(be, &z);
}

static void no_dropout_changes_nothing(void **state) {
    struct backend *be = *state;
    struct tensor x = take_random(be, 3, 5, 1), y = take_random(be, 3, 5, 1);

    be->ops->dropout(be, x, 0.0f, 42, 7);

    assert_memory_equal(x.data, y.data, 15 * sizeof(float));
    backend_tensor_give(be, &x);
    backend_tensor_give(be, &y);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        CASE(a_view_comes_back_as_it_was_sent),
        CASE(the_profile_names_loops_products_and_threads),
        cmocka_unit_test(every_failed_allocation_is_reported),
        CASE(a_fault_is_returned_once),
        CASE(products_outlive_their_cache),
        CASE(nothing_happens_to_no_rows),
        CASE(a_nan_is_not_swallowed),
        CASE(the_norm_is_the_sum_of_all_squares),
        CASE(softmax_survives_extremes),
        CASE(dropout_keeps_the_mean_and_repeats),
        CASE(no_dropout_changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
