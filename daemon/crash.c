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

#include <assert.h>
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/file.h"

#define FRAMES_MAX       64
#define CRASH_FILE_BYTES 65536u
#define CRASH_LINE_BYTES 64

/* What the crashing thread was folding; only the core's thread ever is. */
static _Thread_local struct {
    volatile sig_atomic_t active;
    int topic;
    int32_t partition;
    int64_t offset;
} crash_record;

static volatile sig_atomic_t crash_fd = -1; /* <state>/crashes, for the handler */

/* ---- the handler ---- */

/* Decimal digits of a number >= 0; the place behind them. */
static char *crash_digits(char *at, int64_t number) {
    char digits[20];
    int count = 0;
    do {
        digits[count++] = (char)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    while (count > 0) {
        *at++ = digits[--count];
    }
    return at;
}

/* Safe in a signal: one write of a line made by hand. */
static void crash_note_record(void) {
    if (!crash_record.active || crash_fd < 0) { return; }
    char line[CRASH_LINE_BYTES];
    char *at = crash_digits(line, crash_record.topic);
    *at++ = ' ';
    at = crash_digits(at, crash_record.partition);
    *at++ = ' ';
    at = crash_digits(at, crash_record.offset);
    *at++ = '\n';
    (void)!write((int)crash_fd, line, (size_t)(at - line)); /* nobody is left to be told */
}

static void on_crash(int number) {
    crash_note_record();
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

/* ---- records to blame ---- */

void crash_folding(int topic, int32_t partition, int64_t offset) {
    crash_record.topic = topic;
    crash_record.partition = partition;
    crash_record.offset = offset;
    crash_record.active = 1;
}

void crash_folded(void) {
    crash_record.active = 0;
}

/* Where the record stands in the list; the list's count: nowhere. */
static int crash_find(const struct crash_list *list, int topic, int32_t partition, int64_t offset) {
    int i = 0;
    while (i < list->count &&
           (list->places[i].offset != offset || list->places[i].partition != partition ||
            list->places[i].topic != topic)) {
        i++;
    }
    return i;
}

int crash_count(const struct crash_list *list, int topic, int32_t partition, int64_t offset) {
    if (list == NULL) { return 0; }
    int i = crash_find(list, topic, partition, offset);
    return i < list->count ? list->places[i].count : 0;
}

/* The next number of a line, up to a separator; false: there is none. */
static bool crash_read_number(struct span *line, char separator, int64_t *ret_number) {
    size_t size = 0;
    while (size < line->size && line->data[size] != (uint8_t)separator) {
        size++;
    }
    if (size == line->size) { return false; }
    if (!span_integer(span_make(line->data, size), ret_number)) { return false; }
    *line = span_make(line->data + size + 1, line->size - size - 1);
    return true;
}

/* Counts the lines; one that a power loss cut is the last and is left out. */
static void crash_read_lines(struct span text, struct crash_list *list) {
    int64_t topic = 0, partition = 0, offset = 0;
    while (crash_read_number(&text, ' ', &topic) && crash_read_number(&text, ' ', &partition) &&
           crash_read_number(&text, '\n', &offset)) {
        int i = crash_find(list, (int)topic, (int32_t)partition, offset);
        if (i == CRASH_PLACE_MAX) { continue; }
        if (i == list->count) {
            list->places[i] = (struct crash_place){(int)topic, (int32_t)partition, offset, 0};
            list->count++;
        }
        list->places[i].count++;
    }
}

enum status crash_list_load(const char *folder, struct crash_list *ret_list, struct error *err) {
    char path[FILE_PATH_BYTES_MAX];
    enum status status = path_join(path, folder, "crashes", err);
    if (status != STATUS_OK) { return status; }
    struct buffer text = {0};
    status = file_read(path, CRASH_FILE_BYTES, &text, err);
    if (status != STATUS_OK && status != STATUS_NOT_FOUND) { return status; }
    memset(ret_list, 0, sizeof *ret_list);
    crash_read_lines(buffer_span(&text), ret_list);
    buffer_free(&text);
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640);
    if (fd < 0) { return error_errno(err, errno, "opening '%s'", path); }
    if (crash_fd >= 0) { (void)close((int)crash_fd); } /* an earlier shard's of this process */
    crash_fd = fd;
    return STATUS_OK;
}

enum status crash_list_clear(const char *folder, struct crash_list *list, struct error *err) {
    char path[FILE_PATH_BYTES_MAX];
    enum status status = path_join(path, folder, "crashes", err);
    if (status != STATUS_OK) { return status; }
    if (truncate(path, 0) != 0) { return error_errno(err, errno, "emptying '%s'", path); }
    memset(list, 0, sizeof *list);
    return STATUS_OK;
}
