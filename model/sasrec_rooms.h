/* SPDX-License-Identifier: Apache-2.0
 *
 * sasrec_rooms.h - what the rooms of SASRec share: the parameters, their order, and the
 * activations.
 *
 *   sasrec.c        the object: parameters, growth, copies
 *   sasrec_pass.c   packing and the forward pass, states, log-probabilities
 *   sasrec_train.c  the backward pass and the step
 *   sasrec_sampled.c a softmax over a sample, for large catalogues
 */
#ifndef MODEL_SASREC_ROOMS_H
#define MODEL_SASREC_ROOMS_H

#include "kernels/backend.h"
#include "model/sasrec.h"

#define LAYERNORM_EPS 1e-8f /* Kang & McAuley's released code */

/* Order of the parameters: the fixed ones, each block's, then the title projection. */
enum sasrec_fixed { FIXED_TABLE, FIXED_POSITIONS, FIXED_GAIN, FIXED_BIAS, FIXED_COUNT };
enum sasrec_in_block {
    BLOCK_GAIN1, /* (1,E) LayerNorm before attention */
    BLOCK_BIAS1, /* (1,E) */
    BLOCK_WQKV,  /* (3E,E) q, k, v stacked */
    BLOCK_WO,    /* (E,E) */
    BLOCK_GAIN2, /* (1,E) LayerNorm before the feed-forward */
    BLOCK_BIAS2, /* (1,E) */
    BLOCK_W1,    /* (E,E) */
    BLOCK_B1,    /* (1,E) */
    BLOCK_W2,    /* (E,E) */
    BLOCK_B2,    /* (1,E) */
    BLOCK_COUNT,
};
#define PARAMETERS_MAX (FIXED_COUNT + SASREC_BLOCKS_MAX * BLOCK_COUNT + 1)

struct sasrec {
    struct backend *be; /* borrows: for the object's life */
    struct sasrec_shape shape;
    uint64_t seed;
    bool trainable;
    int M;        /* items that exist */
    int capacity; /* rows of table, titles, vectors */
    int parameters;
    struct sasrec_tensor
        tensor[PARAMETERS_MAX + 1];     /* owns values and moments; last: titles or v */
    struct tensor grad[PARAMETERS_MAX]; /* owns; trainable only */
    struct tensor titles;               /* owns; (capacity,W) trainable with W > 0 */
    struct tensor vectors;              /* owns when W > 0; (capacity,E); W = 0: the table itself */
    bool stale;                         /* vectors must be computed again */
    struct sasrec_work *work;           /* owns; training, made by the first step */
};

static inline int sasrec_block_at(int block, enum sasrec_in_block which) {
    return FIXED_COUNT + block * BLOCK_COUNT + (int)which;
}
static inline struct tensor sasrec_value(const struct sasrec *sasrec, int parameter) {
    return sasrec->tensor[parameter].value;
}
/* v (M,E) */
static inline struct tensor sasrec_item_vectors(const struct sasrec *sasrec) {
    return tensor_rows(sasrec->vectors, 0, sasrec->M);
}

/* Kept by the forward pass for the backward pass, one a block; inference reuses the first. */
struct sasrec_activations {
    struct tensor x;            /* (N,E) input of the block */
    struct tensor norm1;        /* (N,E) */
    struct tensor mean1, rstd1; /* (N,1) */
    struct tensor qkv;          /* (N,3E) */
    struct tensor attended;     /* (N,E) */
    struct tensor lse;          /* (N,1) */
    struct tensor middle;       /* (N,E) after the first residual */
    struct tensor norm2;        /* (N,E) */
    struct tensor mean2, rstd2; /* (N,1) */
    struct tensor hidden;       /* (N,E) after ReLU */
};

struct sasrec_work {
    struct backend *be;
    struct sasrec_shape shape;
    bool training;
    int rows_max;                          /* N */
    struct tensor slab;                    /* owns everything below */
    struct tensor index, position, target; /* (N,1) i32 */
    struct tensor weight, loss;            /* (N,1) */
    struct tensor last;                    /* (N,1) i32: row of each sequence's newest item */
    struct sasrec_activations blocks[SASREC_BLOCKS_MAX];
    struct tensor out;                      /* (N,E) after the last block */
    struct tensor z;                        /* (N,E) normalised */
    struct tensor mean, rstd;               /* (N,1) of the final norm */
    struct tensor branch;                   /* (N,E) scratch */
    struct tensor dx, dz, dbranch, dmiddle; /* (N,E) training */
    struct tensor dqkv;                     /* (N,3E) training */
    struct segment *segments;               /* owns; (N) */
    int *first_item; /* owns; (N) first item of each packed sequence that is used */
};

/* Packs sequences [first, ...) until the rows are full: input rows, positions, segments and, in
 * training, targets and weights. Returns how many sequences were taken; sets *ret_rows and
 * *ret_segments. Items beyond M are left out. */
int sasrec_pack(const struct sasrec *sasrec, struct sasrec_work *work,
                const struct sasrec_sequence *sequences, int first, int count, bool training,
                int *ret_rows, int *ret_segments);
/* x of the first block = sqrt(E) v[item] + position */
void sasrec_embed(const struct sasrec *sasrec, struct sasrec_work *work, int N, float dropout,
                  uint64_t seed, uint64_t stream);
/* One block over N packed rows: at->x to `out`, keeping what backward needs. */
void sasrec_block_forward(const struct sasrec *sasrec, struct sasrec_work *work, int block,
                          struct sasrec_activations *at, struct tensor out, int N, int segments,
                          float dropout, uint64_t seed, uint64_t stream);

#endif
