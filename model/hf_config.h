/* SPDX-License-Identifier: Apache-2.0
 *
 * hf_config.h - Hugging Face's config.json as a description; inside model/.
 */
#ifndef MODEL_HF_CONFIG_H
#define MODEL_HF_CONFIG_H

#include "base/bytes.h"
#include "model/checkpoint.h"

#define HF_CONFIG_BYTES_MAX (1024u * 1024u)

/* model_type llama, mistral, qwen2 or qwen3. A field that would change the forward pass in a way
 * this one does not have (sliding window, other activation, attention_bias of Llama, experts,
 * quantised weights, partial rotary) is refused by name. CONFIG. */
MUST_CHECK enum status hf_config_parse(struct span text, struct model_description *ret_description,
                                       struct error *err);

#endif
