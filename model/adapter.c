/* SPDX-License-Identifier: Apache-2.0
 *
 * adapter.c - the iLoRA products, forward and backward.
 *
 * Backward with h = x A^T, u = h*g (MODEL.md):
 *   du = s dy B    dB += s dy^T u    dh = du*g    dw_k += sum du*h    dA += dh^T x    dx += dh A
 * u is made again from h: it is a thin multiply, cheaper than keeping it. With dropout mask M of a
 * layer, x above is M x and the last line dx += M (dh A). */
#include "model/adapter.h"

/* Columns of y (or dy) that belong to part j start where the parts before end. */
static struct tensor part_columns(struct tensor y, const struct adapter_site *site, int j) {
    int first = 0;
    for (int i = 0; i < j; i++) {
        first += site->up[i].rows;
    }
    return tensor_cols(y, first, site->up[j].rows);
}

static void apply_gate(struct backend *be, struct tensor u, struct tensor h,
                       const struct adapter_site *site, const struct adapter_gate *gate) {
    for (int j = 0; j < site->parts; j++) {
        be->ops->gate_forward(be, tensor_cols(u, j * site->R, site->R),
                              tensor_cols(h, j * site->R, site->R), gate->weight, gate->sequence);
    }
}

/* The columns of h, u or du, and the rows of A, that belong to part j. */
static struct tensor part_ranks(struct tensor h, const struct adapter_site *site, int j) {
    return tensor_cols(h, j * site->R, site->R);
}

static struct tensor part_down(struct tensor down, const struct adapter_site *site, int j) {
    return tensor_rows(down, j * site->R, site->R);
}

static void mask(struct backend *be, const struct adapter_dropout *dropout, int j) {
    be->ops->dropout(be, dropout->scratch, dropout->p, dropout->seed,
                     dropout->stream + (uint64_t)j);
}

/* h_j = dropout(x) A_j^T */
static void dropped_forward(struct backend *be, struct tensor h, struct tensor x,
                            const struct adapter_site *site,
                            const struct adapter_dropout *dropout) {
    for (int j = 0; j < site->parts; j++) {
        be->ops->copy(be, dropout->scratch, x);
        mask(be, dropout, j);
        be->ops->product(be, part_ranks(h, site, j), dropout->scratch, false,
                         part_down(site->down, site, j), true, 1.0f, 0.0f);
    }
}

/* dA_j += dh_j^T dropout(x), dx += the same mask of dh_j A_j */
static void dropped_backward(struct backend *be, struct tensor dx, struct tensor dh,
                             struct tensor x, const struct adapter_site *site,
                             const struct adapter_dropout *dropout) {
    for (int j = 0; j < site->parts; j++) {
        be->ops->copy(be, dropout->scratch, x);
        mask(be, dropout, j);
        be->ops->product(be, part_down(site->ddown, site, j), part_ranks(dh, site, j), true,
                         dropout->scratch, false, 1.0f, 1.0f);
        if (tensor_is_none(dx)) { continue; }
        be->ops->product(be, dropout->scratch, part_ranks(dh, site, j), false,
                         part_down(site->down, site, j), false, 1.0f, 0.0f);
        mask(be, dropout, j);
        be->ops->axpby(be, dx, 1.0f, dropout->scratch, 1.0f);
    }
}

void adapter_forward(struct backend *be, struct tensor y, struct tensor h, struct tensor u,
                     struct tensor x, const struct adapter_site *site,
                     const struct adapter_gate *gate, const struct adapter_dropout *dropout) {
    assert(site->parts >= 1 && site->parts <= ADAPTER_PARTS_MAX);
    assert(h.cols == site->parts * site->R);

    if (dropout != NULL) {
        dropped_forward(be, h, x, site, dropout);
    } else {
        be->ops->product(be, h, x, false, site->down, true, 1.0f, 0.0f);
    }
    apply_gate(be, u, h, site, gate);
    for (int j = 0; j < site->parts; j++) {
        be->ops->product(be, part_columns(y, site, j), tensor_cols(u, j * site->R, site->R), false,
                         site->up[j], true, site->scale, 1.0f);
    }
}

void adapter_backward(struct backend *be, struct tensor dx, struct tensor u, struct tensor du,
                      struct tensor dy, struct tensor x, struct tensor h,
                      const struct adapter_site *site, const struct adapter_gate *gate,
                      const struct adapter_dropout *dropout) {
    assert(!tensor_is_none(site->ddown));
    assert(h.cols == site->parts * site->R);

    apply_gate(be, u, h, site, gate);
    for (int j = 0; j < site->parts; j++) {
        struct tensor dy_j = part_columns(dy, site, j);
        struct tensor du_j = tensor_cols(du, j * site->R, site->R);
        be->ops->product(be, du_j, dy_j, false, site->up[j], false, site->scale, 0.0f);
        be->ops->product(be, site->dup[j], dy_j, true, tensor_cols(u, j * site->R, site->R), false,
                         site->scale, 1.0f);
        be->ops->gate_backward(be, du_j, gate->dweight, du_j, tensor_cols(h, j * site->R, site->R),
                               gate->weight, gate->sequence);
    }
    if (dropout != NULL) {
        dropped_backward(be, dx, du, x, site, dropout);
        return;
    }
    be->ops->product(be, site->ddown, du, true, x, false, 1.0f, 1.0f);
    if (!tensor_is_none(dx)) { be->ops->product(be, dx, du, false, site->down, false, 1.0f, 1.0f); }
}
