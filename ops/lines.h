/* SPDX-License-Identifier: Apache-2.0
 *
 * lines.h - lines of a file descriptor, with a limit, and with "nothing more right now" as an
 * answer.
 */
#ifndef OPS_LINES_H
#define OPS_LINES_H

#include "base/bytes.h"
#include "base/status.h"

#define LINE_BYTES_MAX (1024u * 1024u)

struct lines {
    int fd;
    struct buffer held; /* owns */
    size_t taken;       /* bytes of held already given out */
    bool ended;
    uint64_t number; /* of the line given last, from 1 */
};

void lines_init(struct lines *lines, int fd);
void lines_free(struct lines *lines);
/* The next line without its newline (and carriage return). AGAIN: none within timeout_ms (-1
 * waits); NOT_FOUND: the end; LIMIT: a line longer than LINE_BYTES_MAX. borrows: until the next
 * call. */
MUST_CHECK enum status lines_next(struct lines *lines, int timeout_ms, struct span *ret_line,
                                  struct error *err);

#endif
