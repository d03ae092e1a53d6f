/* SPDX-License-Identifier: Apache-2.0
 *
 * columns.h - sums down the columns of a matrix, in an order that is fixed by its shape.
 *
 *   rows 0..255    ──▸ part 0 ─┐
 *   rows 256..511  ──▸ part 1 ─┼──▸ out[c] += part 0 + part 1 + ...     (one thread a column)
 *   ...                        ┘
 *
 * Within a part eight warps take every eighth row, then the first adds the eight shares in order.
 * A value is what a struct's at(n, c) says.
 */
#ifndef KERNELS_CUDA_COLUMNS_H
#define KERNELS_CUDA_COLUMNS_H

#include "kernels/cuda/cuda.h"

#define COLUMNS_PART 256 /* rows */
#define COLUMNS_DEEP 8   /* warps of a block */

/* The plain value: an element of x. */
struct columns_element {
    struct tensor x;
    __device__ float at(int n, int c) const {
        return row_f32(x, n)[c];
    }
};

/* part (parts, cols): sums of one part's rows. Grid (columns / WARP, parts). */
template <class Value>
__global__ void __launch_bounds__(WARP *COLUMNS_DEEP)
    columns_part_kernel(float *__restrict__ part, Value value, int rows, int cols) {
    CUDA_SHARED(float, share, [COLUMNS_DEEP][WARP]);
    const int c = (int)(blockIdx.x * WARP + threadIdx.x), deep = (int)threadIdx.y;
    const int first = (int)blockIdx.y * COLUMNS_PART;
    const int end = rows - first < COLUMNS_PART ? rows : first + COLUMNS_PART;
    float sum = 0.0f;

    for (int n = first + deep; c < cols && n < end; n += COLUMNS_DEEP) {
        sum += value.at(n, c);
    }
    share[deep][threadIdx.x] = sum;
    __syncthreads();
    if (deep == 0 && c < cols) {
        for (int i = 1; i < COLUMNS_DEEP; i++) {
            sum += share[i][threadIdx.x];
        }
        part[(size_t)blockIdx.y * (size_t)cols + (size_t)c] = sum;
    }
}

/* out (cols) += the parts in order */
static __global__ void __launch_bounds__(256)
    columns_add_kernel(float *__restrict__ out, const float *__restrict__ part, int parts,
                       int cols) {
    const int c = (int)(blockIdx.x * blockDim.x + threadIdx.x);

    if (c < cols) {
        float sum = 0.0f;
        for (int i = 0; i < parts; i++) {
            sum += part[(size_t)i * (size_t)cols + (size_t)c];
        }
        out[c] += sum;
    }
}

/* out (1,cols) += sum over the rows of value.at(n, c). */
template <class Value>
static inline void columns_add(struct cuda_backend *cuda, struct tensor out, const Value &value,
                               int rows) {
    const int parts = (int)cuda_pieces((size_t)rows, COLUMNS_PART);
    const size_t bytes = (size_t)parts * (size_t)out.cols * sizeof(float);

    if (rows == 0 || out.cols == 0) { return; }
    float *part = static_cast<float *>(cuda_scratch(cuda, CUDA_SLOT_SUM, bytes));
    if (part == NULL) { return; }
    const dim3 grid(cuda_pieces((size_t)out.cols, WARP), (unsigned)parts);
    CUDA_LAUNCH(cuda, columns_part_kernel<Value>, grid, dim3(WARP, COLUMNS_DEEP), 0, part, value,
                rows, out.cols);
    CUDA_LAUNCH(cuda, columns_add_kernel, dim3(cuda_pieces((size_t)out.cols, 256)), dim3(256), 0,
                static_cast<float *>(out.data), part, parts, out.cols);
}

#endif
