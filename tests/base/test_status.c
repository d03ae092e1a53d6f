/* SPDX-License-Identifier: Apache-2.0
 *
 * test_status.c - classes of codes and texts of errors.
 */
#include "base/status.h"

#include <errno.h>

#include "tests/support/unit.h"

static void every_code_has_the_class_of_the_table(void **state) {
    (void)state;
    static const enum status_class expected[STATUS_COUNT] = {
        [STATUS_OK] = STATUS_CLASS_OK,          [STATUS_AGAIN] = STATUS_CLASS_RETRY,
        [STATUS_MALFORMED] = STATUS_CLASS_SKIP, [STATUS_LIMIT] = STATUS_CLASS_SKIP,
        [STATUS_NOT_FOUND] = STATUS_CLASS_SKIP, [STATUS_NO_MEMORY] = STATUS_CLASS_RESTART,
        [STATUS_IO] = STATUS_CLASS_RESTART,     [STATUS_DEVICE_LOST] = STATUS_CLASS_RESTART,
        [STATUS_FENCED] = STATUS_CLASS_RESTART, [STATUS_CORRUPT] = STATUS_CLASS_STOP,
        [STATUS_CONFIG] = STATUS_CLASS_STOP,
    };
    for (int i = 0; i < STATUS_COUNT; i++) {
        assert_int_equal(status_class((enum status)i), expected[i]);
        assert_non_null(status_name((enum status)i));
    }
    assert_string_equal(status_name(STATUS_DEVICE_LOST), "DEVICE_LOST");
}

static void wrapping_reads_from_intention_to_cause(void **state) {
    (void)state;
    struct error err;

    ASSERT_STATUS(error_set(&err, STATUS_IO, "short read at byte %d", 4096), STATUS_IO);
    ASSERT_STATUS(error_wrap(&err, "reading '%s'", "manifest.json"), STATUS_IO);
    ASSERT_STATUS(error_wrap(&err, "restoring snapshot %d", 41), STATUS_IO);

    assert_string_equal(err.text,
                        "restoring snapshot 41: reading 'manifest.json': short read at byte 4096");
}

static void a_text_that_is_too_long_is_cut_at_the_end(void **state) {
    (void)state;
    struct error err;
    char words[2 * ERROR_TEXT_BYTES];
    memset(words, 'x', sizeof words);
    words[sizeof words - 1] = '\0';

    (void)error_set(&err, STATUS_IO, "%s", words);
    assert_int_equal(strlen(err.text), ERROR_TEXT_BYTES - 1);
    (void)error_wrap(&err, "front");
    assert_int_equal(strlen(err.text), ERROR_TEXT_BYTES - 1);
    assert_memory_equal(err.text, "front: xxx", 10);
    (void)error_wrap(&err, "%s", words);
    assert_int_equal(strlen(err.text), ERROR_TEXT_BYTES - 1);
}

static void an_error_may_quote_its_own_text(void **state) {
    (void)state;
    struct error err;

    (void)error_set(&err, STATUS_IO, "cause");
    (void)error_set(&err, STATUS_CONFIG, "saw (%s)", err.text);

    assert_string_equal(err.text, "saw (cause)");
    assert_int_equal(err.code, STATUS_CONFIG);
}

static void errno_names_the_reason_and_enomem_is_no_memory(void **state) {
    (void)state;
    struct error err;

    ASSERT_STATUS(error_errno(&err, ENOSPC, "writing '%s'", "a"), STATUS_IO);
    assert_string_equal(err.text, "writing 'a': No space left on device");
    ASSERT_STATUS(error_wrap(&err, "the state"), STATUS_IO);
    assert_true(err.disk_full); /* whoever reported it */
    ASSERT_STATUS(error_errno(&err, EIO, "writing 'a'"), STATUS_IO);
    assert_false(err.disk_full);
    ASSERT_STATUS(error_errno(&err, ENOMEM, "mapping"), STATUS_NO_MEMORY);
}

static void a_caller_without_an_error_still_gets_the_code(void **state) {
    (void)state;
    ASSERT_STATUS(error_set(NULL, STATUS_LIMIT, "ignored"), STATUS_LIMIT);
    ASSERT_STATUS(error_errno(NULL, EIO, "ignored"), STATUS_IO);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_code_has_the_class_of_the_table),
        cmocka_unit_test(wrapping_reads_from_intention_to_cause),
        cmocka_unit_test(a_text_that_is_too_long_is_cut_at_the_end),
        cmocka_unit_test(an_error_may_quote_its_own_text),
        cmocka_unit_test(errno_names_the_reason_and_enomem_is_no_memory),
        cmocka_unit_test(a_caller_without_an_error_still_gets_the_code),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
