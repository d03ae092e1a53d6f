/* SPDX-License-Identifier: Apache-2.0
 *
 * version_files.h - a version's folder: what each file holds, written and read.
 *
 *   adapter_model.safetensors + adapter_config.json   PEFT's names and keys: the uniform-gate
 * adapter
 *   ilora.safetensors    gate, projector, heads, SASRec, stacks, evaluation sums
 *   counters.bin         popularity and co-visitation
 *   manifest.json        numbers, figures, SHA-256 of every other file
 */
#ifndef MODEL_VERSION_FILES_H
#define MODEL_VERSION_FILES_H

#include "base/json.h"
#include "model/learner_rooms.h"
#include "model/tensor_file.h"

#define WEIGHTS_FILE  "ilora.safetensors"
#define MANIFEST_FILE "manifest.json"
#define STACK_DOUBLES (4 * FEATURE_COUNT + 2) /* weight, mean, variance, gradient2, seen, active */

/* A stack as doubles, and back. */
void stack_to_doubles(const struct stacker *stack, double ret_values[STACK_DOUBLES]);
void stack_from_doubles(const double values[STACK_DOUBLES], struct stacker *stack);

/* Who made the version and on what. */
struct version_origin {
    const char *numeric_profile;
    const char *base_model_name;
    const uint8_t *base_sha256;    /* (SHA256_BYTES) */
    const uint8_t *adapter_sha256; /* (SHA256_BYTES) of the one it all started from; NULL: none */
};

/* Writes all files into the folder, which exists, and the version's digest. */
MUST_CHECK enum status version_files_write(struct learner *learner, struct version *version,
                                           const char *folder, const struct version_origin *origin,
                                           struct error *err);
/* Reads fast model, params and figures of a version whose objects are empty but there. */
MUST_CHECK enum status version_files_read(struct learner *learner, struct version *version,
                                          const char *folder, struct error *err);
/* SASRec's tensors of WEIGHTS_FILE into an object of its shape that has no items yet. CORRUPT. */
MUST_CHECK enum status version_sasrec_read(struct sasrec *sasrec, const struct safetensors *file,
                                           struct error *err);

#endif
