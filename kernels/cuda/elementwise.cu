/* SPDX-License-Identifier: Apache-2.0
 *
 * elementwise.cu - sums and products element by element, bias rows, dropout. */
#include "kernels/cuda/columns.h"
#include "kernels/cuda/sheet.h"

/* ---- kernels --------------------------------------------------------------------------------- */

/* dst (N,C) = a x + b dst; b 0 does not read dst */
struct axpby_operation {
    struct tensor dst, x;
    float a, b;
    template <int V> __device__ void at(int n, int c) const {
        struct lanes<V> v = lanes_load<V>(row_f32(x, n) + c);
        if (b == 0.0f) {
            for (int i = 0; i < V; i++) {
                v.at[i] *= a;
            }
        } else {
            const struct lanes<V> old = lanes_load<V>(row_f32(dst, n) + c);
            for (int i = 0; i < V; i++) {
                v.at[i] = a * v.at[i] + b * old.at[i];
            }
        }
        lanes_store<V>(row_f32(dst, n) + c, v);
    }
};

/* dst (N,C) *= x */
struct multiply_operation {
    struct tensor dst, x;
    template <int V> __device__ void at(int n, int c) const {
        struct lanes<V> v = lanes_load<V>(row_f32(dst, n) + c);
        const struct lanes<V> by = lanes_load<V>(row_f32(x, n) + c);
        for (int i = 0; i < V; i++) {
            v.at[i] *= by.at[i];
        }
        lanes_store<V>(row_f32(dst, n) + c, v);
    }
};

/* x (N,C) += bias (1,C) */
struct add_bias_operation {
    struct tensor x, bias;
    template <int V> __device__ void at(int n, int c) const {
        struct lanes<V> v = lanes_load<V>(row_f32(x, n) + c);
        const struct lanes<V> by = lanes_load<V>(row_f32(bias, 0) + c);
        for (int i = 0; i < V; i++) {
            v.at[i] += by.at[i];
        }
        lanes_store<V>(row_f32(x, n) + c, v);
    }
};

/* Philox4x32-10 as base/rng.c: Salmon et al., SC 2011, table 2 and section 4. */
#define PHILOX_M0     0xD2511F53u
#define PHILOX_M1     0xCD9E8D57u
#define PHILOX_W0     0x9E3779B9u
#define PHILOX_W1     0xBB67AE85u
#define PHILOX_ROUNDS 10

static __device__ __forceinline__ void philox_block(uint32_t (&x)[4], uint32_t k0, uint32_t k1) {
    for (int round = 0; round < PHILOX_ROUNDS; round++) {
        const uint32_t high0 = __umulhi(PHILOX_M0, x[0]), low0 = PHILOX_M0 * x[0];
        const uint32_t high1 = __umulhi(PHILOX_M1, x[2]), low1 = PHILOX_M1 * x[2];
        x[0] = high1 ^ x[1] ^ k0;
        x[1] = low1;
        x[2] = high0 ^ x[3] ^ k1;
        x[3] = low0;
        k0 += PHILOX_W0;
        k1 += PHILOX_W1;
    }
}

#define DROPOUT_THREADS 256

/* x (N,C): a thread has one Philox block, which decides elements 4b..4b+3 in row-major order. */
static __global__ void __launch_bounds__(DROPOUT_THREADS)
    dropout_kernel(struct tensor x, uint32_t threshold, float scale, uint64_t seed,
                   uint64_t stream) {
    const uint64_t block = (uint64_t)blockIdx.x * DROPOUT_THREADS + threadIdx.x;
    const uint64_t count = (uint64_t)x.rows * (uint64_t)x.cols;
    uint32_t word[4] = {(uint32_t)block, (uint32_t)(block >> 32), (uint32_t)stream,
                        (uint32_t)(stream >> 32)};

    philox_block(word, (uint32_t)seed, (uint32_t)(seed >> 32));
    for (int i = 0; i < 4; i++) {
        const uint64_t e = 4 * block + (uint64_t)i;
        if (e < count) {
            float *at = row_f32(x, (int)(e / (uint64_t)x.cols)) + e % (uint64_t)x.cols;
            *at = word[i] < threshold ? 0.0f : *at * scale;
        }
    }
}

/* ---- launchers ------------------------------------------------------------------------------- */

static void axpby(struct backend *be, struct tensor dst, float a, struct tensor x, float b) {
    assert(tensor_same_shape(dst, x));
    bool fours = tensor_in_fours(dst) && tensor_in_fours(x);
    sheet_launch(cuda_of(be), axpby_operation{dst, x, a, b}, x.rows, x.cols, fours);
}

static void multiply(struct backend *be, struct tensor dst, struct tensor x) {
    assert(tensor_same_shape(dst, x));
    bool fours = tensor_in_fours(dst) && tensor_in_fours(x);
    sheet_launch(cuda_of(be), multiply_operation{dst, x}, x.rows, x.cols, fours);
}

static void add_bias(struct backend *be, struct tensor x, struct tensor bias) {
    assert(tensor_is(bias, 1, x.cols) && x.dtype == DTYPE_F32);
    bool fours = tensor_in_fours(x) && tensor_in_fours(bias);
    sheet_launch(cuda_of(be), add_bias_operation{x, bias}, x.rows, x.cols, fours);
}

static void sum_rows(struct backend *be, struct tensor dbias, struct tensor dx) {
    assert(tensor_is(dbias, 1, dx.cols) && dx.dtype == DTYPE_F32);
    columns_add(cuda_of(be), dbias, columns_element{dx}, dx.rows);
}

static void dropout(struct backend *be, struct tensor x, float p, uint64_t seed, uint64_t stream) {
    const size_t blocks = ((size_t)x.rows * (size_t)x.cols + 3) / 4;

    assert(p >= 0.0f && p < 1.0f);
    assert(x.dtype == DTYPE_F32);
    if (p == 0.0f) { return; }
    uint32_t threshold = (uint32_t)((double)p * 4294967296.0); /* p of all 32-bit numbers */
    CUDA_LAUNCH(cuda_of(be), dropout_kernel, dim3(cuda_pieces(blocks, DROPOUT_THREADS)),
                dim3(DROPOUT_THREADS), 0, x, threshold, 1.0f / (1.0f - p), seed, stream);
}

void cuda_elementwise_install(struct backend_ops *ops) {
    ops->axpby = axpby;
    ops->multiply = multiply;
    ops->add_bias = add_bias;
    ops->sum_rows = sum_rows;
    ops->dropout = dropout;
}
