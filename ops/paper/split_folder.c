/* SPDX-License-Identifier: Apache-2.0
 *
 * split_folder.c - samples that somebody has cut already: history<TAB>next, row by row.
 *
 *   (empty) a      a sequence begins: a
 *   a       b      continues it: a b
 *   a b     c      a b c
 *   (empty) x      the next one: x
 */
#include <inttypes.h>

#include "base/file.h"
#include "base/memory.h"
#include "ops/paper/rooms.h"
#include "ops/table_file.h"

/* A row as item numbers. */
struct split_row {
    uint32_t *history; /* owns; oldest first */
    size_t count, capacity;
    uint32_t target;
};

static enum status find_item(const struct paper_build *build, struct span name, uint32_t *ret_item,
                             struct error *err) {
    if (paper_index_find(&build->names, name, ret_item)) { return STATUS_OK; }
    return error_set(err, STATUS_CONFIG, "item '%.*s' is not in items.tsv",
                     name.size < 64 ? (int)name.size : 64, (const char *)name.data);
}

static enum status parse_history(const struct paper_build *build, struct span text,
                                 struct split_row *row, struct error *err) {
    row->count = 0;
    for (size_t begin = 0; begin < text.size;) {
        const uint8_t *space = memchr(text.data + begin, ' ', text.size - begin);
        size_t end = space != NULL ? (size_t)(space - text.data) : text.size;
        void *history = row->history;
        if (!paper_make_room(&history, row->count, &row->capacity, sizeof *row->history)) {
            return error_set(err, STATUS_NO_MEMORY, "history of a row");
        }
        row->history = history;
        enum status status = find_item(build, span_make(text.data + begin, end - begin),
                                       &row->history[row->count], err);
        if (status != STATUS_OK) { return status; }
        row->count++;
        begin = end + 1;
    }
    return STATUS_OK;
}

static enum status parse_row(const struct paper_build *build, const struct span *fields, int count,
                             struct split_row *row, struct error *err) {
    if (count != 2) {
        return error_set(err, STATUS_CONFIG, "%d columns, expected history<TAB>next", count);
    }
    enum status status = parse_history(build, fields[0], row, err);
    if (status == STATUS_OK) { status = find_item(build, fields[1], &row->target, err); }
    if (status != STATUS_OK) { return status; }
    for (size_t i = 0; i < row->count; i++) {
        if (row->history[i] != row->target) { continue; }
        return error_set(err, STATUS_CONFIG,
                         "item '%.*s' is next and in its own history, expected one not seen "
                         "before",
                         SPAN_ARG(fields[1]));
    }
    return STATUS_OK;
}

/* True when the row's history is what the newest sequence ends with (files keep the last 10). */
static bool row_continues(const struct paper_build *build, const struct split_row *row) {
    const struct paper_split *split = build->split;
    if (split->sequence_count == 0 || row->count == 0) { return false; }
    size_t held = (size_t)split->sequences[split->sequence_count - 1].count;
    size_t known = held < PAPER_HISTORY_MAX ? held : PAPER_HISTORY_MAX;
    size_t given = row->count < PAPER_HISTORY_MAX ? row->count : PAPER_HISTORY_MAX;
    return known == given &&
           memcmp(split->sequence_items + build->sequence_item_count - known,
                  row->history + row->count - given, given * sizeof *row->history) == 0;
}

static enum status sequence_extend(struct paper_build *build, const struct split_row *row,
                                   struct error *err) {
    enum status status = STATUS_OK;
    if (!row_continues(build, row)) {
        status = paper_sequence_begin(build, err);
        for (size_t i = 0; i < row->count && status == STATUS_OK; i++) {
            status = paper_sequence_append(build, row->history[i], err);
        }
    }
    return status == STATUS_OK ? paper_sequence_append(build, row->target, err) : status;
}

static enum status read_rows(struct paper_build *build, struct table_file *table, bool sequences,
                             struct paper_part *part, struct split_row *row, struct error *err) {
    struct span fields[TABLE_COLUMNS_MAX];
    int count = 0;
    enum status status;
    while ((status = table_row(table, fields, &count, err)) == STATUS_OK) {
        status = parse_row(build, fields, count, row, err);
        if (status == STATUS_OK && sequences) { status = sequence_extend(build, row, err); }
        if (status == STATUS_OK && row->count >= PAPER_HISTORY_MIN) {
            status = paper_sample_add(part, row->history, row->count, row->target, err);
        }
        if (status != STATUS_OK) {
            return error_wrap(err, "'%s' line %" PRIu64, table->path, table->line);
        }
    }
    return status == STATUS_NOT_FOUND ? STATUS_OK : status;
}

static enum status read_part(struct paper_build *build, const char *folder, const char *name,
                             bool sequences, struct paper_part *part, struct error *err) {
    char path[FILE_PATH_BYTES_MAX];
    struct table_file table;
    struct split_row row = {0};
    enum status status = path_join(path, folder, name, err);
    if (status == STATUS_OK) {
        status = table_open(path, "\t", false, true, &build->split->text, &table, err);
    }
    if (status != STATUS_OK) { return status; }
    if (table.columns == 2 && span_equal(table.names[0], span_of("history")) &&
        span_equal(table.names[1], span_of("next"))) {
        status = read_rows(build, &table, sequences, part, &row, err);
    } else {
        status = error_set(err, STATUS_CONFIG, "'%s' line 1: expected the header history<TAB>next",
                           path);
    }
    memory_free(row.history);
    table_close(&table);
    return status;
}

enum status paper_split_folder_read(struct paper_build *build, const char *folder,
                                    struct error *err) {
    static const struct paper_items_form form = {.item = "item_id", .titles = {"title", NULL}};
    char path[FILE_PATH_BYTES_MAX];
    struct paper_split *split = build->split;
    enum status status = path_join(path, folder, "items.tsv", err);
    if (status == STATUS_OK) { status = paper_items_read(build, path, &form, err); }
    if (status == STATUS_OK) {
        status = read_part(build, folder, "train.tsv", true, &split->train, err);
    }
    if (status == STATUS_OK) {
        status = read_part(build, folder, "valid.tsv", false, &split->valid, err);
    }
    if (status == STATUS_OK) {
        status = read_part(build, folder, "test.tsv", false, &split->test, err);
    }
    return status;
}
