/* SPDX-License-Identifier: Apache-2.0
 *
 * packing.h - compact values: varints inlined for loops over a thousand items, and a source of
 * values that is a stage or a reader.
 *
 * base/bytes.h has the same varint behind a call; a user's seen set is decoded once an event, where
 * the call costs more than the work.
 */
#ifndef STORAGE_PACKING_H
#define STORAGE_PACKING_H

#include <assert.h>

#include "storage/store.h"

#define PACKED_U64_BYTES 10u /* a varint at most */
#define PACKED_U32_BYTES 5u

/* Writes at p, returns behind it. */
static inline uint8_t *pack_u64(uint8_t *p, uint64_t v) {
    while (v >= 0x80) {
        *p++ = (uint8_t)(v | 0x80);
        v >>= 7;
    }
    *p++ = (uint8_t)v;
    return p;
}

/* Small negative numbers stay small: 0, -1, 1, -2 -> 0, 1, 2, 3. The difference of any two int64
 * wraps, and comes back the same. */
static inline uint8_t *pack_i64(uint8_t *p, int64_t v) {
    return pack_u64(p, ((uint64_t)v << 1) ^ (uint64_t)(v >> 63));
}

/* What is left to read. `good` falls to false at the first cut or overlong number and stays there;
 * the caller looks at it once, at the end. */
struct unpacker {
    const uint8_t *at, *end;
    bool good;
};

static inline struct unpacker unpack_from(struct span bytes) {
    assert(bytes.data != NULL || bytes.size == 0);
    return (struct unpacker){bytes.data, bytes.data + bytes.size, true};
}

static inline uint64_t unpack_u64(struct unpacker *u) {
    uint64_t v = 0;
    for (unsigned shift = 0; u->at < u->end && shift < 64; shift += 7) {
        uint8_t byte = *u->at++;
        if (shift == 63 && byte > 1) { break; }
        v |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) { return v; }
    }
    u->good = false;
    u->at = u->end;
    return 0;
}

static inline int64_t unpack_i64(struct unpacker *u) {
    uint64_t v = unpack_u64(u);
    return (int64_t)((v >> 1) ^ (0 - (v & 1)));
}

static inline uint32_t unpack_u32(struct unpacker *u) {
    uint64_t v = unpack_u64(u);
    if (v > UINT32_MAX) { u->good = false; }
    return (uint32_t)v;
}

/* size bytes as they are; NULL when cut. */
static inline const uint8_t *unpack_bytes(struct unpacker *u, size_t size) {
    if ((size_t)(u->end - u->at) < size) {
        u->good = false;
        return NULL;
    }
    const uint8_t *bytes = u->at;
    u->at += size;
    return bytes;
}

static inline uint8_t unpack_u8(struct unpacker *u) {
    const uint8_t *byte = unpack_bytes(u, 1);
    return byte != NULL ? *byte : 0;
}

/* Nothing was wrong and nothing is left. */
static inline bool unpack_done(const struct unpacker *u) {
    return u->good && u->at == u->end;
}

/* Where a room reads: exactly one of the two is set. */
struct source {
    struct stage *stage;         /* borrows */
    struct store_reader *reader; /* borrows */
};

static inline enum status source_get(struct source source, enum store_table table, struct span key,
                                     struct span *ret_value, struct error *err) {
    if (source.stage != NULL) { return stage_get(source.stage, table, key, ret_value, err); }
    return store_get(source.reader, table, key, ret_value, err);
}

#endif
