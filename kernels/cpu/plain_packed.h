/* SPDX-License-Identifier: Apache-2.0
 *
 * plain_packed.h - a frozen matrix for the blocked product of product.c: rows (k,n) in f32.
 *
 * The whole of the engine without oneDNN; with it, the way of matrices too small to be worth its
 * overhead and of bf16 on a CPU without it. BF16 here means the same numbers, not the same speed:
 * weights and activations are rounded to bf16, the arithmetic is f32.
 */
#ifndef KERNELS_CPU_PLAIN_PACKED_H
#define KERNELS_CPU_PLAIN_PACKED_H

#include "kernels/cpu/cpu.h"

struct plain_packed {
    struct tensor b; /* owns: (k,n) */
    enum precision precision;
};

/* As packed_make (engine.h). */
MUST_CHECK enum status plain_packed_make(struct cpu_backend *cpu, const float *w, int O, int I,
                                         bool backward, enum precision precision,
                                         struct plain_packed *ret_packed, struct error *err);
void plain_packed_free(struct plain_packed *packed);
size_t plain_packed_bytes(const struct plain_packed *packed);
/* As packed_multiply. */
void plain_packed_multiply(struct cpu_backend *cpu, const struct plain_packed *packed,
                           struct tensor y, struct tensor x, bool accumulate);

#endif
