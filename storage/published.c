/* SPDX-License-Identifier: Apache-2.0
 *
 * published.c - the list last published for a user: what the user's next event is judged by.
 *
 * Value in table published: version, zig-zag newest_ms, u8 tier, count, count * item; varints but
 * the tier. Items are ranked, so their numbers are in no order and stay as they are.
 */
#include <assert.h>

#include "storage/packing.h"
#include "storage/sequence.h"

#define PUBLISHED_BYTES_WORST (3 * PACKED_U64_BYTES + 1 + PUBLISHED_LIST_MAX * PACKED_U32_BYTES)

static bool published_decode(struct span value, struct published *published) {
    struct unpacker u = unpack_from(value);
    published->version = unpack_u64(&u);
    published->newest_ms = unpack_i64(&u);
    published->tier = unpack_u8(&u);
    published->count = unpack_u32(&u);
    if (published->count > PUBLISHED_LIST_MAX) { return false; }
    for (uint32_t i = 0; i < published->count; i++) {
        published->items[i] = unpack_u32(&u);
    }
    return unpack_done(&u);
}

static enum status published_from(struct source source, struct span user,
                                  struct published *ret_published, struct error *err) {
    struct span value = {0};
    enum status status = source_get(source, STORE_PUBLISHED, user, &value, err);
    if (status != STATUS_OK) { return status; }
    if (!published_decode(value, ret_published)) {
        return error_set(err, STATUS_CORRUPT, "published list of user '%.*s' is malformed",
                         SPAN_ARG(user));
    }
    return STATUS_OK;
}

enum status published_load(struct stage *stage, struct span user, struct published *ret_published,
                           struct error *err) {
    return published_from((struct source){.stage = stage}, user, ret_published, err);
}

enum status published_read(struct store_reader *reader, struct span user,
                           struct published *ret_published, struct error *err) {
    return published_from((struct source){.reader = reader}, user, ret_published, err);
}

enum status published_save(struct stage *stage, struct span user, const struct published *published,
                           struct error *err) {
    assert(published->count <= PUBLISHED_LIST_MAX);

    uint8_t bytes[PUBLISHED_BYTES_WORST];
    uint8_t *at = pack_u64(bytes, published->version);
    at = pack_i64(at, published->newest_ms);
    *at++ = published->tier;
    at = pack_u64(at, published->count);
    for (uint32_t i = 0; i < published->count; i++) {
        at = pack_u64(at, published->items[i]);
    }
    return stage_put(stage, STORE_PUBLISHED, user, span_make(bytes, (size_t)(at - bytes)), err);
}
