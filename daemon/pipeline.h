/* SPDX-License-Identifier: Apache-2.0
 *
 * pipeline.h - the daemon's life between start and stop: opens state, stream and learner, runs the
 * start procedure of PROTOCOL.md, then the threads, until somebody stops it. The only room that
 * turns a status into an action.
 */
#ifndef DAEMON_PIPELINE_H
#define DAEMON_PIPELINE_H

#include "base/status.h"
#include "daemon/shared.h"

struct pipeline_options {
    const char *config_path; /* for SIGHUP; NULL = none */
    const char *const *overrides;
    int override_count;
    const char *take_over;           /* owner id (32 hex digits) or NULL */
    bool rebuild;                    /* --rebuild: refold an empty state from the whole input */
    void (*on_ready)(void *context); /* called once, when everything runs: READY=1 */
    void *context;
};

/* Runs until shared_stop; returns the reason: OK after a clean stop, otherwise the failure whose
 * class decides the exit code (restart 75, stop 78). */
MUST_CHECK enum status pipeline_run(struct shared *shared, const struct pipeline_options *options,
                                    struct error *err);

#endif
