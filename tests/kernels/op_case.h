/* SPDX-License-Identifier: Apache-2.0
 *
 * op_case.h - one operator at one shape, and how it is run on any backend and judged.
 *
 * A case names an operator and its sizes. The runner makes seeded inputs, runs the operator on the
 * backend with rows `pad` elements longer than they need and guard numbers all around, and compares
 * with the double reference; gradients are compared with central differences of the reference.
 */
#ifndef TESTS_KERNELS_OP_CASE_H
#define TESTS_KERNELS_OP_CASE_H

#include "kernels/backend.h"

#define OP_INPUTS_MAX  6
#define OP_OUTPUTS_MAX 4

struct op_case {
    const char *op;      /* name in op_table.c */
    int N, C;            /* rows and columns, or what the operator's row says */
    int K;               /* third size: inner size of a product, experts, sequences */
    int H, G, D;         /* attention and rotary */
    bool flag_a, flag_b; /* transpose_a, transpose_b; accumulate; inverse */
    float alpha, beta;   /* product, axpby, epsilon, floor */
    const struct segment *segments;
    int segment_count;
    const struct row_range *ranges; /* N of them */
    int pad;                        /* elements between rows */
    enum precision precision;
    int samples; /* elements of an input whose derivative is taken; 0: SAMPLES_MAX (op_run.c) */
};

struct op_shape {
    int rows, cols;
};

/* What an operator's adapter sees. */
struct op_run {
    struct backend *be;
    const struct op_case *c;
    struct tensor in[OP_INPUTS_MAX], out[OP_OUTPUTS_MAX];
    struct tensor dout[OP_OUTPUTS_MAX], din[OP_INPUTS_MAX];
    struct tensor index;                 /* i32 (rows,1) */
    const float *host_in[OP_INPUTS_MAX]; /* dense */
};

struct op {
    const char *name;
    int in_count, out_count;
    unsigned grad_in;   /* bit i: the backward gives the gradient of input i */
    unsigned grad_adds; /* bit i: with +=, else = */
    unsigned grad_out;  /* bit o: output o counts in the loss; the others are kept values */
    void (*shapes)(const struct op_case *c, struct op_shape *in, struct op_shape *out,
                   int *ret_index_rows);
    void (*index)(const struct op_case *c, int32_t *index); /* NULL: none */
    void (*reference)(const struct op_case *c, const int32_t *index, double *const *in,
                      double *const *out);
    void (*forward)(struct op_run *run);
    void (*backward)(struct op_run *run); /* NULL: none */
};

/* The operator of a name; NULL when there is none. */
const struct op *op_find(const char *name);

/* Runs the forward; returns the worst excess over the tolerance (<= 1 passes), or a huge number
 * with `ret_words` saying what is wrong (a NaN, a guard number overwritten). */
double op_check_forward(struct backend *be, const struct op_case *c, char *ret_words,
                        size_t words_bytes);
/* The same for the backward against central differences; 0 when the operator has none. */
double op_check_backward(struct backend *be, const struct op_case *c, char *ret_words,
                         size_t words_bytes);

/* Hash of every bit that forward and backward give for the case. */
uint64_t op_bits(struct backend *be, const struct op_case *c);

/* All cases. */
extern const struct op_case op_cases[];
extern const int op_case_count;

#endif
