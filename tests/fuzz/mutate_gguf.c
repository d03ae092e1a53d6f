/* SPDX-License-Identifier: Apache-2.0
 *
 * mutate_gguf.c - libFuzzer's mutator for GGUF: whole metadata entries and tensor rows are copied,
 * removed and mixed, with the counts following, or one of the numbers in them is changed.
 */
#include "tests/fuzz/mutate_json.h"

#include <stdbool.h>
#include <string.h>

#include "base/bytes.h"
#include "base/rng.h"

#define PARTS_MAX  256
#define HEAD_BYTES 24u
#define COUNTS_AT  8u /* tensors, then entries */
#define TEXT_KIND  8u
#define ARRAY_KIND 9u

/* Entries first, then rows of the tensor table. */
struct parts {
    size_t begin[PARTS_MAX + 1]; /* part i is [begin[i], begin[i + 1]) */
    int entries, count;
};

static size_t kind_bytes(uint32_t kind) {
    static const uint8_t sizes[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
    return kind < sizeof sizes ? sizes[kind] : 0;
}

/* Each steps from `at` over one thing; SIZE_MAX when it does not end in the file. */
static size_t skip(size_t size, size_t at, uint64_t bytes) {
    return at > size || bytes > size - at ? SIZE_MAX : at + (size_t)bytes;
}

static size_t skip_text(const uint8_t *data, size_t size, size_t at) {
    if (skip(size, at, 8) == SIZE_MAX) { return SIZE_MAX; }
    return skip(size, at + 8, get_u64le(data + at));
}

static size_t skip_entry(const uint8_t *data, size_t size, size_t at) {
    at = skip_text(data, size, at);
    if (skip(size, at, 4) == SIZE_MAX) { return SIZE_MAX; }
    uint32_t kind = get_u32le(data + at);
    at += 4;
    if (kind == TEXT_KIND) { return skip_text(data, size, at); }
    if (kind != ARRAY_KIND) { return skip(size, at, kind_bytes(kind)); }
    if (skip(size, at, 12) == SIZE_MAX) { return SIZE_MAX; }
    uint32_t element = get_u32le(data + at);
    uint64_t count = get_u64le(data + at + 4);
    at += 12;
    if (count > size) { return SIZE_MAX; }
    if (element != TEXT_KIND) { return skip(size, at, count * kind_bytes(element)); }
    for (uint64_t i = 0; i < count && at != SIZE_MAX; i++) {
        at = skip_text(data, size, at);
    }
    return at;
}

static size_t skip_tensor(const uint8_t *data, size_t size, size_t at) {
    at = skip_text(data, size, at);
    if (skip(size, at, 4) == SIZE_MAX) { return SIZE_MAX; }
    uint32_t dims = get_u32le(data + at);
    return dims > 8 ? SIZE_MAX : skip(size, at + 4, 8ull * dims + 12);
}

static void parts_find(const uint8_t *data, size_t size, struct parts *parts) {
    uint64_t tensors = get_u64le(data + COUNTS_AT);
    uint64_t entries = get_u64le(data + COUNTS_AT + 8);
    parts->begin[0] = HEAD_BYTES;
    for (uint64_t i = 0; i < entries + tensors && i < PARTS_MAX; i++) {
        size_t at = parts->begin[parts->count];
        at = i < entries ? skip_entry(data, size, at) : skip_tensor(data, size, at);
        if (at == SIZE_MAX || at > size) { return; }
        parts->begin[++parts->count] = at;
        if (i < entries) { parts->entries++; }
    }
}

/* Adds to the count of entries or of tensors. */
static void count_add(uint8_t *data, bool entry, int64_t by) {
    uint8_t *at = data + COUNTS_AT + (entry ? 8 : 0);
    put_u64le(at, get_u64le(at) + (uint64_t)by);
}

/* The padding between table and data keeps the data where it was, modulo its alignment. */
static size_t data_align(uint8_t *data, size_t size, size_t size_max, size_t table_end,
                         int64_t moved) {
    uint8_t zeros[32] = {0};
    size_t pad = (size_t)((32 - moved % 32) % 32);
    if (table_end > size) { return size; }
    return mutate_splice(data, size, size_max, table_end, table_end, zeros, pad);
}

static void number_change(uint8_t *data, size_t size, size_t begin, size_t end, struct rng *rng) {
    static const uint64_t numbers[] = {
        0,         1,          2,          3,         8,          16,
        31,        32,         64,         4096,      65535,      1u << 24,
        INT32_MAX, UINT32_MAX, 1ull << 44, INT64_MAX, UINT64_MAX, UINT64_MAX - 31,
    };
    uint64_t number = numbers[rng_below(rng, sizeof numbers / sizeof *numbers)];
    size_t at = begin + (size_t)rng_below(rng, end - begin);
    uint8_t bytes[8];
    put_u64le(bytes, number);
    size_t width = rng_below(rng, 2) == 0 ? 4 : 8;
    if (at + width <= size) { memcpy(data + at, bytes, width); }
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t size_max, unsigned int seed) {
    struct parts parts = {.count = 0};
    struct rng rng = rng_make(seed, 13);
    if (size >= HEAD_BYTES) { parts_find(data, size, &parts); }
    if (seed % 2 == 0 || parts.count == 0) { return LLVMFuzzerMutate(data, size, size_max); }

    int to = (int)rng_below(&rng, (uint64_t)parts.count);
    int from = (int)rng_below(&rng, (uint64_t)parts.count);
    size_t begin = parts.begin[to];
    size_t end = parts.begin[to + 1];
    size_t table_end = parts.begin[parts.count];
    size_t changed = size;
    switch (rng_below(&rng, 6)) {
    case 0: /* another one in its place */
        changed = mutate_splice(data, size, size_max, begin, end, data + parts.begin[from],
                                parts.begin[from + 1] - parts.begin[from]);
        break;
    case 1: /* one more */
        changed = mutate_splice(data, size, size_max, begin, begin, data + parts.begin[from],
                                parts.begin[from + 1] - parts.begin[from]);
        if (changed != size) { count_add(data, to < parts.entries, 1); }
        break;
    case 2: /* one less */
        changed = mutate_splice(data, size, size_max, begin, end, data, 0);
        count_add(data, to < parts.entries, -1);
        break;
    case 3: number_change(data, size, 4, HEAD_BYTES, &rng); return size;
    case 4: number_change(data, size, begin, end, &rng); return size;
    default: { /* libFuzzer's bytes and dictionary inside one part */
        uint8_t piece[2048];
        size_t count = end - begin;
        if (count > sizeof piece / 2) { return LLVMFuzzerMutate(data, size, size_max); }
        memcpy(piece, data + begin, count);
        count = LLVMFuzzerMutate(piece, count, sizeof piece);
        changed = mutate_splice(data, size, size_max, begin, end, piece, count);
    }
    }
    int64_t moved = (int64_t)changed - (int64_t)size;
    if (moved == 0) { return changed; }
    moved = (moved % 32 + 32) % 32;
    return data_align(data, changed, size_max, table_end + changed - size, moved);
}
