/* SPDX-License-Identifier: Apache-2.0
 *
 * lines.c - reads ahead in large pieces, gives out line by line. */
#include "ops/lines.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#define READ_BYTES (64u * 1024u)

void lines_init(struct lines *lines, int fd) {
    memset(lines, 0, sizeof *lines);
    lines->fd = fd;
    lines->held.limit = LINE_BYTES_MAX + 2 * READ_BYTES;
}

void lines_free(struct lines *lines) {
    buffer_free(&lines->held);
}

/* One line of what is held; false when its end is not there yet. */
static bool take_line(struct lines *lines, struct span *ret_line) {
    size_t size = lines->held.size - lines->taken;
    if (size == 0) { return false; }
    const uint8_t *begin = lines->held.data + lines->taken;
    const uint8_t *end = memchr(begin, '\n', size);
    if (end == NULL && !lines->ended) { return false; }
    size_t length = end == NULL ? size : (size_t)(end - begin);
    lines->taken += end == NULL ? size : length + 1;
    if (length > 0 && begin[length - 1] == '\r') { length--; }
    *ret_line = span_make(begin, length);
    lines->number++;
    return true;
}

static enum status read_more(struct lines *lines, struct error *err) {
    if (lines->taken > 0) {
        lines->held.size -= lines->taken;
        memmove(lines->held.data, lines->held.data + lines->taken, lines->held.size);
        lines->taken = 0;
    }
    if (lines->held.size > LINE_BYTES_MAX) {
        return error_set(err, STATUS_LIMIT, "line %" PRIu64 " is longer than %u bytes",
                         lines->number + 1, LINE_BYTES_MAX);
    }
    enum status status = buffer_reserve(&lines->held, READ_BYTES);
    if (status != STATUS_OK) { return error_set(err, status, "room for a line"); }
    ssize_t got = read(lines->fd, lines->held.data + lines->held.size, READ_BYTES);
    if (got < 0 && errno == EINTR) { return STATUS_OK; }
    if (got < 0) { return error_errno(err, errno, "reading lines"); }
    lines->held.size += (size_t)got;
    lines->ended = got == 0;
    return STATUS_OK;
}

enum status lines_next(struct lines *lines, int timeout_ms, struct span *ret_line,
                       struct error *err) {
    for (;;) {
        if (take_line(lines, ret_line)) { return STATUS_OK; }
        if (lines->ended) { return STATUS_NOT_FOUND; }
        if (timeout_ms >= 0) {
            struct pollfd fd = {.fd = lines->fd, .events = POLLIN};
            if (poll(&fd, 1, timeout_ms) == 0) { return STATUS_AGAIN; }
        }
        enum status status = read_more(lines, err);
        if (status != STATUS_OK) { return status; }
    }
}
