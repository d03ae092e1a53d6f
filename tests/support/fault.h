/* SPDX-License-Identifier: Apache-2.0
 *
 * fault.h - the fault sweep: run an action with its 1st, 2nd, 3rd ... operation failing.
 */
#ifndef TESTS_SUPPORT_FAULT_H
#define TESTS_SUPPORT_FAULT_H

#include "base/fault.h"
#include "base/status.h"

/* One run of the code under test, with its own setup and clean-up; returns the status it got. */
typedef enum status (*fault_action)(void *context);

/* Calls action with the nth operation of the kind failing, n = 1, 2, ..., until the fault does not
 * fire any more. Every run in which it fired must return `expected`; the last one, undisturbed,
 * must return OK. Fails the test otherwise. Returns how many operations could fail (at least 1). */
int fault_sweep(enum fault_kind kind, enum status expected, fault_action action, void *context);

#endif
