/* SPDX-License-Identifier: Apache-2.0
 *
 * checkpoint_hf.c - a Hugging Face directory as a base model.
 *
 *   config.json                            the description
 *   model.safetensors                      all tensors, or
 *   model.safetensors.index.json           "weight_map": tensor -> file, the files beside it
 *   tokenizer.json                         read by the tokenizer; part of the digest
 *
 * A shard's name must be a plain file name: an index cannot point outside its folder. The index and
 * the shards must agree: a tensor is in the file that the index names, and in no other.
 */
#include "model/checkpoint_source.h"

#include <assert.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/memory.h"
#include "model/hf_config.h"
#include "model/hf_index.h"
#include "model/safetensors.h"

#define HF_WEIGHTS "model.safetensors"
#define HF_INDEX   "model.safetensors.index.json"

/* One tensor of any shard. */
struct hf_tensor {
    const struct safetensors_entry *entry; /* borrows: from its shard */
    int shard;
};

struct hf_source {
    struct model_source source;
    struct safetensors *shards[HF_SHARDS_MAX]; /* owns */
    char *files[HF_SHARDS_MAX];                /* owns: paths of the shards */
    int shard_count;
    char *weights;             /* owns: path of the index, or of the only shard */
    struct hf_tensor *tensors; /* owns; sorted by name, no name twice */
    int tensor_count;
    struct span config;    /* owns the mapping */
    struct span tokenizer; /* owns the mapping; empty when there is no tokenizer.json */
};

static int compare_key(const void *key, const void *tensor) {
    return strcmp(key, ((const struct hf_tensor *)tensor)->entry->name);
}

static const struct hf_tensor *hf_find(const struct hf_source *hf, const char *name) {
    if (hf->tensor_count == 0) { return NULL; }
    return bsearch(name, hf->tensors, (size_t)hf->tensor_count, sizeof *hf->tensors, compare_key);
}

static const char *hf_file(const struct model_source *source, const char *name) {
    const struct hf_source *hf = (const struct hf_source *)source;
    const struct hf_tensor *tensor = hf_find(hf, name);
    return tensor == NULL ? hf->weights : hf->files[tensor->shard];
}

static bool hf_shape(const struct model_source *source, const char *name, int *ret_rows,
                     int *ret_cols) {
    const struct hf_tensor *tensor = hf_find((const struct hf_source *)source, name);
    if (tensor == NULL) { return false; }
    const struct safetensors_entry *entry = tensor->entry;
    bool fits = entry->dims >= 1 && entry->dims <= 2;
    for (int i = 0; i < entry->dims; i++) {
        fits = fits && entry->shape[i] <= INT_MAX;
    }
    *ret_rows = !fits ? -1 : entry->dims == 1 ? 1 : (int)entry->shape[0];
    *ret_cols = !fits ? -1 : (int)entry->shape[entry->dims - 1];
    return true;
}

static enum status hf_read(struct model_source *source, const char *name, int rows, int cols,
                           float *ret_values, struct error *err) {
    const struct hf_tensor *tensor = hf_find((const struct hf_source *)source, name);
    if (tensor == NULL) { return error_set(err, STATUS_CONFIG, "tensor '%s' is missing", name); }
    const struct safetensors_entry *entry = tensor->entry;
    if (safetensors_floats(entry, (size_t)rows * (size_t)cols, ret_values)) { return STATUS_OK; }
    return error_set(err, STATUS_CONFIG,
                     "tensor '%s': field 'dtype' is %s, expected F32, F16 or BF16", name,
                     entry->dtype);
}

static void hf_visit(const struct model_source *source, model_source_visit visit, void *context) {
    const struct hf_source *hf = (const struct hf_source *)source;
    visit(context, hf->config);
    for (int i = 0; i < hf->shard_count; i++) {
        visit(context, safetensors_bytes(hf->shards[i]));
    }
    visit(context, hf->tokenizer);
}

static void hf_close(struct model_source *source) {
    struct hf_source *hf = (struct hf_source *)source;
    for (int i = 0; i < hf->shard_count; i++) {
        safetensors_close(hf->shards[i]);
        memory_free(hf->files[i]);
    }
    memory_free(hf->weights);
    memory_free(hf->tensors);
    file_unmap(hf->config);
    file_unmap(hf->tokenizer);
    memory_free(hf->source.path);
    memory_free(hf);
}

static const struct model_source_ops hf_ops = {
    "hf", hf_close, hf_shape, hf_read, hf_visit, hf_file, NULL, "/config.json",
};

/* ---- opening --------------------------------------------------------------------------------- */

static enum status shard_open(struct hf_source *hf, const char *name, struct error *err) {
    char path[FILE_PATH_BYTES_MAX];
    enum status status = path_join(path, hf->source.path, name, err);
    if (status != STATUS_OK) { return status; }
    assert(hf->shard_count < HF_SHARDS_MAX);
    char *file = memory_take_copy(path, strlen(path));
    if (file == NULL) { return error_set(err, STATUS_NO_MEMORY, "opening '%s'", path); }
    status = safetensors_open(path, &hf->shards[hf->shard_count], err);
    if (status != STATUS_OK) {
        memory_free(file);
        return status;
    }
    hf->files[hf->shard_count++] = file;
    hf->tensor_count += safetensors_count(hf->shards[hf->shard_count - 1]);
    if (hf->tensor_count <= HF_TENSORS_MAX) { return STATUS_OK; }
    return error_set(err, STATUS_CONFIG, "'%s': with it the shards hold %d tensors, at most %d",
                     path, hf->tensor_count, HF_TENSORS_MAX);
}

static int compare_tensors(const void *a, const void *b) {
    const struct hf_tensor *x = a;
    const struct hf_tensor *y = b;
    int order = strcmp(x->entry->name, y->entry->name);
    return order != 0 ? order : x->shard - y->shard;
}

/* One table over all shards; a tensor in two of them is refused. */
static enum status tensors_gather(struct hf_source *hf, struct error *err) {
    hf->tensors = MEMORY_TAKE_ARRAY(struct hf_tensor, hf->tensor_count + 1);
    if (hf->tensors == NULL) {
        return error_set(err, STATUS_NO_MEMORY, "'%s': %d tensors", hf->weights, hf->tensor_count);
    }
    int count = 0;
    for (int shard = 0; shard < hf->shard_count; shard++) {
        for (int i = 0; i < safetensors_count(hf->shards[shard]); i++) {
            hf->tensors[count++] = (struct hf_tensor){safetensors_at(hf->shards[shard], i), shard};
        }
    }
    assert(count == hf->tensor_count);
    qsort(hf->tensors, (size_t)count, sizeof *hf->tensors, compare_tensors);
    for (int i = 1; i < count; i++) {
        const struct hf_tensor *one = &hf->tensors[i - 1];
        const struct hf_tensor *two = &hf->tensors[i];
        if (strcmp(one->entry->name, two->entry->name) == 0) {
            return error_set(err, STATUS_CONFIG, "'%s': tensor '%s' is in '%s' as well",
                             hf->files[two->shard], two->entry->name,
                             strrchr(hf->files[one->shard], '/') + 1);
        }
    }
    return STATUS_OK;
}

/* For hf_index_check: the shards were opened in the order of the index's names. */
static int find_shard(const void *context, const char *name) {
    const struct hf_tensor *tensor = hf_find(context, name);
    return tensor == NULL ? -1 : tensor->shard;
}

static enum status shards_open_by_index(struct hf_source *hf, struct error *err) {
    struct span text = {NULL, 0};
    struct hf_index index = {NULL, NULL, 0};
    enum status status = file_map(hf->weights, &text, err);
    if (status != STATUS_OK) { return status; }
    status = hf_index_parse(text, &index, err);
    file_unmap(text);
    if (status != STATUS_OK) { return error_wrap(err, "'%s'", hf->weights); }

    for (int i = 0; status == STATUS_OK && i < index.count; i++) {
        status = shard_open(hf, index.names[i], err);
    }
    if (status == STATUS_OK) { status = tensors_gather(hf, err); }
    if (status == STATUS_OK) {
        status = hf_index_check(&index, find_shard, hf, err);
        if (status != STATUS_OK) { status = error_wrap(err, "'%s'", hf->weights); }
    }
    hf_index_free(&index);
    return status;
}

static enum status shards_open(struct hf_source *hf, struct error *err) {
    char path[FILE_PATH_BYTES_MAX];
    enum status status = path_join(path, hf->source.path, HF_INDEX, err);
    if (status != STATUS_OK) { return status; }
    bool index = file_exists(path);
    if (!index) {
        status = path_join(path, hf->source.path, HF_WEIGHTS, err);
        if (status != STATUS_OK) { return status; }
        if (!file_exists(path)) {
            return error_set(err, STATUS_CONFIG,
                             "'%s' holds neither " HF_WEIGHTS " nor " HF_INDEX
                             "; other weight files are not read",
                             hf->source.path);
        }
    }
    hf->weights = memory_take_copy(path, strlen(path));
    if (hf->weights == NULL) { return error_set(err, STATUS_NO_MEMORY, "opening '%s'", path); }
    if (index) { return shards_open_by_index(hf, err); }
    status = shard_open(hf, HF_WEIGHTS, err);
    return status == STATUS_OK ? tensors_gather(hf, err) : status;
}

static enum status config_open(struct hf_source *hf, struct error *err) {
    char path[FILE_PATH_BYTES_MAX];
    enum status status = path_join(path, hf->source.path, "config.json", err);
    if (status != STATUS_OK) { return status; }
    status = file_map(path, &hf->config, err);
    if (status != STATUS_OK) { return status; }
    if (hf->config.size > HF_CONFIG_BYTES_MAX) {
        return error_set(err, STATUS_CONFIG, "'%s' has %zu bytes, expected at most %u", path,
                         hf->config.size, HF_CONFIG_BYTES_MAX);
    }
    status = hf_config_parse(hf->config, &hf->source.description, err);
    if (status != STATUS_OK) { return error_wrap(err, "'%s'", path); }

    status = path_join(path, hf->source.path, "tokenizer.json", err);
    if (status != STATUS_OK) { return status; }
    if (!file_exists(path)) { return STATUS_OK; } /* the tokenizer will say what is missing */
    return file_map(path, &hf->tokenizer, err);
}

enum status hf_source_open(const char *path, struct model_source **ret_source, struct error *err) {
    enum status status;
    struct hf_source *hf = MEMORY_TAKE_ARRAY(struct hf_source, 1);
    if (hf == NULL) { return error_set(err, STATUS_NO_MEMORY, "opening '%s'", path); }
    hf->source.ops = &hf_ops;
    hf->source.path = memory_take_copy(path, strlen(path));
    if (hf->source.path == NULL) {
        status = error_set(err, STATUS_NO_MEMORY, "opening '%s'", path);
        goto fail;
    }
    status = config_open(hf, err);
    if (status != STATUS_OK) { goto fail; }
    status = shards_open(hf, err);
    if (status != STATUS_OK) { goto fail; }

    *ret_source = &hf->source;
    return STATUS_OK;

fail:
    hf_close(&hf->source);
    return status;
}
