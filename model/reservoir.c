/* SPDX-License-Identifier: Apache-2.0
 *
 * reservoir.c - rows by user, a heap of users by how many rows they have, a table to find them.
 *
 * The table is only for finding: nothing ever walks it, so its layout shows nowhere. The heap's
 * order (rows, then key) is total, so its top is a function of the content whatever the history. */
#include "model/reservoir.h"

#include <assert.h>
#include <stdbool.h>
#include <string.h>

#include "base/hash.h"
#include "base/memory.h"

#define TABLE_FIRST 64

/* A row and what decides how long it stays. */
struct kept_row {
    struct training_row *row; /* owns */
    uint64_t hash;            /* of (seq, seed): the greatest leaves first */
};

struct reservoir_user {
    uint64_t key;
    struct kept_row *rows; /* owns; ascending by seq */
    int count, capacity;
    int heap_at; /* its place in the heap */
};

struct reservoir {
    int rows_max;
    uint64_t seed;
    int rows;
    struct reservoir_user *users; /* owns; in order of first appearance */
    int user_count, user_capacity;
    int *heap;  /* (user_capacity) owns; user indices, most rows on top */
    int *table; /* (table_size) owns; user index + 1, 0 = free; linear probing */
    int table_size;
};

enum status reservoir_new(int rows_max, uint64_t seed, struct reservoir **ret_reservoir,
                          struct error *err) {
    assert(rows_max >= 0);
    struct reservoir *reservoir = MEMORY_TAKE_ARRAY(struct reservoir, 1);
    if (reservoir == NULL) { return error_set(err, STATUS_NO_MEMORY, "reservoir"); }

    reservoir->rows_max = rows_max;
    reservoir->seed = seed;
    *ret_reservoir = reservoir;
    return STATUS_OK;
}

static void user_free(struct reservoir_user *user) {
    for (int n = 0; n < user->count; n++) {
        memory_free(user->rows[n].row);
    }
    memory_free(user->rows);
}

void reservoir_clear(struct reservoir *reservoir) {
    for (int u = 0; u < reservoir->user_count; u++) {
        user_free(&reservoir->users[u]);
    }
    reservoir->user_count = 0;
    reservoir->rows = 0;
    if (reservoir->table != NULL) {
        memset(reservoir->table, 0, (size_t)reservoir->table_size * sizeof *reservoir->table);
    }
}

void reservoir_free(struct reservoir *reservoir) {
    if (reservoir == NULL) { return; }
    reservoir_clear(reservoir);
    memory_free(reservoir->users);
    memory_free(reservoir->heap);
    memory_free(reservoir->table);
    memory_free(reservoir);
}

/* ---- heap ------------------------------------------------------------------------------------ */

static bool above(const struct reservoir *reservoir, int a, int b) {
    const struct reservoir_user *first = &reservoir->users[reservoir->heap[a]];
    const struct reservoir_user *second = &reservoir->users[reservoir->heap[b]];

    if (first->count != second->count) { return first->count > second->count; }
    return first->key < second->key;
}

static void heap_exchange(struct reservoir *reservoir, int a, int b) {
    int user = reservoir->heap[a];

    reservoir->heap[a] = reservoir->heap[b];
    reservoir->heap[b] = user;
    reservoir->users[reservoir->heap[a]].heap_at = a;
    reservoir->users[reservoir->heap[b]].heap_at = b;
}

static void heap_sink(struct reservoir *reservoir, int at) {
    for (;;) {
        int child = 2 * at + 1;
        if (child >= reservoir->user_count) { return; }
        bool second = child + 1 < reservoir->user_count && above(reservoir, child + 1, child);
        if (second) { child++; }
        if (!above(reservoir, child, at)) { return; }
        heap_exchange(reservoir, child, at);
        at = child;
    }
}

/* After the rows of one user changed: up or down, never both. */
static void heap_settle(struct reservoir *reservoir, int at) {
    while (at > 0 && above(reservoir, at, (at - 1) / 2)) {
        heap_exchange(reservoir, at, (at - 1) / 2);
        at = (at - 1) / 2;
    }
    heap_sink(reservoir, at);
}

/* ---- finding --------------------------------------------------------------------------------- */

static int table_slot(const struct reservoir *reservoir, uint64_t key) {
    uint64_t mask = (uint64_t)reservoir->table_size - 1;
    uint64_t at = hash64_pair(key, 0, 0) & mask;

    while (reservoir->table[at] != 0) {
        if (reservoir->users[reservoir->table[at] - 1].key == key) { break; }
        at = (at + 1) & mask;
    }
    return (int)at;
}

static int user_find(const struct reservoir *reservoir, uint64_t key) {
    if (reservoir->table_size == 0) { return -1; }
    return reservoir->table[table_slot(reservoir, key)] - 1;
}

/* Table and heap of the users as they stand. */
static void reservoir_index(struct reservoir *reservoir) {
    if (reservoir->table == NULL) { return; }
    memset(reservoir->table, 0, (size_t)reservoir->table_size * sizeof *reservoir->table);
    for (int u = 0; u < reservoir->user_count; u++) {
        reservoir->table[table_slot(reservoir, reservoir->users[u].key)] = u + 1;
        reservoir->heap[u] = u;
        reservoir->users[u].heap_at = u;
    }
    for (int at = reservoir->user_count / 2 - 1; at >= 0; at--) {
        heap_sink(reservoir, at);
    }
}

static enum status users_reserve(struct reservoir *reservoir, struct error *err) {
    if (reservoir->user_count < reservoir->user_capacity) { return STATUS_OK; }
    int capacity = reservoir->user_capacity > 0 ? 2 * reservoir->user_capacity : TABLE_FIRST;
    int *heap = memory_resize(reservoir->heap, (size_t)capacity * sizeof *heap);
    if (heap != NULL) { reservoir->heap = heap; }
    void *users = memory_resize(reservoir->users, (size_t)capacity * sizeof *reservoir->users);
    if (users != NULL) { reservoir->users = users; }
    int *table = MEMORY_TAKE_ARRAY(int, 4 * capacity);
    if (heap == NULL || users == NULL || table == NULL) {
        memory_free(table);
        return error_set(err, STATUS_NO_MEMORY, "reservoir of %d users", capacity);
    }
    memory_free(reservoir->table);
    reservoir->table = table;
    reservoir->table_size = 4 * capacity;
    reservoir->user_capacity = capacity;
    reservoir_index(reservoir);
    return STATUS_OK;
}

/* The user's index, made when it is new. */
static enum status user_of(struct reservoir *reservoir, uint64_t key, int *ret_user,
                           struct error *err) {
    int user = user_find(reservoir, key);

    if (user < 0) {
        enum status status = users_reserve(reservoir, err);
        if (status != STATUS_OK) { return status; }
        user = reservoir->user_count++;
        reservoir->users[user] = (struct reservoir_user){.key = key, .heap_at = user};
        reservoir->heap[user] = user;
        reservoir->table[table_slot(reservoir, key)] = user + 1;
        heap_settle(reservoir, user);
    }
    *ret_user = user;
    return STATUS_OK;
}

/* ---- rows ------------------------------------------------------------------------------------ */

static void row_remove(struct reservoir *reservoir, struct reservoir_user *user, int index) {
    memory_free(user->rows[index].row);
    memmove(&user->rows[index], &user->rows[index + 1],
            (size_t)(user->count - index - 1) * sizeof *user->rows);
    user->count--;
    reservoir->rows--;
}

static enum status row_append(struct reservoir *reservoir, struct reservoir_user *user,
                              const struct training_row *row, struct error *err) {
    if (user->count == user->capacity) {
        int capacity = user->capacity > 0 ? 2 * user->capacity : 4;
        void *rows = memory_resize(user->rows, (size_t)capacity * sizeof *user->rows);
        if (rows == NULL) { return error_set(err, STATUS_NO_MEMORY, "%d rows", capacity); }
        user->rows = rows;
        user->capacity = capacity;
    }
    struct training_row *copy = memory_take(sizeof *copy);
    if (copy == NULL) { return error_set(err, STATUS_NO_MEMORY, "a row for replay"); }
    *copy = *row;
    user->rows[user->count++] = (struct kept_row){copy, hash64_pair(row->seq, 0, reservoir->seed)};
    reservoir->rows++;
    return STATUS_OK;
}

/* The user with the most rows gives up the one whose hash is greatest. */
static void reservoir_shrink(struct reservoir *reservoir) {
    struct reservoir_user *user = &reservoir->users[reservoir->heap[0]];
    int gone = 0;

    for (int n = 1; n < user->count; n++) {
        if (user->rows[n].hash > user->rows[gone].hash) { gone = n; }
    }
    row_remove(reservoir, user, gone);
    heap_settle(reservoir, user->heap_at);
}

enum status reservoir_add(struct reservoir *reservoir, const struct training_row *row,
                          struct error *err) {
    int user = 0;

    assert(row->window_count <= WINDOW_MAX);
    if (reservoir->rows_max == 0) { return STATUS_OK; }
    enum status status = user_of(reservoir, row->user_key, &user, err);
    if (status != STATUS_OK) { return status; }
    status = row_append(reservoir, &reservoir->users[user], row, err);
    if (status != STATUS_OK) { return status; }
    heap_settle(reservoir, reservoir->users[user].heap_at);
    if (reservoir->rows > reservoir->rows_max) { reservoir_shrink(reservoir); }
    return STATUS_OK;
}

int reservoir_rows(const struct reservoir *reservoir) {
    return reservoir->rows;
}

int reservoir_users(const struct reservoir *reservoir) {
    return reservoir->user_count;
}

int reservoir_user_rows(const struct reservoir *reservoir, int user) {
    assert(user >= 0 && user < reservoir->user_count);
    return reservoir->users[user].count;
}

const struct training_row *reservoir_at(const struct reservoir *reservoir, int user, int index) {
    assert(user >= 0 && user < reservoir->user_count);
    assert(index >= 0 && index < reservoir->users[user].count);
    return reservoir->users[user].rows[index].row;
}

void reservoir_forget(struct reservoir *reservoir, uint64_t user_key) {
    int user = user_find(reservoir, user_key);
    if (user < 0) { return; }

    reservoir->rows -= reservoir->users[user].count;
    user_free(&reservoir->users[user]);
    memmove(&reservoir->users[user], &reservoir->users[user + 1],
            (size_t)(reservoir->user_count - user - 1) * sizeof *reservoir->users);
    reservoir->user_count--;
    reservoir_index(reservoir);
}

void reservoir_exclude(struct reservoir *reservoir, uint64_t first, uint64_t last) {
    for (int u = 0; u < reservoir->user_count; u++) {
        struct reservoir_user *user = &reservoir->users[u];
        for (int n = user->count - 1; n >= 0; n--) {
            uint64_t seq = user->rows[n].row->seq;
            if (seq >= first && seq <= last) { row_remove(reservoir, user, n); }
        }
    }
    reservoir_index(reservoir);
}

/* ---- bytes ----------------------------------------------------------------------------------- */

#define ROW_BYTES 40u /* seq, user, time, item, weight, window_count, repeat; then the window */

static void row_encode(const struct training_row *row, uint8_t *p) {
    uint32_t weight;

    memcpy(&weight, &row->weight, sizeof weight);
    put_u64le(p, row->seq);
    put_u64le(p + 8, row->user_key);
    put_u64le(p + 16, (uint64_t)row->time_ms);
    put_u32le(p + 24, row->item);
    put_u32le(p + 28, weight);
    put_u32le(p + 32, row->window_count);
    put_u32le(p + 36, row->repeat ? 1 : 0);
    for (uint32_t n = 0; n < row->window_count; n++) {
        put_u32le(p + ROW_BYTES + 4 * (size_t)n, row->window[n]);
    }
}

static void row_decode(const uint8_t *p, struct training_row *row) {
    uint32_t weight = get_u32le(p + 28);

    memset(row, 0, sizeof *row);
    row->seq = get_u64le(p);
    row->user_key = get_u64le(p + 8);
    row->time_ms = (int64_t)get_u64le(p + 16);
    row->item = get_u32le(p + 24);
    memcpy(&row->weight, &weight, sizeof weight);
    row->window_count = get_u32le(p + 32);
    row->repeat = get_u32le(p + 36) != 0;
}

/* u32 users, then each: u64 key, u32 rows, rows */
enum status reservoir_save(const struct reservoir *reservoir, struct buffer *out,
                           struct error *err) {
    uint8_t bytes[ROW_BYTES + 4 * WINDOW_MAX];

    put_u32le(bytes, (uint32_t)reservoir->user_count);
    enum status status = buffer_append(out, bytes, 4);
    for (int u = 0; u < reservoir->user_count && status == STATUS_OK; u++) {
        const struct reservoir_user *user = &reservoir->users[u];
        put_u64le(bytes, user->key);
        put_u32le(bytes + 8, (uint32_t)user->count);
        status = buffer_append(out, bytes, 12);
        for (int n = 0; n < user->count && status == STATUS_OK; n++) {
            row_encode(user->rows[n].row, bytes);
            size_t size = ROW_BYTES + 4 * (size_t)user->rows[n].row->window_count;
            status = buffer_append(out, bytes, size);
        }
    }
    if (status != STATUS_OK) { return error_set(err, status, "bytes of the reservoir"); }
    return STATUS_OK;
}

static enum status user_load(struct reservoir *reservoir, uint64_t key, uint32_t count,
                             struct span bytes, size_t *at, struct error *err) {
    int user = 0;

    if (user_find(reservoir, key) >= 0) {
        return error_set(err, STATUS_CORRUPT, "a user stands twice in the reservoir");
    }
    enum status status = user_of(reservoir, key, &user, err);
    for (uint32_t n = 0; n < count && status == STATUS_OK; n++) {
        struct training_row row;
        if (bytes.size - *at < ROW_BYTES) { break; }
        row_decode(bytes.data + *at, &row);
        *at += ROW_BYTES;
        if (row.window_count > WINDOW_MAX || bytes.size - *at < 4 * (size_t)row.window_count) {
            return error_set(err, STATUS_CORRUPT, "a window of %u items", row.window_count);
        }
        for (uint32_t w = 0; w < row.window_count; w++, *at += 4) {
            row.window[w] = get_u32le(bytes.data + *at);
        }
        status = row_append(reservoir, &reservoir->users[user], &row, err);
    }
    if (status != STATUS_OK) { return status; }
    if (reservoir->users[user].count != (int)count) {
        return error_set(err, STATUS_CORRUPT, "the reservoir is cut");
    }
    return STATUS_OK;
}

enum status reservoir_load(struct reservoir *reservoir, struct span bytes, struct error *err) {
    size_t at = 4;

    reservoir_clear(reservoir);
    if (bytes.size < 4) { return error_set(err, STATUS_CORRUPT, "the reservoir is cut"); }
    uint32_t users = get_u32le(bytes.data);
    for (uint32_t u = 0; u < users; u++) {
        if (bytes.size - at < 12) { return error_set(err, STATUS_CORRUPT, "the reservoir is cut"); }
        uint64_t key = get_u64le(bytes.data + at);
        uint32_t count = get_u32le(bytes.data + at + 8);
        at += 12;
        enum status status = user_load(reservoir, key, count, bytes, &at, err);
        if (status != STATUS_OK) { return status; }
    }
    if (at != bytes.size || reservoir->rows > reservoir->rows_max) {
        return error_set(err, STATUS_CORRUPT, "the reservoir holds %d rows, limit %d",
                         reservoir->rows, reservoir->rows_max);
    }
    reservoir_index(reservoir);
    return STATUS_OK;
}
