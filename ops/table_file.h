/* SPDX-License-Identifier: Apache-2.0
 *
 * table_file.h - rows of a delimited text file: tabs, commas with quotes, "|" or "::".
 *
 * The file is mapped; a field is a span into it, or into the arena where quotes or an older
 * encoding had to be resolved (bytes that are not UTF-8 are taken for ISO-8859-1, as old data sets
 * are).
 */
#ifndef OPS_TABLE_FILE_H
#define OPS_TABLE_FILE_H

#include "base/arena.h"
#include "base/bytes.h"
#include "base/status.h"

#define TABLE_COLUMNS_MAX 64

struct table_file {
    const char *path;  /* borrows: until close */
    struct span bytes; /* mapped */
    size_t at;         /* next byte */
    const char *delimiter;
    bool quotes;         /* RFC 4180 */
    struct arena *arena; /* borrows: until close */
    uint64_t line;       /* of the row read last, from 1 */
    int columns;         /* of the header, 0 without one */
    struct span names[TABLE_COLUMNS_MAX];
};

/* header: the first line names the columns (a RecBole ":type" behind a name is dropped). */
MUST_CHECK enum status table_open(const char *path, const char *delimiter, bool quotes, bool header,
                                  struct arena *arena, struct table_file *ret_table,
                                  struct error *err);
void table_close(struct table_file *table);
/* Index of a column by name, or by number from 1; -1. */
int table_column(const struct table_file *table, const char *name);
/* The next row that is not empty; NOT_FOUND at the end; MALFORMED names the line. fields beyond
 * *ret_count are empty. */
MUST_CHECK enum status table_row(struct table_file *table, struct span fields[TABLE_COLUMNS_MAX],
                                 int *ret_count, struct error *err);

#endif
