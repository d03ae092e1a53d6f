/* SPDX-License-Identifier: Apache-2.0
 *
 * optim.cu - gradient norm, AdamW over all tensors, Adam over chosen rows.
 *
 * All tensors of a step go in one launch, or in a few when there are many: a table of tensors is
 * passed with it, each tensor is cut into pieces of OPTIM_PIECE elements, and a block looks up
 * whose piece it has.
 *
 *   blocks   0 1 2 │ 3 │ 4 5 ...        first_piece of the tensors: 0, 3, 4, ...
 */
#include "kernels/cuda/cuda.h"

#define OPTIM_THREADS 256
#define OPTIM_PIECE   2048 /* elements: eight a thread */
#define OPTIM_TABLE   64   /* tensors of a launch */

/* ---- kernels --------------------------------------------------------------------------------- */

/* The last of `count` entries whose first_piece is at most `piece`. */
template <class Entry>
__device__ __forceinline__ int entry_of(const Entry *entries, int count, int piece) {
    int low = 0, high = count;

    while (high - low > 1) {
        const int middle = (low + high) / 2;
        if (entries[middle].first_piece <= piece) {
            low = middle;
        } else {
            high = middle;
        }
    }
    return low;
}

struct norm_entry {
    struct tensor tensor;
    int first_piece;
};

/* part (grid): sums of squares of one piece each, in double */
static __global__ void __launch_bounds__(OPTIM_THREADS)
    squares_kernel(double *__restrict__ part, const struct norm_entry *__restrict__ entries,
                   int count) {
    const int piece = (int)blockIdx.x;
    const struct norm_entry entry = entries[entry_of(entries, count, piece)];
    const int cols = entry.tensor.cols;
    const size_t size = (size_t)entry.tensor.rows * (size_t)cols;
    const size_t first = (size_t)(piece - entry.first_piece) * OPTIM_PIECE;
    double sum = 0.0;

    for (int i = (int)threadIdx.x; i < OPTIM_PIECE; i += OPTIM_THREADS) {
        const size_t e = first + (size_t)i;
        if (e < size) {
            const double x =
                (double)row_f32(entry.tensor, (int)(e / (size_t)cols))[e % (size_t)cols];
            sum += x * x;
        }
    }
    sum = block_sum<OPTIM_THREADS>(sum);
    if (threadIdx.x == 0) { part[piece] = sum; }
}

/* *total = sum of the parts: each thread takes every 256th in order, then the block adds up */
static __global__ void __launch_bounds__(OPTIM_THREADS)
    squares_total_kernel(double *__restrict__ total, const double *__restrict__ part, int count) {
    double sum = 0.0;

    for (int i = (int)threadIdx.x; i < count; i += OPTIM_THREADS) {
        sum += part[i];
    }
    sum = block_sum<OPTIM_THREADS>(sum);
    if (threadIdx.x == 0) { *total = sum; }
}

/* The constants of one step. */
struct adam_step {
    float beta1, beta2, epsilon, grad_scale;
    float rate;       /* learning rate / (1 - beta1^step) */
    float decay;      /* learning rate * weight decay */
    float correction; /* 1 / (1 - beta2^step) */
};

struct adam_entry {
    struct tensor value, grad, moment1, moment2;
    struct adam_step step;
    int first_piece;
};

/* Algorithm 2 of Loshchilov & Hutter 2019, with PyTorch's place of epsilon:
 * value -= lr decay value + lr mhat / (sqrt(vhat) + epsilon) */
__device__ __forceinline__ void adam_element(float *value, float *moment1, float *moment2,
                                             float grad, const struct adam_step &s) {
    const float g = grad * s.grad_scale;
    const float m = s.beta1 * *moment1 + (1.0f - s.beta1) * g;
    const float v = s.beta2 * *moment2 + (1.0f - s.beta2) * g * g;

    *moment1 = m;
    *moment2 = v;
    *value -= s.decay * *value + s.rate * m / (sqrtf(v * s.correction) + s.epsilon);
}

/* Grid: pieces of all entries. */
static __global__ void __launch_bounds__(OPTIM_THREADS)
    adamw_kernel(const struct adam_entry *__restrict__ entries, int count) {
    const int piece = (int)blockIdx.x;
    const struct adam_entry *entry = &entries[entry_of(entries, count, piece)];
    const struct adam_step step = entry->step;
    const struct tensor value = entry->value, grad = entry->grad;
    const struct tensor moment1 = entry->moment1, moment2 = entry->moment2;
    const size_t size = (size_t)value.rows * (size_t)value.cols;
    const size_t first = (size_t)(piece - entry->first_piece) * OPTIM_PIECE;

    for (int i = (int)threadIdx.x; i < OPTIM_PIECE; i += OPTIM_THREADS) {
        const size_t e = first + (size_t)i;
        if (e < size) {
            const int n = (int)(e / (size_t)value.cols), c = (int)(e % (size_t)value.cols);
            adam_element(row_f32(value, n) + c, row_f32(moment1, n) + c, row_f32(moment2, n) + c,
                         row_f32(grad, n)[c], step);
        }
    }
}

/* Row index[n] of the table by row n of the gradient. Grid (rows, pieces of columns). */
static __global__ void __launch_bounds__(OPTIM_THREADS)
    adam_rows_kernel(struct tensor value, struct tensor grad, struct tensor moment1,
                     struct tensor moment2, struct tensor index, struct adam_step step) {
    const int n = (int)blockIdx.x, at = *row_i32(index, n);
    const int c = (int)(blockIdx.y * blockDim.x + threadIdx.x);

    if (c < grad.cols) {
        adam_element(row_f32(value, at) + c, row_f32(moment1, at) + c, row_f32(moment2, at) + c,
                     row_f32(grad, n)[c], step);
    }
}

/* ---- launchers ------------------------------------------------------------------------------- */

static int pieces_of(struct tensor t) {
    return (int)cuda_pieces((size_t)t.rows * (size_t)t.cols, OPTIM_PIECE);
}

/* One launch for at most OPTIM_TABLE tensors; returns how many pieces they have. */
static int squares_launch(struct cuda_backend *cuda, double *part, const struct tensor *tensors,
                          int count) {
    struct norm_entry entries[OPTIM_TABLE] = {};
    int pieces = 0;

    for (int i = 0; i < count; i++) {
        entries[i] = {tensors[i], pieces};
        pieces += pieces_of(tensors[i]);
    }
    if (pieces == 0) { return 0; }
    const struct norm_entry *device = static_cast<const struct norm_entry *>(
        cuda_pass(cuda, entries, (size_t)count * sizeof entries[0]));
    if (device == NULL) { return 0; }
    CUDA_LAUNCH(cuda, squares_kernel, dim3((unsigned)pieces), dim3(OPTIM_THREADS), 0, part, device,
                count);
    return pieces;
}

static enum status squared_norm(struct backend *be, const struct tensor *tensors, int count,
                                double *ret_sum, struct error *err) {
    struct cuda_backend *cuda = cuda_of(be);
    double sum = 0.0;
    int pieces = 0;

    for (int i = 0; i < count; i++) {
        assert(tensors[i].dtype == DTYPE_F32);
        pieces += pieces_of(tensors[i]);
    }
    /* the total, then the parts */
    double *part = static_cast<double *>(
        cuda_scratch(cuda, CUDA_SLOT_SUM, ((size_t)pieces + 1) * sizeof(double)));
    int at = 0;
    for (int i = 0; part != NULL && i < count; i += OPTIM_TABLE) {
        const int some = count - i < OPTIM_TABLE ? count - i : OPTIM_TABLE;
        at += squares_launch(cuda, part + 1 + at, tensors + i, some);
    }
    if (part != NULL) {
        CUDA_LAUNCH(cuda, squares_total_kernel, dim3(1), dim3(OPTIM_THREADS), 0, part, part + 1,
                    at);
    }
    enum status status = part != NULL ? cuda_read(cuda, &sum, part, sizeof sum, err)
                                      : cuda_synchronise(cuda, err); /* a failure is kept */
    if (status != STATUS_OK) { return error_wrap(err, "gradient norm"); }
    *ret_sum = sum;
    return STATUS_OK;
}

static struct adam_step adam_step_of(const struct optimizer_tensor *tensor,
                                     const struct adamw *how) {
    assert(how->step >= 1);
    const double step = (double)how->step;
    const double bias1 = 1.0 - pow((double)how->beta1, step);
    const double bias2 = 1.0 - pow((double)how->beta2, step);
    struct adam_step s;

    s.beta1 = how->beta1;
    s.beta2 = how->beta2;
    s.epsilon = how->epsilon;
    s.grad_scale = how->grad_scale;
    s.rate = (float)((double)tensor->learning_rate / bias1);
    s.decay = tensor->learning_rate * tensor->weight_decay;
    s.correction = (float)(1.0 / bias2);
    return s;
}

/* One launch for at most OPTIM_TABLE tensors. */
static void adamw_launch(struct cuda_backend *cuda, const struct optimizer_tensor *tensors,
                         int count, const struct adamw *how) {
    struct adam_entry entries[OPTIM_TABLE] = {};
    int pieces = 0;

    for (int i = 0; i < count; i++) {
        const struct optimizer_tensor *t = &tensors[i];
        assert(tensor_same_shape(t->value, t->grad));
        assert(tensor_same_shape(t->value, t->moment1) && tensor_same_shape(t->value, t->moment2));
        entries[i] = {t->value, t->grad, t->moment1, t->moment2, adam_step_of(t, how), pieces};
        pieces += pieces_of(t->value);
    }
    if (pieces == 0) { return; }
    const struct adam_entry *device = static_cast<const struct adam_entry *>(
        cuda_pass(cuda, entries, (size_t)count * sizeof entries[0]));
    if (device == NULL) { return; }
    CUDA_LAUNCH(cuda, adamw_kernel, dim3((unsigned)pieces), dim3(OPTIM_THREADS), 0, device, count);
}

static void adamw_all(struct backend *be, const struct optimizer_tensor *tensors, int count,
                      const struct adamw *how) {
    for (int i = 0; i < count; i += OPTIM_TABLE) {
        adamw_launch(cuda_of(be), tensors + i, count - i < OPTIM_TABLE ? count - i : OPTIM_TABLE,
                     how);
    }
}

static void adam_rows(struct backend *be, struct optimizer_tensor tensor, struct tensor index,
                      const struct adamw *how) {
    assert(tensor_is_index(index, tensor.grad.rows) && tensor.grad.cols == tensor.value.cols);
    assert(tensor_same_shape(tensor.value, tensor.moment1));
    assert(tensor_same_shape(tensor.value, tensor.moment2));
    const dim3 grid((unsigned)tensor.grad.rows,
                    cuda_pieces((size_t)tensor.grad.cols, OPTIM_THREADS));
    CUDA_LAUNCH(cuda_of(be), adam_rows_kernel, grid, dim3(OPTIM_THREADS), 0, tensor.value,
                tensor.grad, tensor.moment1, tensor.moment2, index, adam_step_of(&tensor, how));
}

void cuda_optim_install(struct backend_ops *ops) {
    ops->squared_norm = squared_norm;
    ops->adamw = adamw_all;
    ops->adam_rows = adam_rows;
}
