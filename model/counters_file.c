/* SPDX-License-Identifier: Apache-2.0
 *
 * counters_file.c - the counters as one file of flat little-endian arrays with a CRC at its end.
 *
 *   "ILCN" u32 format=1  u32 items  u32 0
 *   u64 popularity[items]  f64 decayed_log[items]  u32 row_counts[items]
 *   (u32 item, u32 count) of row 0, row 1, ...                        u32 CRC-32C of all before
 */
#include "model/counters.h"

#include <assert.h>
#include <string.h>

#include "base/bytes.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/memory.h"
#include "model/counters_state.h"

#define FORMAT         1u
#define HEADER_BYTES   16u
#define ITEM_BYTES     20u /* popularity, decayed_log, row count */
#define FILE_BYTES_MAX ((size_t)16 << 30)

static uint64_t bits_of_double(double value) {
    uint64_t bits;

    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static double double_of_bits(uint64_t bits) {
    double value;

    memcpy(&value, &bits, sizeof value);
    return value;
}

static size_t counters_file_bytes(const struct counters *counters) {
    size_t bytes = HEADER_BYTES + ITEM_BYTES * (size_t)counters->items + 4;

    for (int i = 0; i < counters->items; i++) {
        bytes += 8 * (size_t)counters->rows[i].count;
    }
    return bytes;
}

static void counters_encode(const struct counters *counters, uint8_t *out, size_t bytes) {
    int items = counters->items;
    uint8_t *p = out;

    memcpy(p, "ILCN", 4);
    put_u32le(p + 4, FORMAT);
    put_u32le(p + 8, (uint32_t)items);
    put_u32le(p + 12, 0);
    p += HEADER_BYTES;
    for (int i = 0; i < items; i++, p += 8) {
        put_u64le(p, counters->popularity[i]);
    }
    for (int i = 0; i < items; i++, p += 8) {
        put_u64le(p, bits_of_double(counters->decayed_log[i]));
    }
    for (int i = 0; i < items; i++, p += 4) {
        put_u32le(p, (uint32_t)counters->rows[i].count);
    }
    for (int i = 0; i < items; i++) {
        for (int e = 0; e < counters->rows[i].count; e++, p += 8) {
            put_u32le(p, counters->rows[i].entries[e].item);
            put_u32le(p + 4, counters->rows[i].entries[e].count);
        }
    }
    assert((size_t)(p - out) + 4 == bytes);
    put_u32le(p, crc32c(0, out, bytes - 4));
}

enum status counters_save(const struct counters *counters, const char *path, struct error *err) {
    size_t bytes = counters_file_bytes(counters);
    uint8_t *out = memory_take(bytes);
    if (out == NULL) { return error_set(err, STATUS_NO_MEMORY, "counters of %zu bytes", bytes); }

    counters_encode(counters, out, bytes);
    struct span piece = span_make(out, bytes);
    enum status status = file_write(path, &piece, 1, err);
    memory_free(out);
    return status;
}

/* Header, size and CRC; *ret_items is then safe to read arrays by. */
static enum status counters_check(struct span file, const char *path, int items_max,
                                  uint32_t *ret_items, struct error *err) {
    if (file.size < HEADER_BYTES + 4 || memcmp(file.data, "ILCN", 4) != 0) {
        return error_set(err, STATUS_CORRUPT, "'%s' is no file of counters", path);
    }
    if (get_u32le(file.data + 4) != FORMAT) {
        return error_set(err, STATUS_CORRUPT, "'%s' has format %u, expected %u", path,
                         get_u32le(file.data + 4), FORMAT);
    }
    if (crc32c(0, file.data, file.size - 4) != get_u32le(file.data + file.size - 4)) {
        return error_set(err, STATUS_CORRUPT, "'%s' fails its CRC", path);
    }
    uint32_t items = get_u32le(file.data + 8);
    if (items > (uint32_t)items_max || file.size < HEADER_BYTES + ITEM_BYTES * (size_t)items + 4) {
        return error_set(err, STATUS_CORRUPT, "'%s' claims %u items in %zu bytes, limit %d", path,
                         items, file.size, items_max);
    }
    *ret_items = items;
    return STATUS_OK;
}

/* One row; *p moves behind it. Entries must ascend and name known items. */
static enum status covisit_row_decode(struct covisit_row *row, uint32_t count, uint32_t items,
                                      const uint8_t **p, const uint8_t *end, struct error *err) {
    if ((size_t)(end - *p) / 8 < count) {
        return error_set(err, STATUS_CORRUPT, "row of %u entries goes beyond the end", count);
    }
    if (count == 0) { return STATUS_OK; }
    enum status status = covisit_row_reserve(row, (int)count, err);
    if (status != STATUS_OK) { return status; }
    for (uint32_t e = 0; e < count; e++, *p += 8) {
        uint32_t item = get_u32le(*p);
        if (item >= items || (e > 0 && item <= row->entries[e - 1].item)) {
            return error_set(err, STATUS_CORRUPT, "entry %u names item %u out of order", e, item);
        }
        row->entries[e] = (struct neighbour){item, get_u32le(*p + 4)};
    }
    row->count = (int)count;
    return STATUS_OK;
}

static enum status counters_decode(struct counters *counters, struct span file, uint32_t items,
                                   struct error *err) {
    const uint8_t *popularity = file.data + HEADER_BYTES;
    const uint8_t *decayed = popularity + 8 * (size_t)items;
    const uint8_t *counts = decayed + 8 * (size_t)items;
    const uint8_t *p = counts + 4 * (size_t)items;
    const uint8_t *end = file.data + file.size - 4;

    enum status status = counters_reserve(counters, (int)items, err);
    if (status != STATUS_OK) { return status; }
    for (uint32_t i = 0; i < items; i++) {
        counters_set_popularity(counters, i, get_u64le(popularity + 8 * (size_t)i));
        counters->decayed_log[i] = double_of_bits(get_u64le(decayed + 8 * (size_t)i));
        uint32_t count = get_u32le(counts + 4 * (size_t)i);
        if (count > (uint32_t)counters->settings.neighbours_max) {
            return error_set(err, STATUS_CORRUPT, "row %u has %u entries, limit %d", i, count,
                             counters->settings.neighbours_max);
        }
        status = covisit_row_decode(&counters->rows[i], count, items, &p, end, err);
        if (status != STATUS_OK) { return error_wrap(err, "row %u", i); }
    }
    if (p != end) {
        return error_set(err, STATUS_CORRUPT, "%zu bytes too many", (size_t)(end - p));
    }
    counters->items = (int)items;
    return STATUS_OK;
}

enum status counters_load(struct counters *counters, const char *path, struct error *err) {
    struct buffer bytes = {.limit = FILE_BYTES_MAX};
    struct counters *loaded = NULL;
    uint32_t items = 0;

    enum status status = file_read(path, FILE_BYTES_MAX, &bytes, err);
    if (status != STATUS_OK) { return status; }
    status = counters_check(buffer_span(&bytes), path, counters->settings.items_max, &items, err);
    if (status != STATUS_OK) { goto done; }
    status = counters_new(&counters->settings, &loaded, err);
    if (status != STATUS_OK) { goto done; }
    status = counters_decode(loaded, buffer_span(&bytes), items, err);
    if (status != STATUS_OK) {
        (void)error_wrap(err, "reading '%s'", path); /* the code is already in status */
        goto done;
    }
    counters_swap(counters, loaded);
done:
    counters_free(loaded);
    buffer_free(&bytes);
    return status;
}
