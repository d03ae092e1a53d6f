/* SPDX-License-Identifier: Apache-2.0
 *
 * tmpdir.h - a folder that exists for one test.
 */
#ifndef TESTS_SUPPORT_TMPDIR_H
#define TESTS_SUPPORT_TMPDIR_H

#include "base/file.h"

struct tmpdir {
    char path[FILE_PATH_BYTES_MAX];
};

/* Makes a fresh folder under $TMPDIR or /tmp; fails the test when it cannot. */
void tmpdir_init(struct tmpdir *tmpdir);
/* Removes it with everything inside; `tmpdir` may be zeroed. */
void tmpdir_free(struct tmpdir *tmpdir);
/* "<folder>/<name>" into one of four rotating places of static memory: for one call's arguments. */
const char *tmpdir_path(const struct tmpdir *tmpdir, const char *name);

#endif
