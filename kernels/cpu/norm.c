/* SPDX-License-Identifier: Apache-2.0
 *
 * norm.c - RMSNorm and LayerNorm, forward and backward.
 *
 * A row is one pass to its statistics and one to its output, sums in lanes that are added as
 * a tree. Rows are split over the team; the column sums of LayerNorm's parameters are split over
 * columns instead, each summed in row order. */
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/lanes.h"

/* sum of a*b over a row */
static float row_dot(const float *a, const float *b, int C) {
    f32v sum = {0};
    int c = 0;

    for (; c + LANES <= C; c += LANES) {
        sum += lanes_load(a + c) * lanes_load(b + c);
    }
    if (c < C) { sum += lanes_load_part(a + c, C - c) * lanes_load_part(b + c, C - c); }
    return lanes_sum(sum);
}

/* sum of a*b*g over a row */
static float row_dot_gain(const float *a, const float *b, const float *g, int C) {
    f32v sum = {0};
    int c = 0;

    for (; c + LANES <= C; c += LANES) {
        sum += lanes_load(a + c) * lanes_load(g + c) * lanes_load(b + c);
    }
    if (c < C) {
        sum += lanes_load_part(a + c, C - c) * lanes_load_part(g + c, C - c) *
               lanes_load_part(b + c, C - c);
    }
    return lanes_sum(sum);
}

static float row_sum(const float *a, int C) {
    f32v sum = {0};
    int c = 0;

    for (; c + LANES <= C; c += LANES) {
        sum += lanes_load(a + c);
    }
    if (c < C) { sum += lanes_load_part(a + c, C - c); }
    return lanes_sum(sum);
}

/* sum of (a-mean)^2 over a row */
static float row_spread(const float *a, float mean, int C) {
    f32v sum = {0};
    int c = 0;

    for (; c + LANES <= C; c += LANES) {
        f32v d = lanes_load(a + c) - mean;
        sum += d * d;
    }
    if (c < C) {
        f32v d = lanes_keep(lanes_load_part(a + c, C - c) - mean, C - c, 0.0f);
        sum += d * d;
    }
    return lanes_sum(sum);
}

/* ---- RMSNorm --------------------------------------------------------------------------------- */

static void rmsnorm_row(float *y, const float *x, const float *gain, float rstd, int C) {
    for (int c = 0; c < C; c++) {
        y[c] = x[c] * rstd * gain[c];
    }
}

static void rmsnorm_forward(struct backend *be, struct tensor y, struct tensor rstd,
                            struct tensor x, struct tensor gain, float epsilon) {
    const int C = x.cols;
    int team = team_for(be, x.rows, C);

    assert(tensor_same_shape(y, x));
    assert(tensor_is(rstd, x.rows, 1) && tensor_is(gain, 1, C));
#pragma omp parallel for num_threads(team) schedule(static)
    for (int n = 0; n < x.rows; n++) {
        const float *x_n = row_f32(x, n);
        float r = 1.0f / sqrtf(row_dot(x_n, x_n, C) / (float)C + epsilon);
        rmsnorm_row(row_f32(y, n), x_n, row_f32(gain, 0), r, C);
        *row_f32(rstd, n) = r;
    }
}

static void rmsnorm_backward_row(float *restrict dx, const float *dy, const float *x,
                                 const float *gain, float rstd, float pull, int C) {
    for (int c = 0; c < C; c++) {
        dx[c] += dy[c] * gain[c] * rstd - x[c] * pull;
    }
}

static void rmsnorm_backward(struct backend *be, struct tensor dx, struct tensor dy,
                             struct tensor x, struct tensor rstd, struct tensor gain) {
    const int C = x.cols;
    int team = team_for(be, x.rows, C);

    assert(tensor_same_shape(dx, x) && tensor_same_shape(dy, x));
    assert(tensor_is(rstd, x.rows, 1) && tensor_is(gain, 1, C));
#pragma omp parallel for num_threads(team) schedule(static)
    for (int n = 0; n < x.rows; n++) {
        const float *x_n = row_f32(x, n), *dy_n = row_f32(dy, n), *gain_0 = row_f32(gain, 0);
        float r = *row_f32(rstd, n);
        float dot = row_dot_gain(dy_n, x_n, gain_0, C);
        rmsnorm_backward_row(row_f32(dx, n), dy_n, x_n, gain_0, r, dot * r * r * r / (float)C, C);
    }
}

/* ---- LayerNorm ------------------------------------------------------------------------------- */

static void layernorm_row(float *y, const float *x, const float *gain, const float *bias,
                          float mean, float rstd, int C) {
    for (int c = 0; c < C; c++) {
        y[c] = (x[c] - mean) * rstd * gain[c] + bias[c];
    }
}

static void layernorm_forward(struct backend *be, struct tensor y, struct tensor mean,
                              struct tensor rstd, struct tensor x, struct tensor gain,
                              struct tensor bias, float epsilon) {
    const int C = x.cols;
    int team = team_for(be, x.rows, C);

    assert(tensor_same_shape(y, x));
    assert(tensor_is(mean, x.rows, 1) && tensor_is(rstd, x.rows, 1));
    assert(tensor_is(gain, 1, C) && tensor_is(bias, 1, C));
#pragma omp parallel for num_threads(team) schedule(static)
    for (int n = 0; n < x.rows; n++) {
        const float *x_n = row_f32(x, n);
        float m = row_sum(x_n, C) / (float)C;
        float r = 1.0f / sqrtf(row_spread(x_n, m, C) / (float)C + epsilon);
        layernorm_row(row_f32(y, n), x_n, row_f32(gain, 0), row_f32(bias, 0), m, r, C);
        *row_f32(mean, n) = m;
        *row_f32(rstd, n) = r;
    }
}

/* With xhat = (x-mean) rstd and a = dy gain: dx += rstd (a - mean(a) - xhat mean(a xhat)). */
static void layernorm_backward_row(float *restrict dx, const float *dy, const float *x,
                                   const float *gain, float mean, float rstd, int C) {
    float sum_a = row_dot(dy, gain, C) / (float)C;
    float sum_ax = (row_dot_gain(dy, x, gain, C) / (float)C - sum_a * mean) * rstd;

    for (int c = 0; c < C; c++) {
        float xhat = (x[c] - mean) * rstd;
        dx[c] += rstd * (dy[c] * gain[c] - sum_a - xhat * sum_ax);
    }
}

/* Columns [first, first+count) of dgain and dbias, in row order. */
static void layernorm_backward_columns(struct tensor dgain, struct tensor dbias, struct tensor dy,
                                       struct tensor x, struct tensor mean, struct tensor rstd,
                                       int first, int count) {
    for (int n = 0; n < x.rows; n++) {
        const float *x_n = row_f32(x, n) + first, *dy_n = row_f32(dy, n) + first;
        float m = *row_f32(mean, n), r = *row_f32(rstd, n);
        float *restrict dgain_0 = tensor_is_none(dgain) ? NULL : row_f32(dgain, 0) + first;
        float *restrict dbias_0 = tensor_is_none(dbias) ? NULL : row_f32(dbias, 0) + first;
        for (int c = 0; dgain_0 != NULL && c < count; c++) {
            dgain_0[c] += dy_n[c] * (x_n[c] - m) * r;
        }
        for (int c = 0; dbias_0 != NULL && c < count; c++) {
            dbias_0[c] += dy_n[c];
        }
    }
}

/* Columns of the parameters' gradients that one thread sums at a time. */
#define GAIN_COLUMNS 64

static void layernorm_backward(struct backend *be, struct tensor dx, struct tensor dgain,
                               struct tensor dbias, struct tensor dy, struct tensor x,
                               struct tensor mean, struct tensor rstd, struct tensor gain) {
    const int C = x.cols;
    const int column_blocks = (C + GAIN_COLUMNS - 1) / GAIN_COLUMNS;
    int team = team_for(be, x.rows, C);

    assert(tensor_same_shape(dx, x) && tensor_same_shape(dy, x));
    assert(tensor_is(mean, x.rows, 1) && tensor_is(rstd, x.rows, 1) && tensor_is(gain, 1, C));
    assert(tensor_is_none(dgain) || tensor_is(dgain, 1, C));
    assert(tensor_is_none(dbias) || tensor_is(dbias, 1, C));
#pragma omp parallel for num_threads(team) schedule(static)
    for (int block = 0; block < column_blocks; block++) {
        int first = block * GAIN_COLUMNS;
        int count = C - first < GAIN_COLUMNS ? C - first : GAIN_COLUMNS;
        layernorm_backward_columns(dgain, dbias, dy, x, mean, rstd, first, count);
    }
#pragma omp parallel for num_threads(team) schedule(static)
    for (int n = 0; n < x.rows; n++) {
        layernorm_backward_row(row_f32(dx, n), row_f32(dy, n), row_f32(x, n), row_f32(gain, 0),
                               *row_f32(mean, n), *row_f32(rstd, n), C);
    }
}

void ISA(norm_install)(struct backend_ops *ops) {
    ops->rmsnorm_forward = rmsnorm_forward;
    ops->rmsnorm_backward = rmsnorm_backward;
    ops->layernorm_forward = layernorm_forward;
    ops->layernorm_backward = layernorm_backward;
}
