/* SPDX-License-Identifier: Apache-2.0
 *
 * iloractl_import.c - data sets and exports of other systems, replayed into the topics.
 *
 * Titles go first, then events in the order of their times (stable), each with an id made of file
 * and line, so that importing twice teaches nothing twice (within the window of de-duplication). */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/file.h"
#include "base/json.h"
#include "base/memory.h"
#include "ops/batch.h"
#include "ops/command.h"
#include "ops/import_table.h"
#include "ops/lines.h"

#include <fcntl.h>

static const char help[] =
    "usage: iloractl import FORMAT FILE... [--items FILE] [--rate N] [--max N]\n"
    "\n"
    "formats:\n"
    "  recbole    X.inter, and X.item beside it or with --items\n"
    "  movielens  u.data, ratings.csv or ratings.dat; titles: u.item, movies.csv or movies.dat\n"
    "  gorse      feedback CSV (feedback_type,user_id,item_id,time_stamp) or JSON lines\n"
    "  metarank   JSON lines\n"
    "  csv        any delimited file with a header; say which columns count\n"
    "\n"
    "  --items FILE      titles\n"
    "  --rate N          N events a second (default: as fast as the stream takes them)\n"
    "  --max N           the first N events only\n"
    "  --items-to TOPIC  items or events (default items; events in strict mode)\n"
    "  --delimiter D     csv: default ','\n"
    "  --user, --item, --time, --strength, --type, --title COLUMN\n"
    "                    csv: names (or numbers from 1) of columns\n"
    "\n"
    "example: iloractl import recbole ml-100k.inter --rate 500\n";

static int run(const struct command_context *context, int argc, char **argv);
const struct command command_import = {"import", "replay a data set into the topics", help, run};

struct import {
    struct import_data data;
    struct batch *batch; /* owns */
    enum stream_topic items_topic;
    uint64_t max;
    char *const *files;    /* borrows: argv */
    const char *names[64]; /* base name of each file read, by index */
    struct buffer value;   /* owns: the record being built */
};

static const struct import_format recbole_events = {
    .delimiter = "\t", .header = true, .user = "user_id", .item = "item_id", .time = "timestamp"};
static const struct import_format recbole_items = {
    .delimiter = "\t", .header = true, .item = "item_id"};

static const char *base_name(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash == NULL ? path : slash + 1;
}

/* ---- which file is what ---- */

static enum status read_events(struct import *import, const char *path,
                               const struct import_format *format, struct error *err) {
    import->names[import->data.file_count] = base_name(path);
    return import_read_events(&import->data, path, format, err);
}

/* A title column is called so in one way or another; rating is there or not. */
static enum status read_recbole_items(struct import *import, const char *path, struct error *err) {
    static const char *const titles[] = {"movie_title", "title",        "name",
                                         "item_name",   "product_name", NULL};
    enum status status = STATUS_MALFORMED;
    for (int i = 0; titles[i] != NULL && status == STATUS_MALFORMED; i++) {
        struct import_format format = recbole_items;
        format.title = titles[i];
        status = import_read_items(&import->data, path, &format, err);
    }
    return status;
}

static enum status read_recbole(struct import *import, const char *path, const char *items,
                                struct error *err) {
    struct import_format format = recbole_events;
    char beside[FILE_PATH_BYTES_MAX];
    if (text_ends_with(path, ".item")) { return read_recbole_items(import, path, err); }
    format.strength = "rating";
    enum status status = read_events(import, path, &format, err);
    if (status == STATUS_MALFORMED && strstr(err->text, "'rating'") != NULL) {
        format.strength = NULL;
        status = read_events(import, path, &format, err);
    }
    if (status != STATUS_OK || items != NULL || !text_ends_with(path, ".inter")) { return status; }
    int size = snprintf(beside, sizeof beside, "%.*s.item", (int)(strlen(path) - 6), path);
    if (size < 0 || (size_t)size >= sizeof beside || !file_exists(beside)) { return STATUS_OK; }
    return read_recbole_items(import, beside, err);
}

static enum status read_movielens(struct import *import, const char *path, struct error *err) {
    static const struct {
        const char *name;
        bool items;
        struct import_format format;
    } files[] = {
        {"u.data",
         false,
         {.delimiter = "\t", .user = "1", .item = "2", .strength = "3", .time = "4"}},
        {"u.item", true, {.delimiter = "|", .item = "1", .title = "2"}},
        {"ratings.csv",
         false,
         {.delimiter = ",",
          .quotes = true,
          .header = true,
          .user = "userId",
          .item = "movieId",
          .strength = "rating",
          .time = "timestamp"}},
        {"movies.csv",
         true,
         {.delimiter = ",", .quotes = true, .header = true, .item = "movieId", .title = "title"}},
        {"ratings.dat",
         false,
         {.delimiter = "::", .user = "1", .item = "2", .strength = "3", .time = "4"}},
        {"movies.dat", true, {.delimiter = "::", .item = "1", .title = "2"}},
    };
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        if (!text_ends_with(path, files[i].name)) { continue; }
        return files[i].items ? import_read_items(&import->data, path, &files[i].format, err)
                              : read_events(import, path, &files[i].format, err);
    }
    return error_set(err, STATUS_MALFORMED,
                     "'%s': expected u.data, u.item, ratings.csv, movies.csv, ratings.dat or "
                     "movies.dat",
                     path);
}

static enum status read_gorse(struct import *import, const char *path, struct error *err) {
    static const struct import_format format = {.delimiter = ",",
                                                .quotes = true,
                                                .header = true,
                                                .user = "user_id",
                                                .item = "item_id",
                                                .type = "feedback_type",
                                                .time = "time_stamp"};
    return read_events(import, path, &format, err);
}

/* ---- sending ---- */

static enum status send_items(struct import *import, struct error *err) {
    enum status status = STATUS_OK;
    for (size_t i = 0; i < import->data.item_count && status == STATUS_OK; i++) {
        const struct import_item *item = &import->data.items[i];
        struct json_writer w;
        if (item->item.size == 0) { continue; }
        buffer_reset(&import->value);
        json_write_begin(&w, &import->value);
        json_write_object(&w, NULL);
        json_write_string(&w, "event", span_of("item"));
        json_write_string(&w, "item", item->item);
        json_write_string(&w, "title", item->title);
        json_write_object_end(&w);
        status = json_write_end(&w);
        if (status != STATUS_OK) { return error_set(err, status, "item record"); }
        status = batch_add(import->batch, import->items_topic, item->item,
                           buffer_span(&import->value), -1, err);
    }
    return status == STATUS_OK ? batch_send(import->batch, err) : status;
}

static enum status event_json(struct import *import, const struct import_event *event,
                              struct error *err) {
    char id[320];
    struct json_writer w;
    int size = snprintf(id, sizeof id, "%s:%" PRIu64, import->names[event->file], event->line);
    if (size < 0 || (size_t)size >= 256) { /* ids have at most 256 bytes */
        return error_set(err, STATUS_LIMIT, "the name of the file is too long for event ids");
    }
    buffer_reset(&import->value);
    json_write_begin(&w, &import->value);
    json_write_object(&w, NULL);
    json_write_string(&w, "id", span_of(id));
    json_write_string(&w, "user", event->user);
    json_write_string(&w, "item", event->item);
    if (event->time_ms != 0) { json_write_integer(&w, "timestamp", event->time_ms); }
    if (event->type.size > 0) { json_write_string(&w, "type", event->type); }
    if (event->strength.size > 0 && event->strength.size < 32) {
        char text[32];
        memcpy(text, event->strength.data, event->strength.size);
        text[event->strength.size] = '\0';
        json_write_real(&w, "value", strtod(text, NULL));
    }
    json_write_object_end(&w);
    enum status status = json_write_end(&w);
    return status == STATUS_OK ? status : error_set(err, status, "event");
}

static enum status send_events(struct import *import, struct error *err) {
    size_t count = import->data.event_count;
    enum status status = STATUS_OK;
    if (count > import->max) { count = import->max; }
    import->batch->expected = import->batch->sent + count;
    for (size_t i = 0; i < count && status == STATUS_OK; i++) {
        const struct import_event *event = &import->data.events[i];
        status = event_json(import, event, err);
        if (status != STATUS_OK) { break; }
        /* The event carries its own time; the record's is now, or a broker's retention would take
         * an old data set away at once. */
        status = batch_add(import->batch, STREAM_EVENTS, event->user, buffer_span(&import->value),
                           -1, err);
    }
    return status;
}

/* JSON lines go as they are: the daemon knows the names. Item records to the items topic. */
static enum status send_json_lines(struct import *import, const char *path, struct error *err) {
    static const char *const users[] = {"user", "userId", "UserId", "user_id", NULL};
    static const char *const items[] = {"item", "itemId", "ItemId", "item_id", NULL};
    struct lines lines;
    enum status status = STATUS_OK;
    uint64_t sent = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) { return error_set(err, STATUS_IO, "'%s' cannot be opened", path); }
    lines_init(&lines, fd);
    while (status == STATUS_OK && sent < import->max) {
        struct span line, kind = {NULL, 0}, key = {NULL, 0};
        struct json_value *value = NULL;
        status = lines_next(&lines, -1, &line, err);
        if (status != STATUS_OK) { break; }
        if (line.size == 0) { continue; }
        status = json_parse(line, &value, err);
        if (status != STATUS_OK) {
            status = error_wrap(err, "'%s' line %" PRIu64, path, lines.number);
            break;
        }
        (void)json_string(json_member(value, "event"), &kind); /* absent: an interaction */
        for (int i = 0; users[i] != NULL && key.data == NULL; i++) {
            (void)json_string(json_member(value, users[i]), &key); /* the next name otherwise */
        }
        bool is_item = span_equal(kind, span_of("item")) || key.data == NULL;
        for (int i = 0; items[i] != NULL && key.data == NULL; i++) {
            (void)json_string(json_member(value, items[i]), &key); /* no key otherwise */
        }
        status = batch_add(import->batch, is_item ? import->items_topic : STREAM_EVENTS, key, line,
                           -1, err);
        json_free(value);
        sent++;
    }
    lines_free(&lines);
    (void)close(fd);
    return status == STATUS_NOT_FOUND ? STATUS_OK : status;
}

/* ---- the command ---- */

static enum status read_file(struct import *import, const char *format, const char *path,
                             const char *items, const struct import_format *columns,
                             struct error *err) {
    if (strcmp(format, "recbole") == 0) { return read_recbole(import, path, items, err); }
    if (strcmp(format, "movielens") == 0) { return read_movielens(import, path, err); }
    if (strcmp(format, "csv") == 0) { return read_events(import, path, columns, err); }
    if (strcmp(format, "gorse") == 0 && text_ends_with(path, ".csv")) {
        return read_gorse(import, path, err);
    }
    if (strcmp(format, "metarank") == 0 || strcmp(format, "gorse") == 0) { return STATUS_OK; }
    return error_set(err, STATUS_MALFORMED,
                     "no format '%s': expected recbole, movielens, gorse, metarank or csv", format);
}

static enum status read_items_file(struct import *import, const char *format, const char *path,
                                   const struct import_format *columns, struct error *err) {
    if (strcmp(format, "recbole") == 0) { return read_recbole_items(import, path, err); }
    if (strcmp(format, "movielens") == 0) { return read_movielens(import, path, err); }
    if (strcmp(format, "gorse") == 0) {
        static const struct import_format gorse = {.delimiter = ",",
                                                   .quotes = true,
                                                   .header = true,
                                                   .item = "item_id",
                                                   .title = "description"};
        return import_read_items(&import->data, path, &gorse, err);
    }
    return import_read_items(&import->data, path, columns, err);
}

static enum status import_all(struct import *import, const char *format, int file_count,
                              const char *items, const struct import_format *columns,
                              struct error *err) {
    enum status status = STATUS_OK;
    for (int i = 0; i < file_count && status == STATUS_OK; i++) {
        status = read_file(import, format, import->files[i], items, columns, err);
    }
    if (status == STATUS_OK && items != NULL) {
        status = read_items_file(import, format, items, columns, err);
    }
    if (status != STATUS_OK) { return status; }
    import_sort(&import->data);
    double rate = import->batch->rate; /* titles are there before the first event, at once */
    import->batch->rate = 0.0;
    status = send_items(import, err);
    import->batch->rate = rate;
    if (import->batch->sent > 0) { import->batch->started_us = 0; }
    uint64_t items_sent = import->batch->sent;
    import->batch->sent = 0;
    if (status == STATUS_OK) { status = send_events(import, err); }
    bool json = strcmp(format, "metarank") == 0 || strcmp(format, "gorse") == 0;
    for (int i = 0; json && i < file_count && status == STATUS_OK; i++) {
        if (text_ends_with(import->files[i], ".csv")) { continue; }
        status = send_json_lines(import, import->files[i], err);
    }
    if (status == STATUS_OK) { status = batch_finish(import->batch, err); }
    if (status == STATUS_OK) {
        (void)fprintf(stderr, "%" PRIu64 " items and %" PRIu64 " events sent\n", items_sent,
                      import->batch->sent);
    }
    return status;
}

static int run(const struct command_context *context, int argc, char **argv) {
    struct options options = options_of(argc, argv);
    const char *items = options_text(&options, "--items", NULL);
    const char *items_to =
        options_text(&options, "--items-to", context->settings->engine_strict ? "events" : "items");
    double rate = options_real(&options, "--rate", 0.0, 0.001, 1e9);
    int64_t max = options_integer(&options, "--max", INT64_MAX, 1, INT64_MAX);
    struct import_format columns = {
        .delimiter = options_text(&options, "--delimiter", ","),
        .quotes = true,
        .header = true,
        .user = options_text(&options, "--user", "user"),
        .item = options_text(&options, "--item", "item"),
        .time = options_text(&options, "--time", "timestamp"),
        .strength = options_text(&options, "--strength", NULL),
        .type = options_text(&options, "--type", NULL),
        .title = options_text(&options, "--title", "title"),
    };
    if (!options_end(&options, &command_import, 2, 60)) { return COMMAND_USAGE; }

    struct error err = {0};
    struct stream_access access = {0};
    struct import *import = memory_take_zeroed(1, sizeof *import);
    if (import == NULL) { return COMMAND_FAILED; }
    import->max = (uint64_t)max;
    import->files = options.words + 1;
    enum status status =
        stream_access_topic(context->settings, items_to, &import->items_topic, &err);
    if (status == STATUS_OK) { status = import_data_init(&import->data, &err); }
    if (status == STATUS_OK) { status = stream_access_open(context->settings, &access, &err); }
    if (status == STATUS_OK) {
        import->batch = memory_take_zeroed(1, sizeof *import->batch);
        status = import->batch == NULL
                     ? error_set(&err, STATUS_NO_MEMORY, "records to send")
                     : batch_init(import->batch, &access, rate, isatty(STDERR_FILENO) == 1, &err);
    }
    if (status == STATUS_OK) {
        status = import_all(import, options.words[0], options.count - 1, items, &columns, &err);
    }
    if (import->batch != NULL) { batch_free(import->batch); }
    memory_free(import->batch);
    buffer_free(&import->value);
    import_data_free(&import->data);
    memory_free(import);
    stream_access_close(&access);
    return status == STATUS_OK ? COMMAND_DONE : command_failed(&command_import, &err);
}
