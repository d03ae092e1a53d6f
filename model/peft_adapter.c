/* SPDX-License-Identifier: Apache-2.0
 *
 * peft_adapter.c - opens a PEFT folder: names, shapes and values are checked before anybody uses
 * them. Into and out of iLoRA: peft_mix.c. */
#include "model/peft_adapter.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "model/peft_config.h"
#include "model/safetensors.h"

#define CONFIG_BYTES_MAX (1024u * 1024u)
#define NAME_LAYERS      "base_model.model.model.layers."

/* What a tensor's name says. */
struct tensor_words {
    int layer, module; /* index into peft_modules */
    bool up;           /* B */
};

/* "<name>" moves over a text and says whether it was there. */
static bool skip(const char **text, const char *name) {
    size_t size = strlen(name);

    if (strncmp(*text, name, size) != 0) { return false; }
    *text += size;
    return true;
}

static bool skip_number(const char **text, int *ret_number) {
    int number = 0;
    const char *at = *text;

    for (; *at >= '0' && *at <= '9' && number < PEFT_LAYERS_MAX; at++) {
        number = number * 10 + (*at - '0');
    }
    if (at == *text || number >= PEFT_LAYERS_MAX || (**text == '0' && at - *text > 1)) {
        return false;
    }
    *text = at;
    *ret_number = number;
    return true;
}

static bool read_name(const char *name, struct tensor_words *ret_words) {
    struct tensor_words words = {0};

    if (!skip(&name, NAME_LAYERS) || !skip_number(&name, &words.layer) || !skip(&name, ".")) {
        return false;
    }
    while (words.module < PEFT_MODULES && !skip(&name, peft_modules[words.module])) {
        words.module++;
    }
    if (words.module == PEFT_MODULES || !skip(&name, ".lora_")) { return false; }
    words.up = *name == 'B';
    if (!skip(&name, words.up ? "B" : "A")) { return false; }
    (void)skip(&name, ".default"); /* there or not */
    *ret_words = words;
    return strcmp(name, ".weight") == 0;
}

static void write_name(const struct tensor_words *words, char *name, size_t size) {
    (void)snprintf(name, size, NAME_LAYERS "%d.%s.lora_%c.weight", words->layer,
                   peft_modules[words->module], words->up ? 'B' : 'A');
}

/* ---- tensors --------------------------------------------------------------------------------- */

static enum status check_shape(const struct peft_adapter *adapter,
                               const struct safetensors_entry *entry, bool up, struct error *err) {
    int64_t rank = entry->shape[up ? 1 : 0], width = entry->shape[up ? 0 : 1];

    if (entry->dims != 2) {
        return error_set(err, STATUS_CONFIG, "tensor '%s' has %d dimensions, expected 2",
                         entry->name, entry->dims);
    }
    if (rank != adapter->rank || width < 1 || width > INT32_MAX) {
        return error_set(err, STATUS_CONFIG,
                         "tensor '%s' is (%" PRId64 ", %" PRId64 "), expected rank %d as in '%s'",
                         entry->name, entry->shape[0], entry->shape[1], adapter->rank,
                         PEFT_CONFIG_FILE);
    }
    return STATUS_OK;
}

/* One tensor as f32. */
static enum status copy_values(const struct safetensors_entry *entry, size_t count, float *values,
                               struct error *err) {
    if (!safetensors_floats(entry, count, values)) {
        return error_set(err, STATUS_CONFIG, "tensor '%s' is %s, expected F32, F16 or BF16",
                         entry->name, entry->dtype);
    }
    for (size_t i = 0; i < count; i++) {
        if (isfinite(values[i])) { continue; }
        return error_set(err, STATUS_CONFIG, "tensor '%s' element %zu is %g, expected finite",
                         entry->name, i, (double)values[i]);
    }
    return STATUS_OK;
}

static size_t entry_floats(const struct safetensors_entry *entry) {
    return (size_t)entry->shape[0] * (size_t)entry->shape[1];
}

static enum status read_tensor(struct peft_adapter *adapter, const struct safetensors_entry *entry,
                               size_t *at, struct error *err) {
    struct peft_matrix *matrix = &adapter->matrices[adapter->count];
    struct tensor_words words;

    if (!read_name(entry->name, &words)) {
        return error_set(err, STATUS_CONFIG,
                         "tensor '%s' is not known, expected " NAME_LAYERS
                         "N.<module>.lora_A.weight or lora_B.weight of the seven linear layers",
                         entry->name);
    }
    enum status status = check_shape(adapter, entry, words.up, err);
    if (status != STATUS_OK) { return status; }
    write_name(&words, matrix->name, sizeof matrix->name);
    matrix->rows = (int)entry->shape[0];
    matrix->cols = (int)entry->shape[1];
    matrix->values = adapter->values + *at;
    status = copy_values(entry, entry_floats(entry), adapter->values + *at, err);
    if (status != STATUS_OK) { return status; }
    *at += entry_floats(entry);
    adapter->count++;
    if (words.layer >= adapter->layers) { adapter->layers = words.layer + 1; }
    return STATUS_OK;
}

static int compare_names(const void *a, const void *b) {
    const struct peft_matrix *x = a, *y = b;

    return strcmp(x->name, y->name);
}

static bool has_matrix(const struct peft_adapter *adapter, const char *name) {
    struct peft_matrix key = {.rows = 0};

    (void)snprintf(key.name, sizeof key.name, "%s", name);
    return bsearch(&key, adapter->matrices, (size_t)adapter->count, sizeof key, compare_names) !=
           NULL;
}

/* No name twice; each A with its B. Sorted, the two are neighbours. */
static enum status check_pairs(const struct peft_adapter *adapter, struct error *err) {
    for (int i = 0; i < adapter->count; i++) {
        const char *name = adapter->matrices[i].name;
        struct tensor_words words;
        char other[128];
        if (i > 0 && strcmp(adapter->matrices[i - 1].name, name) == 0) {
            return error_set(err, STATUS_CONFIG, "tensor '%s' is there with and without '.default'",
                             name);
        }
        bool known = read_name(name, &words);
        assert(known);
        (void)known; /* used by the assertion */
        words.up = !words.up;
        write_name(&words, other, sizeof other);
        if (!has_matrix(adapter, other)) {
            return error_set(err, STATUS_CONFIG, "tensor '%s' is missing, '%s' is there", other,
                             name);
        }
    }
    return STATUS_OK;
}

enum status peft_adapter_check_targets(const struct peft_adapter *adapter, int layers,
                                       struct error *err) {
    for (int layer = 0; layer < layers && layer < PEFT_LAYERS_MAX; layer++) {
        for (int module = 0; module < PEFT_MODULES; module++) {
            struct tensor_words words = {layer, module, false};
            char name[128];
            if ((adapter->targeted[layer] & 1u << module) == 0) { continue; }
            write_name(&words, name, sizeof name);
            if (has_matrix(adapter, name)) { continue; }
            return error_set(err, STATUS_CONFIG,
                             "tensor '%s' is missing, '%s' names its module as a target", name,
                             PEFT_CONFIG_FILE);
        }
    }
    return STATUS_OK;
}

static enum status read_tensors(struct peft_adapter *adapter, const struct safetensors *file,
                                struct error *err) {
    int count = safetensors_count(file);
    size_t floats = 0, at = 0;

    for (int i = 0; i < count; i++) {
        const struct safetensors_entry *entry = safetensors_at(file, i);
        floats += entry->bytes; /* more than the values: two bytes a value or more */
    }
    adapter->matrices = MEMORY_TAKE_ARRAY(struct peft_matrix, count + 1);
    adapter->values = MEMORY_TAKE_ARRAY(float, floats / 2 + 1);
    if (adapter->matrices == NULL || adapter->values == NULL) {
        return error_set(err, STATUS_NO_MEMORY, "%d tensors", count);
    }
    for (int i = 0; i < count; i++) {
        enum status status = read_tensor(adapter, safetensors_at(file, i), &at, err);
        if (status != STATUS_OK) { return status; }
    }
    if (count == 0) { return error_set(err, STATUS_CONFIG, "no tensors, expected one A and B"); }
    qsort(adapter->matrices, (size_t)count, sizeof *adapter->matrices, compare_names);
    enum status status = check_pairs(adapter, err);
    if (status != STATUS_OK) { return status; }
    return peft_adapter_check_targets(adapter, adapter->layers, err);
}

/* ---- files ----------------------------------------------------------------------------------- */

/* Absent files are the operator's mistake here. */
static enum status as_config(enum status status, struct error *err) {
    if (status == STATUS_NOT_FOUND || status == STATUS_LIMIT || status == STATUS_MALFORMED) {
        err->code = status = STATUS_CONFIG;
    }
    return status;
}

static void take_config(struct peft_adapter *adapter, const struct peft_config *config) {
    adapter->rank = config->rank;
    adapter->alpha = config->alpha;
    adapter->rslora = config->rslora;
    adapter->scale =
        config->alpha / (config->rslora ? sqrt((double)config->rank) : (double)config->rank);
    (void)snprintf(adapter->base_name, sizeof adapter->base_name, "%s", config->base_name);
    for (int layer = 0; layer < PEFT_LAYERS_MAX; layer++) {
        for (int module = 0; module < PEFT_MODULES; module++) {
            if (!peft_config_targets(config, layer, module)) { continue; }
            adapter->targeted[layer] = (uint8_t)(adapter->targeted[layer] | 1u << module);
        }
    }
}

static enum status read_config(struct peft_adapter *adapter, struct buffer *bytes,
                               struct error *err) {
    char path[FILE_PATH_BYTES_MAX];
    struct peft_config config;

    enum status status = path_join(path, adapter->folder, PEFT_CONFIG_FILE, err);
    if (status != STATUS_OK) { return status; }
    status = file_read(path, CONFIG_BYTES_MAX, bytes, err);
    if (status != STATUS_OK) { return as_config(status, err); }
    status = peft_config_read(buffer_span(bytes), &config, err);
    if (status != STATUS_OK) { return error_wrap(err, "'%s'", PEFT_CONFIG_FILE); }
    take_config(adapter, &config);
    peft_config_free(&config);
    return STATUS_OK;
}

static enum status digest(struct peft_adapter *adapter, struct span config, struct span tensors,
                          struct error *err) {
    struct sha256 *hash = NULL;
    enum status status = sha256_init(&hash, err);
    if (status != STATUS_OK) { return status; }
    sha256_update(hash, config.data, config.size);
    sha256_update(hash, tensors.data, tensors.size);
    sha256_finish(hash, adapter->sha256);
    sha256_free(hash);
    return STATUS_OK;
}

enum status peft_adapter_open(const char *folder, struct peft_adapter **ret_adapter,
                              struct error *err) {
    char path[FILE_PATH_BYTES_MAX];
    struct buffer config = {0};
    struct safetensors *file = NULL;
    struct peft_adapter *adapter = MEMORY_TAKE_ARRAY(struct peft_adapter, 1);
    if (adapter == NULL) { return error_set(err, STATUS_NO_MEMORY, "an adapter"); }

    (void)snprintf(adapter->folder, sizeof adapter->folder, "%s", folder); /* joined: checked */
    enum status status = path_join(path, folder, PEFT_MODEL_FILE, err);
    if (status == STATUS_OK) { status = read_config(adapter, &config, err); }
    if (status != STATUS_OK) { goto done; }
    status = as_config(safetensors_open(path, &file, err), err);
    if (status != STATUS_OK) { goto done; }
    status = read_tensors(adapter, file, err);
    if (status != STATUS_OK) {
        status = error_wrap(err, "'%s'", PEFT_MODEL_FILE);
        goto done;
    }
    status = digest(adapter, buffer_span(&config), safetensors_bytes(file), err);
done:
    if (file != NULL) { safetensors_close(file); }
    buffer_free(&config);
    if (status != STATUS_OK) {
        peft_adapter_close(adapter);
        return error_wrap(err, "adapter '%s'", folder);
    }
    *ret_adapter = adapter;
    return STATUS_OK;
}

void peft_adapter_close(struct peft_adapter *adapter) {
    if (adapter == NULL) { return; }
    memory_free(adapter->matrices);
    memory_free(adapter->values);
    memory_free(adapter);
}
