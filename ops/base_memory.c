/* SPDX-License-Identifier: Apache-2.0
 *
 * base_memory.c - see base_memory.h. */
#include "ops/base_memory.h"

#include <assert.h>

#include "model/base_model.h"
#include "model/llama.h"
#include "model/slab.h"

#define TRAINED_COPIES 6u /* value, gradient, two moments, average, the last version's value */

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

    const struct base_model_form form = {
        .precision = precision,
        .copies = training ? 2 : 1,
        .row_bytes = 1,
        .head = (shape->head & ILORA_HEAD_TITLE) != 0 || !d->tied_head,
    };
    *ret_memory = (struct base_memory){.weights = base_model_measure(d, &form),
                                       .parameters = trained * sizeof(float) *
                                                     (training ? TRAINED_COPIES : 1u),
                                       .work = slab.used};
    return STATUS_OK;
}
