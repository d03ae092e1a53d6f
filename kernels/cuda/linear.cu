/* SPDX-License-Identifier: Apache-2.0
 *
 * linear.cu - frozen weights on the card: one copy, (O,I) as the checkpoint has it, f32 or bf16,
 * that serves both directions.
 *
 *   y (N,O) = x w^T     dx (N,I) = dy w
 *
 * Rows of a weight are padded to 16 bytes, so that tensor cores can read them whatever I is. */
#include "kernels/cuda/product.h"

extern "C" {
#include "base/memory.h"
}

struct weight {
    int O, I;
    int line; /* elements from one row to the next */
    enum precision precision;
    void *data; /* owns: device memory */
};

/* Host rows are brought over in pieces of this size when they are rounded on the way. */
#define WEIGHT_PIECE_BYTES ((size_t)16 << 20)

static size_t element_bytes(enum precision precision) {
    return precision == PRECISION_BF16 ? sizeof(bf16) : sizeof(float);
}

static size_t data_bytes(const struct weight *weight) {
    return (size_t)weight->O * (size_t)weight->line * element_bytes(weight->precision);
}

static void weight_free(struct backend *be, struct weight *weight) {
    if (weight == NULL) { return; }
    if (weight->data != NULL) { cuda_memory_give(cuda_of(be), weight->data); }
    cuda_of(be)->bf16_weights -= weight->precision == PRECISION_BF16 ? 1 : 0;
    memory_free(weight);
}

/* w (O,I) on the host, rounded to bf16 on the card piece by piece. */
static enum status rounded_write(struct cuda_backend *cuda, const struct weight *weight,
                                 const float *w, struct error *err) {
    const size_t row_bytes = (size_t)weight->I * sizeof(float);
    const size_t fit = WEIGHT_PIECE_BYTES / row_bytes;
    const int piece = fit < 1 ? 1 : fit > (size_t)weight->O ? weight->O : (int)fit;
    bf16 *to = static_cast<bf16 *>(weight->data);

    for (int o = 0; o < weight->O; o += piece) {
        const int rows = weight->O - o < piece ? weight->O - o : piece;
        void *staged = cuda_scratch(cuda, CUDA_SLOT_ROWS_IN, (size_t)piece * row_bytes);
        if (staged == NULL) { return cuda_synchronise(cuda, err); }
        enum status status = cuda_write(cuda, staged, w + (size_t)o * (size_t)weight->I,
                                        (size_t)rows * row_bytes, err);
        if (status != STATUS_OK) { return status; }
        cuda_round_rows(cuda, to + (size_t)o * (size_t)weight->line, weight->line,
                        tensor_over(staged, DTYPE_F32, rows, weight->I));
    }
    return cuda_synchronise(cuda, err);
}

static enum status plain_write(struct cuda_backend *cuda, const struct weight *weight,
                               const float *w, struct error *err) {
    return cuda_stage_write(cuda, weight->data, (size_t)weight->line * sizeof(float), w,
                            (size_t)weight->I * sizeof(float), (size_t)weight->O, err);
}

static enum status weight_make(struct backend *be, const float *w, int O, int I, bool backward,
                               enum precision precision, struct weight **ret_weight,
                               struct error *err) {
    struct cuda_backend *cuda = cuda_of(be);
    const int align = (int)(16 / element_bytes(precision));
    enum status status;

    (void)backward; /* the same copy */
    assert(w != NULL);
    assert(O > 0 && I > 0);
    struct weight *weight = MEMORY_TAKE_ARRAY(struct weight, 1);
    if (weight == NULL) { return error_set(err, STATUS_NO_MEMORY, "weight (%d,%d)", O, I); }
    weight->O = O;
    weight->I = I;
    weight->line = (I + align - 1) / align * align;
    weight->precision = precision;
    cuda->bf16_weights += precision == PRECISION_BF16 ? 1 : 0;
    status = cuda_memory_take(cuda, data_bytes(weight), &weight->data, err);
    if (status == STATUS_OK) {
        status = precision == PRECISION_BF16 ? rounded_write(cuda, weight, w, err)
                                             : plain_write(cuda, weight, w, err);
    }
    if (status != STATUS_OK) {
        weight_free(be, weight);
        return error_wrap(err, "weight (%d,%d)", O, I);
    }
    *ret_weight = weight;
    return STATUS_OK;
}

static size_t weight_bytes(const struct weight *weight) {
    return sizeof *weight + data_bytes(weight);
}

/* to (N,.) = or += from (N,.) times w or w^T */
static void linear(struct backend *be, struct tensor to, struct tensor from, const struct weight *w,
                   bool transpose, bool accumulate) {
    const struct cuda_product p = {.c = static_cast<float *>(to.data),
                                   .c_line = to.stride,
                                   .a = static_cast<const float *>(from.data),
                                   .a_line = from.stride,
                                   .a_turned = false,
                                   .b = w->data,
                                   .b_line = w->line,
                                   .b_turned = transpose,
                                   .b_bf16 = w->precision == PRECISION_BF16,
                                   .m = to.rows,
                                   .n = to.cols,
                                   .k = from.cols,
                                   .alpha = 1.0f,
                                   .beta = accumulate ? 1.0f : 0.0f};
    cuda_product_run(cuda_of(be), &p);
}

static void linear_forward(struct backend *be, struct tensor y, struct tensor x,
                           const struct weight *w, struct tensor bias) {
    assert(tensor_is(x, y.rows, w->I) && tensor_is(y, x.rows, w->O));
    assert(tensor_is_none(bias) || tensor_is(bias, 1, w->O));
    linear(be, y, x, w, true, false);
    if (!tensor_is_none(bias)) { be->ops->add_bias(be, y, bias); }
}

static void linear_backward(struct backend *be, struct tensor dx, struct tensor dy,
                            const struct weight *w, bool accumulate) {
    assert(tensor_is(dy, dx.rows, w->O) && tensor_is(dx, dy.rows, w->I));
    linear(be, dx, dy, w, false, accumulate);
}

void cuda_linear_install(struct backend_ops *ops) {
    ops->weight_make = weight_make;
    ops->weight_free = weight_free;
    ops->weight_bytes = weight_bytes;
    ops->linear_forward = linear_forward;
    ops->linear_backward = linear_backward;
}
