/* SPDX-License-Identifier: Apache-2.0
 *
 * crash.h - a bug says where it was: a backtrace on stderr, then the signal's own end (core, exit).
 */
#ifndef DAEMON_CRASH_H
#define DAEMON_CRASH_H

#include "base/status.h"

/* For SIGSEGV, SIGBUS, SIGFPE, SIGILL and SIGABRT (a failed assert), in every thread. IO. */
MUST_CHECK enum status crash_handler_install(struct error *err);

#endif
