/* SPDX-License-Identifier: Apache-2.0
 *
 * table_file.c - one pass over the bytes, field by field. */
#include "ops/table_file.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"

enum status table_open(const char *path, const char *delimiter, bool quotes, bool header,
                       struct arena *arena, struct table_file *ret_table, struct error *err) {
    static const uint8_t mark[] = {0xEF, 0xBB, 0xBF};
    struct table_file table = {
        .path = path, .delimiter = delimiter, .quotes = quotes, .arena = arena};
    enum status status = file_map(path, &table.bytes, err);
    if (status != STATUS_OK) { return status; }
    if (table.bytes.size >= 3 && memcmp(table.bytes.data, mark, 3) == 0) { table.at = 3; }
    if (header) {
        int count = 0;
        status = table_row(&table, table.names, &count, err);
        if (status != STATUS_OK) {
            if (status == STATUS_NOT_FOUND) {
                status = error_set(err, STATUS_MALFORMED, "'%s': no header line", path);
            }
            table_close(&table);
            return status;
        }
        table.columns = count;
        for (int i = 0; i < count; i++) {
            const uint8_t *colon = memchr(table.names[i].data, ':', table.names[i].size);
            if (colon != NULL) { table.names[i].size = (size_t)(colon - table.names[i].data); }
        }
    }
    *ret_table = table;
    return STATUS_OK;
}

void table_close(struct table_file *table) {
    file_unmap(table->bytes);
    table->bytes = (struct span){NULL, 0};
}

int table_column(const struct table_file *table, const char *name) {
    for (int i = 0; i < table->columns; i++) {
        if (span_equal(table->names[i], span_of(name))) { return i; }
    }
    int64_t number = 0;
    if (span_integer(span_of(name), &number) && number >= 1 && number <= TABLE_COLUMNS_MAX) {
        return (int)number - 1;
    }
    return -1;
}

/* ISO-8859-1 to UTF-8: every byte above 127 becomes two. */
static enum status from_latin1(struct table_file *table, struct span *field, struct error *err) {
    if (span_is_utf8(*field)) { return STATUS_OK; }
    uint8_t *text = arena_take(table->arena, field->size * 2);
    if (text == NULL) { return error_set(err, STATUS_NO_MEMORY, "text of '%s'", table->path); }
    size_t size = 0;
    for (size_t i = 0; i < field->size; i++) {
        uint8_t byte = field->data[i];
        if (byte < 0x80) {
            text[size++] = byte;
        } else {
            text[size++] = (uint8_t)(0xC0 | byte >> 6);
            text[size++] = (uint8_t)(0x80 | (byte & 0x3F));
        }
    }
    *field = span_make(text, size);
    return STATUS_OK;
}

/* A field in quotes that begins at table->at (after the opening quote); ends after the closing
 * one. */
static enum status quoted_field(struct table_file *table, struct span *ret_field,
                                struct error *err) {
    const uint8_t *data = table->bytes.data;
    size_t begin = table->at, size = table->bytes.size, at = begin, doubled = 0;
    while (at < size && (data[at] != '"' || (at + 1 < size && data[at + 1] == '"'))) {
        if (data[at] == '"') {
            doubled++;
            at++;
        }
        at++;
    }
    if (at >= size) {
        return error_set(err, STATUS_MALFORMED, "'%s' line %" PRIu64 ": a quote is not closed",
                         table->path, table->line);
    }
    table->at = at + 1;
    *ret_field = span_make(data + begin, at - begin);
    if (doubled == 0) { return STATUS_OK; }
    uint8_t *text = arena_take(table->arena, at - begin);
    if (text == NULL) { return error_set(err, STATUS_NO_MEMORY, "text of '%s'", table->path); }
    size_t used = 0;
    for (size_t i = begin; i < at; i++) {
        text[used++] = data[i];
        if (data[i] == '"') { i++; }
    }
    *ret_field = span_make(text, used);
    return STATUS_OK;
}

static void plain_field(struct table_file *table, struct span *ret_field) {
    const uint8_t *data = table->bytes.data;
    size_t delimiter_size = strlen(table->delimiter), begin = table->at, at = begin;
    while (at < table->bytes.size && data[at] != '\n') {
        if (data[at] == (uint8_t)table->delimiter[0] && table->bytes.size - at >= delimiter_size &&
            memcmp(data + at, table->delimiter, delimiter_size) == 0) {
            break;
        }
        at++;
    }
    table->at = at;
    size_t end = at;
    if ((at == table->bytes.size || data[at] == '\n') && end > begin && data[end - 1] == '\r') {
        end--;
    }
    *ret_field = span_make(data + begin, end - begin);
}

/* True when another field follows; moves behind the delimiter or the end of the line. */
static bool next_field(struct table_file *table) {
    const uint8_t *data = table->bytes.data;
    size_t delimiter_size = strlen(table->delimiter);
    if (table->at < table->bytes.size && data[table->at] == '\r') { table->at++; }
    if (table->at >= table->bytes.size) { return false; }
    if (data[table->at] == '\n') {
        table->at++;
        return false;
    }
    table->at += delimiter_size;
    return true;
}

enum status table_row(struct table_file *table, struct span fields[TABLE_COLUMNS_MAX],
                      int *ret_count, struct error *err) {
    int count = 0;
    for (;;) {
        if (table->at >= table->bytes.size) { return STATUS_NOT_FOUND; }
        table->line++;
        if (table->bytes.data[table->at] != '\n') { break; }
        table->at++; /* an empty line */
    }
    bool more = true;
    while (more) {
        struct span field;
        enum status status = STATUS_OK;
        if (table->quotes && table->at < table->bytes.size && table->bytes.data[table->at] == '"') {
            table->at++;
            status = quoted_field(table, &field, err);
        } else {
            plain_field(table, &field);
        }
        if (status == STATUS_OK) { status = from_latin1(table, &field, err); }
        if (status != STATUS_OK) { return status; }
        if (count < TABLE_COLUMNS_MAX) { fields[count++] = field; }
        more = next_field(table);
    }
    for (int i = count; i < TABLE_COLUMNS_MAX; i++) {
        fields[i] = (struct span){NULL, 0};
    }
    *ret_count = count;
    return STATUS_OK;
}
