/* SPDX-License-Identifier: Apache-2.0
 *
 * test_store.c - the environment: what lasts, what is found damaged, how the map grows.
 */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/rng.h"
#include "tests/storage/store_fixture.h"

static void commit(struct store_fixture *f) {
    ASSERT_OK(stage_commit(f->stage, &f->err), f->err);
}

static void committed_values_last_over_a_reopen(void **state) {
    struct store_fixture *f = *state;
    stage_put_text(f, STORE_USERS, "anna", "history");
    stage_put_text(f, STORE_META, "epoch", "7");
    commit(f);

    store_fixture_reopen(f);

    assert_stage_text(f, STORE_USERS, "anna", "history");
    assert_stage_text(f, STORE_META, "epoch", "7");
    assert_stage_absent(f, STORE_SEEN, "anna");
}

static void staged_values_without_commit_leave_no_trace(void **state) {
    struct store_fixture *f = *state;
    stage_put_text(f, STORE_USERS, "anna", "history");

    store_fixture_reopen(f);

    assert_stage_absent(f, STORE_USERS, "anna");
}

/* Each byte of the value and of the CRC itself, one at a time. */
static void every_flipped_byte_is_corrupt_and_named(void **state) {
    struct store_fixture *f = *state;
    stage_put_text(f, STORE_USERS, "an\x01na", "abc");
    commit(f);

    for (size_t flip = 0; flip < 3 + 4; flip++) {
        stage_close(f->stage);
        store_close(f->store);
        store_flip_byte(f->folder.path, "users", span_of("an\x01na"), flip);
        store_fixture_open(f, 64u << 20, 64u << 20);

        struct span value;
        ASSERT_STATUS(stage_get(f->stage, STORE_USERS, span_of("an\x01na"), &value, &f->err),
                      STATUS_CORRUPT);
        ASSERT_CONTAINS(f->err.text, "table users, key 'an\\x01na'");
        stage_close(f->stage);
        store_close(f->store);
        store_flip_byte(f->folder.path, "users", span_of("an\x01na"), flip);
        store_fixture_open(f, 64u << 20, 64u << 20);
    }
    assert_stage_text(f, STORE_USERS, "an\x01na", "abc");
}

/* As a bug of LMDB or of the disk might: a whole, intact value in the wrong place. */
static void value_under_another_key_is_corrupt(void **state) {
    struct store_fixture *f = *state;
    stage_put_text(f, STORE_USERS, "anna", "history of anna");
    stage_put_text(f, STORE_USERS, "bert", "history of bert");
    commit(f);
    stage_close(f->stage);
    store_close(f->store);
    store_copy_stored(f->folder.path, "users", span_of("anna"), span_of("bert"));
    store_fixture_open(f, 64u << 20, 64u << 20);

    struct span value;
    assert_stage_text(f, STORE_USERS, "anna", "history of anna");
    ASSERT_STATUS(stage_get(f->stage, STORE_USERS, span_of("bert"), &value, &f->err),
                  STATUS_CORRUPT);
}

static bool count_visit(void *context, struct span key, struct span value) {
    (void)key;
    (void)value;
    int *left = context;
    return --*left > 0;
}

static void scan_goes_in_key_order_from_the_first_key_asked_for(void **state) {
    struct store_fixture *f = *state;
    stage_put_text(f, STORE_USERS, "c", "3");
    stage_put_text(f, STORE_USERS, "a", "1");
    stage_put_text(f, STORE_USERS, "b", "2");
    commit(f);
    struct store_reader *reader = NULL;
    ASSERT_OK(store_reader_open(f->store, &reader, &f->err), f->err);

    int left = 100;
    ASSERT_OK(store_scan(reader, STORE_USERS, span_of("b"), count_visit, &left, &f->err), f->err);
    assert_int_equal(left, 98);
    left = 2;
    ASSERT_OK(store_scan(reader, STORE_USERS, span_make(NULL, 0), count_visit, &left, &f->err),
              f->err);
    assert_int_equal(left, 0); /* stopped by the visitor */
    struct span key, value;
    ASSERT_OK(store_last(reader, STORE_USERS, &key, &value, &f->err), f->err);
    assert_true(span_equal(key, span_of("c")) && span_equal(value, span_of("3")));
    ASSERT_STATUS(store_last(reader, STORE_SUMS, &key, &value, &f->err), STATUS_NOT_FOUND);

    store_reader_close(reader);
}

static void reader_keeps_its_snapshot_until_renewed(void **state) {
    struct store_fixture *f = *state;
    struct store_reader *reader = NULL;
    struct span value;
    ASSERT_OK(store_reader_open(f->store, &reader, &f->err), f->err);
    stage_put_text(f, STORE_USERS, "a", "1");
    commit(f);

    ASSERT_STATUS(store_get(reader, STORE_USERS, span_of("a"), &value, &f->err), STATUS_NOT_FOUND);
    ASSERT_OK(store_reader_renew(reader, &f->err), f->err);
    ASSERT_OK(store_get(reader, STORE_USERS, span_of("a"), &value, &f->err), f->err);

    store_reader_close(reader);
}

static void put_many(struct store_fixture *f, int count) {
    uint8_t value[1000];
    memset(value, 7, sizeof value);
    for (int i = 0; i < count; i++) {
        uint8_t key[4];
        put_u32be(key, (uint32_t)i);
        ASSERT_OK(stage_put(f->stage, STORE_TRAINING_LOG, span_make(key, 4),
                            span_make(value, sizeof value), &f->err),
                  f->err);
    }
}

static void full_map_grows_and_the_commit_goes_through(void **state) {
    struct store_fixture *f = *state;
    stage_close(f->stage);
    store_close(f->store);
    store_fixture_open(f, 256u << 10, 64u << 20);

    put_many(f, 5000);
    commit(f);

    struct store_usage usage;
    ASSERT_OK(store_usage(f->store, &usage, &f->err), f->err);
    assert_int_equal(usage.entries[STORE_TRAINING_LOG], 5000);
    assert_true(usage.map_bytes > (256u << 10) && usage.map_bytes <= (64u << 20));
    assert_true(usage.used_bytes > 5000000 && usage.used_bytes < 10000000);
}

static void map_at_its_maximum_is_a_limit_and_keeps_the_stage(void **state) {
    struct store_fixture *f = *state;
    stage_close(f->stage);
    store_close(f->store);
    store_fixture_open(f, 256u << 10, 1u << 20);
    stage_put_text(f, STORE_USERS, "anna", "old");
    commit(f);

    stage_put_text(f, STORE_USERS, "anna", "new");
    put_many(f, 5000);
    ASSERT_STATUS(stage_commit(f->stage, &f->err), STATUS_LIMIT);
    ASSERT_CONTAINS(f->err.text, "is full");
    assert_int_equal(stage_entries(f->stage), 5001);
    assert_stage_text(f, STORE_USERS, "anna", "new");
    stage_reset(f->stage);
    assert_stage_text(f, STORE_USERS, "anna", "old");
}

struct growing_reader {
    struct store *store;
    struct store_reader *reader;
    volatile int resets;
};

static void *reset_after_a_while(void *argument) {
    struct growing_reader *g = argument;
    clock_sleep_us(400000); /* longer than the growing takes by itself */
    g->resets = 1;
    store_reader_reset(g->reader);
    return NULL;
}

static void growing_waits_for_a_reader_of_another_thread(void **state) {
    struct store_fixture *f = *state;
    stage_close(f->stage);
    store_close(f->store);
    store_fixture_open(f, 256u << 10, 64u << 20);
    struct growing_reader g = {.store = f->store};
    ASSERT_OK(store_reader_open(f->store, &g.reader, &f->err), f->err);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, reset_after_a_while, &g), 0);

    put_many(f, 1000);
    commit(f);
    assert_int_equal(g.resets, 1);

    assert_int_equal(pthread_join(thread, NULL), 0);
    struct span key, value;
    ASSERT_OK(store_reader_renew(g.reader, &f->err), f->err);
    ASSERT_OK(store_last(g.reader, STORE_TRAINING_LOG, &key, &value, &f->err), f->err);
    assert_int_equal(get_u32be(key.data), 999);
    store_reader_close(g.reader);
}

static void read_only_store_reads_and_an_absent_one_is_not_found(void **state) {
    struct store_fixture *f = *state;
    stage_put_text(f, STORE_SUMS, "hits", "12");
    commit(f);
    stage_close(f->stage);
    store_close(f->store);
    f->stage = NULL;
    f->store = NULL;

    struct store_settings settings = {.path = f->folder.path,
                                      .map_bytes = 1u << 20,
                                      .map_bytes_max = 1u << 30,
                                      .read_only = true};
    struct store_reader *reader = NULL;
    struct span value;
    ASSERT_OK(store_open(&settings, &f->store, &f->err), f->err);
    ASSERT_OK(store_reader_open(f->store, &reader, &f->err), f->err);
    ASSERT_OK(store_get(reader, STORE_SUMS, span_of("hits"), &value, &f->err), f->err);
    assert_true(span_equal(value, span_of("12")));
    store_reader_close(reader);

    settings.path = tmpdir_path(&f->folder, "nothing-here");
    struct store *none = NULL;
    ASSERT_STATUS(store_open(&settings, &none, &f->err), STATUS_NOT_FOUND);
    assert_null(none);
}

/* Every allocation and every LMDB call of opening fails once; nothing leaks, nothing half-made. */
static void opening_survives_every_fault(void **state) {
    struct store_fixture *f = *state;
    struct store_settings settings = {.map_bytes = 1u << 20, .map_bytes_max = 1u << 20};
    const char *folder = tmpdir_path(&f->folder, "other");
    settings.path = folder;

    for (int kind = 0; kind < FAULT_KIND_COUNT; kind++) {
        bool fired = true;
        for (long n = 1; fired; n++) {
            struct store *store = NULL;
            fault_arm((enum fault_kind)kind, n);
            enum status status = store_open(&settings, &store, &f->err);
            fired = fault_fired((enum fault_kind)kind);
            fault_arm((enum fault_kind)kind, 0);
            if (status == STATUS_OK) { store_close(store); }
            assert_true(fired == (status != STATUS_OK));
            ASSERT_OK(dir_remove(folder, &f->err), f->err);
        }
    }
}

#define KEYS_A_COMMIT 50

/* Commits n = 1, 2, ... from where the store is until killed: KEYS_A_COMMIT keys and meta's "n". */
static void commit_until_killed(const char *folder) {
    struct store_settings settings = {
        .path = folder, .map_bytes = 1u << 20, .map_bytes_max = 64u << 20};
    struct store *store = NULL;
    struct stage *stage = NULL;
    struct span value = {0};
    if (store_open(&settings, &store, NULL) != STATUS_OK) { _exit(1); }
    if (stage_open(store, &stage, NULL) != STATUS_OK) { _exit(1); }
    uint8_t n[4] = {0}, key[4];
    if (stage_get(stage, STORE_META, span_of("n"), &value, NULL) == STATUS_OK) {
        memcpy(n, value.data, 4);
    }
    for (;;) {
        put_u32be(n, get_u32be(n) + 1);
        enum status status = stage_put(stage, STORE_META, span_of("n"), span_make(n, 4), NULL);
        for (uint32_t i = 0; i < KEYS_A_COMMIT && status == STATUS_OK; i++) {
            put_u32be(key, i * 7919);
            status = stage_put(stage, i % 2 == 0 ? STORE_USERS : STORE_SEEN, span_make(key, 4),
                               span_make(n, 4), NULL);
        }
        if (status != STATUS_OK || stage_commit(stage, NULL) != STATUS_OK) { _exit(1); }
    }
}

static void killed_at_any_moment_the_store_is_old_or_new(void **state) {
    struct store_fixture *f = *state;
    struct rng rng = rng_make(12, 1);
    uint32_t before = 0, moved = 0;
    for (int round = 0; round < 20; round++) {
        stage_close(f->stage);
        store_close(f->store);
        (void)fflush(NULL); /* the child must not print it again */
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) { commit_until_killed(f->folder.path); }
        clock_sleep_us(3000 + (int64_t)rng_below(&rng, 40000));
        int ended = 0;
        assert_int_equal(kill(child, SIGKILL), 0);
        assert_int_equal(waitpid(child, &ended, 0), child);
        assert_true(WIFSIGNALED(ended)); /* not ended by a failure of its own */

        store_fixture_open(f, 64u << 20, 64u << 20);
        struct span value = {0};
        uint32_t n = 0;
        if (stage_get(f->stage, STORE_META, span_of("n"), &value, &f->err) == STATUS_OK) {
            n = get_u32be(value.data);
        }
        assert_true(n >= before);
        for (uint32_t i = 0; i < KEYS_A_COMMIT && n > 0; i++) {
            uint8_t key[4];
            put_u32be(key, i * 7919);
            ASSERT_OK(stage_get(f->stage, i % 2 == 0 ? STORE_USERS : STORE_SEEN, span_make(key, 4),
                                &value, &f->err),
                      f->err);
            assert_int_equal(get_u32be(value.data), n);
        }
        moved += n > before;
        before = n;
    }
    assert_true(moved > 0); /* some rounds got as far as a commit, or nothing was tested */
}

int main(void) {
#define STORE_TEST(name) \
    cmocka_unit_test_setup_teardown(name, store_fixture_setup, store_fixture_teardown)
    const struct CMUnitTest tests[] = {
        STORE_TEST(committed_values_last_over_a_reopen),
        STORE_TEST(staged_values_without_commit_leave_no_trace),
        STORE_TEST(every_flipped_byte_is_corrupt_and_named),
        STORE_TEST(value_under_another_key_is_corrupt),
        STORE_TEST(scan_goes_in_key_order_from_the_first_key_asked_for),
        STORE_TEST(reader_keeps_its_snapshot_until_renewed),
        STORE_TEST(full_map_grows_and_the_commit_goes_through),
        STORE_TEST(map_at_its_maximum_is_a_limit_and_keeps_the_stage),
        STORE_TEST(growing_waits_for_a_reader_of_another_thread),
        STORE_TEST(read_only_store_reads_and_an_absent_one_is_not_found),
        STORE_TEST(opening_survives_every_fault),
        STORE_TEST(killed_at_any_moment_the_store_is_old_or_new),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
