/* SPDX-License-Identifier: Apache-2.0
 *
 * host_daemon.c - linked into the daemon that runs its card on the executor: CUDA_HOST_FAIL=N lets
 * the N-th call of CUDA's runtime fail as a card's illegal access does. */
#include <stdlib.h>

#include "tests/cuda/cuda_host_control.h"

#define ERROR_ADDRESS 700 /* cudaErrorIllegalAddress */

__attribute__((constructor)) static void arm(void) {
    const char *nth = getenv("CUDA_HOST_FAIL");
    if (nth != NULL) { cuda_host_fail(strtol(nth, NULL, 10), ERROR_ADDRESS); }
}
