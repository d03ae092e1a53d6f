/* SPDX-License-Identifier: Apache-2.0
 *
 * pool.cu - device memory: few large slabs from the driver, many pieces from the slabs.
 *
 *   slab 0  │ piece │ free │ piece │ piece │        free          │  256 MiB, or what a piece needs
 *   slab 1  │             piece             │
 *
 * First fit, neighbours that are free become one. Slabs stay until the backend ends, so once a
 * model is loaded no operator and no tensor calls the driver. A piece given back is reused at
 * once: all work runs on one stream, so what reads it was enqueued before.
 *
 * ILORA_CUDA_SLAB_BYTES names another size; 0 gives each piece a slab of its own that goes with it,
 * so that memory checkers see where a tensor ends. */
#include "kernels/cuda/cuda.h"

#include <stdlib.h>

extern "C" {
#include "base/memory.h"
}

#define SLAB_BYTES  ((size_t)256 << 20)
#define PIECE_ALIGN ((size_t)256) /* bytes; what cudaMalloc promises */

struct slab {
    struct slab *next;
    unsigned char *memory; /* owns: device memory */
    size_t bytes;
};

/* A stretch of a slab, used or free; the list is ordered within a slab. */
struct piece {
    struct piece *next;
    struct slab *slab;
    unsigned char *start;
    size_t bytes;
    bool used;
};

struct cuda_pool {
    struct slab *slabs;   /* owns */
    struct piece *pieces; /* owns */
    size_t slab_bytes;    /* 0: each piece its own */
};

static size_t slab_bytes_wanted() {
    const char *text = getenv("ILORA_CUDA_SLAB_BYTES");
    size_t bytes = 0;

    if (text == NULL || *text == '\0') { return SLAB_BYTES; }
    for (; *text >= '0' && *text <= '9' && bytes < (SIZE_MAX >> 8); text++) {
        bytes = bytes * 10 + (size_t)(*text - '0');
    }
    return bytes;
}

enum status cuda_pool_open(struct cuda_backend *cuda, struct error *err) {
    cuda->pool = MEMORY_TAKE_ARRAY(struct cuda_pool, 1);
    if (cuda->pool == NULL) { return error_set(err, STATUS_NO_MEMORY, "pool of device memory"); }
    cuda->pool->slab_bytes = slab_bytes_wanted();
    return STATUS_OK;
}

void cuda_pool_close(struct cuda_backend *cuda) {
    if (cuda->pool == NULL) { return; }
    for (struct piece *p = cuda->pool->pieces, *next; p != NULL; p = next) {
        next = p->next;
        memory_free(p);
    }
    for (struct slab *s = cuda->pool->slabs, *next; s != NULL; s = next) {
        next = s->next;
        (void)cudaFree(s->memory); /* the process or the context ends with it */
        memory_free(s);
    }
    memory_free(cuda->pool);
    cuda->pool = NULL;
}

/* A new slab of at least `bytes` as one free piece at the head of the list. */
static enum status slab_add(struct cuda_pool *pool, size_t bytes, struct error *err) {
    void *memory = NULL;
    struct slab *slab = MEMORY_TAKE_ARRAY(struct slab, 1);
    struct piece *piece = MEMORY_TAKE_ARRAY(struct piece, 1);
    enum status status = STATUS_OK;

    bytes = bytes > pool->slab_bytes ? bytes : pool->slab_bytes;
    if (slab == NULL || piece == NULL) {
        status = error_set(err, STATUS_NO_MEMORY, "entry of a slab");
    }
    if (status == STATUS_OK) { status = CUDA_TRY(cudaMalloc(&memory, bytes), err); }
    if (status != STATUS_OK) {
        memory_free(slab);
        memory_free(piece);
        return error_wrap(err, "slab of %zu bytes", bytes);
    }
    slab->memory = static_cast<unsigned char *>(memory);
    slab->bytes = bytes;
    slab->next = pool->slabs;
    pool->slabs = slab;
    piece->slab = slab;
    piece->start = slab->memory;
    piece->bytes = bytes;
    piece->next = pool->pieces;
    pool->pieces = piece;
    return STATUS_OK;
}

static struct piece *piece_free_of(const struct cuda_pool *pool, size_t bytes) {
    for (struct piece *p = pool->pieces; p != NULL; p = p->next) {
        if (!p->used && p->bytes >= bytes) { return p; }
    }
    return NULL;
}

/* Leaves `bytes` in the piece and makes a free one of the rest; false without memory for it. */
static bool piece_split(struct piece *piece, size_t bytes) {
    if (piece->bytes == bytes) { return true; }
    struct piece *rest = MEMORY_TAKE_ARRAY(struct piece, 1);
    if (rest == NULL) { return false; }
    rest->next = piece->next;
    rest->slab = piece->slab;
    rest->start = piece->start + bytes;
    rest->bytes = piece->bytes - bytes;
    piece->next = rest;
    piece->bytes = bytes;
    return true;
}

enum status cuda_memory_take(struct cuda_backend *cuda, size_t bytes, void **ret_memory,
                             struct error *err) {
    struct cuda_pool *pool = cuda->pool;

    assert(bytes > 0);
    if (bytes > SIZE_MAX - PIECE_ALIGN) {
        return error_set(err, STATUS_NO_MEMORY, "%zu bytes", bytes);
    }
    cuda_current(cuda);
    /* alone in its slab a piece ends where it ends: memory checkers look there */
    size_t room =
        pool->slab_bytes == 0 ? bytes : (bytes + PIECE_ALIGN - 1) / PIECE_ALIGN * PIECE_ALIGN;
    struct piece *piece = pool->slab_bytes == 0 ? NULL : piece_free_of(pool, room);
    if (piece == NULL) {
        enum status status = slab_add(pool, room, err);
        if (status != STATUS_OK) { return status; }
        piece = pool->pieces;
    }
    if (!piece_split(piece, room)) { return error_set(err, STATUS_NO_MEMORY, "entry of a piece"); }
    piece->used = true;
    enum status status = CUDA_TRY(cudaMemsetAsync(piece->start, 0, bytes, cuda->stream), err);
    if (status != STATUS_OK) {
        cuda_memory_give(cuda, piece->start);
        return error_wrap(err, "%zu bytes", bytes);
    }
    *ret_memory = piece->start;
    return STATUS_OK;
}

/* The piece takes its right neighbour in when both are free and of one slab. */
static void piece_join(struct piece *piece) {
    struct piece *right = piece->next;

    if (right == NULL || right->slab != piece->slab || piece->used || right->used) { return; }
    piece->bytes += right->bytes;
    piece->next = right->next;
    memory_free(right);
}

/* Ends a slab that is one free piece: `piece`, whose link is `at`. */
static void slab_drop(struct cuda_backend *cuda, struct piece **at) {
    struct piece *piece = *at;
    struct slab **link = &cuda->pool->slabs;

    while (*link != piece->slab) {
        link = &(*link)->next;
    }
    *link = piece->slab->next;
    CUDA_KEEP(cuda, cudaFree(piece->slab->memory));
    memory_free(piece->slab);
    *at = piece->next;
    memory_free(piece);
}

void cuda_memory_give(struct cuda_backend *cuda, void *memory) {
    struct piece **at = &cuda->pool->pieces, *left = NULL;

    if (memory == NULL) { return; }
    while (*at != NULL && ((*at)->start != memory || !(*at)->used)) {
        left = *at;
        at = &(*at)->next;
    }
    assert(*at != NULL);
    struct piece *piece = *at;
    piece->used = false;
    if (cuda->pool->slab_bytes == 0) {
        slab_drop(cuda, at);
        return;
    }
    piece_join(piece);
    if (left != NULL) { piece_join(left); }
}
