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

void store_flip_byte(const char *folder, const char *table, struct span key, size_t flip) {
    MDB_env *env = NULL;
    MDB_txn *txn = NULL;
    MDB_dbi dbi;
    MDB_val wanted = {key.size, (void *)(uintptr_t)key.data};
    MDB_val stored;
    uint8_t bytes[STORE_VALUE_BYTES_MAX + 4];
    assert_int_equal(mdb_env_create(&env), 0);
    assert_int_equal(mdb_env_set_maxdbs(env, 32), 0);
    assert_int_equal(mdb_env_open(env, folder, 0, 0640), 0);
    assert_int_equal(mdb_txn_begin(env, NULL, 0, &txn), 0);
    assert_int_equal(mdb_dbi_open(txn, table, 0, &dbi), 0);
    assert_int_equal(mdb_get(txn, dbi, &wanted, &stored), 0);
    assert_true(flip < stored.mv_size && stored.mv_size <= sizeof bytes);

    memcpy(bytes, stored.mv_data, stored.mv_size);
    bytes[flip] ^= 0x10;
    stored.mv_data = bytes;
    assert_int_equal(mdb_put(txn, dbi, &wanted, &stored, 0), 0);
    assert_int_equal(mdb_txn_commit(txn), 0);
    mdb_env_close(env);
}
