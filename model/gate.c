/* SPDX-License-Identifier: Apache-2.0
 *
 * gate.c - the stream and the linear gate, forward and backward. z is an input: no gradient into
 * SASRec. */
#include "model/gate.h"

void gate_layout(struct gate_state *state, struct slab *slab, int B, int E, int K) {
    state->z = slab_tensor(slab, DTYPE_F32, B, E);
    state->normed = slab_tensor(slab, DTYPE_F32, B, E);
    state->mean = slab_tensor(slab, DTYPE_F32, B, 1);
    state->rstd = slab_tensor(slab, DTYPE_F32, B, 1);
    state->logits = slab_tensor(slab, DTYPE_F32, B, K);
    state->weight = slab_tensor(slab, DTYPE_F32, B, K);
    state->dweight = slab_tensor(slab, DTYPE_F32, B, K);
    state->ones = slab_tensor(slab, DTYPE_F32, 1, E);
    state->zeros = slab_tensor(slab, DTYPE_F32, 1, E);
}

void gate_start(struct gate_state *state, struct backend *be) {
    be->ops->fill(be, state->ones, 1.0f);
    be->ops->fill(be, state->zeros, 0.0f);
}

/* What W_g reads. */
static struct tensor gate_features(const struct gate_state *state,
                                   const struct ilora_params *params, int B) {
    return first_rows(params->shape.gate == ILORA_GATE_LINEAR ? state->z : state->normed, B);
}

static float gate_floor(const struct ilora_params *params) {
    return params->shape.gate == ILORA_GATE_LINEAR ? 0.0f : params->shape.gate_floor;
}

void gate_forward(struct backend *be, struct gate_state *state, const struct ilora_params *params,
                  int B) {
    bool stream = params->shape.gate == ILORA_GATE_STREAM;
    struct tensor features = gate_features(state, params, B);
    struct tensor logits = first_rows(state->logits, B);
    assert(params->shape.gate != ILORA_GATE_RESNET);

    if (stream) {
        be->ops->layernorm_forward(be, features, first_rows(state->mean, B),
                                   first_rows(state->rstd, B), first_rows(state->z, B), state->ones,
                                   state->zeros, GATE_NORM_EPSILON);
    }
    be->ops->product(be, logits, features, false, params->gate_weight.value, true, 1.0f, 0.0f);
    if (stream) { be->ops->add_bias(be, logits, params->gate_bias.value); }
    be->ops->softmax_forward(be, first_rows(state->weight, B), logits, gate_floor(params));
    be->ops->fill(be, first_rows(state->dweight, B), 0.0f);
}

void gate_backward(struct backend *be, struct gate_state *state, const struct ilora_params *params,
                   int B) {
    struct tensor dlogits = first_rows(state->logits, B);
    be->ops->softmax_backward(be, dlogits, first_rows(state->dweight, B),
                              first_rows(state->weight, B), gate_floor(params));
    be->ops->product(be, params->gate_weight.grad, dlogits, true, gate_features(state, params, B),
                     false, 1.0f, 1.0f);
    if (params->shape.gate == ILORA_GATE_STREAM) {
        be->ops->sum_rows(be, params->gate_bias.grad, dlogits);
    }
}
