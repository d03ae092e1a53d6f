/* SPDX-License-Identifier: Apache-2.0
 *
 * batch_users.c - finds the users of a batch; the table is only for finding. */
#include "model/batch_users.h"

#include <assert.h>
#include <string.h>

static int table_slot(const struct batch_users *users, const struct training_row *rows,
                      uint64_t key) {
    uint64_t at = hash64_pair(key, 0, 0) % BATCH_USERS_TABLE;

    while (users->table[at] != 0) {
        if (rows[users->first[users->table[at] - 1]].user_key == key) { break; }
        at = (at + 1) % BATCH_USERS_TABLE;
    }
    return (int)at;
}

void batch_users_find(struct batch_users *users, const struct training_row *rows, int count) {
    assert(count >= 0 && count <= BATCH_EVENTS_MAX);
    users->count = 0;
    memset(users->table, 0, sizeof users->table);
    for (int n = 0; n < count; n++) {
        users->of_row[n] = users->previous[n] = -1;
        if (rows[n].user_key == 0) { continue; }
        int slot = table_slot(users, rows, rows[n].user_key);
        int user = users->table[slot] - 1;
        if (user < 0) {
            user = users->count++;
            users->first[user] = n;
            users->rows[user] = 0;
            users->table[slot] = user + 1;
        } else {
            users->previous[n] = users->last[user];
        }
        users->of_row[n] = user;
        users->last[user] = n;
        users->rows[user]++;
    }
}

bool batch_users_has(const struct batch_users *users, const struct training_row *rows,
                     uint64_t user_key) {
    return users->table[table_slot(users, rows, user_key)] != 0;
}

int batch_users_before(const struct batch_users *users, const struct training_row *rows, int n,
                       int span, uint32_t *ret_items) {
    int siblings = 0;

    for (int p = users->previous[n]; p >= 0 && siblings < span; p = users->previous[p]) {
        if (rows[p].time_ms >= rows[n].time_ms) { ret_items[span - ++siblings] = rows[p].item; }
    }
    int window = (int)rows[n].window_count;
    int from_window = window < span - siblings ? window : span - siblings;
    int first = span - siblings - from_window;
    if (from_window > 0) {
        memcpy(ret_items + first, rows[n].window + window - from_window,
               (size_t)from_window * sizeof *ret_items);
    }
    memmove(ret_items, ret_items + first, (size_t)(from_window + siblings) * sizeof *ret_items);
    return from_window + siblings;
}
