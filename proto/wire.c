/* SPDX-License-Identifier: Apache-2.0
 *
 * wire.c - protobuf's wire format: tags, varints, fixed widths, nested lengths.
 *
 * A nested message is written first and its length put in front of it afterwards, because the
 * length's own size depends on it:
 *
 *   [tag] ^mark [fields....]        wire_begin, fields
 *   [tag] [length] [fields....]     wire_end moves the fields by 1..5 bytes
 */
#include "proto/wire.h"

#include <assert.h>
#include <string.h>

enum { WIRE_VARINT = 0, WIRE_FIXED64 = 1, WIRE_LENGTH = 2, WIRE_FIXED32 = 5 };

#define VARINT_BYTES_MAX 10u

void wire_start(struct wire *wire, struct buffer *out) {
    assert(out != NULL);

    *wire = (struct wire){.out = out, .begin = out->size, .status = STATUS_OK};
}

enum status wire_finish(struct wire *wire) {
    assert(wire->begin <= wire->out->size);

    if (wire->status != STATUS_OK) { wire->out->size = wire->begin; }
    return wire->status;
}

static void wire_raw(struct wire *wire, const void *data, size_t size) {
    if (wire->status != STATUS_OK || size == 0) { return; }
    wire->status = buffer_append(wire->out, data, size);
}

static void wire_varint(struct wire *wire, uint64_t value) {
    uint8_t bytes[VARINT_BYTES_MAX];
    size_t size = put_varint(bytes, value);
    wire_raw(wire, bytes, size);
}

static void wire_tag(struct wire *wire, uint32_t field, uint32_t type) {
    assert(field > 0);

    wire_varint(wire, (uint64_t)field << 3 | type);
}

void wire_uint(struct wire *wire, uint32_t field, uint64_t value) {
    if (value == 0) { return; }
    wire_tag(wire, field, WIRE_VARINT);
    wire_varint(wire, value);
}

void wire_int(struct wire *wire, uint32_t field, int64_t value) {
    wire_uint(wire, field, (uint64_t)value); /* two's complement, sign-extended to 64 bits */
}

void wire_bool(struct wire *wire, uint32_t field, bool value) {
    wire_uint(wire, field, value ? 1 : 0);
}

void wire_float(struct wire *wire, uint32_t field, float value) {
    if (value == 0.0f) { return; } /* minus zero, too: one zero, one form */
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    uint8_t bytes[4];
    put_u32le(bytes, bits);
    wire_tag(wire, field, WIRE_FIXED32);
    wire_raw(wire, bytes, sizeof bytes);
}

void wire_double(struct wire *wire, uint32_t field, double value) {
    if (value == 0.0) { return; }
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    uint8_t bytes[8];
    put_u64le(bytes, bits);
    wire_tag(wire, field, WIRE_FIXED64);
    wire_raw(wire, bytes, sizeof bytes);
}

void wire_element(struct wire *wire, uint32_t field, struct span value) {
    wire_tag(wire, field, WIRE_LENGTH);
    wire_varint(wire, value.size);
    wire_raw(wire, value.data, value.size);
}

void wire_bytes(struct wire *wire, uint32_t field, struct span value) {
    if (value.size > 0) { wire_element(wire, field, value); }
}

void wire_text(struct wire *wire, uint32_t field, const char *text) {
    if (text != NULL) { wire_bytes(wire, field, span_of(text)); }
}

size_t wire_begin(struct wire *wire, uint32_t field) {
    wire_tag(wire, field, WIRE_LENGTH);
    return wire->out->size;
}

void wire_end(struct wire *wire, size_t mark) {
    if (wire->status != STATUS_OK) { return; }
    assert(mark <= wire->out->size);

    size_t size = wire->out->size - mark;
    uint8_t length[VARINT_BYTES_MAX];
    size_t length_bytes = put_varint(length, size);
    wire->status = buffer_append(wire->out, length, length_bytes); /* room; moved below */
    if (wire->status != STATUS_OK) { return; }

    uint8_t *begin = wire->out->data + mark;
    memmove(begin + length_bytes, begin, size);
    memcpy(begin, length, length_bytes);
}

void wire_packed(struct wire *wire, uint64_t value) {
    wire_varint(wire, value);
}
