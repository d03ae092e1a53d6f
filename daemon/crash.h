/* SPDX-License-Identifier: Apache-2.0
 *
 * crash.h - a bug says where it was: a backtrace on stderr, then the signal's own end (core, exit);
 * and which record was being folded, so that one that crashes the daemon again and again is given
 * up (PROTOCOL.md, poison record).
 *
 *   fold(record) raises SIGSEGV, SIGBUS, SIGFPE, SIGILL or SIGABRT
 *        └▶ handler: "topic partition offset\n" appended to <state>/crashes ─▶ the process ends
 *   next life: crash_list_load ─▶ CRASHES_MAX lines of one record ─▶ dead letter, reason "crash"
 *
 * SIGKILL and running out of memory leave no line: the record is not to blame for them.
 */
#ifndef DAEMON_CRASH_H
#define DAEMON_CRASH_H

#include <stdint.h>

#include "base/status.h"

#define CRASHES_MAX     3  /* lives that a record may end */
#define CRASH_PLACE_MAX 64 /* records remembered; more are not */

/* A record that crashed lives before this one. */
struct crash_place {
    int topic; /* enum stream_topic */
    int32_t partition;
    int64_t offset;
    int count;
};

struct crash_list {
    struct crash_place places[CRASH_PLACE_MAX];
    int count;
};

/* For SIGSEGV, SIGBUS, SIGFPE, SIGILL and SIGABRT (a failed assert), in every thread. IO. */
MUST_CHECK enum status crash_handler_install(struct error *err);

/* Reads what earlier lives left in <folder>/crashes (absent: nothing; lines that are cut are left
 * out) and keeps the file open for the handler. IO, NO_MEMORY. */
MUST_CHECK enum status crash_list_load(const char *folder, struct crash_list *ret_list,
                                       struct error *err);
/* The file is not needed any more: everything in it is consumed. IO. */
MUST_CHECK enum status crash_list_clear(const char *folder, struct crash_list *list,
                                        struct error *err);
/* How many lives the record has ended; list NULL: 0. */
int crash_count(const struct crash_list *list, int topic, int32_t partition, int64_t offset);

/* thread: core, around the folding of one record. What crashes in between is the record's. */
void crash_folding(int topic, int32_t partition, int64_t offset);
void crash_folded(void);

#endif
