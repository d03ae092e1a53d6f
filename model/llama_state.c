/* SPDX-License-Identifier: Apache-2.0
 *
 * llama_state.c - where the activations live, and the view of them that one layer works on.
 *
 * Failure: only the host list can fail; the device memory is one slab taken by language_model.c. */
#include "base/memory.h"
#include "model/llama.h"

enum status llama_state_init(struct llama_state *state, const struct base_model *base,
                             bool training, struct error *err) {
    *state = (struct llama_state){.base = base, .training = training};
    state->layers = MEMORY_TAKE_ARRAY(struct layer_state, (size_t)base->description.L);
    if (state->layers == NULL) { return error_set(err, STATUS_NO_MEMORY, "list of layers"); }
    return STATUS_OK;
}

void llama_state_free(struct llama_state *state) {
    memory_free(state->layers);
    *state = (struct llama_state){0};
}

static void layer_layout(struct layer_state *s, struct slab *slab,
                         const struct model_description *d, int R, int N) {
    int q = d->H * d->D, k = d->G * d->D;
    s->x = slab_tensor(slab, DTYPE_F32, N, d->C);
    s->rstd1 = slab_tensor(slab, DTYPE_F32, N, 1);
    if (d->qk_norm) {
        s->q_raw = slab_tensor(slab, DTYPE_F32, N, q);
        s->k_raw = slab_tensor(slab, DTYPE_F32, N, k);
        s->rstd_q = slab_tensor(slab, DTYPE_F32, N * d->H, 1);
        s->rstd_k = slab_tensor(slab, DTYPE_F32, N * d->G, 1);
    }
    s->qkv = slab_tensor(slab, DTYPE_F32, N, q + 2 * k);
    s->attention = slab_tensor(slab, DTYPE_F32, N, q);
    s->lse = slab_tensor(slab, DTYPE_F32, N, d->H);
    s->middle = slab_tensor(slab, DTYPE_F32, N, d->C);
    s->rstd2 = slab_tensor(slab, DTYPE_F32, N, 1);
    s->gate_up = slab_tensor(slab, DTYPE_F32, N, 2 * d->F);
    s->h[SITE_QKV] = slab_tensor(slab, DTYPE_F32, N, 3 * R);
    s->h[SITE_O] = slab_tensor(slab, DTYPE_F32, N, R);
    s->h[SITE_GATE_UP] = slab_tensor(slab, DTYPE_F32, N, 2 * R);
    s->h[SITE_DOWN] = slab_tensor(slab, DTYPE_F32, N, R);
}

static void backward_layout(struct llama_state *state, struct slab *slab,
                            const struct model_description *d, int R, int N) {
    int q = d->H * d->D, k = d->G * d->D;
    state->du = slab_tensor(slab, DTYPE_F32, N, 3 * R);
    state->dfinal = slab_tensor(slab, DTYPE_F32, N, d->C);
    state->dx = slab_tensor(slab, DTYPE_F32, N, d->C);
    state->dlast = slab_tensor(slab, DTYPE_F32, N, d->C);
    state->dnormed = slab_tensor(slab, DTYPE_F32, N, d->C);
    state->dwide = slab_tensor(slab, DTYPE_F32, N, d->F);
    state->dqkv = slab_tensor(slab, DTYPE_F32, N, q + 2 * k);
    state->dattention = slab_tensor(slab, DTYPE_F32, N, q);
    state->dlast_attention = slab_tensor(slab, DTYPE_F32, N, q);
    if (d->qk_norm) { state->dheads = slab_tensor(slab, DTYPE_F32, N, q); }
    int widest = d->F > d->C ? d->F : d->C;
    state->dropped = slab_tensor(slab, DTYPE_F32, N, q > widest ? q : widest);
}

void llama_state_layout(struct llama_state *state, struct slab *slab,
                        const struct ilora_shape *shape, int N) {
    const struct model_description *d = &state->base->description;
    layer_layout(&state->layers[0], slab, d, shape->R, N);
    for (int i = 1; i < d->L; i++) {
        state->layers[i] = state->layers[0];
        if (state->training) { layer_layout(&state->layers[i], slab, d, shape->R, N); }
    }
    state->out = slab_tensor(slab, DTYPE_F32, N, d->C);
    state->final = slab_tensor(slab, DTYPE_F32, N, d->C);
    state->final_rstd = slab_tensor(slab, DTYPE_F32, N, 1);
    state->last_x = slab_tensor(slab, DTYPE_F32, N, d->C);
    state->last_attention = slab_tensor(slab, DTYPE_F32, N, d->H * d->D);
    state->normed = slab_tensor(slab, DTYPE_F32, N, d->C);
    state->wide = slab_tensor(slab, DTYPE_F32, N, d->F);
    state->u = slab_tensor(slab, DTYPE_F32, N, 3 * shape->R);
    if (d->qk_norm) { state->heads = slab_tensor(slab, DTYPE_F32, N, d->H * d->D); }
    if (state->training) {
        backward_layout(state, slab, d, shape->R, N);
        state->half = state->layers[d->L / 2].x;
    } else { /* the layers share one x, so the middle one must be copied aside */
        state->half = slab_tensor(slab, DTYPE_F32, N, d->C);
    }
}

struct layer_view llama_layer_view(const struct llama_state *state, const struct llama_pass *pass,
                                   int index) {
    const struct model_description *d = &state->base->description;
    struct layer_view v = {.base = &state->base->layers[index],
                           .params = pass->adapted ? pass->params : NULL,
                           .index = index,
                           .last = index == d->L - 1,
                           .N = pack_rows(pass->pack),
                           .dropout = pass->dropout,
                           .gate = pass->gate,
                           .gate_needed = pass->gate};
    v.n = v.last ? pass->pack->count[PACK_NEED] : v.N;
    v.gate.sequence = pack_tensor(pass->pack, PACK_SEQUENCE);
    v.gate_needed.sequence = pack_tensor(pass->pack, v.last ? PACK_NEED_SEQUENCE : PACK_SEQUENCE);

    const struct layer_state *s = &state->layers[index];
    v.s.x = first_rows(s->x, v.N);
    v.s.rstd1 = first_rows(s->rstd1, v.N);
    v.s.q_raw = first_rows(s->q_raw, v.N);
    v.s.k_raw = first_rows(s->k_raw, v.N);
    v.s.rstd_q = first_rows(s->rstd_q, v.N * d->H);
    v.s.rstd_k = first_rows(s->rstd_k, v.N * d->G);
    v.s.qkv = first_rows(s->qkv, v.N);
    v.s.attention = first_rows(s->attention, v.N);
    v.s.lse = first_rows(s->lse, v.N);
    v.s.middle = first_rows(s->middle, v.n);
    v.s.rstd2 = first_rows(s->rstd2, v.n);
    v.s.gate_up = first_rows(s->gate_up, v.n);
    v.s.h[SITE_QKV] = first_rows(s->h[SITE_QKV], v.N);
    v.s.h[SITE_O] = first_rows(s->h[SITE_O], v.n);
    v.s.h[SITE_GATE_UP] = first_rows(s->h[SITE_GATE_UP], v.n);
    v.s.h[SITE_DOWN] = first_rows(s->h[SITE_DOWN], v.n);
    return v;
}

const struct adapter_dropout *llama_site_dropout(const struct llama_state *state,
                                                 const struct layer_view *v, enum site_kind kind,
                                                 struct tensor x,
                                                 struct adapter_dropout *ret_dropout) {
    static const int first_module[SITE_COUNT] = {
        [SITE_QKV] = 0, [SITE_O] = 3, [SITE_GATE_UP] = 4, [SITE_DOWN] = 6};
    if (v->dropout.p == 0.0f) { return NULL; }

    assert(state->training && x.cols <= state->dropped.cols && x.rows <= state->dropped.rows);
    uint64_t module = (uint64_t)v->index * LLAMA_MODULES + (uint64_t)first_module[kind];
    *ret_dropout = (struct adapter_dropout){
        .p = v->dropout.p,
        .seed = v->dropout.seed,
        .stream = v->dropout.stream + module,
        .scratch = tensor_over(state->dropped.data, DTYPE_F32, x.rows, x.cols)};
    return ret_dropout;
}
