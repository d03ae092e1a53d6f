/* SPDX-License-Identifier: Apache-2.0
 *
 * onednn_engine.c - products with packed matrices by oneDNN's matmul primitive.
 *
 * A primitive is made for one number of rows and making one takes milliseconds, but a step has any
 * number. So rows are cut greedily into pieces from a short list, and only the last piece, of fewer
 * than 16 rows, goes through a padded copy:
 *
 *   3,280 rows = 3,072 + 192 + 16          100 rows = 96 + (4, padded to 16)
 *
 * At most 16 primitives per matrix shape then exist; they are kept in a cache with a bound.
 * bf16: rows are rounded into a scratch buffer first, the output is f32.
 *
 * The library gets its team from OpenMP: the calling thread's team size is set around each call. */
#include "kernels/cpu/engine.h"

#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "kernels/cpu/onednn.h"
#include "kernels/cpu/plain_packed.h"

/* Rows of a primitive. Each is 4/3 or 3/2 of the one before: a cut leaves at most a third. */
static const int piece_rows[] = {4096, 3072, 2048, 1536, 1024, 768, 512, 384,
                                 256,  192,  128,  96,   64,   48,  32,  16};
#define PIECE_COUNT    ((int)(sizeof piece_rows / sizeof piece_rows[0]))
#define PIECE_ROWS_MIN 16

/* Packing is asked for with this many rows: what a training micro-batch has at least. */
#define PACK_ROWS 256

/* A matrix of fewer numbers is multiplied by own loops: below it, the library's fixed cost per call
 * (about 5 us) is more than the product of 64 rows. */
#define PACKED_NUMBERS_MIN 8192

/* Primitives kept. A Llama has 4 matrix shapes in two directions, at most 16 row counts each. */
#define CACHE_ENTRIES 256

struct product_key {
    int rows, k, n;
    int src_stride, dst_stride;
    dnnl_data_type_t type;
    bool accumulate;
};

struct cache_entry {
    struct product_key key;
    struct onednn_matmul matmul; /* owns */
    uint64_t used_at;            /* call number of the last use; 0: empty */
};

struct engine {
    struct cpu_backend *cpu; /* borrows: until engine_close */
    struct onednn_device device;
    struct cache_entry cache[CACHE_ENTRIES];
    uint64_t calls;
};

struct packed {
    struct plain_packed plain; /* owns; used when `layout` was not made */
    struct onednn_layout layout;
    void *data;           /* owns: the packed numbers */
    dnnl_memory_t memory; /* owns */
    int k, n;
    enum precision precision;
};

bool backend_cpu_has_bf16(void) {
    return onednn_has_bf16();
}

/* Sets the OpenMP team of this thread and returns what it was. */
static int team_enter(int threads) {
#ifdef _OPENMP
    int before = omp_get_max_threads();
    omp_set_num_threads(threads);
    return before;
#else
    return threads;
#endif
}

static void team_leave(int before) {
#ifdef _OPENMP
    omp_set_num_threads(before);
#else
    (void)before;
#endif
}

enum status engine_open(struct cpu_backend *cpu, struct engine **ret_engine, struct error *err) {
    void *memory = NULL;

    enum status status = cpu_memory_take(sizeof(struct engine), &memory, err);
    if (status != STATUS_OK) { return error_wrap(err, "products"); }
    struct engine *engine = memory;
    engine->cpu = cpu;
    status = onednn_device_open(&engine->device, err);
    if (status != STATUS_OK) {
        memory_free(engine);
        return error_wrap(err, "products");
    }
    *ret_engine = engine;
    return STATUS_OK;
}

void engine_close(struct engine *engine) {
    if (engine == NULL) { return; }
    for (int i = 0; i < CACHE_ENTRIES; i++) {
        onednn_matmul_free(&engine->cache[i].matmul);
    }
    onednn_device_close(&engine->device);
    memory_free(engine);
}

void engine_describe(const struct engine *engine, char *text, size_t text_bytes) {
    (void)engine;
    onednn_describe(text, text_bytes);
}

/* ---- packing --------------------------------------------------------------------------------- */

static dnnl_data_type_t packed_type(enum precision precision) {
    return precision == PRECISION_BF16 ? dnnl_bf16 : dnnl_f32;
}

/* True when the library multiplies such a matrix by its packed kernels ("brg:..." in 2.x and
 * "brg_matmul:..." in 3.x). Its other ones (gemm, reference) give a row other bits at another place
 * or with another team, and at f32 they are no faster than product.c (BENCHMARKS.md). */
static enum status kernel_is_packed(struct engine *engine, const struct packed *packed,
                                    struct error *err) {
    struct onednn_matmul matmul;

    enum status status = onednn_matmul_make(&matmul, &engine->device, PACK_ROWS, packed->k,
                                            packed->n, packed_type(packed->precision), packed->k,
                                            packed->n, &packed->layout, false, err);
    if (status != STATUS_OK) { return status; }
    const char *kernel = onednn_matmul_kernel(&matmul);
    if (strncmp(kernel, "brg", 3) != 0) {
        status = error_set(err, STATUS_MALFORMED, "oneDNN would use '%s'", kernel);
    }
    onednn_matmul_free(&matmul);
    return status;
}

/* Packs w into the library's own layout. MALFORMED: it has no such product on this CPU. */
static enum status library_pack(struct engine *engine, const float *w, int I, bool backward,
                                struct packed *packed, struct error *err) {
    struct onednn_layout plain = {0};
    /* w is (O,I): as (k,n) it is read along its columns forward, along its rows backward */
    int row_stride = backward ? I : 1, col_stride = backward ? 1 : I;

    enum status status =
        onednn_layout_packed(&packed->layout, &engine->device, PACK_ROWS, packed->k, packed->n,
                             packed_type(packed->precision), err);
    if (status == STATUS_OK) { status = kernel_is_packed(engine, packed, err); }
    if (status != STATUS_OK) { return status; }
    status =
        onednn_layout_strided(&plain, packed->k, packed->n, dnnl_f32, row_stride, col_stride, err);
    if (status != STATUS_OK) { return status; }
    status = cpu_memory_take(onednn_layout_bytes(&packed->layout), &packed->data, err);
    if (status != STATUS_OK) { goto end; }
    status = onednn_reorder(&engine->device, &plain, w, &packed->layout, packed->data, err);
    if (status != STATUS_OK) { goto end; }
    status =
        onednn_memory_make(&packed->memory, &engine->device, &packed->layout, packed->data, err);

end:
    onednn_layout_free(&plain);
    return status;
}

/* Gives back what library_pack made, all or half. */
static void library_unpack(struct packed *packed) {
    if (packed->memory != NULL) { (void)dnnl_memory_destroy(packed->memory); /* nothing to do */ }
    packed->memory = NULL;
    memory_free(packed->data);
    packed->data = NULL;
    onednn_layout_free(&packed->layout);
}

enum status packed_make(struct engine *engine, const float *w, int O, int I, bool backward,
                        enum precision precision, struct packed **ret_packed, struct error *err) {
    void *memory = NULL;
    bool plain = (size_t)O * (size_t)I < PACKED_NUMBERS_MIN;

    enum status status = cpu_memory_take(sizeof(struct packed), &memory, err);
    if (status != STATUS_OK) { return status; }
    struct packed *packed = memory;
    packed->k = backward ? O : I;
    packed->n = backward ? I : O;
    packed->precision = precision;
    if (!plain) {
        int team = team_enter(engine->cpu->base.threads);
        status = library_pack(engine, w, I, backward, packed, err);
        team_leave(team);
        plain = status == STATUS_MALFORMED;
        if (status != STATUS_OK) { library_unpack(packed); }
    }
    if (plain) {
        status = plain_packed_make(engine->cpu, w, O, I, backward, precision, &packed->plain, err);
    }
    if (status != STATUS_OK) {
        memory_free(packed);
        return status;
    }
    *ret_packed = packed;
    return STATUS_OK;
}

void packed_free(struct packed *packed) {
    if (packed == NULL) { return; }
    library_unpack(packed);
    plain_packed_free(&packed->plain);
    memory_free(packed);
}

size_t packed_bytes(const struct packed *packed) {
    size_t bytes = packed->layout.made ? onednn_layout_bytes(&packed->layout)
                                       : plain_packed_bytes(&packed->plain);

    return sizeof *packed + bytes;
}

/* ---- products -------------------------------------------------------------------------------- */

static bool key_equal(const struct product_key *a, const struct product_key *b) {
    return a->rows == b->rows && a->k == b->k && a->n == b->n && a->src_stride == b->src_stride &&
           a->dst_stride == b->dst_stride && a->type == b->type && a->accumulate == b->accumulate;
}

/* The primitive of a key, made when it is not there; the one unused longest makes room. */
static enum status cache_find(struct engine *engine, const struct product_key *key,
                              const struct onednn_layout *weights,
                              const struct onednn_matmul **ret_matmul, struct error *err) {
    struct cache_entry *oldest = &engine->cache[0];

    engine->calls++;
    for (int i = 0; i < CACHE_ENTRIES; i++) {
        struct cache_entry *entry = &engine->cache[i];
        if (entry->used_at != 0 && key_equal(&entry->key, key)) {
            entry->used_at = engine->calls;
            *ret_matmul = &entry->matmul;
            return STATUS_OK;
        }
        if (entry->used_at < oldest->used_at) { oldest = entry; }
    }
    onednn_matmul_free(&oldest->matmul);
    oldest->used_at = 0;
    enum status status =
        onednn_matmul_make(&oldest->matmul, &engine->device, key->rows, key->k, key->n, key->type,
                           key->src_stride, key->dst_stride, weights, key->accumulate, err);
    if (status != STATUS_OK) {
        return error_wrap(err, "product of %d rows with (%d,%d)", key->rows, key->k, key->n);
    }
    oldest->key = *key;
    oldest->used_at = engine->calls;
    *ret_matmul = &oldest->matmul;
    return STATUS_OK;
}

/* One piece: rows of piece_rows. src has the packed matrix's type. */
static enum status piece_multiply(struct engine *engine, const struct packed *packed, int rows,
                                  float *dst, int dst_stride, const void *src, int src_stride,
                                  bool accumulate, struct error *err) {
    const struct product_key key = {rows,       packed->k,  packed->n,
                                    src_stride, dst_stride, packed_type(packed->precision),
                                    accumulate};
    const struct onednn_matmul *matmul = NULL;

    enum status status = cache_find(engine, &key, &packed->layout, &matmul, err);
    if (status != STATUS_OK) { return status; }
    return onednn_matmul_run(matmul, &engine->device, src, packed->memory, dst, err);
}

/* The last rows (fewer than 16) through padded copies. src holds 16 rows, the missing ones 0. */
static enum status tail_multiply(struct engine *engine, const struct packed *packed,
                                 struct tensor y, const void *src, bool accumulate,
                                 struct error *err) {
    struct backend *be = &engine->cpu->base;
    size_t bytes = (size_t)PIECE_ROWS_MIN * (size_t)packed->n * sizeof(float);

    float *padded = cpu_scratch(engine->cpu, SCRATCH_ROWS_OUT, bytes);
    if (padded == NULL) { return STATUS_OK; /* the fault is kept */ }
    enum status status = piece_multiply(engine, packed, PIECE_ROWS_MIN, padded, packed->n, src,
                                        packed->k, false, err);
    if (status != STATUS_OK) { return status; }
    struct tensor result = tensor_over(padded, DTYPE_F32, y.rows, y.cols);
    be->ops->axpby(be, y, 1.0f, result, accumulate ? 1.0f : 0.0f);
    return STATUS_OK;
}

/* 16 rows of the type of the packed matrix, the last rows of x and zeros; NULL: no memory. */
static const void *tail_source(struct engine *engine, const struct packed *packed,
                               struct tensor x) {
    struct cpu_backend *cpu = engine->cpu;
    size_t numbers = (size_t)PIECE_ROWS_MIN * (size_t)packed->k;

    float *padded = cpu_scratch(cpu, SCRATCH_ROWS_IN, numbers * sizeof(float));
    if (padded == NULL) { return NULL; }
    memset(padded, 0, numbers * sizeof *padded);
    for (int n = 0; n < x.rows; n++) {
        memcpy(padded + (size_t)n * (size_t)packed->k, row_f32(x, n),
               (size_t)packed->k * sizeof *padded);
    }
    return padded;
}

static enum status rows_multiply(struct engine *engine, const struct packed *packed,
                                 struct tensor y, const void *src, int src_stride, size_t src_size,
                                 bool accumulate, struct error *err) {
    int at = 0;

    for (int i = 0; i < PIECE_COUNT; i++) {
        while (y.rows - at >= piece_rows[i]) {
            const unsigned char *from =
                (const unsigned char *)src + (size_t)at * (size_t)src_stride * src_size;
            enum status status = piece_multiply(engine, packed, piece_rows[i], row_f32(y, at),
                                                y.stride, from, src_stride, accumulate, err);
            if (status != STATUS_OK) { return status; }
            at += piece_rows[i];
        }
    }
    return STATUS_OK;
}

static enum status multiply(struct engine *engine, const struct packed *packed, struct tensor y,
                            struct tensor x, bool accumulate, struct error *err) {
    struct cpu_backend *cpu = engine->cpu;
    int tail = y.rows % PIECE_ROWS_MIN, whole = y.rows - tail;
    const void *src = x.data, *tail_src = NULL;
    int src_stride = x.stride;
    size_t src_size = sizeof(float);

    if (packed->precision == PRECISION_BF16) {
        int padded = whole + (tail > 0 ? PIECE_ROWS_MIN : 0);
        src_size = sizeof(uint16_t);
        src_stride = packed->k;
        uint16_t *rounded =
            cpu_scratch(cpu, SCRATCH_ROWS_IN, (size_t)padded * (size_t)packed->k * src_size);
        if (rounded == NULL) { return STATUS_OK; /* the fault is kept */ }
        cpu->loops.to_bf16(rounded, x.data, x.stride, y.rows, packed->k, padded, cpu->base.threads);
        src = rounded;
        tail_src = rounded + (size_t)whole * (size_t)packed->k;
    }
    struct tensor y_whole = tensor_rows(y, 0, whole);
    enum status status =
        rows_multiply(engine, packed, y_whole, src, src_stride, src_size, accumulate, err);
    if (status != STATUS_OK || tail == 0) { return status; }
    if (tail_src == NULL) {
        tail_src = tail_source(engine, packed, tensor_rows(x, whole, tail));
        if (tail_src == NULL) { return STATUS_OK; /* the fault is kept */ }
    }
    return tail_multiply(engine, packed, tensor_rows(y, whole, tail), tail_src, accumulate, err);
}

void packed_multiply(struct engine *engine, const struct packed *packed, struct tensor y,
                     struct tensor x, bool accumulate) {
    struct error err = {0};

    if (!packed->layout.made) {
        plain_packed_multiply(engine->cpu, &packed->plain, y, x, accumulate);
        return;
    }
    int team = team_enter(engine->cpu->base.threads);
    if (multiply(engine, packed, y, x, accumulate, &err) != STATUS_OK) {
        cpu_fault(engine->cpu, &err);
    }
    team_leave(team);
}
