/* SPDX-License-Identifier: Apache-2.0
 *
 * slab.h - one device allocation cut into tensors, measured first by the same code.
 *
 * A layout function takes its tensors from a slab twice: with base NULL it only counts bytes and
 * the tensors have no data; with the memory in place they get their addresses. So the size is never
 * computed by a second formula that could disagree.
 */
#ifndef MODEL_SLAB_H
#define MODEL_SLAB_H

#include "kernels/tensor.h"

#define SLAB_ALIGNMENT 256u /* bytes; what a GPU's loads like, and four cache lines */

struct slab {
    uint8_t *base; /* device memory, NULL while counting */
    size_t used;   /* bytes */
};

/* The next dense (rows, cols) of the slab; data is NULL while counting. */
static inline struct tensor slab_tensor(struct slab *slab, enum dtype dtype, int rows, int cols) {
    assert(rows >= 0 && cols >= 0);

    size_t bytes = (size_t)rows * (size_t)cols * dtype_bytes(dtype);
    void *data = slab->base != NULL ? slab->base + slab->used : NULL;
    slab->used += (bytes + SLAB_ALIGNMENT - 1) / SLAB_ALIGNMENT * SLAB_ALIGNMENT;
    return tensor_over(data, dtype, rows, cols);
}

/* The first `count` rows: buffers are made for the largest pack, a call uses what it has. */
static inline struct tensor first_rows(struct tensor t, int count) {
    return tensor_is_none(t) ? t : tensor_rows(t, 0, count);
}

#endif
