/* SPDX-License-Identifier: Apache-2.0
 *
 * language_model_state.h - the object behind language_model.h: all buffers of one token budget.
 *
 *   language_model.c    makes it, sets items, frees it
 *   pack_run.c          one pack: inputs to the device, gate, item tokens, layers
 *   gate_run.c          the gate of a pack, the ResNet gate of a step
 *   language_model_score.c   scores, logits, title vectors
 *   language_model_train.c   gradients over micro-batches, the optimiser's step
 *   language_model_decode.c  greedy continuations with a key/value cache
 */
#ifndef MODEL_LANGUAGE_MODEL_STATE_H
#define MODEL_LANGUAGE_MODEL_STATE_H

#include "model/gate.h"
#include "model/item_head.h"
#include "model/llama.h"
#include "model/projector.h"
#include "model/title_head.h"

/* thread: that of the backend */
struct language_model {
    struct base_model *base; /* borrows */
    struct backend *be;      /* borrows */
    struct language_model_settings settings;
    struct ilora_shape shape;
    void *memory; /* owns: the device slab */
    size_t bytes; /* of it */

    struct pack pack;
    struct llama_state llama;
    struct gate_state gate;
    struct gate_resnet resnet; /* ResNet gate only */
    const float *gate_given;   /* (B,K) the coming pack's weights; NULL: from the samples */
    struct projector_state projector;
    struct item_head_state item_head;
    struct title_head_state title_head;
    struct tensor items;                            /* (items_max,E) */
    struct tensor sums;                             /* (B,C) sums of hidden states of a title */
    struct tensor softmax_value, softmax_reference; /* (1, largest adapter tensor) */

    int M;                              /* items set */
    float *items_host;                  /* owns: (items_max,E), for history means */
    float *staging;                     /* owns: (sequences_max, widest of E, K, C) */
    struct optimizer_tensor *step_list; /* owns: training */
};

static inline bool language_model_has(const struct language_model *lm, enum ilora_head head) {
    return (lm->shape.head & head) != 0;
}

/* Runs the pack that was filled from `samples` (its first sample is samples[0]; NULL: no gate
 * input, then params must be NULL): inputs, gate, embedding, item tokens, layers. pass: = , for the
 * backward pass. LIMIT: a position or token the base does not have. */
MUST_CHECK enum status pack_run(struct language_model *lm, const struct ilora_params *params,
                                bool adapted, const struct lm_sample *samples, bool keep_half,
                                struct llama_pass *ret_pass, struct error *err);

/* All of pack_run but the layers, for a caller that adds a key/value cache to the pass. */
MUST_CHECK enum status pack_prepare(struct language_model *lm, const struct ilora_params *params,
                                    bool adapted, const struct lm_sample *samples, bool keep_half,
                                    struct llama_pass *ret_pass, struct error *err);
/* One step of sequences whose earlier rows are in pass->cache: the pack holds rows of
 * pack_add_step, the gates are those that pack_prepare made for this pass. */
MUST_CHECK enum status pack_step(struct language_model *lm, struct llama_pass *pass,
                                 struct error *err);

/* gate.weight of the filled pack: = (from samples, or gate_given); gate.dweight: = 0. */
MUST_CHECK enum status gate_run(struct language_model *lm, const struct ilora_params *params,
                                const struct lm_sample *samples, struct error *err);
/* ResNet gate: weights of all samples of a step, BatchNorm over gate_batch at a time (0: all of
 * them). Other gates: nothing, here and below, but where it is said. LIMIT. */
MUST_CHECK enum status gate_step_begin(struct language_model *lm, const struct ilora_params *params,
                                       const struct lm_sample *samples, int count, int gate_batch,
                                       struct error *err);
/* The weights of samples [first, ...) for gate_given; NULL: the gate runs with the pack. */
const float *gate_step_weights(const struct language_model *lm, int first);
/* After the backward pass of the pack whose first sample is `first` of the step: takes its
 * gradient. Other gates: their backward pass, parameters' gradients += . */
MUST_CHECK enum status gate_step_collect(struct language_model *lm,
                                         const struct ilora_params *params, int first,
                                         struct error *err);
/* After all packs: the network's gradients += . */
MUST_CHECK enum status gate_step_end(struct language_model *lm, struct ilora_params *params,
                                     int count, int gate_batch, struct error *err);
/* After a step that counts: the running statistics into VALUE and EMA. */
MUST_CHECK enum status gate_step_keep(struct language_model *lm, struct ilora_params *params,
                                      struct error *err);

/* Fills the pack with as many of samples[0..count) as fit; LIMIT when not even one does. */
MUST_CHECK enum status pack_fill(struct language_model *lm, const struct lm_sample *samples,
                                 int count, bool titles, int *ret_taken, struct error *err);

#endif
