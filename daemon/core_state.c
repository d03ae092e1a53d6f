/* SPDX-License-Identifier: Apache-2.0
 *
 * core_state.c - the core's state to and from META.
 *
 * Why it exists: an epoch must advance counters, chains and positions in the same LMDB transaction
 * as the tables; so they are ordinary values of that transaction.
 * Failure: a value of the wrong size is CORRUPT; nothing is repaired silently.
 * Thread: core. */
#include "daemon/core_state.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"

#define STATE_LAYOUT      3u
#define POSITIONS_A_VALUE 200
#define POSITION_BYTES    8u

/* A cursor over bytes; `bad` once something did not fit. */
struct cursor {
    uint8_t *at;
    size_t left;
    bool bad;
};

static uint8_t *cursor_take(struct cursor *cursor, size_t size) {
    if (cursor->left < size) {
        cursor->bad = true;
        return NULL;
    }
    uint8_t *p = cursor->at;
    cursor->at += size;
    cursor->left -= size;
    return p;
}

static void cursor_put_u64(struct cursor *cursor, uint64_t value) {
    uint8_t *p = cursor_take(cursor, 8);
    if (p != NULL) { put_u64le(p, value); }
}

static void cursor_put_real(struct cursor *cursor, double value) {
    uint64_t bits;
    memcpy(&bits, &value, sizeof(bits));
    cursor_put_u64(cursor, bits);
}

static void cursor_put_bytes(struct cursor *cursor, const uint8_t *data, size_t size) {
    uint8_t *p = cursor_take(cursor, size);
    if (p != NULL) { memcpy(p, data, size); }
}

static uint64_t cursor_get_u64(struct cursor *cursor) {
    const uint8_t *p = cursor_take(cursor, 8);
    return p == NULL ? 0 : get_u64le(p);
}

static double cursor_get_real(struct cursor *cursor) {
    uint64_t bits = cursor_get_u64(cursor);
    double value;
    memcpy(&value, &bits, sizeof(value));
    return value;
}

static void cursor_get_bytes(struct cursor *cursor, uint8_t *data, size_t size) {
    const uint8_t *p = cursor_take(cursor, size);
    if (p != NULL) { memcpy(data, p, size); }
}

enum status core_state_init(struct core_state *state, const int32_t partitions[STREAM_INPUT_COUNT],
                            struct error *err) {
    memset(state, 0, sizeof(*state));
    int count = 0;
    for (int topic = 0; topic < STREAM_INPUT_COUNT; topic++) {
        assert(partitions[topic] >= 0);
        state->first[topic] = count;
        state->partitions[topic] = partitions[topic];
        if (partitions[topic] > STREAM_POSITIONS_MAX - count) {
            return error_set(err, STATUS_LIMIT, "input topics have more than %d partitions",
                             STREAM_POSITIONS_MAX);
        }
        count += partitions[topic];
    }
    state->positions = MEMORY_TAKE_ARRAY(struct stream_position, count + 1);
    if (state->positions == NULL) {
        return error_set(err, STATUS_NO_MEMORY, "positions of %d partitions", count);
    }
    state->position_count = count;
    for (int topic = 0; topic < STREAM_INPUT_COUNT; topic++) {
        for (int32_t partition = 0; partition < partitions[topic]; partition++) {
            state->positions[state->first[topic] + partition] =
                (struct stream_position){(enum stream_topic)topic, partition, -1};
        }
    }
    return STATUS_OK;
}

void core_state_free(struct core_state *state) {
    memory_free(state->positions);
    state->positions = NULL;
    state->position_count = 0;
}

void core_state_copy(struct core_state *dst, const struct core_state *src) {
    assert(dst->position_count == src->position_count);
    struct stream_position *positions = dst->positions;
    memcpy(positions, src->positions, (size_t)src->position_count * sizeof(*positions));
    *dst = *src;
    dst->positions = positions;
}

struct stream_position *core_state_position(struct core_state *state, enum stream_topic topic,
                                            int32_t partition) {
    assert((int)topic >= 0);
    if ((int)topic >= STREAM_INPUT_COUNT || partition < 0 ||
        partition >= state->partitions[topic]) {
        return NULL;
    }
    return &state->positions[state->first[topic] + partition];
}

static void encode_fixed(struct cursor *c, const struct core_state *state) {
    cursor_put_u64(c, STATE_LAYOUT);
    cursor_put_u64(c, state->epoch);
    cursor_put_u64(c, state->seq);
    cursor_put_bytes(c, state->chain, SHA256_BYTES);
    cursor_put_bytes(c, state->input_digest, SHA256_BYTES);
    cursor_put_bytes(c, state->evaluation_digest, SHA256_BYTES);
    cursor_put_u64(c, state->in_force);
    cursor_put_u64(c, state->version_next);
    cursor_put_u64(c, state->batch_end);
    cursor_put_u64(c, state->batches);
    cursor_put_u64(c, state->version_seq);
    cursor_put_u64(c, state->metrics_seq);
    cursor_put_u64(c, state->settings_digest);
    cursor_put_u64(c, state->evaluation_carried);
    cursor_put_u64(c, state->counts.applied);
    cursor_put_u64(c, state->counts.duplicate);
    cursor_put_u64(c, state->counts.dead);
    cursor_put_u64(c, state->counts.filtered);
    cursor_put_u64(c, state->counts.other);
    cursor_put_real(c, state->rates.lm_rate);
    cursor_put_real(c, state->rates.eval_rate);
    cursor_put_real(c, state->rates.eval_lm_rate);
    cursor_put_real(c, state->rates.fast_share);
    cursor_put_u64(c, (uint64_t)state->pending_count);
    cursor_put_u64(c, (uint64_t)state->control_count);
    cursor_put_u64(c, (uint64_t)state->position_count);
}

static enum status decode_fixed(struct cursor *c, struct core_state *state, struct error *err) {
    if (cursor_get_u64(c) != STATE_LAYOUT) {
        return error_set(err, STATUS_CORRUPT,
                         "meta 'state' has a layout this program does not know");
    }
    state->epoch = cursor_get_u64(c);
    state->seq = cursor_get_u64(c);
    cursor_get_bytes(c, state->chain, SHA256_BYTES);
    cursor_get_bytes(c, state->input_digest, SHA256_BYTES);
    cursor_get_bytes(c, state->evaluation_digest, SHA256_BYTES);
    state->in_force = cursor_get_u64(c);
    state->version_next = cursor_get_u64(c);
    state->batch_end = cursor_get_u64(c);
    state->batches = cursor_get_u64(c);
    state->version_seq = cursor_get_u64(c);
    state->metrics_seq = cursor_get_u64(c);
    state->settings_digest = cursor_get_u64(c);
    state->evaluation_carried = cursor_get_u64(c) != 0;
    state->counts.applied = cursor_get_u64(c);
    state->counts.duplicate = cursor_get_u64(c);
    state->counts.dead = cursor_get_u64(c);
    state->counts.filtered = cursor_get_u64(c);
    state->counts.other = cursor_get_u64(c);
    state->rates.lm_rate = cursor_get_real(c);
    state->rates.eval_rate = cursor_get_real(c);
    state->rates.eval_lm_rate = cursor_get_real(c);
    state->rates.fast_share = cursor_get_real(c);
    uint64_t pending = cursor_get_u64(c), controls = cursor_get_u64(c);
    uint64_t positions = cursor_get_u64(c);
    if (c->bad || pending > PENDING_VERSIONS_MAX || controls > PENDING_CONTROLS_MAX) {
        return error_set(err, STATUS_CORRUPT, "meta 'state' is cut or out of range");
    }
    if (positions != (uint64_t)state->position_count) {
        return error_set(err, STATUS_CORRUPT,
                         "state was made for %llu input partitions, the stream has %d",
                         (unsigned long long)positions, state->position_count);
    }
    state->pending_count = (int)pending;
    state->control_count = (int)controls;
    return STATUS_OK;
}

static void encode_lists(struct cursor *c, const struct core_state *state) {
    for (int i = 0; i < state->pending_count; i++) {
        const struct pending_version *v = &state->pending[i];
        uint8_t flags[2] = {v->announced, v->rejected};
        cursor_put_u64(c, v->number);
        cursor_put_u64(c, v->seq);
        cursor_put_u64(c, v->rolled_back);
        cursor_put_bytes(c, flags, sizeof(flags));
    }
}

static void encode_controls(struct cursor *c, const struct core_state *state) {
    for (int i = 0; i < state->control_count; i++) {
        cursor_put_bytes(c, &state->controls[i].mark, 1);
        cursor_put_u64(c, state->controls[i].argument);
    }
}

static void decode_pending(struct cursor *c, struct core_state *state) {
    for (int i = 0; i < state->pending_count; i++) {
        struct pending_version *v = &state->pending[i];
        uint8_t flags[2] = {0, 0};
        v->number = cursor_get_u64(c);
        v->seq = cursor_get_u64(c);
        v->rolled_back = cursor_get_u64(c);
        cursor_get_bytes(c, flags, sizeof(flags));
        v->announced = flags[0] != 0;
        v->rejected = flags[1] != 0;
    }
}

static void decode_controls(struct cursor *c, struct core_state *state) {
    for (int i = 0; i < state->control_count; i++) {
        cursor_get_bytes(c, &state->controls[i].mark, 1);
        state->controls[i].argument = cursor_get_u64(c);
    }
}

static void encode_sums(struct cursor *c, const struct live_sums *live) {
    cursor_put_u64(c, live->count);
    cursor_put_real(c, live->hit_1);
    cursor_put_real(c, live->hit_5);
    cursor_put_real(c, live->hit_10);
    cursor_put_real(c, live->ndcg_10);
    cursor_put_real(c, live->mrr);
}

static void decode_sums(struct cursor *c, struct live_sums *live) {
    live->count = cursor_get_u64(c);
    live->hit_1 = cursor_get_real(c);
    live->hit_5 = cursor_get_real(c);
    live->hit_10 = cursor_get_real(c);
    live->ndcg_10 = cursor_get_real(c);
    live->mrr = cursor_get_real(c);
}

static enum status put_meta(struct stage *stage, const char *key, struct cursor *c,
                            const uint8_t *bytes, struct error *err) {
    assert(!c->bad);
    return stage_put(stage, STORE_META, span_of(key), span_make(bytes, (size_t)(c->at - bytes)),
                     err);
}

static enum status save_positions(const struct core_state *state, struct stage *stage,
                                  struct error *err) {
    uint8_t bytes[POSITIONS_A_VALUE * POSITION_BYTES];
    for (int first = 0, part = 0; first < state->position_count; part++) {
        char key[32];
        (void)snprintf(key, sizeof(key), "positions/%d", part); /* fits: an int of 10 digits */
        struct cursor c = {bytes, sizeof(bytes), false};
        int end = first + POSITIONS_A_VALUE;
        if (end > state->position_count) { end = state->position_count; }
        for (; first < end; first++) {
            cursor_put_u64(&c, (uint64_t)state->positions[first].next);
        }
        enum status status = put_meta(stage, key, &c, bytes, err);
        if (status != STATUS_OK) { return status; }
    }
    return STATUS_OK;
}

enum status core_state_save(const struct core_state *state, struct stage *stage,
                            struct error *err) {
    uint8_t bytes[STORE_VALUE_BYTES_MAX];
    struct cursor c = {bytes, sizeof(bytes), false};
    encode_fixed(&c, state);
    enum status status = put_meta(stage, "state", &c, bytes, err);
    if (status != STATUS_OK) { return status; }

    c = (struct cursor){bytes, sizeof(bytes), false};
    encode_lists(&c, state);
    status = put_meta(stage, "pending", &c, bytes, err);
    if (status != STATUS_OK) { return status; }

    c = (struct cursor){bytes, sizeof(bytes), false};
    encode_controls(&c, state);
    status = put_meta(stage, "controls", &c, bytes, err);
    if (status != STATUS_OK) { return status; }

    c = (struct cursor){bytes, sizeof(bytes), false};
    encode_sums(&c, &state->live);
    status = put_meta(stage, "live", &c, bytes, err);
    if (status != STATUS_OK) { return status; }

    return save_positions(state, stage, err);
}

enum status core_state_save_sums(const struct core_state *state, struct stage *stage,
                                 struct error *err) {
    uint8_t bytes[64];
    struct cursor c = {bytes, sizeof(bytes), false};
    encode_sums(&c, &state->live);
    assert(!c.bad);
    return stage_put(stage, STORE_SUMS, span_of("live"), span_make(bytes, (size_t)(c.at - bytes)),
                     err);
}

/* A cursor over a copy, because table memory is read-only. */
static enum status get_meta(struct store_reader *reader, const char *key,
                            uint8_t bytes[STORE_VALUE_BYTES_MAX], struct cursor *ret_cursor,
                            struct error *err) {
    struct span value;
    enum status status = store_get(reader, STORE_META, span_of(key), &value, err);
    if (status != STATUS_OK) { return status; }
    if (value.size > STORE_VALUE_BYTES_MAX) {
        return error_set(err, STATUS_CORRUPT, "meta '%s' has %zu bytes", key, value.size);
    }
    memcpy(bytes, value.data, value.size);
    *ret_cursor = (struct cursor){bytes, value.size, false};
    return STATUS_OK;
}

static enum status missing(enum status status, const char *key, struct error *err) {
    if (status != STATUS_NOT_FOUND) { return status; }
    return error_set(err, STATUS_CORRUPT, "meta '%s' is missing while 'state' is there", key);
}

static enum status load_positions(struct core_state *state, struct store_reader *reader,
                                  struct error *err) {
    uint8_t bytes[STORE_VALUE_BYTES_MAX];
    for (int first = 0, part = 0; first < state->position_count; part++) {
        char key[32];
        struct cursor c = {0};
        (void)snprintf(key, sizeof(key), "positions/%d", part); /* fits */
        enum status status = get_meta(reader, key, bytes, &c, err);
        if (status != STATUS_OK) { return missing(status, key, err); }
        for (int i = 0; i < POSITIONS_A_VALUE && first < state->position_count; i++, first++) {
            state->positions[first].next = (int64_t)cursor_get_u64(&c);
        }
        if (c.bad) { return error_set(err, STATUS_CORRUPT, "meta '%s' is cut", key); }
    }
    return STATUS_OK;
}

enum status core_state_load(struct core_state *state, struct store_reader *reader,
                            struct error *err) {
    uint8_t bytes[STORE_VALUE_BYTES_MAX];
    struct cursor c = {0};
    enum status status = get_meta(reader, "state", bytes, &c, err);
    if (status != STATUS_OK) { return status; }
    status = decode_fixed(&c, state, err);
    if (status != STATUS_OK) { return status; }

    status = get_meta(reader, "pending", bytes, &c, err);
    if (status != STATUS_OK) { return missing(status, "pending", err); }
    decode_pending(&c, state);
    if (c.bad) { return error_set(err, STATUS_CORRUPT, "meta 'pending' is cut"); }

    status = get_meta(reader, "controls", bytes, &c, err);
    if (status != STATUS_OK) { return missing(status, "controls", err); }
    decode_controls(&c, state);
    if (c.bad) { return error_set(err, STATUS_CORRUPT, "meta 'controls' is cut"); }

    status = get_meta(reader, "live", bytes, &c, err);
    if (status != STATUS_OK) { return missing(status, "live", err); }
    decode_sums(&c, &state->live);
    if (c.bad) { return error_set(err, STATUS_CORRUPT, "meta 'live' is cut"); }

    return load_positions(state, reader, err);
}
