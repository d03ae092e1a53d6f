/* SPDX-License-Identifier: Apache-2.0
 *
 * peft_config.h - PEFT's adapter_config.json, read strictly: what iLoRA cannot express is refused
 * here.
 *
 * A field that is not known is refused unless it is empty (null, false, "", [], {}, 0): a new
 * version of PEFT may have given the product a meaning that we would silently leave out.
 */
#ifndef MODEL_PEFT_CONFIG_H
#define MODEL_PEFT_CONFIG_H

#include <stdbool.h>

#include "base/bytes.h"
#include "base/json.h"
#include "base/status.h"

#define PEFT_MODULES 7

/* The linear layers that a LoRA may have, in HF's words: "self_attn.q_proj", ... */
extern const char *const peft_modules[PEFT_MODULES];

struct peft_config {
    struct json_value *json; /* owns */
    int rank;
    double alpha;
    bool rslora;
    char base_name[256];
};

/* Parses and checks. On failure nothing is held. CONFIG, in one line: field, found, expected. */
MUST_CHECK enum status peft_config_read(struct span text, struct peft_config *ret_config,
                                        struct error *err);
void peft_config_free(struct peft_config *config);
/* Does the config target module (index into peft_modules) of this layer? PEFT's rule for lists: a
 * name or the end of one after a dot. false for a pattern (a string): the tensors say. */
bool peft_config_targets(const struct peft_config *config, int layer, int module);
/* The bytes of a config of ours, appended: a function of its arguments. */
MUST_CHECK enum status peft_config_make(int rank, double alpha, const char *base_name,
                                        struct buffer *out, struct error *err);

#endif
