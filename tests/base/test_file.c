/* SPDX-License-Identifier: Apache-2.0
 *
 * test_file.c - after any failure there is the old file or the new one, and nothing left over.
 */
#include "base/file.h"

#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/support/fault.h"
#include "tests/support/tmpdir.h"
#include "tests/support/unit.h"

static int setup(void **state) {
    static struct tmpdir tmpdir;
    tmpdir_init(&tmpdir);
    *state = &tmpdir;
    return 0;
}

static int teardown(void **state) {
    tmpdir_free(*state);
    return 0;
}

static void assert_file(const char *path, const char *expected) {
    struct buffer bytes = {.size = 0};
    struct error err;
    ASSERT_OK(file_read(path, 1u << 20, &bytes, &err), err);
    assert_true(span_equal(buffer_span(&bytes), span_of(expected)));
    buffer_free(&bytes);
}

static enum status count_entry(void *context, const char *name, bool is_dir, struct error *err) {
    (void)name;
    (void)is_dir;
    (void)err;
    ++*(int *)context;
    return STATUS_OK;
}

static int entries_of(const char *path) {
    int count = 0;
    struct error err;
    ASSERT_OK(dir_list(path, count_entry, &count, &err), err);
    return count;
}

static void what_was_written_is_read_back(void **state) {
    struct error err;
    const char *path = tmpdir_path(*state, "file");
    const struct span pieces[] = {span_of("one "), span_of(""), span_of("two")};

    ASSERT_OK(file_write(path, pieces, 3, &err), err);
    assert_file(path, "one two");
    ASSERT_OK(file_replace(path, span_of("three"), &err), err);
    assert_file(path, "three");
    ASSERT_OK(file_replace(path, span_of(""), &err), err);
    assert_file(path, "");
    assert_int_equal(entries_of(((struct tmpdir *)*state)->path), 1);
}

static void reading_says_absent_too_large_and_folder(void **state) {
    struct error err;
    struct buffer bytes = {.size = 0};
    const char *path = tmpdir_path(*state, "file");
    ASSERT_OK(file_replace(path, span_of("12345"), &err), err);
    ASSERT_OK(file_read(path, 5, &bytes, &err), err);

    ASSERT_STATUS(file_read(path, 4, &bytes, &err), STATUS_LIMIT);
    ASSERT_CONTAINS(err.text, path);
    ASSERT_STATUS(file_read(tmpdir_path(*state, "none"), 4, &bytes, &err), STATUS_NOT_FOUND);
    ASSERT_STATUS(file_read(((struct tmpdir *)*state)->path, 4, &bytes, &err), STATUS_IO);
    assert_true(span_equal(buffer_span(&bytes), span_of("12345")));

    /* A file that claims size 0 and is not empty. */
    ASSERT_OK(file_read("/proc/self/stat", 1u << 20, &bytes, &err), err);
    assert_true(bytes.size > 10);
    ASSERT_STATUS(file_read("/proc/self/stat", 9, &bytes, &err), STATUS_LIMIT);
    buffer_free(&bytes);
}

static void a_mapping_shows_the_file(void **state) {
    struct error err;
    struct span bytes = {0};
    const char *path = tmpdir_path(*state, "file");

    ASSERT_OK(file_replace(path, span_of("mapped"), &err), err);
    ASSERT_OK(file_map(path, &bytes, &err), err);
    assert_true(span_equal(bytes, span_of("mapped")));
    file_unmap(bytes);
    ASSERT_OK(file_replace(path, span_of(""), &err), err);
    ASSERT_OK(file_map(path, &bytes, &err), err);
    assert_int_equal(bytes.size, 0);
    file_unmap(bytes);
    ASSERT_STATUS(file_map(tmpdir_path(*state, "none"), &bytes, &err), STATUS_NOT_FOUND);
}

struct replace_case {
    const char *folder;
    char path[FILE_PATH_BYTES_MAX];
};

/* Replaces "old" by "new": afterwards one of them is there, and nothing else. */
static enum status replace_old_by_new(void *context) {
    struct replace_case *it = context;
    struct error err;
    const struct span old = span_of("old");
    FILE *file = fopen(it->path, "w"); /* not through the room: its fault is armed */
    assert_non_null(file);
    assert_int_equal(fwrite(old.data, 1, old.size, file), old.size);
    assert_int_equal(fclose(file), 0);

    enum status status = file_replace(it->path, span_of("new"), &err);
    bool fired = fault_fired(FAULT_FILE);
    fault_arm(FAULT_FILE, 0);
    assert_int_equal(entries_of(it->folder), 1);
    char found[8] = {0};
    file = fopen(it->path, "r");
    assert_non_null(file);
    assert_int_equal(fread(found, 1, sizeof found, file), 3);
    assert_int_equal(fclose(file), 0);
    if (status == STATUS_OK) { assert_string_equal(found, "new"); }
    assert_true(strcmp(found, "old") == 0 || strcmp(found, "new") == 0);
    if (!fired) { return status; }
    ASSERT_CONTAINS(err.text, "Input/output error");
    fault_arm(FAULT_FILE, 1); /* what the sweep asks about */
    assert_true(fault_fires(FAULT_FILE));
    return status;
}

static void a_failed_replace_leaves_the_old_file_or_the_new_one(void **state) {
    struct replace_case it = {.folder = ((struct tmpdir *)*state)->path};
    struct error err;
    ASSERT_OK(path_join(it.path, it.folder, "file", &err), err);

    /* open, write, fsync, rename, fsync of the folder */
    assert_int_equal(fault_sweep(FAULT_FILE, STATUS_IO, replace_old_by_new, &it), 5);
}

static void a_short_write_is_an_error_and_not_a_short_file(void **state) {
    struct error err;
    struct rlimit old_limit;
    const char *path = tmpdir_path(*state, "file");
    ASSERT_OK(file_replace(path, span_of("old"), &err), err);

    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old_limit), 0);
    struct rlimit limit = {.rlim_cur = 4, .rlim_max = old_limit.rlim_max};
    assert_ptr_not_equal(signal(SIGXFSZ, SIG_IGN), SIG_ERR);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    enum status status = file_replace(path, span_of("longer than four"), &err);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old_limit), 0);

    ASSERT_STATUS(status, STATUS_IO);
    ASSERT_CONTAINS(err.text, "File too large");
    assert_file(path, "old");
    assert_int_equal(entries_of(((struct tmpdir *)*state)->path), 1);
}

static enum status take_name(void *context, const char *name, bool is_dir, struct error *err) {
    (void)err;
    return buffer_append_format(context, "%s%s", name, is_dir ? "/ " : " ");
}

static enum status refuse_name(void *context, const char *name, bool is_dir, struct error *err) {
    (void)context;
    (void)is_dir;
    return error_set(err, STATUS_CORRUPT, "refused %s", name);
}

static void folders_list_sorted_and_stop_where_the_visitor_stops(void **state) {
    struct error err;
    struct buffer names = {.size = 0};
    const char *folder = ((struct tmpdir *)*state)->path;

    ASSERT_OK(dir_make(tmpdir_path(*state, "b/deep/er"), &err), err);
    ASSERT_OK(dir_make(tmpdir_path(*state, "b/deep/er"), &err), err);
    ASSERT_OK(file_replace(tmpdir_path(*state, "a"), span_of(""), &err), err);
    ASSERT_OK(file_replace(tmpdir_path(*state, "B"), span_of(""), &err), err);
    ASSERT_OK(dir_list(folder, take_name, &names, &err), err);
    assert_true(span_equal(buffer_span(&names), span_of("B a b/ ")));
    ASSERT_STATUS(dir_list(folder, refuse_name, NULL, &err), STATUS_CORRUPT);
    assert_string_equal(err.text, "refused B");
    ASSERT_STATUS(dir_list(tmpdir_path(*state, "none"), take_name, &names, &err), STATUS_NOT_FOUND);
    ASSERT_STATUS(dir_make(tmpdir_path(*state, "a/below"), &err), STATUS_IO);
    ASSERT_CONTAINS(err.text, "Not a directory");
    buffer_free(&names);
}

static void a_published_folder_never_replaces_another(void **state) {
    struct error err;
    const struct span piece = span_of("x");

    ASSERT_OK(dir_make(tmpdir_path(*state, "new.tmp"), &err), err);
    ASSERT_OK(file_write(tmpdir_path(*state, "new.tmp/file"), &piece, 1, &err), err);
    ASSERT_OK(dir_publish(tmpdir_path(*state, "new.tmp"), tmpdir_path(*state, "new"), &err), err);
    assert_file(tmpdir_path(*state, "new/file"), "x");
    ASSERT_OK(dir_make(tmpdir_path(*state, "next.tmp"), &err), err);
    ASSERT_STATUS(dir_publish(tmpdir_path(*state, "next.tmp"), tmpdir_path(*state, "new"), &err),
                  STATUS_IO);
    ASSERT_CONTAINS(err.text, "File exists");
    assert_file(tmpdir_path(*state, "new/file"), "x");
}

static void removal_deletes_links_and_not_what_they_show(void **state) {
    struct error err;
    ASSERT_OK(dir_make(tmpdir_path(*state, "kept"), &err), err);
    ASSERT_OK(file_replace(tmpdir_path(*state, "kept/file"), span_of("k"), &err), err);
    ASSERT_OK(dir_make(tmpdir_path(*state, "gone/a/b"), &err), err);
    ASSERT_OK(file_replace(tmpdir_path(*state, "gone/a/file"), span_of("g"), &err), err);
    assert_int_equal(symlink("../kept", tmpdir_path(*state, "gone/link")), 0);
    assert_int_equal(symlink("kept", tmpdir_path(*state, "link")), 0);

    ASSERT_OK(dir_remove(tmpdir_path(*state, "gone"), &err), err);
    assert_false(file_exists(tmpdir_path(*state, "gone")));
    assert_file(tmpdir_path(*state, "kept/file"), "k");
    ASSERT_OK(dir_remove(tmpdir_path(*state, "gone"), &err), err);
    ASSERT_STATUS(dir_remove(tmpdir_path(*state, "link"), &err), STATUS_IO);
    assert_file(tmpdir_path(*state, "kept/file"), "k");
}

static void paths_have_a_limit_and_space_is_told(void **state) {
    struct error err;
    char path[FILE_PATH_BYTES_MAX] = "untouched";
    char name[FILE_PATH_BYTES_MAX + 1];
    uint64_t bytes = 0;
    memset(name, 'n', sizeof name - 1);
    name[sizeof name - 1] = '\0';

    ASSERT_STATUS(path_join(path, "a", name, &err), STATUS_LIMIT);
    assert_string_equal(path, "untouched");
    ASSERT_STATUS(dir_make(name, &err), STATUS_LIMIT);
    ASSERT_STATUS(file_replace(name, span_of(""), &err), STATUS_LIMIT);
    ASSERT_OK(path_join(path, "/", "x", &err), err);
    assert_string_equal(path, "/x");
    ASSERT_OK(path_join(path, "a/b", "x", &err), err);
    assert_string_equal(path, "a/b/x");
    ASSERT_OK(dir_free_bytes(((struct tmpdir *)*state)->path, &bytes, &err), err);
    ASSERT_STATUS(dir_free_bytes(tmpdir_path(*state, "none"), &bytes, &err), STATUS_IO);
}

#define WITH_FOLDER(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        WITH_FOLDER(what_was_written_is_read_back),
        WITH_FOLDER(reading_says_absent_too_large_and_folder),
        WITH_FOLDER(a_mapping_shows_the_file),
        WITH_FOLDER(a_failed_replace_leaves_the_old_file_or_the_new_one),
        WITH_FOLDER(a_short_write_is_an_error_and_not_a_short_file),
        WITH_FOLDER(folders_list_sorted_and_stop_where_the_visitor_stops),
        WITH_FOLDER(a_published_folder_never_replaces_another),
        WITH_FOLDER(removal_deletes_links_and_not_what_they_show),
        WITH_FOLDER(paths_have_a_limit_and_space_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
