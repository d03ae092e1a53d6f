/* SPDX-License-Identifier: Apache-2.0
 *
 * product.h - one product of matrices, as linear.cu and product.cu describe it to whoever does it:
 * cublasLt (library.cu) or the own kernel (product.cu).
 */
#ifndef KERNELS_CUDA_PRODUCT_H
#define KERNELS_CUDA_PRODUCT_H

#include "kernels/cuda/cuda.h"

/* c (m,n) = alpha a (m,k) b (k,n) + beta c; beta 0 does not read c. Lines are rows as stored. */
struct cuda_product {
    float *c;
    int c_line; /* elements from one row to the next */
    const float *a;
    int a_line;
    bool a_turned; /* stored as (k,m) */
    const void *b; /* f32, or bf16: then a is rounded to bf16 too */
    int b_line;
    bool b_turned; /* stored as (n,k) */
    bool b_bf16;
    int m, n, k;
    float alpha, beta;
};

/* By the own kernel: sums in an order that depends on the shape alone. */
void cuda_product_own(struct cuda_backend *cuda, const struct cuda_product *p);

/* By cublasLt with the backend's workspace; false when the library is not there or has no algorithm
 * for the shape, then nothing was done. The algorithm of a shape is the library's first proposal,
 * which is the same each time, kept in a table. */
bool cuda_product_library(struct cuda_backend *cuda, const struct cuda_product *p);

/* By whoever is better at the shape. */
void cuda_product_run(struct cuda_backend *cuda, const struct cuda_product *p);

#endif
