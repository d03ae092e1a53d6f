/* SPDX-License-Identifier: Apache-2.0
 *
 * backend.h - one table hides the CPU (oneDNN, or plain loops) and CUDA (cuBLASLt and own kernels).
 *
 * Model code calls `be->ops->product(be, ...)` with tensors whose memory `be` made. The CPU's f32
 * path is the reference of both backends. An object belongs to one thread; several may exist (the
 * core's for the fast tier, the learner's for the language model), each with its own thread count.
 *
 * Failure: operators on a GPU only enqueue; a fault is kept and returned by `synchronise` (and by
 * upload/download). On the CPU the only failures are NO_MEMORY inside oneDNN; kept the same way. So
 * operators return nothing and the caller checks once at the end of a step.
 *
 * Determinism: fixed work split, fixed reduction order; the same inputs, thread count and library
 * give the same bits. No operator depends on what else is in the batch except through its shape;
 * every row-wise operator (linear, norms, activations, softmax, loss, rotary) gives a row the same
 * bits wherever it stands, attention gives a segment the same bits wherever it stands.
 * On the CPU more holds, and tests/kernels/test_bits.c checks it: bits do not depend on the number
 * of threads, nor a row's on the number of rows of the call (linear through oneDNN: with 2.6.3
 * and 3.2 on AVX-512, with and without AMX; another version must pass that test before it is relied
 * upon).
 *
 * Shapes are asserted. "=" and "+=" say what happens to an output. f32 unless said.
 */
#ifndef KERNELS_BACKEND_H
#define KERNELS_BACKEND_H

#include <assert.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "kernels/tensor.h"

struct backend;
struct weight; /* a frozen matrix packed for products, owned by its backend; opaque */

/* How base products are computed. F32: exact reference. BF16: weights and activations rounded to
 * bf16, f32 accumulation and output (oneDNN brgemm with AVX512-BF16 or AMX; tensor cores on a
 * GPU). */
enum precision { PRECISION_F32, PRECISION_BF16 };

/* One attention segment of packed rows: row n of [begin, end) sees rows [prefix_begin, prefix_end)
 * and rows [begin, n]. A plain sequence has an empty prefix. Branches that share a prompt are
 * segments whose prefix is the prompt's rows (shared-prefix scoring, MODEL.md). A prefix always
 * lies in rows before begin and belongs to segments listed earlier. */
struct segment {
    int32_t begin, end;
    int32_t prefix_begin, prefix_end;
};

/* Asserts that segments lie one behind the other over rows [0, N), each prefix in rows before. */
static inline void segments_check(const struct segment *segments, int segment_count, int N) {
    int at = 0;

    for (int i = 0; i < segment_count; i++) {
        assert(segments[i].begin == at && segments[i].end >= at);
        assert(segments[i].prefix_begin >= 0 && segments[i].prefix_begin <= segments[i].prefix_end);
        assert(segments[i].prefix_begin == segments[i].prefix_end || segments[i].prefix_end <= at);
        at = segments[i].end;
    }
    assert(at == N);
    (void)at; /* both unread without assertions */
    (void)N;
}

/* Rows [begin, end) of another tensor: what one row looks at. */
struct row_range {
    int32_t begin, end;
};

/* One parameter tensor of an optimiser step. All (rows, cols) of the same shape, f32. */
struct optimizer_tensor {
    struct tensor value;            /* += */
    struct tensor grad;             /* read */
    struct tensor moment1, moment2; /* = */
    float learning_rate;
    float weight_decay; /* decoupled (AdamW); 0 for Adam */
};

struct adamw {
    float beta1, beta2, epsilon;
    int64_t step;     /* 1, 2, ...: for bias correction */
    float grad_scale; /* multiplies every gradient (clipping, averaging) */
};

struct backend_ops {
    const char *name; /* "cpu", "cuda" */

    /* ---- memory ---------------------------------------------------------------------------- */
    /* Device memory of at least `bytes`, zeroed. NO_MEMORY. */
    enum status (*memory_take)(struct backend *be, size_t bytes, void **ret_memory,
                               struct error *err);
    void (*memory_give)(struct backend *be, void *memory);
    /* host: dense rows*cols elements of the tensor's dtype. Waits. */
    enum status (*upload)(struct backend *be, struct tensor dst, const void *host,
                          struct error *err);
    enum status (*download)(struct backend *be, void *host, struct tensor src, struct error *err);
    enum status (*synchronise)(struct backend *be, struct error *err);
    void (*fill)(struct backend *be, struct tensor dst, float value);       /* dst = value */
    void (*copy)(struct backend *be, struct tensor dst, struct tensor src); /* dst = src */

    /* ---- frozen weights --------------------------------------------------------------------- */
    /* Packs host f32 w (O,I). backward: dx products will be asked too. NO_MEMORY. */
    enum status (*weight_make)(struct backend *be, const float *w, int O, int I, bool backward,
                               enum precision precision, struct weight **ret_weight,
                               struct error *err);
    void (*weight_free)(struct backend *be, struct weight *weight);
    size_t (*weight_bytes)(const struct weight *weight);
    /* y (N,O) = x (N,I) w^T + bias (1,O) or none */
    void (*linear_forward)(struct backend *be, struct tensor y, struct tensor x,
                           const struct weight *w, struct tensor bias);
    /* dx (N,I) = dy (N,O) w; accumulate: += */
    void (*linear_backward)(struct backend *be, struct tensor dx, struct tensor dy,
                            const struct weight *w, bool accumulate);

    /* ---- f32 products of trainable things --------------------------------------------------- */
    /* c (m,n) = alpha op(a) op(b) + beta c; op transposes when asked. beta 0 does not read c. */
    void (*product)(struct backend *be, struct tensor c, struct tensor a, bool transpose_a,
                    struct tensor b, bool transpose_b, float alpha, float beta);

    /* ---- norms ------------------------------------------------------------------------------ */
    /* y (N,C) = x / rms(x) * gain (1,C); rstd (N,1) kept. Zhang & Sennrich 2019. x may be a view
     * whose rows are heads (N*H, D): q/k norm of Qwen3. */
    void (*rmsnorm_forward)(struct backend *be, struct tensor y, struct tensor rstd,
                            struct tensor x, struct tensor gain, float epsilon);
    /* dx (N,C): += ; gain is frozen */
    void (*rmsnorm_backward)(struct backend *be, struct tensor dx, struct tensor dy,
                             struct tensor x, struct tensor rstd, struct tensor gain);
    /* y (N,C) = (x-mean)*rstd*gain + bias; mean, rstd (N,1) kept. Ba et al. 2016. */
    void (*layernorm_forward)(struct backend *be, struct tensor y, struct tensor mean,
                              struct tensor rstd, struct tensor x, struct tensor gain,
                              struct tensor bias, float epsilon);
    /* dx: += ; dgain, dbias (1,C): += (none: left out) */
    void (*layernorm_backward)(struct backend *be, struct tensor dx, struct tensor dgain,
                               struct tensor dbias, struct tensor dy, struct tensor x,
                               struct tensor mean, struct tensor rstd, struct tensor gain);

    /* ---- rotary ----------------------------------------------------------------------------- */
    /* x (N, heads*D) in place, HF's rotate-half order; table (T, D): cos in columns [0,D/2), sin in
     * [D/2,D); position (N,1) i32. inverse: the backward rotation. Su et al. 2021. */
    void (*rotary)(struct backend *be, struct tensor x, struct tensor table, struct tensor position,
                   int D, bool inverse);

    /* ---- attention -------------------------------------------------------------------------- */
    /* out (N,H*D) = softmax(q k^T * scale over what the segments let a row see) v; lse (N,H) =
     * log-sum-exp kept. q (N,H*D), k, v (N,G*D), H a multiple of G: query head h uses key head
     * h/(H/G). segments: host array that covers all N rows, in order. */
    void (*attention_forward)(struct backend *be, struct tensor out, struct tensor lse,
                              struct tensor q, struct tensor k, struct tensor v,
                              const struct segment *segments, int segment_count, int H, int G,
                              float scale);
    /* dq, dk, dv: = (deterministic: key gradients are summed in row order) */
    void (*attention_backward)(struct backend *be, struct tensor dq, struct tensor dk,
                               struct tensor dv, struct tensor dout, struct tensor q,
                               struct tensor k, struct tensor v, struct tensor out,
                               struct tensor lse, const struct segment *segments, int segment_count,
                               int H, int G, float scale);

    /* Decoding with a key/value cache: out (n,H*D), row i of q (n,H*D) attends to rows
     * [ranges[i].begin, ranges[i].end) of k, v (M,G*D), which hold at least one:
     * out = softmax(q k^T * scale) v, heads as above. ranges: host array (n). No gradient.
     * On the CPU a row has the bits that attention_forward gives the last row of a plain segment
     * with the same keys and values. */
    void (*attention_cached)(struct backend *be, struct tensor out, struct tensor q,
                             struct tensor k, struct tensor v, const struct row_range *ranges,
                             int count, int H, int G, float scale);

    /* ---- element by element ----------------------------------------------------------------- */
    /* y (N,F) = silu(gate) * up with gate_up (N,2F) = [gate | up]. Shazeer 2020. */
    void (*swiglu_forward)(struct backend *be, struct tensor y, struct tensor gate_up);
    /* dgate_up (N,2F): = ; may alias gate_up */
    void (*swiglu_backward)(struct backend *be, struct tensor dgate_up, struct tensor dy,
                            struct tensor gate_up);
    /* The exact GELU, x Phi(x) by erf. Hendrycks & Gimpel 2016. */
    void (*gelu_forward)(struct backend *be, struct tensor y, struct tensor x);
    /* dx: = */
    void (*gelu_backward)(struct backend *be, struct tensor dx, struct tensor dy, struct tensor x);
    void (*relu_forward)(struct backend *be, struct tensor y, struct tensor x);
    /* dx: = ; 0 where x = 0 */
    void (*relu_backward)(struct backend *be, struct tensor dx, struct tensor dy, struct tensor x);
    /* dst = a*x + b*dst, same shape; b 0 does not read dst */
    void (*axpby)(struct backend *be, struct tensor dst, float a, struct tensor x, float b);
    /* dst *= x, same shape */
    void (*multiply)(struct backend *be, struct tensor dst, struct tensor x);
    /* x (N,C) += bias (1,C) */
    void (*add_bias)(struct backend *be, struct tensor x, struct tensor bias);
    /* dbias (1,C) += sum over the rows of dx (N,C) */
    void (*sum_rows)(struct backend *be, struct tensor dbias, struct tensor dx);
    /* Inverted dropout: keep with probability 1-p decided by Philox(seed, stream, element index);
     * x scaled by 1/(1-p). The same call on a gradient is the backward. p = 0: nothing. */
    void (*dropout)(struct backend *be, struct tensor x, float p, uint64_t seed, uint64_t stream);

    /* ---- rows by index (index: (n,1) i32) --------------------------------------------------- */
    /* dst (n,C) = src[index]; index -1 gives zeros */
    void (*gather_rows)(struct backend *be, struct tensor dst, struct tensor src,
                        struct tensor index);
    /* dst[index] = src (n,C); indices distinct, -1 skipped */
    void (*scatter_rows)(struct backend *be, struct tensor dst, struct tensor src,
                         struct tensor index);
    /* dst[index] += src (n,C), in order of n; -1 skipped */
    void (*scatter_add_rows)(struct backend *be, struct tensor dst, struct tensor src,
                             struct tensor index);

    /* ---- iLoRA gate, folded into the rank axis (MODEL.md) ----------------------------------- */
    /* u (N,R) = h * repeat(gate[sequence(n)], R/K); gate (B,K), sequence (N,1) i32 */
    void (*gate_forward)(struct backend *be, struct tensor u, struct tensor h, struct tensor gate,
                         struct tensor sequence);
    /* dh (N,R): = du*g ; dgate (B,K): += sum over the sequence's rows and the expert's ranks of
     * du*h. dh may alias du. */
    void (*gate_backward)(struct backend *be, struct tensor dh, struct tensor dgate,
                          struct tensor du, struct tensor h, struct tensor gate,
                          struct tensor sequence);
    /* Row softmax with a floor: w = floor/K + (1-floor) softmax(x); x, w (B,K). floor 0:
     * softmax. */
    void (*softmax_forward)(struct backend *be, struct tensor w, struct tensor x, float floor);
    /* dx: = ; from w (the output) and dw */
    void (*softmax_backward)(struct backend *be, struct tensor dx, struct tensor dw,
                             struct tensor w, float floor);

    /* ---- loss ------------------------------------------------------------------------------- */
    /* loss (N,1) = -log softmax(logits)[target]; logits (N,V) are overwritten by
     * weight[n]*(softmax - onehot). target (N,1) i32, -1: loss 0, gradient 0. weight (N,1). */
    void (*cross_entropy)(struct backend *be, struct tensor loss, struct tensor logits,
                          struct tensor target, struct tensor weight);
    /* logprob (N,1) = log softmax(logits)[target]; logits unchanged */
    void (*log_softmax_at)(struct backend *be, struct tensor logprob, struct tensor logits,
                           struct tensor target);
    /* logits (N,V) = log softmax over the row, in place */
    void (*log_softmax)(struct backend *be, struct tensor logits);

    /* ---- optimiser -------------------------------------------------------------------------- */
    /* Sum of squares of all tensors, accumulated in double, fixed order. Waits. */
    enum status (*squared_norm)(struct backend *be, const struct tensor *tensors, int count,
                                double *ret_sum, struct error *err);
    /* Loshchilov & Hutter 2019; one call for all tensors. */
    void (*adamw)(struct backend *be, const struct optimizer_tensor *tensors, int count,
                  const struct adamw *how);
    /* Adam on the given rows only (row-sparse embedding tables): index (n,1) i32 distinct rows,
     * grad (n,C) dense. Moments of other rows are left as they are. */
    void (*adam_rows)(struct backend *be, struct optimizer_tensor tensor, struct tensor index,
                      const struct adamw *how);

    void (*free)(struct backend *be);
};

struct backend {
    const struct backend_ops *ops;
    int threads; /* CPU: OpenMP team size of every operator */
    /* numeric profile: library versions, instruction sets, threads */
    char profile[160];
};

/* The CPU backend with a team of `threads` (>= 1). NO_MEMORY. Release with ops->free. */
MUST_CHECK enum status backend_cpu_new(int threads, struct backend **ret_backend,
                                       struct error *err);
/* The same with own loops of at most the named instruction set ("base", "avx2", "avx512"), so that
 * tests run every copy on one machine. oneDNN chooses for itself. */
MUST_CHECK enum status backend_cpu_new_with(int threads, const char *isa_limit,
                                            struct backend **ret_backend, struct error *err);
/* The CUDA backend on the card of this number (0 = the first). NOT_FOUND: no card, no driver, a
 * card older than sm_80, or a build without CUDA: the caller may go on with the CPU. Else
 * NO_MEMORY, DEVICE_LOST. Release with ops->free. */
MUST_CHECK enum status backend_cuda_new(int device, struct backend **ret_backend,
                                        struct error *err);
/* Bytes of the card's memory that nobody has taken, and all it has. be: of backend_cuda_new.
 * DEVICE_LOST. */
MUST_CHECK enum status backend_cuda_memory(struct backend *be, size_t *ret_free, size_t *ret_total,
                                           struct error *err);
/* True when bf16 products run on hardware made for them (AVX512-BF16 or AMX), read from the CPU. */
bool backend_cpu_has_bf16(void);

/* Takes a dense tensor from device memory of its own; give back with backend_tensor_give. */
MUST_CHECK enum status backend_tensor_take(struct backend *be, enum dtype dtype, int rows, int cols,
                                           struct tensor *ret_tensor, struct error *err);
void backend_tensor_give(struct backend *be, struct tensor *tensor);

#endif
