/* SPDX-License-Identifier: Apache-2.0
 *
 * test_cuda_backend.c - the CUDA backend as an object, run by the executor: memory, failures of
 * every call, bits, dropout, extremes. What test_backend.c says of the CPU holds here too. */
#include "tests/support/unit.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>

#include "base/fault.h"
#include "base/memory.h"
#include "base/rng.h"
#include "tests/cuda/cuda_host_control.h"
#include "tests/kernels/op_case.h"

#define ERROR_MEMORY  2   /* cudaErrorMemoryAllocation */
#define ERROR_NO_CARD 100 /* cudaErrorNoDevice */
#define ERROR_ADDRESS 700 /* cudaErrorIllegalAddress */

static int setup(void **state) {
    struct backend *be = NULL;
    struct error err = {0};

    cuda_host_set_order(CUDA_HOST_ASCENDING, 1);
    ASSERT_OK(backend_cuda_new(0, &be, &err), err);
    *state = be;
    return 0;
}

static int teardown(void **state) {
    struct backend *be = *state;

    be->ops->free(be);
    assert_int_equal(cuda_host_device_bytes(), 0);
    assert_int_equal(cuda_host_pinned_bytes(), 0);
    return 0;
}

/* Normal numbers in device memory and in the host's `values`. */
static struct tensor take_random(struct backend *be, int rows, int cols, uint64_t seed,
                                 float *values) {
    struct tensor t;
    struct error err = {0};
    struct rng rng = rng_make(seed, 1);

    ASSERT_OK(backend_tensor_take(be, DTYPE_F32, rows, cols, &t, &err), err);
    for (int i = 0; i < rows * cols; i++) {
        values[i] = (float)rng_normal(&rng);
    }
    ASSERT_OK(be->ops->upload(be, t, values, &err), err);
    return t;
}

/* ---- memory ---------------------------------------------------------------------------------- */

static void a_view_comes_back_as_it_was_sent(void **state) {
    struct backend *be = *state;
    struct error err = {0};
    struct tensor whole;
    float sent[6] = {1, 2, 3, 4, 5, 6}, got[6] = {0}, all[45], sum = 0.0f;

    ASSERT_OK(backend_tensor_take(be, DTYPE_F32, 5, 9, &whole, &err), err);
    struct tensor view = tensor_cols(tensor_rows(whole, 1, 2), 4, 3);
    ASSERT_OK(be->ops->upload(be, view, sent, &err), err);
    ASSERT_OK(be->ops->download(be, got, view, &err), err);
    ASSERT_OK(be->ops->download(be, all, whole, &err), err);

    assert_memory_equal(sent, got, sizeof sent);
    for (int i = 0; i < 45; i++) {
        sum += all[i];
    }
    assert_true(sum == 21.0f); /* memory starts as zeros and only the view was written */
    backend_tensor_give(be, &whole);
}

/* Rows longer than half a stage (4 MiB), and more rows than one half holds. */
static void what_is_larger_than_the_stage_goes_in_pieces(void **state) {
    struct backend *be = *state;
    struct error err = {0};
    static const int shapes[][2] = {{2, 2500000}, {3000, 1001}};

    for (int i = 0; i < 2; i++) {
        int rows = shapes[i][0], cols = shapes[i][1];
        size_t count = (size_t)rows * (size_t)cols;
        uint32_t *sent = MEMORY_TAKE_ARRAY(uint32_t, count),
                 *got = MEMORY_TAKE_ARRAY(uint32_t, count);
        struct tensor whole, view;

        assert_non_null(sent);
        assert_non_null(got);
        for (size_t e = 0; e < count; e++) {
            sent[e] = (uint32_t)(e * 2654435761u);
        }
        ASSERT_OK(backend_tensor_take(be, DTYPE_I32, rows, cols + 7, &whole, &err), err);
        view = tensor_cols(whole, 3, cols);
        ASSERT_OK(be->ops->upload(be, view, sent, &err), err);
        ASSERT_OK(be->ops->download(be, got, view, &err), err);
        assert_memory_equal(sent, got, count * sizeof *sent);
        backend_tensor_give(be, &whole);
        memory_free(sent);
        memory_free(got);
    }
}

/* With slabs: pieces do not overlap, keep what they hold, and are used again. */
static void pieces_of_a_slab_are_apart_and_used_again(void **state) {
    struct backend *be = NULL;
    struct error err = {0};
    struct tensor t[40];
    float value = 0.0f;

    (void)state;
    assert_int_equal(setenv("ILORA_CUDA_SLAB_BYTES", "65536", 1), 0);
    ASSERT_OK(backend_cuda_new(0, &be, &err), err);
    uint64_t before = cuda_host_device_bytes();
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 40; i++) {
            ASSERT_OK(backend_tensor_take(be, DTYPE_F32, 1, 1 + i * 37, &t[i], &err), err);
            assert_int_equal((uintptr_t)t[i].data % 256, 0);
            ASSERT_OK(be->ops->download(be, &value, tensor_cols(t[i], i * 37, 1), &err), err);
            assert_true(value == 0.0f); /* zeroed, also when used before */
            be->ops->fill(be, t[i], (float)(i + 1));
        }
        for (int i = 0; i < 40; i++) {
            ASSERT_OK(be->ops->download(be, &value, tensor_cols(t[i], i * 37, 1), &err), err);
            assert_true(value == (float)(i + 1));
        }
        for (int i = 0; i < 40; i++) {
            backend_tensor_give(be, &t[i * 7 % 40]);
        }
    }
    assert_true(cuda_host_device_bytes() - before <= 3 * 65536);
    ASSERT_OK(backend_tensor_take(be, DTYPE_F32, 1, 65536 / 4, &t[0], &err), err);
    assert_true(cuda_host_device_bytes() - before <= 3 * 65536); /* neighbours became one */
    be->ops->free(be);
    assert_int_equal(setenv("ILORA_CUDA_SLAB_BYTES", "0", 1), 0);
}

/* The table is nothing but its name and functions: none is missing. */
static void every_operator_is_there(void **state) {
    struct backend *be = *state;
    void *entry[sizeof *be->ops / sizeof(void *)];

    memcpy(entry, be->ops, sizeof entry);
    for (size_t i = 0; i < sizeof entry / sizeof entry[0]; i++) {
        if (entry[i] == NULL) { print_error("entry %zu of the table is missing\n", i); }
        assert_non_null(entry[i]);
    }
}

static void the_profile_names_the_card_and_the_products(void **state) {
    struct backend *be = *state;

    assert_string_equal(be->ops->name, "cuda");
    ASSERT_CONTAINS(be->profile, "cuda sm_80");
    ASSERT_CONTAINS(be->profile, "products=own");
}

/* ---- failure --------------------------------------------------------------------------------- */

/* Operators of every kind: rows, sums, products, attention, small arrays that are passed. */
static enum status use_once(struct backend *be, struct tensor x, struct tensor y,
                            struct tensor column, struct tensor row, struct error *err) {
    static float values[96 * 96];
    const struct segment segment = {0, 40, 0, 0};
    struct tensor lse = tensor_cols(tensor_rows(y, 40, 40), 0, 6), rows = tensor_rows(y, 0, 40);
    struct weight *w = NULL;
    double norm = 0.0;

    enum status status = be->ops->weight_make(be, values, 96, 96, true, PRECISION_BF16, &w, err);
    if (status != STATUS_OK) { return status; }
    be->ops->rmsnorm_forward(be, rows, column, x, row, 1e-5f);
    be->ops->sum_rows(be, row, rows);
    be->ops->linear_forward(be, rows, x, w, row);
    be->ops->linear_backward(be, x, rows, w, true);
    be->ops->product(be, tensor_cols(rows, 0, 40), x, false, x, true, 1.0f, 0.0f);
    be->ops->attention_forward(be, rows, lse, x, x, x, &segment, 1, 6, 6, 1.0f);
    be->ops->copy(be, x, rows);
    be->ops->dropout(be, x, 0.5f, 1, 2);
    be->ops->weight_free(be, w);
    status = be->ops->squared_norm(be, &x, 1, &norm, err);
    if (status == STATUS_OK) { status = be->ops->download(be, values, x, err); }
    if (status == STATUS_OK) { status = be->ops->synchronise(be, err); }
    return status;
}

/* One life of a backend: made, used, freed. ret_in_use: the armed call came before the results were
 * read; later calls only give back. */
static enum status live_once(bool *ret_in_use, struct error *err) {
    struct backend *be = NULL;
    struct tensor x = {0}, y = {0}, column = {0}, row = {0};
    static float values[40 * 96];

    enum status status = backend_cuda_new(0, &be, err);
    *ret_in_use = cuda_host_failed();
    if (status != STATUS_OK) { return status; }
    status = backend_tensor_take(be, DTYPE_F32, 40, 96, &x, err);
    if (status == STATUS_OK) { status = backend_tensor_take(be, DTYPE_F32, 96, 96, &y, err); }
    if (status == STATUS_OK) { status = backend_tensor_take(be, DTYPE_F32, 40, 1, &column, err); }
    if (status == STATUS_OK) { status = backend_tensor_take(be, DTYPE_F32, 1, 96, &row, err); }
    if (status == STATUS_OK) { status = be->ops->upload(be, x, values, err); }
    if (status == STATUS_OK) { status = use_once(be, x, y, column, row, err); }
    *ret_in_use = cuda_host_failed();
    backend_tensor_give(be, &x);
    backend_tensor_give(be, &y);
    backend_tensor_give(be, &column);
    backend_tensor_give(be, &row);
    be->ops->free(be);
    return status;
}

/* Whichever call of CUDA fails, the caller hears of it before it trusts a result, nothing leaks,
 * and calls that only give back may fail unheard. */
static void every_failed_call_is_reported(void **state) {
    struct error err = {0};
    int reported = 0;
    bool in_use = false;

    (void)state;
    for (long nth = 1; nth < 300; nth++) {
        cuda_host_fail(nth, ERROR_ADDRESS);
        enum status status = live_once(&in_use, &err);
        bool came = cuda_host_failed();
        cuda_host_fail(0, 0);
        if (!came) { break; }
        assert_int_equal(status != STATUS_OK, in_use);
        if (status != STATUS_OK) {
            ASSERT_STATUS(status, STATUS_DEVICE_LOST);
            ASSERT_CONTAINS(err.text, "illegal memory access");
            reported++;
        }
        assert_int_equal(cuda_host_device_bytes(), 0);
        assert_int_equal(cuda_host_pinned_bytes(), 0);
    }
    assert_true(reported >= 50);
    ASSERT_OK(live_once(&in_use, &err), err);
}

static void every_failed_allocation_is_reported(void **state) {
    struct error err = {0};
    int failed = 0;
    bool in_use = false;

    (void)state;
    for (long nth = 1; nth < 100; nth++) {
        fault_arm(FAULT_MEMORY, nth);
        enum status status = live_once(&in_use, &err);
        bool fired = fault_fired(FAULT_MEMORY);
        fault_arm(FAULT_MEMORY, 0);
        if (!fired) { break; }
        ASSERT_STATUS(status, STATUS_NO_MEMORY);
        failed++;
    }
    assert_true(failed >= 6);
}

static void errors_say_what_to_do(void **state) {
    struct backend *be = NULL;
    struct error err = {0};

    (void)state;
    cuda_host_fail(1, ERROR_NO_CARD);
    ASSERT_STATUS(backend_cuda_new(0, &be, &err), STATUS_NOT_FOUND);
    ASSERT_CONTAINS(err.text, "no CUDA-capable device");
    ASSERT_STATUS(backend_cuda_new(3, &be, &err), STATUS_NOT_FOUND);
    ASSERT_CONTAINS(err.text, "device 3 of 1");
    cuda_host_fail(9, ERROR_MEMORY);
    ASSERT_STATUS(backend_cuda_new(0, &be, &err), STATUS_NO_MEMORY);
    ASSERT_CONTAINS(err.text, "out of memory");
    cuda_host_fail(0, 0);
}

/* More than the card has: refused by name, and the backend lives on. */
static void too_much_memory_is_refused(void **state) {
    struct backend *be = *state;
    struct error err = {0};
    void *memory = NULL;

    ASSERT_STATUS(be->ops->memory_take(be, (size_t)1 << 40, &memory, &err), STATUS_NO_MEMORY);
    ASSERT_CONTAINS(err.text, "1099511627776");
    ASSERT_OK(be->ops->synchronise(be, &err), err);
}

/* The first failure stays, what comes after it is not launched, and it is told once. */
static void the_first_fault_is_kept_and_returned_once(void **state) {
    struct backend *be = *state;
    struct error err = {0};
    float values[12], got[12];
    struct tensor x = take_random(be, 3, 4, 1, values);

    cuda_host_fail(1, ERROR_ADDRESS);
    be->ops->fill(be, x, 1.0f);
    uint64_t launches = cuda_host_counts_now().launches;
    be->ops->fill(be, x, 2.0f);
    assert_int_equal(cuda_host_counts_now().launches, launches);

    ASSERT_STATUS(be->ops->synchronise(be, &err), STATUS_DEVICE_LOST);
    ASSERT_CONTAINS(err.text, "sheet_kernel");
    ASSERT_CONTAINS(err.text, "sheet.h:");
    ASSERT_OK(be->ops->download(be, got, x, &err), err);
    assert_memory_equal(got, values, sizeof got);
    cuda_host_fail(0, 0);
    backend_tensor_give(be, &x);
}

static void nothing_happens_to_no_rows(void **state) {
    struct backend *be = *state;
    struct error err = {0};
    float values[64], got[64];
    struct tensor t = take_random(be, 1, 64, 3, values), empty = tensor_rows(t, 0, 0);
    uint64_t launches = cuda_host_counts_now().launches;

    be->ops->fill(be, empty, 1.0f);
    be->ops->copy(be, empty, empty);
    be->ops->rmsnorm_forward(be, empty, tensor_cols(empty, 0, 1), empty, t, 1e-5f);
    be->ops->swiglu_forward(be, tensor_cols(empty, 0, 32), empty);
    be->ops->sum_rows(be, t, empty);
    be->ops->dropout(be, empty, 0.5f, 1, 2);
    be->ops->softmax_forward(be, empty, empty, 0.1f);
    ASSERT_OK(be->ops->upload(be, empty, values, &err), err);
    ASSERT_OK(be->ops->download(be, got, t, &err), err);

    assert_int_equal(cuda_host_counts_now().launches, launches);
    assert_memory_equal(got, values, sizeof got);
    backend_tensor_give(be, &t);
}

/* ---- bits ------------------------------------------------------------------------------------ */

/* Neither the order of threads and blocks nor a second run shows in a bit. */
static void the_order_of_threads_does_not_show(void **state) {
    struct backend *be = *state;
    int differ = 0;

    for (int i = 0; i < op_case_count; i++) {
        cuda_host_set_order(CUDA_HOST_ASCENDING, 1);
        uint64_t bits = op_bits(be, &op_cases[i]);
        for (uint64_t seed = 1; seed <= 2; seed++) {
            cuda_host_set_order(CUDA_HOST_SHUFFLED, seed);
            if (op_bits(be, &op_cases[i]) != bits) {
                print_error("%s N=%d C=%d\n", op_cases[i].op, op_cases[i].N, op_cases[i].C);
                differ++;
            }
        }
    }
    assert_int_equal(differ, 0);
}

/* The same numbers as the CPU's, bit for bit: both draw from Philox. */
static void dropout_drops_what_the_cpu_drops(void **state) {
    struct backend *be = *state, *cpu = NULL;
    struct error err = {0};
    static float values[33 * 101], got[33 * 101], want[33 * 101];
    struct tensor x = take_random(be, 33, 140, 5, values), y;

    ASSERT_OK(backend_cpu_new(1, &cpu, &err), err);
    ASSERT_OK(backend_tensor_take(cpu, DTYPE_F32, 33, 101, &y, &err), err);
    struct tensor view = tensor_cols(x, 20, 101);
    ASSERT_OK(be->ops->download(be, want, view, &err), err);
    ASSERT_OK(cpu->ops->upload(cpu, y, want, &err), err);
    be->ops->dropout(be, view, 0.25f, 0x123456789abcdefu, 0xfedcba987654321u);
    cpu->ops->dropout(cpu, y, 0.25f, 0x123456789abcdefu, 0xfedcba987654321u);

    ASSERT_OK(be->ops->download(be, got, view, &err), err);
    ASSERT_OK(cpu->ops->download(cpu, want, y, &err), err);
    assert_memory_equal(got, want, sizeof got);
    be->ops->dropout(be, view, 0.0f, 42, 7);
    ASSERT_OK(be->ops->download(be, got, view, &err), err);
    assert_memory_equal(got, want, sizeof got);
    backend_tensor_give(be, &x);
    backend_tensor_give(cpu, &y);
    cpu->ops->free(cpu);
}

/* A step is thrown away when its loss or norm is not finite: so a NaN must reach them. */
static void a_nan_is_not_swallowed(void **state) {
    struct backend *be = *state;
    struct error err = {0};
    float values[8 * 96], got[8 * 96];
    struct tensor x = take_random(be, 8, 96, 1, values), y = take_random(be, 8, 96, 2, values);
    struct tensor row = take_random(be, 1, 96, 3, values),
                  column = take_random(be, 8, 1, 4, values);

    be->ops->fill(be, tensor_cols(tensor_rows(x, 3, 1), 37, 1), NAN);
    for (int op = 0; op < 6; op++) {
        be->ops->copy(be, y, x);
        if (op == 0) { be->ops->rmsnorm_forward(be, y, column, x, row, 1e-5f); }
        if (op == 1) { be->ops->relu_forward(be, y, x); }
        if (op == 2) { be->ops->gelu_forward(be, y, x); }
        if (op == 3) { be->ops->softmax_forward(be, y, x, 0.05f); }
        if (op == 4) { be->ops->axpby(be, y, 2.0f, x, 0.0f); }
        if (op == 5) { be->ops->layernorm_forward(be, y, column, column, x, row, row, 1e-5f); }
        ASSERT_OK(be->ops->download(be, got, y, &err), err);
        bool nan = false;
        for (int i = 0; i < 8 * 96; i++) {
            nan = nan || isnan(got[i]);
        }
        assert_true(nan);
    }
    backend_tensor_give(be, &x);
    backend_tensor_give(be, &y);
    backend_tensor_give(be, &row);
    backend_tensor_give(be, &column);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        CASE(a_view_comes_back_as_it_was_sent),
        CASE(what_is_larger_than_the_stage_goes_in_pieces),
        cmocka_unit_test(pieces_of_a_slab_are_apart_and_used_again),
        CASE(every_operator_is_there),
        CASE(the_profile_names_the_card_and_the_products),
        cmocka_unit_test(every_failed_call_is_reported),
        cmocka_unit_test(every_failed_allocation_is_reported),
        cmocka_unit_test(errors_say_what_to_do),
        CASE(too_much_memory_is_refused),
        CASE(the_first_fault_is_kept_and_returned_once),
        CASE(nothing_happens_to_no_rows),
        CASE(the_order_of_threads_does_not_show),
        CASE(dropout_drops_what_the_cpu_drops),
        CASE(a_nan_is_not_swallowed),
    };

    if (setenv("ILORA_CUDA_SLAB_BYTES", "0", 1) != 0) { return 1; }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
