/* SPDX-License-Identifier: Apache-2.0
 *
 * test_ops.c - every operator of the CPU backend against the double reference, in every copy.
 * That the size of the team does not show is test_bits.c's. */
#include "tests/support/unit.h"

#include <stdio.h>

#include "tests/kernels/op_case.h"

/* Runs all cases with own loops of at most this instruction set. */
static void run_cases(const char *isa, bool backward) {
    struct backend *be = NULL;
    struct error err = {0};
    char words[256] = "";
    int failed = 0;

    ASSERT_OK(backend_cpu_new_with(2, isa, &be, &err), err);
    for (int i = 0; i < op_case_count; i++) {
        double excess = backward ? op_check_backward(be, &op_cases[i], words, sizeof words)
                                 : op_check_forward(be, &op_cases[i], words, sizeof words);
        if (excess > 1.0) {
            print_error("%s: %.3g times the tolerance\n", words, excess);
            failed++;
        }
    }
    be->ops->free(be);
    assert_int_equal(failed, 0);
}

static void every_forward_equals_the_reference(void **state) {
    run_cases(*state, false);
}

static void every_backward_equals_central_differences(void **state) {
    run_cases(*state, true);
}

static char base[] = "base", avx2[] = "avx2", avx512[] = "avx512";

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_prestate(every_forward_equals_the_reference, base),
        cmocka_unit_test_prestate(every_forward_equals_the_reference, avx2),
        cmocka_unit_test_prestate(every_forward_equals_the_reference, avx512),
        cmocka_unit_test_prestate(every_backward_equals_central_differences, base),
        cmocka_unit_test_prestate(every_backward_equals_central_differences, avx2),
        cmocka_unit_test_prestate(every_backward_equals_central_differences, avx512),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
