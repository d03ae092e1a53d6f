/* SPDX-License-Identifier: Apache-2.0
 *
 * status.c - the table of codes, and one-line error texts built from cause to intention.
 */
#include "base/status.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const struct {
    const char *name;
    enum status_class class;
} status_table[STATUS_COUNT] = {
    [STATUS_OK] = {"OK", STATUS_CLASS_OK},
    [STATUS_AGAIN] = {"AGAIN", STATUS_CLASS_RETRY},
    [STATUS_MALFORMED] = {"MALFORMED", STATUS_CLASS_SKIP},
    [STATUS_LIMIT] = {"LIMIT", STATUS_CLASS_SKIP},
    [STATUS_NOT_FOUND] = {"NOT_FOUND", STATUS_CLASS_SKIP},
    [STATUS_NO_MEMORY] = {"NO_MEMORY", STATUS_CLASS_RESTART},
    [STATUS_IO] = {"IO", STATUS_CLASS_RESTART},
    [STATUS_DEVICE_LOST] = {"DEVICE_LOST", STATUS_CLASS_RESTART},
    [STATUS_FENCED] = {"FENCED", STATUS_CLASS_RESTART},
    [STATUS_CORRUPT] = {"CORRUPT", STATUS_CLASS_STOP},
    [STATUS_CONFIG] = {"CONFIG", STATUS_CLASS_STOP},
};

static_assert(STATUS_CONFIG + 1 == STATUS_COUNT, "STATUS_COUNT must follow the enum");

enum status_class status_class(enum status status) {
    assert((int)status >= 0 && (int)status < STATUS_COUNT);
    return status_table[status].class;
}

const char *status_name(enum status status) {
    assert((int)status >= 0 && (int)status < STATUS_COUNT);
    return status_table[status].name;
}

/* Length of what vsnprintf wrote into ERROR_TEXT_BYTES, given what it returned. */
static size_t error_length(int returned) {
    if (returned < 0) { return 0; }
    return (size_t)returned < ERROR_TEXT_BYTES ? (size_t)returned : ERROR_TEXT_BYTES - 1;
}

/* Appends ": words" to text[ERROR_TEXT_BYTES], cut at the end when too long. */
static void error_append(char *text, size_t used, const char *words) {
    size_t left = ERROR_TEXT_BYTES - 1 - used;
    if (left < 2) { return; }

    memcpy(text + used, ": ", 2);
    size_t length = strnlen(words, left - 2);
    memcpy(text + used + 2, words, length);
    text[used + 2 + length] = '\0';
}

enum status error_set(struct error *err, enum status code, const char *format, ...) {
    assert((int)code > 0 && (int)code < STATUS_COUNT);
    if (err == NULL) { return code; }

    /* Through a local, so that err->text may itself be an argument. */
    char text[ERROR_TEXT_BYTES];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(text, sizeof text, format, arguments); /* cut at the end when too long */
    va_end(arguments);

    err->code = code;
    err->disk_full = false;
    memcpy(err->text, text, sizeof text);
    return code;
}

enum status error_wrap(struct error *err, const char *format, ...) {
    assert(err != NULL);
    assert((int)err->code > 0 && (int)err->code < STATUS_COUNT);

    char text[ERROR_TEXT_BYTES];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);

    error_append(text, error_length(length), err->text);
    memcpy(err->text, text, sizeof text);
    return err->code;
}

enum status error_errno(struct error *err, int errno_value, const char *format, ...) {
    enum status code = errno_value == ENOMEM ? STATUS_NO_MEMORY : STATUS_IO;
    if (err == NULL) { return code; }

    char text[ERROR_TEXT_BYTES];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);

    char reason[128];
    const char *words = strerror_r(errno_value, reason, sizeof reason); /* the GNU variant */
    error_append(text, error_length(length), words);
    err->code = code;
    err->disk_full = errno_value == ENOSPC || errno_value == EDQUOT;
    memcpy(err->text, text, sizeof text);
    return code;
}
