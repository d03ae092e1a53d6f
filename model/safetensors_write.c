/* SPDX-License-Identifier: Apache-2.0
 *
 * safetensors_write.c - the same tensors always give the same bytes.
 *
 * Header keys are sorted by name, "__metadata__" first; the header is padded with spaces to a
 * multiple of 8, as the format allows, so that the data begins aligned. Data follows in header
 * order without holes: sorted by name, which keeps F32 tensors 4-byte aligned (8 where sizes are
 * even).
 */
#include "model/safetensors.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/memory.h"

#define WRITE_TENSORS_MAX 65536

static int compare_entries(const void *a, const void *b) {
    const struct safetensors_entry *const *x = a;
    const struct safetensors_entry *const *y = b;
    return strcmp((*x)->name, (*y)->name);
}

static int compare_pairs(const void *a, const void *b) {
    const char *const *x = *(const char *const *const *)a;
    const char *const *y = *(const char *const *const *)b;
    return strcmp(x[0], y[0]);
}

/* "__metadata__": {...}, sorted by name. */
static enum status write_metadata(struct json_writer *w, const char *const (*metadata)[2],
                                  int count) {
    if (count == 0) { return STATUS_OK; }
    const char *const **sorted = MEMORY_TAKE_ARRAY(const char *const *, count);
    if (sorted == NULL) { return STATUS_NO_MEMORY; }
    for (int i = 0; i < count; i++) {
        sorted[i] = metadata[i];
    }
    qsort(sorted, (size_t)count, sizeof *sorted, compare_pairs);
    json_write_object(w, "__metadata__");
    for (int i = 0; i < count; i++) {
        json_write_string(w, sorted[i][0], span_of(sorted[i][1]));
    }
    json_write_object_end(w);
    memory_free(sorted);
    return STATUS_OK;
}

/* The JSON header with the eight bytes of its size in front. */
static enum status write_header(struct buffer *out, const struct safetensors_entry *const *sorted,
                                int count, const char *const (*metadata)[2], int metadata_count) {
    uint8_t size[8] = {0};
    enum status status = buffer_append(out, size, sizeof size);
    if (status != STATUS_OK) { return status; }

    struct json_writer w;
    json_write_begin(&w, out);
    json_write_object(&w, NULL);
    status = write_metadata(&w, metadata, metadata_count);
    if (status != STATUS_OK) { return status; }
    size_t at = 0;
    for (int i = 0; i < count; i++) {
        const struct safetensors_entry *entry = sorted[i];
        json_write_object(&w, entry->name);
        json_write_string(&w, "dtype", span_of(entry->dtype));
        json_write_array(&w, "shape");
        for (int d = 0; d < entry->dims; d++) {
            json_write_integer(&w, NULL, entry->shape[d]);
        }
        json_write_array_end(&w);
        json_write_array(&w, "data_offsets");
        json_write_integer(&w, NULL, (int64_t)at);
        json_write_integer(&w, NULL, (int64_t)(at + entry->bytes));
        json_write_array_end(&w);
        json_write_object_end(&w);
        at += entry->bytes;
    }
    json_write_object_end(&w);
    status = json_write_end(&w);
    if (status != STATUS_OK) { return status; }

    while (out->size % 8 != 0) {
        status = buffer_append(out, " ", 1);
        if (status != STATUS_OK) { return status; }
    }
    put_u64le(out->data, out->size - 8);
    return STATUS_OK;
}

/* Bytes of the entry by its dtype and shape; the caller's promise is that they agree. */
static bool entry_agrees(const struct safetensors_entry *entry) {
    size_t bytes = safetensors_dtype_bytes(entry->dtype);
    for (int d = 0; d < entry->dims; d++) {
        bytes *= (size_t)entry->shape[d];
    }
    return bytes == entry->bytes && entry->name[0] != '\0';
}

enum status safetensors_write(const char *path, const struct safetensors_entry *entries, int count,
                              const char *const (*metadata)[2], int metadata_count,
                              struct error *err) {
    assert(path != NULL);
    assert(count >= 0 && count <= WRITE_TENSORS_MAX);
    assert(metadata_count == 0 || metadata != NULL);

    struct buffer header = {0};
    enum status status = STATUS_NO_MEMORY;
    const struct safetensors_entry **sorted =
        MEMORY_TAKE_ARRAY(const struct safetensors_entry *, count + 1);
    struct span *pieces = MEMORY_TAKE_ARRAY(struct span, count + 1);
    if (sorted == NULL || pieces == NULL) { goto fail; }
    for (int i = 0; i < count; i++) {
        bool agrees = entry_agrees(&entries[i]);
        assert(agrees);
        (void)agrees; /* read by the assert alone */
        sorted[i] = &entries[i];
    }
    qsort(sorted, (size_t)count, sizeof *sorted, compare_entries);
    status = write_header(&header, sorted, count, metadata, metadata_count);
    if (status != STATUS_OK) { goto fail; }

    pieces[0] = buffer_span(&header);
    for (int i = 0; i < count; i++) {
        assert(i == 0 || strcmp(sorted[i - 1]->name, sorted[i]->name) != 0);
        pieces[i + 1] = span_make(sorted[i]->data, sorted[i]->bytes);
    }
    status = file_write(path, pieces, count + 1, err);
    goto done;

fail:
    status = error_set(err, status, "writing '%s': header of %d tensors", path, count);
done:
    buffer_free(&header);
    memory_free(pieces);
    memory_free(sorted);
    return status;
}
