/* SPDX-License-Identifier: Apache-2.0
 *
 * base_model.h - the frozen Llama on a device: packed matrices, norm gains, embedding, rotary
 * table.
 *
 * The rooms of the language model look inside; everybody else uses the functions that
 * language_model.h declares. q,k,v are one matrix ((H+2G)D, C) and gate,up another (2F, C): one
 * product each. Nothing here changes after loading.
 */
#ifndef MODEL_BASE_MODEL_H
#define MODEL_BASE_MODEL_H

#include "model/language_model.h"

#define ROPE_ROWS_MAX 4096 /* positions the rotary table holds; a prompt has at most 1,024 */

struct base_layer {
    struct weight *qkv;     /* owns: ((H+2G)D, C) */
    struct weight *o;       /* owns: (C, HD) */
    struct weight *gate_up; /* owns: (2F, C) */
    struct weight *down;    /* owns: (C, F) */
    struct tensor norm1;    /* (1,C) before attention */
    struct tensor norm2;    /* (1,C) before the feed-forward */
    struct tensor qkv_bias; /* (1,(H+2G)D) or none (Qwen2) */
    struct tensor q_norm;   /* (1,D) or none (Qwen3) */
    struct tensor k_norm;   /* (1,D) or none */
};

struct base_model {
    struct backend *be; /* borrows */
    struct model_description description;
    enum precision precision;
    bool for_training;
    struct base_layer *layers; /* owns: (L) */
    struct tensor embedding;   /* owns: (V,C) f32 */
    struct tensor vectors;     /* owns: gains and biases, one slab */
    struct tensor final_norm;  /* (1,C) */
    struct tensor rope;        /* owns: (T,D): cos, sin */
    struct weight *head;       /* owns: (V,C); NULL until asked for when tied */
    bool head_backward;
    size_t bytes; /* device bytes of all of the above */
};

/* How a base is held in memory. */
struct base_model_form {
    enum precision precision; /* of the packed matrices */
    int copies;               /* of each: 2 where a direction has its own (the CPU, training) */
    int row_bytes;            /* to which a packed row is padded; 1: not at all */
    bool head;                /* the output head is packed, tied or not */
};

/* Bytes of a base of this description, without reading it; packing may pad beyond row_bytes (the
 * CPU's by less than 10 %). */
size_t base_model_measure(const struct model_description *d, const struct base_model_form *form);
/* Values of all its tensors, the tied head once. */
size_t base_model_parameters(const struct model_description *d);

/* Packs the tied output head when it is not there yet (or lacks the backward form asked for).
 * Called while objects are made: a daemon that only uses the item head never pays for it.
 * NO_MEMORY. */
MUST_CHECK enum status base_model_prepare_head(struct base_model *base, bool backward,
                                               struct error *err);

#endif
