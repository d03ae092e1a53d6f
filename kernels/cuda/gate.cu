/* SPDX-License-Identifier: Apache-2.0
 *
 * gate.cu - iLoRA's gate folded into the rank axis (MODEL.md), and the softmax that makes a gate.
 *
 *   g = repeat(gate[sequence(n)], R/K)    u = h * g       dh = du * g
 *   dgate[b,k] += sum over the rows n of sequence b and the ranks r of expert k of du[n,r] h[n,r]
 */
#include "kernels/cuda/sheet.h"

/* ---- kernels --------------------------------------------------------------------------------- */

/* to (N,R) = from (N,R) * g; gate (B,K), sequence (N,1). to may be from. */
struct gate_operation {
    struct tensor to, from, gate, sequence;
    int ranks; /* of an expert: R/K */
    template <int V> __device__ void at(int n, int r) const {
        const float *gate_b = row_f32(gate, *row_i32(sequence, n));
        struct lanes<V> v = lanes_load<V>(row_f32(from, n) + r);
        for (int i = 0; i < V; i++) {
            v.at[i] *= gate_b[(r + i) / ranks];
        }
        lanes_store<V>(row_f32(to, n) + r, v);
    }
};

#define DGATE_THREADS 256

/* dgate (B,K) += sums of du h; du, h (N,R), sequence (N,1). Block (b,k): thread t takes rows t,
 * t+256, ... that are sequence b's, then the block adds up. */
static __global__ void __launch_bounds__(DGATE_THREADS)
    dgate_kernel(struct tensor dgate, struct tensor du, struct tensor h, struct tensor sequence,
                 int ranks) {
    const int b = (int)blockIdx.x, k = (int)blockIdx.y;
    float sum = 0.0f;

    for (int n = (int)threadIdx.x; n < h.rows; n += DGATE_THREADS) {
        if (*row_i32(sequence, n) != b) { continue; }
        const float *du_k = row_f32(du, n) + k * ranks, *h_k = row_f32(h, n) + k * ranks;
        for (int r = 0; r < ranks; r++) {
            sum += du_k[r] * h_k[r];
        }
    }
    sum = block_sum<DGATE_THREADS>(sum);
    if (threadIdx.x == 0) { row_f32(dgate, b)[k] += sum; }
}

/* w (B,K) = floor/K + (1-floor) softmax(x) */
template <int Team>
__global__ void __launch_bounds__(TEAM_BLOCK)
    softmax_kernel(struct tensor w, struct tensor x, float floor_share) {
    const int n = team_row<Team>(), K = x.cols;

    if (n < x.rows) { /* the same for the whole team */
        const float *x_n = row_f32(x, n);
        float *w_n = row_f32(w, n), top = -INFINITY, sum = 0.0f;
        for (int k = team_member<Team>(); k < K; k += Team) {
            top = fmaxf(top, x_n[k]);
        }
        top = team_max<Team>(top);
        for (int k = team_member<Team>(); k < K; k += Team) {
            const float e = expf(x_n[k] - top);
            w_n[k] = e;
            sum += e;
        }
        sum = team_sum<Team>(sum);
        for (int k = team_member<Team>(); k < K; k += Team) {
            w_n[k] = floor_share / (float)K + (1.0f - floor_share) * (w_n[k] / sum);
        }
    }
}

/* With p = (w - floor/K)/(1-floor): dx (B,K) = (1-floor) p (dw - sum p dw). */
template <int Team>
__global__ void __launch_bounds__(TEAM_BLOCK)
    softmax_back_kernel(struct tensor dx, struct tensor dw, struct tensor w, float floor_share) {
    const int n = team_row<Team>(), K = w.cols;

    if (n < w.rows) {
        const float *w_n = row_f32(w, n), *dw_n = row_f32(dw, n), share = floor_share / (float)K;
        float *dx_n = row_f32(dx, n), sum = 0.0f;
        for (int k = team_member<Team>(); k < K; k += Team) {
            sum += (w_n[k] - share) / (1.0f - floor_share) * dw_n[k];
        }
        sum = team_sum<Team>(sum);
        for (int k = team_member<Team>(); k < K; k += Team) {
            dx_n[k] = (w_n[k] - share) * (dw_n[k] - sum);
        }
    }
}

/* ---- launchers ------------------------------------------------------------------------------- */

static void gate_forward(struct backend *be, struct tensor u, struct tensor h, struct tensor gate,
                         struct tensor sequence) {
    assert(tensor_same_shape(u, h) && tensor_is_index(sequence, h.rows));
    assert(gate.cols > 0 && h.cols % gate.cols == 0);
    bool fours = tensor_in_fours(u) && tensor_in_fours(h);
    sheet_launch(cuda_of(be), gate_operation{u, h, gate, sequence, h.cols / gate.cols}, h.rows,
                 h.cols, fours);
}

/* dgate first: dh may take du's place. */
static void gate_backward(struct backend *be, struct tensor dh, struct tensor dgate,
                          struct tensor du, struct tensor h, struct tensor gate,
                          struct tensor sequence) {
    struct cuda_backend *cuda = cuda_of(be);

    assert(tensor_same_shape(dh, h) && tensor_same_shape(du, h));
    assert(tensor_same_shape(dgate, gate) && tensor_is_index(sequence, h.rows));
    assert(gate.cols > 0 && h.cols % gate.cols == 0);
    const int ranks = h.cols / gate.cols;
    CUDA_LAUNCH(cuda, dgate_kernel, dim3((unsigned)gate.rows, (unsigned)gate.cols),
                dim3(DGATE_THREADS), 0, dgate, du, h, sequence, ranks);
    bool fours = tensor_in_fours(dh) && tensor_in_fours(du);
    sheet_launch(cuda, gate_operation{dh, du, gate, sequence, ranks}, h.rows, h.cols, fours);
}

static void softmax_forward(struct backend *be, struct tensor w, struct tensor x, float floor) {
    assert(tensor_same_shape(w, x));
    assert(floor >= 0.0f && floor < 1.0f);
    CUDA_LAUNCH_ROWS(cuda_of(be), softmax_kernel, x.rows, x.cols, w, x, floor);
}

static void softmax_backward(struct backend *be, struct tensor dx, struct tensor dw,
                             struct tensor w, float floor) {
    assert(tensor_same_shape(dx, w) && tensor_same_shape(dw, w));
    CUDA_LAUNCH_ROWS(cuda_of(be), softmax_back_kernel, w.rows, w.cols, dx, dw, w, floor);
}

void cuda_gate_install(struct backend_ops *ops) {
    ops->gate_forward = gate_forward;
    ops->gate_backward = gate_backward;
    ops->softmax_forward = softmax_forward;
    ops->softmax_backward = softmax_backward;
}
