/* SPDX-License-Identifier: Apache-2.0
 *
 * backend.c - what every backend shares: a dense tensor in memory of its own. */
#include "kernels/backend.h"

enum status backend_tensor_take(struct backend *be, enum dtype dtype, int rows, int cols,
                                struct tensor *ret_tensor, struct error *err) {
    void *memory = NULL;

    assert(rows >= 0 && cols >= 0);
    size_t bytes = (size_t)rows * (size_t)cols * dtype_bytes(dtype);
    enum status status = be->ops->memory_take(be, bytes > 0 ? bytes : 1, &memory, err);
    if (status != STATUS_OK) { return error_wrap(err, "tensor of %d x %d", rows, cols); }
    *ret_tensor = tensor_over(memory, dtype, rows, cols);
    return STATUS_OK;
}

void backend_tensor_give(struct backend *be, struct tensor *tensor) {
    if (tensor_is_none(*tensor)) { return; }
    be->ops->memory_give(be, tensor->data);
    *tensor = tensor_none();
}
