/* SPDX-License-Identifier: Apache-2.0
 *
 * gate.c - iLoRA's gate folded into the rank axis (MODEL.md), and the softmax that makes a gate.
 *
 *   g = repeat(gate[sequence(n)], R/K)    u = h * g       dh = du * g
 *   dgate[b,k] += sum over the rows n of sequence b and the ranks r of expert k of du[n,r] h[n,r]
 */
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/lanes.h"

static void gate_forward(struct backend *be, struct tensor u, struct tensor h, struct tensor gate,
                         struct tensor sequence) {
    const int R = h.cols, K = gate.cols;
    int team = team_for(be, h.rows, R);

    assert(tensor_same_shape(u, h) && tensor_is_index(sequence, h.rows));
    assert(K > 0 && R % K == 0);
#pragma omp parallel for num_threads(team) schedule(static)
    for (int n = 0; n < h.rows; n++) {
        int b = *row_i32(sequence, n);
        assert(b >= 0 && b < gate.rows);
        const float *h_n = row_f32(h, n), *gate_b = row_f32(gate, b);
        float *u_n = row_f32(u, n);
        for (int k = 0; k < K; k++) {
            for (int r = k * (R / K); r < (k + 1) * (R / K); r++) {
                u_n[r] = h_n[r] * gate_b[k];
            }
        }
    }
}

/* One row: dh = du g, and du h summed per expert into dgate. dh may be du: each element is read
 * before it is written. */
static void gate_backward_row(float *dh, float *dgate, const float *du, const float *h,
                              const float *gate, int R, int K) {
    for (int k = 0; k < K; k++) {
        float sum = 0.0f;
        for (int r = k * (R / K); r < (k + 1) * (R / K); r++) {
            float du_r = du[r];
            sum += du_r * h[r];
            dh[r] = du_r * gate[k];
        }
        dgate[k] += sum;
    }
}

/* First row at or after n whose sequence differs from that of the row before it. */
static int sequence_edge(struct tensor sequence, int n) {
    while (n > 0 && n < sequence.rows && *row_i32(sequence, n) == *row_i32(sequence, n - 1)) {
        n++;
    }
    return n;
}

/* Rows of a sequence mostly stand together: then the team splits at the edges between sequences.
 * A sequence that comes back later would be summed by two threads, so one thread does it all. */
static bool sequences_ascend(struct tensor sequence) {
    for (int n = 1; n < sequence.rows; n++) {
        if (*row_i32(sequence, n) < *row_i32(sequence, n - 1)) { return false; }
    }
    return true;
}

static void gate_backward(struct backend *be, struct tensor dh, struct tensor dgate,
                          struct tensor du, struct tensor h, struct tensor gate,
                          struct tensor sequence) {
    const int R = h.cols, K = gate.cols, N = h.rows;
    int team = team_for(be, N, R);

    assert(tensor_same_shape(dh, h) && tensor_same_shape(du, h));
    assert(tensor_same_shape(dgate, gate) && tensor_is_index(sequence, N));
    assert(K > 0 && R % K == 0);
    int parts = team > 1 && sequences_ascend(sequence) ? team : 1;
#pragma omp parallel for num_threads(parts) schedule(static)
    for (int part = 0; part < parts; part++) {
        int begin = sequence_edge(sequence, (int)((int64_t)N * part / parts));
        int end = sequence_edge(sequence, (int)((int64_t)N * (part + 1) / parts));
        for (int n = begin; n < end; n++) {
            int b = *row_i32(sequence, n);
            assert(b >= 0 && b < gate.rows);
            gate_backward_row(row_f32(dh, n), row_f32(dgate, b), row_f32(du, n), row_f32(h, n),
                              row_f32(gate, b), R, K);
        }
    }
}

/* ---- softmax with a floor -------------------------------------------------------------------- */

static void softmax_row(float *w, const float *x, int K, float floor) {
    float top = x[0], sum = 0.0f;

    for (int k = 1; k < K; k++) {
        top = x[k] > top ? x[k] : top;
    }
    for (int k = 0; k < K; k++) {
        w[k] = expf(x[k] - top);
        sum += w[k];
    }
    for (int k = 0; k < K; k++) {
        w[k] = floor / (float)K + (1.0f - floor) * (w[k] / sum);
    }
}

static void softmax_forward(struct backend *be, struct tensor w, struct tensor x, float floor) {
    int team = team_for(be, x.rows, x.cols);

    assert(tensor_same_shape(w, x));
    assert(floor >= 0.0f && floor < 1.0f);
#pragma omp parallel for num_threads(team) schedule(static)
    for (int n = 0; n < x.rows; n++) {
        softmax_row(row_f32(w, n), row_f32(x, n), x.cols, floor);
    }
}

/* With p = (w - floor/K)/(1-floor): dx = (1-floor) p (dw - sum p dw). */
static void softmax_backward_row(float *dx, const float *dw, const float *w, int K, float floor) {
    float share = floor / (float)K, sum = 0.0f;

    for (int k = 0; k < K; k++) {
        sum += (w[k] - share) / (1.0f - floor) * dw[k];
    }
    for (int k = 0; k < K; k++) {
        dx[k] = (w[k] - share) * (dw[k] - sum);
    }
}

static void softmax_backward(struct backend *be, struct tensor dx, struct tensor dw,
                             struct tensor w, float floor) {
    int team = team_for(be, w.rows, w.cols);

    assert(tensor_same_shape(dx, w) && tensor_same_shape(dw, w));
#pragma omp parallel for num_threads(team) schedule(static)
    for (int n = 0; n < w.rows; n++) {
        softmax_backward_row(row_f32(dx, n), row_f32(dw, n), row_f32(w, n), w.cols, floor);
    }
}

void ISA(gate_install)(struct backend_ops *ops) {
    ops->gate_forward = gate_forward;
    ops->gate_backward = gate_backward;
    ops->softmax_forward = softmax_forward;
    ops->softmax_backward = softmax_backward;
}
