/* SPDX-License-Identifier: Apache-2.0
 *
 * test_cuda_open.c - what the shipped binary says of CUDA on this machine: a card is opened, and
 * where there is none the caller is told so and may go on with the CPU. */
#include "tests/support/unit.h"

#include "kernels/backend.h"

static void a_machine_without_a_card_is_told_so(void **state) {
    struct backend *be = NULL;
    struct error err = {0};

    (void)state;
    enum status status = backend_cuda_new(0, &be, &err);
    if (status == STATUS_OK) {
        ASSERT_CONTAINS(be->profile, "cuda sm_");
        be->ops->free(be);
        return;
    }
    ASSERT_STATUS(status, STATUS_NOT_FOUND);
    assert_null(be);
    ASSERT_CONTAINS(err.text, "CUDA");
}

/* No machine has this many. */
static void a_card_that_is_not_there_is_refused(void **state) {
    struct backend *be = NULL;
    struct error err = {0};

    (void)state;
    ASSERT_STATUS(backend_cuda_new(4096, &be, &err), STATUS_NOT_FOUND);
    assert_null(be);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_machine_without_a_card_is_told_so),
        cmocka_unit_test(a_card_that_is_not_there_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
