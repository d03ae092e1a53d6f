/* SPDX-License-Identifier: Apache-2.0
 *
 * doors.h - one thread that answers operators: the control socket and HTTP, both from daemon/query.
 *
 *   iloractl ──line──▶ <state>/control.sock ─┐
 *                                            ├─ poll loop ─▶ query (reader, ranker of its own)
 *   browser, Prometheus ──▶ [http] listen ───┘
 *
 * The doors open when the state is ours (shared_store is set, so the pipeline holds the flock): a
 * second daemon on the same state never takes the first one's socket. One thread, so a request
 * waits for the one before it; each takes milliseconds, and nothing here may hold up the core.
 */
#ifndef DAEMON_DOORS_H
#define DAEMON_DOORS_H

#include "base/status.h"
#include "daemon/shared.h"

struct doors;

/* Starts the thread; it waits for the store. A door that cannot be opened stops the daemon (shared
 * stop, IO or CONFIG). shared is borrowed until doors_stop. */
MUST_CHECK enum status doors_start(struct shared *shared, struct doors **ret_doors,
                                   struct error *err);
void doors_stop(struct doors *doors);

#endif
