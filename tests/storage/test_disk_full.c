/* SPDX-License-Identifier: Apache-2.0
 *
 * test_disk_full.c - a file system without room: nothing half-written, and on when there is room.
 *
 * The file system is a tmpfs of a few MiB inside a mount namespace of the process's own; where the
 * kernel gives ordinary users no such thing the program says "skipped" (77).
 */
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <sys/mount.h>
#include <unistd.h>

#include "storage/stream_local.h"
#include "tests/storage/store_fixture.h"
#include "tests/storage/stream_contract.h"

#define DISK_OPTIONS "size=6m"
#define BALLAST      (3u << 20)

static struct tmpdir disk;
static struct error err; /* of the running test */

static bool write_text(const char *path, const char *text) {
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0) { return false; }
    bool written = write(fd, text, strlen(text)) == (ssize_t)strlen(text);
    return close(fd) == 0 && written;
}

/* A mount namespace where this process may mount: as root at once, else by a user namespace. */
static bool namespace_enter(void) {
    char map[64];
    uid_t uid = getuid();
    gid_t gid = getgid();
    if (unshare(CLONE_NEWNS) != 0) {
        if (unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0) { return false; }
        (void)snprintf(map, sizeof map, "0 %u 1", uid);
        if (!write_text("/proc/self/setgroups", "deny") || !write_text("/proc/self/uid_map", map)) {
            return false;
        }
        (void)snprintf(map, sizeof map, "0 %u 1", gid);
        if (!write_text("/proc/self/gid_map", map)) { return false; }
    }
    return mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0;
}

static int setup(void **state) {
    (void)state;
    tmpdir_init(&disk);
    assert_int_equal(mount("tmpfs", disk.path, "tmpfs", 0, DISK_OPTIONS), 0);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    assert_int_equal(umount(disk.path), 0);
    tmpdir_free(&disk);
    return 0;
}

/* Takes most of the disk, to be given back later. */
static void ballast_put(void) {
    static uint8_t bytes[BALLAST];
    struct span piece = span_make(bytes, sizeof bytes);
    ASSERT_OK(file_write(tmpdir_path(&disk, "ballast"), &piece, 1, &err), err);
}

static void ballast_take(void) {
    assert_int_equal(unlink(tmpdir_path(&disk, "ballast")), 0);
}

static void put_rows(struct stage *stage, uint32_t first, uint32_t count, uint8_t with) {
    uint8_t value[1000], key[4];
    memset(value, with, sizeof value);
    for (uint32_t i = first; i < first + count; i++) {
        put_u32be(key, i);
        ASSERT_OK(stage_put(stage, STORE_TRAINING_LOG, span_make(key, 4),
                            span_make(value, sizeof value), &err),
                  err);
    }
}

static void assert_rows(struct stage *stage, uint32_t count, uint8_t with) {
    for (uint32_t i = 0; i < count; i++) {
        uint8_t key[4];
        struct span value = {0};
        put_u32be(key, i);
        ASSERT_OK(stage_get(stage, STORE_TRAINING_LOG, span_make(key, 4), &value, &err), err);
        assert_int_equal(value.data[0], with);
        assert_int_equal(value.data[999], with);
    }
}

static void full_disk_keeps_the_stage_and_the_commit_goes_through_later(void **state) {
    (void)state;
    struct store_settings settings = {
        .path = tmpdir_path(&disk, "state"), .map_bytes = 64u << 20, .map_bytes_max = 64u << 20};
    struct store *store = NULL;
    struct stage *stage = NULL;
    ballast_put();
    ASSERT_OK(store_open(&settings, &store, &err), err);
    ASSERT_OK(stage_open(store, &stage, &err), err);
    put_rows(stage, 0, 500, 1);
    ASSERT_OK(stage_commit(stage, &err), err);

    put_rows(stage, 0, 3000, 2);
    for (int tries = 0; tries < 3; tries++) {
        ASSERT_STATUS(stage_commit(stage, &err), STATUS_IO);
        ASSERT_CONTAINS(err.text, "disk full");
        assert_true(err.disk_full);
        assert_int_equal(stage_entries(stage), 3000);
    }
    struct store_reader *reader = NULL;
    struct span key, value;
    ASSERT_OK(store_reader_open(store, &reader, &err), err);
    ASSERT_OK(store_last(reader, STORE_TRAINING_LOG, &key, &value, &err), err);
    assert_int_equal(get_u32be(key.data), 499);
    assert_int_equal(value.data[0], 1);
    store_reader_close(reader);

    ballast_take();
    ASSERT_OK(stage_commit(stage, &err), err);
    assert_rows(stage, 3000, 2);
    stage_close(stage);
    store_close(store);
    ASSERT_OK(store_open(&settings, &store, &err), err);
    ASSERT_OK(stage_open(store, &stage, &err), err);
    assert_rows(stage, 3000, 2);
    stage_close(stage);
    store_close(store);
}

static void full_disk_makes_the_stream_wait_and_loses_nothing(void **state) {
    (void)state;
    struct stream_local_settings settings = {.path = tmpdir_path(&disk, "stream"),
                                             .identity = "one",
                                             .partitions = 2,
                                             .map_bytes_max = 64u << 20};
    static uint8_t bytes[1000];
    struct stream_output output = {
        .topic = STREAM_PREDICTIONS, .timestamp_ms = 1, .value = span_make(bytes, sizeof bytes)};
    struct stream_position position = {STREAM_EVENTS, 0, 7};
    struct stream *s = NULL;
    int64_t first = 0, end = 0;
    char token[STREAM_TOKEN_BYTES_MAX];
    ballast_put();
    ASSERT_OK(stream_local_open(&settings, &s, &err), err);
    contract_start(s);
    ASSERT_OK(s->ops->begin(s, &err), err);
    for (int i = 0; i < 2800; i++) {
        ASSERT_OK(s->ops->publish(s, &output, &err), err);
    }
    ASSERT_STATUS(s->ops->commit(s, &position, 1, "t", NULL, NULL, &err), STATUS_AGAIN);
    ASSERT_CONTAINS(err.text, "disk full");
    ASSERT_OK(s->ops->bounds(s, STREAM_PREDICTIONS, 0, &first, &end, &err), err);
    assert_int_equal(end, 0);

    ballast_take();
    ASSERT_OK(s->ops->commit(s, &position, 1, "t", NULL, NULL, &err), err);
    ASSERT_OK(s->ops->bounds(s, STREAM_PREDICTIONS, 0, &first, &end, &err), err);
    assert_int_equal(end, 2800);
    ASSERT_OK(s->ops->committed(s, &position, 1, token, &err), err);
    assert_int_equal(position.next, 7);
    s->ops->close(s);
}

int main(void) {
    if (!namespace_enter()) {
        (void)fprintf(stderr, "skipped: no mount namespace for this user\n");
        return TEST_SKIPPED;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(full_disk_keeps_the_stage_and_the_commit_goes_through_later,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(full_disk_makes_the_stream_wait_and_loses_nothing, setup,
                                        teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
