/* SPDX-License-Identifier: Apache-2.0
 *
 * test_cuda_ops.c - every operator of the CUDA backend, run by the executor, against the double
 * reference: the same list of cases as the CPU's.
 *
 * usage: test_cuda_ops [ORDER [NAME...]]
 * ORDER: ascending, descending, shuffled; NAME: only these operators, as op_cases.c calls them */
#include "tests/support/unit.h"

#include <stdio.h>
#include <stdlib.h>

#include "tests/cuda/cuda_host_control.h"
#include "tests/kernels/op_case.h"

static char **names; /* only these; none: all */
static int name_count;
static enum cuda_host_order order = CUDA_HOST_ASCENDING;

static bool wanted(const char *op) {
    for (int i = 0; i < name_count; i++) {
        if (strcmp(names[i], op) == 0) { return true; }
    }
    return name_count == 0;
}

static void run_cases(bool backward) {
    struct backend *be = NULL;
    struct error err = {0};
    char words[256] = "";
    int failed = 0, ran = 0;

    cuda_host_set_order(order, 1);
    ASSERT_OK(backend_cuda_new(0, &be, &err), err);
    for (int i = 0; i < op_case_count; i++) {
        if (!wanted(op_cases[i].op)) { continue; }
        double excess = backward ? op_check_backward(be, &op_cases[i], words, sizeof words)
                                 : op_check_forward(be, &op_cases[i], words, sizeof words);
        ASSERT_OK(be->ops->synchronise(be, &err), err);
        if (excess > 1.0) {
            print_error("%s: %.3g times the tolerance\n", words, excess);
            failed++;
        }
        ran++;
    }
    be->ops->free(be);
    assert_int_equal(failed, 0);
    assert_true(ran > 0);
    assert_true(cuda_host_guards_whole());
    assert_int_equal(cuda_host_device_bytes(), 0);
}

static void every_forward_equals_the_reference(void **state) {
    (void)state;
    run_cases(false);
}

static void every_backward_equals_central_differences(void **state) {
    (void)state;
    run_cases(true);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_forward_equals_the_reference),
        cmocka_unit_test(every_backward_equals_central_differences),
    };

    /* each tensor in a slab of its own, so that the sanitizers and guard zones see its end */
    if (setenv("ILORA_CUDA_SLAB_BYTES", "0", 1) != 0) { return 1; }
    if (argc > 1 && strcmp(argv[1], "descending") == 0) { order = CUDA_HOST_DESCENDING; }
    if (argc > 1 && strcmp(argv[1], "shuffled") == 0) { order = CUDA_HOST_SHUFFLED; }
    if (!cuda_host_is_there()) { return TEST_SKIPPED; }
    names = argv + 2;
    name_count = argc > 2 ? argc - 2 : 0;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
