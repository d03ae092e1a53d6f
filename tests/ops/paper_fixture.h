/* SPDX-License-Identifier: Apache-2.0
 *
 * paper_fixture.h - folders of data for the offline protocol, written by the test.
 */
#ifndef TESTS_OPS_PAPER_FIXTURE_H
#define TESTS_OPS_PAPER_FIXTURE_H

#include "tests/support/unit.h"

#include <stdio.h>
#include <stdlib.h>

#include "ops/paper/data.h"
#include "tests/support/tmpdir.h"

/* Writes one file of the folder. */
static inline void paper_write(const struct tmpdir *folder, const char *name, const char *text) {
    struct error err;
    struct span bytes = span_of(text);
    ASSERT_OK(file_write(tmpdir_path(folder, name), &bytes, 1, &err), err);
}

/* items.tsv with items i0..i<count-1>, titles "Title 0" and so on. */
static inline void paper_write_items(const struct tmpdir *folder, int count) {
    struct buffer text = {0};
    ASSERT_STATUS(buffer_append_format(&text, "item_id\ttitle\n"), STATUS_OK);
    for (int i = 0; i < count; i++) {
        ASSERT_STATUS(buffer_append_format(&text, "i%d\tTitle %d\n", i, i), STATUS_OK);
    }
    ASSERT_STATUS(buffer_append(&text, "", 1), STATUS_OK);
    paper_write(folder, "items.tsv", (const char *)text.data);
    buffer_free(&text);
}

/* Opens a data set of $ILORA_DATA; skips the test when the variable is not set. */
static inline void paper_open_real(const char *name, struct paper_split *ret_split) {
    struct error err;
    char path[FILE_PATH_BYTES_MAX];
    const char *data = getenv("ILORA_DATA"); /* NOLINT(concurrency-mt-unsafe): one thread */
    if (data == NULL) { skip(); }
    ASSERT_OK(path_join(path, data, name, &err), err);
    ASSERT_OK(paper_split_read(path, ret_split, &err), err);
}

#endif
