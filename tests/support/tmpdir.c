/* SPDX-License-Identifier: Apache-2.0
 *
 * tmpdir.c - mkdtemp and its removal.
 */
#include "tests/support/tmpdir.h"

#include <stdio.h>
#include <stdlib.h>

#include "tests/support/unit.h"

#define PATHS_AT_ONCE 4

void tmpdir_init(struct tmpdir *tmpdir) {
    const char *root = getenv("TMPDIR");
    if (root == NULL || root[0] == '\0') { root = "/tmp"; }
    int length = snprintf(tmpdir->path, sizeof tmpdir->path, "%s/ilora-test-XXXXXX", root);
    assert_true(length > 0 && (size_t)length < sizeof tmpdir->path);
    assert_non_null(mkdtemp(tmpdir->path));
}

void tmpdir_free(struct tmpdir *tmpdir) {
    if (tmpdir->path[0] == '\0') { return; }

    struct error err = {.code = STATUS_OK};
    ASSERT_OK(dir_remove(tmpdir->path, &err), err);
    tmpdir->path[0] = '\0';
}

const char *tmpdir_path(const struct tmpdir *tmpdir, const char *name) {
    static char paths[PATHS_AT_ONCE][FILE_PATH_BYTES_MAX];
    static int next;
    struct error err = {.code = STATUS_OK};
    char *path = paths[next++ % PATHS_AT_ONCE];
    ASSERT_OK(path_join(path, tmpdir->path, name, &err), err);
    return path;
}
