/* SPDX-License-Identifier: Apache-2.0
 *
 * loss.c - softmax cross-entropy and log-probabilities over wide rows.
 *
 * Per row: the greatest logit, then the sum of e^(x - greatest) in lanes, then one pass that
 * writes. A row is one thread's. */
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/lanes.h"

static float row_greatest(const float *x, int V) {
    f32v top = lanes_all(-INFINITY);
    int v = 0;

    for (; v + LANES <= V; v += LANES) {
        top = lanes_max(lanes_load(x + v), top);
    }
    if (v < V) {
        top = lanes_max(lanes_keep(lanes_load_part(x + v, V - v), V - v, -INFINITY), top);
    }
    return lanes_greatest(top);
}

/* sum of e^(x - top) */
static float row_sum_exp(const float *x, float top, int V) {
    f32v sum = {0};
    int v = 0;

    for (; v + LANES <= V; v += LANES) {
        sum += lanes_exp(lanes_load(x + v) - top);
    }
    if (v < V) { sum += lanes_keep(lanes_exp(lanes_load_part(x + v, V - v) - top), V - v, 0.0f); }
    return lanes_sum(sum);
}

/* x = scale * e^(x - top) */
static void row_exp_scaled(float *x, float top, float scale, int V) {
    int v = 0;

    for (; v + LANES <= V; v += LANES) {
        lanes_store(x + v, lanes_exp(lanes_load(x + v) - top) * scale);
    }
    if (v < V) {
        lanes_store_part(x + v, lanes_exp(lanes_load_part(x + v, V - v) - top) * scale, V - v);
    }
}

static void cross_entropy(struct backend *be, struct tensor loss, struct tensor logits,
                          struct tensor target, struct tensor weight) {
    const int N = logits.rows, V = logits.cols;
    int team = team_for(be, N, V);

    assert(logits.dtype == DTYPE_F32 && tensor_is_index(target, N));
    assert(tensor_is(loss, N, 1) && tensor_is(weight, N, 1));
#pragma omp parallel for num_threads(team) schedule(static)
    for (int n = 0; n < N; n++) {
        float *x = row_f32(logits, n);
        int at = *row_i32(target, n);
        float weight_n = *row_f32(weight, n);
        assert(at >= -1 && at < V);
        if (at < 0) {
            *row_f32(loss, n) = 0.0f;
            memset(x, 0, (size_t)V * sizeof *x);
            continue;
        }
        float top = row_greatest(x, V);
        float sum = row_sum_exp(x, top, V);
        *row_f32(loss, n) = logf(sum) - (x[at] - top);
        row_exp_scaled(x, top, weight_n / sum, V);
        x[at] -= weight_n;
    }
}

static void log_softmax_at(struct backend *be, struct tensor logprob, struct tensor logits,
                           struct tensor target) {
    const int N = logits.rows, V = logits.cols;
    int team = team_for(be, N, V);

    assert(logits.dtype == DTYPE_F32 && tensor_is_index(target, N));
    assert(tensor_is(logprob, N, 1));
#pragma omp parallel for num_threads(team) schedule(static)
    for (int n = 0; n < N; n++) {
        const float *x = row_f32(logits, n);
        int at = *row_i32(target, n);
        assert(at >= 0 && at < V);
        float top = row_greatest(x, V);
        *row_f32(logprob, n) = (x[at] - top) - logf(row_sum_exp(x, top, V));
    }
}

static void log_softmax(struct backend *be, struct tensor logits) {
    const int N = logits.rows, V = logits.cols;
    int team = team_for(be, N, V);

    assert(logits.dtype == DTYPE_F32);
#pragma omp parallel for num_threads(team) schedule(static)
    for (int n = 0; n < N; n++) {
        float *x = row_f32(logits, n);
        float top = row_greatest(x, V);
        float log_sum = logf(row_sum_exp(x, top, V));
        for (int v = 0; v < V; v++) {
            x[v] = (x[v] - top) - log_sum;
        }
    }
}

void ISA(loss_install)(struct backend_ops *ops) {
    ops->cross_entropy = cross_entropy;
    ops->log_softmax_at = log_softmax_at;
    ops->log_softmax = log_softmax;
}
