/* SPDX-License-Identifier: Apache-2.0
 *
 * unit.h - cmocka with the headers it wants in front of it, and the project's own checks.
 *
 * cmocka.h does not include what it needs; a blank line keeps clang-format from sorting it up.
 */
#ifndef TESTS_SUPPORT_UNIT_H
#define TESTS_SUPPORT_UNIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/status.h"

#define TEST_SKIPPED 77 /* exit code that ctest shows as skipped */

/* The status is OK; prints the error's own words otherwise. err is a struct error lvalue. */
#define ASSERT_OK(status_expression, err)                                                         \
    do {                                                                                          \
        (err).text[0] = '\0';                                                                     \
        enum status status_of_check = (status_expression);                                        \
        if (status_of_check != STATUS_OK) {                                                       \
            fail_msg("%s: %s: %s", #status_expression, status_name(status_of_check), (err).text); \
        }                                                                                         \
    } while (0)

/* The status is exactly this one. */
#define ASSERT_STATUS(status_expression, expected) \
    assert_string_equal(status_name(status_expression), status_name(expected))

/* The text holds the part. */
#define ASSERT_CONTAINS(text, part)                                 \
    do {                                                            \
        if (strstr((text), (part)) == NULL) {                       \
            fail_msg("'%s' does not contain '%s'", (text), (part)); \
        }                                                           \
    } while (0)

#endif
