/* SPDX-License-Identifier: Apache-2.0
 *
 * elementwise.c - sums and products element by element, bias rows, dropout. */
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/lanes.h"

#include "base/rng.h"

static void axpby_row(float *dst, float a, const float *x, float b, int C) {
    for (int c = 0; c < C; c++) {
        dst[c] = a * x[c] + b * dst[c];
    }
}

static void scale_row(float *dst, float a, const float *x, int C) {
    for (int c = 0; c < C; c++) {
        dst[c] = a * x[c];
    }
}

static void axpby(struct backend *be, struct tensor dst, float a, struct tensor x, float b) {
    int team = team_for(be, x.rows, x.cols);

    assert(tensor_same_shape(dst, x));
#pragma omp parallel for num_threads(team) schedule(static)
    for (int n = 0; n < x.rows; n++) {
        if (b == 0.0f) {
            scale_row(row_f32(dst, n), a, row_f32(x, n), x.cols);
        } else {
            axpby_row(row_f32(dst, n), a, row_f32(x, n), b, x.cols);
        }
    }
}

static void multiply(struct backend *be, struct tensor dst, struct tensor x) {
    int team = team_for(be, x.rows, x.cols);

    assert(tensor_same_shape(dst, x));
#pragma omp parallel for num_threads(team) schedule(static)
    for (int n = 0; n < x.rows; n++) {
        float *dst_n = row_f32(dst, n);
        const float *x_n = row_f32(x, n);
        for (int c = 0; c < x.cols; c++) {
            dst_n[c] *= x_n[c];
        }
    }
}

static void add_bias(struct backend *be, struct tensor x, struct tensor bias) {
    int team = team_for(be, x.rows, x.cols);

    assert(tensor_is(bias, 1, x.cols) && x.dtype == DTYPE_F32);
#pragma omp parallel for num_threads(team) schedule(static)
    for (int n = 0; n < x.rows; n++) {
        float *x_n = row_f32(x, n);
        const float *bias_0 = row_f32(bias, 0);
        for (int c = 0; c < x.cols; c++) {
            x_n[c] += bias_0[c];
        }
    }
}

/* Columns are split over the team; each is summed in row order. */
static void sum_rows(struct backend *be, struct tensor dbias, struct tensor dx) {
    const int column_blocks = (dx.cols + LANES - 1) / LANES;
    int team = team_for(be, dx.rows, dx.cols);

    assert(tensor_is(dbias, 1, dx.cols) && dx.dtype == DTYPE_F32);
#pragma omp parallel for num_threads(team) schedule(static)
    for (int block = 0; block < column_blocks; block++) {
        int first = block * LANES;
        int count = dx.cols - first < LANES ? dx.cols - first : LANES;
        f32v sum = {0};
        for (int n = 0; n < dx.rows; n++) {
            const float *dx_n = row_f32(dx, n) + first;
            sum += count == LANES ? lanes_load(dx_n) : lanes_load_part(dx_n, count);
        }
        float *dbias_0 = row_f32(dbias, 0) + first;
        sum += lanes_load_part(dbias_0, count);
        lanes_store_part(dbias_0, sum, count);
    }
}

/* Four neighbours share one Philox block: element e is word e%4 of block e/4. */
static void dropout_row(float *x, size_t first, int C, uint32_t threshold, float scale,
                        const uint32_t key[2], uint64_t stream) {
    uint32_t block[4];
    uint64_t block_at = UINT64_MAX;

    for (int c = 0; c < C; c++) {
        uint64_t element = (uint64_t)first + (uint64_t)c;
        if (element / 4 != block_at) {
            block_at = element / 4;
            uint32_t counter[4] = {(uint32_t)block_at, (uint32_t)(block_at >> 32), (uint32_t)stream,
                                   (uint32_t)(stream >> 32)};
            philox4x32(counter, key, block);
        }
        x[c] = block[element % 4] < threshold ? 0.0f : x[c] * scale;
    }
}

static void dropout(struct backend *be, struct tensor x, float p, uint64_t seed, uint64_t stream) {
    const uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
    int team = team_for(be, x.rows, x.cols);

    assert(p >= 0.0f && p < 1.0f);
    assert(x.dtype == DTYPE_F32);
    if (p == 0.0f) { return; }
    uint32_t threshold = (uint32_t)((double)p * 4294967296.0); /* p of all 32-bit numbers */
    float scale = 1.0f / (1.0f - p);
#pragma omp parallel for num_threads(team) schedule(static)
    for (int n = 0; n < x.rows; n++) {
        dropout_row(row_f32(x, n), (size_t)n * (size_t)x.cols, x.cols, threshold, scale, key,
                    stream);
    }
}

void ISA(elementwise_install)(struct backend_ops *ops) {
    ops->axpby = axpby;
    ops->multiply = multiply;
    ops->add_bias = add_bias;
    ops->sum_rows = sum_rows;
    ops->dropout = dropout;
}
