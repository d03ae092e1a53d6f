/* SPDX-License-Identifier: Apache-2.0
 *
 * peft_logits.c - our logits with a PEFT adapter as the start, or of a version with one sequence's
 * gate, for peft_round_trip.py and peft_make_golden.py.
 *
 * usage: peft_logits adapter MODEL FOLDER RANK EXPERTS ALPHA TOKENS OUT [SAVE]
 *        peft_logits version MODEL FOLDER uniform|ITEM,ITEM,... TOKENS OUT
 *
 * adapter: iLoRA of that shape started from FOLDER, its gate uniform; SAVE: the result as a PEFT
 * folder again. version: A, B and gate of a version's FOLDER, and the gate that its SASRec and our
 * forward pass give the item numbers. TOKENS, OUT: files of named arrays (lm_golden.h). */
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/memory.h"
#include "model/language_model.h"
#include "model/peft_adapter.h"
#include "model/version_files.h"
#include "model/version_gate.h"
#include "tests/reference/lm_golden.h"

#define TOKENS_MAX  1024
#define HISTORY_MAX 128

struct run {
    struct backend *be;
    struct checkpoint *checkpoint;
    struct base_model *base;
    struct language_model *lm;
    struct ilora_params *params;
    struct ilora_shape shape;
    float *state;  /* (E) */
    float *values; /* a slab */
};

static enum status open_model(struct run *run, const char *path, struct error *err) {
    struct language_model_settings settings = {.tokens_max = TOKENS_MAX, .sequences_max = 8};
    enum status status = backend_cpu_new(2, &run->be, err);
    if (status == STATUS_OK) { status = checkpoint_open(path, &run->checkpoint, err); }
    if (status != STATUS_OK) { return status; }
    status = base_model_load(run->be, run->checkpoint, PRECISION_F32, false, &run->base, err);
    if (status != STATUS_OK) { return status; }
    const struct model_description *d = base_model_description(run->base);
    status = language_model_new(run->base, &settings, &run->shape, &run->lm, err);
    if (status == STATUS_OK) {
        status = ilora_params_new(run->be, d, &run->shape, 5, false, &run->params, err);
    }
    if (status != STATUS_OK) { return status; }
    run->state = calloc((size_t)run->shape.E, sizeof *run->state);
    run->values = calloc(ilora_params_floats(run->params), sizeof *run->values);
    if (run->state == NULL || run->values == NULL) {
        return error_set(err, STATUS_NO_MEMORY, "a slab");
    }
    return ilora_params_read(run->params, ILORA_VALUE, run->values, err);
}

static void close_model(struct run *run) {
    free(run->state);
    free(run->values);
    ilora_params_free(run->params);
    language_model_free(run->lm);
    base_model_free(run->base);
    checkpoint_close(run->checkpoint);
    if (run->be != NULL) { run->be->ops->free(run->be); }
}

/* ---- an adapter ------------------------------------------------------------------------------ */

static enum status save(struct run *run, const char *folder, struct error *err) {
    struct tensor_list list = {0};
    enum status status = ilora_params_read(run->params, ILORA_VALUE, run->values, err);
    for (int t = 0; t < ilora_params_count(run->params) && status == STATUS_OK; t++) {
        const struct ilora_tensor *tensor = ilora_params_at(run->params, t);
        if (strstr(tensor->name, ".lora_") == NULL) { continue; }
        tensor_list_add(&list, tensor->name, "", "F32", tensor->rows, tensor->cols,
                        run->values + tensor->offset);
    }
    if (status == STATUS_OK) { status = dir_make(folder, err); }
    if (status == STATUS_OK) {
        status =
            peft_adapter_write(&list, run->shape.R, (double)run->shape.alpha, "base", folder, err);
    }
    tensor_list_free(&list);
    return status;
}

static enum status run_adapter(struct run *run, char **argv, const char *save_to,
                               struct error *err) {
    struct peft_adapter *adapter = NULL;
    int64_t R = 0, K = 0;
    double alpha = 0.0;
    if (!span_integer(span_of(argv[4]), &R) || !span_integer(span_of(argv[5]), &K) ||
        !span_real(span_of(argv[6]), &alpha)) {
        return error_set(err, STATUS_CONFIG, "expected numbers RANK EXPERTS ALPHA");
    }
    run->shape = (struct ilora_shape){.R = (int)R,
                                      .K = (int)K,
                                      .alpha = (float)alpha,
                                      .gate_floor = 0.05f,
                                      .E = 64,
                                      .head = ILORA_HEAD_TITLE};
    enum status status = open_model(run, argv[2], err);
    if (status == STATUS_OK) { status = peft_adapter_open(argv[3], &adapter, err); }
    if (status == STATUS_OK) { status = peft_adapter_start(adapter, run->params, err); }
    if (status == STATUS_OK && save_to != NULL) { status = save(run, save_to, err); }
    peft_adapter_close(adapter);
    return status;
}

/* ---- a version ------------------------------------------------------------------------------- */

static enum status read_shape(struct run *run, const char *folder, int E, struct error *err) {
    struct json_value *json = NULL;
    int64_t R = 0, K = 0;
    double alpha = 0.0, gate_floor = 0.0;
    enum status status = folder_digests_check(folder, MANIFEST_FILE, &json, NULL, err);
    if (status != STATUS_OK) { return status; }
    const struct json_value *ilora = json_member(json, "ilora");
    bool whole = json_integer(json_member(ilora, "rank"), &R) &&
                 json_integer(json_member(ilora, "experts"), &K) &&
                 json_real(json_member(ilora, "alpha"), &alpha) &&
                 json_real(json_member(ilora, "gate_floor"), &gate_floor);
    json_free(json);
    if (!whole) { return error_set(err, STATUS_CONFIG, "'%s' has no iLoRA", folder); }
    run->shape = (struct ilora_shape){.R = (int)R,
                                      .K = (int)K,
                                      .alpha = (float)alpha,
                                      .gate_floor = (float)gate_floor,
                                      .E = E,
                                      .head = ILORA_HEAD_TITLE};
    return STATUS_OK;
}

/* A, B and, unless it is to be uniform, the gate. */
static enum status read_params(struct run *run, const char *folder, bool uniform,
                               struct error *err) {
    static const char *const files[] = {PEFT_MODEL_FILE, WEIGHTS_FILE};
    enum status status = STATUS_OK;
    for (int f = 0; f < (uniform ? 1 : 2) && status == STATUS_OK; f++) {
        char path[FILE_PATH_BYTES_MAX];
        struct safetensors *file = NULL;
        status = path_join(path, folder, files[f], err);
        if (status == STATUS_OK) { status = safetensors_open(path, &file, err); }
        for (int t = 0; t < ilora_params_count(run->params) && status == STATUS_OK; t++) {
            const struct ilora_tensor *tensor = ilora_params_at(run->params, t);
            bool gate = strncmp(tensor->name, "gate.", 5) == 0;
            if (gate != (f == 1)) { continue; }
            status = tensor_file_copy(file, tensor->name, "", "F32", tensor->rows, tensor->cols,
                                      run->values + tensor->offset, err);
        }
        if (file != NULL) { safetensors_close(file); }
    }
    if (status != STATUS_OK) { return status; }
    return ilora_params_write(run->params, ILORA_VALUE, run->values, err);
}

static enum status run_version(struct run *run, char **argv, struct error *err) {
    bool uniform = strcmp(argv[4], "uniform") == 0;
    uint32_t history[HISTORY_MAX];
    int count = 0;
    struct version_gate *gate = NULL;
    for (char *at = argv[4]; !uniform && at != NULL && count < HISTORY_MAX; count++) {
        size_t size = strcspn(at, ",");
        int64_t item = 0;
        if (!span_integer(span_make(at, size), &item)) {
            return error_set(err, STATUS_CONFIG, "expected item numbers: '%s'", argv[4]);
        }
        history[count] = (uint32_t)item;
        at = at[size] == ',' ? at + size + 1 : NULL;
    }
    enum status status = version_gate_open(argv[3], &gate, err);
    if (status == STATUS_OK) { status = read_shape(run, argv[3], version_gate_width(gate), err); }
    if (status == STATUS_OK) { status = open_model(run, argv[2], err); }
    if (status == STATUS_OK) { status = read_params(run, argv[3], uniform, err); }
    if (status == STATUS_OK && !uniform) {
        status = version_gate_state(gate, history, count, run->state, err);
    }
    version_gate_close(gate);
    return status;
}

/* ---- logits ---------------------------------------------------------------------------------- */

static enum status write_logits(struct run *run, const struct lm_golden *prompts, const char *path,
                                struct error *err) {
    int V = base_model_description(run->base)->V;
    float *logits = calloc((size_t)TOKENS_MAX * (size_t)V, sizeof *logits);
    FILE *out = fopen(path, "wb");
    enum status status = STATUS_OK;
    if (logits == NULL || out == NULL) { status = error_set(err, STATUS_IO, "'%s'", path); }
    for (int i = 0; i < prompts->count && status == STATUS_OK; i++) {
        const struct lm_array *tokens = &prompts->arrays[i];
        int count = tokens->rows * tokens->cols;
        if (tokens->kind != 1) { continue; }
        status = language_model_logits(run->lm, run->params, run->state, tokens->values, count,
                                       logits, err);
        if (status == STATUS_OK && lm_golden_write(out, tokens->name, count, V, logits) != 0) {
            status = error_set(err, STATUS_IO, "'%s'", path);
        }
    }
    if (out != NULL && fclose(out) != 0 && status == STATUS_OK) {
        status = error_set(err, STATUS_IO, "'%s'", path);
    }
    free(logits);
    return status;
}

int main(int argc, char **argv) {
    struct error err = {0};
    struct run run = {0};
    static struct lm_golden prompts;
    bool adapter = argc > 1 && strcmp(argv[1], "adapter") == 0 && (argc == 9 || argc == 10);
    bool version = argc > 1 && strcmp(argv[1], "version") == 0 && argc == 7;
    if (!adapter && !version) {
        fprintf(stderr, "usage: peft_logits adapter|version ... (see peft_logits.c)\n");
        return 64;
    }
    char **files = argv + (adapter ? 7 : 5);
    if (lm_golden_read(files[0], &prompts) != 0) { return 1; }
    enum status status = adapter ? run_adapter(&run, argv, argc == 10 ? argv[9] : NULL, &err)
                                 : run_version(&run, argv, &err);
    if (status == STATUS_OK) { status = write_logits(&run, &prompts, files[1], &err); }
    if (status != STATUS_OK) { fprintf(stderr, "%s\n", err.text); }
    close_model(&run);
    lm_golden_free(&prompts);
    return status == STATUS_OK ? 0 : 1;
}
