/* SPDX-License-Identifier: Apache-2.0
 *
 * tensor.h - a view of a matrix on a device, and the letters every shape comment uses.
 *
 *   B  sequences in a step          R  total LoRA rank (all experts)
 *   T  tokens of a prompt           K  experts; R/K ranks each
 *   N  rows = packed tokens         S  items of history
 *   C  model width = H*D            E  width of the sequence embedding (64)
 *   H, G, D  query heads, key/value heads, head size
 *   F  feed-forward width           M  items in the catalogue
 *   L  layers                       I, O  in and out width of a linear layer
 *   V  vocabulary
 *
 * Row-major, last letter fastest. A tensor is passed by value; `stride` lets q, k and v be columns
 * of one stacked (N, (H+2G)D) matrix. House rule: parameter gradients `+=`, activations `=`, the
 * residual stream `+=`.
 */
#ifndef KERNELS_TENSOR_H
#define KERNELS_TENSOR_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum dtype { DTYPE_F32, DTYPE_BF16, DTYPE_F16, DTYPE_I32 };

static inline size_t dtype_bytes(enum dtype dtype) {
    return dtype == DTYPE_F32 || dtype == DTYPE_I32 ? 4u : 2u;
}

struct tensor {
    void *data; /* device memory of the backend that made it; host memory on the CPU backend */
    int rows;
    int cols;
    int stride; /* elements from one row to the next; >= cols */
    enum dtype dtype;
};

/* A dense f32 (or i32) matrix over memory somebody owns. */
static inline struct tensor tensor_over(void *data, enum dtype dtype, int rows, int cols) {
    return (struct tensor){data, rows, cols, cols, dtype};
}

/* Rows [first, first+count). */
static inline struct tensor tensor_rows(struct tensor t, int first, int count) {
    assert(first >= 0 && count >= 0 && first + count <= t.rows);
    t.data = (uint8_t *)t.data + (size_t)first * (size_t)t.stride * dtype_bytes(t.dtype);
    t.rows = count;
    return t;
}

/* Columns [first, first+count): keeps the stride. */
static inline struct tensor tensor_cols(struct tensor t, int first, int count) {
    assert(first >= 0 && count >= 0 && first + count <= t.cols);
    t.data = (uint8_t *)t.data + (size_t)first * dtype_bytes(t.dtype);
    t.cols = count;
    return t;
}

/* No tensor: an optional argument left out. */
static inline struct tensor tensor_none(void) {
    return (struct tensor){NULL, 0, 0, 0, DTYPE_F32};
}
static inline int tensor_is_none(struct tensor t) {
    return t.data == NULL;
}

/* Same shape, both f32. */
static inline bool tensor_same_shape(struct tensor a, struct tensor b) {
    return a.rows == b.rows && a.cols == b.cols && a.dtype == DTYPE_F32 && b.dtype == DTYPE_F32;
}
/* An f32 matrix of exactly this shape. */
static inline bool tensor_is(struct tensor t, int rows, int cols) {
    return t.rows == rows && t.cols == cols && t.dtype == DTYPE_F32;
}
/* A column of n indices. */
static inline bool tensor_is_index(struct tensor t, int n) {
    return t.rows == n && t.cols == 1 && t.dtype == DTYPE_I32;
}

#endif
