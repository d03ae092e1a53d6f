/* SPDX-License-Identifier: Apache-2.0
 *
 * import_table.h - tables of other systems, read into items and events that can be sorted and sent.
 */
#ifndef OPS_IMPORT_TABLE_H
#define OPS_IMPORT_TABLE_H

#include "base/arena.h"
#include "base/bytes.h"
#include "base/status.h"

struct import_event {
    int64_t time_ms;
    struct span user, item;
    struct span type;     /* empty: none */
    struct span strength; /* empty: none; a number in text */
    uint32_t file;        /* index: part of the event's id */
    uint64_t line;        /* in it */
};

struct import_item {
    struct span item, title;
};

/* What a file is and which columns count; a name is that of the header, or a number from 1. */
struct import_format {
    const char *delimiter;
    bool quotes, header;
    const char *user, *item, *time, *strength, *type, *title; /* NULL or "": none */
};

struct import_data {
    struct arena arena;          /* text that was changed */
    struct import_event *events; /* owns */
    size_t event_count, event_capacity;
    struct import_item *items; /* owns */
    size_t item_count, item_capacity;
    struct span *mapped; /* owns: files that events and items point into */
    uint32_t file_count;
};

MUST_CHECK enum status import_data_init(struct import_data *data, struct error *err);
void import_data_free(struct import_data *data);
/* Appends the rows of one file as events, or as items. MALFORMED names file, line and column. */
MUST_CHECK enum status import_read_events(struct import_data *data, const char *path,
                                          const struct import_format *format, struct error *err);
MUST_CHECK enum status import_read_items(struct import_data *data, const char *path,
                                         const struct import_format *format, struct error *err);
/* By time, events of the same time in the order they stand in the files. */
void import_sort(struct import_data *data);
/* Epoch seconds, milliseconds or microseconds (by magnitude), or ISO-8601, as milliseconds; false
 * otherwise. */
bool import_time(struct span text, int64_t *ret_time_ms);

#endif
