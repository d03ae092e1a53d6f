/* SPDX-License-Identifier: Apache-2.0
 *
 * base_memory.c - see base_memory.h. */
#include "ops/base_memory.h"

#include <assert.h>

#include "model/base_model.h"
#include "model/llama.h"
#include "model/slab.h"

#define TRAINED_COPIES 6u /* value, gradient, two moments, average, the last version's value */

static uint64_t product(int rows, int cols) {
    return (uint64_t)rows * (uint64_t)cols;
}

static uint64_t layer_matrices(const struct model_description *d) {
    int q = d->H * d->D, k = d->G * d->D;
    return product(q + 2 * k, d->C) + product(d->C, q) + 3 * product(d->F, d->C);
}

static uint64_t vectors(const struct model_description *d) {
    uint64_t layer = 2 * (uint64_t)d->C;
    if (d->qkv_bias) { layer += product(d->H + 2 * d->G, d->D); }
    if (d->qk_norm) { layer += 2 * (uint64_t)d->D; }
    return (uint64_t)d->L * layer + (uint64_t)d->C;
}

uint64_t base_parameters(const struct model_description *d) {
    return (d->tied_head ? 1u : 2u) * product(d->V, d->C) + (uint64_t)d->L * layer_matrices(d) +
           vectors(d);
}

enum status base_memory_of(const struct model_description *d, const struct ilora_shape *shape,
                           int micro_batch_tokens, enum precision precision, bool training,
                           struct base_memory *ret_memory, struct error *err) {
    assert(micro_batch_tokens > 0);
    assert(shape->R > 0 && shape->K > 0);

    const struct base_model base = {.description = *d}; /* the layout reads nothing else */
    struct llama_state state;
    struct slab slab = {0};
    size_t trained = 0; /* floats of one copy */
    enum status status = ilora_params_measure(d, shape, &trained, err);
    if (status != STATUS_OK) { return status; }
    status = llama_state_init(&state, &base, training, err);
    if (status != STATUS_OK) { return status; }
    llama_state_layout(&state, &slab, shape, micro_batch_tokens);
    llama_state_free(&state);

    bool title = (shape->head & ILORA_HEAD_TITLE) != 0;
    uint64_t packed = (uint64_t)d->L * layer_matrices(d);
    if (title || !d->tied_head) { packed += product(d->V, d->C); }
    packed *= (precision == PRECISION_BF16 ? 2u : 4u) * (training ? 2u : 1u);
    int rope_rows = d->context < ROPE_ROWS_MAX ? d->context : ROPE_ROWS_MAX;
    uint64_t floats = product(d->V, d->C) + vectors(d) + product(rope_rows, d->D);
    *ret_memory = (struct base_memory){.weights = packed + floats * sizeof(float),
                                       .parameters = trained * sizeof(float) *
                                                     (training ? TRAINED_COPIES : 1u),
                                       .work = slab.used};
    return STATUS_OK;
}
