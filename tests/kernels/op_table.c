/* SPDX-License-Identifier: Apache-2.0
 *
 * op_table.c - how each operator of the backend table is called with a case's inputs and outputs.
 *
 * An operator that works in place is given a copy. The shapes are those in the comments of
 * reference.c. */
#include "tests/kernels/reference.h"

#include <string.h>

#define SET(place, r, k) ((place) = (struct op_shape){(r), (k)})

/* ---- shapes ---------------------------------------------------------------------------------- */

static void shapes_linear(const struct op_case *c, struct op_shape *in, struct op_shape *out,
                          int *ret_index_rows) {
    (void)ret_index_rows;
    SET(in[0], c->N, c->K);
    SET(in[1], c->C, c->K);
    SET(in[2], 1, c->C);
    SET(out[0], c->N, c->C);
}

/* dx (N,K) = dy (N,C) w (C,K), which has the same three sizes */
static void shapes_linear_back(const struct op_case *c, struct op_shape *in, struct op_shape *out,
                               int *ret_index_rows) {
    (void)ret_index_rows;
    SET(in[0], c->N, c->C);
    SET(in[1], c->C, c->K);
    SET(in[2], c->N, c->K);
    SET(out[0], c->N, c->K);
}

static void shapes_product(const struct op_case *c, struct op_shape *in, struct op_shape *out,
                           int *ret_index_rows) {
    (void)ret_index_rows;
    SET(in[0], c->flag_a ? c->K : c->N, c->flag_a ? c->N : c->K);
    SET(in[1], c->flag_b ? c->C : c->K, c->flag_b ? c->K : c->C);
    SET(in[2], c->N, c->C);
    SET(out[0], c->N, c->C);
}

/* x (N,C), then rows (1,C); out y (N,C), then columns (N,1) */
static void shapes_norm(const struct op_case *c, struct op_shape *in, struct op_shape *out,
                        int *ret_index_rows) {
    (void)ret_index_rows;
    SET(in[0], c->N, c->C);
    SET(in[1], 1, c->C);
    SET(in[2], 1, c->C);
    SET(out[0], c->N, c->C);
    SET(out[1], c->N, 1);
    SET(out[2], c->N, 1);
}

static void shapes_rotary(const struct op_case *c, struct op_shape *in, struct op_shape *out,
                          int *ret_index_rows) {
    SET(in[0], c->N, c->H * c->D);
    SET(in[1], c->K, c->D);
    SET(out[0], c->N, c->H * c->D);
    *ret_index_rows = c->N;
}

static void shapes_attention(const struct op_case *c, struct op_shape *in, struct op_shape *out,
                             int *ret_index_rows) {
    (void)ret_index_rows;
    SET(in[0], c->N, c->H * c->D);
    SET(in[1], c->N, c->G * c->D);
    SET(in[2], c->N, c->G * c->D);
    SET(out[0], c->N, c->H * c->D);
    SET(out[1], c->N, c->H);
}

/* keys and values have K rows */
static void shapes_cached(const struct op_case *c, struct op_shape *in, struct op_shape *out,
                          int *ret_index_rows) {
    shapes_attention(c, in, out, ret_index_rows);
    SET(in[1], c->K, c->G * c->D);
    SET(in[2], c->K, c->G * c->D);
}

static void shapes_swiglu(const struct op_case *c, struct op_shape *in, struct op_shape *out,
                          int *ret_index_rows) {
    (void)ret_index_rows;
    SET(in[0], c->N, 2 * c->C);
    SET(out[0], c->N, c->C);
}

static void shapes_same(const struct op_case *c, struct op_shape *in, struct op_shape *out,
                        int *ret_index_rows) {
    (void)ret_index_rows;
    for (int i = 0; i < 4; i++) {
        SET(in[i], c->N, c->C);
    }
    for (int o = 0; o < 3; o++) {
        SET(out[o], c->N, c->C);
    }
}

static void shapes_bias(const struct op_case *c, struct op_shape *in, struct op_shape *out,
                        int *ret_index_rows) {
    (void)ret_index_rows;
    SET(in[0], c->N, c->C);
    SET(in[1], 1, c->C);
    SET(out[0], c->N, c->C);
}

static void shapes_sum_rows(const struct op_case *c, struct op_shape *in, struct op_shape *out,
                            int *ret_index_rows) {
    shapes_bias(c, in, out, ret_index_rows);
    SET(out[0], 1, c->C);
}

static void shapes_gather(const struct op_case *c, struct op_shape *in, struct op_shape *out,
                          int *ret_index_rows) {
    SET(in[0], c->K, c->C);
    SET(out[0], c->N, c->C);
    *ret_index_rows = c->N;
}

static void shapes_scatter(const struct op_case *c, struct op_shape *in, struct op_shape *out,
                           int *ret_index_rows) {
    SET(in[0], c->N, c->C);
    SET(in[1], c->K, c->C);
    SET(out[0], c->K, c->C);
    *ret_index_rows = c->N;
}

static void shapes_gate(const struct op_case *c, struct op_shape *in, struct op_shape *out,
                        int *ret_index_rows) {
    SET(in[0], c->N, c->C);
    SET(in[1], c->H, c->K);
    SET(out[0], c->N, c->C);
    *ret_index_rows = c->N;
}

static void shapes_loss(const struct op_case *c, struct op_shape *in, struct op_shape *out,
                        int *ret_index_rows) {
    SET(in[0], c->N, c->C);
    SET(in[1], c->N, 1);
    SET(out[0], c->N, 1);
    SET(out[1], c->N, c->C);
    *ret_index_rows = c->N;
}

static void shapes_adam_rows(const struct op_case *c, struct op_shape *in, struct op_shape *out,
                             int *ret_index_rows) {
    for (int i = 0; i < 4; i++) {
        SET(in[i], i == 1 ? c->N : c->K, c->C);
    }
    for (int o = 0; o < 3; o++) {
        SET(out[o], c->K, c->C);
    }
    *ret_index_rows = c->N;
}

/* ---- indices --------------------------------------------------------------------------------- */

/* Any of the K rows, repeated, out of order, and -1 now and then. */
static void index_mixed(const struct op_case *c, int32_t *index) {
    for (int n = 0; n < c->N; n++) {
        index[n] = (n * 7 + 3) % (c->K + 1) - 1;
    }
}

/* Distinct rows (N <= K, K not a multiple of 5), the third left out. */
static void index_distinct(const struct op_case *c, int32_t *index) {
    for (int n = 0; n < c->N; n++) {
        index[n] = n == 2 && c->op[0] == 's' ? -1 : (n * 5 + 1) % c->K;
    }
}

static void index_position(const struct op_case *c, int32_t *index) {
    for (int n = 0; n < c->N; n++) {
        index[n] = (n * 3) % c->K;
    }
}

/* Sequences of unequal length; the flag interleaves them. */
static void index_sequence(const struct op_case *c, int32_t *index) {
    for (int n = 0; n < c->N; n++) {
        index[n] =
            c->flag_a ? (n * 3) % c->H : (int32_t)((int64_t)n * n * c->H / ((int64_t)c->N * c->N));
    }
}

static void index_target(const struct op_case *c, int32_t *index) {
    for (int n = 0; n < c->N; n++) {
        index[n] = n % 4 == 3 && c->op[0] == 'c' ? -1 : (n * 11 + c->C - 1) % c->C;
    }
}

/* ---- adapters -------------------------------------------------------------------------------- */

static void linear_run(struct op_run *r, bool backward) {
    struct weight *w = NULL;
    struct error err = {0};
    const struct op_case *c = r->c;

    enum status status =
        r->be->ops->weight_make(r->be, r->host_in[1], c->C, c->K, backward, c->precision, &w, &err);
    assert(status == STATUS_OK);
    if (backward) {
        r->be->ops->linear_backward(r->be, r->din[0], r->dout[0], w, c->flag_a);
    } else {
        struct tensor none = tensor_none();
        r->be->ops->linear_forward(r->be, r->out[0], r->in[0], w, c->flag_b ? r->in[2] : none);
    }
    r->be->ops->weight_free(r->be, w);
}
static void linear_forward(struct op_run *r) {
    linear_run(r, false);
}
static void linear_backward(struct op_run *r) {
    linear_run(r, true);
}
/* The backward product as a forward: rounding to bf16 has no differences to compare with. */
static void linear_back_forward(struct op_run *r) {
    struct op_run back = *r;
    back.din[0] = r->out[0];
    back.dout[0] = r->in[0];
    r->be->ops->copy(r->be, r->out[0], r->in[2]);
    linear_run(&back, true);
}

static void product_forward(struct op_run *r) {
    if (r->c->beta != 0.0f) { r->be->ops->copy(r->be, r->out[0], r->in[2]); }
    r->be->ops->product(r->be, r->out[0], r->in[0], r->c->flag_a, r->in[1], r->c->flag_b,
                        r->c->alpha, r->c->beta);
}

static void rmsnorm_forward(struct op_run *r) {
    r->be->ops->rmsnorm_forward(r->be, r->out[0], r->out[1], r->in[0], r->in[1], r->c->alpha);
}
static void rmsnorm_backward(struct op_run *r) {
    r->be->ops->rmsnorm_backward(r->be, r->din[0], r->dout[0], r->in[0], r->out[1], r->in[1]);
}

static void layernorm_forward(struct op_run *r) {
    r->be->ops->layernorm_forward(r->be, r->out[0], r->out[1], r->out[2], r->in[0], r->in[1],
                                  r->in[2], r->c->alpha);
}
static void layernorm_backward(struct op_run *r) {
    r->be->ops->layernorm_backward(r->be, r->din[0], r->din[1], r->din[2], r->dout[0], r->in[0],
                                   r->out[1], r->out[2], r->in[1]);
}

static void rotary_forward(struct op_run *r) {
    r->be->ops->copy(r->be, r->out[0], r->in[0]);
    r->be->ops->rotary(r->be, r->out[0], r->in[1], r->index, r->c->D, r->c->flag_a);
}
/* Turning back is the transposed matrix: the gradient. */
static void rotary_backward(struct op_run *r) {
    r->be->ops->copy(r->be, r->din[0], r->dout[0]);
    r->be->ops->rotary(r->be, r->din[0], r->in[1], r->index, r->c->D, !r->c->flag_a);
}

static void attention_forward(struct op_run *r) {
    const struct op_case *c = r->c;
    r->be->ops->attention_forward(r->be, r->out[0], r->out[1], r->in[0], r->in[1], r->in[2],
                                  c->segments, c->segment_count, c->H, c->G, c->alpha);
}
static void attention_backward(struct op_run *r) {
    const struct op_case *c = r->c;
    r->be->ops->attention_backward(r->be, r->din[0], r->din[1], r->din[2], r->dout[0], r->in[0],
                                   r->in[1], r->in[2], r->out[0], r->out[1], c->segments,
                                   c->segment_count, c->H, c->G, c->alpha);
}

static void attention_cached_forward(struct op_run *r) {
    const struct op_case *c = r->c;
    r->be->ops->attention_cached(r->be, r->out[0], r->in[0], r->in[1], r->in[2], c->ranges, c->N,
                                 c->H, c->G, c->alpha);
}

static void swiglu_forward(struct op_run *r) {
    r->be->ops->swiglu_forward(r->be, r->out[0], r->in[0]);
}
/* In place when the flag says so. */
static void swiglu_backward(struct op_run *r) {
    if (r->c->flag_a) { r->be->ops->copy(r->be, r->din[0], r->in[0]); }
    r->be->ops->swiglu_backward(r->be, r->din[0], r->dout[0], r->c->flag_a ? r->din[0] : r->in[0]);
}
static void gelu_forward(struct op_run *r) {
    r->be->ops->gelu_forward(r->be, r->out[0], r->in[0]);
}
static void gelu_backward(struct op_run *r) {
    r->be->ops->gelu_backward(r->be, r->din[0], r->dout[0], r->in[0]);
}
static void relu_forward(struct op_run *r) {
    r->be->ops->relu_forward(r->be, r->out[0], r->in[0]);
}
static void relu_backward(struct op_run *r) {
    r->be->ops->relu_backward(r->be, r->din[0], r->dout[0], r->in[0]);
}

static void axpby_forward(struct op_run *r) {
    if (r->c->beta != 0.0f) { r->be->ops->copy(r->be, r->out[0], r->in[1]); }
    r->be->ops->axpby(r->be, r->out[0], r->c->alpha, r->in[0], r->c->beta);
}
static void multiply_forward(struct op_run *r) {
    r->be->ops->copy(r->be, r->out[0], r->in[0]);
    r->be->ops->multiply(r->be, r->out[0], r->in[1]);
}
static void add_bias_forward(struct op_run *r) {
    r->be->ops->copy(r->be, r->out[0], r->in[0]);
    r->be->ops->add_bias(r->be, r->out[0], r->in[1]);
}
static void add_bias_backward(struct op_run *r) {
    r->be->ops->sum_rows(r->be, r->din[1], r->dout[0]);
}
static void sum_rows_forward(struct op_run *r) {
    r->be->ops->copy(r->be, r->out[0], r->in[1]);
    r->be->ops->sum_rows(r->be, r->out[0], r->in[0]);
}

static void gather_forward(struct op_run *r) {
    r->be->ops->gather_rows(r->be, r->out[0], r->in[0], r->index);
}
static void gather_backward(struct op_run *r) {
    r->be->ops->scatter_add_rows(r->be, r->din[0], r->dout[0], r->index);
}
static void scatter_forward(struct op_run *r) {
    r->be->ops->copy(r->be, r->out[0], r->in[1]);
    r->be->ops->scatter_rows(r->be, r->out[0], r->in[0], r->index);
}
static void scatter_add_forward(struct op_run *r) {
    r->be->ops->copy(r->be, r->out[0], r->in[1]);
    r->be->ops->scatter_add_rows(r->be, r->out[0], r->in[0], r->index);
}

static void gate_forward(struct op_run *r) {
    r->be->ops->gate_forward(r->be, r->out[0], r->in[0], r->in[1], r->index);
}
/* In place when beta says so. */
static void gate_backward(struct op_run *r) {
    bool in_place = r->c->beta != 0.0f;
    if (in_place) { r->be->ops->copy(r->be, r->din[0], r->dout[0]); }
    r->be->ops->gate_backward(r->be, r->din[0], r->din[1], in_place ? r->din[0] : r->dout[0],
                              r->in[0], r->in[1], r->index);
}
static void softmax_forward(struct op_run *r) {
    r->be->ops->softmax_forward(r->be, r->out[0], r->in[0], r->c->beta);
}
static void softmax_backward(struct op_run *r) {
    r->be->ops->softmax_backward(r->be, r->din[0], r->dout[0], r->out[0], r->c->beta);
}

static void cross_entropy_forward(struct op_run *r) {
    r->be->ops->copy(r->be, r->out[1], r->in[0]);
    r->be->ops->cross_entropy(r->be, r->out[0], r->out[1], r->index, r->in[1]);
}
/* The loss's own gradient takes the place of the weight. */
static void cross_entropy_backward(struct op_run *r) {
    r->be->ops->copy(r->be, r->din[0], r->in[0]);
    r->be->ops->cross_entropy(r->be, r->out[0], r->din[0], r->index, r->dout[0]);
}
static void log_softmax_at_forward(struct op_run *r) {
    r->be->ops->log_softmax_at(r->be, r->out[0], r->in[0], r->index);
}
static void log_softmax_forward(struct op_run *r) {
    r->be->ops->copy(r->be, r->out[0], r->in[0]);
    r->be->ops->log_softmax(r->be, r->out[0]);
}

static void adam_run(struct op_run *r, bool rows) {
    const struct adamw how = {0.9f, 0.99f, 1e-6f, 3, 0.5f};
    r->be->ops->copy(r->be, r->out[0], r->in[0]);
    r->be->ops->copy(r->be, r->out[1], r->in[2]);
    r->be->ops->copy(r->be, r->out[2], r->in[3]);
    const struct optimizer_tensor t = {r->out[0], r->in[1], r->out[1],
                                       r->out[2], 0.01f,    r->c->alpha};
    if (rows) {
        r->be->ops->adam_rows(r->be, t, r->index, &how);
    } else {
        r->be->ops->adamw(r->be, &t, 1, &how);
    }
}
static void adamw_forward(struct op_run *r) {
    adam_run(r, false);
}
static void adam_rows_forward(struct op_run *r) {
    adam_run(r, true);
}

/* ---- the table ------------------------------------------------------------------------------- */

/* name, inputs, outputs, gradients of, of these added, loss over, shapes, index, reference,
 * forward, backward */
static const struct op ops[] = {
    {"linear", 3, 1, 1, 0, 1, shapes_linear, NULL, reference_linear, linear_forward,
     linear_backward},
    {"linear +=", 3, 1, 1, 1, 1, shapes_linear, NULL, reference_linear, linear_forward,
     linear_backward},
    {"linear bf16", 3, 1, 0, 0, 0, shapes_linear, NULL, reference_linear, linear_forward, NULL},
    {"back linear", 3, 1, 0, 0, 0, shapes_linear_back, NULL, reference_linear_back,
     linear_back_forward, NULL},
    {"product", 3, 1, 0, 0, 0, shapes_product, NULL, reference_product, product_forward, NULL},
    {"rmsnorm", 2, 2, 1, 1, 1, shapes_norm, NULL, reference_rmsnorm, rmsnorm_forward,
     rmsnorm_backward},
    {"layernorm", 3, 3, 7, 7, 1, shapes_norm, NULL, reference_layernorm, layernorm_forward,
     layernorm_backward},
    {"rotary", 2, 1, 1, 0, 1, shapes_rotary, index_position, reference_rotary, rotary_forward,
     rotary_backward},
    {"attention", 3, 2, 7, 0, 1, shapes_attention, NULL, reference_attention, attention_forward,
     attention_backward},
    {"cached attention", 3, 1, 0, 0, 0, shapes_cached, NULL, reference_attention_cached,
     attention_cached_forward, NULL},
    {"swiglu", 1, 1, 1, 0, 1, shapes_swiglu, NULL, reference_swiglu, swiglu_forward,
     swiglu_backward},
    {"gelu", 1, 1, 1, 0, 1, shapes_same, NULL, reference_gelu, gelu_forward, gelu_backward},
    {"relu", 1, 1, 1, 0, 1, shapes_same, NULL, reference_relu, relu_forward, relu_backward},
    {"axpby", 2, 1, 0, 0, 0, shapes_same, NULL, reference_axpby, axpby_forward, NULL},
    {"multiply", 2, 1, 0, 0, 0, shapes_same, NULL, reference_multiply, multiply_forward, NULL},
    {"add_bias", 2, 1, 2, 2, 1, shapes_bias, NULL, reference_add_bias, add_bias_forward,
     add_bias_backward},
    {"sum_rows", 2, 1, 0, 0, 0, shapes_sum_rows, NULL, reference_sum_rows, sum_rows_forward, NULL},
    {"gather", 1, 1, 1, 1, 1, shapes_gather, index_mixed, reference_gather, gather_forward,
     gather_backward},
    {"scatter", 2, 1, 0, 0, 0, shapes_scatter, index_distinct, reference_scatter, scatter_forward,
     NULL},
    {"add_scatter", 2, 1, 0, 0, 0, shapes_scatter, index_mixed, reference_scatter_add,
     scatter_add_forward, NULL},
    {"gate", 2, 1, 3, 2, 1, shapes_gate, index_sequence, reference_gate, gate_forward,
     gate_backward},
    {"softmax", 1, 1, 1, 0, 1, shapes_same, NULL, reference_softmax, softmax_forward,
     softmax_backward},
    {"cross_entropy", 2, 2, 1, 0, 1, shapes_loss, index_target, reference_cross_entropy,
     cross_entropy_forward, cross_entropy_backward},
    {"log_softmax_at", 1, 1, 0, 0, 0, shapes_loss, index_target, reference_log_softmax_at,
     log_softmax_at_forward, NULL},
    {"log_softmax", 1, 1, 0, 0, 0, shapes_same, NULL, reference_log_softmax, log_softmax_forward,
     NULL},
    {"adamw", 4, 3, 0, 0, 0, shapes_same, NULL, reference_adamw, adamw_forward, NULL},
    {"adam_rows", 4, 3, 0, 0, 0, shapes_adam_rows, index_distinct, reference_adam_rows,
     adam_rows_forward, NULL},
};

const struct op *op_find(const char *name) {
    for (size_t i = 0; i < sizeof ops / sizeof ops[0]; i++) {
        if (strcmp(ops[i].name, name) == 0) { return &ops[i]; }
    }
    return NULL;
}
