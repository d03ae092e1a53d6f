/* SPDX-License-Identifier: Apache-2.0
 *
 * optim.c - gradient norm, AdamW over all tensors, Adam over chosen rows. */
#include "kernels/cpu/cpu.h"

#include <math.h>

/* Rows whose squares are summed as one piece; pieces are added in order. */
#define NORM_ROWS 64

static double rows_squared(struct tensor t, int first, int count) {
    double sum = 0.0;

    for (int n = first; n < first + count; n++) {
        const float *row = row_f32(t, n);
        double lane[8] = {0.0};
        int c = 0;
        for (; c + 8 <= t.cols; c += 8) {
            for (int i = 0; i < 8; i++) {
                lane[i] += (double)row[c + i] * (double)row[c + i];
            }
        }
        for (; c < t.cols; c++) {
            lane[c % 8] += (double)row[c] * (double)row[c];
        }
        sum += ((lane[0] + lane[4]) + (lane[2] + lane[6])) +
               ((lane[1] + lane[5]) + (lane[3] + lane[7]));
    }
    return sum;
}

static double tensor_squared(const struct backend *be, struct tensor t, double *pieces) {
    int piece_count = (t.rows + NORM_ROWS - 1) / NORM_ROWS;
    int team = team_for(be, t.rows, t.cols);
    double sum = 0.0;

#pragma omp parallel for num_threads(team) schedule(static)
    for (int piece = 0; piece < piece_count; piece++) {
        int first = piece * NORM_ROWS;
        int count = t.rows - first < NORM_ROWS ? t.rows - first : NORM_ROWS;
        pieces[piece] = rows_squared(t, first, count);
    }
    for (int piece = 0; piece < piece_count; piece++) {
        sum += pieces[piece];
    }
    return sum;
}

static enum status squared_norm(struct backend *be, const struct tensor *tensors, int count,
                                double *ret_sum, struct error *err) {
    double sum = 0.0;
    int rows_max = 0;

    for (int i = 0; i < count; i++) {
        assert(tensors[i].dtype == DTYPE_F32);
        rows_max = tensors[i].rows > rows_max ? tensors[i].rows : rows_max;
    }
    size_t piece_count = (size_t)(rows_max / NORM_ROWS + 1);
    double *pieces = cpu_scratch(cpu_of(be), SCRATCH_PRODUCT, piece_count * sizeof *pieces);
    if (pieces != NULL) {
        for (int i = 0; i < count; i++) {
            sum += tensor_squared(be, tensors[i], pieces);
        }
    }
    enum status status = be->ops->synchronise(be, err);
    if (status != STATUS_OK) { return error_wrap(err, "gradient norm"); }
    *ret_sum = sum;
    return STATUS_OK;
}

/* The constants of one step that all elements share. */
struct adam_step {
    float beta1, beta2, epsilon, grad_scale;
    float rate;       /* learning rate / (1 - beta1^step) */
    float decay;      /* learning rate * weight decay */
    float correction; /* 1 / (1 - beta2^step) */
};

static struct adam_step adam_step_of(const struct optimizer_tensor *tensor,
                                     const struct adamw *how) {
    assert(how->step >= 1);
    double step = (double)how->step;
    double bias1 = 1.0 - pow((double)how->beta1, step);
    double bias2 = 1.0 - pow((double)how->beta2, step);
    return (struct adam_step){
        .beta1 = how->beta1,
        .beta2 = how->beta2,
        .epsilon = how->epsilon,
        .grad_scale = how->grad_scale,
        .rate = (float)((double)tensor->learning_rate / bias1),
        .decay = tensor->learning_rate * tensor->weight_decay,
        .correction = (float)(1.0 / bias2),
    };
}

/* Algorithm 2 of Loshchilov & Hutter 2019, with PyTorch's place of epsilon:
 * value -= lr decay value + lr mhat / (sqrt(vhat) + epsilon) */
static void adam_row(float *restrict value, float *restrict moment1, float *restrict moment2,
                     const float *restrict grad, const struct adam_step *step, int C) {
    const struct adam_step s = *step;

    for (int c = 0; c < C; c++) {
        float g = grad[c] * s.grad_scale;
        float m = s.beta1 * moment1[c] + (1.0f - s.beta1) * g;
        float v = s.beta2 * moment2[c] + (1.0f - s.beta2) * g * g;
        moment1[c] = m;
        moment2[c] = v;
        value[c] -= s.decay * value[c] + s.rate * m / (sqrtf(v * s.correction) + s.epsilon);
    }
}

static void adamw(struct backend *be, const struct optimizer_tensor *tensors, int count,
                  const struct adamw *how) {
    for (int i = 0; i < count; i++) {
        const struct optimizer_tensor *t = &tensors[i];
        const struct adam_step step = adam_step_of(t, how);
        int team = team_for(be, t->value.rows, t->value.cols);
        assert(tensor_same_shape(t->value, t->grad));
        assert(tensor_same_shape(t->value, t->moment1) && tensor_same_shape(t->value, t->moment2));
#pragma omp parallel for num_threads(team) schedule(static)
        for (int n = 0; n < t->value.rows; n++) {
            adam_row(row_f32(t->value, n), row_f32(t->moment1, n), row_f32(t->moment2, n),
                     row_f32(t->grad, n), &step, t->value.cols);
        }
    }
}

static void adam_rows(struct backend *be, struct optimizer_tensor tensor, struct tensor index,
                      const struct adamw *how) {
    const struct adam_step step = adam_step_of(&tensor, how);
    int team = team_for(be, tensor.grad.rows, tensor.grad.cols);

    assert(tensor_is_index(index, tensor.grad.rows) && tensor.grad.cols == tensor.value.cols);
    assert(tensor_same_shape(tensor.value, tensor.moment1));
    assert(tensor_same_shape(tensor.value, tensor.moment2));
#pragma omp parallel for num_threads(team) schedule(static)
    for (int n = 0; n < tensor.grad.rows; n++) {
        int at = *row_i32(index, n);
        assert(at >= 0 && at < tensor.value.rows);
        adam_row(row_f32(tensor.value, at), row_f32(tensor.moment1, at),
                 row_f32(tensor.moment2, at), row_f32(tensor.grad, n), &step, tensor.value.cols);
    }
}

void ISA(optim_install)(struct backend_ops *ops) {
    ops->squared_norm = squared_norm;
    ops->adamw = adamw;
    ops->adam_rows = adam_rows;
}
