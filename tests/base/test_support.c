/* SPDX-License-Identifier: Apache-2.0
 *
 * test_support.c - the fixtures can fail: a check that always passes would hide every other bug.
 */
#include <math.h>
#include <stdio.h>
#include <unistd.h>

#include "base/memory.h"
#include "tests/support/fault.h"
#include "tests/support/tensor_check.h"
#include "tests/support/tmpdir.h"
#include "tests/support/unit.h"

/* The checks print on stderr what they find; here that is not news. */
static int quiet(void **state) {
    (void)state;
    return freopen("/dev/null", "w", stderr) == NULL;
}

static void a_tensor_check_sees_nan_infinity_one_element_and_the_whole(void **state) {
    (void)state;
    float ref[100];
    float a[100];
    for (int i = 0; i < 100; i++) {
        ref[i] = (float)(i + 1);
        a[i] = ref[i];
    }
    const struct tensor_tolerance tolerance = {1e-5, 1e-3, 1e-7};
    assert_true(tensor_check("same", a, ref, 100, tolerance));

    a[99] = NAN;
    assert_false(tensor_check("nan", a, ref, 100, tolerance));
    a[99] = INFINITY;
    assert_false(tensor_check("inf", a, ref, 100, tolerance));
    a[99] = ref[99] * 1.01f;
    assert_false(tensor_check("one", a, ref, 100, tolerance));
    assert_true(tensor_check("loose", a, ref, 100, (struct tensor_tolerance){0, 0.1, 1}));

    /* Every element inside its tolerance, all wrong the same way: only the NMSE sees it. */
    for (int i = 0; i < 100; i++) {
        a[i] = ref[i] * 1.0009f;
    }
    assert_false(tensor_check("bias", a, ref, 100, tolerance));
    assert_true(tensor_check_scaled("scaled", a, ref, 100, 1e-3));
    assert_false(tensor_check_scaled("scaled", a, ref, 100, 1e-4));

    ref[0] = NAN;
    a[0] = NAN;
    assert_false(tensor_check("reference", a, ref, 1, tolerance));
    const double exact = 1.0;
    const float one = 1.0f;
    assert_true(tensor_check_double("double", &one, &exact, 1, tolerance));
}

static void the_armed_operation_fails_once_and_only_of_its_kind(void **state) {
    (void)state;
    fault_arm(FAULT_MEMORY, 2);
    assert_false(fault_fires(FAULT_FILE));
    void *first = memory_take(8);
    assert_non_null(first);
    assert_false(fault_fired(FAULT_MEMORY));
    assert_null(memory_take(8));
    assert_true(fault_fired(FAULT_MEMORY));
    void *third = memory_resize(first, 16);
    assert_non_null(third);
    memory_free(third);
    fault_arm(FAULT_MEMORY, 0);
    assert_false(fault_fired(FAULT_MEMORY));
}

static void memory_refuses_products_that_overflow(void **state) {
    (void)state;
    assert_null(memory_take_zeroed(SIZE_MAX / 2, 4));
    assert_null(memory_take_aligned(64, SIZE_MAX - 1));
    assert_null(memory_take_copy("x", SIZE_MAX));
    void *empty = memory_take_zeroed(0, 4);
    assert_non_null(empty);
    memory_free(empty);
    memory_free(NULL);
}

static void a_temporary_folder_is_gone_afterwards(void **state) {
    (void)state;
    struct tmpdir tmpdir;
    struct error err;
    tmpdir_init(&tmpdir);
    char path[FILE_PATH_BYTES_MAX];
    memcpy(path, tmpdir.path, sizeof path);
    ASSERT_OK(dir_make(tmpdir_path(&tmpdir, "a/b"), &err), err);

    assert_true(file_exists(path));
    tmpdir_free(&tmpdir);
    assert_false(file_exists(path));
    tmpdir_free(&tmpdir);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_tensor_check_sees_nan_infinity_one_element_and_the_whole),
        cmocka_unit_test(the_armed_operation_fails_once_and_only_of_its_kind),
        cmocka_unit_test(memory_refuses_products_that_overflow),
        cmocka_unit_test(a_temporary_folder_is_gone_afterwards),
    };
    return cmocka_run_group_tests(tests, quiet, NULL);
}
