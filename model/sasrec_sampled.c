/* SPDX-License-Identifier: Apache-2.0
 *
 * sasrec_sampled.c - chooses columns, and keeps account of the rows that have a gradient. */
#include "model/sasrec_sampled.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "base/rng.h"

enum status sasrec_sampled_new(const struct sasrec *sasrec, int negatives,
                               struct sasrec_sampled **ret_sampled, struct error *err) {
    struct backend *be = sasrec->be;
    const int E = sasrec->shape.E, M = sasrec->M;

    assert(negatives > 0);
    struct sasrec_sampled *sampled = MEMORY_TAKE_ARRAY(struct sasrec_sampled, 1);
    if (sampled == NULL) { return error_set(err, STATUS_NO_MEMORY, "sampled softmax"); }
    sampled->M = M;
    sampled->negatives = negatives;
    sampled->columns_max = SASREC_ROWS_MAX + negatives < M ? SASREC_ROWS_MAX + negatives : M;
    sampled->column_of = MEMORY_TAKE_ARRAY(int32_t, M);
    sampled->items = MEMORY_TAKE_ARRAY(int32_t, sampled->columns_max);
    sampled->is_touched = MEMORY_TAKE_ARRAY(uint8_t, M);
    sampled->touched = MEMORY_TAKE_ARRAY(int32_t, M);
    bool taken = sampled->column_of != NULL && sampled->items != NULL &&
                 sampled->is_touched != NULL && sampled->touched != NULL;
    enum status status = taken ? STATUS_OK : error_set(err, STATUS_NO_MEMORY, "%d columns", M);
    if (status == STATUS_OK) {
        status =
            backend_tensor_take(be, DTYPE_F32, sampled->columns_max, E, &sampled->vectors, err);
    }
    if (status == STATUS_OK) {
        status =
            backend_tensor_take(be, DTYPE_F32, sampled->columns_max, E, &sampled->gradient, err);
    }
    if (status == STATUS_OK) {
        status = backend_tensor_take(be, DTYPE_F32, 1, sampled->columns_max, &sampled->bias, err);
    }
    if (status != STATUS_OK) {
        sasrec_sampled_free(be, sampled);
        return status;
    }
    memset(sampled->column_of, 0xff, (size_t)M * sizeof *sampled->column_of); /* all -1 */
    *ret_sampled = sampled;
    return STATUS_OK;
}

void sasrec_sampled_free(struct backend *be, struct sasrec_sampled *sampled) {
    if (sampled == NULL) { return; }
    backend_tensor_give(be, &sampled->vectors);
    backend_tensor_give(be, &sampled->gradient);
    backend_tensor_give(be, &sampled->bias);
    memory_free(sampled->column_of);
    memory_free(sampled->items);
    memory_free(sampled->is_touched);
    memory_free(sampled->touched);
    memory_free(sampled);
}

static bool column_add(struct sasrec_sampled *sampled, int32_t item) {
    if (sampled->column_of[item] >= 0) { return false; }
    sampled->column_of[item] = sampled->columns;
    sampled->items[sampled->columns++] = item;
    return true;
}

static void touch(struct sasrec_sampled *sampled, int32_t item) {
    if (sampled->is_touched[item]) { return; }
    sampled->is_touched[item] = 1;
    sampled->touched[sampled->touched_count++] = item;
}

void sasrec_sampled_begin(struct sasrec_sampled *sampled, const struct sasrec *sasrec,
                          struct sasrec_work *work, int N, uint64_t seed, uint64_t stream) {
    struct backend *be = sasrec->be;
    int32_t *target = work->target.data;
    struct rng rng = rng_make(seed, stream);

    sampled->columns = 0;
    for (int n = 0; n < N; n++) {
        (void)column_add(sampled, target[n]); /* one column for a target that comes twice */
        target[n] = sampled->column_of[target[n]];
    }
    sampled->targets = sampled->columns;
    int others = sampled->M - sampled->targets;
    int wanted = sampled->negatives < others ? sampled->negatives : others;
    for (int drawn = 0; drawn < wanted;) {
        int32_t item = (int32_t)rng_below(&rng, (uint64_t)sampled->M);
        if (column_add(sampled, item)) { drawn++; }
    }

    float *bias = sampled->bias.data;
    float correction = wanted > 0 ? logf((float)others / (float)wanted) : 0.0F;
    for (int c = 0; c < sampled->columns; c++) {
        bias[c] = c < sampled->targets ? 0.0F : correction;
    }
    struct tensor index = tensor_over(sampled->items, DTYPE_I32, sampled->columns, 1);
    be->ops->gather_rows(be, tensor_rows(sampled->vectors, 0, sampled->columns),
                         sasrec_item_vectors(sasrec), index);
    be->ops->fill(be, tensor_rows(sampled->gradient, 0, sampled->columns), 0.0F);
}

void sasrec_sampled_end(struct sasrec_sampled *sampled, const struct sasrec *sasrec,
                        const struct sasrec_work *work, int N) {
    struct backend *be = sasrec->be;
    const int32_t *inputs = work->index.data;
    struct tensor index = tensor_over(sampled->items, DTYPE_I32, sampled->columns, 1);

    be->ops->scatter_add_rows(be, tensor_rows(sasrec->grad[FIXED_TABLE], 0, sasrec->M),
                              tensor_rows(sampled->gradient, 0, sampled->columns), index);
    for (int c = 0; c < sampled->columns; c++) {
        touch(sampled, sampled->items[c]);
        sampled->column_of[sampled->items[c]] = -1;
    }
    for (int n = 0; n < N; n++) {
        touch(sampled, inputs[n]);
    }
}

enum status sasrec_sampled_gather(struct sasrec_sampled *sampled, const struct sasrec *sasrec,
                                  struct tensor *ret_gradient, struct tensor *ret_index,
                                  struct error *err) {
    struct backend *be = sasrec->be;
    struct tensor index = tensor_over(sampled->touched, DTYPE_I32, sampled->touched_count, 1);

    enum status status = backend_tensor_take(be, DTYPE_F32, sampled->touched_count, sasrec->shape.E,
                                             ret_gradient, err);
    if (status != STATUS_OK) { return status; }
    be->ops->gather_rows(be, *ret_gradient, tensor_rows(sasrec->grad[FIXED_TABLE], 0, sasrec->M),
                         index);
    *ret_index = index;
    return STATUS_OK;
}
