/* SPDX-License-Identifier: Apache-2.0
 *
 * stage_order.c - sorts an epoch's entries once by (table, key); digests and the commit walk it.
 *
 * Sorting 40,000 short keys with qsort and memcmp costs as much as writing them. Here entries are
 * dealt to their tables by counting, each table's keys lose the prefix they all share ("user_"),
 * and the next 8 bytes as one number settle nearly every comparison of a merge sort. A table that
 * is in order already (the training log) costs one walk.
 */
#include "storage/stage_parts.h"

#include <assert.h>

#include "base/memory.h"

#define STAGE_DIGEST_BYTES ((size_t)64 * 1024) /* SHA-256 is fed in pieces of this */
#define STAGE_RUN          8u                  /* sorted by insertion before merging */

/* ---- sorting --------------------------------------------------------------------------------- */

static bool stage_before(const struct stage *stage, struct stage_place a, struct stage_place b) {
    if (a.prefix != b.prefix) { return a.prefix < b.prefix; }
    return span_compare(stage_entry_key(&stage->entries[a.entry]),
                        stage_entry_key(&stage->entries[b.entry])) < 0;
}

/* Bytes that all keys of the places share. */
static size_t stage_shared_bytes(const struct stage *stage, const struct stage_place *places,
                                 size_t count) {
    struct span first = stage_entry_key(&stage->entries[places[0].entry]);
    size_t shared = first.size;
    for (size_t i = 1; i < count && shared > 0; i++) {
        struct span key = stage_entry_key(&stage->entries[places[i].entry]);
        if (key.size < shared) { shared = key.size; }
        while (shared > 0 && memcmp(key.data, first.data, shared) != 0) {
            shared--;
        }
    }
    return shared;
}

static uint64_t stage_prefix(struct span key, size_t skip) {
    uint8_t bytes[8] = {0};
    size_t left = key.size - skip;
    memcpy(bytes, key.data + skip, left < 8 ? left : 8);
    return get_u64be(bytes);
}

static void stage_sort_runs(const struct stage *stage, struct stage_place *places, size_t count) {
    for (size_t start = 0; start < count; start += STAGE_RUN) {
        size_t end = count - start < STAGE_RUN ? count : start + STAGE_RUN;
        for (size_t i = start + 1; i < end; i++) {
            struct stage_place moving = places[i];
            size_t at = i;
            for (; at > start && stage_before(stage, moving, places[at - 1]); at--) {
                places[at] = places[at - 1];
            }
            places[at] = moving;
        }
    }
}

static void stage_merge(const struct stage *stage, const struct stage_place *left,
                        size_t left_count, const struct stage_place *right, size_t right_count,
                        struct stage_place *ret_merged) {
    size_t l = 0, r = 0, out = 0;
    while (l < left_count && r < right_count) {
        bool take_right = stage_before(stage, right[r], left[l]);
        ret_merged[out++] = take_right ? right[r++] : left[l++];
    }
    memcpy(ret_merged + out, left + l, (left_count - l) * sizeof *left);
    memcpy(ret_merged + out + (left_count - l), right + r, (right_count - r) * sizeof *right);
}

/* Sorts one table's places; scratch has as many. */
static void stage_sort_table(const struct stage *stage, struct stage_place *places,
                             struct stage_place *scratch, size_t count) {
    size_t skip = stage_shared_bytes(stage, places, count);
    bool sorted = true;
    for (size_t i = 0; i < count; i++) {
        places[i].prefix = stage_prefix(stage_entry_key(&stage->entries[places[i].entry]), skip);
        if (i > 0 && sorted) { sorted = stage_before(stage, places[i - 1], places[i]); }
    }
    if (sorted) { return; }

    stage_sort_runs(stage, places, count);
    struct stage_place *from = places, *to = scratch;
    for (size_t width = STAGE_RUN; width < count; width *= 2) {
        for (size_t start = 0; start < count; start += 2 * width) {
            size_t left = count - start < width ? count - start : width;
            size_t rest = count - start - left;
            size_t right = rest < width ? rest : width;
            stage_merge(stage, from + start, left, from + start + left, right, to + start);
        }
        struct stage_place *swapped = from;
        from = to;
        to = swapped;
    }
    if (from != places) { memcpy(places, from, count * sizeof *places); }
}

static bool stage_order_room(struct stage *stage) {
    if (stage->entry_count <= stage->order_capacity) { return true; }
    size_t bytes = stage->entry_capacity * sizeof *stage->order;
    struct stage_place *order = memory_resize(stage->order, bytes);
    if (order == NULL) { return false; }
    stage->order = order;
    struct stage_place *scratch = memory_resize(stage->scratch, bytes);
    if (scratch == NULL) { return false; }
    stage->scratch = scratch;
    stage->order_capacity = stage->entry_capacity;
    return true;
}

enum status stage_sort(struct stage *stage, struct error *err) {
    if (stage->order_count == stage->entry_count && stage->entry_count > 0) { return STATUS_OK; }
    if (!stage_order_room(stage)) {
        return error_set(err, STATUS_NO_MEMORY, "sorting %zu entries", stage->entry_count);
    }

    size_t counts[STORE_TABLE_COUNT] = {0};
    for (size_t i = 0; i < stage->entry_count; i++) {
        counts[stage->entries[i].table]++;
    }
    size_t next[STORE_TABLE_COUNT];
    stage->table_start[0] = 0;
    for (int t = 0; t < STORE_TABLE_COUNT; t++) {
        next[t] = stage->table_start[t];
        stage->table_start[t + 1] = stage->table_start[t] + counts[t];
    }
    for (size_t i = 0; i < stage->entry_count; i++) {
        size_t place = next[stage->entries[i].table]++;
        stage->order[place] = (struct stage_place){.entry = (uint32_t)i};
    }
    for (int t = 0; t < STORE_TABLE_COUNT; t++) {
        if (counts[t] < 1) { continue; }
        size_t start = stage->table_start[t];
        stage_sort_table(stage, stage->order + start, stage->scratch + start, counts[t]);
    }
    stage->order_count = stage->entry_count;
    return STATUS_OK;
}

/* ---- digests --------------------------------------------------------------------------------- */

/* Encodes one put or delete as store.h says; returns bytes written. */
static size_t stage_encode(const struct stage_entry *entry, uint8_t *bytes) {
    size_t at = 0;
    bytes[at++] = entry->table;
    bytes[at++] = entry->deleted ? 0 : 1;
    put_u32le(bytes + at, entry->key_size);
    at += 4;
    memcpy(bytes + at, entry->key, entry->key_size);
    at += entry->key_size;
    if (entry->deleted) { return at; }

    put_u32le(bytes + at, entry->value_size);
    at += 4;
    if (entry->value_size > 0) { memcpy(bytes + at, entry->value, entry->value_size); }
    return at + entry->value_size;
}

static enum status stage_digest_ready(struct stage *stage, struct error *err) {
    if (stage->digest_bytes == NULL) {
        stage->digest_bytes = memory_take(STAGE_DIGEST_BYTES);
        if (stage->digest_bytes == NULL) {
            return error_set(err, STATUS_NO_MEMORY, "a buffer of %zu bytes", STAGE_DIGEST_BYTES);
        }
    }
    if (stage->digest == NULL) { return sha256_init(&stage->digest, err); }
    return STATUS_OK;
}

enum status stage_digest(struct stage *stage, int chain, const uint8_t previous[SHA256_BYTES],
                         uint8_t ret_digest[SHA256_BYTES], struct error *err) {
    assert(chain == 1 || chain == 2);

    enum status status = stage_digest_ready(stage, err);
    if (status == STATUS_OK) { status = stage_sort(stage, err); }
    if (status != STATUS_OK) { return error_wrap(err, "digest of chain %d", chain); }

    const size_t entry_bytes_max = 10 + STORE_KEY_BYTES_MAX + STORE_VALUE_BYTES_MAX;
    sha256_restart(stage->digest);
    memcpy(stage->digest_bytes, previous, SHA256_BYTES);
    size_t used = SHA256_BYTES;
    for (size_t i = 0; i < stage->entry_count; i++) {
        const struct stage_entry *entry = &stage->entries[stage->order[i].entry];
        if (store_table_chain((enum store_table)entry->table) != chain) { continue; }
        if (STAGE_DIGEST_BYTES - used < entry_bytes_max) {
            sha256_update(stage->digest, stage->digest_bytes, used);
            used = 0;
        }
        used += stage_encode(entry, stage->digest_bytes + used);
    }
    sha256_update(stage->digest, stage->digest_bytes, used);
    sha256_finish(stage->digest, ret_digest);
    return STATUS_OK;
}
