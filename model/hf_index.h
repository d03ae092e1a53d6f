/* SPDX-License-Identifier: Apache-2.0
 *
 * hf_index.h - which safetensors file holds which tensor: model.safetensors.index.json; inside
 * model/.
 */
#ifndef MODEL_HF_INDEX_H
#define MODEL_HF_INDEX_H

#include "base/bytes.h"
#include "base/json.h"
#include "base/status.h"

#define HF_SHARDS_MAX      512
#define HF_TENSORS_MAX     65536 /* of all shards; published models have some thousand */
#define HF_INDEX_BYTES_MAX (16u * 1024u * 1024u)
#define HF_FILE_NAME_BYTES 256u

struct hf_index {
    struct json_value *json;           /* owns */
    char (*names)[HF_FILE_NAME_BYTES]; /* owns; (count): the distinct files, sorted */
    int count;
};

/* Parses and checks: "weight_map" names a plain file for each tensor, none twice, so that an index
 * cannot point outside its folder. CONFIG names field and tensor. On failure nothing is held. */
MUST_CHECK enum status hf_index_parse(struct span text, struct hf_index *ret_index,
                                      struct error *err);
void hf_index_free(struct hf_index *index);

/* The place in `names` of the file that holds this tensor; -1 when none does. */
typedef int (*hf_index_find)(const void *context, const char *tensor);
/* Each tensor is in the file that the index names: what find says. CONFIG names the first that is
 * not. */
MUST_CHECK enum status hf_index_check(const struct hf_index *index, hf_index_find find,
                                      const void *context, struct error *err);

#endif
