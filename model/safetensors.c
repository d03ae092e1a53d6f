/* SPDX-License-Identifier: Apache-2.0
 *
 * safetensors.c - reads Hugging Face's tensor files. Writing is safetensors_write.c.
 *
 *   u64 header size │ JSON {"name":{"dtype":..,"shape":[..],"data_offsets":[first,end]},..} │
 * data
 *
 * Source: the safetensors format description. Offsets are relative to the data; the tensors must
 * tile it without holes or overlap, so every byte of the file is accounted for. A name that stands
 * twice is refused by the parser: which of the two is meant differs from reader to reader.
 */
#include "model/safetensors.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/memory.h"
#include "model/float16.h"

#define HEADER_BYTES_MAX (16u * 1024u * 1024u)
#define TENSORS_MAX      65536u
/* JSON values: 10 a tensor of four sizes, and four keys. */
#define VALUES_MAX ((11u + 4u * JSON_KEY_VALUES) * TENSORS_MAX)

struct safetensors {
    struct span bytes;                 /* whole file */
    bool mapped;                       /* owns the mapping */
    struct safetensors_entry *entries; /* owns; sorted by name */
    int count;
    int capacity;
};

struct dtype_size {
    const char *name;
    unsigned bytes;
};

unsigned safetensors_dtype_bytes(const char *dtype) {
    static const struct dtype_size sizes[] = {
        {"F32", 4}, {"F16", 2}, {"BF16", 2}, {"F64", 8}, {"I64", 8}, {"I32", 4}, {"I16", 2},
        {"I8", 1},  {"U8", 1},  {"BOOL", 1}, {"U16", 2}, {"U32", 4}, {"U64", 8},
    };
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        if (strcmp(sizes[i].name, dtype) == 0) { return sizes[i].bytes; }
    }
    return 0;
}

bool safetensors_floats(const struct safetensors_entry *entry, size_t count, float *ret_values) {
    if (strcmp(entry->dtype, "F32") == 0) {
        floats_of_f32le(entry->data, count, ret_values);
    } else if (strcmp(entry->dtype, "F16") == 0) {
        floats_of_f16le(entry->data, count, ret_values);
    } else if (strcmp(entry->dtype, "BF16") == 0) {
        floats_of_bf16le(entry->data, count, ret_values);
    } else {
        return false;
    }
    return true;
}

/* What the visit of the header's members carries. */
struct header_reader {
    struct safetensors *file;
    struct span data; /* behind the header */
    struct error *err;
    enum status status;
};

/* Refuses a field of a tensor: what was found, as words, and what was expected. */
static enum status refuse(const struct header_reader *reader, const struct safetensors_entry *entry,
                          const char *field, const char *words) {
    return error_set(reader->err, STATUS_CONFIG, "tensor '%s': field '%s' %s", entry->name, field,
                     words);
}

/* "data_offsets": [first, end], inside the data and of the tensor's size. */
static enum status read_offsets(const struct header_reader *reader, const struct json_value *value,
                                struct safetensors_entry *entry) {
    const struct json_value *offsets = json_member(value, "data_offsets");
    int64_t first = -1;
    int64_t end = -1;
    bool good = offsets != NULL && json_kind(offsets) == JSON_ARRAY && json_size(offsets) == 2 &&
                json_integer(json_element(offsets, 0), &first) &&
                json_integer(json_element(offsets, 1), &end);
    if (!good) { return refuse(reader, entry, "data_offsets", "is not two integers [first, end]"); }
    if (first < 0 || end < first || (uint64_t)end > reader->data.size) {
        return error_set(reader->err, STATUS_CONFIG,
                         "tensor '%s': field 'data_offsets' is [%lld, %lld], expected "
                         "first <= end <= the file's %zu bytes of data",
                         entry->name, (long long)first, (long long)end, reader->data.size);
    }
    if ((uint64_t)(end - first) != entry->bytes) {
        return error_set(reader->err, STATUS_CONFIG,
                         "tensor '%s': field 'data_offsets' holds %lld bytes, "
                         "dtype and shape ask for %zu",
                         entry->name, (long long)(end - first), entry->bytes);
    }
    entry->data = reader->data.data + first;
    return STATUS_OK;
}

static enum status read_dtype(const struct header_reader *reader, const struct json_value *value,
                              struct safetensors_entry *entry) {
    struct span dtype = {NULL, 0};
    if (!json_string(json_member(value, "dtype"), &dtype)) {
        return refuse(reader, entry, "dtype", "is missing or not a string");
    }
    if (dtype.size < sizeof entry->dtype && memchr(dtype.data, '\0', dtype.size) == NULL) {
        memcpy(entry->dtype, dtype.data, dtype.size);
    }
    entry->bytes = safetensors_dtype_bytes(entry->dtype); /* the empty one is not known */
    if (entry->bytes > 0) { return STATUS_OK; }
    return error_set(reader->err, STATUS_CONFIG,
                     "tensor '%s': field 'dtype' is '%.*s', which is not supported", entry->name,
                     dtype.size < 40 ? (int)dtype.size : 40, (const char *)dtype.data);
}

/* entry->bytes holds the bytes of one value; afterwards those of the tensor. */
static enum status read_shape(const struct header_reader *reader, const struct json_value *value,
                              struct safetensors_entry *entry) {
    const struct json_value *shape = json_member(value, "shape");
    if (shape == NULL || json_kind(shape) != JSON_ARRAY || json_size(shape) > 4) {
        return refuse(reader, entry, "shape", "is not an array of at most 4 sizes");
    }
    entry->dims = (int)json_size(shape);
    for (int i = 0; i < entry->dims; i++) {
        int64_t size = -1;
        if (!json_integer(json_element(shape, (size_t)i), &size) || size < 0) {
            return refuse(reader, entry, "shape", "holds what is not a size of 0 or more");
        }
        if (__builtin_mul_overflow(entry->bytes, (size_t)size, &entry->bytes)) {
            return refuse(reader, entry, "shape", "asks for more bytes than 64 bits count");
        }
        entry->shape[i] = size;
    }
    return STATUS_OK;
}

static enum status read_entry(const struct header_reader *reader, struct span name,
                              const struct json_value *value, struct safetensors_entry *entry) {
    if (name.size == 0 || name.size >= sizeof entry->name) {
        return error_set(reader->err, STATUS_CONFIG,
                         "tensor '%.*s': its name has %zu bytes, expected 1 to %zu",
                         name.size < 40 ? (int)name.size : 40, (const char *)name.data, name.size,
                         sizeof entry->name - 1);
    }
    memcpy(entry->name, name.data, name.size);
    if (json_kind(value) != JSON_OBJECT) {
        return error_set(reader->err, STATUS_CONFIG,
                         "tensor '%s' is not an object of dtype, shape and data_offsets",
                         entry->name);
    }
    enum status status = read_dtype(reader, value, entry);
    if (status != STATUS_OK) { return status; }
    status = read_shape(reader, value, entry);
    if (status != STATUS_OK) { return status; }
    return read_offsets(reader, value, entry);
}

static bool visit_member(void *context, struct span name, const struct json_value *value) {
    struct header_reader *reader = context;
    struct safetensors *file = reader->file;
    if (span_equal(name, span_of("__metadata__"))) { return true; }
    assert(file->count < file->capacity);
    reader->status = read_entry(reader, name, value, &file->entries[file->count]);
    if (reader->status != STATUS_OK) { return false; }
    file->count++;
    return true;
}

static int compare_offsets(const void *a, const void *b) {
    const struct safetensors_entry *x = a;
    const struct safetensors_entry *y = b;
    const uint8_t *x_data = x->data;
    const uint8_t *y_data = y->data;
    if (x_data != y_data) { return x_data < y_data ? -1 : 1; }
    return x->bytes < y->bytes ? -1 : x->bytes > y->bytes;
}

static int compare_names(const void *a, const void *b) {
    return strcmp(((const struct safetensors_entry *)a)->name,
                  ((const struct safetensors_entry *)b)->name);
}

/* Tensors tile the data: no hole, no overlap, nothing behind the last. */
static enum status check_tiling(struct safetensors *file, struct span data, struct error *err) {
    size_t at = 0;
    qsort(file->entries, (size_t)file->count, sizeof *file->entries, compare_offsets);
    for (int i = 0; i < file->count; i++) {
        const struct safetensors_entry *entry = &file->entries[i];
        size_t first = (size_t)((const uint8_t *)entry->data - data.data);
        if (first != at) {
            return error_set(err, STATUS_CONFIG,
                             "tensor '%s': field 'data_offsets' begins at %zu, expected %zu: "
                             "it %s%s%s%s",
                             entry->name, first, at,
                             first > at ? "leaves a hole behind " : "overlaps ",
                             i > 0 ? "tensor '" : "the header",
                             i > 0 ? file->entries[i - 1].name : "", i > 0 ? "'" : "");
        }
        at += entry->bytes;
    }
    if (at != data.size) {
        return error_set(err, STATUS_CONFIG,
                         "%zu bytes of data belong to no tensor: its tensors end at %zu of %zu",
                         data.size - at, at, data.size);
    }
    qsort(file->entries, (size_t)file->count, sizeof *file->entries, compare_names);
    return STATUS_OK;
}

static enum status read_header(struct safetensors *file, struct error *err) {
    struct json_value *header = NULL;
    uint64_t size = file->bytes.size >= 8 ? get_u64le(file->bytes.data) : 0;
    if (size < 2 || size > HEADER_BYTES_MAX || size > file->bytes.size - 8) {
        return error_set(err, STATUS_CONFIG,
                         "header size (the first 8 bytes) is %llu in a file of %zu bytes, "
                         "expected 2 to %u and inside the file",
                         (unsigned long long)size, file->bytes.size, HEADER_BYTES_MAX);
    }
    struct span text = span_make(file->bytes.data + 8, (size_t)size);
    enum status status = json_parse_limited(text, VALUES_MAX, true, &header, err);
    if (status != STATUS_OK) {
        if (status == STATUS_MALFORMED) { err->code = STATUS_CONFIG; }
        return error_wrap(err, "header");
    }
    if (json_kind(header) != JSON_OBJECT || json_size(header) > TENSORS_MAX) {
        status = error_set(err, STATUS_CONFIG,
                           "header is not an object of at most %u tensors: it has %zu members",
                           TENSORS_MAX, json_size(header));
        goto done;
    }
    file->capacity = (int)json_size(header);
    file->entries = MEMORY_TAKE_ARRAY(struct safetensors_entry, file->capacity + 1);
    if (file->entries == NULL) {
        status = error_set(err, STATUS_NO_MEMORY, "%d tensors", file->capacity);
        goto done;
    }
    struct header_reader reader = {
        .file = file,
        .data = span_make(text.data + text.size, file->bytes.size - 8 - (size_t)size),
        .err = err,
        .status = STATUS_OK,
    };
    json_members(header, visit_member, &reader);
    status = reader.status;
    if (status == STATUS_OK) { status = check_tiling(file, reader.data, err); }

done:
    json_free(header);
    return status;
}

enum status safetensors_open_bytes(struct span bytes, struct safetensors **ret_file,
                                   struct error *err) {
    struct safetensors *file = MEMORY_TAKE_ARRAY(struct safetensors, 1);
    if (file == NULL) { return error_set(err, STATUS_NO_MEMORY, "safetensors file"); }
    file->bytes = bytes;
    enum status status = read_header(file, err);
    if (status != STATUS_OK) {
        safetensors_close(file);
        return status;
    }
    *ret_file = file;
    return STATUS_OK;
}

enum status safetensors_open(const char *path, struct safetensors **ret_file, struct error *err) {
    assert(path != NULL && err != NULL);
    assert(ret_file != NULL);

    struct span bytes;
    struct safetensors *file = NULL;
    enum status status = file_map(path, &bytes, err);
    if (status != STATUS_OK) { return status; }
    status = safetensors_open_bytes(bytes, &file, err);
    if (status != STATUS_OK) {
        file_unmap(bytes);
        return error_wrap(err, "'%s'", path);
    }
    file->mapped = true;
    *ret_file = file;
    return STATUS_OK;
}

void safetensors_close(struct safetensors *file) {
    if (file == NULL) { return; }
    if (file->mapped) { file_unmap(file->bytes); }
    memory_free(file->entries);
    memory_free(file);
}

struct span safetensors_bytes(const struct safetensors *file) {
    return file->bytes;
}

int safetensors_count(const struct safetensors *file) {
    return file->count;
}

const struct safetensors_entry *safetensors_at(const struct safetensors *file, int index) {
    assert(index >= 0 && index < file->count);
    return &file->entries[index];
}

static int compare_key(const void *key, const void *entry) {
    return strcmp(key, ((const struct safetensors_entry *)entry)->name);
}

const struct safetensors_entry *safetensors_find(const struct safetensors *file, const char *name) {
    return bsearch(name, file->entries, (size_t)file->count, sizeof *file->entries, compare_key);
}
