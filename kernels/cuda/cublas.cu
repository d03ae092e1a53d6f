/* SPDX-License-Identifier: Apache-2.0
 *
 * cublas.cu - finds cublasLt on the machine; see cublas.h. */
#include "kernels/cuda/cublas.h"

#include <stdio.h>

#ifdef __CUDACC__
#include <dlfcn.h>

extern "C" {
#include "base/memory.h"
}

/* The major version is the compiler's: an older or newer library has another binary interface. */
#define LIBRARY_NAME "libcublasLt.so.13"
static_assert(CUBLAS_VER_MAJOR == 13, "the name above and the header must agree");

struct symbol {
    const char *name;
    size_t offset; /* of the pointer in struct cublas */
};

static const struct symbol symbols[] = {
    {"cublasLtGetVersion", offsetof(struct cublas, get_version)},
    {"cublasLtCreate", offsetof(struct cublas, create)},
    {"cublasLtDestroy", offsetof(struct cublas, destroy)},
    {"cublasLtMatmul", offsetof(struct cublas, matmul)},
    {"cublasLtMatmulDescCreate", offsetof(struct cublas, desc_create)},
    {"cublasLtMatmulDescDestroy", offsetof(struct cublas, desc_destroy)},
    {"cublasLtMatmulDescSetAttribute", offsetof(struct cublas, desc_set)},
    {"cublasLtMatrixLayoutCreate", offsetof(struct cublas, layout_create)},
    {"cublasLtMatrixLayoutDestroy", offsetof(struct cublas, layout_destroy)},
    {"cublasLtMatrixLayoutSetAttribute", offsetof(struct cublas, layout_set)},
    {"cublasLtMatmulPreferenceCreate", offsetof(struct cublas, preference_create)},
    {"cublasLtMatmulPreferenceDestroy", offsetof(struct cublas, preference_destroy)},
    {"cublasLtMatmulPreferenceSetAttribute", offsetof(struct cublas, preference_set)},
    {"cublasLtMatmulAlgoGetHeuristic", offsetof(struct cublas, heuristic)},
};

/* False when the library lacks one of the functions. */
static bool symbols_find(struct cublas *cublas) {
    for (const struct symbol &s : symbols) {
        void *function = dlsym(cublas->library, s.name);
        if (function == NULL) { return false; }
        memcpy(reinterpret_cast<unsigned char *>(cublas) + s.offset, &function, sizeof function);
    }
    return true;
}

enum status cuda_cublas_open(struct cuda_backend *cuda, struct error *err) {
    struct cublas *cublas = MEMORY_TAKE_ARRAY(struct cublas, 1);

    if (cublas == NULL) { return error_set(err, STATUS_NO_MEMORY, "cublasLt"); }
    cublas->library = dlopen(LIBRARY_NAME, RTLD_NOW | RTLD_LOCAL);
    if (cublas->library == NULL || !symbols_find(cublas)) {
        if (cublas->library != NULL) { (void)dlclose(cublas->library); }
        memory_free(cublas);
        return STATUS_OK;
    }
    cublasStatus_t e = cublas->create(&cublas->handle);
    if (e != CUBLAS_STATUS_SUCCESS) {
        (void)dlclose(cublas->library);
        memory_free(cublas);
        return error_set(err,
                         e == CUBLAS_STATUS_ALLOC_FAILED ? STATUS_NO_MEMORY : STATUS_DEVICE_LOST,
                         "%s does not start: status %d", LIBRARY_NAME, (int)e);
    }
    cublas->version = cublas->get_version();
    cuda->cublas = cublas;
    return STATUS_OK;
}

void cuda_cublas_close(struct cuda_backend *cuda) {
    if (cuda->cublas == NULL) { return; }
    (void)cuda->cublas->destroy(cuda->cublas->handle); /* the context ends with it */
    (void)dlclose(cuda->cublas->library);
    memory_free(cuda->cublas);
    cuda->cublas = NULL;
}

void cuda_cublas_describe(const struct cuda_backend *cuda, char *text, size_t text_bytes) {
    if (cuda->cublas == NULL) {
        (void)snprintf(text, text_bytes, "own");
    } else {
        (void)snprintf(text, text_bytes, "cublasLt-%zu", cuda->cublas->version);
    }
}

#else

enum status cuda_cublas_open(struct cuda_backend *, struct error *) {
    return STATUS_OK;
}

void cuda_cublas_close(struct cuda_backend *) {}

void cuda_cublas_describe(const struct cuda_backend *, char *text, size_t text_bytes) {
    (void)snprintf(text, text_bytes, "own");
}

#endif
