/* SPDX-License-Identifier: Apache-2.0
 *
 * operators.h - what operators ask of a running daemon, as records of its own input.
 *
 * A request (rollback, forget, hide, publish_now) is published to the control topic inside the next
 * epoch's transaction and takes effect when it is consumed, like one from anybody else: so it is in
 * the log, refolded, audited. In strict mode it goes to the events topic, the only input there is.
 */
#ifndef DAEMON_OPERATORS_H
#define DAEMON_OPERATORS_H

#include "base/status.h"

struct core;

/* Takes waiting requests, `set` records and a SIGHUP. */
MUST_CHECK enum status operators_serve(struct core *core, struct error *err);

#endif
