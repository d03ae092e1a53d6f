/* SPDX-License-Identifier: Apache-2.0
 *
 * sequence.c - a user's history and ring of event ids: encode, decode, append.
 *
 * Value in table users:
 *   total, first_seq, first_version, count, count * {item, zig-zag (time - time before)}, id_count,
 *   id_count * u64le
 * all varints but the hashes, which are random bits. 20 items take about 110 bytes and 20 hashes
 * 160.
 */
#include "storage/sequence.h"

#include <assert.h>

#include "storage/packing.h"

#define SEQUENCE_BYTES_WORST \
    (5 * PACKED_U64_BYTES + HISTORY_MAX * (PACKED_U32_BYTES + PACKED_U64_BYTES) + DEDUP_MAX * 8)

static size_t sequence_encode(const struct sequence *sequence, uint32_t first,
                              uint8_t bytes[SEQUENCE_BYTES_WORST]) {
    uint8_t *at = pack_u64(bytes, sequence->total);
    at = pack_u64(at, sequence->first_seq);
    at = pack_u64(at, sequence->first_version);
    at = pack_u64(at, sequence->count - first);
    uint64_t before = 0;
    for (uint32_t i = first; i < sequence->count; i++) {
        at = pack_u64(at, sequence->items[i]);
        at = pack_i64(at, (int64_t)((uint64_t)sequence->times[i] - before));
        before = (uint64_t)sequence->times[i];
    }
    at = pack_u64(at, sequence->id_count);
    for (uint32_t i = 0; i < sequence->id_count; i++) {
        put_u64le(at, sequence->ids[i]);
        at += 8;
    }
    return (size_t)(at - bytes);
}

static bool sequence_decode(struct span value, struct sequence *sequence) {
    struct unpacker u = unpack_from(value);
    sequence->total = unpack_u64(&u);
    sequence->first_seq = unpack_u64(&u);
    sequence->first_version = unpack_u64(&u);
    sequence->count = unpack_u32(&u);
    if (sequence->count > HISTORY_MAX) { return false; }
    uint64_t time = 0;
    for (uint32_t i = 0; i < sequence->count; i++) {
        sequence->items[i] = unpack_u32(&u);
        time += (uint64_t)unpack_i64(&u);
        sequence->times[i] = (int64_t)time;
    }
    sequence->id_count = unpack_u32(&u);
    if (sequence->id_count > DEDUP_MAX) { return false; }
    for (uint32_t i = 0; i < sequence->id_count; i++) {
        const uint8_t *bytes = unpack_bytes(&u, 8);
        sequence->ids[i] = bytes != NULL ? get_u64le(bytes) : 0;
    }
    return unpack_done(&u);
}

static enum status sequence_from(struct source source, struct span user,
                                 struct sequence *ret_sequence, struct error *err) {
    struct span value = {0};
    enum status status = source_get(source, STORE_USERS, user, &value, err);
    ret_sequence->count = 0;
    ret_sequence->id_count = 0;
    ret_sequence->total = 0;
    ret_sequence->first_seq = 0;
    ret_sequence->first_version = 0;
    if (status == STATUS_NOT_FOUND) { return STATUS_OK; }
    if (status != STATUS_OK) { return status; }
    if (!sequence_decode(value, ret_sequence)) {
        return error_set(err, STATUS_CORRUPT, "sequence of user '%.*s' is malformed",
                         SPAN_ARG(user));
    }
    return STATUS_OK;
}

enum status sequence_load(struct stage *stage, struct span user, struct sequence *ret_sequence,
                          struct error *err) {
    return sequence_from((struct source){.stage = stage}, user, ret_sequence, err);
}

enum status sequence_read(struct store_reader *reader, struct span user,
                          struct sequence *ret_sequence, struct error *err) {
    return sequence_from((struct source){.reader = reader}, user, ret_sequence, err);
}

bool sequence_knows_event(const struct sequence *sequence, uint64_t event_hash) {
    for (uint32_t i = 0; i < sequence->id_count; i++) {
        if (sequence->ids[i] == event_hash) { return true; }
    }
    return false;
}

/* How many of count entries go so that one more fits into max. */
static uint32_t entries_to_drop(uint32_t count, uint32_t max) {
    return count >= max ? count - max + 1 : 0;
}

void sequence_append(struct sequence *sequence, uint32_t item, int64_t time_ms, uint64_t event_hash,
                     uint32_t history_max, uint32_t dedup_max) {
    assert(history_max > 0 && history_max <= HISTORY_MAX);
    assert(dedup_max <= DEDUP_MAX);

    uint32_t drop = entries_to_drop(sequence->count, history_max);
    sequence->count -= drop;
    memmove(sequence->items, sequence->items + drop, sequence->count * sizeof(uint32_t));
    memmove(sequence->times, sequence->times + drop, sequence->count * sizeof(int64_t));
    sequence->items[sequence->count] = item;
    sequence->times[sequence->count] = time_ms;
    sequence->count++;
    sequence->total++;

    if (dedup_max == 0) {
        sequence->id_count = 0;
        return;
    }
    drop = entries_to_drop(sequence->id_count, dedup_max);
    sequence->id_count -= drop;
    memmove(sequence->ids, sequence->ids + drop, sequence->id_count * sizeof(uint64_t));
    sequence->ids[sequence->id_count++] = event_hash;
}

enum status sequence_save(struct stage *stage, struct span user, const struct sequence *sequence,
                          struct error *err) {
    assert(sequence->count <= HISTORY_MAX);
    assert(sequence->id_count <= DEDUP_MAX);

    uint8_t bytes[SEQUENCE_BYTES_WORST];
    uint32_t first = 0;
    size_t size = sequence_encode(sequence, first, bytes);
    /* Only times centuries apart, entry after entry, can get here. */
    while (size > STORE_VALUE_BYTES_MAX) {
        first++;
        size = sequence_encode(sequence, first, bytes);
    }
    return stage_put(stage, STORE_USERS, user, span_make(bytes, size), err);
}

uint32_t sequence_history(const struct sequence *sequence, int64_t before_ms, uint32_t max,
                          uint32_t *ret_items) {
    uint32_t taken = 0;
    for (uint32_t i = sequence->count; i > 0 && taken < max; i--) {
        if (sequence->times[i - 1] < before_ms || before_ms == INT64_MAX) {
            ret_items[taken++] = sequence->items[i - 1];
        }
    }
    for (uint32_t i = 0; i < taken / 2; i++) {
        uint32_t swapped = ret_items[i];
        ret_items[i] = ret_items[taken - 1 - i];
        ret_items[taken - 1 - i] = swapped;
    }
    return taken;
}
