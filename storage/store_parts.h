/* SPDX-License-Identifier: Apache-2.0
 *
 * store_parts.h - what store.c, reader.c, stage.c and stage_commit.c know of each other.
 *
 * A value on disk is [bytes][u32le crc], crc = CRC-32C over key then bytes: it also finds a value
 * under the wrong key.
 */
#ifndef STORAGE_STORE_PARTS_H
#define STORAGE_STORE_PARTS_H

#include <pthread.h>

#include "base/file.h"
#include "storage/lmdb_calls.h"
#include "storage/store.h"

#define STORE_CRC_BYTES 4u

struct store {
    MDB_env *env;
    MDB_dbi tables[STORE_TABLE_COUNT];
    char path[FILE_PATH_BYTES_MAX];
    bool read_only;
    uint64_t map_bytes_max;

    /* The map may only change while no transaction of this process is open (lmdb.h,
     * mdb_env_set_mapsize): readers are counted, and wait while it grows. */
    bool locks_made;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    uint64_t map_bytes; /* lock */
    int readers_active; /* lock */
    bool growing;       /* lock */
};

struct store_reader {
    struct store *store;                    /* borrows: until closed */
    MDB_txn *txn;                           /* owns; NULL before the first renew */
    bool active;                            /* holds a snapshot */
    MDB_cursor *cursors[STORE_TABLE_COUNT]; /* owns; NULL until used */
    bool cursor_stale[STORE_TABLE_COUNT];   /* must be renewed before use */
};

/* Between enter and leave the map keeps its place. enter waits while the map grows. */
void store_enter(struct store *store);
void store_leave(struct store *store);

/* Doubles the map, up to map_bytes_max. The caller holds no transaction. LIMIT: at the maximum;
 * AGAIN: a reader of another thread stayed open for STORE_GROW_WAIT_MS. */
#define STORE_GROW_WAIT_MS 5000
MUST_CHECK enum status store_grow(struct store *store, struct error *err);

static inline uint32_t store_crc(struct span key, struct span value) {
    return crc32c(crc32c(0, key.data, key.size), value.data, value.size);
}

/* Splits [bytes][crc] and checks; CORRUPT names table and key. */
MUST_CHECK enum status store_value_check(enum store_table table, struct span key,
                                         struct span stored, struct span *ret_value,
                                         struct error *err);

/* A key for words: printable bytes as they are, others as \xNN, cut with "..". Returns text. */
#define STORE_KEY_TEXT_BYTES 96u
const char *store_key_text(struct span key, char text[STORE_KEY_TEXT_BYTES]);

#endif
