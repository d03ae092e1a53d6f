/* SPDX-License-Identifier: Apache-2.0
 *
 * import_table.c - rows to events and items; times of any usual form to milliseconds. */
#include "ops/import_table.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/file.h"
#include "base/memory.h"
#include "ops/table_file.h"

#define ARENA_BLOCK_BYTES (256u * 1024u)
#define TIME_TEXT_BYTES   64u
#define FILES_MAX         64

enum status import_data_init(struct import_data *data, struct error *err) {
    memset(data, 0, sizeof *data);
    data->mapped = MEMORY_TAKE_ARRAY(struct span, FILES_MAX);
    if (data->mapped == NULL) { return error_set(err, STATUS_NO_MEMORY, "list of files"); }
    enum status status = arena_init_chained(&data->arena, ARENA_BLOCK_BYTES, err);
    if (status != STATUS_OK) { memory_free(data->mapped); }
    return status;
}

void import_data_free(struct import_data *data) {
    for (uint32_t i = 0; i < data->file_count; i++) {
        file_unmap(data->mapped[i]);
    }
    memory_free(data->mapped);
    memory_free(data->events);
    memory_free(data->items);
    arena_free(&data->arena);
    memset(data, 0, sizeof *data);
}

/* ---- times ---- */

/* The rule of the daemon's input: below 1e11 seconds, below 1e14 milliseconds, else
 * microseconds. */
static int64_t by_magnitude(double number) {
    double size = fabs(number);
    if (size < 1e11) { return (int64_t)llround(number * 1e3); }
    if (size < 1e14) { return (int64_t)llround(number); }
    return (int64_t)llround(number / 1e3);
}

static bool iso_time(const char *text, int64_t *ret_time_ms) {
    struct tm when = {0};
    const char *rest = strptime(text, "%Y-%m-%d", &when);
    if (rest == NULL) { return false; }
    int64_t milliseconds = 0;
    if (*rest == 'T' || *rest == ' ') {
        rest = strptime(rest + 1, "%H:%M:%S", &when);
        if (rest == NULL) { return false; }
        if (*rest == '.') {
            char *end = NULL;
            milliseconds = (int64_t)(strtod(rest, &end) * 1e3);
            rest = end;
        }
    }
    int64_t offset_s = 0;
    if (*rest == '+' || *rest == '-') {
        struct tm offset = {0};
        const char *end = strptime(rest + 1, "%H:%M", &offset);
        if (end == NULL || *end != '\0') { return false; }
        offset_s = (offset.tm_hour * 60 + offset.tm_min) * 60 * (*rest == '-' ? -1 : 1);
    } else if (*rest != 'Z' && *rest != '\0') {
        return false;
    }
    time_t seconds = timegm(&when);
    *ret_time_ms = ((int64_t)seconds - offset_s) * 1000 + milliseconds;
    return true;
}

bool import_time(struct span span, int64_t *ret_time_ms) {
    char text[TIME_TEXT_BYTES];
    double number = 0.0;
    if (span.size == 0 || span.size >= sizeof text) { return false; }
    if (span_real(span, &number) && fabs(number) < 1e18) {
        *ret_time_ms = by_magnitude(number);
        return true;
    }
    memcpy(text, span.data, span.size);
    text[span.size] = '\0';
    return iso_time(text, ret_time_ms);
}

/* ---- rows ---- */

static bool make_room(void **array, size_t count, size_t *capacity, size_t element_bytes) {
    if (count < *capacity) { return true; }
    size_t larger = *capacity == 0 ? 1024 : *capacity * 2;
    void *resized = memory_resize(*array, larger * element_bytes);
    if (resized == NULL) { return false; }
    *array = resized;
    *capacity = larger;
    return true;
}

/* Index of a wanted column; -1 when it is not wanted. MALFORMED: wanted and absent. */
static enum status find_column(const struct table_file *table, const char *name, int *ret_column,
                               struct error *err) {
    *ret_column = -1;
    if (name == NULL || name[0] == '\0') { return STATUS_OK; }
    *ret_column = table_column(table, name);
    if (*ret_column >= 0) { return STATUS_OK; }
    return error_set(err, STATUS_MALFORMED, "'%s': no column '%s'", table->path, name);
}

static struct span field_of(const struct span *fields, int column) {
    return column < 0 ? (struct span){NULL, 0} : fields[column];
}

static enum status open_file(struct import_data *data, const char *path,
                             const struct import_format *format, struct table_file *ret_table,
                             struct error *err) {
    if (data->file_count == FILES_MAX) {
        return error_set(err, STATUS_LIMIT, "more than %d files", FILES_MAX);
    }
    enum status status = table_open(path, format->delimiter, format->quotes, format->header,
                                    &data->arena, ret_table, err);
    if (status != STATUS_OK) { return status; }
    data->mapped[data->file_count++] = ret_table->bytes; /* now ours; fields point into it */
    return STATUS_OK;
}

static enum status add_event(struct import_data *data, const struct table_file *table,
                             const struct import_event *event, struct error *err) {
    void *events = data->events;
    if (event->user.size == 0 || event->item.size == 0) {
        return error_set(err, STATUS_MALFORMED, "'%s' line %" PRIu64 ": no user or no item",
                         table->path, table->line);
    }
    if (!make_room(&events, data->event_count, &data->event_capacity, sizeof *event)) {
        return error_set(err, STATUS_NO_MEMORY, "events of '%s'", table->path);
    }
    data->events = events;
    data->events[data->event_count++] = *event;
    return STATUS_OK;
}

enum status import_read_events(struct import_data *data, const char *path,
                               const struct import_format *format, struct error *err) {
    struct table_file table;
    struct span fields[TABLE_COLUMNS_MAX];
    int user = -1, item = -1, time = -1, strength = -1, type = -1, count = 0;
    enum status status = open_file(data, path, format, &table, err);
    if (status == STATUS_OK) { status = find_column(&table, format->user, &user, err); }
    if (status == STATUS_OK) { status = find_column(&table, format->item, &item, err); }
    if (status == STATUS_OK) { status = find_column(&table, format->time, &time, err); }
    if (status == STATUS_OK) { status = find_column(&table, format->strength, &strength, err); }
    if (status == STATUS_OK) { status = find_column(&table, format->type, &type, err); }
    while (status == STATUS_OK) {
        status = table_row(&table, fields, &count, err);
        if (status != STATUS_OK) { break; }
        struct import_event event = {.user = field_of(fields, user),
                                     .item = field_of(fields, item),
                                     .type = field_of(fields, type),
                                     .strength = field_of(fields, strength),
                                     .file = data->file_count - 1,
                                     .line = table.line};
        struct span time_text = field_of(fields, time);
        if (time >= 0 && !import_time(time_text, &event.time_ms)) {
            return error_set(err, STATUS_MALFORMED,
                             "'%s' line %" PRIu64 ": '%.*s' is no time (epoch seconds, "
                             "milliseconds, microseconds or ISO-8601)",
                             path, table.line, SPAN_ARG(time_text));
        }
        status = add_event(data, &table, &event, err);
    }
    return status == STATUS_NOT_FOUND ? STATUS_OK : status;
}

enum status import_read_items(struct import_data *data, const char *path,
                              const struct import_format *format, struct error *err) {
    struct table_file table;
    struct span fields[TABLE_COLUMNS_MAX];
    int item = -1, title = -1, count = 0;
    enum status status = open_file(data, path, format, &table, err);
    if (status == STATUS_OK) { status = find_column(&table, format->item, &item, err); }
    if (status == STATUS_OK) { status = find_column(&table, format->title, &title, err); }
    while (status == STATUS_OK) {
        status = table_row(&table, fields, &count, err);
        if (status != STATUS_OK) { break; }
        void *items = data->items;
        if (!make_room(&items, data->item_count, &data->item_capacity, sizeof *data->items)) {
            return error_set(err, STATUS_NO_MEMORY, "items of '%s'", path);
        }
        data->items = items;
        data->items[data->item_count++] =
            (struct import_item){field_of(fields, item), field_of(fields, title)};
    }
    return status == STATUS_NOT_FOUND ? STATUS_OK : status;
}

/* Files are read in order, so (file, line) keeps the order of equal times. */
static int compare_events(const void *a, const void *b) {
    const struct import_event *x = a, *y = b;
    if (x->time_ms != y->time_ms) { return x->time_ms < y->time_ms ? -1 : 1; }
    if (x->file != y->file) { return x->file < y->file ? -1 : 1; }
    return x->line < y->line ? -1 : x->line > y->line;
}

void import_sort(struct import_data *data) {
    if (data->event_count == 0) { return; }
    qsort(data->events, data->event_count, sizeof *data->events, compare_events);
}
