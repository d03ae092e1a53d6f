/* SPDX-License-Identifier: Apache-2.0
 *
 * sheet.h - one thread per element, or per four neighbours, of a (rows, cols) matrix.
 *
 * An operation is a struct of what it reads and writes with one function, at<V>(n, c), that handles
 * columns c..c+V-1 of row n. Threads of a block lie side by side along the columns; narrow matrices
 * put several rows into a block:
 *
 *   block of 256 threads:  cols >= 256 ─▸ 1 row x 256     cols = 8 ─▸ 32 rows x 8
 */
#ifndef KERNELS_CUDA_SHEET_H
#define KERNELS_CUDA_SHEET_H

#include "kernels/cuda/cuda.h"

#define SHEET_THREADS 256

/* V floats from or to memory in one access; V = 4 needs 16-byte alignment (tensor_in_fours). */
template <int V> struct lanes { float at[V]; };

template <int V> __device__ __forceinline__ struct lanes<V> lanes_load(const float *p) {
    struct lanes<V> x;
    if constexpr (V == 4) {
        const float4 four = *reinterpret_cast<const float4 *>(p);
        memcpy(&x, &four, sizeof x);
    } else {
        for (int i = 0; i < V; i++) {
            x.at[i] = p[i];
        }
    }
    return x;
}

template <int V>
__device__ __forceinline__ void lanes_store(float *p, const struct lanes<V> &x) {
    if constexpr (V == 4) {
        float4 four;
        memcpy(&four, &x, sizeof x);
        *reinterpret_cast<float4 *>(p) = four;
    } else {
        for (int i = 0; i < V; i++) {
            p[i] = x.at[i];
        }
    }
}

template <int V, class Operation>
__global__ void __launch_bounds__(SHEET_THREADS)
    sheet_kernel(Operation operation, int rows, int cols) {
    const int n = (int)(blockIdx.x * blockDim.y + threadIdx.y);
    const int c = (int)(blockIdx.y * blockDim.x + threadIdx.x) * V;

    if (n < rows && c < cols) { operation.template at<V>(n, c); }
}

/* Runs the operation over (rows, cols); fours: cols is a multiple of 4 and every tensor of it may
 * be read by four. */
template <class Operation>
static inline void sheet_launch(struct cuda_backend *cuda, const Operation &operation, int rows,
                                int cols, bool fours) {
    const int across = fours ? cols / 4 : cols;
    unsigned x = 1;

    while (x < SHEET_THREADS && (int)x < across) {
        x *= 2;
    }
    const dim3 block(x, SHEET_THREADS / x);
    const dim3 grid(cuda_pieces((size_t)rows, block.y), cuda_pieces((size_t)across, block.x));
    if (fours) {
        CUDA_LAUNCH(cuda, sheet_kernel<4, Operation>, grid, block, 0, operation, rows, cols);
    } else {
        CUDA_LAUNCH(cuda, sheet_kernel<1, Operation>, grid, block, 0, operation, rows, cols);
    }
}

#endif
