/* SPDX-License-Identifier: Apache-2.0
 *
 * backend.cu - the CUDA backend as an object: a card opened, failures, scratch, memory.
 *
 * Failure: opening says NOT_FOUND when there is no card, no driver or a card older than sm_80, so
 * that a caller can go on with the CPU. Later an operator's first failure stays here and
 * synchronise returns it. */
#include "kernels/cuda/cuda.h"

#include <stdio.h>
#include <stdlib.h>

extern "C" {
#include "base/memory.h"
}
#include "kernels/cuda/cublas.h"

#define CAPABILITY_MIN 8 /* sm_80: bf16 tensor cores, asynchronous copies */

/* ---- failures -------------------------------------------------------------------------------- */

enum status cuda_status(cudaError_t e) {
    switch (e) {
    case cudaSuccess: return STATUS_OK;
    case cudaErrorMemoryAllocation: return STATUS_NO_MEMORY;
    case cudaErrorInsufficientDriver:
    case cudaErrorNoDevice:
    case cudaErrorInvalidDevice: return STATUS_NOT_FOUND;
    default: return STATUS_DEVICE_LOST;
    }
}

enum status cuda_check(cudaError_t e, const char *call, const char *file, int line,
                       struct error *err) {
    if (e == cudaSuccess) { return STATUS_OK; }
    const char *here = strstr(file, "kernels/cuda/"); /* the path from the root of the tree on */
    return error_set(err, cuda_status(e), "%s:%d: %.200s: %s", here != NULL ? here : file, line,
                     call, cudaGetErrorString(e));
}

void cuda_fault(struct cuda_backend *cuda, const struct error *err) {
    if (cuda->fault.code == STATUS_OK) { cuda->fault = *err; }
}

void cuda_keep(struct cuda_backend *cuda, cudaError_t e, const char *call, const char *file,
               int line) {
    struct error err = {};

    if (cuda_check(e, call, file, line, &err) != STATUS_OK) { cuda_fault(cuda, &err); }
}

enum status cuda_synchronise(struct cuda_backend *cuda, struct error *err) {
    cuda_current(cuda);
    CUDA_KEEP(cuda, cudaStreamSynchronize(cuda->stream));
    if (cuda->fault.code == STATUS_OK) { return STATUS_OK; }
    enum status status = error_set(err, cuda->fault.code, "%s", cuda->fault.text);
    cuda->fault = error{};
    return status;
}

/* ---- scratch --------------------------------------------------------------------------------- */

void *cuda_scratch(struct cuda_backend *cuda, enum cuda_slot slot, size_t bytes) {
    struct error err = {};

    assert(slot < CUDA_SLOT_COUNT);
    if (cuda->fault.code != STATUS_OK) { return NULL; }
    if (cuda->slot[slot] != NULL && bytes <= cuda->slot_bytes[slot]) { return cuda->slot[slot]; }
    cuda_memory_give(cuda, cuda->slot[slot]);
    cuda->slot[slot] = NULL;
    cuda->slot_bytes[slot] = 0;
    size_t rounded = bytes + bytes / 4 + 1; /* a quarter more: row counts creep up, then stay */
    if (cuda_memory_take(cuda, rounded, &cuda->slot[slot], &err) != STATUS_OK) {
        (void)error_wrap(&err, "scratch of an operator");
        cuda_fault(cuda, &err);
        return NULL;
    }
    cuda->slot_bytes[slot] = rounded;
    return cuda->slot[slot];
}

/* ---- table: memory --------------------------------------------------------------------------- */

static enum status table_memory_take(struct backend *be, size_t bytes, void **ret_memory,
                                     struct error *err) {
    return cuda_memory_take(cuda_of(be), bytes, ret_memory, err);
}

static void table_memory_give(struct backend *be, void *memory) {
    cuda_memory_give(cuda_of(be), memory);
}

static enum status synchronise(struct backend *be, struct error *err) {
    return cuda_synchronise(cuda_of(be), err);
}

static enum status upload(struct backend *be, struct tensor dst, const void *host,
                          struct error *err) {
    size_t bytes = dtype_bytes(dst.dtype);

    return cuda_stage_write(cuda_of(be), dst.data, (size_t)dst.stride * bytes, host,
                            (size_t)dst.cols * bytes, (size_t)dst.rows, err);
}

static enum status download(struct backend *be, void *host, struct tensor src, struct error *err) {
    size_t bytes = dtype_bytes(src.dtype);

    return cuda_stage_read(cuda_of(be), host, src.data, (size_t)src.stride * bytes,
                           (size_t)src.cols * bytes, (size_t)src.rows, err);
}

static void cuda_free(struct backend *be) {
    struct cuda_backend *cuda = cuda_of(be);

    if (cuda == NULL) { return; }
    cuda_current(cuda);
    if (cuda->stream != NULL) { (void)cudaStreamSynchronize(cuda->stream); /* it ends anyway */ }
    cuda_cublas_close(cuda);
    cuda_stage_close(cuda);
    cuda_pool_close(cuda); /* and with it the scratch */
    if (cuda->stream != NULL) { (void)cudaStreamDestroy(cuda->stream); }
    memory_free(cuda);
}

/* ---- opening --------------------------------------------------------------------------------- */

/* What the card is, for the profile. */
struct card {
    int count, major, minor, runtime, driver;
};

static enum status card_ask(struct cuda_backend *cuda, struct card *ret_card, struct error *err) {
    struct card card = {};

    enum status status = CUDA_TRY(cudaGetDeviceCount(&card.count), err);
    if (status == STATUS_OK && cuda->device >= card.count) {
        return error_set(err, STATUS_NOT_FOUND, "device %d of %d", cuda->device, card.count);
    }
    if (status == STATUS_OK) { status = CUDA_TRY(cudaSetDevice(cuda->device), err); }
    if (status == STATUS_OK) {
        status = CUDA_TRY(
            cudaDeviceGetAttribute(&card.major, cudaDevAttrComputeCapabilityMajor, cuda->device),
            err);
    }
    if (status == STATUS_OK) {
        status = CUDA_TRY(
            cudaDeviceGetAttribute(&card.minor, cudaDevAttrComputeCapabilityMinor, cuda->device),
            err);
    }
    if (status == STATUS_OK) {
        status = CUDA_TRY(cudaDeviceGetAttribute(&cuda->multiprocessors,
                                                 cudaDevAttrMultiProcessorCount, cuda->device),
                          err);
    }
    if (status == STATUS_OK) { status = CUDA_TRY(cudaRuntimeGetVersion(&card.runtime), err); }
    if (status == STATUS_OK) { status = CUDA_TRY(cudaDriverGetVersion(&card.driver), err); }
    if (status == STATUS_OK && card.major < CAPABILITY_MIN) {
        return error_set(err, STATUS_NOT_FOUND, "device %d is sm_%d%d, at least sm_%d0 is needed",
                         cuda->device, card.major, card.minor, CAPABILITY_MIN);
    }
    *ret_card = card;
    return status;
}

static void profile_write(struct cuda_backend *cuda, const struct card *card) {
    char products[48];

    cuda_cublas_describe(cuda, products, sizeof products);
    (void)snprintf(cuda->base.profile, sizeof cuda->base.profile,
                   "cuda sm_%d%d multiprocessors=%d runtime=%d driver=%d products=%s", card->major,
                   card->minor, cuda->multiprocessors, card->runtime, card->driver,
                   products); /* cut at the end when too long */
}

extern "C" enum status backend_cuda_new(int device, struct backend **ret_backend,
                                        struct error *err) {
    const char *sync = getenv("ILORA_CUDA_SYNC");
    struct card card = {};

    assert(device >= 0);
    struct cuda_backend *cuda = MEMORY_TAKE_ARRAY(struct cuda_backend, 1);
    if (cuda == NULL) { return error_set(err, STATUS_NO_MEMORY, "CUDA backend"); }
    cuda->device = device;
    cuda->wait_each = sync != NULL && strcmp(sync, "1") == 0;
    cuda_table(&cuda->ops);
    cuda->ops.name = "cuda";
    cuda->ops.memory_take = table_memory_take;
    cuda->ops.memory_give = table_memory_give;
    cuda->ops.upload = upload;
    cuda->ops.download = download;
    cuda->ops.synchronise = synchronise;
    cuda->ops.free = cuda_free;
    cuda->base.ops = &cuda->ops;
    cuda->base.threads = 1;

    enum status status = card_ask(cuda, &card, err);
    if (status == STATUS_OK) {
        status = CUDA_TRY(cudaStreamCreateWithFlags(&cuda->stream, cudaStreamNonBlocking), err);
    }
    if (status == STATUS_OK) { status = cuda_pool_open(cuda, err); }
    if (status == STATUS_OK) { status = cuda_stage_open(cuda, err); }
    if (status == STATUS_OK) { status = cuda_cublas_open(cuda, err); }
    if (status != STATUS_OK) {
        cuda_free(&cuda->base);
        return error_wrap(err, "CUDA backend");
    }
    profile_write(cuda, &card);
    *ret_backend = &cuda->base;
    return STATUS_OK;
}

extern "C" enum status backend_cuda_memory(struct backend *be, size_t *ret_free, size_t *ret_total,
                                           struct error *err) {
    size_t free_bytes = 0, total_bytes = 0;

    cuda_current(cuda_of(be));
    enum status status = CUDA_TRY(cudaMemGetInfo(&free_bytes, &total_bytes), err);
    if (status != STATUS_OK) { return status; }
    *ret_free = free_bytes;
    *ret_total = total_bytes;
    return STATUS_OK;
}
