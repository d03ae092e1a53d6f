/* SPDX-License-Identifier: Apache-2.0
 *
 * sasrec_train.c - one step: forward, full-catalogue cross-entropy, backward, Adam.
 *
 *   pass over <= 4096 rows: blocks ─▶ z (N,E) ─▶ pieces of rows ─▶ logits (n,M) ─▶ loss
 *                           and dlogits in place ─▶ dz (n,E), dv (M,E)
 *
 * Logits exist for a piece of rows at a time, sized to stay in the second-level cache: forward,
 * softmax and both backward products of a piece run while it is warm. Gradients of several passes
 * add up; the step comes last, so a loss that is not finite changes nothing.
 */
#include <assert.h>
#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "model/sasrec_sampled.h"

#define LOGITS_MAX     (512 * 1024) /* floats of one piece: 2 MiB, a second-level cache */
#define PIECE_ROWS_MIN 16
#define PIECE_ROWS_MAX 512
/* Adam moves every row of the title projection at once, and an item sums all of them: its rate is
 * lower by about the sum of |title| (sqrt(W), some 30), times what the table's row moves. */
#define TITLE_RATE 0.1f

/* What a step carries through its passes. */
struct sasrec_train {
    struct sasrec *sasrec;
    struct sasrec_work *work;
    const struct sasrec_step *how;
    struct sasrec_sampled *sampled; /* owns; NULL: the whole catalogue */
    float *logits;                  /* owns; (piece_rows,M) or (piece_rows,columns) */
    int piece_rows;
    double weight_sum; /* of all positions */
    double loss;       /* weighted sum */
    int positions;
    uint64_t stream; /* dropout: a step's own numbers */
};

static struct tensor gradient(const struct sasrec *sasrec, int parameter) {
    struct tensor grad = sasrec->grad[parameter];

    if (parameter == FIXED_TABLE) { return tensor_rows(grad, 0, sasrec->M); }
    return grad;
}

/* ---- loss ------------------------------------------------------------------------------------ */

/* Loss and gradients of rows [first, first+n): dz =, dv += */
static void piece_loss(struct sasrec_train *train, int first, int n) {
    struct sasrec *sasrec = train->sasrec;
    struct sasrec_work *work = train->work;
    struct backend *be = work->be;
    struct tensor vectors = sasrec_item_vectors(sasrec), dvectors = gradient(sasrec, FIXED_TABLE);
    struct sasrec_sampled *sampled = train->sampled;
    if (sampled != NULL) {
        vectors = tensor_rows(sampled->vectors, 0, sampled->columns);
        dvectors = tensor_rows(sampled->gradient, 0, sampled->columns);
    }
    struct tensor z = tensor_rows(work->z, first, n);
    struct tensor logits = tensor_over(train->logits, DTYPE_F32, n, vectors.rows);
    struct tensor loss = tensor_rows(work->loss, first, n);
    struct tensor weight = tensor_rows(work->weight, first, n);

    be->ops->product(be, logits, z, false, vectors, true, 1.0F, 0.0F);
    if (sampled != NULL) {
        be->ops->add_bias(be, logits, tensor_cols(sampled->bias, 0, sampled->columns));
    }
    be->ops->cross_entropy(be, loss, logits, tensor_rows(work->target, first, n), weight);
    be->ops->product(be, tensor_rows(work->dz, first, n), logits, false, vectors, false, 1.0F,
                     0.0F);
    be->ops->product(be, dvectors, logits, true, z, false, 1.0F, 1.0F);
}

static void pass_loss(struct sasrec_train *train, int N) {
    const float *loss = train->work->loss.data;
    const float *weight = train->work->weight.data;

    for (int first = 0; first < N; first += train->piece_rows) {
        int n = N - first < train->piece_rows ? N - first : train->piece_rows;
        piece_loss(train, first, n);
    }
    for (int n = 0; n < N; n++) {
        train->loss += (double)loss[n] * (double)weight[n];
    }
    train->positions += N;
}

/* ---- backward -------------------------------------------------------------------------------- */

/* dx += dLayerNorm, from dy */
static void norm_backward(struct sasrec_train *train, struct tensor dx, struct tensor dy,
                          struct tensor x, struct tensor mean, struct tensor rstd, int gain,
                          int bias) {
    struct backend *be = train->work->be;

    be->ops->layernorm_backward(be, dx, gradient(train->sasrec, gain),
                                gradient(train->sasrec, bias), dy, x, mean, rstd,
                                sasrec_value(train->sasrec, gain));
}

/* dw += dy^T x ; dx = dy w */
static void linear_backward(struct sasrec_train *train, struct tensor dx, struct tensor dy,
                            struct tensor x, int parameter) {
    struct backend *be = train->work->be;

    be->ops->product(be, gradient(train->sasrec, parameter), dy, true, x, false, 1.0F, 1.0F);
    be->ops->product(be, dx, dy, false, sasrec_value(train->sasrec, parameter), false, 1.0F, 0.0F);
}

/* Gradient of a residual branch: the incoming one, through the branch's dropout. */
static struct tensor branch_gradient(struct sasrec_train *train, struct tensor dout,
                                     uint64_t stream) {
    struct backend *be = train->work->be;
    const struct sasrec_step *how = train->how;
    struct tensor branch = tensor_rows(train->work->branch, 0, dout.rows);

    if (how->dropout <= 0) { return dout; }
    be->ops->copy(be, branch, dout);
    be->ops->dropout(be, branch, how->dropout, train->sasrec->seed, stream);
    return branch;
}

/* dmiddle = gradient at the middle of a block, from dout = dx (N,E) */
static void feed_forward_backward(struct sasrec_train *train, int block, int N) {
    struct sasrec_work *work = train->work;
    struct backend *be = work->be;
    const struct sasrec_activations *at = &work->blocks[block];
    struct tensor dout = tensor_rows(work->dx, 0, N);
    struct tensor dmiddle = tensor_rows(work->dmiddle, 0, N);
    struct tensor dhidden = tensor_rows(work->dz, 0, N); /* dz is free by now */
    struct tensor dnorm = tensor_rows(work->dbranch, 0, N);
    struct tensor hidden = tensor_rows(at->hidden, 0, N);
    struct tensor dbranch = branch_gradient(train, dout, train->stream + 2 * (uint64_t)block + 2);

    be->ops->sum_rows(be, gradient(train->sasrec, sasrec_block_at(block, BLOCK_B2)), dbranch);
    linear_backward(train, dhidden, dbranch, hidden, sasrec_block_at(block, BLOCK_W2));
    be->ops->relu_backward(be, dhidden, dhidden, hidden);
    be->ops->sum_rows(be, gradient(train->sasrec, sasrec_block_at(block, BLOCK_B1)), dhidden);
    linear_backward(train, dnorm, dhidden, tensor_rows(at->norm2, 0, N),
                    sasrec_block_at(block, BLOCK_W1));
    be->ops->copy(be, dmiddle, dout);
    norm_backward(train, dmiddle, dnorm, tensor_rows(at->middle, 0, N),
                  tensor_rows(at->mean2, 0, N), tensor_rows(at->rstd2, 0, N),
                  sasrec_block_at(block, BLOCK_GAIN2), sasrec_block_at(block, BLOCK_BIAS2));
}

/* dx = gradient at the block's input, from dmiddle */
static void attention_backward(struct sasrec_train *train, int block, int N, int segments) {
    struct sasrec_work *work = train->work;
    struct backend *be = work->be;
    const int E = train->sasrec->shape.E;
    const struct sasrec_activations *at = &work->blocks[block];
    struct tensor dmiddle = tensor_rows(work->dmiddle, 0, N);
    struct tensor dattended = tensor_rows(work->dbranch, 0, N);
    struct tensor dnorm = tensor_rows(work->dz, 0, N);
    struct tensor dx = tensor_rows(work->dx, 0, N);
    struct tensor dqkv = tensor_rows(work->dqkv, 0, N), qkv = tensor_rows(at->qkv, 0, N);
    struct tensor attended = tensor_rows(at->attended, 0, N);
    struct tensor dbranch =
        branch_gradient(train, dmiddle, train->stream + 2 * (uint64_t)block + 1);

    linear_backward(train, dattended, dbranch, attended, sasrec_block_at(block, BLOCK_WO));
    be->ops->attention_backward(be, tensor_cols(dqkv, 0, E), tensor_cols(dqkv, E, E),
                                tensor_cols(dqkv, 2 * E, E), dattended, tensor_cols(qkv, 0, E),
                                tensor_cols(qkv, E, E), tensor_cols(qkv, 2 * E, E), attended,
                                tensor_rows(at->lse, 0, N), work->segments, segments, 1, 1,
                                1.0F / sqrtf((float)E));
    linear_backward(train, dnorm, dqkv, tensor_rows(at->norm1, 0, N),
                    sasrec_block_at(block, BLOCK_WQKV));
    be->ops->copy(be, dx, dmiddle);
    norm_backward(train, dx, dnorm, tensor_rows(at->x, 0, N), tensor_rows(at->mean1, 0, N),
                  tensor_rows(at->rstd1, 0, N), sasrec_block_at(block, BLOCK_GAIN1),
                  sasrec_block_at(block, BLOCK_BIAS1));
}

/* Positions and the input side of the item vectors. */
static void embed_backward(struct sasrec_train *train, int N) {
    struct sasrec_work *work = train->work;
    struct backend *be = work->be;
    struct tensor dx = tensor_rows(work->dx, 0, N);

    if (train->how->dropout > 0) {
        be->ops->dropout(be, dx, train->how->dropout, train->sasrec->seed, train->stream);
    }
    be->ops->scatter_add_rows(be, gradient(train->sasrec, FIXED_POSITIONS), dx,
                              tensor_rows(work->position, 0, N));
    be->ops->axpby(be, dx, 0.0F, dx, sqrtf((float)train->sasrec->shape.E));
    be->ops->scatter_add_rows(be, gradient(train->sasrec, FIXED_TABLE), dx,
                              tensor_rows(work->index, 0, N));
}

/* Forward, loss and backward of N packed rows; gradients add up. */
static void sasrec_pass(struct sasrec_train *train, int N, int segments) {
    struct sasrec *sasrec = train->sasrec;
    struct sasrec_work *work = train->work;
    struct backend *be = work->be;
    const int blocks = sasrec->shape.blocks;
    const float dropout = train->how->dropout;

    sasrec_embed(sasrec, work, N, dropout, sasrec->seed, train->stream);
    for (int b = 0; b < blocks; b++) {
        struct tensor out = b + 1 < blocks ? work->blocks[b + 1].x : work->out;
        sasrec_block_forward(sasrec, work, b, &work->blocks[b], out, N, segments, dropout,
                             sasrec->seed, train->stream + 2 * (uint64_t)b + 1);
    }
    struct tensor mean = tensor_rows(work->mean, 0, N), rstd = tensor_rows(work->rstd, 0, N);
    struct tensor out = tensor_rows(work->out, 0, N), dx = tensor_rows(work->dx, 0, N);
    be->ops->layernorm_forward(be, tensor_rows(work->z, 0, N), mean, rstd, out,
                               sasrec_value(sasrec, FIXED_GAIN), sasrec_value(sasrec, FIXED_BIAS),
                               LAYERNORM_EPS);
    if (train->sampled != NULL) {
        sasrec_sampled_begin(train->sampled, sasrec, work, N, sasrec->seed, train->stream + 63);
    }
    pass_loss(train, N);
    if (train->sampled != NULL) { sasrec_sampled_end(train->sampled, sasrec, work, N); }

    be->ops->fill(be, dx, 0.0F);
    norm_backward(train, dx, tensor_rows(work->dz, 0, N), out, mean, rstd, FIXED_GAIN, FIXED_BIAS);
    for (int b = blocks - 1; b >= 0; b--) {
        feed_forward_backward(train, b, N);
        attention_backward(train, b, N, segments);
    }
    embed_backward(train, N);
}

/* ---- step ------------------------------------------------------------------------------------ */

/* The table's gradient as the step sees it: all rows, or the touched ones gathered. */
struct table_gradient {
    struct tensor rows;  /* (n,E) */
    struct tensor index; /* (n,1) i32; none: rows 0 .. M-1 */
};

/* dP (W,E) = titles^T dv over the rows that have a gradient */
static enum status titles_backward(struct sasrec *sasrec, const struct table_gradient *table,
                                   struct error *err) {
    struct backend *be = sasrec->be;
    const int W = sasrec->shape.title_width;
    struct tensor titles = tensor_none();

    if (W == 0) { return STATUS_OK; }
    struct tensor dP = sasrec->grad[sasrec->parameters - 1];
    if (tensor_is_none(table->index)) {
        be->ops->product(be, dP, tensor_rows(sasrec->titles, 0, sasrec->M), true, table->rows,
                         false, 1.0F, 1.0F);
        return STATUS_OK;
    }
    enum status status = backend_tensor_take(be, DTYPE_F32, table->rows.rows, W, &titles, err);
    if (status != STATUS_OK) { return status; }
    be->ops->gather_rows(be, titles, tensor_rows(sasrec->titles, 0, sasrec->M), table->index);
    be->ops->product(be, dP, titles, true, table->rows, false, 1.0F, 1.0F);
    status = be->ops->synchronise(be, err);
    backend_tensor_give(be, &titles);
    return status;
}

static void sasrec_zero_gradients(struct sasrec *sasrec, const struct table_gradient *table) {
    struct backend *be = sasrec->be;

    be->ops->fill(be, table->rows, 0.0F);
    if (!tensor_is_none(table->index)) {
        be->ops->scatter_rows(be, gradient(sasrec, FIXED_TABLE), table->rows, table->index);
    }
    for (int p = FIXED_TABLE + 1; p < sasrec->parameters; p++) {
        be->ops->fill(be, gradient(sasrec, p), 0.0F);
    }
}

static void sasrec_adam(struct sasrec *sasrec, const struct sasrec_step *how, double norm,
                        const struct table_gradient *table) {
    struct optimizer_tensor tensors[PARAMETERS_MAX];
    bool clipped = how->clip_norm > 0 && norm > (double)how->clip_norm;
    const struct adamw adam = {
        .beta1 = how->beta1,
        .beta2 = how->beta2,
        .epsilon = how->epsilon,
        .step = how->step,
        .grad_scale = clipped ? (float)((double)how->clip_norm / norm) : 1.0F,
    };

    int titles = sasrec->shape.title_width > 0 ? sasrec->parameters - 1 : -1;
    for (int p = 0; p < sasrec->parameters; p++) {
        const struct sasrec_tensor *tensor = &sasrec->tensor[p];
        float multiplier = p == titles ? TITLE_RATE : 1.0F;
        tensors[p] = (struct optimizer_tensor){
            .value = tensor->value,
            .grad = p == FIXED_TABLE ? table->rows : gradient(sasrec, p),
            .moment1 = tensor->moment1,
            .moment2 = tensor->moment2,
            .learning_rate = how->learning_rate * multiplier,
            .weight_decay = tensor->rows > 1 ? how->weight_decay : 0.0F,
        };
    }
    int first = tensor_is_none(table->index) ? FIXED_TABLE : FIXED_TABLE + 1;
    sasrec->be->ops->adamw(sasrec->be, tensors + first, sasrec->parameters - first, &adam);
    if (first > FIXED_TABLE) {
        sasrec->be->ops->adam_rows(sasrec->be, tensors[FIXED_TABLE], table->index, &adam);
    }
    sasrec->stale = sasrec->shape.title_width > 0;
}

/* Norm, check, Adam, zero gradients. */
static enum status sasrec_finish(struct sasrec_train *train, struct sasrec_stats *ret_stats,
                                 struct error *err) {
    struct sasrec *sasrec = train->sasrec;
    struct tensor grads[PARAMETERS_MAX];
    struct table_gradient table = {gradient(sasrec, FIXED_TABLE), tensor_none()};
    double squares = 0;
    enum status status = STATUS_OK;

    if (train->sampled != NULL) {
        status = sasrec_sampled_gather(train->sampled, sasrec, &table.rows, &table.index, err);
        if (status != STATUS_OK) { return status; }
    }
    status = titles_backward(sasrec, &table, err);
    if (status != STATUS_OK) { goto done; }
    for (int p = 0; p < sasrec->parameters; p++) {
        grads[p] = p == FIXED_TABLE ? table.rows : gradient(sasrec, p);
    }
    status = sasrec->be->ops->squared_norm(sasrec->be, grads, sasrec->parameters, &squares, err);
    if (status != STATUS_OK) { goto done; }

    *ret_stats = (struct sasrec_stats){
        .loss = train->loss,
        .grad_norm = sqrt(squares),
        .positions = train->positions,
        .discarded = !isfinite(train->loss) || !isfinite(squares),
    };
    if (!ret_stats->discarded) { sasrec_adam(sasrec, train->how, ret_stats->grad_norm, &table); }
    sasrec_zero_gradients(sasrec, &table);
    status = sasrec->be->ops->synchronise(sasrec->be, err);
done:
    if (train->sampled != NULL) { backend_tensor_give(sasrec->be, &table.rows); }
    return status;
}

/* Sum of position weights over all sequences, so that the loss is their weighted mean. */
static double weights_of(const struct sasrec *sasrec, const struct sasrec_sequence *sequences,
                         int count) {
    double sum = 0;

    for (int s = 0; s < count; s++) {
        int known = 0;
        for (int n = sequences[s].count - 1; n >= 0 && known <= sasrec->shape.S; n--) {
            if (sequences[s].items[n] < (uint32_t)sasrec->M) { known++; }
        }
        if (known > 1) { sum += (double)sequences[s].weight * (known - 1); }
    }
    return sum;
}

static enum status train_begin(struct sasrec_train *train, struct error *err) {
    struct sasrec *sasrec = train->sasrec;

    if (sasrec->work == NULL) {
        enum status status = sasrec_work_new(sasrec->be, &sasrec->shape, true, &sasrec->work, err);
        if (status != STATUS_OK) { return status; }
    }
    train->work = sasrec->work;
    int negatives = train->how->sampled_negatives, columns = sasrec->M;
    if (negatives > 0 && negatives < sasrec->M) {
        enum status status = sasrec_sampled_new(sasrec, negatives, &train->sampled, err);
        if (status != STATUS_OK) { return status; }
        columns = train->sampled->columns_max;
    }
    int rows = LOGITS_MAX / (columns > 0 ? columns : 1);
    rows = rows < PIECE_ROWS_MIN ? PIECE_ROWS_MIN : rows;
    train->piece_rows = rows > PIECE_ROWS_MAX ? PIECE_ROWS_MAX : rows;
    size_t bytes = (size_t)train->piece_rows * (size_t)columns * sizeof *train->logits;
    train->logits = memory_take_aligned(64, bytes > 0 ? bytes : 64);
    if (train->logits == NULL) {
        return error_set(err, STATUS_NO_MEMORY, "SASRec's logits of %zu bytes", bytes);
    }
    (void)sasrec_vectors(sasrec); /* computes them */
    return STATUS_OK;
}

enum status sasrec_train(struct sasrec *sasrec, const struct sasrec_sequence *sequences, int count,
                         const struct sasrec_step *how, struct sasrec_stats *ret_stats,
                         struct error *err) {
    struct sasrec_train train = {.sasrec = sasrec, .how = how};
    int first = 0;

    assert(sasrec->trainable && how->step >= 1);
    train.weight_sum = weights_of(sasrec, sequences, count);
    train.stream = (uint64_t)how->step << 20;
    if (!(train.weight_sum > 0)) {
        *ret_stats = (struct sasrec_stats){0};
        return STATUS_OK;
    }
    enum status status = train_begin(&train, err);
    while (status == STATUS_OK && first < count) {
        int N = 0, segments = 0;
        first += sasrec_pack(sasrec, train.work, sequences, first, count, true, &N, &segments);
        float *weight = train.work->weight.data;
        for (int n = 0; n < N; n++) {
            weight[n] = (float)((double)weight[n] / train.weight_sum);
        }
        if (N > 0) {
            sasrec_pass(&train, N, segments);
            train.stream += 64;
        }
    }
    if (status == STATUS_OK) { status = sasrec_finish(&train, ret_stats, err); }
    sasrec_sampled_free(sasrec->be, train.sampled);
    memory_free(train.logits);
    if (status != STATUS_OK) { return error_wrap(err, "training SASRec"); }
    return STATUS_OK;
}
