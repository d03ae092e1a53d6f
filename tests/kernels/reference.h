/* SPDX-License-Identifier: Apache-2.0
 *
 * reference.h - every operator as its formula says, in double, one element at a time.
 *
 * Nothing here is shared with the backends: no blocking, no vectors, no float. Matrices are dense,
 * inputs and outputs are numbered as in the operator's row of op_table.c, which names their shapes.
 */
#ifndef TESTS_KERNELS_REFERENCE_H
#define TESTS_KERNELS_REFERENCE_H

#include "tests/kernels/op_case.h"

typedef void reference_fn(const struct op_case *c, const int32_t *index, double *const *in,
                          double *const *out);

reference_fn reference_linear, reference_linear_back, reference_product;
reference_fn reference_rmsnorm, reference_layernorm, reference_rotary, reference_attention;
reference_fn reference_attention_cached;
reference_fn reference_swiglu, reference_gelu, reference_relu;
reference_fn reference_axpby, reference_multiply, reference_add_bias, reference_sum_rows;
reference_fn reference_gather, reference_scatter, reference_scatter_add;
reference_fn reference_gate, reference_softmax;
reference_fn reference_cross_entropy, reference_log_softmax_at, reference_log_softmax;
reference_fn reference_adamw, reference_adam_rows;

#endif
