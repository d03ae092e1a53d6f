/* SPDX-License-Identifier: Apache-2.0
 *
 * llama_backward.c - from the gradient at the needed rows back to adapters, gate and item tokens.
 *
 * The base is frozen, so there is no weight gradient: per linear layer one product dy W, and the
 * thin products of the adapter. Gradients travel in place: gate_up becomes its own gradient, the
 * residual stream's gradient is added to. The last layer's second half runs on its needed rows,
 * then spreads out. The first layer's gradient of x is only made when item tokens want it.
 * Failure: kept by the backend until it is synchronised. */
#include <math.h>

#include "model/llama.h"

/* dx = dy W, and the adapter's gradients with its part of dx. */
static void linear(struct llama_state *state, const struct layer_view *v, enum site_kind kind,
                   struct tensor dx, struct tensor dy, struct tensor x,
                   const struct weight *weight) {
    struct backend *be = state->base->be;
    if (!tensor_is_none(dx)) { be->ops->linear_backward(be, dx, dy, weight, false); }

    const struct adapter_site *site = ilora_params_site(v->params, v->index, kind);
    int cols = site->parts * site->R;
    const struct adapter_gate *gate = kind == SITE_QKV ? &v->gate : &v->gate_needed;
    struct adapter_dropout dropout;
    adapter_backward(be, dx, tensor_cols(first_rows(state->u, x.rows), 0, cols),
                     tensor_cols(first_rows(state->du, x.rows), 0, cols), dy, x, v->s.h[kind], site,
                     gate, llama_site_dropout(state, v, kind, x, &dropout));
}

/* dx (n,C): += through the feed-forward half. */
static void feed_forward(struct llama_state *state, const struct layer_view *v, struct tensor dx) {
    struct backend *be = state->base->be;
    struct tensor normed = first_rows(state->normed, v->n), wide = first_rows(state->wide, v->n);
    struct tensor dnormed = first_rows(state->dnormed, v->n);
    struct tensor dwide = first_rows(state->dwide, v->n);

    be->ops->swiglu_forward(be, wide, v->s.gate_up);
    linear(state, v, SITE_DOWN, dwide, dx, wide, v->base->down);
    struct tensor dgate_up = v->s.gate_up;
    be->ops->swiglu_backward(be, dgate_up, dwide, v->s.gate_up);

    struct tensor rstd_again = first_rows(state->final_rstd, v->n);
    be->ops->rmsnorm_forward(be, normed, rstd_again, v->s.middle, v->base->norm2,
                             state->base->description.norm_epsilon);
    linear(state, v, SITE_GATE_UP, dnormed, dgate_up, normed, v->base->gate_up);
    be->ops->rmsnorm_backward(be, dx, dnormed, v->s.middle, v->s.rstd2, v->base->norm2);
}

/* Gradient of a block of heads back through its norm, in place (Qwen3). */
static void heads_backward(struct llama_state *state, struct tensor columns, struct tensor raw,
                           struct tensor rstd, struct tensor gain, int heads) {
    struct backend *be = state->base->be;
    int D = state->base->description.D, rows = columns.rows * heads;
    struct tensor dy = tensor_over(state->heads.data, DTYPE_F32, columns.rows, heads * D);
    struct tensor dx = tensor_over(state->dheads.data, DTYPE_F32, columns.rows, heads * D);
    be->ops->copy(be, dy, columns);
    be->ops->fill(be, dx, 0.0f);
    be->ops->rmsnorm_backward(be, tensor_over(dx.data, DTYPE_F32, rows, D),
                              tensor_over(dy.data, DTYPE_F32, rows, D),
                              tensor_over(raw.data, DTYPE_F32, rows, D), rstd, gain);
    be->ops->copy(be, columns, dx);
}

/* dx (N,C): += through norm1, q,k,v and the attention, given dattention (N,HD). */
static void attention(struct llama_state *state, const struct llama_pass *pass,
                      const struct layer_view *v, struct tensor dx, struct tensor dattention) {
    struct backend *be = state->base->be;
    const struct model_description *d = &state->base->description;
    const struct layer_state *s = &v->s;
    int HD = d->H * d->D, GD = d->G * d->D;
    struct tensor dqkv = first_rows(state->dqkv, v->N);
    struct tensor dq = tensor_cols(dqkv, 0, HD), dk = tensor_cols(dqkv, HD, GD);
    be->ops->attention_backward(
        be, dq, dk, tensor_cols(dqkv, HD + GD, GD), dattention, tensor_cols(s->qkv, 0, HD),
        tensor_cols(s->qkv, HD, GD), tensor_cols(s->qkv, HD + GD, GD), s->attention, s->lse,
        pass->pack->segments, pass->pack->segment_count, d->H, d->G, 1.0f / sqrtf((float)d->D));
    struct tensor position = pack_tensor(pass->pack, PACK_POSITION);
    be->ops->rotary(be, dq, state->base->rope, position, d->D, true);
    be->ops->rotary(be, dk, state->base->rope, position, d->D, true);
    if (d->qk_norm) {
        heads_backward(state, dq, s->q_raw, s->rstd_q, v->base->q_norm, d->H);
        heads_backward(state, dk, s->k_raw, s->rstd_k, v->base->k_norm, d->G);
    }

    bool wanted = v->index > 0 || pass->embedding_gradient;
    struct tensor normed = first_rows(state->normed, v->N);
    struct tensor dnormed = wanted ? first_rows(state->dnormed, v->N) : tensor_none();
    struct tensor rstd_again = first_rows(state->final_rstd, v->N);
    be->ops->rmsnorm_forward(be, normed, rstd_again, s->x, v->base->norm1, d->norm_epsilon);
    linear(state, v, SITE_QKV, dnormed, dqkv, normed, v->base->qkv);
    if (wanted) { be->ops->rmsnorm_backward(be, dx, dnormed, s->x, s->rstd1, v->base->norm1); }
}

/* The last layer: second half on the needed rows, then out to all rows. */
static void last_layer(struct llama_state *state, const struct llama_pass *pass,
                       const struct layer_view *v, struct tensor dx, struct tensor dattention) {
    struct backend *be = state->base->be;
    struct tensor need = pack_tensor(pass->pack, PACK_NEED);
    struct tensor dlast = first_rows(state->dlast, v->n);
    struct tensor dlast_attention = first_rows(state->dlast_attention, v->n);
    feed_forward(state, v, dlast);
    linear(state, v, SITE_O, dlast_attention, dlast, first_rows(state->last_attention, v->n),
           v->base->o);

    be->ops->fill(be, dx, 0.0f);
    be->ops->scatter_rows(be, dx, dlast, need);
    be->ops->fill(be, dattention, 0.0f);
    be->ops->scatter_rows(be, dattention, dlast_attention, need);
}

void llama_backward(struct llama_state *state, const struct llama_pass *pass) {
    struct backend *be = state->base->be;
    const struct model_description *d = &state->base->description;
    int N = pack_rows(pass->pack), n = pass->pack->count[PACK_NEED];
    assert(state->training);
    assert(pass->adapted && pass->params != NULL);

    struct tensor dlast = first_rows(state->dlast, n);
    be->ops->fill(be, dlast, 0.0f);
    be->ops->rmsnorm_backward(be, dlast, first_rows(state->dfinal, n), first_rows(state->out, n),
                              first_rows(state->final_rstd, n), state->base->final_norm);

    struct tensor dx = first_rows(state->dx, N);
    struct tensor dattention = first_rows(state->dattention, N);
    for (int i = d->L - 1; i >= 0; i--) {
        struct layer_view v = llama_layer_view(state, pass, i);
        if (v.last) {
            last_layer(state, pass, &v, dx, dattention);
        } else {
            feed_forward(state, &v, dx);
            linear(state, &v, SITE_O, dattention, dx, v.s.attention, v.base->o);
        }
        attention(state, pass, &v, dx, dattention);
    }
}
