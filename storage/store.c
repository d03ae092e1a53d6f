/* SPDX-License-Identifier: Apache-2.0
 *
 * store.c - opens the environment, makes its tables, grows its map, counts its pages.
 *
 * The map is address space; the file grows with use. Growing it needs every transaction of the
 * process closed, so readers check in and out (store_enter, store_leave) and the one who grows
 * waits for the last to leave. With a first map of a few GiB this happens a handful of times in a
 * life.
 */
#include "storage/store.h"

#include <assert.h>
#include <stdio.h>
#include <time.h>

#include "base/memory.h"
#include "storage/store_parts.h"

#define STORE_MODE        0640
#define STORE_READERS_MAX 64u
#define STORE_FORMAT      1u /* of all tables; another number is refused */
#define STORE_PAGE_BYTES  4096u

static const struct {
    const char *name;
    int chain;
} store_tables[STORE_TABLE_COUNT] = {
    [STORE_META] = {"meta", 0},
    [STORE_USERS] = {"users", 1},
    [STORE_SEEN] = {"seen", 1},
    [STORE_PUBLISHED] = {"published", 2},
    [STORE_ITEMS] = {"items", 1},
    [STORE_ITEM_IDS] = {"item_ids", 1},
    [STORE_ITEM_CHANGES] = {"item_changes", 1},
    [STORE_TRAINING_LOG] = {"training_log", 1},
    [STORE_SUMS] = {"sums", 2},
    [STORE_EXCLUSIONS] = {"exclusions", 1},
};

int store_table_chain(enum store_table table) {
    assert((int)table >= 0 && (int)table < STORE_TABLE_COUNT);
    return store_tables[table].chain;
}

const char *store_table_name(enum store_table table) {
    assert((int)table >= 0 && (int)table < STORE_TABLE_COUNT);
    return store_tables[table].name;
}

/* ---- the map --------------------------------------------------------------------------------- */

static enum status store_locks_make(struct store *store, struct error *err) {
    pthread_condattr_t attributes;
    if (pthread_condattr_init(&attributes) != 0) { goto fail; }
    int failed = pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    failed = failed != 0 ? failed : pthread_cond_init(&store->changed, &attributes);
    (void)pthread_condattr_destroy(&attributes); /* cannot fail on Linux */
    if (failed != 0) { goto fail; }
    if (pthread_mutex_init(&store->lock, NULL) != 0) {
        (void)pthread_cond_destroy(&store->changed); /* nobody waits */
        goto fail;
    }
    store->locks_made = true;
    return STATUS_OK;

fail:
    return error_set(err, STATUS_NO_MEMORY, "locks of the store");
}

void store_enter(struct store *store) {
    pthread_mutex_lock(&store->lock);
    while (store->growing) {
        pthread_cond_wait(&store->changed, &store->lock);
    }
    store->readers_active++;
    pthread_mutex_unlock(&store->lock);
}

void store_leave(struct store *store) {
    pthread_mutex_lock(&store->lock);
    assert(store->readers_active > 0);
    store->readers_active--;
    if (store->growing) { pthread_cond_broadcast(&store->changed); }
    pthread_mutex_unlock(&store->lock);
}

/* Waits until no reader is inside; false when the time is over. The lock is held. */
static bool store_wait_idle(struct store *store) {
    struct timespec until;
    (void)clock_gettime(CLOCK_MONOTONIC, &until); /* cannot fail for this clock */
    until.tv_sec += STORE_GROW_WAIT_MS / 1000;
    int waited = 0;
    while (store->readers_active > 0 && waited == 0) {
        waited = pthread_cond_timedwait(&store->changed, &store->lock, &until);
    }
    return store->readers_active == 0;
}

enum status store_grow(struct store *store, struct error *err) {
    enum status status = STATUS_OK;
    pthread_mutex_lock(&store->lock);
    assert(!store->growing);
    store->growing = true;

    uint64_t wanted = store->map_bytes * 2;
    if (wanted > store->map_bytes_max) { wanted = store->map_bytes_max; }
    if (wanted <= store->map_bytes) {
        status = error_set(err, STATUS_LIMIT, "'%s' is full: its map has reached %llu bytes",
                           store->path, (unsigned long long)store->map_bytes_max);
    } else if (!store_wait_idle(store)) {
        status = error_set(err, STATUS_AGAIN, "growing the map of '%s': a reader stays open",
                           store->path);
    } else {
        int code = mdb_env_set_mapsize(store->env, (size_t)wanted);
        if (code == 0) {
            store->map_bytes = wanted;
        } else {
            status = lmdb_failed(err, code, store->path, "growing the map to %llu bytes",
                                 (unsigned long long)wanted);
        }
    }

    store->growing = false;
    pthread_cond_broadcast(&store->changed);
    pthread_mutex_unlock(&store->lock);
    return status;
}

/* ---- open and close -------------------------------------------------------------------------- */

/* Checks or writes meta's "format". The transaction stays with the caller. */
static enum status store_format_check(struct store *store, MDB_txn *txn, bool *ret_absent,
                                      struct error *err) {
    struct span name = span_of("format");
    MDB_val key = lmdb_val(name);
    MDB_val stored;
    int code = mdb_get(txn, store->tables[STORE_META], &key, &stored);
    *ret_absent = code == MDB_NOTFOUND;
    if (code == MDB_NOTFOUND) { return STATUS_OK; }
    if (code != 0) { return lmdb_failed(err, code, store->path, "reading the format"); }

    struct span value;
    enum status status = store_value_check(STORE_META, name, lmdb_span(&stored), &value, err);
    if (status != STATUS_OK) { return status; }
    if (value.size != 4 || get_u32le(value.data) != STORE_FORMAT) {
        return error_set(err, STATUS_CORRUPT, "'%s' has another format than %u", store->path,
                         STORE_FORMAT);
    }
    return STATUS_OK;
}

static int store_format_write(struct store *store, MDB_txn *txn) {
    uint8_t bytes[4 + STORE_CRC_BYTES];
    struct span name = span_of("format");
    put_u32le(bytes, STORE_FORMAT);
    put_u32le(bytes + 4, store_crc(name, span_make(bytes, 4)));
    MDB_val key = lmdb_val(name);
    MDB_val value = {sizeof bytes, bytes};
    if (fault_fires(FAULT_STORE)) { return ENOSPC; }
    return mdb_put(txn, store->tables[STORE_META], &key, &value, 0);
}

static enum status store_tables_open(struct store *store, struct error *err) {
    MDB_txn *txn = NULL;
    unsigned flags = store->read_only ? MDB_RDONLY : 0;
    const char *step = "beginning";
    int code = fault_fires(FAULT_STORE) ? ENOSPC : mdb_txn_begin(store->env, NULL, flags, &txn);
    if (code != 0) { goto fail; }

    step = "opening a table";
    for (int i = 0; i < STORE_TABLE_COUNT; i++) {
        code = mdb_dbi_open(txn, store_tables[i].name, store->read_only ? 0 : MDB_CREATE,
                            &store->tables[i]);
        if (code != 0) { goto fail; }
    }
    bool absent = false;
    enum status status = store_format_check(store, txn, &absent, err);
    if (status != STATUS_OK) {
        mdb_txn_abort(txn);
        return status;
    }

    step = "writing the format";
    if (absent && !store->read_only) {
        code = store_format_write(store, txn);
        if (code != 0) { goto fail; }
    }
    code = lmdb_commit(txn); /* also of a reading one: makes the handles last */
    txn = NULL;
    step = "committing the tables";
    if (code != 0) { goto fail; }
    return STATUS_OK;

fail:
    if (txn != NULL) { mdb_txn_abort(txn); }
    return lmdb_failed(err, code, store->path, "%s", step);
}

static enum status store_env_open(struct store *store, const struct store_settings *settings,
                                  struct error *err) {
    const char *step = "making the environment";
    int code = mdb_env_create(&store->env);
    if (code != 0) { goto fail; }
    code = mdb_env_set_maxdbs(store->env, STORE_TABLE_COUNT);
    if (code == 0) { code = mdb_env_set_maxreaders(store->env, STORE_READERS_MAX); }
    uint64_t rounded = settings->map_bytes / STORE_PAGE_BYTES * STORE_PAGE_BYTES;
    if (code == 0) { code = mdb_env_set_mapsize(store->env, (size_t)rounded); }
    if (code != 0) { goto fail; }

    step = "opening the environment";
    unsigned flags = MDB_NOTLS | MDB_NOMETASYNC | (store->read_only ? MDB_RDONLY : 0u);
    code = mdb_env_open(store->env, settings->path, flags, STORE_MODE);
    if (code != 0) { goto fail; }

    step = "checking readers";
    int dead = 0;
    code = mdb_reader_check(store->env, &dead);
    if (code != 0) { goto fail; }

    MDB_envinfo info;
    code = mdb_env_info(store->env, &info);
    if (code != 0) { goto fail; }
    store->map_bytes = info.me_mapsize;
    return STATUS_OK;

fail:
    return lmdb_failed(err, code, store->path, "%s", step);
}

enum status store_open(const struct store_settings *settings, struct store **ret_store,
                       struct error *err) {
    assert(settings->path != NULL);
    assert(settings->map_bytes >= STORE_PAGE_BYTES);
    assert(settings->map_bytes_max >= settings->map_bytes);

    struct store *store = memory_take_zeroed(1, sizeof *store);
    if (store == NULL) { return error_set(err, STATUS_NO_MEMORY, "the store"); }
    store->read_only = settings->read_only;
    store->map_bytes_max = settings->map_bytes_max / STORE_PAGE_BYTES * STORE_PAGE_BYTES;

    enum status status = path_join(store->path, settings->path, "", err);
    if (status == STATUS_OK && !store->read_only) { status = dir_make(settings->path, err); }
    if (status == STATUS_OK) { status = store_locks_make(store, err); }
    if (status == STATUS_OK) { status = store_env_open(store, settings, err); }
    if (status == STATUS_OK) { status = store_tables_open(store, err); }
    if (status != STATUS_OK) {
        store_close(store);
        return status;
    }
    *ret_store = store;
    return STATUS_OK;
}

void store_close(struct store *store) {
    if (store == NULL) { return; }
    if (store->env != NULL) { mdb_env_close(store->env); }
    if (store->locks_made) {
        assert(store->readers_active == 0);
        (void)pthread_cond_destroy(&store->changed); /* nobody waits */
        (void)pthread_mutex_destroy(&store->lock);   /* nobody holds it */
    }
    memory_free(store);
}

enum status store_sync(struct store *store, struct error *err) {
    assert(!store->read_only);

    store_enter(store);
    int code = fault_fires(FAULT_STORE) ? EIO : mdb_env_sync(store->env, 1);
    store_leave(store);
    if (code != 0) { return lmdb_failed(err, code, store->path, "syncing"); }
    return STATUS_OK;
}

/* ---- usage ----------------------------------------------------------------------------------- */

/* Pages on LMDB's free list: each record of table 0 holds a count and that many page numbers. */
static int store_free_pages(MDB_txn *txn, uint64_t *ret_pages) {
    MDB_cursor *cursor = NULL;
    int code = mdb_cursor_open(txn, 0, &cursor);
    if (code != 0) { return code; }

    uint64_t pages = 0;
    MDB_val key, value;
    while ((code = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) == 0) {
        size_t count = 0;
        memcpy(&count, value.mv_data, sizeof count);
        pages += count;
    }
    mdb_cursor_close(cursor);
    *ret_pages = pages;
    return code == MDB_NOTFOUND ? 0 : code;
}

static int store_usage_read(struct store *store, MDB_txn *txn, struct store_usage *usage) {
    MDB_envinfo info;
    uint64_t free_pages = 0;
    int code = mdb_env_info(store->env, &info);
    if (code == 0) { code = store_free_pages(txn, &free_pages); }
    if (code != 0) { return code; }

    MDB_stat stat = {0};
    for (int i = 0; i < STORE_TABLE_COUNT; i++) {
        code = mdb_stat(txn, store->tables[i], &stat);
        if (code != 0) { return code; }
        usage->entries[i] = stat.ms_entries;
    }
    usage->map_bytes = info.me_mapsize;
    usage->used_bytes = ((uint64_t)info.me_last_pgno + 1 - free_pages) * stat.ms_psize;
    return 0;
}

enum status store_usage(struct store *store, struct store_usage *ret_usage, struct error *err) {
    struct store_usage usage = {0};
    MDB_txn *txn = NULL;
    store_enter(store);
    int code = mdb_txn_begin(store->env, NULL, MDB_RDONLY, &txn);
    if (code == 0) {
        code = store_usage_read(store, txn, &usage);
        mdb_txn_abort(txn);
    }
    store_leave(store);
    if (code != 0) { return lmdb_failed(err, code, store->path, "counting pages"); }
    *ret_usage = usage;
    return STATUS_OK;
}
