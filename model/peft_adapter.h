/* SPDX-License-Identifier: Apache-2.0
 *
 * peft_adapter.h - a plain LoRA as PEFT keeps it on disk: into iLoRA, and out of it.
 *
 *   <folder>/adapter_config.json        r, lora_alpha, use_rslora, target_modules, ...
 *   <folder>/adapter_model.safetensors  "base_model.model.model.layers.N.<module>.lora_A.weight"
 *                                       (r,I) and ".lora_B.weight" (O,r); F32, F16 or BF16
 *
 * PEFT (Hu et al. 2021): y += c B A x, c = lora_alpha/r, or lora_alpha/sqrt(r) with use_rslora.
 * Ours (MODEL.md): y += s B diag(g) A x, s = alpha/(R/K), g = repeat(w, R/K). With w = 1/K that is
 * (alpha/R) B A x. So:
 *   in:   B_ours = B c R/alpha; rank j goes to row (j mod K) R/K + j/K, so the experts share the
 *         adapter evenly; ranks beyond r keep their fresh A with B = 0 and learn. A uniform gate
 *         gives the adapter's logits for every K; with K = 1 there is no other gate.
 *   out:  B' = K B diag(g) with r = R and lora_alpha = alpha; the uniform gate changes nothing.
 *
 * Everything is checked before use. CONFIG names folder or file, field or tensor, what was found
 * and what is expected. Refused is what this form cannot express: other PEFT types, DoRA, rank and
 * alpha patterns, biases, trained embeddings and heads, transposed weights, an init that changed
 * the base, modules other than the seven linear layers, and fields that are not known and not
 * empty.
 */
#ifndef MODEL_PEFT_ADAPTER_H
#define MODEL_PEFT_ADAPTER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/file.h"
#include "base/hash.h"
#include "base/status.h"
#include "model/language_model.h"
#include "model/tensor_file.h"

#define PEFT_MODEL_FILE  "adapter_model.safetensors"
#define PEFT_CONFIG_FILE "adapter_config.json"
#define PEFT_RANK_MAX    1024
#define PEFT_LAYERS_MAX  1024

/* One A or B, named as ilora_params names it (PEFT's ".default" is left out). */
struct peft_matrix {
    char name[128];
    int rows, cols;
    const float *values; /* (rows,cols) borrows: from the adapter */
};

struct peft_adapter {
    char folder[FILE_PATH_BYTES_MAX];
    int rank;     /* r */
    double alpha; /* lora_alpha */
    bool rslora;
    double scale; /* c: alpha/r, or alpha/sqrt(r) with rslora */
    char base_name[256];
    uint8_t sha256[SHA256_BYTES]; /* over both files: config, then tensors */
    struct peft_matrix *matrices; /* (count) owns; sorted by name, so A precedes its B */
    int count;
    int layers;    /* the last one that has a matrix, and one */
    float *values; /* owns: all matrices */
    /* Modules (bits, by peft_config.h) that must be there, by layer; none for a pattern. */
    uint8_t targeted[PEFT_LAYERS_MAX];
};

/* Reads and checks a folder. Values are f32, finite; each A has its B; each module that the config
 * targets and the seven can be is there. CONFIG, NO_MEMORY. */
MUST_CHECK enum status peft_adapter_open(const char *folder, struct peft_adapter **ret_adapter,
                                         struct error *err);
void peft_adapter_close(struct peft_adapter *adapter); /* NULL is fine */

/* Is each module there that the config targets in layers 0 .. layers-1? CONFIG names the first. */
MUST_CHECK enum status peft_adapter_check_targets(const struct peft_adapter *adapter, int layers,
                                                  struct error *err);

/* Writes the adapter over the A and B of params (VALUE, and EMA where there is one), which are
 * those of ilora_params_new: modules the adapter lacks get B = 0. CONFIG: a matrix that the base
 * does not have or of another shape; r > R names the [ilora] rank to set. On failure params are
 * unchanged, except when the device failed. */
MUST_CHECK enum status peft_adapter_start(const struct peft_adapter *adapter,
                                          struct ilora_params *params, struct error *err);

/* Writes a plain LoRA of all seven modules into a folder, which exists: the tensors of `list` and
 * a config with r = rank. base_name: base_model_name_or_path. IO names the path. */
MUST_CHECK enum status peft_adapter_write(const struct tensor_list *list, int rank, double alpha,
                                          const char *base_name, const char *folder,
                                          struct error *err);
/* The adapter of a version with one gate folded in: B' = K B diag(g). gate (K), NULL: uniform. The
 * folder appears whole or not at all: it must not exist, its parent must. CONFIG: the folder is
 * there, K does not divide the rank, a module is not there. */
MUST_CHECK enum status peft_adapter_export(const struct peft_adapter *adapter, const float *gate,
                                           int K, const char *folder, struct error *err);

#endif
