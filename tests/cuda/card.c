/* SPDX-License-Identifier: Apache-2.0
 *
 * card.c - cuda_host_control.h for programs that run on a card: there is nothing to control. */
#include "tests/cuda/cuda_host_control.h"

#include "kernels/backend.h"

bool cuda_host_is_there(void) {
    struct backend *be = NULL;
    struct error err = {0};

    if (backend_cuda_new(0, &be, &err) != STATUS_OK) { return false; }
    be->ops->free(be);
    return true;
}

void cuda_host_set_order(enum cuda_host_order order, uint64_t seed) {
    (void)order;
    (void)seed;
}

uint64_t cuda_host_device_bytes(void) {
    return 0;
}

bool cuda_host_guards_whole(void) {
    return true; /* op_run.c has guard numbers of its own */
}
