/* SPDX-License-Identifier: Apache-2.0
 *
 * state_access.h - a stopped daemon's state, opened for reading by a tool that holds its lock.
 */
#ifndef OPS_STATE_ACCESS_H
#define OPS_STATE_ACCESS_H

#include "base/status.h"
#include "daemon/settings.h"
#include "storage/store.h"

struct state_access {
    int lock;                    /* of the state folder; -1 = none */
    struct store *store;         /* owns */
    struct store_reader *reader; /* owns */
};

/* AGAIN: a daemon runs on it (ask that one); NOT_FOUND: no state. Close it in every case but a
 * failure. */
MUST_CHECK enum status state_access_open(const struct settings *settings,
                                         struct state_access *ret_access, struct error *err);
void state_access_close(struct state_access *access);

#endif
