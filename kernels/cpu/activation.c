/* SPDX-License-Identifier: Apache-2.0
 *
 * activation.c - SwiGLU, GELU (exact) and ReLU, forward and backward. */
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/lanes.h"

/* 1 / (1 + e^-x) */
LANES_INLINE f32v lanes_sigmoid(f32v x) {
    return 1.0f / (1.0f + lanes_exp(-x));
}

LANES_INLINE f32v swiglu(f32v gate, f32v up) {
    return gate * lanes_sigmoid(gate) * up;
}

static void swiglu_row(float *y, const float *gate, const float *up, int F) {
    int f = 0;

    for (; f + LANES <= F; f += LANES) {
        lanes_store(y + f, swiglu(lanes_load(gate + f), lanes_load(up + f)));
    }
    if (f < F) {
        int count = F - f;
        f32v part = swiglu(lanes_load_part(gate + f, count), lanes_load_part(up + f, count));
        lanes_store_part(y + f, part, count);
    }
}

static void swiglu_forward(struct backend *be, struct tensor y, struct tensor gate_up) {
    const int F = y.cols;
    int team = team_for(be, y.rows, F);

    assert(tensor_is(gate_up, y.rows, 2 * F));
#pragma omp parallel for num_threads(team) schedule(static)
    for (int n = 0; n < y.rows; n++) {
        const float *row = row_f32(gate_up, n);
        swiglu_row(row_f32(y, n), row, row + F, F);
    }
}

/* dgate = dy up silu'(gate), silu'(g) = s (1 + g (1-s)) with s = sigmoid(g); dup = dy silu(gate) */
LANES_INLINE void swiglu_back(f32v dy, f32v gate, f32v up, f32v *ret_dgate, f32v *ret_dup) {
    f32v s = lanes_sigmoid(gate);
    *ret_dgate = dy * up * s * (1.0f + gate * (1.0f - s));
    *ret_dup = dy * gate * s;
}

static void swiglu_backward_row(float *dgate, float *dup, const float *dy, const float *gate,
                                const float *up, int F) {
    int f = 0;
    f32v a, b;

    for (; f + LANES <= F; f += LANES) {
        swiglu_back(lanes_load(dy + f), lanes_load(gate + f), lanes_load(up + f), &a, &b);
        lanes_store(dgate + f, a);
        lanes_store(dup + f, b);
    }
    if (f < F) {
        int count = F - f;
        swiglu_back(lanes_load_part(dy + f, count), lanes_load_part(gate + f, count),
                    lanes_load_part(up + f, count), &a, &b);
        lanes_store_part(dgate + f, a, count);
        lanes_store_part(dup + f, b, count);
    }
}

static void swiglu_backward(struct backend *be, struct tensor dgate_up, struct tensor dy,
                            struct tensor gate_up) {
    const int F = dy.cols;
    int team = team_for(be, dy.rows, F);

    assert(tensor_is(gate_up, dy.rows, 2 * F));
    assert(tensor_same_shape(dgate_up, gate_up));
#pragma omp parallel for num_threads(team) schedule(static)
    for (int n = 0; n < dy.rows; n++) {
        const float *row = row_f32(gate_up, n);
        float *drow = row_f32(dgate_up, n);
        swiglu_backward_row(drow, drow + F, row_f32(dy, n), row, row + F, F);
    }
}

/* ---- GELU: x Phi(x), Phi the normal distribution function ------------------------------------ */

/* Phi(x) and phi(x) = e^(-x^2/2) / sqrt(2 pi). Phi by erfc(z) = (a1 t + ... + a5 t^5) e^(-z^2) with
 * t = 1/(1 + p z), z = |x|/sqrt(2): Abramowitz & Stegun 7.1.26, absolute error below 1.5e-7, which
 * is what a float near 1 holds; the tail goes to 0 as it should. */
LANES_INLINE f32v normal_cdf(f32v x, f32v *ret_density) {
    f32v z = lanes_select(x < 0.0f, -x, x) * 0.70710678f;
    f32v e = lanes_exp(-z * z);
    f32v t = 1.0f / (1.0f + z * 0.3275911f);
    f32v p = t * 1.061405429f - 1.453152027f;
    p = p * t + 1.421413741f;
    p = p * t - 0.284496736f;
    p = p * t + 0.254829592f;
    f32v tail = p * t * e * 0.5f; /* Phi(-|x|) */
    *ret_density = e * 0.39894228f;
    return lanes_select(x < 0.0f, tail, 1.0f - tail);
}

LANES_INLINE f32v gelu(f32v x) {
    f32v density;
    return x * normal_cdf(x, &density);
}

/* dx = dy (Phi(x) + x phi(x)) */
LANES_INLINE f32v gelu_back(f32v dy, f32v x) {
    f32v density;
    f32v cdf = normal_cdf(x, &density);
    return dy * (cdf + x * density);
}

static void gelu_row(float *y, const float *x, int C) {
    int c = 0;

    for (; c + LANES <= C; c += LANES) {
        lanes_store(y + c, gelu(lanes_load(x + c)));
    }
    if (c < C) { lanes_store_part(y + c, gelu(lanes_load_part(x + c, C - c)), C - c); }
}

static void gelu_backward_row(float *dx, const float *dy, const float *x, int C) {
    int c = 0;

    for (; c + LANES <= C; c += LANES) {
        lanes_store(dx + c, gelu_back(lanes_load(dy + c), lanes_load(x + c)));
    }
    if (c < C) {
        f32v part = gelu_back(lanes_load_part(dy + c, C - c), lanes_load_part(x + c, C - c));
        lanes_store_part(dx + c, part, C - c);
    }
}

static void gelu_forward(struct backend *be, struct tensor y, struct tensor x) {
    int team = team_for(be, x.rows, x.cols);

    assert(tensor_same_shape(y, x));
#pragma omp parallel for num_threads(team) schedule(static)
    for (int n = 0; n < x.rows; n++) {
        gelu_row(row_f32(y, n), row_f32(x, n), x.cols);
    }
}

static void gelu_backward(struct backend *be, struct tensor dx, struct tensor dy, struct tensor x) {
    int team = team_for(be, x.rows, x.cols);

    assert(tensor_same_shape(dx, x) && tensor_same_shape(dy, x));
#pragma omp parallel for num_threads(team) schedule(static)
    for (int n = 0; n < x.rows; n++) {
        gelu_backward_row(row_f32(dx, n), row_f32(dy, n), row_f32(x, n), x.cols);
    }
}

/* ---- ReLU ------------------------------------------------------------------------------------ */

static void relu_forward(struct backend *be, struct tensor y, struct tensor x) {
    int team = team_for(be, x.rows, x.cols);

    assert(tensor_same_shape(y, x));
#pragma omp parallel for num_threads(team) schedule(static)
    for (int n = 0; n < x.rows; n++) {
        const float *x_n = row_f32(x, n);
        float *y_n = row_f32(y, n);
        for (int c = 0; c < x.cols; c++) {
            y_n[c] = x_n[c] < 0.0f ? 0.0f : x_n[c]; /* this way round a NaN stays */
        }
    }
}

/* The derivative at 0 is 0. */
static void relu_backward(struct backend *be, struct tensor dx, struct tensor dy, struct tensor x) {
    int team = team_for(be, x.rows, x.cols);

    assert(tensor_same_shape(dx, x) && tensor_same_shape(dy, x));
#pragma omp parallel for num_threads(team) schedule(static)
    for (int n = 0; n < x.rows; n++) {
        const float *x_n = row_f32(x, n), *dy_n = row_f32(dy, n);
        float *dx_n = row_f32(dx, n);
        for (int c = 0; c < x.cols; c++) {
            dx_n[c] = x_n[c] > 0.0f ? dy_n[c] : 0.0f;
        }
    }
}

void ISA(activation_install)(struct backend_ops *ops) {
    ops->swiglu_forward = swiglu_forward;
    ops->swiglu_backward = swiglu_backward;
    ops->gelu_forward = gelu_forward;
    ops->gelu_backward = gelu_backward;
    ops->relu_forward = relu_forward;
    ops->relu_backward = relu_backward;
}
