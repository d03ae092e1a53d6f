/* SPDX-License-Identifier: Apache-2.0
 *
 * absent.c - builds without CUDA say so. */
#include "kernels/backend.h"

enum status backend_cuda_new(int device, struct backend **ret_backend, struct error *err) {
    (void)ret_backend;
    return error_set(err, STATUS_NOT_FOUND, "CUDA device %d: this build has no CUDA backend",
                     device);
}

enum status backend_cuda_memory(struct backend *be, size_t *ret_free, size_t *ret_total,
                                struct error *err) {
    (void)be;
    (void)ret_free;
    (void)ret_total;
    return error_set(err, STATUS_NOT_FOUND, "memory of a card: this build has no CUDA backend");
}
