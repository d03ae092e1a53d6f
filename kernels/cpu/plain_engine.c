/* SPDX-License-Identifier: Apache-2.0
 *
 * plain_engine.c - products with packed matrices without oneDNN: the right factor is kept as rows
 * (k,n) and the blocked product of product.c does the rest.
 *
 * BF16 here means the same numbers, not the same speed: weights and activations are rounded to bf16,
 * the arithmetic is f32. */
#include "kernels/cpu/engine.h"

#include <stdio.h>

#include "base/memory.h"

struct engine {
    struct cpu_backend *cpu; /* borrows: until engine_close */
};

struct packed {
    struct tensor b; /* owns: (k,n) */
    enum precision precision;
};

enum status engine_open(struct cpu_backend *cpu, struct engine **ret_engine, struct error *err) {
    void *memory = NULL;

    enum status status = cpu_memory_take(sizeof(struct engine), &memory, err);
    if (status != STATUS_OK) { return error_wrap(err, "products"); }
    struct engine *engine = memory;
    engine->cpu = cpu;
    *ret_engine = engine;
    return STATUS_OK;
}

void engine_close(struct engine *engine) { memory_free(engine); }

void engine_describe(const struct engine *engine, char *text, size_t text_bytes) {
    (void)engine;
    (void)snprintf(text, text_bytes, "plain"); /* fits: the caller gives 96 bytes */
}

bool backend_cpu_has_bf16(void) { return false; }

enum status packed_make(struct engine *engine, const float *w, int O, int I, bool backward,
                        enum precision precision, struct packed **ret_packed, struct error *err) {
    const int k = backward ? O : I, n = backward ? I : O;
    void *memory = NULL, *values = NULL;

    enum status status = cpu_memory_take(sizeof(struct packed), &memory, err);
    if (status != STATUS_OK) { return status; }
    status = cpu_memory_take((size_t)k * (size_t)n * sizeof(float), &values, err);
    if (status != STATUS_OK) {
        memory_free(memory);
        return status;
    }
    struct packed *packed = memory;
    packed->b = tensor_over(values, DTYPE_F32, k, n);
    packed->precision = precision;
    for (int o = 0; o < O; o++) {
        for (int i = 0; i < I; i++) {
            float *to = backward ? row_f32(packed->b, o) + i : row_f32(packed->b, i) + o;
            *to = w[(size_t)o * (size_t)I + (size_t)i];
        }
    }
    if (precision == PRECISION_BF16) {
        engine->cpu->loops.round_bf16(values, values, n, k, n, 1);
    }
    *ret_packed = packed;
    return STATUS_OK;
}

void packed_free(struct packed *packed) {
    if (packed == NULL) { return; }
    memory_free(packed->b.data);
    memory_free(packed);
}

size_t packed_bytes(const struct packed *packed) {
    return sizeof *packed + (size_t)packed->b.rows * (size_t)packed->b.cols * sizeof(float);
}

void packed_multiply(struct engine *engine, const struct packed *packed, struct tensor y,
                     struct tensor x, bool accumulate) {
    struct backend *be = &engine->cpu->base;

    if (packed->precision == PRECISION_BF16) {
        size_t bytes = (size_t)x.rows * (size_t)x.cols * sizeof(float);
        float *rounded = cpu_scratch(engine->cpu, SCRATCH_ROWS_IN, bytes);
        if (rounded == NULL) { return; }
        engine->cpu->loops.round_bf16(rounded, x.data, x.stride, x.rows, x.cols, be->threads);
        x = tensor_over(rounded, DTYPE_F32, x.rows, x.cols);
    }
    be->ops->product(be, y, x, false, packed->b, false, 1.0f, accumulate ? 1.0f : 0.0f);
}
