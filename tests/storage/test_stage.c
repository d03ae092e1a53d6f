/* SPDX-License-Identifier: Apache-2.0
 *
 * test_stage.c - an epoch in memory: what reads see, what digests cover, what a failure leaves.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/fault.h"
#include "base/memory.h"
#include "base/rng.h"
#include "tests/storage/store_fixture.h"

static void commit(struct store_fixture *f) {
    ASSERT_OK(stage_commit(f->stage, &f->err), f->err);
}

static void delete_text(struct store_fixture *f, enum store_table table, const char *key) {
    ASSERT_OK(stage_delete(f->stage, table, span_of(key), &f->err), f->err);
}

static void get_sees_pending_puts_and_deletes_before_the_store(void **state) {
    struct store_fixture *f = *state;
    stage_put_text(f, STORE_USERS, "anna", "old");
    commit(f);

    stage_put_text(f, STORE_USERS, "anna", "newer and longer than before");
    assert_stage_text(f, STORE_USERS, "anna", "newer and longer than before");
    delete_text(f, STORE_USERS, "anna");
    assert_stage_absent(f, STORE_USERS, "anna");
    stage_reset(f->stage);
    assert_stage_text(f, STORE_USERS, "anna", "old");
}

static void committed_deletes_are_gone_and_an_absent_key_may_be_deleted(void **state) {
    struct store_fixture *f = *state;
    stage_put_text(f, STORE_USERS, "anna", "x");
    commit(f);

    delete_text(f, STORE_USERS, "anna");
    delete_text(f, STORE_USERS, "nobody");
    commit(f);

    store_fixture_reopen(f);
    assert_stage_absent(f, STORE_USERS, "anna");
    assert_stage_absent(f, STORE_USERS, "nobody");
}

static void same_key_in_two_tables_is_two_values(void **state) {
    struct store_fixture *f = *state;
    stage_put_text(f, STORE_USERS, "anna", "history");
    stage_put_text(f, STORE_PUBLISHED, "anna", "list");
    commit(f);

    assert_stage_text(f, STORE_USERS, "anna", "history");
    assert_stage_text(f, STORE_PUBLISHED, "anna", "list");
}

static void value_lent_by_get_may_be_put_back(void **state) {
    struct store_fixture *f = *state;
    struct span value;
    stage_put_text(f, STORE_USERS, "anna", "0123456789abcdefghij");
    ASSERT_OK(stage_get(f->stage, STORE_USERS, span_of("anna"), &value, &f->err), f->err);
    ASSERT_OK(stage_put(f->stage, STORE_USERS, span_of("anna"),
                        span_make(value.data + 5, value.size - 5), &f->err),
              f->err);
    assert_stage_text(f, STORE_USERS, "anna", "56789abcdefghij");
}

static void keys_and_values_beyond_their_limits_are_refused(void **state) {
    struct store_fixture *f = *state;
    uint8_t bytes[STORE_VALUE_BYTES_MAX + 1] = {1};
    struct span key = span_make(bytes, STORE_KEY_BYTES_MAX);
    struct span value = span_make(bytes, STORE_VALUE_BYTES_MAX);

    ASSERT_OK(stage_put(f->stage, STORE_USERS, key, value, &f->err), f->err);
    key.size++;
    ASSERT_STATUS(stage_put(f->stage, STORE_USERS, key, value, &f->err), STATUS_LIMIT);
    ASSERT_STATUS(stage_delete(f->stage, STORE_USERS, key, &f->err), STATUS_LIMIT);
    key.size--;
    value.size++;
    ASSERT_STATUS(stage_put(f->stage, STORE_USERS, key, value, &f->err), STATUS_LIMIT);
    assert_int_equal(stage_entries(f->stage), 1);
    commit(f);
}

static void trims_happen_at_the_commit_and_after_its_puts(void **state) {
    struct store_fixture *f = *state;
    stage_put_text(f, STORE_TRAINING_LOG, "a", "1");
    stage_put_text(f, STORE_TRAINING_LOG, "c", "3");
    stage_put_text(f, STORE_USERS, "a", "other table");
    commit(f);

    stage_put_text(f, STORE_TRAINING_LOG, "b", "2");
    ASSERT_OK(stage_trim_below(f->stage, STORE_TRAINING_LOG, span_of("c"), &f->err), f->err);
    assert_stage_text(f, STORE_TRAINING_LOG, "a", "1");
    commit(f);

    assert_stage_absent(f, STORE_TRAINING_LOG, "a");
    assert_stage_absent(f, STORE_TRAINING_LOG, "b");
    assert_stage_text(f, STORE_TRAINING_LOG, "c", "3");
    assert_stage_text(f, STORE_USERS, "a", "other table");
    ASSERT_OK(stage_trim(f->stage, STORE_TRAINING_LOG, span_of("c"), &f->err), f->err);
    commit(f);
    assert_stage_absent(f, STORE_TRAINING_LOG, "c");
}

static void rewrite_replaces_what_exists_and_makes_nothing(void **state) {
    struct store_fixture *f = *state;
    stage_put_text(f, STORE_TRAINING_LOG, "a", "user");
    commit(f);

    ASSERT_OK(
        stage_rewrite(f->stage, STORE_TRAINING_LOG, span_of("a"), span_of("erased row"), &f->err),
        f->err);
    ASSERT_OK(stage_rewrite(f->stage, STORE_TRAINING_LOG, span_of("b"), span_of("x"), &f->err),
              f->err);
    commit(f);

    assert_stage_text(f, STORE_TRAINING_LOG, "a", "erased row");
    assert_stage_absent(f, STORE_TRAINING_LOG, "b");
}

/* ---- digests --------------------------------------------------------------------------------- */

static void digest(struct store_fixture *f, int chain, uint8_t ret_digest[SHA256_BYTES]) {
    uint8_t previous[SHA256_BYTES];
    memset(previous, 0x5a, sizeof previous);
    ASSERT_OK(stage_digest(f->stage, chain, previous, ret_digest, &f->err), f->err);
}

/* Written out by hand from the comment in store.h, not by the code under test. */
static void digest_equals_an_independent_encoding(void **state) {
    struct store_fixture *f = *state;
    stage_put_text(f, STORE_PUBLISHED, "u", "list");
    stage_put_text(f, STORE_META, "m", "never digested");
    delete_text(f, STORE_SEEN, "b");
    stage_put_text(f, STORE_USERS, "ab", "v2");
    stage_put_text(f, STORE_USERS, "a", "");

    uint8_t bytes[128];
    memset(bytes, 0x5a, SHA256_BYTES);
    static const uint8_t input[] = {1, 1, 1, 0, 0, 0, 'a', 0,   0, 0, 0,              /* put a */
                                    1, 1, 2, 0, 0, 0, 'a', 'b', 2, 0, 0, 0, 'v', '2', /* put ab */
                                    2, 0, 1, 0, 0, 0, 'b'};                           /* delete */
    memcpy(bytes + SHA256_BYTES, input, sizeof input);
    uint8_t expected[SHA256_BYTES], found[SHA256_BYTES];
    sha256_of(span_make(bytes, SHA256_BYTES + sizeof input), expected);
    digest(f, 1, found);
    assert_memory_equal(found, expected, SHA256_BYTES);

    static const uint8_t evaluation[] = {3, 1, 1, 0, 0, 0, 'u', 4, 0, 0, 0, 'l', 'i', 's', 't'};
    memcpy(bytes + SHA256_BYTES, evaluation, sizeof evaluation);
    sha256_of(span_make(bytes, SHA256_BYTES + sizeof evaluation), expected);
    digest(f, 2, found);
    assert_memory_equal(found, expected, SHA256_BYTES);
}

static void digest_of_nothing_is_the_hash_of_the_previous(void **state) {
    struct store_fixture *f = *state;
    uint8_t previous[SHA256_BYTES], expected[SHA256_BYTES], found[SHA256_BYTES];
    memset(previous, 0x5a, sizeof previous);
    sha256_of(span_make(previous, sizeof previous), expected);
    digest(f, 1, found);
    assert_memory_equal(found, expected, SHA256_BYTES);
}

static void digest_depends_on_neither_order_nor_trims_nor_overwritten_values(void **state) {
    struct store_fixture *f = *state;
    uint8_t first[SHA256_BYTES], second[SHA256_BYTES];
    stage_put_text(f, STORE_USERS, "a", "1");
    stage_put_text(f, STORE_USERS, "b", "2");
    stage_put_text(f, STORE_ITEMS, "b", "3");
    digest(f, 1, first);
    stage_reset(f->stage);

    stage_put_text(f, STORE_ITEMS, "b", "3");
    stage_put_text(f, STORE_USERS, "b", "overwritten");
    ASSERT_OK(stage_trim_below(f->stage, STORE_USERS, span_of("zz"), &f->err), f->err);
    digest(f, 1, second);
    assert_memory_not_equal(first, second, SHA256_BYTES);
    stage_put_text(f, STORE_USERS, "a", "1");
    stage_put_text(f, STORE_USERS, "b", "2"); /* after a sort: the order must be made again */
    digest(f, 1, second);
    assert_memory_equal(first, second, SHA256_BYTES);
}

/* ---- many keys ------------------------------------------------------------------------------- */

/* Random keys that share prefixes, some inside others: order, digest and store must agree with a
 * plain model: a sorted array of strings. */
struct model_entry {
    char key[24];
    char value[40];
};

static int model_compare(const void *a, const void *b) {
    return strcmp(((const struct model_entry *)a)->key, ((const struct model_entry *)b)->key);
}

static void thousands_of_random_keys_agree_with_a_sorted_array(void **state) {
    struct store_fixture *f = *state;
    enum { COUNT = 5000 };
    struct model_entry *model = MEMORY_TAKE_ARRAY(struct model_entry, COUNT);
    assert_non_null(model);
    struct rng rng = rng_make(3, 1);
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < COUNT; i++) {
            /* Distinct: i stands in the key, behind a prefix of random length. */
            (void)snprintf(model[i].key, sizeof model[i].key, "user_%.*s%d",
                           (int)rng_below(&rng, 6), "\x01zzzz", i * 7 % COUNT);
            (void)snprintf(model[i].value, sizeof model[i].value, "%d-%d-%.*s", round, i,
                           (int)rng_below(&rng, 20), "....................");
            stage_put_text(f, STORE_USERS, model[i].key, model[i].value);
        }
        qsort(model, COUNT, sizeof *model, model_compare);

        struct sha256 *hash = NULL;
        uint8_t expected[SHA256_BYTES], found[SHA256_BYTES], previous[SHA256_BYTES];
        memset(previous, 0x5a, sizeof previous);
        ASSERT_OK(sha256_init(&hash, &f->err), f->err);
        sha256_update(hash, previous, sizeof previous);
        for (int i = 0; i < COUNT; i++) {
            if (i > 0 && strcmp(model[i].key, model[i - 1].key) == 0) { continue; }
            uint8_t head[6] = {STORE_USERS, 1};
            uint8_t size[4];
            put_u32le(head + 2, (uint32_t)strlen(model[i].key));
            put_u32le(size, (uint32_t)strlen(model[i].value));
            sha256_update(hash, head, sizeof head);
            sha256_update(hash, model[i].key, strlen(model[i].key));
            sha256_update(hash, size, sizeof size);
            sha256_update(hash, model[i].value, strlen(model[i].value));
        }
        sha256_finish(hash, expected);
        sha256_free(hash);
        digest(f, 1, found);
        assert_memory_equal(found, expected, SHA256_BYTES);
        commit(f);
    }

    store_fixture_reopen(f);
    for (int i = 0; i < COUNT; i++) {
        assert_stage_text(f, STORE_USERS, model[i].key, model[i].value);
    }
    memory_free(model);
}

/* ---- faults ---------------------------------------------------------------------------------- */

static void refused_commit_leaves_the_store_old_and_the_stage_full(void **state) {
    struct store_fixture *f = *state;
    stage_put_text(f, STORE_USERS, "a", "old");
    stage_put_text(f, STORE_TRAINING_LOG, "1", "row");
    commit(f);

    bool fired = true;
    for (long n = 1; fired; n++) {
        stage_put_text(f, STORE_USERS, "a", "new");
        delete_text(f, STORE_TRAINING_LOG, "1");
        ASSERT_OK(stage_trim(f->stage, STORE_SUMS, span_of("x"), &f->err), f->err);
        fault_arm(FAULT_STORE, n);
        enum status status = stage_commit(f->stage, &f->err);
        fired = fault_fired(FAULT_STORE);
        fault_arm(FAULT_STORE, 0);
        if (!fired) {
            ASSERT_OK(status, f->err);
            break;
        }

        ASSERT_STATUS(status, STATUS_IO);
        ASSERT_CONTAINS(f->err.text, "disk full");
        assert_int_equal(stage_entries(f->stage), 2);
        assert_stage_text(f, STORE_USERS, "a", "new");
        stage_reset(f->stage);
        assert_stage_text(f, STORE_USERS, "a", "old");
        assert_stage_text(f, STORE_TRAINING_LOG, "1", "row");
    }
    assert_stage_text(f, STORE_USERS, "a", "new");
    assert_stage_absent(f, STORE_TRAINING_LOG, "1");
}

static void failed_allocations_change_nothing(void **state) {
    struct store_fixture *f = *state;
    struct span value;
    bool fired = true;
    for (long n = 1; fired; n++) {
        stage_close(f->stage);
        ASSERT_OK(stage_open(f->store, &f->stage, &f->err), f->err);
        fault_arm(FAULT_MEMORY, n);
        enum status put = stage_put(f->stage, STORE_USERS, span_of("a"), span_of("1"), &f->err);
        uint8_t found[SHA256_BYTES] = {0};
        enum status digested = put;
        if (put == STATUS_OK) { digested = stage_digest(f->stage, 1, found, found, &f->err); }
        fired = fault_fired(FAULT_MEMORY);
        fault_arm(FAULT_MEMORY, 0);

        assert_true(fired == (put != STATUS_OK || digested != STATUS_OK));
        if (put != STATUS_OK) {
            ASSERT_STATUS(put, STATUS_NO_MEMORY);
            assert_int_equal(stage_entries(f->stage), 0);
            ASSERT_STATUS(stage_get(f->stage, STORE_USERS, span_of("a"), &value, &f->err),
                          STATUS_NOT_FOUND);
        } else if (digested != STATUS_OK) {
            ASSERT_STATUS(digested, STATUS_NO_MEMORY);
            assert_stage_text(f, STORE_USERS, "a", "1");
        }
    }
}

int main(void) {
#define STAGE_TEST(name) \
    cmocka_unit_test_setup_teardown(name, store_fixture_setup, store_fixture_teardown)
    const struct CMUnitTest tests[] = {
        STAGE_TEST(get_sees_pending_puts_and_deletes_before_the_store),
        STAGE_TEST(committed_deletes_are_gone_and_an_absent_key_may_be_deleted),
        STAGE_TEST(same_key_in_two_tables_is_two_values),
        STAGE_TEST(value_lent_by_get_may_be_put_back),
        STAGE_TEST(keys_and_values_beyond_their_limits_are_refused),
        STAGE_TEST(trims_happen_at_the_commit_and_after_its_puts),
        STAGE_TEST(rewrite_replaces_what_exists_and_makes_nothing),
        STAGE_TEST(digest_equals_an_independent_encoding),
        STAGE_TEST(digest_of_nothing_is_the_hash_of_the_previous),
        STAGE_TEST(digest_depends_on_neither_order_nor_trims_nor_overwritten_values),
        STAGE_TEST(thousands_of_random_keys_agree_with_a_sorted_array),
        STAGE_TEST(refused_commit_leaves_the_store_old_and_the_stage_full),
        STAGE_TEST(failed_allocations_change_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
