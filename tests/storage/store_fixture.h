/* SPDX-License-Identifier: Apache-2.0
 *
 * store_fixture.h - a store in a fresh folder, removed afterwards, and short words for tests.
 */
#ifndef TESTS_STORAGE_STORE_FIXTURE_H
#define TESTS_STORAGE_STORE_FIXTURE_H

#include "storage/store.h"
#include "tests/support/tmpdir.h"
#include "tests/support/unit.h"

struct store_fixture {
    struct tmpdir folder;
    struct store *store;
    struct stage *stage;
    struct error err;
};

/* cmocka's setup and teardown; *state is the fixture. The map starts at 64 MiB, at most 1 GiB. */
int store_fixture_setup(void **state);
int store_fixture_teardown(void **state);
/* The fixture with a map of this first and largest size. */
void store_fixture_open(struct store_fixture *fixture, uint64_t map_bytes, uint64_t map_bytes_max);
/* Closes stage and store and opens them again: what a restart sees. */
void store_fixture_reopen(struct store_fixture *fixture);

void stage_put_text(struct store_fixture *f, enum store_table table, const char *key,
                    const char *value);
/* The value equals the text. */
void assert_stage_text(struct store_fixture *f, enum store_table table, const char *key,
                       const char *value);
void assert_stage_absent(struct store_fixture *f, enum store_table table, const char *key);

/* Overwrites the stored bytes (value and CRC) of a key behind the store's back: the store must be
 * closed. flip: which byte to change. */
void store_flip_byte(const char *folder, const char *table, struct span key, size_t flip);
/* Copies the stored bytes of one key over another's, the store being closed. */
void store_copy_stored(const char *folder, const char *table, struct span from, struct span to);

#endif
