/* SPDX-License-Identifier: Apache-2.0
 *
 * fault.c - one countdown a kind; zero means disarmed.
 *
 * Thread: any. fault_fires of several threads share one countdown, exactly one of them fails.
 */
#include "base/fault.h"

#include <assert.h>
#include <stdatomic.h>

static atomic_long fault_countdown[FAULT_KIND_COUNT]; /* operations left; 0 = disarmed */
static atomic_bool fault_done[FAULT_KIND_COUNT];

void fault_arm(enum fault_kind kind, long nth) {
    assert((int)kind >= 0 && (int)kind < FAULT_KIND_COUNT);
    assert(nth >= 0);

    atomic_store(&fault_done[kind], false);
    atomic_store(&fault_countdown[kind], nth);
}

bool fault_fired(enum fault_kind kind) {
    assert((int)kind >= 0 && (int)kind < FAULT_KIND_COUNT);

    return atomic_load(&fault_done[kind]);
}

bool fault_fires(enum fault_kind kind) {
    assert((int)kind >= 0 && (int)kind < FAULT_KIND_COUNT);

    long left = atomic_load_explicit(&fault_countdown[kind], memory_order_relaxed);
    while (left > 0) {
        if (atomic_compare_exchange_weak(&fault_countdown[kind], &left, left - 1)) {
            if (left == 1) { atomic_store(&fault_done[kind], true); }
            return left == 1;
        }
    }
    return false;
}
