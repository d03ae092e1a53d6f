/* SPDX-License-Identifier: Apache-2.0
 *
 * log.h - lines on stderr. Rooms below daemon may only log at LOG_DEBUG.
 *
 * Under systemd (JOURNAL_STREAM set) each line starts with <N>, the syslog level of sd-daemon(3);
 * on a terminal with the time and a word. One line a message, control characters escaped; a burst
 * of the same call site beyond 10 lines in 5 s is counted and summed up in one line.
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include "base/status.h"

enum log_level {
    LOG_LEVEL_ERROR = 3,
    LOG_LEVEL_WARNING = 4,
    LOG_LEVEL_NOTICE = 5,
    LOG_LEVEL_INFO = 6,
    LOG_LEVEL_DEBUG = 7
};

void log_set_level(enum log_level level); /* default INFO */
void log_line(enum log_level level, const char *file, int line, const char *format, ...)
    PRINTF_LIKE(4, 5);

#define LOG_ERROR(...)   log_line(LOG_LEVEL_ERROR, __FILE__, __LINE__, __VA_ARGS__)
#define LOG_WARNING(...) log_line(LOG_LEVEL_WARNING, __FILE__, __LINE__, __VA_ARGS__)
#define LOG_NOTICE(...)  log_line(LOG_LEVEL_NOTICE, __FILE__, __LINE__, __VA_ARGS__)
#define LOG_INFO(...)    log_line(LOG_LEVEL_INFO, __FILE__, __LINE__, __VA_ARGS__)
#define LOG_DEBUG(...)   log_line(LOG_LEVEL_DEBUG, __FILE__, __LINE__, __VA_ARGS__)

#endif
