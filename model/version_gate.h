/* SPDX-License-Identifier: Apache-2.0
 *
 * version_gate.h - the gate of a version on disk: which experts one sequence uses, without the base
 * model.
 *
 *   ilora.safetensors ─▶ SASRec ─▶ z (E) ─LayerNorm─▶ W_g, b ─softmax, floor─▶ w (K)
 *
 * What model/gate.h computes in a batch on the device, here for one sequence on the host: it is
 * for the export of one user's adapter. A test holds the two together. thread: one.
 */
#ifndef MODEL_VERSION_GATE_H
#define MODEL_VERSION_GATE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"

#define VERSION_EXPERTS_MAX 64

struct version_gate;

/* folder: of a version; every file is checked against the manifest. CORRUPT names file and tensor;
 * CONFIG: the version has no language model. */
MUST_CHECK enum status version_gate_open(const char *folder, struct version_gate **ret_gate,
                                         struct error *err);
void version_gate_close(struct version_gate *gate);
int version_gate_experts(const struct version_gate *gate); /* K */
int version_gate_items(const struct version_gate *gate);   /* M: items the version knows */
/* The prompts of the version hold item tokens: its adapter alone is not the whole of it. */
bool version_gate_has_item_tokens(const struct version_gate *gate);
/* z (E) of a history of item numbers, oldest first: of the newest S, as the daemon serves it; items
 * beyond M are left out, an empty history gives zeros. */
MUST_CHECK enum status version_gate_state(struct version_gate *gate, const uint32_t *history,
                                          int count, float *ret_state, struct error *err);
/* w (K) of that state. */
MUST_CHECK enum status version_gate_weights(struct version_gate *gate, const uint32_t *history,
                                            int count, float *ret_weights, struct error *err);
int version_gate_width(const struct version_gate *gate); /* E */

#endif
