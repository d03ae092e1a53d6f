/* SPDX-License-Identifier: Apache-2.0
 *
 * hf_index.c - reads the index of a model in several files.
 */
#include "model/hf_index.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

#define NAME_SHOWN 128u /* bytes of a tensor's name in a message */

/* What a walk over weight_map carries. */
struct index_reader {
    struct hf_index *index;
    hf_index_find find; /* second walk */
    const void *context;
    struct error *err;
    enum status status;
};

static int shown(struct span text) {
    return text.size < NAME_SHOWN ? (int)text.size : (int)NAME_SHOWN;
}

/* First walk: the distinct files. */
static bool visit_file(void *context, struct span name, const struct json_value *value) {
    struct index_reader *reader = context;
    struct hf_index *index = reader->index;
    struct span file = {NULL, 0};
    if (!json_string(value, &file) || file.size == 0 || file.size >= HF_FILE_NAME_BYTES ||
        memchr(file.data, '/', file.size) != NULL || memchr(file.data, 0, file.size) != NULL ||
        file.data[0] == '.') {
        reader->status = error_set(reader->err, STATUS_CONFIG,
                                   "field 'weight_map': the file of tensor '%.*s' is "
                                   "not a plain file name",
                                   shown(name), (const char *)name.data);
        return false;
    }
    for (int i = index->count - 1; i >= 0; i--) {
        if (span_equal(file, span_of(index->names[i]))) { return true; }
    }
    if (index->count == HF_SHARDS_MAX) {
        reader->status = error_set(reader->err, STATUS_CONFIG,
                                   "field 'weight_map': more than %d files", HF_SHARDS_MAX);
        return false;
    }
    memcpy(index->names[index->count], file.data, file.size);
    index->count++;
    return true;
}

/* Second walk: the tensor is in the file that the index names. */
static bool visit_tensor(void *context, struct span name, const struct json_value *value) {
    struct index_reader *reader = context;
    struct span file = {NULL, 0};
    bool named = json_string(value, &file);
    assert(named);                                                      /* seen by the first walk */
    int found = reader->find(reader->context, (const char *)name.data); /* NUL behind a key */
    assert(found < reader->index->count);
    if (named && found >= 0 && span_equal(file, span_of(reader->index->names[found]))) {
        return true;
    }
    reader->status =
        error_set(reader->err, STATUS_CONFIG, "field 'weight_map': tensor '%.*s' is not in '%.*s'",
                  shown(name), (const char *)name.data, shown(file), (const char *)file.data);
    return false;
}

static int compare_file_names(const void *a, const void *b) {
    return strcmp(a, b);
}

enum status hf_index_parse(struct span text, struct hf_index *ret_index, struct error *err) {
    assert(ret_index != NULL && err != NULL);
    struct hf_index index = {NULL, NULL, 0};
    if (text.size > HF_INDEX_BYTES_MAX) {
        return error_set(err, STATUS_CONFIG, "it has %zu bytes, expected at most %u", text.size,
                         HF_INDEX_BYTES_MAX);
    }
    enum status status =
        json_parse_limited(text, (2 + JSON_KEY_VALUES) * HF_TENSORS_MAX, true, &index.json, err);
    if (status == STATUS_MALFORMED) { err->code = status = STATUS_CONFIG; }
    if (status != STATUS_OK) { return status; }

    const struct json_value *map = json_member(index.json, "weight_map");
    if (json_size(map) == 0 || json_kind(map) != JSON_OBJECT || json_size(map) > HF_TENSORS_MAX) {
        status =
            error_set(err, STATUS_CONFIG, "field 'weight_map' is not an object of 1 to %d members",
                      HF_TENSORS_MAX);
        goto fail;
    }
    index.names = memory_take_zeroed(HF_SHARDS_MAX, sizeof *index.names);
    if (index.names == NULL) {
        status = error_set(err, STATUS_NO_MEMORY, "%d file names", HF_SHARDS_MAX);
        goto fail;
    }
    struct index_reader reader = {.index = &index, .err = err, .status = STATUS_OK};
    json_members(map, visit_file, &reader);
    status = reader.status;
    if (status != STATUS_OK) { goto fail; }
    qsort(index.names, (size_t)index.count, sizeof *index.names, compare_file_names);
    *ret_index = index;
    return STATUS_OK;

fail:
    hf_index_free(&index);
    return status;
}

void hf_index_free(struct hf_index *index) {
    json_free(index->json);
    memory_free(index->names);
    *index = (struct hf_index){NULL, NULL, 0};
}

enum status hf_index_check(const struct hf_index *index, hf_index_find find, const void *context,
                           struct error *err) {
    struct hf_index seen = *index;
    struct index_reader reader = {&seen, find, context, err, STATUS_OK};
    json_members(json_member(index->json, "weight_map"), visit_tensor, &reader);
    return reader.status;
}
