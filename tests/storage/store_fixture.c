/* SPDX-License-Identifier: Apache-2.0
 *
 * store_fixture.c - see store_fixture.h.
 */
#include "tests/storage/store_fixture.h"

#include <lmdb.h>

#include "base/memory.h"

void store_fixture_open(struct store_fixture *fixture, uint64_t map_bytes, uint64_t map_bytes_max) {
    struct store_settings settings = {
        .path = fixture->folder.path, .map_bytes = map_bytes, .map_bytes_max = map_bytes_max};
    ASSERT_OK(store_open(&settings, &fixture->store, &fixture->err), fixture->err);
    ASSERT_OK(stage_open(fixture->store, &fixture->stage, &fixture->err), fixture->err);
}

static void store_fixture_close(struct store_fixture *fixture) {
    stage_close(fixture->stage);
    store_close(fixture->store);
    fixture->stage = NULL;
    fixture->store = NULL;
}

void store_fixture_reopen(struct store_fixture *fixture) {
    store_fixture_close(fixture);
    store_fixture_open(fixture, 64u << 20, 1024u << 20);
}

int store_fixture_setup(void **state) {
    struct store_fixture *fixture = memory_take_zeroed(1, sizeof *fixture);
    assert_non_null(fixture);
    tmpdir_init(&fixture->folder);
    store_fixture_open(fixture, 64u << 20, 1024u << 20);
    *state = fixture;
    return 0;
}

int store_fixture_teardown(void **state) {
    struct store_fixture *fixture = *state;
    store_fixture_close(fixture);
    tmpdir_free(&fixture->folder);
    memory_free(fixture);
    return 0;
}

void stage_put_text(struct store_fixture *f, enum store_table table, const char *key,
                    const char *value) {
    ASSERT_OK(stage_put(f->stage, table, span_of(key), span_of(value), &f->err), f->err);
}

void assert_stage_text(struct store_fixture *f, enum store_table table, const char *key,
                       const char *value) {
    struct span found = {0};
    ASSERT_OK(stage_get(f->stage, table, span_of(key), &found, &f->err), f->err);
    assert_int_equal(found.size, strlen(value));
    assert_memory_equal(found.data, value, found.size);
}

void assert_stage_absent(struct store_fixture *f, enum store_table table, const char *key) {
    struct span found = {0};
    ASSERT_STATUS(stage_get(f->stage, table, span_of(key), &found, &f->err), STATUS_NOT_FOUND);
}

/* An environment opened behind the store's back, with a write transaction on one table. */
struct raw_table {
    MDB_env *env;
    MDB_txn *txn;
    MDB_dbi dbi;
};

static void raw_open(struct raw_table *raw, const char *folder, const char *table) {
    assert_int_equal(mdb_env_create(&raw->env), 0);
    assert_int_equal(mdb_env_set_maxdbs(raw->env, 32), 0);
    assert_int_equal(mdb_env_open(raw->env, folder, 0, 0640), 0);
    assert_int_equal(mdb_txn_begin(raw->env, NULL, 0, &raw->txn), 0);
    assert_int_equal(mdb_dbi_open(raw->txn, table, 0, &raw->dbi), 0);
}

static size_t raw_get(struct raw_table *raw, struct span key, uint8_t *bytes, size_t room) {
    MDB_val wanted = {key.size, (void *)(uintptr_t)key.data};
    MDB_val stored;
    assert_int_equal(mdb_get(raw->txn, raw->dbi, &wanted, &stored), 0);
    assert_true(stored.mv_size <= room);
    memcpy(bytes, stored.mv_data, stored.mv_size);
    return stored.mv_size;
}

static void raw_put_and_close(struct raw_table *raw, struct span key, uint8_t *bytes, size_t size) {
    MDB_val wanted = {key.size, (void *)(uintptr_t)key.data};
    MDB_val stored = {size, bytes};
    assert_int_equal(mdb_put(raw->txn, raw->dbi, &wanted, &stored, 0), 0);
    assert_int_equal(mdb_txn_commit(raw->txn), 0);
    mdb_env_close(raw->env);
}

void store_flip_byte(const char *folder, const char *table, struct span key, size_t flip) {
    struct raw_table raw;
    uint8_t bytes[STORE_VALUE_BYTES_MAX + 4];
    raw_open(&raw, folder, table);
    size_t size = raw_get(&raw, key, bytes, sizeof bytes);
    assert_true(flip < size);
    bytes[flip] ^= 0x10;
    raw_put_and_close(&raw, key, bytes, size);
}

void store_copy_stored(const char *folder, const char *table, struct span from, struct span to) {
    struct raw_table raw;
    uint8_t bytes[STORE_VALUE_BYTES_MAX + 4];
    raw_open(&raw, folder, table);
    size_t size = raw_get(&raw, from, bytes, sizeof bytes);
    raw_put_and_close(&raw, to, bytes, size);
}
