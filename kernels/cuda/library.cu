/* SPDX-License-Identifier: Apache-2.0
 *
 * library.cu - products by cublasLt: one algorithm per shape, kept for the process.
 *
 * The library counts matrices by columns. A row-major c (m,n) is its (n,m), so
 *
 *   c = a b   is asked for as   c^T (n,m) = b^T (n,k) a^T (k,m),   b the left factor.
 *
 * Determinism: one stream, a workspace of the backend's own of one size, the library's first
 * proposal, and no scheme that adds up in place: parts of a split sum go to the workspace and are
 * added in order. The proposal is a function of shape and alignment, so a shape that was dropped
 * from the table gets the same one again. */
#include "kernels/cuda/cublas.h"
#include "kernels/cuda/product.h"

#ifdef __CUDACC__

#define LIBRARY_WORKSPACE ((size_t)32 << 20) /* bytes: NVIDIA's advice for Hopper */
#define LIBRARY_ALIGN     16u                /* bytes: more does not matter to the algorithms */

/* A product in the library's words; each may be NULL. */
struct request {
    cublasLtMatmulDesc_t desc;         /* owns */
    cublasLtMatrixLayout_t left;       /* owns: b */
    cublasLtMatrixLayout_t right;      /* owns: a */
    cublasLtMatrixLayout_t out;        /* owns: c */
    cublasLtMatmulPreference_t prefer; /* owns */
};

static uint32_t align_of(const void *p, int line, size_t element_bytes) {
    uintptr_t all = (uintptr_t)p | (uintptr_t)((size_t)line * element_bytes) | LIBRARY_ALIGN;

    return (uint32_t)(all & (~all + 1));
}

static struct plan_key key_of(const struct cuda_product *p, const void *a, int a_line) {
    const size_t bytes = p->b_bf16 ? sizeof(bf16) : sizeof(float);
    const uint32_t flags = (p->a_turned ? 1u : 0u) | (p->b_turned ? 2u : 0u) |
                           (p->b_bf16 ? 4u : 0u) | (p->beta != 0.0f ? 8u : 0u);
    const uint32_t align = align_of(a, a_line, bytes) | align_of(p->b, p->b_line, bytes) << 8 |
                           align_of(p->c, p->c_line, sizeof(float)) << 16;

    return {p->m, p->n, p->k, a_line, p->b_line, p->c_line, flags, align};
}

/* FNV-1a. */
static uint32_t key_place(const struct plan_key *key) {
    const unsigned char *bytes = reinterpret_cast<const unsigned char *>(key);
    uint64_t hash = 14695981039346656037u;

    for (size_t i = 0; i < sizeof *key; i++) {
        hash = (hash ^ bytes[i]) * 1099511628211u;
    }
    return (uint32_t)(hash ^ hash >> 32) % CUBLAS_PLANS;
}

static void request_close(const struct cublas *cublas, struct request *r) {
    if (r->desc != NULL) { (void)cublas->desc_destroy(r->desc); /* host memory alone */ }
    if (r->left != NULL) { (void)cublas->layout_destroy(r->left); }
    if (r->right != NULL) { (void)cublas->layout_destroy(r->right); }
    if (r->out != NULL) { (void)cublas->layout_destroy(r->out); }
    if (r->prefer != NULL) { (void)cublas->preference_destroy(r->prefer); }
    *r = {};
}

/* A matrix of `lines` rows of `columns`, as stored: to the library, columns x lines. */
static bool layout_open(const struct cublas *cublas, cublasLtMatrixLayout_t *ret_layout,
                        cudaDataType type, int lines, int columns, int line) {
    return cublas->layout_create(ret_layout, type, (uint64_t)columns, (uint64_t)lines, line) ==
           CUBLAS_STATUS_SUCCESS;
}

static bool request_open(const struct cublas *cublas, struct request *r,
                         const struct cuda_product *p, int a_line) {
    const cudaDataType type = p->b_bf16 ? CUDA_R_16BF : CUDA_R_32F;
    const cublasOperation_t left = p->b_turned ? CUBLAS_OP_T : CUBLAS_OP_N;
    const cublasOperation_t right = p->a_turned ? CUBLAS_OP_T : CUBLAS_OP_N;

    return cublas->desc_create(&r->desc, CUBLAS_COMPUTE_32F, CUDA_R_32F) == CUBLAS_STATUS_SUCCESS &&
           cublas->desc_set(r->desc, CUBLASLT_MATMUL_DESC_TRANSA, &left, sizeof left) ==
               CUBLAS_STATUS_SUCCESS &&
           cublas->desc_set(r->desc, CUBLASLT_MATMUL_DESC_TRANSB, &right, sizeof right) ==
               CUBLAS_STATUS_SUCCESS &&
           layout_open(cublas, &r->left, type, p->b_turned ? p->n : p->k, p->b_turned ? p->k : p->n,
                       p->b_line) &&
           layout_open(cublas, &r->right, type, p->a_turned ? p->k : p->m,
                       p->a_turned ? p->m : p->k, a_line) &&
           layout_open(cublas, &r->out, CUDA_R_32F, p->m, p->n, p->c_line);
}

static bool prefer_set(const struct cublas *cublas, struct request *r,
                       cublasLtMatmulPreferenceAttributes_t attribute, const void *value,
                       size_t bytes) {
    return cublas->preference_set(r->prefer, attribute, value, bytes) == CUBLAS_STATUS_SUCCESS;
}

/* The library's first proposal. */
static bool request_ask(const struct cublas *cublas, struct request *r, const struct plan_key *key,
                        cublasLtMatmulAlgo_t *ret_algorithm) {
    const size_t workspace = LIBRARY_WORKSPACE;
    const uint32_t in_order = CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE;
    const uint32_t a = key->align & 0xffu, b = key->align >> 8 & 0xffu, c = key->align >> 16;
    cublasLtMatmulHeuristicResult_t result = {};
    int found = 0;

    if (cublas->preference_create(&r->prefer) != CUBLAS_STATUS_SUCCESS ||
        !prefer_set(cublas, r, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &workspace,
                    sizeof workspace) ||
        !prefer_set(cublas, r, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, &in_order,
                    sizeof in_order) ||
        !prefer_set(cublas, r, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, &b, sizeof b) ||
        !prefer_set(cublas, r, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, &a, sizeof a) ||
        !prefer_set(cublas, r, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, &c, sizeof c) ||
        !prefer_set(cublas, r, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, &c, sizeof c)) {
        return false;
    }
    if (cublas->heuristic(cublas->handle, r->desc, r->left, r->right, r->out, r->out, r->prefer, 1,
                          &result, &found) != CUBLAS_STATUS_SUCCESS ||
        found < 1 || result.state != CUBLAS_STATUS_SUCCESS) {
        return false;
    }
    *ret_algorithm = result.algo;
    return true;
}

/* The shape's plan, made now when it is new. */
static const struct plan *plan_of(struct cublas *cublas, struct request *r,
                                  const struct plan_key *key) {
    struct plan *plan = &cublas->plan[key_place(key)];

    if (plan->state != PLAN_FREE && memcmp(&plan->key, key, sizeof *key) == 0) { return plan; }
    plan->key = *key;
    plan->state = request_ask(cublas, r, key, &plan->algorithm) ? PLAN_READY : PLAN_NONE;
    return plan;
}

bool cuda_product_library(struct cuda_backend *cuda, const struct cuda_product *p) {
    struct cublas *cublas = cuda->cublas;
    struct request request = {};
    const void *a = p->a;
    int a_line = p->a_line;

    assert(!p->b_bf16 || !p->a_turned);
    if (cublas == NULL || p->k == 0) { return false; }
    void *workspace = cuda_scratch(cuda, CUDA_SLOT_LIBRARY, LIBRARY_WORKSPACE);
    if (workspace == NULL) { return true; }
    if (p->b_bf16) {
        a_line = (p->k + 7) / 8 * 8;
        a = cuda_scratch(cuda, CUDA_SLOT_ROWS_IN, (size_t)p->m * (size_t)a_line * sizeof(bf16));
        if (a == NULL) { return true; }
    }
    const struct plan_key key = key_of(p, a, a_line);
    const bool opened = request_open(cublas, &request, p, a_line);
    const struct plan *plan = opened ? plan_of(cublas, &request, &key) : NULL;
    const bool ready = plan != NULL && plan->state == PLAN_READY;
    if (ready) {
        if (p->b_bf16) {
            const struct tensor rows = {const_cast<float *>(p->a), p->m, p->k, p->a_line,
                                        DTYPE_F32};
            cuda_round_rows(cuda, static_cast<bf16 *>(const_cast<void *>(a)), a_line, rows);
        }
        cuda_current(cuda);
        const cublasStatus_t e =
            cublas->matmul(cublas->handle, request.desc, &p->alpha, p->b, request.left, a,
                           request.right, &p->beta, p->c, request.out, p->c, request.out,
                           &plan->algorithm, workspace, LIBRARY_WORKSPACE, cuda->stream);
        if (e != CUBLAS_STATUS_SUCCESS) {
            struct error err = {};
            (void)error_set(&err, STATUS_DEVICE_LOST,
                            "cublasLt: product (%d,%d) over %d: status %d", p->m, p->n, p->k,
                            (int)e);
            cuda_fault(cuda, &err);
        }
    }
    request_close(cublas, &request);
    return ready;
}

#else

bool cuda_product_library(struct cuda_backend *, const struct cuda_product *) {
    return false;
}

#endif
