/* SPDX-License-Identifier: Apache-2.0
 *
 * adapter.h - iLoRA beside a frozen product, with the gate folded into the rank axis.
 *
 *     x (N,I) ──A──▶ h (N,pR) ──* gate──▶ u (N,pR) ──part j──▶ y_j (N,O_j) += s u_j B_j^T
 *
 * A site is a group of p linear layers that read the same x (q,k,v: 3; gate,up: 2; o, down: 1):
 * their A are one stacked matrix, so h is one product. No product per expert: expert k owns ranks
 * [k R/K, (k+1) R/K), and scaling those columns of h by w_k equals the paper's sum over experts
 * (Kong et al. 2024, eq. 9; MODEL.md). s = alpha / (R/K).
 */
#ifndef MODEL_ADAPTER_H
#define MODEL_ADAPTER_H

#include "kernels/backend.h"

#define ADAPTER_PARTS_MAX 3

struct adapter_site {
    int parts;                           /* p */
    int R;                               /* ranks of one part */
    float scale;                         /* s */
    struct tensor down;                  /* (pR,I): the paper's A, stacked */
    struct tensor up[ADAPTER_PARTS_MAX]; /* (O_j,R): the paper's B */
    struct tensor ddown;                 /* gradients; none when the params only score */
    struct tensor dup[ADAPTER_PARTS_MAX];
};

/* What an adapter needs to know of the pack. */
struct adapter_gate {
    struct tensor weight;   /* (B,K) */
    struct tensor dweight;  /* (B,K), backward only */
    struct tensor sequence; /* (N,1) i32: which row of weight */
};

/* Inverted dropout on what A reads: h_j = dropout(x) A_j^T, the frozen product keeps all of x (Hu
 * et al. 2021, as PEFT does it). Each layer of a site has a mask of its own, as PEFT's module has:
 * so the site's A are then p products instead of one. Masks are made again in the backward pass. */
struct adapter_dropout {
    float p; /* in [0,1) */
    uint64_t seed;
    uint64_t stream;       /* Philox stream of part 0; part j has stream + j */
    struct tensor scratch; /* (N,I) */
};

/* y (N, sum O_j): += ; h (N,pR): = , kept for backward. u (N,pR): scratch. dropout: NULL = none. */
void adapter_forward(struct backend *be, struct tensor y, struct tensor h, struct tensor u,
                     struct tensor x, const struct adapter_site *site,
                     const struct adapter_gate *gate, const struct adapter_dropout *dropout);

/* dx (N,I): += (none: not wanted); site->ddown, dup: += ; gate->dweight: += .
 * u, du (N,pR): scratch. x, h and dropout are those of the forward pass. */
void adapter_backward(struct backend *be, struct tensor dx, struct tensor u, struct tensor du,
                      struct tensor dy, struct tensor x, struct tensor h,
                      const struct adapter_site *site, const struct adapter_gate *gate,
                      const struct adapter_dropout *dropout);

#endif
