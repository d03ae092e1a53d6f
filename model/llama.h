/* SPDX-License-Identifier: Apache-2.0
 *
 * llama.h - the transformer's memory and its two passes over one pack.
 *
 * Of each layer the backward pass keeps (N rows; the last layer's second half has only the n
 * needed):
 *
 *   x ─norm1─▶·─qkv+A,B─▶ qkv (rotated) ─attention─▶ attention, lse ─o+A,B─▶(+x)─▶ middle
 *   middle ─norm2─▶·─gate,up+A,B─▶ gate_up ─swiglu─▶·─down+A,B─▶(+middle)─▶ x of the next layer
 *
 * The normalised x and the SwiGLU product are made again in the backward pass: they cost one read
 * and write, and keeping them would cost a third of the memory. When only scoring, all layers share
 * one set of buffers.
 */
#ifndef MODEL_LLAMA_H
#define MODEL_LLAMA_H

#include "model/base_model.h"
#include "model/pack.h"
#include "model/params.h"

#define LLAMA_MODULES 7 /* linear layers of a layer */

struct layer_state {
    struct tensor x;             /* (N,C) the layer's input */
    struct tensor rstd1;         /* (N,1) */
    struct tensor q_raw;         /* (N,HD) before its norm; none without qk_norm */
    struct tensor k_raw;         /* (N,GD) */
    struct tensor rstd_q;        /* (N*H,1) */
    struct tensor rstd_k;        /* (N*G,1) */
    struct tensor qkv;           /* (N,(H+2G)D), q and k rotated */
    struct tensor attention;     /* (N,HD) */
    struct tensor lse;           /* (N,H) */
    struct tensor middle;        /* (N,C) after attention */
    struct tensor rstd2;         /* (N,1) */
    struct tensor gate_up;       /* (N,2F) */
    struct tensor h[SITE_COUNT]; /* (N,pR) x A^T of each site */
};

struct llama_state {
    const struct base_model *base; /* borrows */
    bool training;
    struct layer_state *layers;   /* owns: (L) */
    struct tensor out;            /* (n,C) after the last layer, needed rows */
    struct tensor final;          /* (n,C) after the final norm */
    struct tensor final_rstd;     /* (n,1) */
    struct tensor last_x;         /* (n,C) rows of the last layer's x */
    struct tensor last_attention; /* (n,HD) and of its attention */
    struct tensor half;           /* (N,C) hidden states after L/2 layers, when wanted; else none */

    /* scratch of a layer */
    struct tensor normed; /* (N,C) */
    struct tensor wide;   /* (N,F) */
    struct tensor u, du;  /* (N,3R) */
    struct tensor heads;  /* (N,HD) qk_norm */

    /* backward */
    struct tensor dfinal;          /* (n,C) written by the heads */
    struct tensor dx;              /* (N,C) gradient of the residual stream */
    struct tensor dlast;           /* (n,C) the same at the last layer's needed rows */
    struct tensor dnormed;         /* (N,C) */
    struct tensor dwide;           /* (N,F) */
    struct tensor dqkv;            /* (N,(H+2G)D) */
    struct tensor dattention;      /* (N,HD) */
    struct tensor dlast_attention; /* (n,HD) */
    struct tensor dheads;          /* (N,HD) qk_norm */

    struct tensor dropped; /* (N, widest input) training: what A reads, with dropout */
};

/* Dropout of one pass (adapter.h). The modules of layer i have the streams from
 * stream + LLAMA_MODULES i. */
struct llama_dropout {
    float p; /* 0: none */
    uint64_t seed;
    uint64_t stream;
};

/* Keys and values that passes leave for later ones (decoding, language_model_decode.h). Layer i has
 * rows [i M, (i+1) M) of both tensors. */
struct llama_cache {
    int M;                /* rows of a layer */
    struct tensor keys;   /* (L M, GD), rotated */
    struct tensor values; /* (L M, GD) */
    struct tensor row;    /* (N,1) i32: where in a layer's rows a row of the pack is written */
    /* Host (N): the rows of the cache that a row of the pack sees, itself included. NULL: rows see
     * what the pack's segments say. */
    const struct row_range *ranges;
};

/* How one pass runs. */
struct llama_pass {
    const struct pack *pack;
    const struct ilora_params *params; /* NULL: base alone */
    struct adapter_gate gate;          /* weight (B,K); sequence is set by the passes */
    bool adapted;                      /* false: adapters are left out */
    bool keep_half;                    /* fill state->half */
    bool embedding_gradient;           /* dx reaches the embedding rows (item tokens) */
    const struct llama_cache *cache;   /* NULL: keys and values are not kept */
    struct llama_dropout dropout;      /* training */
};

/* Host list of layers. NO_MEMORY. */
MUST_CHECK enum status llama_state_init(struct llama_state *state, const struct base_model *base,
                                        bool training, struct error *err);
void llama_state_free(struct llama_state *state);
/* Takes all tensors for packs of at most N rows. */
void llama_state_layout(struct llama_state *state, struct slab *slab,
                        const struct ilora_shape *shape, int N);

/* Rows of the embedding table into the first layer's x. */
void llama_embed(struct llama_state *state, const struct pack *pack);
/* All layers and the final norm: state->final (n,C): = */
void llama_forward(struct llama_state *state, const struct llama_pass *pass);
/* From state->dfinal (n,C) back: gradients of adapters and gate->dweight: += ; state->dx (N,C), the
 * gradient of the embedding rows: = when wanted. */
void llama_backward(struct llama_state *state, const struct llama_pass *pass);

/* Shared by the two passes: views of a layer for the rows it works on. */
struct layer_view {
    struct layer_state s; /* cut to the rows in use */
    const struct base_layer *base;
    const struct ilora_params *params;
    int index;
    bool last;
    int N; /* rows of the first half */
    int n; /* rows of the second half: N, or the needed ones */
    struct llama_dropout dropout;
    struct adapter_gate gate;        /* for N rows */
    struct adapter_gate gate_needed; /* for n rows */
};
struct layer_view llama_layer_view(const struct llama_state *state, const struct llama_pass *pass,
                                   int index);
/* The dropout of one site, whose input is like x; NULL when there is none. */
const struct adapter_dropout *llama_site_dropout(const struct llama_state *state,
                                                 const struct layer_view *v, enum site_kind kind,
                                                 struct tensor x,
                                                 struct adapter_dropout *ret_dropout);

#endif
