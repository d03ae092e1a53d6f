/* SPDX-License-Identifier: Apache-2.0
 *
 * test_cuda_planted.c - the executor reports every planted fault, and nothing that is right.
 *
 * usage: test_cuda_planted PLAIN ASAN TSAN: the three builds of planted.cu. Each fault is a process
 * of its own; what it printed must hold the words of the table. */
#include "tests/support/unit.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

enum build { PLAIN, ASAN, TSAN };
static char *programs[3];

#define OUTPUT_BYTES 16384
#define SECONDS_MAX  30u
#define DETAILS_MAX  6

/* What the program printed to both streams; cut when too long. Returns its exit status, or 1000
 * and more when a signal ended it. */
static int run(enum build build, const char *name, const char *order, const char *seed,
               char *output) {
    int ends[2], status = 0;
    size_t used = 0;

    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        char *const arguments[] = {programs[build], strdup(name), strdup(order), strdup(seed),
                                   NULL};
        (void)dup2(ends[1], STDOUT_FILENO);
        (void)dup2(ends[1], STDERR_FILENO);
        (void)close(ends[0]);
        (void)alarm(SECONDS_MAX);
        (void)execv(programs[build], arguments);
        _exit(127);
    }
    (void)close(ends[1]);
    for (ssize_t n = 1; n > 0;) {
        char piece[1024];
        n = read(ends[0], piece, sizeof piece);
        for (ssize_t i = 0; i < n && used + 1 < OUTPUT_BYTES; i++) {
            output[used++] = piece[i];
        }
    }
    output[used] = '\0';
    (void)close(ends[0]);
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

struct fault {
    const char *name;
    enum build build;
    const char *order;
    const char *words; /* that the output holds */
};

/* Memory: where it is reported depends on whose memory it is. */
static const struct fault memory_faults[] = {
    {"shared_overrun", ASAN, "ascending", "heap-buffer-overflow"},
    {"piece_overrun", ASAN, "ascending", "heap-buffer-overflow"},
    {"global_overrun", ASAN, "ascending", "use-after-poison"},
    {"host_reads_device", ASAN, "ascending", "use-after-poison"},
    {"local_overrun", ASAN, "ascending", "stack-buffer-overflow"},
    {"misaligned", ASAN, "ascending", "misaligned address"},
    {"overflow_int", ASAN, "ascending", "signed integer overflow"},
    {"take_too_much", PLAIN, "ascending", "256 bytes taken, launched with 128"},
    {"forgotten_copy", PLAIN, "ascending", "ends before its copies have"},
};

static const struct fault barrier_faults[] = {
    {"early_return", PLAIN, "ascending", "threads which are done will never reach"},
    {"early_return", PLAIN, "descending", "threads which are done will never reach"},
    {"two_barriers", PLAIN, "ascending", "threads of one block at different barriers"},
    {"absent_lane", PLAIN, "ascending", "reads lane 20, which takes no part"},
    {"mixed_masks", PLAIN, "ascending", "deadlock in mixed_masks"},
    {"left_out", PLAIN, "ascending", "calls with mask 0000ffff, which leaves it out"},
    {"divergent_mma", PLAIN, "ascending", "deadlock in divergent_mma"},
};

/* ThreadSanitizer finds these in the very order in which the result is right. */
static const struct fault races[] = {
    {"missing_barrier", TSAN, "ascending", "data race"},
    {"missing_barrier", TSAN, "descending", "data race"},
    {"missing_barrier_again", TSAN, "ascending", "data race"},
    {"missing_syncwarp", TSAN, "ascending", "data race"},
};

static void all_reported(const struct fault *faults, size_t count) {
    static char output[OUTPUT_BYTES];
    int missed = 0;

    for (size_t i = 0; i < count; i++) {
        int status = run(faults[i].build, faults[i].name, faults[i].order, "1", output);
        if (status == 0 || strstr(output, faults[i].words) == NULL) {
            print_error("%s %s: status %d, expected '%s' in:\n%.600s\n", faults[i].name,
                        faults[i].order, status, faults[i].words, output);
            missed++;
        }
    }
    assert_int_equal(missed, 0);
}
#define ALL_REPORTED(list) all_reported((list), sizeof(list) / sizeof((list)[0]))

static void memory_errors_are_reported(void **state) {
    (void)state;
    ALL_REPORTED(memory_faults);
}

static void wrong_barriers_and_warps_are_reported(void **state) {
    (void)state;
    ALL_REPORTED(barrier_faults);
}

static void missing_barriers_are_reported_as_races(void **state) {
    (void)state;
    ALL_REPORTED(races);
}

/* Too deep a recursion meets the guard page. */
static void a_stack_that_overflows_ends_the_process(void **state) {
    static char output[OUTPUT_BYTES];

    (void)state;
    assert_true(run(PLAIN, "stack_overflow", "ascending", "1", output) >= 1000);
}

/* What the executor sees without a sanitizer: guard zones, and 0xff bytes where nothing was
 * written. */
static void the_plain_build_sees_guards_and_unwritten_memory(void **state) {
    static char output[OUTPUT_BYTES];

    (void)state;
    assert_int_equal(run(PLAIN, "global_overrun", "ascending", "1", output), 0);
    ASSERT_CONTAINS(output, "guards broken");
    assert_int_equal(run(PLAIN, "unwritten_shared", "ascending", "1", output), 0);
    ASSERT_CONTAINS(output, "nan");
    assert_int_equal(run(PLAIN, "unwaited_copy", "ascending", "1", output), 0);
    ASSERT_CONTAINS(output, "launch 0: 0 -1 -1");
}

static void what_cannot_be_launched_is_an_error(void **state) {
    static char output[OUTPUT_BYTES];

    (void)state;
    assert_int_equal(run(PLAIN, "too_many_threads", "ascending", "1", output), 0);
    ASSERT_CONTAINS(output, "launch 9:"); /* cudaErrorInvalidConfiguration */
    assert_int_equal(run(PLAIN, "no_blocks", "ascending", "1", output), 0);
    ASSERT_CONTAINS(output, "launch 9:");
    assert_int_equal(run(PLAIN, "too_much_shared", "ascending", "1", output), 0);
    ASSERT_CONTAINS(output, "launch 1:"); /* cudaErrorInvalidValue */
}

/* How many different outputs six orders give. */
static int outputs_of(const char *name) {
    static const char *orders[][2] = {{"ascending", "1"}, {"descending", "1"}, {"shuffled", "1"},
                                      {"shuffled", "2"},  {"shuffled", "3"},   {"shuffled", "4"}};
    static char output[6][OUTPUT_BYTES];
    int different = 0;

    for (int i = 0; i < 6; i++) {
        assert_int_equal(run(PLAIN, name, orders[i][0], orders[i][1], output[i]), 0);
        bool seen = false;
        for (int j = 0; j < i; j++) {
            seen = seen || strcmp(output[i], output[j]) == 0;
        }
        different += !seen;
    }
    return different;
}

static void what_depends_on_order_shows_in_other_orders(void **state) {
    (void)state;
    assert_true(outputs_of("block_order") > 1);
    assert_true(outputs_of("atomic_sum") > 1);
    assert_true(outputs_of("missing_barrier") > 1);
    assert_int_equal(outputs_of("fixed_sum"), 1);
}

/* No false alarm in any build. */
static void what_is_right_passes(void **state) {
    static const char *names[][2] = {
        {"halves", "launch 0: 1 0 3 2 5 4 7 6"},
        {"last_block", "launch 0: 36"},
        {"fixed_sum", "launch 0: 4.74389"},
        {"reduce_again", "launch 0: 192 384 192 384"}, /* 63+64+65 and 64+128+192 */
        /* c[i][j] = sum over k of (i-k)(k+j): rows 0 and 1, even columns */
        {"tiles", "launch 0: -1240 -1480 -1720 -1960 -1120 -1328 -1536 -1744"},
    };
    static char output[OUTPUT_BYTES];

    (void)state;
    for (int i = 0; i < 5; i++) {
        for (int build = PLAIN; build <= TSAN; build++) {
            assert_int_equal(run((enum build)build, names[i][0], "shuffled", "1", output), 0);
            ASSERT_CONTAINS(output, names[i][1]);
        }
    }
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_errors_are_reported),
        cmocka_unit_test(wrong_barriers_and_warps_are_reported),
        cmocka_unit_test(missing_barriers_are_reported_as_races),
        cmocka_unit_test(a_stack_that_overflows_ends_the_process),
        cmocka_unit_test(the_plain_build_sees_guards_and_unwritten_memory),
        cmocka_unit_test(what_cannot_be_launched_is_an_error),
        cmocka_unit_test(what_depends_on_order_shows_in_other_orders),
        cmocka_unit_test(what_is_right_passes),
    };

    if (argc != 4) { return 64; }
    for (int i = 0; i < 3; i++) {
        programs[i] = argv[i + 1];
    }
    /* reports without looking symbols up: that takes seconds */
    (void)setenv("ASAN_OPTIONS", "symbolize=0", 1);
    (void)setenv("UBSAN_OPTIONS", "symbolize=0:halt_on_error=1", 1);
    (void)setenv("TSAN_OPTIONS", "symbolize=0:halt_on_error=1", 1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
