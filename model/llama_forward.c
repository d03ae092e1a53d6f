/* SPDX-License-Identifier: Apache-2.0
 *
 * llama_forward.c - embedding to final norm over one pack.
 *
 * Per layer (Touvron et al. 2023; HF's LlamaDecoderLayer):
 *   middle = x + o(attention(rotate(qkv(norm1(x)))))
 *   next x = middle + down(swiglu(gate_up(norm2(middle))))
 * each linear with its adapter. In the last layer keys and values are made for all rows, everything
 * after the attention for the needed rows only: nobody reads the others.
 * Failure: kept by the backend until it is synchronised. */
#include <math.h>

#include "model/llama.h"

void llama_embed(struct llama_state *state, const struct pack *pack) {
    struct backend *be = state->base->be;
    be->ops->gather_rows(be, first_rows(state->layers[0].x, pack_rows(pack)),
                         state->base->embedding, pack_tensor(pack, PACK_TOKEN));
}

/* y = x W^T + bias, and the adapter's part when there is one. */
static void linear(struct llama_state *state, const struct layer_view *v, enum site_kind kind,
                   struct tensor y, struct tensor x, const struct weight *weight,
                   struct tensor bias) {
    struct backend *be = state->base->be;
    be->ops->linear_forward(be, y, x, weight, bias);
    if (v->params == NULL) { return; }

    const struct adapter_site *site = ilora_params_site(v->params, v->index, kind);
    struct tensor u = tensor_cols(first_rows(state->u, x.rows), 0, site->parts * site->R);
    const struct adapter_gate *gate = kind == SITE_QKV ? &v->gate : &v->gate_needed;
    struct adapter_dropout dropout;
    adapter_forward(be, y, v->s.h[kind], u, x, site, gate,
                    llama_site_dropout(state, v, kind, x, &dropout));
}

/* RMSNorm of each head of a block of columns, in place; raw keeps what went in (Qwen3). */
static void normalise_heads(struct llama_state *state, struct tensor columns, struct tensor raw,
                            struct tensor rstd, struct tensor gain, int heads) {
    struct backend *be = state->base->be;
    int D = state->base->description.D, rows = columns.rows * heads;
    struct tensor dense = tensor_over(state->heads.data, DTYPE_F32, columns.rows, heads * D);
    be->ops->copy(be, raw, columns);
    be->ops->rmsnorm_forward(be, tensor_over(dense.data, DTYPE_F32, rows, D), rstd,
                             tensor_over(raw.data, DTYPE_F32, rows, D), gain,
                             state->base->description.norm_epsilon);
    be->ops->copy(be, columns, dense);
}

/* A layer's rows of the cache: = those of the pack. */
static void keep(struct backend *be, const struct llama_cache *cache, int layer, struct tensor k,
                 struct tensor value) {
    be->ops->scatter_rows(be, tensor_rows(cache->keys, layer * cache->M, cache->M), k, cache->row);
    be->ops->scatter_rows(be, tensor_rows(cache->values, layer * cache->M, cache->M), value,
                          cache->row);
}

static void attend_cached(struct backend *be, const struct llama_cache *cache, int layer,
                          struct tensor out, struct tensor q, const struct model_description *d,
                          float scale) {
    be->ops->attention_cached(be, out, q, tensor_rows(cache->keys, layer * cache->M, cache->M),
                              tensor_rows(cache->values, layer * cache->M, cache->M), cache->ranges,
                              q.rows, d->H, d->G, scale);
}

static void attend(struct llama_state *state, const struct llama_pass *pass,
                   const struct layer_view *v) {
    struct backend *be = state->base->be;
    const struct model_description *d = &state->base->description;
    const struct layer_state *s = &v->s;
    struct tensor normed = first_rows(state->normed, v->N);
    be->ops->rmsnorm_forward(be, normed, s->rstd1, s->x, v->base->norm1, d->norm_epsilon);
    linear(state, v, SITE_QKV, s->qkv, normed, v->base->qkv, v->base->qkv_bias);

    int HD = d->H * d->D, GD = d->G * d->D;
    struct tensor q = tensor_cols(s->qkv, 0, HD), k = tensor_cols(s->qkv, HD, GD);
    struct tensor value = tensor_cols(s->qkv, HD + GD, GD);
    if (d->qk_norm) {
        normalise_heads(state, q, s->q_raw, s->rstd_q, v->base->q_norm, d->H);
        normalise_heads(state, k, s->k_raw, s->rstd_k, v->base->k_norm, d->G);
    }
    struct tensor position = pack_tensor(pass->pack, PACK_POSITION);
    be->ops->rotary(be, q, state->base->rope, position, d->D, false);
    be->ops->rotary(be, k, state->base->rope, position, d->D, false);
    float scale = 1.0f / sqrtf((float)d->D);
    if (pass->cache != NULL) { keep(be, pass->cache, v->index, k, value); }
    if (pass->cache != NULL && pass->cache->ranges != NULL) {
        attend_cached(be, pass->cache, v->index, s->attention, q, d, scale);
    } else {
        be->ops->attention_forward(be, s->attention, s->lse, q, k, value, pass->pack->segments,
                                   pass->pack->segment_count, d->H, d->G, scale);
    }
}

static void one_layer(struct llama_state *state, const struct llama_pass *pass, int index) {
    struct backend *be = state->base->be;
    const struct model_description *d = &state->base->description;
    struct layer_view v = llama_layer_view(state, pass, index);
    attend(state, pass, &v);

    struct tensor attention = v.s.attention, x = v.s.x;
    struct tensor next =
        v.last ? first_rows(state->out, v.n) : first_rows(state->layers[index + 1].x, v.N);
    if (v.last) {
        struct tensor need = pack_tensor(pass->pack, PACK_NEED);
        attention = first_rows(state->last_attention, v.n);
        x = first_rows(state->last_x, v.n);
        be->ops->gather_rows(be, attention, v.s.attention, need);
        be->ops->gather_rows(be, x, v.s.x, need);
    }
    linear(state, &v, SITE_O, v.s.middle, attention, v.base->o, tensor_none());
    be->ops->axpby(be, v.s.middle, 1.0f, x, 1.0f);

    struct tensor normed = first_rows(state->normed, v.n), wide = first_rows(state->wide, v.n);
    be->ops->rmsnorm_forward(be, normed, v.s.rstd2, v.s.middle, v.base->norm2, d->norm_epsilon);
    linear(state, &v, SITE_GATE_UP, v.s.gate_up, normed, v.base->gate_up, tensor_none());
    be->ops->swiglu_forward(be, wide, v.s.gate_up);
    linear(state, &v, SITE_DOWN, next, wide, v.base->down, tensor_none());
    be->ops->axpby(be, next, 1.0f, v.s.middle, 1.0f);
}

void llama_forward(struct llama_state *state, const struct llama_pass *pass) {
    struct backend *be = state->base->be;
    const struct model_description *d = &state->base->description;
    assert(pack_rows(pass->pack) > 0);
    assert(!pass->adapted || pass->params != NULL);

    for (int i = 0; i < d->L; i++) {
        if (pass->keep_half && !state->training && i == d->L / 2) {
            int N = pack_rows(pass->pack);
            be->ops->copy(be, first_rows(state->half, N), first_rows(state->layers[i].x, N));
        }
        one_layer(state, pass, i);
    }
    int n = pass->pack->count[PACK_NEED];
    be->ops->rmsnorm_forward(be, first_rows(state->final, n), first_rows(state->final_rstd, n),
                             first_rows(state->out, n), state->base->final_norm, d->norm_epsilon);
}
