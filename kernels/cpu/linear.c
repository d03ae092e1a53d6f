/* SPDX-License-Identifier: Apache-2.0
 *
 * linear.c - frozen weights: packed once per direction, multiplied by the engine. */
#include "kernels/cpu/engine.h"

#include "base/memory.h"

struct weight {
    int O, I;
    struct packed *forward;  /* owns: right factor (I,O) */
    struct packed *backward; /* owns: right factor (O,I); NULL when dx is never asked */
};

static void weight_free(struct backend *be, struct weight *weight) {
    (void)be;
    if (weight == NULL) { return; }
    packed_free(weight->forward);
    packed_free(weight->backward);
    memory_free(weight);
}

static enum status weight_make(struct backend *be, const float *w, int O, int I, bool backward,
                               enum precision precision, struct weight **ret_weight,
                               struct error *err) {
    struct engine *engine = cpu_of(be)->engine;
    void *memory = NULL;

    assert(w != NULL);
    assert(O > 0 && I > 0);
    enum status status = cpu_memory_take(sizeof(struct weight), &memory, err);
    if (status != STATUS_OK) { return error_wrap(err, "weight (%d,%d)", O, I); }
    struct weight *weight = memory;
    weight->O = O;
    weight->I = I;
    status = packed_make(engine, w, O, I, false, precision, &weight->forward, err);
    if (status != STATUS_OK) { goto fail; }
    if (backward) {
        status = packed_make(engine, w, O, I, true, precision, &weight->backward, err);
        if (status != STATUS_OK) { goto fail; }
    }
    *ret_weight = weight;
    return STATUS_OK;

fail:
    weight_free(be, weight);
    return error_wrap(err, "weight (%d,%d)", O, I);
}

static size_t weight_bytes(const struct weight *weight) {
    size_t bytes = sizeof *weight + packed_bytes(weight->forward);

    return weight->backward == NULL ? bytes : bytes + packed_bytes(weight->backward);
}

static void linear_forward(struct backend *be, struct tensor y, struct tensor x,
                           const struct weight *w, struct tensor bias) {
    assert(tensor_is(x, y.rows, w->I) && tensor_is(y, x.rows, w->O));
    assert(tensor_is_none(bias) || tensor_is(bias, 1, w->O));
    if (y.rows == 0) { return; }
    packed_multiply(cpu_of(be)->engine, w->forward, y, x, false);
    if (!tensor_is_none(bias)) { be->ops->add_bias(be, y, bias); }
}

static void linear_backward(struct backend *be, struct tensor dx, struct tensor dy,
                            const struct weight *w, bool accumulate) {
    assert(w->backward != NULL);
    assert(tensor_is(dy, dx.rows, w->O) && tensor_is(dx, dy.rows, w->I));
    if (dx.rows == 0) { return; }
    packed_multiply(cpu_of(be)->engine, w->backward, dx, dy, accumulate);
}

void linear_install(struct backend_ops *ops) {
    ops->weight_make = weight_make;
    ops->weight_free = weight_free;
    ops->weight_bytes = weight_bytes;
    ops->linear_forward = linear_forward;
    ops->linear_backward = linear_backward;
}
