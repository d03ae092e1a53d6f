/* SPDX-License-Identifier: Apache-2.0
 *
 * seen.c - the items a user ever consumed, in order of first consumption, in chunks.
 *
 *   (user, 0)  head:  first, next, skip, count, items...     grows with each new item
 *   (user, n)  chunk: SEEN_CHUNK items, written once, for n in first+1 .. next (n runs in a circle)
 *   evicted are the `skip` oldest of the oldest chunk, or of the head where there is no chunk
 *
 * Why chunks: an event of a user with a thousand items rewrites at most one head of 128, and a user
 * with few has one small value. Numbers are zig-zag differences from the one before, from 0.
 */
#include <assert.h>

#include "storage/packing.h"
#include "storage/sequence.h"

#define SEEN_CHUNK       128u
#define SEEN_KEY_BYTES   (STORE_KEY_BYTES_MAX)
#define SEEN_CHUNK_BYTES (4 * PACKED_U32_BYTES + SEEN_CHUNK * PACKED_U32_BYTES)
#define SEEN_CIRCLE      65535u /* chunk numbers in keys: 1..65535 */
#define SEEN_CHUNKS_MAX  (SEEN_MAX / SEEN_CHUNK + 1u)

struct seen_head {
    uint32_t first, next; /* full chunks are first .. next-1 */
    uint32_t skip;        /* evicted from the oldest chunk; < SEEN_CHUNK */
    uint32_t count;       /* in items; < SEEN_CHUNK after a save */
    uint32_t items[SEEN_CHUNK];
};

/* user, then u16be: 0 the head, else the full chunk's number. */
static enum status seen_key(struct span user, uint32_t place, uint8_t bytes[SEEN_KEY_BYTES],
                            struct span *ret_key, struct error *err) {
    if (user.size == 0 || user.size + 2 > SEEN_KEY_BYTES) {
        return error_set(err, STATUS_LIMIT, "user id of %zu bytes, allowed 1..%u", user.size,
                         SEEN_KEY_BYTES - 2);
    }
    memcpy(bytes, user.data, user.size);
    bytes[user.size] = (uint8_t)(place >> 8);
    bytes[user.size + 1] = (uint8_t)place;
    *ret_key = span_make(bytes, user.size + 2);
    return STATUS_OK;
}

static uint32_t seen_chunk_place(uint32_t chunk) {
    return 1 + chunk % SEEN_CIRCLE;
}

static void seen_unpack_items(struct unpacker *u, uint32_t *items, uint32_t count) {
    uint32_t item = 0;
    for (uint32_t i = 0; i < count; i++) {
        item += (uint32_t)unpack_i64(u);
        items[i] = item;
    }
}

static uint8_t *seen_pack_items(uint8_t *at, const uint32_t *items, uint32_t count) {
    uint32_t before = 0;
    for (uint32_t i = 0; i < count; i++) {
        at = pack_i64(at, (int64_t)items[i] - (int64_t)before);
        before = items[i];
    }
    return at;
}

static enum status seen_malformed(struct span user, const char *what, struct error *err) {
    return error_set(err, STATUS_CORRUPT, "seen items of user '%.*s': %s", SPAN_ARG(user), what);
}

/* A user without one gets an empty head. */
static enum status seen_head_load(struct source source, struct span user, struct seen_head *head,
                                  struct error *err) {
    uint8_t bytes[SEEN_KEY_BYTES];
    struct span key = {0}, value = {0};
    head->first = head->next = head->skip = head->count = 0;
    enum status status = seen_key(user, 0, bytes, &key, err);
    if (status != STATUS_OK) { return status; }
    status = source_get(source, STORE_SEEN, key, &value, err);
    if (status == STATUS_NOT_FOUND) { return STATUS_OK; }
    if (status != STATUS_OK) { return status; }

    struct unpacker u = unpack_from(value);
    head->first = unpack_u32(&u);
    head->next = unpack_u32(&u);
    head->skip = unpack_u32(&u);
    head->count = unpack_u32(&u);
    if (head->count > SEEN_CHUNK || head->skip >= SEEN_CHUNK || head->first > head->next ||
        head->next - head->first > SEEN_CHUNKS_MAX) {
        return seen_malformed(user, "head out of range", err);
    }
    seen_unpack_items(&u, head->items, head->count);
    return unpack_done(&u) ? STATUS_OK : seen_malformed(user, "head malformed", err);
}

static enum status seen_chunk_load(struct source source, struct span user, uint32_t chunk,
                                   uint32_t items[SEEN_CHUNK], struct error *err) {
    uint8_t bytes[SEEN_KEY_BYTES];
    struct span key = {0}, value = {0};
    enum status status = seen_key(user, seen_chunk_place(chunk), bytes, &key, err);
    if (status == STATUS_OK) { status = source_get(source, STORE_SEEN, key, &value, err); }
    if (status == STATUS_NOT_FOUND) { return seen_malformed(user, "a chunk is missing", err); }
    if (status != STATUS_OK) { return status; }

    struct unpacker u = unpack_from(value);
    seen_unpack_items(&u, items, SEEN_CHUNK);
    return unpack_done(&u) ? STATUS_OK : seen_malformed(user, "chunk malformed", err);
}

static enum status seen_head_save(struct stage *stage, struct span user,
                                  const struct seen_head *head, struct error *err) {
    uint8_t key_bytes[SEEN_KEY_BYTES], bytes[SEEN_CHUNK_BYTES];
    struct span key = {0};
    enum status status = seen_key(user, 0, key_bytes, &key, err);
    if (status != STATUS_OK) { return status; }
    uint8_t *at = pack_u64(bytes, head->first);
    at = pack_u64(at, head->next);
    at = pack_u64(at, head->skip);
    at = pack_u64(at, head->count);
    at = seen_pack_items(at, head->items, head->count);
    return stage_put(stage, STORE_SEEN, key, span_make(bytes, (size_t)(at - bytes)), err);
}

/* Moves a full head into a chunk. */
static enum status seen_head_seal(struct stage *stage, struct span user, struct seen_head *head,
                                  struct error *err) {
    uint8_t key_bytes[SEEN_KEY_BYTES], bytes[SEEN_CHUNK_BYTES];
    struct span key = {0};
    enum status status = seen_key(user, seen_chunk_place(head->next), key_bytes, &key, err);
    if (status != STATUS_OK) { return status; }
    uint8_t *at = seen_pack_items(bytes, head->items, SEEN_CHUNK);
    status = stage_put(stage, STORE_SEEN, key, span_make(bytes, (size_t)(at - bytes)), err);
    if (status != STATUS_OK) { return status; }
    head->next++;
    head->count = 0;
    return STATUS_OK;
}

static enum status seen_chunk_delete(struct stage *stage, struct span user, uint32_t chunk,
                                     struct error *err) {
    uint8_t bytes[SEEN_KEY_BYTES];
    struct span key = {0};
    enum status status = seen_key(user, seen_chunk_place(chunk), bytes, &key, err);
    return status == STATUS_OK ? stage_delete(stage, STORE_SEEN, key, err) : status;
}

static uint32_t seen_count(const struct seen_head *head) {
    return (head->next - head->first) * SEEN_CHUNK - head->skip + head->count;
}

/* Evicts the oldest until at most seen_max are left. */
static enum status seen_evict(struct stage *stage, struct span user, struct seen_head *head,
                              uint32_t seen_max, struct error *err) {
    while (seen_count(head) > seen_max) {
        uint32_t surplus = seen_count(head) - seen_max;
        if (head->first == head->next) {
            head->count -= surplus;
            memmove(head->items, head->items + surplus, head->count * sizeof head->items[0]);
            return STATUS_OK;
        }
        uint32_t here = SEEN_CHUNK - head->skip;
        if (surplus < here) {
            head->skip += surplus;
            return STATUS_OK;
        }
        enum status status = seen_chunk_delete(stage, user, head->first, err);
        if (status != STATUS_OK) { return status; }
        head->first++;
        head->skip = 0;
    }
    return STATUS_OK;
}

static bool seen_holds(const uint32_t *items, uint32_t count, uint32_t item) {
    for (uint32_t i = 0; i < count; i++) {
        if (items[i] == item) { return true; }
    }
    return false;
}

static enum status seen_find(struct source source, struct span user, const struct seen_head *head,
                             uint32_t item, bool *ret_found, struct error *err) {
    *ret_found = seen_holds(head->items, head->count, item);
    for (uint32_t chunk = head->first; chunk < head->next && !*ret_found; chunk++) {
        uint32_t items[SEEN_CHUNK] = {0};
        enum status status = seen_chunk_load(source, user, chunk, items, err);
        if (status != STATUS_OK) { return status; }
        uint32_t skip = chunk == head->first ? head->skip : 0;
        *ret_found = seen_holds(items + skip, SEEN_CHUNK - skip, item);
    }
    return STATUS_OK;
}

enum status seen_add(struct stage *stage, struct span user, uint32_t item, uint32_t seen_max,
                     struct error *err) {
    assert(seen_max <= SEEN_MAX);

    struct seen_head head = {0};
    struct source source = {.stage = stage};
    bool found = false;
    enum status status = seen_head_load(source, user, &head, err);
    if (status == STATUS_OK) { status = seen_find(source, user, &head, item, &found, err); }
    if (status != STATUS_OK || (found && seen_count(&head) <= seen_max)) { return status; }

    if (!found) {
        assert(head.count < SEEN_CHUNK);
        head.items[head.count++] = item;
    }
    if (head.count == SEEN_CHUNK) { status = seen_head_seal(stage, user, &head, err); }
    if (status == STATUS_OK) { status = seen_evict(stage, user, &head, seen_max, err); }
    if (status == STATUS_OK) { status = seen_head_save(stage, user, &head, err); }
    return status;
}

static enum status seen_from(struct source source, struct span user, uint32_t *items, uint32_t max,
                             uint32_t *ret_count, struct error *err) {
    struct seen_head head;
    enum status status = seen_head_load(source, user, &head, err);
    if (status != STATUS_OK) { return status; }

    /* Of more than max, the newest. */
    uint32_t total = seen_count(&head);
    uint32_t pass = total > max ? total - max : 0;
    uint32_t count = 0;
    for (uint32_t chunk = head.first; chunk < head.next; chunk++) {
        uint32_t skip = chunk == head.first ? head.skip : 0;
        uint32_t here = SEEN_CHUNK - skip;
        if (pass >= here) {
            pass -= here;
            continue;
        }
        uint32_t chunk_items[SEEN_CHUNK];
        status = seen_chunk_load(source, user, chunk, chunk_items, err);
        if (status != STATUS_OK) { return status; }
        memcpy(items + count, chunk_items + skip + pass, (here - pass) * sizeof *items);
        count += here - pass;
        pass = 0;
    }
    memcpy(items + count, head.items + pass, (head.count - pass) * sizeof *items);
    *ret_count = count + head.count - pass;
    return STATUS_OK;
}

enum status seen_load(struct stage *stage, struct span user, uint32_t *items, uint32_t max,
                      uint32_t *ret_count, struct error *err) {
    return seen_from((struct source){.stage = stage}, user, items, max, ret_count, err);
}

enum status seen_read(struct store_reader *reader, struct span user, uint32_t *items, uint32_t max,
                      uint32_t *ret_count, struct error *err) {
    return seen_from((struct source){.reader = reader}, user, items, max, ret_count, err);
}

enum status sequence_forget(struct stage *stage, struct span user, struct error *err) {
    struct seen_head head;
    uint8_t bytes[SEEN_KEY_BYTES];
    struct span key = {0};
    enum status status = seen_head_load((struct source){.stage = stage}, user, &head, err);
    for (uint32_t chunk = head.first; chunk < head.next && status == STATUS_OK; chunk++) {
        status = seen_chunk_delete(stage, user, chunk, err);
    }
    if (status == STATUS_OK) { status = seen_key(user, 0, bytes, &key, err); }
    if (status == STATUS_OK) { status = stage_delete(stage, STORE_SEEN, key, err); }
    if (status == STATUS_OK) { status = stage_delete(stage, STORE_USERS, user, err); }
    if (status == STATUS_OK) { status = stage_delete(stage, STORE_PUBLISHED, user, err); }
    return status;
}
