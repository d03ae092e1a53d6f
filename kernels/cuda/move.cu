/* SPDX-License-Identifier: Apache-2.0
 *
 * move.cu - fill, copy, and rounding rows to bf16. */
#include "kernels/cuda/sheet.h"

/* ---- kernels --------------------------------------------------------------------------------- */

/* dst (rows,cols) = value; the same for 32-bit integers, bit by bit */
struct fill_operation {
    struct tensor dst;
    float value;
    template <int V> __device__ void at(int n, int c) const {
        for (int i = 0; i < V; i++) {
            row_f32(dst, n)[c + i] = value;
        }
    }
};

struct fill_int_operation {
    struct tensor dst;
    int32_t value;
    template <int V> __device__ void at(int n, int c) const {
        for (int i = 0; i < V; i++) {
            row_i32(dst, n)[c + i] = value;
        }
    }
};

/* dst (rows, dst_stride) bf16 = src (rows, src.cols) f32 to nearest even, zeros beyond src.cols */
struct round_operation {
    bf16 *dst;
    int dst_stride;
    struct tensor src;
    template <int V> __device__ void at(int n, int c) const {
        for (int i = 0; i < V; i++) {
            const float x = c + i < src.cols ? row_f32(src, n)[c + i] : 0.0f;
            dst[(size_t)n * (size_t)dst_stride + (size_t)(c + i)] = bf16_of(x);
        }
    }
};

/* ---- launchers ------------------------------------------------------------------------------- */

static void fill(struct backend *be, struct tensor dst, float value) {
    assert(dst.dtype == DTYPE_F32 || dst.dtype == DTYPE_I32);
    if (dst.dtype == DTYPE_F32) {
        sheet_launch(cuda_of(be), fill_operation{dst, value}, dst.rows, dst.cols, false);
    } else {
        sheet_launch(cuda_of(be), fill_int_operation{dst, (int32_t)value}, dst.rows, dst.cols,
                     false);
    }
}

static void copy(struct backend *be, struct tensor dst, struct tensor src) {
    struct cuda_backend *cuda = cuda_of(be);
    size_t bytes = dtype_bytes(dst.dtype);

    assert(dst.rows == src.rows && dst.cols == src.cols);
    assert(dst.dtype == src.dtype);
    if (dst.rows == 0 || dst.cols == 0 || cuda->fault.code != STATUS_OK) { return; }
    cuda_current(cuda);
    CUDA_KEEP(cuda, cudaMemcpy2DAsync(dst.data, (size_t)dst.stride * bytes, src.data,
                                      (size_t)src.stride * bytes, (size_t)dst.cols * bytes,
                                      (size_t)dst.rows, cudaMemcpyDeviceToDevice, cuda->stream));
}

void cuda_round_rows(struct cuda_backend *cuda, bf16 *dst, int dst_stride, struct tensor src) {
    assert(dst_stride >= src.cols && src.dtype == DTYPE_F32);
    sheet_launch(cuda, round_operation{dst, dst_stride, src}, src.rows, dst_stride, false);
}

void cuda_move_install(struct backend_ops *ops) {
    ops->fill = fill;
    ops->copy = copy;
}
