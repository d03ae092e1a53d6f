/* SPDX-License-Identifier: Apache-2.0
 *
 * test_log.c - the look of a line, escaping, levels and the burst rule, read back from stderr.
 */
#include "base/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/bytes.h"
#include "tests/support/tmpdir.h"
#include "tests/support/unit.h"

struct capture {
    struct tmpdir tmpdir;
    char path[FILE_PATH_BYTES_MAX];
    int stderr_copy;
    struct buffer text;
};

static int setup(void **state) {
    static struct capture capture;
    struct error err;
    memset(&capture, 0, sizeof capture);
    tmpdir_init(&capture.tmpdir);
    ASSERT_OK(path_join(capture.path, capture.tmpdir.path, "stderr", &err), err);
    *state = &capture;
    log_set_level(LOG_LEVEL_INFO);
    return setenv("JOURNAL_STREAM", "8:1234", 1);
}

static int teardown(void **state) {
    struct capture *capture = *state;
    buffer_free(&capture->text);
    tmpdir_free(&capture->tmpdir);
    return unsetenv("JOURNAL_STREAM");
}

static void capture_begin(struct capture *capture) {
    (void)fflush(stderr);
    capture->stderr_copy = dup(STDERR_FILENO);
    assert_true(capture->stderr_copy >= 0);
    assert_non_null(freopen(capture->path, "w", stderr));
}

/* What was written, NUL-terminated. */
static const char *capture_end(struct capture *capture) {
    struct error err;
    (void)fflush(stderr);
    assert_true(dup2(capture->stderr_copy, STDERR_FILENO) >= 0);
    assert_int_equal(close(capture->stderr_copy), 0);
    ASSERT_OK(file_read(capture->path, 1u << 20, &capture->text, &err), err);
    ASSERT_STATUS(buffer_append(&capture->text, "", 1), STATUS_OK);
    return (const char *)capture->text.data;
}

static void the_journal_gets_levels_and_a_terminal_gets_words(void **state) {
    capture_begin(*state);
    LOG_ERROR("broken %d", 1);
    LOG_INFO("fine");
    assert_string_equal(capture_end(*state), "<3>broken 1\n<6>fine\n");

    assert_int_equal(unsetenv("JOURNAL_STREAM"), 0);
    capture_begin(*state);
    LOG_WARNING("careful");
    ASSERT_CONTAINS(capture_end(*state), " warning: careful\n");
}

static void lines_below_the_level_are_not_written(void **state) {
    capture_begin(*state);
    LOG_DEBUG("unseen");
    log_set_level(LOG_LEVEL_DEBUG);
    LOG_DEBUG("seen");
    log_set_level(LOG_LEVEL_ERROR);
    LOG_WARNING("unseen");
    assert_string_equal(capture_end(*state), "<7>seen\n");
}

static void control_characters_cannot_forge_a_line(void **state) {
    capture_begin(*state);
    LOG_INFO("user '%s' done", "a\n<3>forged\x1b[31m\x7f\xC3\xA9");
    assert_string_equal(capture_end(*state),
                        "<6>user 'a\\x0a<3>forged\\x1b[31m\\x7f\xC3\xA9' done\n");
}

static void a_long_line_is_cut_and_still_one_line(void **state) {
    char words[5000];
    memset(words, '\x01', sizeof words);
    words[sizeof words - 1] = '\0';

    capture_begin(*state);
    LOG_INFO("%s", words);
    const char *text = capture_end(*state);

    size_t length = strlen(text);
    assert_true(length > 2000 && length <= 2048);
    assert_ptr_equal(strchr(text, '\n'), text + length - 1);
}

static void burst_line(int i) {
    LOG_WARNING("burst %d", i);
}

static void a_burst_is_kept_back_after_ten_lines_and_other_sites_go_on(void **state) {
    capture_begin(*state);
    for (int i = 0; i < 1000; i++) {
        burst_line(i);
    }
    LOG_INFO("another site");
    const char *text = capture_end(*state);

    ASSERT_CONTAINS(text, "burst 9\n");
    assert_null(strstr(text, "burst 10\n"));
    ASSERT_CONTAINS(text, "another site\n");
}

#define CAPTURED(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        CAPTURED(the_journal_gets_levels_and_a_terminal_gets_words),
        CAPTURED(lines_below_the_level_are_not_written),
        CAPTURED(control_characters_cannot_forge_a_line),
        CAPTURED(a_long_line_is_cut_and_still_one_line),
        CAPTURED(a_burst_is_kept_back_after_ten_lines_and_other_sites_go_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
