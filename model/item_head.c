/* SPDX-License-Identifier: Apache-2.0
 *
 * item_head.c - scores, loss and gradients over the catalogue, a chunk of sequences at a time.
 *
 * Why chunks: logits of 64 sequences over 100,000 items are 25 MB, over four million a gigabyte;
 * the buffer is bounded (ITEM_HEAD_LOGITS_MAX) and the chunk is a function of sizes alone, so
 * results do not depend on load. Cross-entropy leaves the gradient in the logits (backend.h). */
#include "model/item_head.h"

static int chunk_rows(int B, int items_max) {
    int rows = (int)(ITEM_HEAD_LOGITS_MAX / (unsigned)items_max);
    if (rows < 1) { return 1; }
    return rows < B ? rows : B;
}

void item_head_layout(struct item_head_state *state, struct slab *slab,
                      const struct ilora_shape *shape, int C, int B, int items_max, bool training) {
    state->history = slab_tensor(slab, DTYPE_F32, B, shape->E);
    state->h = slab_tensor(slab, DTYPE_F32, B, C);
    state->normed = slab_tensor(slab, DTYPE_F32, B, C);
    state->mean = slab_tensor(slab, DTYPE_F32, B, 1);
    state->rstd = slab_tensor(slab, DTYPE_F32, B, 1);
    state->z = slab_tensor(slab, DTYPE_F32, B, shape->E);
    state->logits = slab_tensor(slab, DTYPE_F32, chunk_rows(B, items_max), items_max);
    state->loss = slab_tensor(slab, DTYPE_F32, B, 1);
    state->weight = slab_tensor(slab, DTYPE_F32, B, 1);
    state->ones = slab_tensor(slab, DTYPE_F32, 1, C);
    state->zeros = slab_tensor(slab, DTYPE_F32, 1, C);
    if (training) {
        state->dz = slab_tensor(slab, DTYPE_F32, B, shape->E);
        state->dh = slab_tensor(slab, DTYPE_F32, B, C);
    }
}

void item_head_start(struct item_head_state *state, struct backend *be) {
    be->ops->fill(be, state->ones, 1.0f);
    be->ops->fill(be, state->zeros, 0.0f);
}

void item_head_forward(struct backend *be, struct item_head_state *state,
                       const struct ilora_params *params, const struct pack *pack,
                       struct tensor final) {
    int B = pack->samples;
    struct tensor h = first_rows(state->h, B), normed = first_rows(state->normed, B);
    struct tensor z = first_rows(state->z, B);
    be->ops->gather_rows(be, h, final, pack_tensor(pack, PACK_LAST));
    be->ops->layernorm_forward(be, normed, first_rows(state->mean, B), first_rows(state->rstd, B),
                               h, state->ones, state->zeros, ITEM_HEAD_NORM_EPSILON);
    be->ops->product(be, z, normed, false, params->head_hidden.value, true, 1.0f, 0.0f);
    be->ops->product(be, z, first_rows(state->history, B), false, params->head_history.value, true,
                     1.0f, 1.0f);
}

/* logits (b,M) of sequences [first, first+b); dense whatever M is. */
static struct tensor score_chunk(struct backend *be, struct item_head_state *state,
                                 const struct ilora_params *params, struct tensor items, int first,
                                 int b) {
    struct tensor logits = tensor_over(state->logits.data, DTYPE_F32, b, items.rows);
    be->ops->product(be, logits, tensor_rows(state->z, first, b), false, items, true, 1.0f, 0.0f);
    be->ops->add_bias(be, logits, tensor_cols(params->head_bias.value, 0, items.rows));
    return logits;
}

void item_head_loss(struct backend *be, struct item_head_state *state,
                    const struct ilora_params *params, const struct pack *pack, struct tensor items,
                    struct tensor dfinal) {
    int B = pack->samples;
    struct tensor target = pack_tensor(pack, PACK_TARGET);
    for (int first = 0; first < B; first += state->logits.rows) {
        int b = B - first < state->logits.rows ? B - first : state->logits.rows;
        struct tensor logits = score_chunk(be, state, params, items, first, b);
        be->ops->cross_entropy(be, tensor_rows(state->loss, first, b), logits,
                               tensor_rows(target, first, b), tensor_rows(state->weight, first, b));
        be->ops->sum_rows(be, tensor_cols(params->head_bias.grad, 0, items.rows), logits);
        be->ops->product(be, tensor_rows(state->dz, first, b), logits, false, items, false, 1.0f,
                         0.0f);
    }

    struct tensor dz = first_rows(state->dz, B), dh = first_rows(state->dh, B);
    struct tensor dnormed = first_rows(state->normed, B);
    be->ops->product(be, params->head_hidden.grad, dz, true, dnormed, false, 1.0f, 1.0f);
    be->ops->product(be, params->head_history.grad, dz, true, first_rows(state->history, B), false,
                     1.0f, 1.0f);
    be->ops->product(be, dnormed, dz, false, params->head_hidden.value, false, 1.0f, 0.0f);
    be->ops->fill(be, dh, 0.0f);
    be->ops->layernorm_backward(be, dh, tensor_none(), tensor_none(), dnormed,
                                first_rows(state->h, B), first_rows(state->mean, B),
                                first_rows(state->rstd, B), state->ones);
    be->ops->scatter_add_rows(be, dfinal, dh, pack_tensor(pack, PACK_LAST));
}

enum status item_head_score(struct backend *be, struct item_head_state *state,
                            const struct ilora_params *params, struct tensor items, int B,
                            float *ret_logprobs, struct error *err) {
    for (int first = 0; first < B; first += state->logits.rows) {
        int b = B - first < state->logits.rows ? B - first : state->logits.rows;
        struct tensor logits = score_chunk(be, state, params, items, first, b);
        be->ops->log_softmax(be, logits);
        enum status status =
            be->ops->download(be, ret_logprobs + (size_t)first * (size_t)items.rows, logits, err);
        if (status != STATUS_OK) { return status; }
    }
    return STATUS_OK;
}
