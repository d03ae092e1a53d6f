/* SPDX-License-Identifier: Apache-2.0
 *
 * gguf.c - reads the table of contents of a GGUF file; hostile bytes end in a refusal.
 *
 * One cursor walks the head of the file once. Each take from it checks the bytes left first, counts
 * are limited before they size an allocation, and products are checked for overflow. Tensors are
 * then sorted by name: that finds duplicates and makes lookups logarithmic.
 */
#include "model/gguf.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/memory.h"
#include "model/gguf_dequant.h"

#define GGUF_MAGIC             0x46554747u /* "GGUF" */
#define GGUF_ALIGNMENT_DEFAULT 32u
#define GGUF_ALIGNMENT_MAX     (1u << 20)
#define GGUF_ELEMENTS_MAX      (1u << 24) /* of one metadata array: a vocabulary of 16 M tokens */
#define GGUF_METADATA_MAX      (1u << 28) /* bytes: a vocabulary of 256 k tokens takes 10 MB */
#define GGUF_KEY_BYTES_MAX     65535u     /* the specification's limit */
/* The least that one entry (key, kind, a byte) and one row of the tensor table take. */
#define GGUF_ENTRY_BYTES_MIN  13u
#define GGUF_TENSOR_BYTES_MIN 33u

struct gguf {
    struct span bytes;          /* whole file */
    bool mapped;                /* owns the mapping */
    struct gguf_entry *entries; /* owns; sorted by key */
    size_t entry_count;
    struct gguf_tensor *tensors; /* owns; sorted by name */
    size_t tensor_count;
};

/* Where the reader stands. */
struct cursor {
    struct span bytes;
    size_t at; /* <= bytes.size */
};

static bool take_bytes(struct cursor *cursor, uint64_t size, struct span *ret_bytes) {
    if (size > cursor->bytes.size - cursor->at) { return false; }
    *ret_bytes = span_make(cursor->bytes.data + cursor->at, (size_t)size);
    cursor->at += (size_t)size;
    return true;
}

static bool take_u32(struct cursor *cursor, uint32_t *ret_value) {
    struct span bytes;
    if (!take_bytes(cursor, 4, &bytes)) { return false; }
    *ret_value = get_u32le(bytes.data);
    return true;
}

static bool take_u64(struct cursor *cursor, uint64_t *ret_value) {
    struct span bytes;
    if (!take_bytes(cursor, 8, &bytes)) { return false; }
    *ret_value = get_u64le(bytes.data);
    return true;
}

static bool take_string(struct cursor *cursor, struct span *ret_text) {
    uint64_t size = 0;
    if (!take_u64(cursor, &size) || size > GGUF_STRING_BYTES_MAX) { return false; }
    return take_bytes(cursor, size, ret_text);
}

/* Bytes of a scalar; 0 for strings, arrays and unknown kinds. */
static size_t kind_bytes(uint32_t kind) {
    static const uint8_t sizes[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
    return kind < sizeof sizes ? sizes[kind] : 0;
}

/* Steps over the elements of an array and sets entry->bytes to them. NULL, or what is wrong. */
static const char *take_array(struct cursor *cursor, struct gguf_entry *entry) {
    uint32_t element = 0;
    if (!take_u32(cursor, &element) || !take_u64(cursor, &entry->count)) {
        return "array is cut in front of its elements";
    }
    size_t size = kind_bytes(element);
    if (size == 0 && element != GGUF_STRING) { return "array has elements of an unknown kind"; }
    if (entry->count > GGUF_ELEMENTS_MAX) { return "array has more than 16777216 elements"; }
    entry->element = (enum gguf_kind)element;

    size_t first = cursor->at;
    struct span ignored;
    if (size > 0) {
        bool whole = take_bytes(cursor, entry->count * size, &entry->bytes);
        return whole ? NULL : "array is longer than the rest of the file";
    }
    for (uint64_t i = 0; i < entry->count; i++) {
        if (!take_string(cursor, &ignored)) {
            return "array has a string that is longer than 16 MiB or the rest of the file";
        }
    }
    entry->bytes = span_make(cursor->bytes.data + first, cursor->at - first);
    return NULL;
}

/* NULL, or what is wrong; ret_entry holds what was read so far. */
static const char *take_entry(struct cursor *cursor, struct gguf_entry *ret_entry) {
    uint32_t kind = 0;
    *ret_entry = (struct gguf_entry){.count = 1};
    if (!take_string(cursor, &ret_entry->key) || ret_entry->key.size > GGUF_KEY_BYTES_MAX) {
        ret_entry->key = span_make(NULL, 0);
        return "key is longer than 65535 bytes or the rest of the file";
    }
    if (ret_entry->key.size == 0) { return "key is empty"; }
    if (!take_u32(cursor, &kind)) { return "kind is cut"; }
    if (kind > GGUF_F64) { return "kind is unknown, expected 0 to 12"; }
    ret_entry->kind = (enum gguf_kind)kind;
    if (kind == GGUF_ARRAY) { return take_array(cursor, ret_entry); }
    if (kind == GGUF_STRING) {
        bool whole = take_string(cursor, &ret_entry->bytes);
        return whole ? NULL : "string is longer than 16 MiB or the rest of the file";
    }
    return take_bytes(cursor, kind_bytes(kind), &ret_entry->bytes) ? NULL : "value is cut";
}

static int compare_keys(const void *a, const void *b) {
    struct span x = ((const struct gguf_entry *)a)->key;
    struct span y = ((const struct gguf_entry *)b)->key;
    int order = memcmp(x.data, y.data, x.size < y.size ? x.size : y.size);
    return order != 0 ? order : x.size < y.size ? -1 : x.size > y.size;
}

/* Sorts the entries; a key that is there twice is refused. */
static enum status sort_entries(struct gguf *file, struct error *err) {
    qsort(file->entries, file->entry_count, sizeof *file->entries, compare_keys);
    for (size_t i = 1; i < file->entry_count; i++) {
        struct span key = file->entries[i].key;
        if (span_equal(file->entries[i - 1].key, key)) {
            return error_set(err, STATUS_CONFIG, "metadata '%.*s' is there twice",
                             key.size < 80 ? (int)key.size : 80, (const char *)key.data);
        }
    }
    return STATUS_OK;
}

static enum status read_entries(struct gguf *file, struct cursor *cursor, uint64_t count,
                                struct error *err) {
    file->entries = MEMORY_TAKE_ARRAY(struct gguf_entry, count);
    if (file->entries == NULL) {
        return error_set(err, STATUS_NO_MEMORY, "%llu metadata entries", (unsigned long long)count);
    }
    for (uint64_t i = 0; i < count; i++) {
        struct gguf_entry *entry = &file->entries[i];
        const char *wrong = take_entry(cursor, entry);
        if (wrong == NULL && cursor->at > GGUF_METADATA_MAX) {
            wrong = "ends beyond the first 256 MiB, which metadata may take";
        }
        if (wrong != NULL) {
            size_t shown = entry->key.size < 80 ? entry->key.size : 80;
            return error_set(err, STATUS_CONFIG, "metadata entry %llu '%.*s': %s, near byte %zu",
                             (unsigned long long)i, (int)shown,
                             shown > 0 ? (const char *)entry->key.data : "", wrong, cursor->at);
        }
        file->entry_count++;
    }
    return sort_entries(file, err);
}

/* One row of the tensor table; ret_offset is relative to the data section. */
static enum status read_tensor(struct cursor *cursor, uint64_t index, struct gguf_tensor *tensor,
                               uint64_t *ret_offset, struct error *err) {
    struct span name;
    uint32_t dims = 0;
    if (!take_string(cursor, &name) || name.size == 0 || name.size >= GGUF_NAME_BYTES ||
        memchr(name.data, '\0', name.size) != NULL) {
        return error_set(err, STATUS_CONFIG,
                         "tensor %llu of the table: field 'name' is cut, empty, longer than %u "
                         "bytes or holds a NUL, near byte %zu",
                         (unsigned long long)index, GGUF_NAME_BYTES - 1, cursor->at);
    }
    memcpy(tensor->name, name.data, name.size);
    if (!take_u32(cursor, &dims) || dims < 1 || dims > 4) {
        return error_set(err, STATUS_CONFIG,
                         "tensor '%s': field 'dimensions' is %u or cut, expected 1 to 4",
                         tensor->name, dims);
    }
    tensor->dims = (int)dims;
    uint64_t values = 1;
    for (uint32_t i = 0; i < 4; i++) {
        tensor->sizes[i] = 1;
        if (i >= dims) { continue; }
        if (!take_u64(cursor, &tensor->sizes[i]) || tensor->sizes[i] < 1 ||
            tensor->sizes[i] > INT32_MAX ||
            __builtin_mul_overflow(values, tensor->sizes[i], &values) || values > (1ull << 44)) {
            return error_set(err, STATUS_CONFIG,
                             "tensor '%s': field 'sizes' is %llu or cut at place %u, expected 1 to "
                             "%d and at most 2^44 values in all",
                             tensor->name, (unsigned long long)tensor->sizes[i], i, INT32_MAX);
        }
    }
    if (!take_u32(cursor, &tensor->type) || !take_u64(cursor, ret_offset)) {
        return error_set(err, STATUS_CONFIG, "tensor '%s': field 'type' or 'offset' is cut",
                         tensor->name);
    }
    size_t block = gguf_block_values(tensor->type);
    if (block == 0) {
        return error_set(err, STATUS_CONFIG,
                         "tensor '%s': field 'type' is %s (%u), which is not supported: "
                         "expected one of %s",
                         tensor->name, gguf_type_name(tensor->type), tensor->type, GGUF_TYPES_TEXT);
    }
    if (tensor->sizes[0] % block != 0) {
        return error_set(err, STATUS_CONFIG,
                         "tensor '%s': field 'sizes': rows of %llu values are not whole blocks "
                         "of %zu",
                         tensor->name, (unsigned long long)tensor->sizes[0], block);
    }
    tensor->bytes.size = (size_t)(values / block) * gguf_block_bytes(tensor->type);
    return STATUS_OK;
}

static int compare_tensors(const void *a, const void *b) {
    return strcmp(((const struct gguf_tensor *)a)->name, ((const struct gguf_tensor *)b)->name);
}

static int compare_places(const void *a, const void *b) {
    const uint8_t *x = ((const struct gguf_tensor *)a)->bytes.data;
    const uint8_t *y = ((const struct gguf_tensor *)b)->bytes.data;
    return x < y ? -1 : x > y;
}

/* No two tensors share bytes: otherwise a small file could stand for a model of any size. Leaves
 * them sorted by name; a name that is there twice is refused. */
static enum status sort_tensors(struct gguf *file, struct error *err) {
    struct gguf_tensor *tensors = file->tensors;
    qsort(tensors, file->tensor_count, sizeof *tensors, compare_places);
    for (size_t i = 1; i < file->tensor_count; i++) {
        if (tensors[i].bytes.data < tensors[i - 1].bytes.data + tensors[i - 1].bytes.size) {
            return error_set(err, STATUS_CONFIG,
                             "tensor '%s': field 'offset' lies inside tensor '%s'", tensors[i].name,
                             tensors[i - 1].name);
        }
    }
    qsort(tensors, file->tensor_count, sizeof *tensors, compare_tensors);
    for (size_t i = 1; i < file->tensor_count; i++) {
        if (strcmp(tensors[i - 1].name, tensors[i].name) == 0) {
            return error_set(err, STATUS_CONFIG, "tensor '%s' is there twice", tensors[i].name);
        }
    }
    return STATUS_OK;
}

/* The data of each tensor lies inside the file; data is where the data section begins. */
static enum status place_tensors(struct gguf *file, const uint64_t *offsets, size_t data,
                                 size_t alignment, struct error *err) {
    size_t section = data <= file->bytes.size ? file->bytes.size - data : 0;
    for (size_t i = 0; i < file->tensor_count; i++) {
        struct gguf_tensor *tensor = &file->tensors[i];
        if (offsets[i] % alignment != 0) {
            return error_set(err, STATUS_CONFIG,
                             "tensor '%s': field 'offset' is %llu, expected a multiple of %zu",
                             tensor->name, (unsigned long long)offsets[i], alignment);
        }
        if (offsets[i] > section || tensor->bytes.size > section - (size_t)offsets[i]) {
            return error_set(err, STATUS_CONFIG,
                             "tensor '%s': field 'offset' is %llu: its %zu bytes do not "
                             "lie in the file (data section of %zu bytes)",
                             tensor->name, (unsigned long long)offsets[i], tensor->bytes.size,
                             section);
        }
        tensor->bytes.data = file->bytes.data + data + (size_t)offsets[i];
    }
    return sort_tensors(file, err);
}

static enum status read_tensors(struct gguf *file, struct cursor *cursor, uint64_t count,
                                struct error *err) {
    enum status status = STATUS_OK;
    uint64_t *offsets = MEMORY_TAKE_ARRAY(uint64_t, count);
    file->tensors = MEMORY_TAKE_ARRAY(struct gguf_tensor, count);
    if (offsets == NULL || file->tensors == NULL) {
        status = error_set(err, STATUS_NO_MEMORY, "%llu tensors", (unsigned long long)count);
        goto done;
    }
    for (uint64_t i = 0; i < count; i++) {
        status = read_tensor(cursor, i, &file->tensors[i], &offsets[i], err);
        if (status != STATUS_OK) { goto done; }
        file->tensor_count++;
    }

    int64_t alignment = GGUF_ALIGNMENT_DEFAULT;
    const struct gguf_entry *entry = gguf_find(file, "general.alignment");
    if (entry != NULL && !gguf_integer(entry, &alignment)) { alignment = 0; }
    if (alignment < 1 || alignment > GGUF_ALIGNMENT_MAX || (alignment & (alignment - 1)) != 0) {
        status = error_set(err, STATUS_CONFIG,
                           "metadata 'general.alignment' is not a power of two up to %u",
                           GGUF_ALIGNMENT_MAX);
        goto done;
    }
    size_t mask = (size_t)alignment - 1;
    status = place_tensors(file, offsets, (cursor->at + mask) & ~mask, (size_t)alignment, err);

done:
    memory_free(offsets);
    return status;
}

static enum status read_head(struct gguf *file, struct error *err) {
    struct cursor cursor = {file->bytes, 0};
    uint32_t magic = 0;
    uint32_t version = 0;
    uint64_t tensors = 0;
    uint64_t entries = 0;
    if (!take_u32(&cursor, &magic) || magic != GGUF_MAGIC) {
        return error_set(err, STATUS_CONFIG, "not a GGUF file: it does not begin with 'GGUF'");
    }
    if (!take_u32(&cursor, &version) || version < 2 || version > 3) {
        return error_set(err, STATUS_CONFIG,
                         "GGUF version %u is not supported, expected 2 or 3 in "
                         "little-endian order",
                         version);
    }
    if (!take_u64(&cursor, &tensors) || tensors > GGUF_TENSORS_MAX) {
        return error_set(err, STATUS_CONFIG, "tensor count %llu is cut or above %u",
                         (unsigned long long)tensors, GGUF_TENSORS_MAX);
    }
    if (!take_u64(&cursor, &entries) || entries > GGUF_ENTRIES_MAX) {
        return error_set(err, STATUS_CONFIG, "metadata count %llu is cut or above %u",
                         (unsigned long long)entries, GGUF_ENTRIES_MAX);
    }
    /* So that what is allocated for the tables stays in proportion to the file. */
    uint64_t least = tensors * GGUF_TENSOR_BYTES_MIN + entries * GGUF_ENTRY_BYTES_MIN;
    if (least > cursor.bytes.size - cursor.at) {
        return error_set(err, STATUS_CONFIG,
                         "tensor count %llu and metadata count %llu need %llu bytes or more, %zu "
                         "follow: the file is cut or a count is wrong",
                         (unsigned long long)tensors, (unsigned long long)entries,
                         (unsigned long long)least, cursor.bytes.size - cursor.at);
    }
    enum status status = read_entries(file, &cursor, entries, err);
    if (status != STATUS_OK) { return status; }
    return read_tensors(file, &cursor, tensors, err);
}

enum status gguf_open_bytes(struct span bytes, struct gguf **ret_file, struct error *err) {
    struct gguf *file = MEMORY_TAKE_ARRAY(struct gguf, 1);
    if (file == NULL) { return error_set(err, STATUS_NO_MEMORY, "GGUF file"); }
    file->bytes = bytes;
    enum status status = read_head(file, err);
    if (status != STATUS_OK) {
        gguf_close(file);
        return status;
    }
    *ret_file = file;
    return STATUS_OK;
}

enum status gguf_open(const char *path, struct gguf **ret_file, struct error *err) {
    assert(path != NULL);
    assert(ret_file != NULL);

    struct span bytes;
    struct gguf *file = NULL;
    enum status status = file_map(path, &bytes, err);
    if (status != STATUS_OK) { return status; }
    status = gguf_open_bytes(bytes, &file, err);
    if (status != STATUS_OK) {
        file_unmap(bytes);
        return error_wrap(err, "'%s'", path);
    }
    file->mapped = true;
    *ret_file = file;
    return STATUS_OK;
}

void gguf_close(struct gguf *file) {
    if (file == NULL) { return; }
    if (file->mapped) { file_unmap(file->bytes); }
    memory_free(file->entries);
    memory_free(file->tensors);
    memory_free(file);
}

struct span gguf_bytes(const struct gguf *file) {
    return file->bytes;
}

const struct gguf_entry *gguf_find(const struct gguf *file, const char *key) {
    const struct gguf_entry wanted = {.key = span_of(key)};
    if (file->entry_count == 0 || wanted.key.size == 0) { return NULL; }
    return bsearch(&wanted, file->entries, file->entry_count, sizeof *file->entries, compare_keys);
}

size_t gguf_tensor_count(const struct gguf *file) {
    return file->tensor_count;
}

const struct gguf_tensor *gguf_tensor_at(const struct gguf *file, size_t index) {
    assert(index < file->tensor_count);
    return &file->tensors[index];
}

static int compare_name(const void *key, const void *tensor) {
    return strcmp(key, ((const struct gguf_tensor *)tensor)->name);
}

const struct gguf_tensor *gguf_tensor_find(const struct gguf *file, const char *name) {
    if (file->tensor_count == 0) { return NULL; }
    return bsearch(name, file->tensors, file->tensor_count, sizeof *file->tensors, compare_name);
}

bool gguf_integer(const struct gguf_entry *entry, int64_t *ret_integer) {
    if (entry == NULL || entry->kind == GGUF_STRING || entry->kind == GGUF_ARRAY ||
        entry->kind == GGUF_F32 || entry->kind == GGUF_F64 || entry->kind == GGUF_BOOL) {
        return false;
    }
    uint64_t raw = 0;
    for (size_t i = 0; i < entry->bytes.size; i++) {
        raw |= (uint64_t)entry->bytes.data[i] << (8 * i);
    }
    bool is_signed = entry->kind == GGUF_I8 || entry->kind == GGUF_I16 || entry->kind == GGUF_I32 ||
                     entry->kind == GGUF_I64;
    unsigned shift = (unsigned)(64 - 8 * entry->bytes.size);
    if (is_signed) {
        *ret_integer = (int64_t)(raw << shift) >> shift; /* sign-extended */
        return true;
    }
    if (raw > INT64_MAX) { return false; }
    *ret_integer = (int64_t)raw;
    return true;
}

bool gguf_real(const struct gguf_entry *entry, double *ret_real) {
    if (entry == NULL) { return false; }
    if (entry->kind == GGUF_F32) {
        uint32_t bits = get_u32le(entry->bytes.data);
        float value;
        memcpy(&value, &bits, sizeof value);
        *ret_real = (double)value;
        return true;
    }
    if (entry->kind == GGUF_F64) {
        uint64_t bits = get_u64le(entry->bytes.data);
        memcpy(ret_real, &bits, sizeof bits);
        return true;
    }
    return false;
}

bool gguf_bool(const struct gguf_entry *entry, bool *ret_bool) {
    if (entry == NULL || entry->kind != GGUF_BOOL) { return false; }
    *ret_bool = entry->bytes.data[0] != 0;
    return true;
}

bool gguf_string(const struct gguf_entry *entry, struct span *ret_text) {
    if (entry == NULL || entry->kind != GGUF_STRING) { return false; }
    *ret_text = entry->bytes;
    return true;
}

bool gguf_next_string(const struct gguf_entry *entry, size_t *at, struct span *ret_text) {
    assert(entry->kind == GGUF_ARRAY && entry->element == GGUF_STRING);
    struct cursor cursor = {entry->bytes, *at};
    if (!take_string(&cursor, ret_text)) { return false; }
    *at = cursor.at;
    return true;
}
