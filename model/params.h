/* SPDX-License-Identifier: Apache-2.0
 *
 * params.h - everything trainable in five slabs of one layout, seen by the rooms that use it.
 *
 *   ┌ layer 0 ───────────────────────────────────┬ layer 1 ┬ … ┬ gate ┬ projector ┬ heads ┐
 *   │ q.A k.A v.A | q.B | k.B | v.B | o.A | o.B |│
 *   └ the A of a site are adjacent: one (pR,I) ──┘
 *
 * value, grad, moment1, moment2 and ema share it, so "the step" and "the EMA" are one call over the
 * slab or over one list. The public half of the door is in language_model.h.
 */
#ifndef MODEL_PARAMS_H
#define MODEL_PARAMS_H

#include "model/adapter.h"
#include "model/gate_resnet.h"
#include "model/language_model.h"

enum site_kind { SITE_QKV, SITE_O, SITE_GATE_UP, SITE_DOWN, SITE_COUNT };

#define ILORA_SLAB_COUNT 5

#define PARAMS_A_LAYER          14                        /* 7 linear layers, A and B each */
#define PARAMS_BESIDE           (GATE_RESNET_TENSORS + 7) /* gate, projector 4, heads 3: at most */
#define PARAMS_ALIGNMENT_FLOATS 64u                       /* where a tensor may start */

/* Groups of learning-rate multipliers (struct lm_step). Statistics are saved and loaded as all
 * else, but no gradient, optimiser or average touches them. */
enum params_group {
    GROUP_ADAPTER,
    GROUP_PROJECTOR,
    GROUP_GATE,
    GROUP_HEADS,
    GROUP_TRAINED, /* so many are trained */
    GROUP_STATISTICS = GROUP_TRAINED,
};

/* A parameter and its gradient (none when the params only score). */
struct param {
    struct tensor value, grad;
};

struct ilora_params {
    struct backend *be; /* borrows */
    struct ilora_shape shape;
    bool trainable;
    int count;                             /* tensors */
    int capacity;                          /* of the list */
    struct ilora_tensor *tensors;          /* owns */
    size_t floats;                         /* of one slab, a multiple of PARAMS_SLAB_COLS */
    struct tensor slabs[ILORA_SLAB_COUNT]; /* owns: (floats/PARAMS_SLAB_COLS, PARAMS_SLAB_COLS) */

    int L;
    struct adapter_site *sites;      /* owns: (L, SITE_COUNT) */
    struct param gate_weight;        /* (K,E); none with the ResNet gate */
    struct param gate_bias;          /* (1,K); stream gate only */
    int gate_first;                  /* index of the gate's first tensor */
    size_t gate_offset;              /* and its first float in a slab */
    struct param projector_in;       /* (C',E); none without item tokens */
    struct param projector_in_bias;  /* (1,C') */
    struct param projector_out;      /* (C,C') */
    struct param projector_out_bias; /* (1,C) */
    struct param head_hidden;        /* (E,C): P; none without the item head */
    struct param head_history;       /* (E,E): P2 */
    struct param head_bias;          /* (1,items_max): b */
};

/* Slabs are viewed as rows of this many floats, so that element-wise operators have rows to share
 * out among threads. */
#define PARAMS_SLAB_COLS 1024

const struct adapter_site *ilora_params_site(const struct ilora_params *params, int layer,
                                             enum site_kind kind);

/* View of one tensor of the list in one slab. */
struct tensor ilora_params_tensor(const struct ilora_params *params, enum ilora_slab slab,
                                  int index);

#endif
