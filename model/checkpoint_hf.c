/* SPDX-License-Identifier: Apache-2.0
 *
 * checkpoint_hf.c - a Hugging Face directory as a base model.
 *
 *   config.json                            the description
 *   model.safetensors                      all tensors, or
 *   model.safetensors.index.json           "weight_map": tensor -> file, the files beside it
 *   tokenizer.json                         read by the tokenizer; part of the digest
 *
 * A shard's name must be a plain file name: an index cannot point outside its folder.
 */
#include "model/checkpoint_source.h"

#include <assert.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/memory.h"
#include "model/float16.h"
#include "model/hf_config.h"
#include "model/safetensors.h"

#define HF_SHARDS_MAX      512
#define HF_INDEX_BYTES_MAX (16u * 1024u * 1024u)
#define HF_FILE_NAME_BYTES 256u

struct hf_source {
    struct model_source source;
    struct safetensors *shards[HF_SHARDS_MAX]; /* owns */
    int shard_count;
    struct span config;    /* owns the mapping */
    struct span tokenizer; /* owns the mapping; empty when there is no tokenizer.json */
};

/* What the walk over the index's weight_map carries. */
struct index_reader {
    char (*names)[HF_FILE_NAME_BYTES]; /* (HF_SHARDS_MAX): distinct files, in order of appearance */
    int count;
    struct error *err;
    enum status status;
};

static const struct safetensors_entry *hf_find(const struct hf_source *hf, const char *name) {
    for (int i = 0; i < hf->shard_count; i++) {
        const struct safetensors_entry *entry = safetensors_find(hf->shards[i], name);
        if (entry != NULL) { return entry; }
    }
    return NULL;
}

static bool hf_shape(const struct model_source *source, const char *name, int *ret_rows,
                     int *ret_cols) {
    const struct safetensors_entry *entry = hf_find((const struct hf_source *)source, name);
    if (entry == NULL) { return false; }
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
    const struct safetensors_entry *entry = hf_find((const struct hf_source *)source, name);
    if (entry == NULL) { return error_set(err, STATUS_CONFIG, "tensor '%s' is missing", name); }
    size_t count = (size_t)rows * (size_t)cols;
    if (strcmp(entry->dtype, "F32") == 0) {
        floats_of_f32le(entry->data, count, ret_values);
    } else if (strcmp(entry->dtype, "F16") == 0) {
        floats_of_f16le(entry->data, count, ret_values);
    } else if (strcmp(entry->dtype, "BF16") == 0) {
        floats_of_bf16le(entry->data, count, ret_values);
    } else {
        return error_set(err, STATUS_CONFIG, "tensor '%s' has dtype %s, expected F32, F16 or BF16",
                         name, entry->dtype);
    }
    return STATUS_OK;
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
    }
    file_unmap(hf->config);
    file_unmap(hf->tokenizer);
    memory_free(hf->source.path);
    memory_free(hf);
}

static const struct model_source_ops hf_ops = {"hf", hf_close, hf_shape, hf_read, hf_visit};

/* ---- opening --------------------------------------------------------------------------------- */

static enum status shard_open(struct hf_source *hf, const char *name, struct error *err) {
    char path[FILE_PATH_BYTES_MAX];
    enum status status = path_join(path, hf->source.path, name, err);
    if (status != STATUS_OK) { return status; }
    assert(hf->shard_count < HF_SHARDS_MAX);
    status = safetensors_open(path, &hf->shards[hf->shard_count], err);
    if (status == STATUS_OK) { hf->shard_count++; }
    return status;
}

static bool index_visit(void *context, struct span name, const struct json_value *value) {
    struct index_reader *reader = context;
    struct span file = {NULL, 0};
    if (!json_string(value, &file) || file.size == 0 || file.size >= HF_FILE_NAME_BYTES ||
        memchr(file.data, '/', file.size) != NULL || memchr(file.data, 0, file.size) != NULL ||
        file.data[0] == '.') {
        reader->status = error_set(reader->err, STATUS_CONFIG,
                                   "weight_map: the file of '%.*s' is "
                                   "not a plain file name",
                                   name.size < 128 ? (int)name.size : 128, (const char *)name.data);
        return false;
    }
    for (int i = reader->count - 1; i >= 0; i--) {
        if (span_equal(file, span_of(reader->names[i]))) { return true; }
    }
    if (reader->count == HF_SHARDS_MAX) {
        reader->status =
            error_set(reader->err, STATUS_CONFIG, "weight_map: more than %d files", HF_SHARDS_MAX);
        return false;
    }
    memcpy(reader->names[reader->count], file.data, file.size);
    reader->count++;
    return true;
}

static int compare_file_names(const void *a, const void *b) {
    return strcmp(a, b);
}

/* The distinct files of the index, sorted. */
static enum status index_read(const char *path, struct index_reader *reader, struct error *err) {
    struct buffer text = {0};
    struct json_value *index = NULL;
    enum status status = file_read(path, HF_INDEX_BYTES_MAX, &text, err);
    if (status != STATUS_OK) { goto done; }
    status = json_parse(buffer_span(&text), &index, err);
    if (status != STATUS_OK) { goto done; }

    const struct json_value *map = json_member(index, "weight_map");
    if (json_size(map) == 0 || json_kind(map) != JSON_OBJECT) {
        status = error_set(err, STATUS_CONFIG, "field 'weight_map' is not an object with members");
        goto done;
    }
    json_members(map, index_visit, reader);
    status = reader->status;
    qsort(reader->names, (size_t)reader->count, sizeof *reader->names, compare_file_names);

done:
    json_free(index);
    buffer_free(&text);
    return status;
}

static enum status shards_open_by_index(struct hf_source *hf, const char *path, struct error *err) {
    struct index_reader reader = {.err = err, .status = STATUS_OK};
    reader.names = memory_take_zeroed(HF_SHARDS_MAX, sizeof *reader.names);
    if (reader.names == NULL) { return error_set(err, STATUS_NO_MEMORY, "reading '%s'", path); }
    enum status status = index_read(path, &reader, err);
    if (status != STATUS_OK) {
        if (status != STATUS_NO_MEMORY) { err->code = STATUS_CONFIG; }
        status = error_wrap(err, "'%s'", path);
        goto done;
    }
    for (int i = 0; i < reader.count; i++) {
        status = shard_open(hf, reader.names[i], err);
        if (status != STATUS_OK) { goto done; }
    }

done:
    memory_free(reader.names);
    return status;
}

static enum status shards_open(struct hf_source *hf, struct error *err) {
    char path[FILE_PATH_BYTES_MAX];
    enum status status = path_join(path, hf->source.path, "model.safetensors.index.json", err);
    if (status != STATUS_OK) { return status; }
    if (file_exists(path)) { return shards_open_by_index(hf, path, err); }
    status = path_join(path, hf->source.path, "model.safetensors", err);
    if (status != STATUS_OK) { return status; }
    if (!file_exists(path)) {
        return error_set(err, STATUS_CONFIG,
                         "'%s' holds neither model.safetensors nor "
                         "model.safetensors.index.json; other weight files are not read",
                         hf->source.path);
    }
    return shard_open(hf, "model.safetensors", err);
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
