/* SPDX-License-Identifier: Apache-2.0
 *
 * lifecycle.h - what the outside says to the daemon and hears from it: signals in, sd_notify out.
 *
 *   SIGTERM SIGINT ─▶ signalfd ─▶ shared_stop      STOPPING=1, EXTEND_TIMEOUT_USEC while it lasts
 *   SIGHUP         ─▶           ─▶ reload request  RELOADING=1 MONOTONIC_USEC, READY=1 once taken
 *   every second   ─▶ STATUS= when it changed; WATCHDOG=1 only while every heartbeat is fresh;
 *                     before READY: EXTEND_TIMEOUT_USEC, so that a long refold or an absent broker
 *                     is not mistaken for a hung start
 *
 * Without NOTIFY_SOCKET nothing is sent and the rest works the same.
 */
#ifndef DAEMON_LIFECYCLE_H
#define DAEMON_LIFECYCLE_H

#include "base/status.h"
#include "daemon/shared.h"

struct lifecycle;

/* Blocks the signals this room handles in the calling thread and those it starts later, and ignores
 * SIGPIPE: call it first in main. */
MUST_CHECK enum status lifecycle_block_signals(struct error *err);

/* Starts the thread. shared is borrowed until lifecycle_stop. */
MUST_CHECK enum status lifecycle_start(struct shared *shared, struct lifecycle **ret_lifecycle,
                                       struct error *err);
/* Everything runs: READY=1. pipeline_options.on_ready. thread: any. */
void lifecycle_ready(void *lifecycle);
/* Ends the thread; the last STATUS= is `last_words` (NULL: none). */
void lifecycle_stop(struct lifecycle *lifecycle, const char *last_words);

#endif
