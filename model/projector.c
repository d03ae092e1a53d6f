/* SPDX-License-Identifier: Apache-2.0
 *
 * projector.c - item tokens, forward and backward. The item vectors get no gradient (MODEL.md). */
#include "model/projector.h"

void projector_layout(struct projector_state *state, struct slab *slab,
                      const struct ilora_shape *shape, int C, int rows_max) {
    state->vectors = slab_tensor(slab, DTYPE_F32, rows_max, shape->E);
    state->hidden = slab_tensor(slab, DTYPE_F32, rows_max, shape->projector_width);
    state->active = slab_tensor(slab, DTYPE_F32, rows_max, shape->projector_width);
    state->tokens = slab_tensor(slab, DTYPE_F32, rows_max, C);
}

void projector_forward(struct backend *be, struct projector_state *state,
                       const struct ilora_params *params, const struct pack *pack,
                       struct tensor items, struct tensor x) {
    int P = pack->count[PACK_ITEM];
    if (P == 0) { return; }

    struct tensor vectors = first_rows(state->vectors, P), hidden = first_rows(state->hidden, P);
    struct tensor active = first_rows(state->active, P), tokens = first_rows(state->tokens, P);
    be->ops->gather_rows(be, vectors, items, pack_tensor(pack, PACK_ITEM));
    be->ops->product(be, hidden, vectors, false, params->projector_in.value, true, 1.0f, 0.0f);
    be->ops->add_bias(be, hidden, params->projector_in_bias.value);
    be->ops->gelu_forward(be, active, hidden);
    be->ops->product(be, tokens, active, false, params->projector_out.value, true, 1.0f, 0.0f);
    be->ops->add_bias(be, tokens, params->projector_out_bias.value);
    be->ops->scatter_rows(be, x, tokens, pack_tensor(pack, PACK_ITEM_ROW));
}

void projector_backward(struct backend *be, struct projector_state *state,
                        const struct ilora_params *params, const struct pack *pack,
                        struct tensor dx) {
    int P = pack->count[PACK_ITEM];
    if (P == 0) { return; }

    struct tensor dtokens = first_rows(state->tokens, P), hidden = first_rows(state->hidden, P);
    struct tensor active = first_rows(state->active, P);
    be->ops->gather_rows(be, dtokens, dx, pack_tensor(pack, PACK_ITEM_ROW));
    be->ops->product(be, params->projector_out.grad, dtokens, true, active, false, 1.0f, 1.0f);
    be->ops->sum_rows(be, params->projector_out_bias.grad, dtokens);

    struct tensor dhidden = active; /* its last reader was the line above the sum */
    be->ops->product(be, dhidden, dtokens, false, params->projector_out.value, false, 1.0f, 0.0f);
    be->ops->gelu_backward(be, dhidden, dhidden, hidden);
    be->ops->product(be, params->projector_in.grad, dhidden, true, first_rows(state->vectors, P),
                     false, 1.0f, 1.0f);
    be->ops->sum_rows(be, params->projector_in_bias.grad, dhidden);
}
