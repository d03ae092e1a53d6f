/* SPDX-License-Identifier: Apache-2.0
 *
 * rows.c - rows by index: gather, scatter, and scatter with sums in order. */
#include "kernels/cpu/cpu.h"

#include <string.h>

static void gather_rows(struct backend *be, struct tensor dst, struct tensor src,
                        struct tensor index) {
    int team = team_for(be, dst.rows, dst.cols);
    size_t row_bytes = (size_t)dst.cols * dtype_bytes(dst.dtype);

    assert(tensor_is_index(index, dst.rows));
    assert(dst.cols == src.cols && dst.dtype == src.dtype);
#pragma omp parallel for num_threads(team) schedule(static)
    for (int n = 0; n < dst.rows; n++) {
        int at = *row_i32(index, n);
        assert(at >= -1 && at < src.rows);
        void *dst_n = tensor_rows(dst, n, 1).data;
        if (at < 0) {
            memset(dst_n, 0, row_bytes);
        } else {
            memcpy(dst_n, tensor_rows(src, at, 1).data, row_bytes);
        }
    }
}

static void scatter_rows(struct backend *be, struct tensor dst, struct tensor src,
                         struct tensor index) {
    int team = team_for(be, src.rows, src.cols);
    size_t row_bytes = (size_t)src.cols * dtype_bytes(src.dtype);

    assert(tensor_is_index(index, src.rows));
    assert(dst.cols == src.cols && dst.dtype == src.dtype);
#pragma omp parallel for num_threads(team) schedule(static)
    for (int n = 0; n < src.rows; n++) {
        int at = *row_i32(index, n);
        assert(at >= -1 && at < dst.rows);
        if (at < 0) { continue; }
        memcpy(tensor_rows(dst, at, 1).data, tensor_rows(src, n, 1).data, row_bytes);
    }
}

static void add_row(float *dst, const float *src, int count) {
    for (int c = 0; c < count; c++) {
        dst[c] += src[c];
    }
}

/* Columns are split over the team, so repeated indices are summed in the order of n. */
#define SCATTER_COLUMNS 64
static void scatter_add_rows(struct backend *be, struct tensor dst, struct tensor src,
                             struct tensor index) {
    const int column_blocks = (src.cols + SCATTER_COLUMNS - 1) / SCATTER_COLUMNS;
    int team = team_for(be, src.rows, src.cols);

    assert(tensor_is_index(index, src.rows));
    assert(dst.cols == src.cols && dst.dtype == DTYPE_F32 && src.dtype == DTYPE_F32);
#pragma omp parallel for num_threads(team) schedule(static)
    for (int block = 0; block < column_blocks; block++) {
        int first = block * SCATTER_COLUMNS;
        int count = src.cols - first < SCATTER_COLUMNS ? src.cols - first : SCATTER_COLUMNS;
        for (int n = 0; n < src.rows; n++) {
            int at = *row_i32(index, n);
            assert(at >= -1 && at < dst.rows);
            if (at < 0) { continue; }
            add_row(row_f32(dst, at) + first, row_f32(src, n) + first, count);
        }
    }
}

void ISA(rows_install)(struct backend_ops *ops) {
    ops->gather_rows = gather_rows;
    ops->scatter_rows = scatter_rows;
    ops->scatter_add_rows = scatter_add_rows;
}
