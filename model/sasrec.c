/* SPDX-License-Identifier: Apache-2.0
 *
 * sasrec.c - the object: parameters by name in one order, growth of the catalogue, copies.
 *
 * Growth doubles the item-sized tensors (table, its gradient and moments, titles, vectors), so a
 * catalogue of any size costs what it holds, not what it may hold.
 */
#include "model/sasrec.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/bytes.h"
#include "base/memory.h"
#include "base/rng.h"
#include "model/sasrec_rooms.h"

#define CAPACITY_FIRST 1024
#define INIT_STD       0.02        /* normal; BERT4Rec's, and usual for SASRec with cross-entropy */
#define STREAM_WEIGHTS 0x5a5a0000u /* rng stream of parameter i is this + i */
#define STREAM_ITEMS   0x5a5b0000u /* table rows: index = item */

/* ---- parameters ------------------------------------------------------------------------------ */

static const char *const block_names[BLOCK_COUNT] = {
    "norm1.weight", "norm1.bias", "attention.qkv.weight", "attention.out.weight",
    "norm2.weight", "norm2.bias", "ffn1.weight",          "ffn1.bias",
    "ffn2.weight",  "ffn2.bias",
};

static int block_rows(enum sasrec_in_block which, int E) {
    switch (which) {
    case BLOCK_WQKV: return 3 * E;
    case BLOCK_WO:
    case BLOCK_W1:
    case BLOCK_W2: return E;
    case BLOCK_GAIN1:
    case BLOCK_BIAS1:
    case BLOCK_GAIN2:
    case BLOCK_BIAS2:
    case BLOCK_B1:
    case BLOCK_B2:
    case BLOCK_COUNT: break;
    }
    return 1;
}

static bool is_item_sized(int parameter) {
    return parameter == FIXED_TABLE;
}

/* Fills in names and sizes; no memory yet. */
static void sasrec_list(struct sasrec *sasrec) {
    static const char *const fixed_names[FIXED_COUNT] = {"sasrec.items", "sasrec.positions",
                                                         "sasrec.norm.weight", "sasrec.norm.bias"};
    const int E = sasrec->shape.E;

    for (int p = 0; p < FIXED_COUNT; p++) {
        struct sasrec_tensor *tensor = &sasrec->tensor[p];
        (void)snprintf(tensor->name, sizeof tensor->name, "%s", fixed_names[p]);
        tensor->rows = p == FIXED_TABLE ? 0 : p == FIXED_POSITIONS ? sasrec->shape.S : 1;
        tensor->cols = E;
    }
    for (int b = 0; b < sasrec->shape.blocks; b++) {
        for (int w = 0; w < BLOCK_COUNT; w++) {
            struct sasrec_tensor *tensor =
                &sasrec->tensor[sasrec_block_at(b, (enum sasrec_in_block)w)];
            (void)snprintf(tensor->name, sizeof tensor->name, "sasrec.blocks.%d.%s", b,
                           block_names[w]);
            tensor->rows = block_rows((enum sasrec_in_block)w, E);
            tensor->cols = E;
        }
    }
    sasrec->parameters = FIXED_COUNT + sasrec->shape.blocks * BLOCK_COUNT;
    if (sasrec->shape.title_width > 0) {
        struct sasrec_tensor *tensor = &sasrec->tensor[sasrec->parameters++];
        (void)snprintf(tensor->name, sizeof tensor->name, "sasrec.title_projection");
        tensor->rows = sasrec->shape.title_width;
        tensor->cols = E;
        tensor = &sasrec->tensor[sasrec->parameters];
        (void)snprintf(tensor->name, sizeof tensor->name, "%s",
                       sasrec->trainable ? "sasrec.titles" : "sasrec.vectors");
        tensor->cols = sasrec->trainable ? sasrec->shape.title_width : E;
    }
}

static void fill_normal(struct tensor tensor, uint64_t seed, uint64_t stream, double deviation) {
    struct rng rng = rng_make(seed, stream);
    float *values = tensor.data;

    for (size_t n = 0; n < (size_t)tensor.rows * (size_t)tensor.cols; n++) {
        values[n] = (float)(deviation * rng_normal(&rng));
    }
}

static enum status parameter_take(struct sasrec *sasrec, int p, struct error *err) {
    struct sasrec_tensor *tensor = &sasrec->tensor[p];
    struct backend *be = sasrec->be;
    int rows = tensor->rows;

    enum status status =
        backend_tensor_take(be, DTYPE_F32, rows, tensor->cols, &tensor->value, err);
    if (status != STATUS_OK || !sasrec->trainable) { return status; }
    status = backend_tensor_take(be, DTYPE_F32, rows, tensor->cols, &tensor->moment1, err);
    if (status != STATUS_OK) { return status; }
    status = backend_tensor_take(be, DTYPE_F32, rows, tensor->cols, &tensor->moment2, err);
    if (status != STATUS_OK) { return status; }
    return backend_tensor_take(be, DTYPE_F32, rows, tensor->cols, &sasrec->grad[p], err);
}

static enum status sasrec_take_fixed(struct sasrec *sasrec, struct error *err) {
    for (int p = 0; p < sasrec->parameters; p++) {
        struct sasrec_tensor *tensor = &sasrec->tensor[p];
        if (is_item_sized(p)) { continue; }
        enum status status = parameter_take(sasrec, p, err);
        if (status != STATUS_OK) { return error_wrap(err, "parameter '%s'", tensor->name); }
        bool gain = text_ends_with(tensor->name, "norm.weight") ||
                    text_ends_with(tensor->name, "norm1.weight") ||
                    text_ends_with(tensor->name, "norm2.weight");
        if (gain) {
            sasrec->be->ops->fill(sasrec->be, tensor->value, 1.0F);
        } else if (tensor->rows > 1) {
            double deviation = p < FIXED_COUNT ? INIT_STD : 1.0 / sqrt((double)tensor->cols);
            bool title = text_ends_with(tensor->name, "title_projection");
            if (title) { deviation = INIT_STD; } /* a title vector has length 1 */
            fill_normal(tensor->value, sasrec->seed, STREAM_WEIGHTS + (uint64_t)p, deviation);
        }
    }
    return STATUS_OK;
}

enum status sasrec_new(struct backend *be, const struct sasrec_shape *shape, uint64_t seed,
                       bool trainable, struct sasrec **ret_sasrec, struct error *err) {
    assert(shape->E > 0 && shape->S > 0 && shape->S <= SASREC_S_MAX);
    assert(shape->blocks > 0 && shape->blocks <= SASREC_BLOCKS_MAX && shape->items_max > 0);
    struct sasrec *sasrec = MEMORY_TAKE_ARRAY(struct sasrec, 1);
    if (sasrec == NULL) { return error_set(err, STATUS_NO_MEMORY, "SASRec"); }

    sasrec->be = be;
    sasrec->shape = *shape;
    sasrec->seed = seed;
    sasrec->trainable = trainable;
    sasrec_list(sasrec);
    enum status status = sasrec_take_fixed(sasrec, err);
    if (status != STATUS_OK) {
        sasrec_free(sasrec);
        return status;
    }
    *ret_sasrec = sasrec;
    return STATUS_OK;
}

static void items_give(struct sasrec *sasrec) {
    struct sasrec_tensor *table = &sasrec->tensor[FIXED_TABLE];

    if (sasrec->shape.title_width > 0) { backend_tensor_give(sasrec->be, &sasrec->vectors); }
    backend_tensor_give(sasrec->be, &sasrec->titles);
    table->value.rows = table->moment1.rows = table->moment2.rows = sasrec->capacity;
    backend_tensor_give(sasrec->be, &table->value);
    backend_tensor_give(sasrec->be, &table->moment1);
    backend_tensor_give(sasrec->be, &table->moment2);
    backend_tensor_give(sasrec->be, &sasrec->grad[FIXED_TABLE]);
}

void sasrec_free(struct sasrec *sasrec) {
    if (sasrec == NULL) { return; }
    items_give(sasrec);
    for (int p = 1; p < sasrec->parameters; p++) {
        backend_tensor_give(sasrec->be, &sasrec->tensor[p].value);
        backend_tensor_give(sasrec->be, &sasrec->tensor[p].moment1);
        backend_tensor_give(sasrec->be, &sasrec->tensor[p].moment2);
        backend_tensor_give(sasrec->be, &sasrec->grad[p]);
    }
    sasrec_work_free(sasrec->work);
    memory_free(sasrec);
}

const struct sasrec_shape *sasrec_shape_of(const struct sasrec *sasrec) {
    return &sasrec->shape;
}

int sasrec_items(const struct sasrec *sasrec) {
    return sasrec->M;
}

/* ---- growth ---------------------------------------------------------------------------------- */

/* A larger tensor with the old rows in front and zeros behind. */
static enum status rows_grow(struct backend *be, struct tensor old, int rows, int cols,
                             struct tensor *ret_new, struct error *err) {
    enum status status = backend_tensor_take(be, DTYPE_F32, rows, cols, ret_new, err);
    if (status != STATUS_OK) { return status; }
    if (old.rows > 0) { be->ops->copy(be, tensor_rows(*ret_new, 0, old.rows), old); }
    return STATUS_OK;
}

/* All item-sized tensors at the new capacity, or none. */
static enum status sasrec_resize(struct sasrec *sasrec, int capacity, struct error *err) {
    const int E = sasrec->shape.E, W = sasrec->shape.title_width;
    struct sasrec_tensor *table = &sasrec->tensor[FIXED_TABLE];
    struct tensor *const held[6] = {&table->value,    &table->moment1, &table->moment2,
                                    &sasrec->grad[0], &sasrec->titles, &sasrec->vectors};
    const bool wanted[6] = {
        true, sasrec->trainable, sasrec->trainable, sasrec->trainable, sasrec->trainable && W > 0,
        W > 0};
    struct tensor grown[6] = {{0}};

    for (int t = 0; t < 6; t++) {
        if (!wanted[t]) { continue; }
        struct tensor old = *held[t];
        old.rows = tensor_is_none(old) ? 0 : sasrec->M;
        enum status status = rows_grow(sasrec->be, old, capacity, t == 4 ? W : E, &grown[t], err);
        if (status != STATUS_OK) {
            for (int u = 0; u <= t; u++) {
                backend_tensor_give(sasrec->be, &grown[u]);
            }
            return error_wrap(err, "SASRec of %d items", capacity);
        }
    }
    items_give(sasrec);
    for (int t = 0; t < 6; t++) {
        *held[t] = grown[t];
    }
    if (W == 0) { sasrec->vectors = table->value; }
    sasrec->capacity = capacity;
    return STATUS_OK;
}

/* Views of the first M rows where the outside looks. */
static void sasrec_show(struct sasrec *sasrec, int M) {
    struct sasrec_tensor *table = &sasrec->tensor[FIXED_TABLE];
    struct sasrec_tensor *last = &sasrec->tensor[sasrec->parameters];

    sasrec->M = M;
    table->rows = table->value.rows = M;
    if (sasrec->trainable) { table->moment1.rows = table->moment2.rows = M; }
    if (sasrec->shape.title_width > 0) {
        last->rows = M;
        last->value = tensor_rows(sasrec->trainable ? sasrec->titles : sasrec->vectors, 0, M);
    }
    sasrec->stale = sasrec->trainable && sasrec->shape.title_width > 0;
}

/* mean (E) over the first M rows of the table, in double */
static void table_mean(const struct sasrec *sasrec, double *ret_mean) {
    const int E = sasrec->shape.E;
    const float *table = sasrec->tensor[FIXED_TABLE].value.data;

    for (int e = 0; e < E; e++) {
        ret_mean[e] = 0;
    }
    for (int i = 0; i < sasrec->M; i++) {
        for (int e = 0; e < E; e++) {
            ret_mean[e] += (double)table[(size_t)i * (size_t)E + (size_t)e];
        }
    }
    for (int e = 0; e < E && sasrec->M > 0; e++) {
        ret_mean[e] /= sasrec->M;
    }
}

enum status sasrec_grow(struct sasrec *sasrec, int M, struct error *err) {
    const int E = sasrec->shape.E;

    if (M <= sasrec->M) { return STATUS_OK; }
    if (M > sasrec->shape.items_max) {
        return error_set(err, STATUS_LIMIT, "%d items are beyond SASRec's limit of %d", M,
                         sasrec->shape.items_max);
    }
    double *mean = MEMORY_TAKE_ARRAY(double, E);
    if (mean == NULL) { return error_set(err, STATUS_NO_MEMORY, "mean of %d numbers", E); }
    if (M > sasrec->capacity) {
        int64_t capacity = sasrec->capacity > 0 ? sasrec->capacity : CAPACITY_FIRST;
        while (capacity < M) {
            capacity *= 2;
        }
        if (capacity > sasrec->shape.items_max) { capacity = sasrec->shape.items_max; }
        enum status status = sasrec_resize(sasrec, (int)capacity, err);
        if (status != STATUS_OK) {
            memory_free(mean);
            return status;
        }
    }

    table_mean(sasrec, mean);
    float *table = sasrec->tensor[FIXED_TABLE].value.data;
    for (int i = sasrec->M; i < M; i++) {
        struct rng rng = rng_make(sasrec->seed, STREAM_ITEMS);
        rng.index = (uint64_t)i * 2 * (uint64_t)E; /* two indices a normal number */
        for (int e = 0; e < E; e++) {
            table[(size_t)i * (size_t)E + (size_t)e] =
                (float)(mean[e] + INIT_STD * rng_normal(&rng));
        }
    }
    memory_free(mean);
    sasrec_show(sasrec, M);
    return STATUS_OK;
}

enum status sasrec_set_title(struct sasrec *sasrec, uint32_t item, const float *vector,
                             struct error *err) {
    const size_t W = (size_t)sasrec->shape.title_width;

    assert(sasrec->trainable && W > 0);
    if (item >= (uint32_t)sasrec->M) {
        return error_set(err, STATUS_NOT_FOUND, "title of item %u of %d", item, sasrec->M);
    }
    float *row = (float *)sasrec->titles.data + (size_t)item * W;
    if (vector != NULL) {
        memcpy(row, vector, W * sizeof *row);
    } else {
        memset(row, 0, W * sizeof *row);
    }
    sasrec->stale = true;
    return STATUS_OK;
}

const float *sasrec_vectors(struct sasrec *sasrec) {
    if (sasrec->stale) {
        struct backend *be = sasrec->be;
        struct tensor vectors = sasrec_item_vectors(sasrec);
        be->ops->copy(be, vectors, sasrec->tensor[FIXED_TABLE].value);
        be->ops->product(be, vectors, tensor_rows(sasrec->titles, 0, sasrec->M), false,
                         sasrec_value(sasrec, sasrec->parameters - 1), false, 1.0F, 1.0F);
        sasrec->stale = false;
    }
    return sasrec->vectors.data;
}

/* ---- copies ---------------------------------------------------------------------------------- */

enum status sasrec_copy(struct sasrec *dst, const struct sasrec *src, struct error *err) {
    const struct backend_ops *ops = dst->be->ops;

    assert(dst->shape.E == src->shape.E && dst->shape.blocks == src->shape.blocks);
    assert(dst->shape.S == src->shape.S && dst->shape.title_width == src->shape.title_width);
    assert(!src->stale);
    enum status status = sasrec_grow(dst, src->M, err);
    if (status != STATUS_OK) { return status; }
    for (int p = 0; p < src->parameters; p++) {
        if (sasrec_value(src, p).rows == 0) { continue; }
        ops->copy(dst->be, tensor_rows(sasrec_value(dst, p), 0, src->tensor[p].rows),
                  sasrec_value(src, p));
        if (!dst->trainable) { continue; }
        ops->fill(dst->be, dst->tensor[p].moment1, 0.0F);
        ops->fill(dst->be, dst->tensor[p].moment2, 0.0F);
    }
    if (dst->shape.title_width > 0 && !dst->trainable && src->M > 0) {
        ops->copy(dst->be, tensor_rows(dst->vectors, 0, src->M), sasrec_item_vectors(src));
    }
    sasrec_loaded(dst, dst->trainable ? dst->M : src->M);
    return dst->be->ops->synchronise(dst->be, err);
}

int sasrec_tensor_count(const struct sasrec *sasrec) {
    return sasrec->parameters + (sasrec->shape.title_width > 0 ? 1 : 0);
}

const struct sasrec_tensor *sasrec_tensor_at(const struct sasrec *sasrec, int index) {
    assert(index >= 0 && index < sasrec_tensor_count(sasrec));
    return &sasrec->tensor[index];
}

void sasrec_loaded(struct sasrec *sasrec, int M) {
    assert(M >= 0 && M <= sasrec->capacity);
    sasrec_show(sasrec, M);
}
