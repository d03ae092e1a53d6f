/* SPDX-License-Identifier: Apache-2.0
 *
 * base_adapter.c - reads a version's folder or a PEFT LoRA, and makes params of it.
 *
 * Failure: everything is checked before a weight is placed; nothing is left behind. */
#include "ops/base_adapter.h"

#include <math.h>
#include <string.h>

#include "base/file.h"
#include "base/memory.h"
#include "model/version_files.h"
#include "ops/command.h"

#define MIXTURE_SUM_ERROR 1e-3 /* of weights that were typed */

/* ---- a version's folder ---------------------------------------------------------------------- */

/* The version was made on this very base. */
static enum status check_base(const struct json_value *manifest, struct checkpoint *checkpoint,
                              struct error *err) {
    uint8_t digest[SHA256_BYTES];
    char text[2 * SHA256_BYTES + 1];
    struct span wanted = {0};
    if (!json_string(json_member(json_member(manifest, "base_model"), "sha256"), &wanted)) {
        return error_set(err, STATUS_CONFIG,
                         "'" MANIFEST_FILE "' names no base model: the version was made without a "
                         "language model");
    }
    enum status status = checkpoint_sha256(checkpoint, digest, err);
    if (status != STATUS_OK) { return status; }
    hex_encode(digest, sizeof digest, text);
    if (span_equal(wanted, span_of(text))) { return STATUS_OK; }
    return error_set(err, STATUS_CONFIG,
                     "the version was made on a base of SHA-256 %.*s, this one has %s",
                     SPAN_ARG(wanted), text);
}

static enum status check_prompts(const char *folder, struct error *err) {
    char path[FILE_PATH_BYTES_MAX];
    struct safetensors *file = NULL;
    enum status status = path_join(path, folder, WEIGHTS_FILE, err);
    if (status != STATUS_OK) { return status; }
    status = safetensors_open(path, &file, err);
    if (status != STATUS_OK) { return status; }
    if (safetensors_find(file, "projector.0.weight") != NULL) {
        status = error_set(err, STATUS_CONFIG,
                           "the version has item tokens in its prompts (tensor "
                           "'projector.0.weight'): expected one of a text-only prompt template");
    }
    safetensors_close(file);
    return status;
}

static enum status read_experts(const struct json_value *manifest, int rank, int *ret_experts,
                                struct error *err) {
    int64_t K = 0;
    if (!json_integer(json_member(json_member(manifest, "ilora"), "experts"), &K) || K < 1 ||
        K > BASE_ADAPTER_EXPERTS_MAX || rank % K != 0) {
        return error_set(err, STATUS_CORRUPT,
                         "'" MANIFEST_FILE "': field 'experts', expected 1 to %d, a divisor of the "
                         "rank %d",
                         BASE_ADAPTER_EXPERTS_MAX, rank);
    }
    *ret_experts = (int)K;
    return STATUS_OK;
}

static void mix_evenly(struct base_adapter *adapter) {
    for (int k = 0; k < adapter->experts; k++) {
        adapter->mixture[k] = 1.0f / (float)adapter->experts;
    }
}

enum status base_adapter_open_version(const char *folder, struct checkpoint *checkpoint,
                                      struct base_adapter *ret_adapter, struct error *err) {
    struct base_adapter adapter = {0};
    struct json_value *manifest = NULL;
    enum status status = folder_digests_check(folder, MANIFEST_FILE, &manifest, NULL, err);
    if (status != STATUS_OK) { return status; }
    status = check_base(manifest, checkpoint, err);
    if (status == STATUS_OK) { status = check_prompts(folder, err); }
    if (status != STATUS_OK) {
        (void)error_wrap(err, "'%s'", folder); /* returns its code */
        goto fail;
    }
    status = peft_adapter_open(folder, &adapter.peft, err);
    if (status != STATUS_OK) { goto fail; }
    status = read_experts(manifest, adapter.peft->rank, &adapter.experts, err);
    if (status != STATUS_OK) {
        (void)error_wrap(err, "'%s'", folder); /* returns its code */
        goto fail;
    }
    mix_evenly(&adapter);
    json_free(manifest);
    *ret_adapter = adapter;
    return STATUS_OK;

fail:
    json_free(manifest);
    peft_adapter_close(adapter.peft);
    return status;
}

/* ---- any ------------------------------------------------------------------------------------- */

enum status base_adapter_open_peft(const char *folder, struct base_adapter *ret_adapter,
                                   struct error *err) {
    struct base_adapter adapter = {.experts = 1};
    enum status status = peft_adapter_open(folder, &adapter.peft, err);
    if (status != STATUS_OK) { return status; }
    mix_evenly(&adapter);
    *ret_adapter = adapter;
    return STATUS_OK;
}

void base_adapter_close(struct base_adapter *adapter) {
    peft_adapter_close(adapter->peft);
    *adapter = (struct base_adapter){0};
}

enum status base_adapter_mix(struct base_adapter *adapter, const char *weights, struct error *err) {
    double mixture[BASE_ADAPTER_EXPERTS_MAX], sum = 0.0;
    bool fine = options_numbers(weights, adapter->experts, mixture);
    for (int k = 0; k < adapter->experts && fine; k++) {
        fine = mixture[k] >= 0.0;
        sum += mixture[k];
    }
    if (!fine || fabs(sum - 1.0) > MIXTURE_SUM_ERROR) {
        return error_set(err, STATUS_CONFIG,
                         "--gate '%s': expected %d numbers >= 0 of sum 1, commas between", weights,
                         adapter->experts);
    }
    for (int k = 0; k < adapter->experts; k++) {
        adapter->mixture[k] = (float)(mixture[k] / sum);
    }
    return STATUS_OK;
}

/* ---- params ---------------------------------------------------------------------------------- */

void base_adapter_shape(const struct base_adapter *adapter, struct ilora_shape *shape) {
    shape->R = adapter->peft->rank;
    shape->K = 1;
    shape->alpha = (float)adapter->peft->alpha;
}

/* values (rows,R) of a B: rank j is of expert j/(R/K) and gets K times its weight. */
static void fold(const struct base_adapter *adapter, const struct ilora_tensor *tensor,
                 float *values) {
    int R = tensor->cols, K = adapter->experts;
    for (int o = 0; o < tensor->rows; o++) {
        for (int j = 0; j < R; j++) {
            values[(size_t)o * (size_t)R + (size_t)j] *= (float)K * adapter->mixture[j / (R / K)];
        }
    }
}

static enum status fold_all(const struct base_adapter *adapter, struct ilora_params *params,
                            struct error *err) {
    float *slab = MEMORY_TAKE_ARRAY(float, ilora_params_floats(params));
    if (slab == NULL) { return error_set(err, STATUS_NO_MEMORY, "a slab of parameters"); }
    enum status status = ilora_params_read(params, ILORA_VALUE, slab, err);
    for (int i = 0; i < ilora_params_count(params) && status == STATUS_OK; i++) {
        const struct ilora_tensor *tensor = ilora_params_at(params, i);
        if (strstr(tensor->name, ".lora_B.") != NULL) {
            fold(adapter, tensor, slab + tensor->offset);
        }
    }
    if (status == STATUS_OK) { status = ilora_params_write(params, ILORA_VALUE, slab, err); }
    memory_free(slab);
    return status;
}

enum status base_adapter_params(const struct base_adapter *adapter, const struct base_model *base,
                                struct backend *be, const struct ilora_shape *shape,
                                struct ilora_params **ret_params, struct error *err) {
    struct ilora_params *params = NULL;
    enum status status =
        ilora_params_new(be, base_model_description(base), shape, 0, false, &params, err);
    if (status != STATUS_OK) { return status; }
    status = peft_adapter_start(adapter->peft, params, err);
    if (status == STATUS_OK && adapter->experts > 1) { status = fold_all(adapter, params, err); }
    if (status != STATUS_OK) {
        ilora_params_free(params);
        return status;
    }
    *ret_params = params;
    return STATUS_OK;
}
