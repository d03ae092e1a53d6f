/* SPDX-License-Identifier: Apache-2.0
 *
 * tensor_file.c - writes and checks what versions and checkpoints are made of. */
#include "model/tensor_file.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/memory.h"

#define JSON_BYTES_MAX  (16u * 1024u * 1024u)
#define JSON_VALUES_MAX (1024u * 1024u)

static size_t dtype_size(const char *dtype) {
    if (strcmp(dtype, "U8") == 0) { return 1; }
    if (strcmp(dtype, "F32") == 0) { return 4; }
    assert(strcmp(dtype, "F64") == 0 || strcmp(dtype, "I64") == 0);
    return 8;
}

void tensor_list_free(struct tensor_list *list) {
    memory_free(list->entries);
    memset(list, 0, sizeof *list);
}

void tensor_list_add(struct tensor_list *list, const char *name, const char *suffix,
                     const char *dtype, int64_t rows, int64_t cols, const void *data) {
    if (list->status != STATUS_OK) { return; }
    if (list->count == list->capacity) {
        int capacity = list->capacity > 0 ? 2 * list->capacity : 64;
        void *entries = memory_resize(list->entries, (size_t)capacity * sizeof *list->entries);
        if (entries == NULL) {
            list->status = STATUS_NO_MEMORY;
            return;
        }
        list->entries = entries;
        list->capacity = capacity;
    }
    struct safetensors_entry *entry = &list->entries[list->count++];
    memset(entry, 0, sizeof *entry);
    (void)snprintf(entry->name, sizeof entry->name, "%s%s", name, suffix);
    (void)snprintf(entry->dtype, sizeof entry->dtype, "%s", dtype);
    entry->shape[0] = rows;
    entry->shape[1] = cols;
    entry->dims = 2;
    entry->data = data;
    entry->bytes = (size_t)rows * (size_t)cols * dtype_size(dtype);
}

enum status tensor_list_write(const struct tensor_list *list, const char *folder, const char *name,
                              struct error *err) {
    static const char *const metadata[1][2] = {{"format", "pt"}}; /* as PyTorch's writer says */
    char path[FILE_PATH_BYTES_MAX];

    if (list->status != STATUS_OK) { return error_set(err, list->status, "tensors of '%s'", name); }
    enum status status = path_join(path, folder, name, err);
    if (status != STATUS_OK) { return status; }
    return safetensors_write(path, list->entries, list->count, metadata, 1, err);
}

int64_t tensor_file_rows(const struct safetensors *file, const char *name) {
    const struct safetensors_entry *entry = safetensors_find(file, name);

    return entry == NULL || entry->dims != 2 ? -1 : entry->shape[0];
}

enum status tensor_file_copy(const struct safetensors *file, const char *name, const char *suffix,
                             const char *dtype, int64_t rows, int64_t cols, void *ret_data,
                             struct error *err) {
    char full[160];

    (void)snprintf(full, sizeof full, "%s%s", name, suffix);
    const struct safetensors_entry *entry = safetensors_find(file, full);
    if (entry == NULL) { return error_set(err, STATUS_CORRUPT, "tensor '%s' is missing", full); }
    bool same = entry->dims == 2 && entry->shape[0] == rows && entry->shape[1] == cols &&
                strcmp(entry->dtype, dtype) == 0;
    if (!same) {
        return error_set(err, STATUS_CORRUPT,
                         "tensor '%s' is %s (%" PRId64 ", %" PRId64 "), expected %s (%" PRId64
                         ", %" PRId64 ")",
                         full, entry->dtype, entry->shape[0], entry->shape[1], dtype, rows, cols);
    }
    if (entry->bytes > 0) { memcpy(ret_data, entry->data, entry->bytes); }
    return STATUS_OK;
}

/* ---- digests --------------------------------------------------------------------------------- */

enum status folder_digests_write(struct json_writer *w, const char *folder,
                                 const char *const *names, int count, struct error *err) {
    json_write_object(w, "files");
    for (int n = 0; n < count; n++) {
        char path[FILE_PATH_BYTES_MAX], text[2 * SHA256_BYTES + 1];
        uint8_t digest[SHA256_BYTES];
        enum status status = path_join(path, folder, names[n], err);
        if (status != STATUS_OK) { return status; }
        status = sha256_of_file(path, digest, err);
        if (status != STATUS_OK) { return error_wrap(err, "digest of '%s'", names[n]); }
        hex_encode(digest, sizeof digest, text);
        json_write_string(w, names[n], span_of(text));
    }
    json_write_object_end(w);
    return STATUS_OK;
}

struct digest_check {
    const char *folder, *name; /* of the JSON file */
    struct error *err;
    enum status status;
};

/* A file name without folders, so that a manifest cannot point outside. */
static bool is_plain_name(struct span name) {
    return name.size > 0 && name.size < 200 && memchr(name.data, '/', name.size) == NULL &&
           memchr(name.data, '\0', name.size) == NULL && name.data[0] != '.';
}

static bool check_file(void *context, struct span name, const struct json_value *value) {
    struct digest_check *check = context;
    char path[FILE_PATH_BYTES_MAX], file[200];
    uint8_t found[SHA256_BYTES], expected[SHA256_BYTES];
    struct span text = {NULL, 0};

    if (!is_plain_name(name) || !json_string(value, &text) || text.size != 2 * SHA256_BYTES ||
        !hex_decode((const char *)text.data, expected, SHA256_BYTES)) {
        check->status =
            error_set(check->err, STATUS_CORRUPT,
                      "'%s': field 'files': '%.*s' is no plain file name with a "
                      "SHA-256 of 64 hexadecimal digits",
                      check->name, name.size < 80 ? (int)name.size : 80, (const char *)name.data);
        return false;
    }
    (void)snprintf(file, sizeof file, "%.*s", SPAN_ARG(name));
    check->status = path_join(path, check->folder, file, check->err);
    if (check->status != STATUS_OK) { return false; }
    check->status = sha256_of_file(path, found, check->err);
    if (check->status == STATUS_NOT_FOUND) {
        check->status = error_set(check->err, STATUS_CORRUPT, "'%s' is missing", file);
    }
    if (check->status != STATUS_OK) { return false; }
    if (memcmp(found, expected, SHA256_BYTES) != 0) {
        check->status = error_set(check->err, STATUS_CORRUPT, "'%s' has another SHA-256", file);
        return false;
    }
    return true;
}

enum status folder_digests_check(const char *folder, const char *name, struct json_value **ret_json,
                                 uint8_t ret_digest[SHA256_BYTES], struct error *err) {
    char path[FILE_PATH_BYTES_MAX];
    struct buffer bytes = {.limit = JSON_BYTES_MAX};
    struct json_value *json = NULL;

    enum status status = path_join(path, folder, name, err);
    if (status != STATUS_OK) { return status; }
    status = file_read(path, JSON_BYTES_MAX, &bytes, err);
    if (status == STATUS_OK) {
        if (ret_digest != NULL) { sha256_of(buffer_span(&bytes), ret_digest); }
        status = json_parse_limited(buffer_span(&bytes), JSON_VALUES_MAX, true, &json, err);
        if (status == STATUS_MALFORMED) {
            err->code = STATUS_CORRUPT;
            status = error_wrap(err, "'%s' is no JSON", name);
        }
    }
    buffer_free(&bytes);
    if (status != STATUS_OK) { return error_wrap(err, "'%s'", folder); }

    const struct json_value *files = json_member(json, "files");
    struct digest_check check = {folder, name, err, STATUS_OK};
    if (files == NULL || json_kind(files) != JSON_OBJECT) {
        check.status = error_set(err, STATUS_CORRUPT, "'%s': field 'files' is not an object", name);
    } else {
        json_members(files, check_file, &check);
    }
    if (check.status != STATUS_OK) {
        json_free(json);
        return error_wrap(err, "'%s'", folder);
    }
    *ret_json = json;
    return STATUS_OK;
}

enum status json_count(const struct json_value *json, const char *name, uint64_t *ret_count,
                       struct error *err) {
    int64_t value = -1;

    if (!json_integer(json_member(json, name), &value) || value < 0) {
        return error_set(err, STATUS_CORRUPT, "field '%s' is missing or no count", name);
    }
    *ret_count = (uint64_t)value;
    return STATUS_OK;
}
