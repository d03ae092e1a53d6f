/* SPDX-License-Identifier: Apache-2.0
 *
 * test_failpoint.c - armed places do what the list says at the pass it names, and nothing else. */
#include "base/failpoint.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/file.h"
#include "tests/support/unit.h"

static int disarm(void **state) {
    (void)state;
    failpoint_disarm();
    return 0;
}

static void disarmed_points_do_nothing(void **state) {
    (void)state;
    struct error err = {0};
    assert_int_equal(failpoint_arm(NULL, &err), STATUS_OK);
    assert_int_equal(failpoint_arm("", &err), STATUS_OK);
    for (int i = 0; i < FAILPOINT_COUNT; i++) {
        assert_int_equal(failpoint_pass((enum failpoint)i, &err), STATUS_OK);
        failpoint_mark((enum failpoint)i);
    }
}

static void an_error_comes_once_at_its_pass(void **state) {
    (void)state;
    struct error err = {0};
    assert_int_equal(failpoint_arm("commit_begun=error@3", &err), STATUS_OK);
    assert_int_equal(failpoint_pass(FAILPOINT_commit_begun, &err), STATUS_OK);
    assert_int_equal(failpoint_pass(FAILPOINT_commit_done, &err), STATUS_OK);
    assert_int_equal(failpoint_pass(FAILPOINT_commit_begun, &err), STATUS_OK);
    assert_int_equal(failpoint_pass(FAILPOINT_commit_begun, &err), STATUS_IO);
    assert_string_equal(err.text, "failpoint commit_begun");
    assert_int_equal(failpoint_pass(FAILPOINT_commit_begun, &err), STATUS_OK);
}

static void faults_of_other_rooms_are_armed_too(void **state) {
    (void)state;
    struct error err = {0};
    assert_int_equal(failpoint_arm("memory=error@2;store=error", &err), STATUS_OK);
    assert_false(fault_fires(FAULT_MEMORY));
    assert_true(fault_fires(FAULT_MEMORY));
    assert_true(fault_fires(FAULT_STORE));
    assert_false(fault_fires(FAULT_FILE));
}

static void a_delay_takes_its_time(void **state) {
    (void)state;
    struct error err = {0};
    assert_int_equal(failpoint_arm("stop_begun=delay:30", &err), STATUS_OK);
    int64_t began_us = clock_monotonic_us();
    failpoint_mark(FAILPOINT_stop_begun);
    assert_true(clock_monotonic_us() - began_us >= 30000);
}

/* Runs what the list says in a child that passes the point `passes` times; its wait status. */
static int child_ends(const char *list, enum failpoint point, int passes, bool mark) {
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct error err = {0};
        if (failpoint_arm(list, &err) != STATUS_OK) { _exit(90); }
        for (int i = 0; i < passes; i++) {
            if (mark) {
                failpoint_mark(point);
            } else if (failpoint_pass(point, &err) != STATUS_OK) {
                _exit(91);
            }
        }
        _exit(0);
    }
    int ended = 0;
    assert_int_equal(waitpid(child, &ended, 0), child);
    return ended;
}

static void a_kill_ends_the_process_at_its_pass_and_writes_the_counts(void **state) {
    (void)state;
    char folder[] = "/tmp/ilora-test-XXXXXX";
    assert_non_null(mkdtemp(folder));
    char path[64], list[160];
    (void)snprintf(path, sizeof path, "%s/counts", folder);
    (void)snprintf(list, sizeof list, "count=%s;stage_begun=kill@2", path);

    int ended = child_ends(list, FAILPOINT_stage_begun, 1, true);
    assert_true(WIFEXITED(ended) && WEXITSTATUS(ended) == 0);
    ended = child_ends(list, FAILPOINT_stage_begun, 5, true);
    assert_true(WIFSIGNALED(ended) && WTERMSIG(ended) == SIGKILL);

    struct error err = {0};
    struct buffer text = {0};
    assert_int_equal(file_read(path, 65536, &text, &err), STATUS_OK);
    assert_int_equal(buffer_append(&text, "", 1), STATUS_OK);
    assert_non_null(strstr((const char *)text.data, "stage_begun 2\n"));
    assert_non_null(strstr((const char *)text.data, "stage_written 0\n"));
    buffer_free(&text);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rmdir(folder), 0);
}

static void an_error_where_none_is_possible_kills(void **state) {
    (void)state;
    int ended = child_ends("start_ready=error", FAILPOINT_start_ready, 1, true);
    assert_true(WIFSIGNALED(ended) && WTERMSIG(ended) == SIGKILL);
    ended = child_ends("start_ready=error", FAILPOINT_start_ready, 1, false);
    assert_true(WIFEXITED(ended) && WEXITSTATUS(ended) == 91);
}

static void what_is_not_understood_is_named_and_nothing_is_armed(void **state) {
    (void)state;
    static const char *const bad[] = {
        "commit_begun",
        "commit_begun=",
        "commit_begun=maybe",
        "no_such=kill",
        "commit_begun=kill@0",
        "commit_begun=kill@x",
        "commit_begun=delay",
        "memory=kill",
        "commit_begun=delay:x",
        "commit_begun=kill@1 ",
        "count=",
        "=kill",
        "commit_begun=killing",
        "commit_begun=delay:5@",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct error err = {0};
        char list[64];
        (void)snprintf(list, sizeof list, "commit_done=error;%s", bad[i]);
        assert_int_equal(failpoint_arm(list, &err), STATUS_CONFIG);
        assert_non_null(strstr(err.text, bad[i]));
        assert_int_equal(failpoint_pass(FAILPOINT_commit_done, &err), STATUS_OK);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(disarmed_points_do_nothing, disarm),
        cmocka_unit_test_teardown(an_error_comes_once_at_its_pass, disarm),
        cmocka_unit_test_teardown(faults_of_other_rooms_are_armed_too, disarm),
        cmocka_unit_test_teardown(a_delay_takes_its_time, disarm),
        cmocka_unit_test_teardown(a_kill_ends_the_process_at_its_pass_and_writes_the_counts,
                                  disarm),
        cmocka_unit_test_teardown(an_error_where_none_is_possible_kills, disarm),
        cmocka_unit_test_teardown(what_is_not_understood_is_named_and_nothing_is_armed, disarm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
