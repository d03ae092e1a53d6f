/* SPDX-License-Identifier: Apache-2.0
 *
 * plain_packed.c - see plain_packed.h. */
#include "kernels/cpu/plain_packed.h"

#include "base/memory.h"

enum status plain_packed_make(struct cpu_backend *cpu, const float *w, int O, int I, bool backward,
                              enum precision precision, struct plain_packed *ret_packed,
                              struct error *err) {
    const int k = backward ? O : I, n = backward ? I : O;
    void *values = NULL;

    assert(w != NULL && O > 0 && I > 0);
    enum status status = cpu_memory_take((size_t)k * (size_t)n * sizeof(float), &values, err);
    if (status != STATUS_OK) { return status; }
    struct tensor b = tensor_over(values, DTYPE_F32, k, n);
    for (int o = 0; o < O; o++) {
        for (int i = 0; i < I; i++) {
            float *to = backward ? row_f32(b, o) + i : row_f32(b, i) + o;
            *to = w[(size_t)o * (size_t)I + (size_t)i];
        }
    }
    if (precision == PRECISION_BF16) { cpu->loops.round_bf16(values, values, n, k, n, 1); }
    *ret_packed = (struct plain_packed){b, precision};
    return STATUS_OK;
}

void plain_packed_free(struct plain_packed *packed) {
    memory_free(packed->b.data);
    *packed = (struct plain_packed){{NULL, 0, 0, 0, DTYPE_F32}, PRECISION_F32};
}

size_t plain_packed_bytes(const struct plain_packed *packed) {
    return (size_t)packed->b.rows * (size_t)packed->b.cols * sizeof(float);
}

void plain_packed_multiply(struct cpu_backend *cpu, const struct plain_packed *packed,
                           struct tensor y, struct tensor x, bool accumulate) {
    struct backend *be = &cpu->base;

    if (packed->precision == PRECISION_BF16) {
        size_t bytes = (size_t)x.rows * (size_t)x.cols * sizeof(float);
        float *rounded = cpu_scratch(cpu, SCRATCH_ROWS_IN, bytes);
        if (rounded == NULL) { return; }
        cpu->loops.round_bf16(rounded, x.data, x.stride, x.rows, x.cols, be->threads);
        x = tensor_over(rounded, DTYPE_F32, x.rows, x.cols);
    }
    be->ops->product(be, y, x, false, packed->b, false, 1.0f, accumulate ? 1.0f : 0.0f);
}
