/* SPDX-License-Identifier: Apache-2.0
 *
 * sasrec_pass.c - packs histories into rows and runs the blocks over them.
 *
 *   sequence a: a0 a1 a2      rows  a0 a1 a2 b0 b1 ...      no padding; a segment a sequence
 *   sequence b: b0 b1         position 2  1  0  1  0        counted from the newest
 *
 * For states only the newest row matters, so the last block computes keys and values for all rows
 * but the query, its residual and its feed-forward only for the newest one: two thirds of a block.
 */
#include <assert.h>
#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "model/sasrec_rooms.h"

/* ---- memory ---------------------------------------------------------------------------------- */

/* The next (rows, cols) of the slab; with no slab yet only counts. */
static struct tensor slab_take(struct tensor slab, size_t *used, enum dtype dtype, int rows,
                               int cols) {
    size_t elements = ((size_t)rows * (size_t)cols + 15) / 16 * 16; /* 64 bytes */
    struct tensor taken = tensor_over(NULL, dtype, rows, cols);

    if (!tensor_is_none(slab)) { taken.data = (float *)slab.data + *used; }
    *used += elements;
    return taken;
}

static void activations_layout(struct sasrec_activations *at, struct tensor slab, size_t *used,
                               int N, int E) {
    at->x = slab_take(slab, used, DTYPE_F32, N, E);
    at->norm1 = slab_take(slab, used, DTYPE_F32, N, E);
    at->mean1 = slab_take(slab, used, DTYPE_F32, N, 1);
    at->rstd1 = slab_take(slab, used, DTYPE_F32, N, 1);
    at->qkv = slab_take(slab, used, DTYPE_F32, N, 3 * E);
    at->attended = slab_take(slab, used, DTYPE_F32, N, E);
    at->lse = slab_take(slab, used, DTYPE_F32, N, 1);
    at->middle = slab_take(slab, used, DTYPE_F32, N, E);
    at->norm2 = slab_take(slab, used, DTYPE_F32, N, E);
    at->mean2 = slab_take(slab, used, DTYPE_F32, N, 1);
    at->rstd2 = slab_take(slab, used, DTYPE_F32, N, 1);
    at->hidden = slab_take(slab, used, DTYPE_F32, N, E);
}

/* Sets every tensor of the work over the slab; returns the elements used. */
static size_t work_layout(struct sasrec_work *work, struct tensor slab) {
    const int N = work->rows_max, E = work->shape.E;
    size_t used = 0;

    work->index = slab_take(slab, &used, DTYPE_I32, N, 1);
    work->position = slab_take(slab, &used, DTYPE_I32, N, 1);
    work->target = slab_take(slab, &used, DTYPE_I32, N, 1);
    work->last = slab_take(slab, &used, DTYPE_I32, N, 1);
    work->weight = slab_take(slab, &used, DTYPE_F32, N, 1);
    work->loss = slab_take(slab, &used, DTYPE_F32, N, 1);
    work->mean = slab_take(slab, &used, DTYPE_F32, N, 1);
    work->rstd = slab_take(slab, &used, DTYPE_F32, N, 1);
    work->out = slab_take(slab, &used, DTYPE_F32, N, E);
    work->z = slab_take(slab, &used, DTYPE_F32, N, E);
    work->branch = slab_take(slab, &used, DTYPE_F32, N, E);
    int kept = work->training ? work->shape.blocks : 1;
    for (int b = 0; b < kept; b++) {
        activations_layout(&work->blocks[b], slab, &used, N, E);
    }
    if (work->training) {
        work->dx = slab_take(slab, &used, DTYPE_F32, N, E);
        work->dz = slab_take(slab, &used, DTYPE_F32, N, E);
        work->dbranch = slab_take(slab, &used, DTYPE_F32, N, E);
        work->dmiddle = slab_take(slab, &used, DTYPE_F32, N, E);
        work->dqkv = slab_take(slab, &used, DTYPE_F32, N, 3 * E);
    }
    return used;
}

enum status sasrec_work_new(struct backend *be, const struct sasrec_shape *shape, bool training,
                            struct sasrec_work **ret_work, struct error *err) {
    struct sasrec_work *work = MEMORY_TAKE_ARRAY(struct sasrec_work, 1);
    if (work == NULL) { return error_set(err, STATUS_NO_MEMORY, "SASRec's activations"); }

    work->be = be;
    work->shape = *shape;
    work->training = training;
    work->rows_max = SASREC_ROWS_MAX;
    work->segments = MEMORY_TAKE_ARRAY(struct segment, work->rows_max);
    work->first_item = MEMORY_TAKE_ARRAY(int, work->rows_max);
    size_t elements = work_layout(work, tensor_none());
    enum status status = STATUS_OK;
    if (work->segments == NULL || work->first_item == NULL) {
        status = error_set(err, STATUS_NO_MEMORY, "SASRec's segments");
    } else {
        assert(elements < (size_t)INT32_MAX);
        status = backend_tensor_take(be, DTYPE_F32, 1, (int)elements, &work->slab, err);
    }
    if (status != STATUS_OK) {
        sasrec_work_free(work);
        return status;
    }
    (void)work_layout(work, work->slab); /* the same size again */
    *ret_work = work;
    return STATUS_OK;
}

void sasrec_work_free(struct sasrec_work *work) {
    if (work == NULL) { return; }
    backend_tensor_give(work->be, &work->slab);
    memory_free(work->segments);
    memory_free(work->first_item);
    memory_free(work);
}

/* ---- packing --------------------------------------------------------------------------------- */

/* Newest items of a sequence that exist, at most `limit`, oldest first. */
static int known_items(const struct sasrec *sasrec, const struct sasrec_sequence *sequence,
                       int limit, uint32_t *ret_items) {
    int count = 0;
    int at = sequence->count;

    while (at > 0 && count < limit) {
        at--;
        if (sequence->items[at] < (uint32_t)sasrec->M) { count++; }
    }
    int written = 0;
    for (; at < sequence->count; at++) {
        if (sequence->items[at] < (uint32_t)sasrec->M) {
            ret_items[written++] = sequence->items[at];
        }
    }
    assert(written == count);
    return count;
}

int sasrec_pack(const struct sasrec *sasrec, struct sasrec_work *work,
                const struct sasrec_sequence *sequences, int first, int count, bool training,
                int *ret_rows, int *ret_segments) {
    const int S = sasrec->shape.S;
    int32_t *index = work->index.data, *position = work->position.data;
    int32_t *target = work->target.data, *last = work->last.data;
    float *weight = work->weight.data;
    uint32_t items[SASREC_S_MAX + 1];
    int rows = 0, segments = 0, taken = 0;

    for (; first + taken < count && rows + S <= work->rows_max; taken++) {
        const struct sasrec_sequence *sequence = &sequences[first + taken];
        int known = known_items(sasrec, sequence, training ? S + 1 : S, items);
        int inputs = training ? known - 1 : known;
        if (inputs < 1) { continue; }
        for (int t = 0; t < inputs; t++) {
            index[rows + t] = (int32_t)items[t];
            position[rows + t] = inputs - 1 - t;
            if (training) {
                target[rows + t] = (int32_t)items[t + 1];
                weight[rows + t] = sequence->weight;
            }
        }
        work->segments[segments] = (struct segment){rows, rows + inputs, rows, rows};
        work->first_item[segments] = first + taken;
        last[segments] = rows + inputs - 1;
        segments++;
        rows += inputs;
    }
    *ret_rows = rows;
    *ret_segments = segments;
    return taken;
}

/* ---- forward --------------------------------------------------------------------------------- */

void sasrec_embed(const struct sasrec *sasrec, struct sasrec_work *work, int N, float dropout,
                  uint64_t seed, uint64_t stream) {
    struct backend *be = work->be;
    struct tensor x = tensor_rows(work->blocks[0].x, 0, N);
    struct tensor branch = tensor_rows(work->branch, 0, N);

    be->ops->gather_rows(be, x, sasrec_item_vectors(sasrec), tensor_rows(work->index, 0, N));
    be->ops->gather_rows(be, branch, sasrec_value(sasrec, FIXED_POSITIONS),
                         tensor_rows(work->position, 0, N));
    be->ops->axpby(be, x, 1.0F, branch, sqrtf((float)sasrec->shape.E));
    if (dropout > 0) { be->ops->dropout(be, x, dropout, seed, stream); }
}

/* y = x + dropout(input w^T + bias) */
static void residual_linear(struct sasrec_work *work, struct tensor y, struct tensor x,
                            struct tensor input, struct tensor w, struct tensor bias, float dropout,
                            uint64_t seed, uint64_t stream) {
    struct backend *be = work->be;

    be->ops->product(be, y, input, false, w, true, 1.0F, 0.0F);
    if (!tensor_is_none(bias)) { be->ops->add_bias(be, y, bias); }
    if (dropout > 0) { be->ops->dropout(be, y, dropout, seed, stream); }
    be->ops->axpby(be, y, 1.0F, x, 1.0F);
}

/* out (n,E) = middle + FFN(LayerNorm(middle)) */
static void feed_forward(const struct sasrec *sasrec, struct sasrec_work *work, int block,
                         struct sasrec_activations *at, struct tensor middle, struct tensor out,
                         float dropout, uint64_t seed, uint64_t stream) {
    struct backend *be = work->be;
    const int n = middle.rows;
    struct tensor norm2 = tensor_rows(at->norm2, 0, n), hidden = tensor_rows(at->hidden, 0, n);

    be->ops->layernorm_forward(
        be, norm2, tensor_rows(at->mean2, 0, n), tensor_rows(at->rstd2, 0, n), middle,
        sasrec_value(sasrec, sasrec_block_at(block, BLOCK_GAIN2)),
        sasrec_value(sasrec, sasrec_block_at(block, BLOCK_BIAS2)), LAYERNORM_EPS);
    be->ops->product(be, hidden, norm2, false,
                     sasrec_value(sasrec, sasrec_block_at(block, BLOCK_W1)), true, 1.0F, 0.0F);
    be->ops->add_bias(be, hidden, sasrec_value(sasrec, sasrec_block_at(block, BLOCK_B1)));
    be->ops->relu_forward(be, hidden, hidden);
    residual_linear(work, out, middle, hidden,
                    sasrec_value(sasrec, sasrec_block_at(block, BLOCK_W2)),
                    sasrec_value(sasrec, sasrec_block_at(block, BLOCK_B2)), dropout, seed, stream);
}

static void norm_before_attention(const struct sasrec *sasrec, struct sasrec_work *work, int block,
                                  struct sasrec_activations *at, int N) {
    work->be->ops->layernorm_forward(
        work->be, tensor_rows(at->norm1, 0, N), tensor_rows(at->mean1, 0, N),
        tensor_rows(at->rstd1, 0, N), tensor_rows(at->x, 0, N),
        sasrec_value(sasrec, sasrec_block_at(block, BLOCK_GAIN1)),
        sasrec_value(sasrec, sasrec_block_at(block, BLOCK_BIAS1)), LAYERNORM_EPS);
}

static float attention_scale(const struct sasrec *sasrec) {
    return 1.0F / sqrtf((float)sasrec->shape.E);
}

void sasrec_block_forward(const struct sasrec *sasrec, struct sasrec_work *work, int block,
                          struct sasrec_activations *at, struct tensor out, int N, int segments,
                          float dropout, uint64_t seed, uint64_t stream) {
    struct backend *be = work->be;
    const int E = sasrec->shape.E;
    struct tensor qkv = tensor_rows(at->qkv, 0, N);
    struct tensor attended = tensor_rows(at->attended, 0, N);
    struct tensor middle = tensor_rows(at->middle, 0, N);

    norm_before_attention(sasrec, work, block, at, N);
    be->ops->product(be, qkv, tensor_rows(at->norm1, 0, N), false,
                     sasrec_value(sasrec, sasrec_block_at(block, BLOCK_WQKV)), true, 1.0F, 0.0F);
    be->ops->attention_forward(be, attended, tensor_rows(at->lse, 0, N), tensor_cols(qkv, 0, E),
                               tensor_cols(qkv, E, E), tensor_cols(qkv, 2 * E, E), work->segments,
                               segments, 1, 1, attention_scale(sasrec));
    residual_linear(work, middle, tensor_rows(at->x, 0, N), attended,
                    sasrec_value(sasrec, sasrec_block_at(block, BLOCK_WO)), tensor_none(), dropout,
                    seed, stream);
    feed_forward(sasrec, work, block, at, middle, tensor_rows(out, 0, N), dropout, seed,
                 stream + 1);
}

/* out (E) = softmax(q k^T scale) v over rows [begin, end) of kv (N,2E) */
static void attend_newest(const float *q, struct tensor kv, int begin, int end, int E, float scale,
                          float *out) {
    float p[SASREC_S_MAX];
    float highest = -INFINITY, sum = 0;

    for (int n = begin; n < end; n++) {
        const float *k = (const float *)kv.data + (size_t)n * (size_t)kv.stride;
        float score = 0;
        for (int e = 0; e < E; e++) {
            score += q[e] * k[e];
        }
        p[n - begin] = score * scale;
        if (p[n - begin] > highest) { highest = p[n - begin]; }
    }
    memset(out, 0, (size_t)E * sizeof *out);
    for (int n = begin; n < end; n++) {
        const float *v = (const float *)kv.data + (size_t)n * (size_t)kv.stride + E;
        float share = expf(p[n - begin] - highest);
        sum += share;
        for (int e = 0; e < E; e++) {
            out[e] += share * v[e];
        }
    }
    for (int e = 0; e < E; e++) {
        out[e] /= sum;
    }
}

/* The last block for the newest row of each sequence, then the final norm: z (segments,E). */
static void newest_states(const struct sasrec *sasrec, struct sasrec_work *work,
                          struct sasrec_activations *at, int N, int segments) {
    struct backend *be = work->be;
    const int E = sasrec->shape.E, block = sasrec->shape.blocks - 1;
    struct tensor wqkv = sasrec_value(sasrec, sasrec_block_at(block, BLOCK_WQKV));
    struct tensor last = tensor_rows(work->last, 0, segments);
    struct tensor kv = tensor_over(at->qkv.data, DTYPE_F32, N, 2 * E);
    struct tensor x = tensor_rows(work->branch, 0, segments);
    struct tensor q = tensor_rows(at->attended, 0, segments);
    struct tensor attended = tensor_rows(at->middle, 0, segments);
    struct tensor middle = tensor_rows(at->hidden, 0, segments);

    norm_before_attention(sasrec, work, block, at, N);
    be->ops->product(be, kv, tensor_rows(at->norm1, 0, N), false, tensor_rows(wqkv, E, 2 * E), true,
                     1.0F, 0.0F);
    be->ops->gather_rows(be, x, tensor_rows(at->norm1, 0, N), last);
    be->ops->product(be, q, x, false, tensor_rows(wqkv, 0, E), true, 1.0F, 0.0F);
    for (int s = 0; s < segments; s++) {
        attend_newest((const float *)q.data + (size_t)s * (size_t)E, kv, work->segments[s].begin,
                      work->segments[s].end, E, attention_scale(sasrec),
                      (float *)attended.data + (size_t)s * (size_t)E);
    }
    be->ops->gather_rows(be, x, tensor_rows(at->x, 0, N), last);
    residual_linear(work, middle, x, attended,
                    sasrec_value(sasrec, sasrec_block_at(block, BLOCK_WO)), tensor_none(), 0, 0, 0);
    be->ops->copy(be, x, middle);
    struct tensor out = tensor_rows(work->out, 0, segments);
    feed_forward(sasrec, work, block, at, x, out, 0, 0, 0);
    be->ops->layernorm_forward(
        be, tensor_rows(work->z, 0, segments), tensor_rows(work->mean, 0, segments),
        tensor_rows(work->rstd, 0, segments), out, sasrec_value(sasrec, FIXED_GAIN),
        sasrec_value(sasrec, FIXED_BIAS), LAYERNORM_EPS);
}

enum status sasrec_states(const struct sasrec *sasrec, struct sasrec_work *work,
                          const struct sasrec_sequence *sequences, int count, float *ret_states,
                          struct error *err) {
    const size_t E = (size_t)sasrec->shape.E;
    int first = 0;

    assert(!sasrec->stale && work->shape.E == sasrec->shape.E);
    assert(work->shape.S >= sasrec->shape.S);
    memset(ret_states, 0, (size_t)count * E * sizeof *ret_states);
    while (first < count) {
        int N = 0, segments = 0;
        first += sasrec_pack(sasrec, work, sequences, first, count, false, &N, &segments);
        if (segments == 0) { continue; }
        struct sasrec_activations *at = &work->blocks[0];
        sasrec_embed(sasrec, work, N, 0, 0, 0);
        for (int b = 0; b < sasrec->shape.blocks - 1; b++) {
            sasrec_block_forward(sasrec, work, b, at, work->out, N, segments, 0, 0, 0);
            work->be->ops->copy(work->be, tensor_rows(at->x, 0, N), tensor_rows(work->out, 0, N));
        }
        newest_states(sasrec, work, at, N, segments);
        const float *z = work->z.data;
        for (int s = 0; s < segments; s++) {
            memcpy(ret_states + (size_t)work->first_item[s] * E, z + (size_t)s * E, E * sizeof *z);
        }
    }
    return work->be->ops->synchronise(work->be, err);
}

enum status sasrec_log_probabilities(const struct sasrec *sasrec, struct sasrec_work *work,
                                     const float *states, int count, float *ret_log_probabilities,
                                     struct error *err) {
    struct backend *be = work->be;
    const int M = sasrec->M, E = sasrec->shape.E;
    struct tensor logits = tensor_over(ret_log_probabilities, DTYPE_F32, count, M);

    assert(!sasrec->stale && count > 0 && count <= work->rows_max);
    if (M == 0) { return STATUS_OK; }
    struct tensor z = tensor_rows(work->z, 0, count);
    memcpy(z.data, states, (size_t)count * (size_t)E * sizeof *states);
    be->ops->product(be, logits, z, false, sasrec_item_vectors(sasrec), true, 1.0F, 0.0F);
    be->ops->log_softmax(be, logits);
    return be->ops->synchronise(be, err);
}
