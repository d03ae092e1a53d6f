/* SPDX-License-Identifier: Apache-2.0
 *
 * move.c - fill, copy, and rounding to bf16. */
#include "kernels/cpu/cpu.h"

#include <string.h>

/* Round to nearest even; a NaN stays one (its quiet bit is set). */
static inline uint16_t bf16_of(float x) {
    uint32_t bits;

    memcpy(&bits, &x, sizeof bits);
    uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
    uint32_t quiet = (bits >> 16) | 0x40u;
    return (uint16_t)((bits & 0x7fffffffu) > 0x7f800000u ? quiet : rounded);
}

static inline float f32_of(uint16_t x) {
    uint32_t bits = (uint32_t)x << 16;
    float y;

    memcpy(&y, &bits, sizeof y);
    return y;
}

static void row_to_bf16(uint16_t *restrict dst, const float *restrict src, int cols) {
    for (int c = 0; c < cols; c++) {
        dst[c] = bf16_of(src[c]);
    }
}

static void row_round_bf16(float *restrict dst, const float *restrict src, int cols) {
    for (int c = 0; c < cols; c++) {
        dst[c] = f32_of(bf16_of(src[c]));
    }
}

static void to_bf16(uint16_t *dst, const float *src, int stride, int rows, int cols,
                    int rows_padded, int threads) {
    assert(rows <= rows_padded);
    int team = (size_t)rows * (size_t)cols < TEAM_ELEMENTS_MIN ? 1 : threads;
#pragma omp parallel for num_threads(team) schedule(static)
    for (int n = 0; n < rows; n++) {
        row_to_bf16(dst + (size_t)n * (size_t)cols, src + (size_t)n * (size_t)stride, cols);
    }
    memset(dst + (size_t)rows * (size_t)cols, 0,
           (size_t)(rows_padded - rows) * (size_t)cols * sizeof *dst);
}

static void round_bf16(float *dst, const float *src, int stride, int rows, int cols, int threads) {
    int team = (size_t)rows * (size_t)cols < TEAM_ELEMENTS_MIN ? 1 : threads;
#pragma omp parallel for num_threads(team) schedule(static)
    for (int n = 0; n < rows; n++) {
        row_round_bf16(dst + (size_t)n * (size_t)cols, src + (size_t)n * (size_t)stride, cols);
    }
}

static void fill(struct backend *be, struct tensor dst, float value) {
    int team = team_for(be, dst.rows, dst.cols);

    assert(dst.dtype == DTYPE_F32 || dst.dtype == DTYPE_I32);
#pragma omp parallel for num_threads(team) schedule(static)
    for (int n = 0; n < dst.rows; n++) {
        float *row = row_f32(dst, n);
        int32_t *row_int = row_i32(dst, n);
        for (int c = 0; c < dst.cols; c++) {
            if (dst.dtype == DTYPE_F32) {
                row[c] = value;
            } else {
                row_int[c] = (int32_t)value;
            }
        }
    }
}

static void copy(struct backend *be, struct tensor dst, struct tensor src) {
    int team = team_for(be, dst.rows, dst.cols);
    size_t row_bytes = (size_t)dst.cols * dtype_bytes(dst.dtype);

    assert(dst.rows == src.rows && dst.cols == src.cols);
    assert(dst.dtype == src.dtype);
#pragma omp parallel for num_threads(team) schedule(static)
    for (int n = 0; n < dst.rows; n++) {
        memmove(tensor_rows(dst, n, 1).data, tensor_rows(src, n, 1).data, row_bytes);
    }
}

void ISA(move_install)(struct backend_ops *ops, struct cpu_loops *loops) {
    ops->fill = fill;
    ops->copy = copy;
    loops->to_bf16 = to_bf16;
    loops->round_bf16 = round_bf16;
}
