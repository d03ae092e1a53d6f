/* SPDX-License-Identifier: Apache-2.0
 *
 * fault.h - makes the n-th operation of a kind fail, so that tests can walk every failure path.
 *
 * The rooms ask fault_fires() in front of an operation that the world may refuse; when it says
 * true they behave exactly as if the operation had failed. Disarmed (always, outside tests) it
 * costs one relaxed load. Only tests arm it; the counters are the one piece of process-wide state
 * in base besides the log, because an allocation has no object to carry them.
 */
#ifndef BASE_FAULT_H
#define BASE_FAULT_H

#include <stdbool.h>

enum fault_kind {
    FAULT_MEMORY, /* base/memory.h: allocations and resizes return NULL */
    FAULT_FILE,   /* base/file.h: open, write, fsync, rename, mkdir, unlink fail with EIO */
    FAULT_STORE,  /* storage: a call into LMDB fails */
};
#define FAULT_KIND_COUNT 3

/* The nth operation of this kind from now on fails, once; 1 is the next one. 0 disarms. */
void fault_arm(enum fault_kind kind, long nth);
/* True when the armed fault has fired since fault_arm. */
bool fault_fired(enum fault_kind kind);

/* True when the operation about to run must fail. Any thread. */
bool fault_fires(enum fault_kind kind);

#endif
