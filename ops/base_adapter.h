/* SPDX-License-Identifier: Apache-2.0
 *
 * base_adapter.h - what a tool puts on a base model: a version of the daemon with one mixture of
 * its experts, or any PEFT LoRA.
 *
 * A mixture w (K) is folded into the adapter, B' = K B diag(g) with g = repeat(w, R/K): that is the
 * iLoRA linear layer of MODEL.md for sequences that all have this gate. So either is loaded as an
 * iLoRA of one expert.
 */
#ifndef OPS_BASE_ADAPTER_H
#define OPS_BASE_ADAPTER_H

#include "kernels/backend.h"
#include "model/checkpoint.h"
#include "model/language_model.h"
#include "model/peft_adapter.h"

#define BASE_ADAPTER_EXPERTS_MAX 64

struct base_adapter {
    struct peft_adapter *peft;               /* owns */
    int experts;                             /* K; 1 for a PEFT LoRA */
    float mixture[BASE_ADAPTER_EXPERTS_MAX]; /* (K) of sum 1 */
};

/* folder: a version's, as the daemon writes it; every file is checked against its manifest. The
 * mixture is uniform, which is the adapter that PEFT loads from the folder. CONFIG: made without a
 * language model, on another base than the checkpoint, or with item tokens in its prompts (a tool
 * has texts alone). CORRUPT names the file. */
MUST_CHECK enum status base_adapter_open_version(const char *folder, struct checkpoint *checkpoint,
                                                 struct base_adapter *ret_adapter,
                                                 struct error *err);
/* folder: adapter_config.json and adapter_model.safetensors. CONFIG: see peft_adapter.h. */
MUST_CHECK enum status base_adapter_open_peft(const char *folder, struct base_adapter *ret_adapter,
                                              struct error *err);
void base_adapter_close(struct base_adapter *adapter); /* zeroed is fine */

/* weights: "w,w,...", K numbers >= 0 of sum 1 within 0.001 (they are divided by their sum).
 * CONFIG. */
MUST_CHECK enum status base_adapter_mix(struct base_adapter *adapter, const char *weights,
                                        struct error *err);

/* Rank, experts and alpha of the params to come; the other fields are left. */
void base_adapter_shape(const struct base_adapter *adapter, struct ilora_shape *shape);
/* Params of that shape for scoring, with the mixture folded in. CONFIG: the adapter does not fit
 * the base. NO_MEMORY. */
MUST_CHECK enum status base_adapter_params(const struct base_adapter *adapter,
                                           const struct base_model *base, struct backend *be,
                                           const struct ilora_shape *shape,
                                           struct ilora_params **ret_params, struct error *err);

#endif
