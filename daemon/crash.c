/* SPDX-License-Identifier: Apache-2.0
 *
 * crash.c - the last words of a broken invariant.
 *
 * Asserts stay on in release builds; without a core file their place alone is often not enough. The
 * handler may call only what is safe in a signal: backtrace_symbols_fd after one backtrace() at
 * start, which loads what it needs (backtrace(3)). It runs on a stack of its own where the main
 * thread overflowed; the default action follows (SA_RESETHAND).
 * Thread: whoever crashes. */
#include "daemon/crash.h"

#include <errno.h>
#include <execinfo.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#define FRAMES_MAX 64

static void on_crash(int number) {
    static const char words[] = "ilorad: crashed; addresses for addr2line:\n";
    void *frames[FRAMES_MAX];
    (void)!write(STDERR_FILENO, words, sizeof words - 1); /* nobody is left to be told */
    int count = backtrace(frames, FRAMES_MAX);
    backtrace_symbols_fd(frames, count, STDERR_FILENO);
    (void)raise(number); /* the default action now */
}

enum status crash_handler_install(struct error *err) {
    static const int signals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};
    static char stack[64 * 1024];
    stack_t alternative = {.ss_sp = stack, .ss_size = sizeof stack};
    void *frame = NULL;
    (void)backtrace(&frame, 1); /* loads libgcc now: later would allocate */
    if (sigaltstack(&alternative, NULL) != 0) {
        return error_errno(err, errno, "stack of the crash handler");
    }
    struct sigaction action = {.sa_handler = on_crash,
                               .sa_flags = (int)(SA_RESETHAND | SA_ONSTACK)};
    (void)sigemptyset(&action.sa_mask); /* cannot fail */
    for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++) {
        if (sigaction(signals[i], &action, NULL) != 0) {
            return error_errno(err, errno, "crash handler");
        }
    }
    return STATUS_OK;
}
