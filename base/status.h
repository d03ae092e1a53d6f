/* SPDX-License-Identifier: Apache-2.0
 *
 * status.h - what went wrong, and who must act.
 *
 * Every function that can fail returns enum status and fills a struct error that lives on the
 * caller's stack. A status belongs to one class; only daemon/pipeline turns a class into an action:
 *
 *   class     codes                                   action
 *   retry     AGAIN                                   bounded exponential wait
 *   skip      MALFORMED LIMIT NOT_FOUND               this record to the dead-letter topic
 *   restart   NO_MEMORY IO DEVICE_LOST FENCED         stop clean, exit 75
 *   stop      CORRUPT CONFIG                          exit 78, a human is needed
 *
 * A wrapped error reads from intention to cause:
 *   "restoring snapshot 41: reading 'manifest.json': short read at byte 4096"
 */
#ifndef BASE_STATUS_H
#define BASE_STATUS_H

#include <stdbool.h>

#define MUST_CHECK __attribute__((warn_unused_result))
#define PRINTF_LIKE(format_index, first_index) \
    __attribute__((format(printf, format_index, first_index)))

enum status {
    STATUS_OK = 0,
    STATUS_AGAIN,       /* not now: wait and call again */
    STATUS_MALFORMED,   /* these bytes are not what they should be */
    STATUS_LIMIT,       /* a named limit would be passed */
    STATUS_NOT_FOUND,   /* there is no such thing */
    STATUS_NO_MEMORY,   /* host or device memory */
    STATUS_IO,          /* disk or network */
    STATUS_DEVICE_LOST, /* the GPU context is gone */
    STATUS_FENCED,      /* another process took our identity over */
    STATUS_CORRUPT,     /* durable state contradicts itself */
    STATUS_CONFIG,      /* a setting or an operator's input is wrong */
};
#define STATUS_COUNT 11

enum status_class {
    STATUS_CLASS_OK,
    STATUS_CLASS_RETRY,
    STATUS_CLASS_SKIP,
    STATUS_CLASS_RESTART,
    STATUS_CLASS_STOP,
};

#define ERROR_TEXT_BYTES 512u

struct error {
    enum status code;
    bool disk_full;              /* what failed found no room: waiting may cure it */
    char text[ERROR_TEXT_BYTES]; /* one line, NUL-terminated, cut at the end when too long */
};

/* The class of a status, see the table above. */
enum status_class status_class(enum status status);

/* "NO_MEMORY" and so on; static storage. */
const char *status_name(enum status status);

/* Sets err (may be NULL) to code and text. Returns code, so that `return error_set(...)` works. */
enum status error_set(struct error *err, enum status code, const char *format, ...)
    PRINTF_LIKE(3, 4);

/* Puts the caller's words in front: "words: old text". Returns err->code (err must not be NULL and
 * must hold a failure). */
enum status error_wrap(struct error *err, const char *format, ...) PRINTF_LIKE(2, 3);

/* As error_set, with ": strerror(errno)" appended and the code NO_MEMORY for ENOMEM, else IO;
 * disk_full for ENOSPC and EDQUOT. */
enum status error_errno(struct error *err, int errno_value, const char *format, ...)
    PRINTF_LIKE(3, 4);

#endif
