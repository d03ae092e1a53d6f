/* SPDX-License-Identifier: Apache-2.0
 *
 * bench_stream.c - reads a data set, numbers its ids in time order, and makes rows of it. */
#include "tests/model/bench_stream.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

#define LINE_BYTES 512

void bench_give_up(const char *what) {
    (void)fprintf(stderr, "bench: %s\n", what);
    exit(1);
}

/* ---- the file -------------------------------------------------------------------------------- */

static int by_time(const void *a, const void *b) {
    const struct event *x = a, *y = b;

    if (x->time != y->time) { return x->time < y->time ? -1 : 1; }
    return x->order - y->order;
}

/* user_id, item_id, rating, timestamp, separated by tabs; the first line names them. */
static void read_events(struct stream *stream, const char *path) {
    char line[LINE_BYTES];
    int capacity = 0;
    FILE *file = fopen(path, "r");
    if (file == NULL || fgets(line, sizeof line, file) == NULL) {
        bench_give_up("cannot read the file");
    }

    while (fgets(line, sizeof line, file) != NULL) {
        char *at = line;
        if (stream->count == capacity) {
            capacity = capacity > 0 ? 2 * capacity : 65536;
            void *events = memory_resize(stream->events, (size_t)capacity * sizeof *stream->events);
            if (events == NULL) { bench_give_up("no memory"); }
            stream->events = events;
        }
        struct event *event = &stream->events[stream->count];
        event->user_id = strtol(at, &at, 10);
        event->item_id = strtol(at, &at, 10);
        (void)strtod(at, &at); /* rating */
        event->time = strtod(at, &at);
        event->order = stream->count++;
    }
    (void)fclose(file);
    qsort(stream->events, (size_t)stream->count, sizeof *stream->events, by_time);
}

/* Numbers ids by first appearance; ids of the data sets used are small positive integers. */
static int number_ids(struct stream *stream, bool users) {
    long largest = 0;
    int next = 0;

    for (int n = 0; n < stream->count; n++) {
        long id = users ? stream->events[n].user_id : stream->events[n].item_id;
        if (id < 0 || id > 100000000) { bench_give_up("an id is no small number"); }
        largest = id > largest ? id : largest;
    }
    int *number = MEMORY_TAKE_ARRAY(int, largest + 1);
    if (number == NULL) { bench_give_up("no memory"); }
    for (int n = 0; n < stream->count; n++) {
        long id = users ? stream->events[n].user_id : stream->events[n].item_id;
        if (number[id] == 0) { number[id] = ++next; }
        if (users) {
            stream->events[n].user = number[id] - 1;
        } else {
            stream->events[n].item = number[id] - 1;
        }
    }
    memory_free(number);
    return next;
}

/* item_id, title, year, ...; the title becomes "title (year)". */
static void read_titles(struct stream *stream, const char *path) {
    char line[LINE_BYTES];
    FILE *file = fopen(path, "r");
    stream->titles = memory_take_zeroed((size_t)stream->items, BENCH_TITLE_BYTES);
    if (file == NULL || stream->titles == NULL) { bench_give_up("cannot read the titles"); }
    if (fgets(line, sizeof line, file) == NULL) { bench_give_up("the titles are empty"); }

    while (fgets(line, sizeof line, file) != NULL) {
        char *title = line;
        long id = strtol(line, &title, 10);
        char *year = *title == '\t' ? strchr(title + 1, '\t') : NULL;
        if (year == NULL) { continue; }
        *year++ = '\0';
        year[strcspn(year, "\t\n")] = '\0';
        for (int n = 0; n < stream->count; n++) {
            if (stream->events[n].item_id != id) { continue; }
            (void)snprintf(stream->titles[stream->events[n].item], BENCH_TITLE_BYTES,
                           "%.100s (%.8s)", title + 1, year);
            break;
        }
    }
    (void)fclose(file);
}

void bench_stream_open(struct stream *stream, const char *events, const char *items) {
    read_events(stream, events);
    stream->users = number_ids(stream, true);
    stream->items = number_ids(stream, false);
    stream->consumed = MEMORY_TAKE_ARRAY(uint32_t *, stream->users);
    stream->times = MEMORY_TAKE_ARRAY(double *, stream->users);
    stream->held = MEMORY_TAKE_ARRAY(int, stream->users);
    stream->visible = MEMORY_TAKE_ARRAY(int, BENCH_BATCH);
    stream->user_of = MEMORY_TAKE_ARRAY(int, BENCH_BATCH);
    int *wanted = MEMORY_TAKE_ARRAY(int, stream->users);
    if (stream->consumed == NULL || stream->times == NULL || wanted == NULL) {
        bench_give_up("memory");
    }
    for (int n = 0; n < stream->count; n++) {
        wanted[stream->events[n].user]++;
    }
    for (int u = 0; u < stream->users; u++) {
        stream->consumed[u] = MEMORY_TAKE_ARRAY(uint32_t, wanted[u]);
        stream->times[u] = MEMORY_TAKE_ARRAY(double, wanted[u]);
        if (stream->consumed[u] == NULL || stream->times[u] == NULL) { bench_give_up("no memory"); }
    }
    memory_free(wanted);
    if (items != NULL) { read_titles(stream, items); }
}

void bench_stream_close(struct stream *stream) {
    for (int u = 0; u < stream->users; u++) {
        memory_free(stream->consumed[u]);
        memory_free(stream->times[u]);
    }
    memory_free(stream->consumed);
    memory_free(stream->times);
    memory_free(stream->held);
    memory_free(stream->visible);
    memory_free(stream->user_of);
    memory_free(stream->titles);
    memory_free(stream->events);
}

/* ---- rows ------------------------------------------------------------------------------------ */

void bench_stream_row(struct stream *stream, int index, int at, struct training_row *row) {
    const struct event *event = &stream->events[index];
    int user = event->user, visible = stream->held[user];

    while (visible > 0 && stream->times[user][visible - 1] >= event->time) {
        visible--;
    }
    int window = visible < WINDOW_MAX ? visible : WINDOW_MAX;
    memset(row, 0, sizeof *row);
    row->seq = (uint64_t)index + 1;
    row->user_key = 1 + (uint64_t)user;
    row->item = (uint32_t)event->item;
    row->time_ms = (int64_t)(event->time * 1000);
    row->weight = 1.0F;
    row->sasrec_rate = 1.0F;
    row->marks = TRAINING_EVALUATE;
    row->window_count = (uint32_t)window;
    memcpy(row->window, stream->consumed[user] + visible - window,
           (size_t)window * sizeof row->window[0]);
    for (int n = 0; n < stream->held[user]; n++) {
        if (stream->consumed[user][n] == row->item) { row->repeat = true; }
    }
    stream->visible[at] = visible;
    stream->user_of[at] = user;
    stream->consumed[user][stream->held[user]] = row->item;
    stream->times[user][stream->held[user]++] = event->time;
}

static enum status count_items(void *context, uint64_t seq, int *ret_count, struct error *err) {
    (void)seq;
    (void)err;
    *ret_count = ((struct stream *)context)->items; /* the catalogue was imported first */
    return STATUS_OK;
}

static int ascending(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return (x > y) - (x < y);
}

static enum status exclusions(void *context, uint64_t seq, uint32_t *items, int max, int *ret_count,
                              struct error *err) {
    const struct stream *stream = context;
    int at = (int)(seq - stream->rows[0].seq);
    int count = stream->visible[at] < max ? stream->visible[at] : max;

    (void)err;
    memcpy(items, stream->consumed[stream->user_of[at]], (size_t)count * sizeof *items);
    qsort(items, (size_t)count, sizeof *items, ascending);
    *ret_count = count;
    return STATUS_OK;
}

static enum status item_title(void *context, uint32_t item, uint64_t seq, struct span *ret_title,
                              struct error *err) {
    const struct stream *stream = context;

    (void)seq;
    (void)err;
    *ret_title = stream->titles != NULL ? span_of(stream->titles[item]) : span_make(NULL, 0);
    return STATUS_OK;
}

static enum status title_changes(void *context, uint64_t after, uint64_t upto,
                                 enum status (*visit)(void *visit_context, uint32_t item,
                                                      struct span title, struct error *err),
                                 void *visit_context, struct error *err) {
    const struct stream *stream = context;

    if (after >= 1 || upto < 1 || stream->titles == NULL) { return STATUS_OK; }
    for (int i = 0; i < stream->items; i++) {
        enum status status = visit(visit_context, (uint32_t)i, span_of(stream->titles[i]), err);
        if (status != STATUS_OK) { return status; }
    }
    return STATUS_OK;
}

struct learner_catalogue bench_stream_catalogue(struct stream *stream) {
    return (struct learner_catalogue){
        .context = stream,
        .count = count_items,
        .title = item_title,
        .changes = title_changes,
        .exclusions = exclusions,
    };
}
