/* SPDX-License-Identifier: Apache-2.0
 *
 * base_memory.h - how much memory a base model takes on the CPU, before it is loaded.
 *
 * Counted from its description: matrices in the precision asked for (twice for training, which
 * keeps each one packed for the backward pass too), embedding, vectors and rotary table in f32, the
 * trainable parameters with gradients, moments, average and last version, and the activations of
 * one micro batch by the model's own layout. Packing pads rows; the sums are within 10 %.
 */
#ifndef OPS_BASE_MEMORY_H
#define OPS_BASE_MEMORY_H

#include <stdint.h>

#include "kernels/backend.h"
#include "model/checkpoint.h"
#include "model/language_model.h"

struct base_memory {
    uint64_t weights;    /* bytes: the frozen base */
    uint64_t parameters; /* bytes: adapters, gate, projector, heads and what training keeps */
    uint64_t work;       /* bytes: activations and scratch of one micro batch */
};

/* CONFIG: the shape. NO_MEMORY. */
MUST_CHECK enum status base_memory_of(const struct model_description *d,
                                      const struct ilora_shape *shape, int micro_batch_tokens,
                                      enum precision precision, bool training,
                                      struct base_memory *ret_memory, struct error *err);

#endif
