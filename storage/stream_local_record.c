/* SPDX-License-Identifier: Apache-2.0
 *
 * stream_local_record.c - one record of the embedded stream as bytes.
 *
 *   ┌───────┬──────────┬───────┬───────┬───────────────┬─────────────────┬──────────────────────┐
 *   │u32 crc│i64 time  │u8     │u8     │varint size,   │varint size,     │per header: u8 size,  │
 *   │       │ms        │flags  │headers│key            │value            │name, NUL, u8 present,│
 *   └───────┴──────────┴───────┴───────┴───────────────┴─────────────────┤varint size, value    │
 *            └──────────────── crc covers ─────────────▸                 └──────────────────────┘
 * flags: 1 = there is a key, 2 = there is a value (otherwise null, not empty). Names keep their
 * NUL, so that a reader hands them out in place.
 */
#include <assert.h>

#include "storage/stream_local_parts.h"

#define RECORD_HAS_KEY   1u
#define RECORD_HAS_VALUE 2u
#define RECORD_HEAD      14u /* crc, time, flags, headers */

static size_t varint_size(uint64_t v) {
    size_t size = 1;
    for (; v >= 0x80; v >>= 7) {
        size++;
    }
    return size;
}

enum status local_record_size(const struct stream_output *output, size_t *ret_size,
                              struct error *err) {
    if (output->header_count < 0 || output->header_count > STREAM_HEADERS_MAX) {
        return error_set(err, STATUS_LIMIT, "record with %d headers, allowed %d",
                         output->header_count, STREAM_HEADERS_MAX);
    }
    size_t size = RECORD_HEAD + varint_size(output->key.size) + output->key.size +
                  varint_size(output->value.size) + output->value.size;
    for (int i = 0; i < output->header_count; i++) {
        const struct stream_header *header = &output->headers[i];
        size_t name_size = strlen(header->name);
        if (name_size > UINT8_MAX) {
            return error_set(err, STATUS_LIMIT, "header name of %zu bytes, allowed %d", name_size,
                             UINT8_MAX);
        }
        size += 1 + name_size + 1 + 1 + varint_size(header->value.size) + header->value.size;
    }
    if (size > STREAM_RECORD_BYTES_MAX) {
        return error_set(err, STATUS_LIMIT, "record of %zu bytes, allowed %u", size,
                         STREAM_RECORD_BYTES_MAX);
    }
    *ret_size = size;
    return STATUS_OK;
}

static uint8_t *encode_span(uint8_t *at, struct span bytes) {
    at += put_varint(at, bytes.size);
    if (bytes.size == 0) { return at; }
    assert(bytes.data != NULL);
    memcpy(at, bytes.data, bytes.size);
    return at + bytes.size;
}

void local_record_encode(const struct stream_output *output, int64_t timestamp_ms, uint8_t *bytes) {
    uint64_t time = (uint64_t)(output->timestamp_ms >= 0 ? output->timestamp_ms : timestamp_ms);
    put_u64le(bytes + 4, time);
    bytes[12] = (uint8_t)((output->key.data != NULL ? RECORD_HAS_KEY : 0u) |
                          (output->value.data != NULL ? RECORD_HAS_VALUE : 0u));
    bytes[13] = (uint8_t)output->header_count;
    uint8_t *at = encode_span(bytes + RECORD_HEAD, output->key);
    at = encode_span(at, output->value);
    for (int i = 0; i < output->header_count; i++) {
        const struct stream_header *header = &output->headers[i];
        size_t name_size = strlen(header->name);
        *at++ = (uint8_t)name_size;
        memcpy(at, header->name, name_size + 1);
        at += name_size + 1;
        *at++ = header->value.data != NULL ? 1 : 0;
        at = encode_span(at, header->value);
    }
    put_u32le(bytes, crc32c(0, bytes + 4, (size_t)(at - bytes) - 4));
}

/* Reads a size and that many bytes off the front of left. False: cut. */
static bool decode_span(struct span *left, bool present, struct span *ret_bytes) {
    uint64_t size = 0;
    size_t used = get_varint(*left, &size);
    if (used == 0 || size > left->size - used) { return false; }
    *ret_bytes = span_make(present ? left->data + used : NULL, present ? (size_t)size : 0);
    left->data += used + size;
    left->size -= used + (size_t)size;
    return present || size == 0;
}

static bool decode_header(struct span *left, struct stream_header *ret_header) {
    if (left->size < 3) { return false; }
    size_t name_size = left->data[0];
    if (left->size < 1 + name_size + 1 + 1 || left->data[1 + name_size] != 0) { return false; }
    ret_header->name = (const char *)left->data + 1;
    bool present = left->data[2 + name_size] != 0;
    left->data += 3 + name_size;
    left->size -= 3 + name_size;
    return decode_span(left, present, &ret_header->value);
}

static bool decode_body(struct span stored, struct stream_record *record) {
    record->timestamp_ms = (int64_t)get_u64le(stored.data + 4);
    uint8_t flags = stored.data[12];
    record->header_count = stored.data[13];
    if (record->header_count > STREAM_HEADERS_MAX) { return false; }
    struct span left = span_make(stored.data + RECORD_HEAD, stored.size - RECORD_HEAD);
    if (!decode_span(&left, (flags & RECORD_HAS_KEY) != 0, &record->key)) { return false; }
    if (!decode_span(&left, (flags & RECORD_HAS_VALUE) != 0, &record->value)) { return false; }
    for (int i = 0; i < record->header_count; i++) {
        if (!decode_header(&left, &record->headers[i])) { return false; }
    }
    return left.size == 0;
}

enum status local_record_decode(struct local_place place, uint64_t offset, struct span stored,
                                struct stream_record *ret_record, struct error *err) {
    const char *what = "bad CRC";
    if (stored.size < RECORD_HEAD) {
        what = "cut";
    } else if (crc32c(0, stored.data + 4, stored.size - 4) == get_u32le(stored.data)) {
        /* Filled in place: a record is 400 bytes, and a failed decode ends the read anyway. */
        ret_record->topic = place.topic;
        ret_record->partition = place.partition;
        ret_record->offset = (int64_t)offset;
        if (decode_body(stored, ret_record)) { return STATUS_OK; }
        what = "malformed";
    }
    return error_set(err, STATUS_CORRUPT, "record %s/%d/%llu: %s", stream_topic_name(place.topic),
                     place.partition, (unsigned long long)offset, what);
}

void local_record_key(struct local_place place, uint64_t offset, uint8_t key[LOCAL_RECORD_KEY]) {
    key[0] = (uint8_t)place.topic;
    put_u32be(key + 1, (uint32_t)place.partition);
    put_u64be(key + 5, offset);
}

bool local_record_place(struct span key, struct local_place *ret_place, uint64_t *ret_offset) {
    if (key.size != LOCAL_RECORD_KEY || key.data[0] >= STREAM_TOPIC_COUNT) { return false; }
    ret_place->topic = (enum stream_topic)key.data[0];
    ret_place->partition = (int32_t)get_u32be(key.data + 1);
    *ret_offset = get_u64be(key.data + 5);
    return true;
}
