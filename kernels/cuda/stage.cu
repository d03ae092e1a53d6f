/* SPDX-License-Identifier: Apache-2.0
 *
 * stage.cu - pinned host memory between the host's bytes and the device's.
 *
 *   write: host ──▸ half 0 ──copy──▸ device        the host fills half 1 while half 0 is copied
 *               └─▸ half 1 ──copy──▸ device        an event per half says when it is free again
 *   pass:  host ──▸ │ pinned ring │ ──copy──▸ │ device ring │      waits only after a round
 */
#include "kernels/cuda/cuda.h"

extern "C" {
#include "base/memory.h"
}

#define HALF_BYTES ((size_t)4 << 20)
/* an operator may pass three arrays, and the oldest must not be written over */
#define RING_BYTES (4 * CUDA_PASS_BYTES_MAX)
#define RING_ALIGN ((size_t)256)

struct cuda_stage {
    unsigned char *pinned_half[2]; /* owns */
    cudaEvent_t half_free[2];      /* owns */
    unsigned char *pinned_ring;    /* owns */
    unsigned char *ring;           /* owns: device memory */
    size_t ring_used;              /* bytes of this round */
};

static enum status pinned_take(unsigned char **ret_memory, size_t bytes, struct error *err) {
    void *memory = NULL;

    enum status status = CUDA_TRY(cudaHostAlloc(&memory, bytes, cudaHostAllocDefault), err);
    if (status != STATUS_OK) { return error_wrap(err, "%zu bytes of pinned memory", bytes); }
    *ret_memory = static_cast<unsigned char *>(memory);
    return STATUS_OK;
}

enum status cuda_stage_open(struct cuda_backend *cuda, struct error *err) {
    enum status status = STATUS_OK;
    void *ring = NULL;

    struct cuda_stage *stage = MEMORY_TAKE_ARRAY(struct cuda_stage, 1);
    if (stage == NULL) { return error_set(err, STATUS_NO_MEMORY, "staging memory"); }
    cuda->stage = stage;
    for (int side = 0; side < 2 && status == STATUS_OK; side++) {
        status = pinned_take(&stage->pinned_half[side], HALF_BYTES, err);
        if (status != STATUS_OK) { break; }
        status = CUDA_TRY(cudaEventCreateWithFlags(&stage->half_free[side], cudaEventDisableTiming),
                          err);
    }
    if (status == STATUS_OK) { status = pinned_take(&stage->pinned_ring, RING_BYTES, err); }
    if (status == STATUS_OK) { status = CUDA_TRY(cudaMalloc(&ring, RING_BYTES), err); }
    if (status != STATUS_OK) { return error_wrap(err, "staging memory"); }
    stage->ring = static_cast<unsigned char *>(ring);
    return STATUS_OK;
}

/* Results are dropped: the context ends, or has ended. */
void cuda_stage_close(struct cuda_backend *cuda) {
    struct cuda_stage *stage = cuda->stage;

    if (stage == NULL) { return; }
    for (int side = 0; side < 2; side++) {
        if (stage->pinned_half[side] != NULL) { (void)cudaFreeHost(stage->pinned_half[side]); }
        if (stage->half_free[side] != NULL) { (void)cudaEventDestroy(stage->half_free[side]); }
    }
    if (stage->pinned_ring != NULL) { (void)cudaFreeHost(stage->pinned_ring); }
    if (stage->ring != NULL) { (void)cudaFree(stage->ring); }
    memory_free(stage);
    cuda->stage = NULL;
}

/* ---- rows in pieces of at most half a stage -------------------------------------------------- */

struct rows {
    unsigned char *device;
    size_t pitch;        /* bytes from row to row on the device */
    unsigned char *host; /* dense; only read when writing to the device */
    size_t row_bytes, rows;
};

struct chunk {
    unsigned char *device, *host;
    size_t width, height; /* bytes of each row, rows */
    size_t pitch;         /* bytes from row to row on the device */
};

static size_t chunk_count(const struct rows *r) {
    if (r->row_bytes > HALF_BYTES) { return cuda_pieces(r->row_bytes, HALF_BYTES) * r->rows; }
    return cuda_pieces(r->rows, HALF_BYTES / r->row_bytes);
}

/* Chunk i: whole rows, or a part of one row that is longer than a half. */
static struct chunk chunk_at(const struct rows *r, size_t i) {
    size_t row = 0, offset = 0;
    struct chunk c = {};

    if (r->row_bytes > HALF_BYTES) {
        size_t parts = cuda_pieces(r->row_bytes, HALF_BYTES);
        row = i / parts;
        offset = i % parts * HALF_BYTES;
        c.width = r->row_bytes - offset < HALF_BYTES ? r->row_bytes - offset : HALF_BYTES;
        c.height = 1;
    } else {
        size_t rows = HALF_BYTES / r->row_bytes;
        row = i * rows;
        c.width = r->row_bytes;
        c.height = r->rows - row < rows ? r->rows - row : rows;
    }
    c.pitch = c.height > 1 ? r->pitch : c.width;
    c.device = r->device + row * r->pitch + offset;
    c.host = r->host + row * r->row_bytes + offset;
    return c;
}

/* Waits until what was copied through a half has arrived. */
static enum status half_wait(const struct cuda_stage *stage, size_t side, struct error *err) {
    return CUDA_TRY(cudaEventSynchronize(stage->half_free[side]), err);
}

/* Enqueues the copy of a chunk between the device and a half, and the event behind it. */
static enum status chunk_move(struct cuda_backend *cuda, const struct chunk *c, size_t side,
                              bool to_device, struct error *err) {
    struct cuda_stage *stage = cuda->stage;
    void *pinned = stage->pinned_half[side];
    enum status status;

    if (to_device) {
        status = CUDA_TRY(cudaMemcpy2DAsync(c->device, c->pitch, pinned, c->width, c->width,
                                            c->height, cudaMemcpyHostToDevice, cuda->stream),
                          err);
    } else {
        status = CUDA_TRY(cudaMemcpy2DAsync(pinned, c->width, c->device, c->pitch, c->width,
                                            c->height, cudaMemcpyDeviceToHost, cuda->stream),
                          err);
    }
    if (status != STATUS_OK) { return status; }
    return CUDA_TRY(cudaEventRecord(stage->half_free[side], cuda->stream), err);
}

static enum status rows_write(struct cuda_backend *cuda, const struct rows *r, struct error *err) {
    size_t count = chunk_count(r);

    for (size_t i = 0; i < count; i++) {
        struct chunk c = chunk_at(r, i);
        if (i >= 2) {
            enum status waited = half_wait(cuda->stage, i % 2, err);
            if (waited != STATUS_OK) { return waited; }
        }
        memcpy(cuda->stage->pinned_half[i % 2], c.host, c.width * c.height);
        enum status status = chunk_move(cuda, &c, i % 2, true, err);
        if (status != STATUS_OK) { return status; }
    }
    return STATUS_OK;
}

static enum status chunk_take_in(struct cuda_backend *cuda, const struct rows *r, size_t i,
                                 struct error *err) {
    struct chunk c = chunk_at(r, i);

    enum status status = half_wait(cuda->stage, i % 2, err);
    if (status != STATUS_OK) { return status; }
    memcpy(c.host, cuda->stage->pinned_half[i % 2], c.width * c.height);
    return STATUS_OK;
}

static enum status rows_read(struct cuda_backend *cuda, const struct rows *r, struct error *err) {
    size_t count = chunk_count(r);
    enum status status = STATUS_OK;

    for (size_t i = 0; i <= count && status == STATUS_OK; i++) {
        struct chunk c = {};
        if (i < count) {
            c = chunk_at(r, i);
            status = chunk_move(cuda, &c, i % 2, false, err);
        }
        if (i > 0 && status == STATUS_OK) { status = chunk_take_in(cuda, r, i - 1, err); }
    }
    return status;
}

enum status cuda_stage_write(struct cuda_backend *cuda, void *device, size_t pitch,
                             const void *host, size_t row_bytes, size_t rows, struct error *err) {
    unsigned char *bytes = static_cast<unsigned char *>(const_cast<void *>(host)); /* only read */
    const struct rows r = {static_cast<unsigned char *>(device), pitch, bytes, row_bytes, rows};

    cuda_current(cuda);
    if (rows > 0 && row_bytes > 0) {
        enum status status = rows_write(cuda, &r, err);
        if (status != STATUS_OK) {
            (void)cudaStreamSynchronize(cuda->stream); /* nothing may still read the halves */
            return error_wrap(err, "copying %zu rows to the device", rows);
        }
    }
    return cuda_synchronise(cuda, err);
}

enum status cuda_stage_read(struct cuda_backend *cuda, void *host, const void *device, size_t pitch,
                            size_t row_bytes, size_t rows, struct error *err) {
    void *memory = const_cast<void *>(device); /* only read */
    const struct rows r = {static_cast<unsigned char *>(memory), pitch,
                           static_cast<unsigned char *>(host), row_bytes, rows};

    cuda_current(cuda);
    enum status status = cuda_synchronise(cuda, err);
    if (status != STATUS_OK) { return status; }
    if (rows > 0 && row_bytes > 0) {
        status = rows_read(cuda, &r, err);
        if (status != STATUS_OK) {
            (void)cudaStreamSynchronize(cuda->stream); /* nothing may still write the halves */
            return error_wrap(err, "copying %zu rows from the device", rows);
        }
    }
    return STATUS_OK;
}

enum status cuda_write(struct cuda_backend *cuda, void *device, const void *host, size_t bytes,
                       struct error *err) {
    return cuda_stage_write(cuda, device, bytes, host, bytes, 1, err);
}

enum status cuda_read(struct cuda_backend *cuda, void *host, const void *device, size_t bytes,
                      struct error *err) {
    return cuda_stage_read(cuda, host, device, bytes, bytes, 1, err);
}

/* ---- small arrays for kernels ---------------------------------------------------------------- */

const void *cuda_pass(struct cuda_backend *cuda, const void *host, size_t bytes) {
    struct cuda_stage *stage = cuda->stage;
    cudaError_t e = cudaSuccess;

    assert(bytes <= CUDA_PASS_BYTES_MAX);
    if (cuda->fault.code != STATUS_OK) { return NULL; }
    cuda_current(cuda);
    if (stage->ring_used + bytes > RING_BYTES) {
        e = cudaStreamSynchronize(cuda->stream);
        stage->ring_used = 0;
    }
    unsigned char *pinned = stage->pinned_ring + stage->ring_used;
    unsigned char *device = stage->ring + stage->ring_used;
    memcpy(pinned, host, bytes);
    if (e == cudaSuccess) {
        e = cudaMemcpyAsync(device, pinned, bytes, cudaMemcpyHostToDevice, cuda->stream);
    }
    if (e != cudaSuccess) {
        CUDA_KEEP(cuda, e);
        return NULL;
    }
    stage->ring_used += (bytes + RING_ALIGN - 1) / RING_ALIGN * RING_ALIGN;
    return device;
}
