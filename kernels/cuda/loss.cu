/* SPDX-License-Identifier: Apache-2.0
 *
 * loss.cu - softmax cross-entropy and log-probabilities over wide rows.
 *
 * A block does a row: one pass to the greatest logit and the sum of e^(x - greatest), each thread
 * with a greatest of its own that it corrects as it goes (Milakov & Gimelshein 2018), then one pass
 * that writes. Rows are as wide as a vocabulary; a row of 152k is read twice. */
#include <float.h>

#include "kernels/cuda/sheet.h"

/* Threads of a row by its columns; which one is taken shows in the last bits, so it depends on the
 * columns alone. */
#define LOSS_FEW      128
#define LOSS_MANY     1024
#define LOSS_COLS_FEW 4096

/* ---- kernels --------------------------------------------------------------------------------- */

/* greatest, and sum of e^(x - greatest) */
struct row_sum {
    float top, sum;
};

/* Of what one thread sees of row x (V). A row of -inf alone has the sum 0. */
template <int Threads, int W>
__device__ __forceinline__ struct row_sum thread_sum(const float *x, int V) {
    struct row_sum own = {-FLT_MAX, 0.0f};

    for (int v = (int)threadIdx.x * W; v < V; v += Threads * W) {
        const struct lanes<W> at = lanes_load<W>(x + v);
        float top = own.top;
        for (int i = 0; i < W; i++) {
            top = fmaxf(top, at.at[i]);
        }
        own.sum *= expf(own.top - top);
        for (int i = 0; i < W; i++) {
            own.sum += expf(at.at[i] - top);
        }
        own.top = top;
    }
    return own;
}

/* Of the whole row; all threads get it. fours: the row may be read four at a time. */
template <int Threads>
__device__ __forceinline__ struct row_sum block_row_sum(const float *x, int V, bool fours) {
    const struct row_sum own = fours ? thread_sum<Threads, 4>(x, V) : thread_sum<Threads, 1>(x, V);
    struct row_sum all;

    all.top = block_max<Threads>(own.top);
    all.sum = block_sum<Threads>(own.sum * expf(own.top - all.top));
    return all;
}

/* x = weight (e^(x - top) / sum - onehot(at)) over what one thread sees */
template <int Threads, int W>
__device__ __forceinline__ void thread_gradient(float *x, int V, struct row_sum row, int at,
                                                float weight) {
    const float scale = weight / row.sum;

    for (int v = (int)threadIdx.x * W; v < V; v += Threads * W) {
        struct lanes<W> d = lanes_load<W>(x + v);
        for (int i = 0; i < W; i++) {
            d.at[i] = expf(d.at[i] - row.top) * scale - (v + i == at ? weight : 0.0f);
        }
        lanes_store<W>(x + v, d);
    }
}

/* loss (N,1), logits (N,V) overwritten by their gradient; target (N,1), -1: zeros */
template <int Threads>
__global__ void __launch_bounds__(Threads)
    cross_entropy_kernel(struct tensor loss, struct tensor logits, struct tensor target,
                         struct tensor weight, bool fours) {
    const int n = (int)blockIdx.x, V = logits.cols, at = *row_i32(target, n);
    float *x = row_f32(logits, n);

    if (at < 0) { /* the same for the whole block */
        for (int v = (int)threadIdx.x; v < V; v += Threads) {
            x[v] = 0.0f;
        }
        if (threadIdx.x == 0) { *row_f32(loss, n) = 0.0f; }
    } else {
        const float x_at = x[at], weight_n = *row_f32(weight, n);
        const struct row_sum row = block_row_sum<Threads>(x, V, fours); /* and all have read x_at */
        if (threadIdx.x == 0) { *row_f32(loss, n) = logf(row.sum) - (x_at - row.top); }
        if (fours) {
            thread_gradient<Threads, 4>(x, V, row, at, weight_n);
        } else {
            thread_gradient<Threads, 1>(x, V, row, at, weight_n);
        }
    }
}

/* logprob (N,1) = log softmax(logits (N,V))[target] */
template <int Threads>
__global__ void __launch_bounds__(Threads)
    log_softmax_at_kernel(struct tensor logprob, struct tensor logits, struct tensor target,
                          bool fours) {
    const int n = (int)blockIdx.x;
    const float *x = row_f32(logits, n);
    const struct row_sum row = block_row_sum<Threads>(x, logits.cols, fours);

    if (threadIdx.x == 0) {
        *row_f32(logprob, n) = (x[*row_i32(target, n)] - row.top) - logf(row.sum);
    }
}

/* logits (N,V) = log softmax over the row */
template <int Threads>
__global__ void __launch_bounds__(Threads) log_softmax_kernel(struct tensor logits, bool fours) {
    float *x = row_f32(logits, (int)blockIdx.x);
    const struct row_sum row = block_row_sum<Threads>(x, logits.cols, fours);
    const float log_sum = logf(row.sum);

    for (int v = (int)threadIdx.x; v < logits.cols; v += Threads) {
        x[v] = (x[v] - row.top) - log_sum;
    }
}

/* ---- launchers ------------------------------------------------------------------------------- */

/* A block a row, as wide as the columns ask for. */
#define LOSS_LAUNCH(cuda, kernel, logits, ...)                                            \
    do {                                                                                  \
        const dim3 grid_((unsigned)(logits).rows);                                        \
        if ((logits).cols <= LOSS_COLS_FEW) {                                             \
            CUDA_LAUNCH(cuda, kernel<LOSS_FEW>, grid_, dim3(LOSS_FEW), 0, __VA_ARGS__);   \
        } else {                                                                          \
            CUDA_LAUNCH(cuda, kernel<LOSS_MANY>, grid_, dim3(LOSS_MANY), 0, __VA_ARGS__); \
        }                                                                                 \
    } while (0)

static void cross_entropy(struct backend *be, struct tensor loss, struct tensor logits,
                          struct tensor target, struct tensor weight) {
    assert(logits.dtype == DTYPE_F32 && tensor_is_index(target, logits.rows));
    assert(tensor_is(loss, logits.rows, 1) && tensor_is(weight, logits.rows, 1));
    LOSS_LAUNCH(cuda_of(be), cross_entropy_kernel, logits, loss, logits, target, weight,
                tensor_in_fours(logits));
}

static void log_softmax_at(struct backend *be, struct tensor logprob, struct tensor logits,
                           struct tensor target) {
    assert(logits.dtype == DTYPE_F32 && tensor_is_index(target, logits.rows));
    assert(tensor_is(logprob, logits.rows, 1));
    LOSS_LAUNCH(cuda_of(be), log_softmax_at_kernel, logits, logprob, logits, target,
                tensor_in_fours(logits));
}

static void log_softmax(struct backend *be, struct tensor logits) {
    assert(logits.dtype == DTYPE_F32);
    LOSS_LAUNCH(cuda_of(be), log_softmax_kernel, logits, logits, tensor_in_fours(logits));
}

void cuda_loss_install(struct backend_ops *ops) {
    ops->cross_entropy = cross_entropy;
    ops->log_softmax_at = log_softmax_at;
    ops->log_softmax = log_softmax;
}
