/* SPDX-License-Identifier: Apache-2.0
 *
 * fault.c - drives base/fault.h from a test.
 */
#include "tests/support/fault.h"

#include "tests/support/unit.h"

#define FAULT_OPERATIONS_MAX 10000 /* an action that never gets through is a bug of the test */

int fault_sweep(enum fault_kind kind, enum status expected, fault_action action, void *context) {
    for (int n = 1; n <= FAULT_OPERATIONS_MAX; n++) {
        fault_arm(kind, n);
        enum status status = action(context);
        bool fired = fault_fired(kind);
        fault_arm(kind, 0);

        if (!fired) {
            if (status != STATUS_OK) {
                fail_msg("without a fault: %s, expected OK", status_name(status));
            }
            if (n == 1) { fail_msg("no operation of fault kind %d ran at all", (int)kind); }
            return n - 1;
        }
        if (status != expected) {
            fail_msg("operation %d failed: status %s, expected %s", n, status_name(status),
                     status_name(expected));
        }
    }
    fail_msg("still failing after %d operations", FAULT_OPERATIONS_MAX);
    return 0;
}
