/* SPDX-License-Identifier: Apache-2.0
 *
 * core_report.h - the core's figures: metrics and the picture that status and the page show.
 */
#ifndef DAEMON_CORE_REPORT_H
#define DAEMON_CORE_REPORT_H

#include <stdint.h>

#include "base/status.h"

struct core;

MUST_CHECK enum status core_report_init(struct core *core, struct error *err);
/* After an epoch was committed; began_us: when its transaction began. */
void core_report_epoch(struct core *core, int64_t began_us);
/* The picture, a few times a second. */
void core_report_show(struct core *core, int64_t now_us);

#endif
