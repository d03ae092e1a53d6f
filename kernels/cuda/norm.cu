/* SPDX-License-Identifier: Apache-2.0
 *
 * norm.cu - RMSNorm and LayerNorm, forward and backward.
 *
 * A team (reduce.h) does a row: one pass to its statistics, one to its output; the row stays in the
 * cache between them. The column sums of LayerNorm's parameters are those of columns.h. */
#include "kernels/cuda/columns.h"

/* ---- kernels --------------------------------------------------------------------------------- */

/* y (N,C) = x rstd gain (1,C), rstd (N,1) = 1 / sqrt(mean(x^2) + epsilon). Zhang & Sennrich
 * 2019. */
template <int Team>
__global__ void __launch_bounds__(TEAM_BLOCK)
    rmsnorm_kernel(struct tensor y, struct tensor rstd, struct tensor x, struct tensor gain,
                   float epsilon) {
    const int n = team_row<Team>(), C = x.cols;

    if (n < x.rows) { /* the same for the whole team */
        const float *x_n = row_f32(x, n), *gain_0 = row_f32(gain, 0);
        float *y_n = row_f32(y, n), squares = 0.0f;
        for (int c = team_member<Team>(); c < C; c += Team) {
            squares += x_n[c] * x_n[c];
        }
        const float r = 1.0f / sqrtf(team_sum<Team>(squares) / (float)C + epsilon);
        for (int c = team_member<Team>(); c < C; c += Team) {
            y_n[c] = x_n[c] * r * gain_0[c];
        }
        if (team_member<Team>() == 0) { *row_f32(rstd, n) = r; }
    }
}

/* dx (N,C) += dy gain rstd - x rstd^3 mean(dy gain x) */
template <int Team>
__global__ void __launch_bounds__(TEAM_BLOCK)
    rmsnorm_back_kernel(struct tensor dx, struct tensor dy, struct tensor x, struct tensor rstd,
                        struct tensor gain) {
    const int n = team_row<Team>(), C = x.cols;

    if (n < x.rows) {
        const float *x_n = row_f32(x, n), *dy_n = row_f32(dy, n), *gain_0 = row_f32(gain, 0);
        const float r = *row_f32(rstd, n);
        float *dx_n = row_f32(dx, n), dot = 0.0f;
        for (int c = team_member<Team>(); c < C; c += Team) {
            dot += dy_n[c] * gain_0[c] * x_n[c];
        }
        const float pull = team_sum<Team>(dot) * r * r * r / (float)C;
        for (int c = team_member<Team>(); c < C; c += Team) {
            dx_n[c] += dy_n[c] * gain_0[c] * r - x_n[c] * pull;
        }
    }
}

/* y (N,C) = (x - mean) rstd gain + bias; mean, rstd (N,1) kept; the spread is summed around the
 * mean, in a second pass. Ba et al. 2016. */
template <int Team>
__global__ void __launch_bounds__(TEAM_BLOCK)
    layernorm_kernel(struct tensor y, struct tensor mean, struct tensor rstd, struct tensor x,
                     struct tensor gain, struct tensor bias, float epsilon) {
    const int n = team_row<Team>(), C = x.cols;

    if (n < x.rows) {
        const float *x_n = row_f32(x, n), *gain_0 = row_f32(gain, 0), *bias_0 = row_f32(bias, 0);
        float *y_n = row_f32(y, n), sum = 0.0f, spread = 0.0f;
        for (int c = team_member<Team>(); c < C; c += Team) {
            sum += x_n[c];
        }
        const float m = team_sum<Team>(sum) / (float)C;
        for (int c = team_member<Team>(); c < C; c += Team) {
            spread += (x_n[c] - m) * (x_n[c] - m);
        }
        const float r = 1.0f / sqrtf(team_sum<Team>(spread) / (float)C + epsilon);
        for (int c = team_member<Team>(); c < C; c += Team) {
            y_n[c] = (x_n[c] - m) * r * gain_0[c] + bias_0[c];
        }
        if (team_member<Team>() == 0) {
            *row_f32(mean, n) = m;
            *row_f32(rstd, n) = r;
        }
    }
}

/* With xhat = (x - mean) rstd and a = dy gain:
 * dx (N,C) += rstd (a - mean(a) - xhat mean(a xhat)). */
template <int Team>
__global__ void __launch_bounds__(TEAM_BLOCK)
    layernorm_back_kernel(struct tensor dx, struct tensor dy, struct tensor x, struct tensor mean,
                          struct tensor rstd, struct tensor gain) {
    const int n = team_row<Team>(), C = x.cols;

    if (n < x.rows) {
        const float *x_n = row_f32(x, n), *dy_n = row_f32(dy, n), *gain_0 = row_f32(gain, 0);
        const float m = *row_f32(mean, n), r = *row_f32(rstd, n);
        float *dx_n = row_f32(dx, n), sum_a = 0.0f, sum_ax = 0.0f;
        for (int c = team_member<Team>(); c < C; c += Team) {
            const float a = dy_n[c] * gain_0[c];
            sum_a += a;
            sum_ax += a * (x_n[c] - m) * r;
        }
        sum_a = team_sum<Team>(sum_a) / (float)C;
        sum_ax = team_sum<Team>(sum_ax) / (float)C;
        for (int c = team_member<Team>(); c < C; c += Team) {
            dx_n[c] += r * (dy_n[c] * gain_0[c] - sum_a - (x_n[c] - m) * r * sum_ax);
        }
    }
}

/* What dgain (1,C) sums over the rows: dy xhat. */
struct dgain_value {
    struct tensor dy, x, mean, rstd;
    __device__ float at(int n, int c) const {
        return row_f32(dy, n)[c] * (row_f32(x, n)[c] - *row_f32(mean, n)) * *row_f32(rstd, n);
    }
};

/* ---- launchers ------------------------------------------------------------------------------- */

static void rmsnorm_forward(struct backend *be, struct tensor y, struct tensor rstd,
                            struct tensor x, struct tensor gain, float epsilon) {
    assert(tensor_same_shape(y, x));
    assert(tensor_is(rstd, x.rows, 1) && tensor_is(gain, 1, x.cols));
    CUDA_LAUNCH_ROWS(cuda_of(be), rmsnorm_kernel, x.rows, x.cols, y, rstd, x, gain, epsilon);
}

static void rmsnorm_backward(struct backend *be, struct tensor dx, struct tensor dy,
                             struct tensor x, struct tensor rstd, struct tensor gain) {
    assert(tensor_same_shape(dx, x) && tensor_same_shape(dy, x));
    assert(tensor_is(rstd, x.rows, 1) && tensor_is(gain, 1, x.cols));
    CUDA_LAUNCH_ROWS(cuda_of(be), rmsnorm_back_kernel, x.rows, x.cols, dx, dy, x, rstd, gain);
}

static void layernorm_forward(struct backend *be, struct tensor y, struct tensor mean,
                              struct tensor rstd, struct tensor x, struct tensor gain,
                              struct tensor bias, float epsilon) {
    assert(tensor_same_shape(y, x));
    assert(tensor_is(mean, x.rows, 1) && tensor_is(rstd, x.rows, 1));
    assert(tensor_is(gain, 1, x.cols) && tensor_is(bias, 1, x.cols));
    CUDA_LAUNCH_ROWS(cuda_of(be), layernorm_kernel, x.rows, x.cols, y, mean, rstd, x, gain, bias,
                     epsilon);
}

static void layernorm_backward(struct backend *be, struct tensor dx, struct tensor dgain,
                               struct tensor dbias, struct tensor dy, struct tensor x,
                               struct tensor mean, struct tensor rstd, struct tensor gain) {
    struct cuda_backend *cuda = cuda_of(be);

    assert(tensor_same_shape(dx, x) && tensor_same_shape(dy, x));
    assert(tensor_is(mean, x.rows, 1) && tensor_is(rstd, x.rows, 1) && tensor_is(gain, 1, x.cols));
    assert(tensor_is_none(dgain) || tensor_is(dgain, 1, x.cols));
    assert(tensor_is_none(dbias) || tensor_is(dbias, 1, x.cols));
    if (!tensor_is_none(dgain)) {
        columns_add(cuda, dgain, dgain_value{dy, x, mean, rstd}, x.rows);
    }
    if (!tensor_is_none(dbias)) { columns_add(cuda, dbias, columns_element{dy}, x.rows); }
    CUDA_LAUNCH_ROWS(cuda, layernorm_back_kernel, x.rows, x.cols, dx, dy, x, mean, rstd, gain);
}

void cuda_norm_install(struct backend_ops *ops) {
    ops->rmsnorm_forward = rmsnorm_forward;
    ops->rmsnorm_backward = rmsnorm_backward;
    ops->layernorm_forward = layernorm_forward;
    ops->layernorm_backward = layernorm_backward;
}
