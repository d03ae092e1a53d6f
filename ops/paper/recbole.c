/* SPDX-License-Identifier: Apache-2.0
 *
 * recbole.c - interactions of a RecBole data set, sorted by time, cut 8 : 1 : 1 by user.
 *
 *   events by time ▸ users (first sight gives the number) ▸ each user's items, the first time each
 *   ▸ users by the time of their last item ▸ | 8/10 train | 1/10 valid | 1/10 test |
 */
#include <inttypes.h>
#include <stdlib.h>

#include "base/memory.h"
#include "ops/import_table.h"
#include "ops/paper/rooms.h"

#define USER_ITEMS_MIN (PAPER_HISTORY_MIN + 1) /* fewer give no sample */

struct recbole_user {
    size_t begin, count; /* of items[] */
    int64_t last_ms;     /* time of the last item */
    uint32_t number;
};

struct recbole {
    struct import_data data;
    struct paper_index users;
    uint32_t *event_users;     /* owns; by event */
    uint32_t *event_items;     /* owns; by event */
    struct recbole_user *list; /* owns; by user, then sorted */
    uint32_t *items;           /* owns; grouped by user, each group by time */
    uint32_t *seen_by;         /* owns; by item: the user that was last seen with it, + 1 */
};

static void recbole_free(struct recbole *recbole) {
    import_data_free(&recbole->data);
    paper_index_free(&recbole->users);
    memory_free(recbole->event_users);
    memory_free(recbole->event_items);
    memory_free(recbole->list);
    memory_free(recbole->items);
    memory_free(recbole->seen_by);
}

/* Users and items as numbers. */
static enum status number_events(const struct paper_build *build, const char *path,
                                 struct recbole *recbole, struct error *err) {
    const struct import_data *data = &recbole->data;
    recbole->event_users = MEMORY_TAKE_ARRAY(uint32_t, data->event_count + 1);
    recbole->event_items = MEMORY_TAKE_ARRAY(uint32_t, data->event_count + 1);
    recbole->items = MEMORY_TAKE_ARRAY(uint32_t, data->event_count + 1);
    recbole->seen_by = MEMORY_TAKE_ARRAY(uint32_t, build->split->item_count + 1);
    if (recbole->event_users == NULL || recbole->event_items == NULL || recbole->items == NULL ||
        recbole->seen_by == NULL) {
        return error_set(err, STATUS_NO_MEMORY, "events of '%s'", path);
    }
    for (size_t i = 0; i < data->event_count; i++) {
        const struct import_event *event = &data->events[i];
        bool fresh = false;
        enum status status =
            paper_index_add(&recbole->users, event->user, &recbole->event_users[i], &fresh, err);
        if (status != STATUS_OK) { return status; }
        if (!paper_index_find(&build->names, event->item, &recbole->event_items[i])) {
            return error_set(err, STATUS_CONFIG,
                             "'%s' line %" PRIu64 ": item '%.*s' is not in the *.item file", path,
                             event->line, SPAN_ARG(event->item));
        }
    }
    return STATUS_OK;
}

/* Each user's items in order of time; what a user had before is left out. */
static enum status group_by_user(struct recbole *recbole, struct error *err) {
    const struct import_data *data = &recbole->data;
    size_t user_count = recbole->users.count;
    size_t begin = 0;
    recbole->list = MEMORY_TAKE_ARRAY(struct recbole_user, user_count + 1);
    size_t *next = MEMORY_TAKE_ARRAY(size_t, user_count + 1);
    size_t *order = MEMORY_TAKE_ARRAY(size_t, data->event_count + 1); /* events by user */
    if (recbole->list == NULL || next == NULL || order == NULL) {
        memory_free(next);
        memory_free(order);
        return error_set(err, STATUS_NO_MEMORY, "users");
    }
    for (size_t i = 0; i < data->event_count; i++) {
        next[recbole->event_users[i] + 1]++;
    }
    for (size_t u = 0; u < user_count; u++) {
        next[u + 1] += next[u];
    }
    for (size_t i = 0; i < data->event_count; i++) {
        order[next[recbole->event_users[i]]++] = i;
    }
    for (size_t at = 0; at < data->event_count; at++) {
        uint32_t number = recbole->event_users[order[at]];
        uint32_t item = recbole->event_items[order[at]];
        struct recbole_user *user = &recbole->list[number];
        if (user->count == 0) { *user = (struct recbole_user){begin, 0, 0, number}; }
        if (recbole->seen_by[item] == number + 1) { continue; }
        recbole->seen_by[item] = number + 1;
        recbole->items[begin++] = item;
        user->count++;
        user->last_ms = data->events[order[at]].time_ms;
    }
    memory_free(next);
    memory_free(order);
    return STATUS_OK;
}

static int compare_users(const void *a, const void *b) {
    const struct recbole_user *x = a;
    const struct recbole_user *y = b;
    if (x->last_ms != y->last_ms) { return x->last_ms < y->last_ms ? -1 : 1; }
    return x->number < y->number ? -1 : x->number > y->number;
}

static enum status add_training_user(struct paper_build *build, const uint32_t *items, size_t count,
                                     struct error *err) {
    enum status status = paper_sequence_begin(build, err);
    for (size_t i = 0; i < count && status == STATUS_OK; i++) {
        status = paper_sequence_append(build, items[i], err);
        if (status != STATUS_OK || i < PAPER_HISTORY_MIN) { continue; }
        status = paper_sample_add(&build->split->train, items, i, items[i], err);
    }
    return status;
}

static enum status cut_users(struct paper_build *build, struct recbole *recbole,
                             struct error *err) {
    struct paper_split *split = build->split;
    size_t count = 0; /* users that can give a sample */
    for (size_t u = 0; u < recbole->users.count; u++) {
        if (recbole->list[u].count >= USER_ITEMS_MIN) { recbole->list[count++] = recbole->list[u]; }
    }
    qsort(recbole->list, count, sizeof *recbole->list, compare_users);
    size_t train_end = count * 8 / 10;
    size_t valid_end = count * 9 / 10;
    for (size_t u = 0; u < count; u++) {
        const uint32_t *items = recbole->items + recbole->list[u].begin;
        size_t last = recbole->list[u].count - 1;
        struct paper_part *part = u < valid_end ? &split->valid : &split->test;
        enum status status = u < train_end ? add_training_user(build, items, last + 1, err)
                                           : paper_sample_add(part, items, last, items[last], err);
        if (status != STATUS_OK) { return status; }
    }
    return STATUS_OK;
}

enum status paper_recbole_read(struct paper_build *build, const char *inter_path,
                               const char *item_path, struct error *err) {
    static const struct paper_items_form items_form = {
        .item = "item_id",
        .titles = {"movie_title", "title", "name", NULL},
        .articles_behind = true};
    static const struct import_format events_form = {.delimiter = "\t",
                                                     .header = true,
                                                     .user = "user_id",
                                                     .item = "item_id",
                                                     .time = "timestamp"};
    struct recbole recbole = {0};
    enum status status = paper_items_read(build, item_path, &items_form, err);
    if (status != STATUS_OK) { return status; }
    status = import_data_init(&recbole.data, err);
    if (status != STATUS_OK) { return status; }
    status = import_read_events(&recbole.data, inter_path, &events_form, err);
    if (status == STATUS_OK) {
        import_sort(&recbole.data);
        status = number_events(build, inter_path, &recbole, err);
    }
    if (status == STATUS_OK) { status = group_by_user(&recbole, err); }
    if (status == STATUS_OK) { status = cut_users(build, &recbole, err); }
    recbole_free(&recbole);
    return status;
}
