/* SPDX-License-Identifier: Apache-2.0
 *
 * exposition.h - the picture of the daemon as Prometheus series (ops/METRICS.md lists them).
 *
 * Series that change with every epoch are not updated there: they are set from the picture when
 * somebody scrapes. Histograms and anything that must not be missed between scrapes belong to the
 * rooms that measure them.
 *
 * thread: doors.
 */
#ifndef DAEMON_EXPOSITION_H
#define DAEMON_EXPOSITION_H

#include "base/status.h"
#include "daemon/shared.h"

struct exposition;

/* Registers the series that have fixed labels. LIMIT, NO_MEMORY. shared is borrowed until free. */
MUST_CHECK enum status exposition_new(struct shared *shared, struct exposition **ret_exposition,
                                      struct error *err);
void exposition_free(struct exposition *exposition);
/* Sets every series from the picture; series of models appear when their figures do. */
void exposition_update(struct exposition *exposition);

#endif
