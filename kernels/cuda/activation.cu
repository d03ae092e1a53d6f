/* SPDX-License-Identifier: Apache-2.0
 *
 * activation.cu - SwiGLU, GELU (exact) and ReLU, forward and backward. */
#include "kernels/cuda/sheet.h"

/* ---- kernels --------------------------------------------------------------------------------- */

/* 1 / (1 + e^-x) */
static __device__ __forceinline__ float sigmoid(float x) {
    return 1.0f / (1.0f + expf(-x));
}

/* y (N,F) = silu(gate) * up, gate_up (N,2F) = [gate | up]. Shazeer 2020. */
struct swiglu_operation {
    struct tensor y, gate_up;
    template <int V> __device__ void at(int n, int f) const {
        const struct lanes<V> gate = lanes_load<V>(row_f32(gate_up, n) + f);
        struct lanes<V> up = lanes_load<V>(row_f32(gate_up, n) + y.cols + f);
        for (int i = 0; i < V; i++) {
            up.at[i] *= gate.at[i] * sigmoid(gate.at[i]);
        }
        lanes_store<V>(row_f32(y, n) + f, up);
    }
};

/* dgate = dy up silu'(gate), silu'(g) = s (1 + g (1-s)) with s = sigmoid(g); dup = dy silu(gate).
 * dgate_up (N,2F) may be gate_up: a thread reads its elements before it writes them. */
struct swiglu_back_operation {
    struct tensor dgate_up, dy, gate_up;
    template <int V> __device__ void at(int n, int f) const {
        struct lanes<V> gate = lanes_load<V>(row_f32(gate_up, n) + f);
        struct lanes<V> up = lanes_load<V>(row_f32(gate_up, n) + dy.cols + f);
        const struct lanes<V> d = lanes_load<V>(row_f32(dy, n) + f);
        for (int i = 0; i < V; i++) {
            const float g = gate.at[i], s = sigmoid(g);
            gate.at[i] = d.at[i] * up.at[i] * s * (1.0f + g * (1.0f - s));
            up.at[i] = d.at[i] * g * s;
        }
        lanes_store<V>(row_f32(dgate_up, n) + f, gate);
        lanes_store<V>(row_f32(dgate_up, n) + dy.cols + f, up);
    }
};

/* Phi(x), the normal distribution function. */
static __device__ __forceinline__ float normal_cdf(float x) {
    return 0.5f * erfcf(x * -0.70710678f);
}

/* y (N,C) = x Phi(x). Hendrycks & Gimpel 2016. */
struct gelu_operation {
    struct tensor y, x;
    template <int V> __device__ void at(int n, int c) const {
        struct lanes<V> v = lanes_load<V>(row_f32(x, n) + c);
        for (int i = 0; i < V; i++) {
            v.at[i] *= normal_cdf(v.at[i]);
        }
        lanes_store<V>(row_f32(y, n) + c, v);
    }
};

/* dx = dy (Phi(x) + x phi(x)), phi(x) = e^(-x^2/2) / sqrt(2 pi) */
struct gelu_back_operation {
    struct tensor dx, dy, x;
    template <int V> __device__ void at(int n, int c) const {
        const struct lanes<V> v = lanes_load<V>(row_f32(x, n) + c);
        struct lanes<V> d = lanes_load<V>(row_f32(dy, n) + c);
        for (int i = 0; i < V; i++) {
            const float density = 0.39894228f * expf(-0.5f * v.at[i] * v.at[i]);
            d.at[i] *= normal_cdf(v.at[i]) + v.at[i] * density;
        }
        lanes_store<V>(row_f32(dx, n) + c, d);
    }
};

/* y = max(x, 0); this way round a NaN stays */
struct relu_operation {
    struct tensor y, x;
    template <int V> __device__ void at(int n, int c) const {
        struct lanes<V> v = lanes_load<V>(row_f32(x, n) + c);
        for (int i = 0; i < V; i++) {
            v.at[i] = v.at[i] < 0.0f ? 0.0f : v.at[i];
        }
        lanes_store<V>(row_f32(y, n) + c, v);
    }
};

/* dx = dy where x > 0; the derivative at 0 is 0 */
struct relu_back_operation {
    struct tensor dx, dy, x;
    template <int V> __device__ void at(int n, int c) const {
        const struct lanes<V> v = lanes_load<V>(row_f32(x, n) + c);
        struct lanes<V> d = lanes_load<V>(row_f32(dy, n) + c);
        for (int i = 0; i < V; i++) {
            d.at[i] = v.at[i] > 0.0f ? d.at[i] : 0.0f;
        }
        lanes_store<V>(row_f32(dx, n) + c, d);
    }
};

/* ---- launchers ------------------------------------------------------------------------------- */

static void swiglu_forward(struct backend *be, struct tensor y, struct tensor gate_up) {
    assert(tensor_is(gate_up, y.rows, 2 * y.cols));
    bool fours = tensor_in_fours(y) && tensor_in_fours(gate_up);
    sheet_launch(cuda_of(be), swiglu_operation{y, gate_up}, y.rows, y.cols, fours);
}

static void swiglu_backward(struct backend *be, struct tensor dgate_up, struct tensor dy,
                            struct tensor gate_up) {
    assert(tensor_is(gate_up, dy.rows, 2 * dy.cols));
    assert(tensor_same_shape(dgate_up, gate_up));
    bool fours = tensor_in_fours(dy) && tensor_in_fours(gate_up) && tensor_in_fours(dgate_up);
    sheet_launch(cuda_of(be), swiglu_back_operation{dgate_up, dy, gate_up}, dy.rows, dy.cols,
                 fours);
}

static void gelu_forward(struct backend *be, struct tensor y, struct tensor x) {
    assert(tensor_same_shape(y, x));
    bool fours = tensor_in_fours(y) && tensor_in_fours(x);
    sheet_launch(cuda_of(be), gelu_operation{y, x}, x.rows, x.cols, fours);
}

static void gelu_backward(struct backend *be, struct tensor dx, struct tensor dy, struct tensor x) {
    assert(tensor_same_shape(dx, x) && tensor_same_shape(dy, x));
    bool fours = tensor_in_fours(dx) && tensor_in_fours(dy) && tensor_in_fours(x);
    sheet_launch(cuda_of(be), gelu_back_operation{dx, dy, x}, x.rows, x.cols, fours);
}

static void relu_forward(struct backend *be, struct tensor y, struct tensor x) {
    assert(tensor_same_shape(y, x));
    bool fours = tensor_in_fours(y) && tensor_in_fours(x);
    sheet_launch(cuda_of(be), relu_operation{y, x}, x.rows, x.cols, fours);
}

static void relu_backward(struct backend *be, struct tensor dx, struct tensor dy, struct tensor x) {
    assert(tensor_same_shape(dx, x) && tensor_same_shape(dy, x));
    bool fours = tensor_in_fours(dx) && tensor_in_fours(dy) && tensor_in_fours(x);
    sheet_launch(cuda_of(be), relu_back_operation{dx, dy, x}, x.rows, x.cols, fours);
}

void cuda_activation_install(struct backend_ops *ops) {
    ops->swiglu_forward = swiglu_forward;
    ops->swiglu_backward = swiglu_backward;
    ops->gelu_forward = gelu_forward;
    ops->gelu_backward = gelu_backward;
    ops->relu_forward = relu_forward;
    ops->relu_backward = relu_backward;
}
