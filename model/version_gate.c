/* SPDX-License-Identifier: Apache-2.0
 *
 * version_gate.c - SASRec and the stream gate of a version's folder, on one CPU thread. Shapes come
 * from the tensors themselves, so no settings are needed. */
#include "model/version_gate.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#include "base/file.h"
#include "base/memory.h"
#include "kernels/backend.h"
#include "model/version_files.h"

#define NORM_EPSILON 1e-5 /* PyTorch's LayerNorm; GATE_NORM_EPSILON of gate.h */

struct version_gate {
    struct backend *be;       /* owns */
    struct sasrec *sasrec;    /* owns */
    struct sasrec_work *work; /* owns */
    int K, E;
    double floor;
    float *weight; /* (K,E) owns */
    float *bias;   /* (1,K) owns */
    bool item_tokens;
};

/* ---- opening --------------------------------------------------------------------------------- */

static enum status read_manifest(struct version_gate *gate, const char *folder, struct error *err) {
    struct json_value *json = NULL;
    int64_t K = 0;

    enum status status = folder_digests_check(folder, MANIFEST_FILE, &json, NULL, err);
    if (status != STATUS_OK) { return status; }
    const struct json_value *ilora = json_member(json, "ilora");
    if (ilora == NULL) {
        status = error_set(err, STATUS_CONFIG,
                           "'%s' has no 'ilora': the version was made without a base model",
                           MANIFEST_FILE);
    } else if (!json_integer(json_member(ilora, "experts"), &K) || K < 1 ||
               K > VERSION_EXPERTS_MAX) {
        status = error_set(err, STATUS_CORRUPT, "'%s': field 'experts', expected 1 to %d",
                           MANIFEST_FILE, VERSION_EXPERTS_MAX);
    } else if (!json_real(json_member(ilora, "gate_floor"), &gate->floor)) {
        status = error_set(err, STATUS_CORRUPT, "'%s': field 'gate_floor', expected a number",
                           MANIFEST_FILE);
    }
    gate->K = (int)K;
    json_free(json);
    return status;
}

/* Rows of "sasrec.blocks.<b>.<...>" tell how many blocks there are. */
static int count_blocks(const struct safetensors *file) {
    int blocks = 0;

    for (int i = 0; i < safetensors_count(file); i++) {
        const char *name = safetensors_at(file, i)->name;
        if (strncmp(name, "sasrec.blocks.", 14) != 0) { continue; }
        int block = name[14] >= '0' && name[14] <= '9' ? name[14] - '0' : 0;
        if (block >= blocks) { blocks = block + 1; }
    }
    return blocks;
}

static enum status read_sasrec(struct version_gate *gate, const struct safetensors *file,
                               struct error *err) {
    const struct safetensors_entry *items = safetensors_find(file, "sasrec.items");
    int64_t M = tensor_file_rows(file, "sasrec.items");
    int64_t S = tensor_file_rows(file, "sasrec.positions");
    int64_t W = tensor_file_rows(file, "sasrec.title_projection");
    int blocks = count_blocks(file);

    bool whole = M >= 0 && M < INT32_MAX && S > 0 && S <= SASREC_S_MAX && blocks > 0 &&
                 blocks <= SASREC_BLOCKS_MAX && W < INT32_MAX && items->shape[1] > 0 &&
                 items->shape[1] <= INT16_MAX;
    if (!whole) {
        return error_set(err, STATUS_CORRUPT, "tensors 'sasrec.*' are missing or of absurd shape");
    }
    gate->E = (int)items->shape[1];
    const struct sasrec_shape shape = {.E = gate->E,
                                       .blocks = blocks,
                                       .S = (int)S,
                                       .items_max = M > 0 ? (int)M : 1,
                                       .title_width = W > 0 ? (int)W : 0};
    enum status status = sasrec_new(gate->be, &shape, 0, false, &gate->sasrec, err);
    if (status == STATUS_OK) { status = version_sasrec_read(gate->sasrec, file, err); }
    if (status == STATUS_OK) {
        status = sasrec_work_new(gate->be, &shape, false, &gate->work, err);
    }
    return status;
}

/* The stream gate is two tensors; more or other ones are a gate that the daemon does not have. */
static enum status read_gate(struct version_gate *gate, const struct safetensors *file,
                             struct error *err) {
    for (int i = 0; i < safetensors_count(file); i++) {
        const char *name = safetensors_at(file, i)->name;
        bool known = strcmp(name, "gate.weight") == 0 || strcmp(name, "gate.bias") == 0;
        if (strncmp(name, "gate.", 5) != 0 || known) { continue; }
        return error_set(err, STATUS_CONFIG,
                         "tensor '%s' belongs to another gate, expected the stream gate's "
                         "'gate.weight' and 'gate.bias'",
                         name);
    }
    gate->item_tokens = safetensors_find(file, "projector.0.weight") != NULL;
    gate->weight = MEMORY_TAKE_ARRAY(float, (size_t)gate->K *(size_t)gate->E);
    gate->bias = MEMORY_TAKE_ARRAY(float, gate->K);
    if (gate->weight == NULL || gate->bias == NULL) {
        return error_set(err, STATUS_NO_MEMORY, "a gate");
    }
    enum status status =
        tensor_file_copy(file, "gate.weight", "", "F32", gate->K, gate->E, gate->weight, err);
    if (status != STATUS_OK) { return status; }
    return tensor_file_copy(file, "gate.bias", "", "F32", 1, gate->K, gate->bias, err);
}

enum status version_gate_open(const char *folder, struct version_gate **ret_gate,
                              struct error *err) {
    char path[FILE_PATH_BYTES_MAX];
    struct safetensors *file = NULL;
    struct version_gate *gate = MEMORY_TAKE_ARRAY(struct version_gate, 1);
    if (gate == NULL) { return error_set(err, STATUS_NO_MEMORY, "a gate"); }

    enum status status = read_manifest(gate, folder, err);
    if (status == STATUS_OK) { status = path_join(path, folder, WEIGHTS_FILE, err); }
    if (status == STATUS_OK) { status = safetensors_open(path, &file, err); }
    if (status == STATUS_OK) { status = backend_cpu_new(1, &gate->be, err); }
    if (status == STATUS_OK) { status = read_sasrec(gate, file, err); }
    if (status == STATUS_OK) { status = read_gate(gate, file, err); }
    if (file != NULL) { safetensors_close(file); }
    if (status != STATUS_OK) {
        version_gate_close(gate);
        return error_wrap(err, "version '%s'", folder);
    }
    *ret_gate = gate;
    return STATUS_OK;
}

void version_gate_close(struct version_gate *gate) {
    if (gate == NULL) { return; }
    sasrec_work_free(gate->work);
    sasrec_free(gate->sasrec);
    if (gate->be != NULL) { gate->be->ops->free(gate->be); }
    memory_free(gate->weight);
    memory_free(gate->bias);
    memory_free(gate);
}

int version_gate_experts(const struct version_gate *gate) {
    return gate->K;
}

int version_gate_items(const struct version_gate *gate) {
    return sasrec_items(gate->sasrec);
}

int version_gate_width(const struct version_gate *gate) {
    return gate->E;
}

bool version_gate_has_item_tokens(const struct version_gate *gate) {
    return gate->item_tokens;
}

/* ---- weights --------------------------------------------------------------------------------- */

/* w (K) of a state z (E) as SASRec gives it. */
static void weights_of(const struct version_gate *gate, const float *state, float *ret_weights) {
    double mean = 0.0, variance = 0.0, largest = -(double)INFINITY, sum = 0.0;
    double logits[VERSION_EXPERTS_MAX];

    assert(gate->K <= VERSION_EXPERTS_MAX);
    for (int e = 0; e < gate->E; e++) {
        mean += (double)state[e] / gate->E;
    }
    for (int e = 0; e < gate->E; e++) {
        variance += ((double)state[e] - mean) * ((double)state[e] - mean) / gate->E;
    }
    double deviation = sqrt(variance + NORM_EPSILON);
    for (int k = 0; k < gate->K; k++) {
        const float *weight_k = gate->weight + (size_t)k * (size_t)gate->E;
        logits[k] = (double)gate->bias[k];
        for (int e = 0; e < gate->E; e++) {
            logits[k] += (double)weight_k[e] * ((double)state[e] - mean) / deviation;
        }
        largest = fmax(largest, logits[k]);
    }
    for (int k = 0; k < gate->K; k++) {
        logits[k] = exp(logits[k] - largest);
        sum += logits[k];
    }
    for (int k = 0; k < gate->K; k++) {
        ret_weights[k] = (float)(gate->floor / gate->K + (1.0 - gate->floor) * logits[k] / sum);
    }
}

enum status version_gate_state(struct version_gate *gate, const uint32_t *history, int count,
                               float *ret_state, struct error *err) {
    const int S = sasrec_shape_of(gate->sasrec)->S, skip = count > S ? count - S : 0;
    const struct sasrec_sequence sequence = {
        .items = history + skip, .count = count - skip, .weight = 1.0F};

    return sasrec_states(gate->sasrec, gate->work, &sequence, 1, ret_state, err);
}

enum status version_gate_weights(struct version_gate *gate, const uint32_t *history, int count,
                                 float *ret_weights, struct error *err) {
    float *state = MEMORY_TAKE_ARRAY(float, gate->E);
    if (state == NULL) { return error_set(err, STATUS_NO_MEMORY, "a state"); }

    enum status status = version_gate_state(gate, history, count, state, err);
    if (status == STATUS_OK) { weights_of(gate, state, ret_weights); }
    memory_free(state);
    return status;
}
