/* SPDX-License-Identifier: Apache-2.0
 *
 * cublas.h - cublasLt, loaded at run time.
 *
 * The library is half a gigabyte and not everywhere: a binary that was linked with it would not
 * even start on a machine without. So it is opened with dlopen when a card was found; where it is
 * missing the backend takes its own product kernels and the profile says "products=own". CUDA's
 * runtime is linked statically: it starts without a driver and reports that there is none.
 *
 * In the executor's build there is no library: own kernels are what is tested there.
 */
#ifndef KERNELS_CUDA_CUBLAS_H
#define KERNELS_CUDA_CUBLAS_H

#include "kernels/cuda/cuda.h"

#ifdef __CUDACC__
#include <cublasLt.h>

#define CUBLAS_PLANS 1024 /* shapes whose algorithm is kept; a newer one takes an older's place */

/* What the choice of an algorithm depends on. No padding: compared as bytes. */
struct plan_key {
    int32_t m, n, k, a_line, b_line, c_line;
    uint32_t flags; /* of p: a_turned 1, b_turned 2, b_bf16 4, beta 8 */
    uint32_t align; /* of a, b and c, a byte each */
};
static_assert(sizeof(struct plan_key) == 32, "no padding");

enum plan_state { PLAN_FREE, PLAN_READY, PLAN_NONE /* the library has none */ };

struct plan {
    struct plan_key key;
    enum plan_state state;
    cublasLtMatmulAlgo_t algorithm;
};

/* The functions in use; a pointer each, never NULL once opened. */
struct cublas {
    void *library; /* owns: from dlopen */
    cublasLtHandle_t handle;
    size_t version;
    struct plan plan[CUBLAS_PLANS]; /* by hash of the key (library.cu) */
    size_t (*get_version)(void);
    cublasStatus_t (*create)(cublasLtHandle_t *handle);
    cublasStatus_t (*destroy)(cublasLtHandle_t handle);
    cublasStatus_t (*matmul)(cublasLtHandle_t handle, cublasLtMatmulDesc_t desc, const void *alpha,
                             const void *a, cublasLtMatrixLayout_t a_layout, const void *b,
                             cublasLtMatrixLayout_t b_layout, const void *beta, const void *c,
                             cublasLtMatrixLayout_t c_layout, void *d,
                             cublasLtMatrixLayout_t d_layout, const cublasLtMatmulAlgo_t *algo,
                             void *workspace, size_t workspace_bytes, cudaStream_t stream);
    cublasStatus_t (*desc_create)(cublasLtMatmulDesc_t *desc, cublasComputeType_t compute,
                                  cudaDataType_t scale);
    cublasStatus_t (*desc_destroy)(cublasLtMatmulDesc_t desc);
    cublasStatus_t (*desc_set)(cublasLtMatmulDesc_t desc, cublasLtMatmulDescAttributes_t attribute,
                               const void *value, size_t bytes);
    cublasStatus_t (*layout_create)(cublasLtMatrixLayout_t *layout, cudaDataType type,
                                    uint64_t rows, uint64_t cols, int64_t leading);
    cublasStatus_t (*layout_destroy)(cublasLtMatrixLayout_t layout);
    cublasStatus_t (*layout_set)(cublasLtMatrixLayout_t layout,
                                 cublasLtMatrixLayoutAttribute_t attribute, const void *value,
                                 size_t bytes);
    cublasStatus_t (*preference_create)(cublasLtMatmulPreference_t *preference);
    cublasStatus_t (*preference_destroy)(cublasLtMatmulPreference_t preference);
    cublasStatus_t (*preference_set)(cublasLtMatmulPreference_t preference,
                                     cublasLtMatmulPreferenceAttributes_t attribute,
                                     const void *value, size_t bytes);
    cublasStatus_t (*heuristic)(cublasLtHandle_t handle, cublasLtMatmulDesc_t desc,
                                cublasLtMatrixLayout_t a_layout, cublasLtMatrixLayout_t b_layout,
                                cublasLtMatrixLayout_t c_layout, cublasLtMatrixLayout_t d_layout,
                                cublasLtMatmulPreference_t preference, int asked,
                                cublasLtMatmulHeuristicResult_t results[], int *found);
};
#endif

/* Opens the library, or leaves cuda->cublas NULL where there is none. DEVICE_LOST or NO_MEMORY when
 * it is there and does not start. */
MUST_CHECK enum status cuda_cublas_open(struct cuda_backend *cuda, struct error *err);
void cuda_cublas_close(struct cuda_backend *cuda);
/* "own" or "cublasLt-130100". */
void cuda_cublas_describe(const struct cuda_backend *cuda, char *text, size_t text_bytes);

#endif
