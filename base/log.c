/* SPDX-License-Identifier: Apache-2.0
 *
 * log.c - formats one line and writes it with one write(2), so that threads never mix.
 *
 * The log is the one piece of process-wide state besides base/fault.c: the level, the look of the
 * lines, and a small table of call sites for the burst rule. A site that is pushed out of the
 * table by another one has its suppressed lines summed up first, so no count is ever lost silently.
 */
#include "base/log.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"

#define LOG_LINE_BYTES_MAX  2048u   /* of a finished line; longer messages are cut */
#define LOG_BURST_LINES     10      /* lines of one site ... */
#define LOG_BURST_WINDOW_US 5000000 /* ... in this time */
#define LOG_SITES           64u     /* sites watched at once */

struct log_site {
    const char *file; /* borrows: a string literal; NULL = free slot */
    int line;
    int written;          /* lines in this window */
    long suppressed;      /* lines in this window */
    int64_t window_begin; /* monotonic microseconds */
    enum log_level level; /* of the suppressed lines */
};

static atomic_int log_level_limit = LOG_LEVEL_INFO;
static pthread_mutex_t log_lock = PTHREAD_MUTEX_INITIALIZER;
static struct log_site log_sites[LOG_SITES]; /* under log_lock */

void log_set_level(enum log_level level) {
    atomic_store(&log_level_limit, (int)level);
}

static const char *log_word(enum log_level level) {
    switch (level) {
    case LOG_LEVEL_ERROR: return "error";
    case LOG_LEVEL_WARNING: return "warning";
    case LOG_LEVEL_NOTICE: return "notice";
    case LOG_LEVEL_INFO: return "info";
    case LOG_LEVEL_DEBUG: return "debug";
    }
    return "?";
}

/* "<6>" for the journal, else "2026-01-31 12:00:00.123 info: ". Returns its length. */
static size_t log_prefix(enum log_level level, char *text, size_t text_bytes) {
    /* NOLINTNEXTLINE(concurrency-mt-unsafe): nobody changes the environment after the start */
    const char *journal = getenv("JOURNAL_STREAM");
    if (journal != NULL && journal[0] != '\0') {
        return (size_t)snprintf(text, text_bytes, "<%d>", (int)level);
    }

    int64_t now = clock_wall_us();
    time_t seconds = (time_t)(now / 1000000);
    struct tm day;
    char date[32] = "";
    if (localtime_r(&seconds, &day) != NULL) {
        (void)strftime(date, sizeof date, "%Y-%m-%d %H:%M:%S", &day); /* fits: 20 bytes */
    }
    return (size_t)snprintf(text, text_bytes, "%s.%03d %s: ", date, (int)(now / 1000 % 1000),
                            log_word(level));
}

/* Writes prefix, message with control characters as \xNN, newline. */
static void log_emit(enum log_level level, const char *message) {
    static const char digits[] = "0123456789abcdef";
    char line[LOG_LINE_BYTES_MAX];
    size_t used = log_prefix(level, line, sizeof line);
    for (const char *p = message; *p != '\0' && used + 5 < sizeof line; p++) {
        unsigned char c = (unsigned char)*p;
        if (c >= 0x20 && c != 0x7F) {
            line[used++] = (char)c;
            continue;
        }
        line[used++] = '\\';
        line[used++] = 'x';
        line[used++] = digits[c >> 4];
        line[used++] = digits[c & 15];
    }
    line[used++] = '\n';

    size_t at = 0;
    while (at < used) {
        ssize_t written = write(STDERR_FILENO, line + at, used - at);
        if (written <= 0) { return; } /* a log that nobody takes must not stop the daemon */
        at += (size_t)written;
    }
}

/* Sums up what the site kept back and starts a new window. Lock held. */
static void log_site_restart(struct log_site *site, int64_t now) {
    if (site->suppressed > 0) {
        char message[256];
        (void)snprintf(message, sizeof message, "%ld more lines like %s:%d kept back",
                       site->suppressed, site->file, site->line);
        log_emit(site->level, message);
    }
    site->written = 0;
    site->suppressed = 0;
    site->window_begin = now;
}

/* True when this line may be written; counts it otherwise. Lock held. */
static bool log_site_admit(enum log_level level, const char *file, int line) {
    int64_t now = clock_monotonic_us();
    size_t slot = ((uintptr_t)file / 8 * 31 + (size_t)line) % LOG_SITES;
    struct log_site *site = &log_sites[slot];
    if (site->file == NULL || site->line != line || strcmp(site->file, file) != 0) {
        if (site->file != NULL) { log_site_restart(site, now); }
        *site = (struct log_site){.file = file, .line = line, .window_begin = now};
    }
    if (now - site->window_begin >= LOG_BURST_WINDOW_US) { log_site_restart(site, now); }

    site->level = level;
    if (site->written < LOG_BURST_LINES) {
        site->written++;
        return true;
    }
    site->suppressed++;
    return false;
}

void log_line(enum log_level level, const char *file, int line, const char *format, ...) {
    if ((int)level > atomic_load_explicit(&log_level_limit, memory_order_relaxed)) { return; }

    char message[LOG_LINE_BYTES_MAX];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(message, sizeof message, format, arguments); /* cut when too long */
    va_end(arguments);

    (void)pthread_mutex_lock(&log_lock); /* a static mutex: cannot fail */
    if (log_site_admit(level, file, line)) { log_emit(level, message); }
    (void)pthread_mutex_unlock(&log_lock);
}
