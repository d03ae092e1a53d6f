/* SPDX-License-Identifier: Apache-2.0
 *
 * unpack.c - protobuf-c's decoder on an arena, and the check on strings that it leaves out.
 *
 * Strings become NUL-terminated copies in protobuf-c, so a NUL inside one cuts it without a word.
 * The walk below looks at the wire itself, through the same descriptor, and refuses that.
 */
#include "proto/unpack.h"

#include <assert.h>
#include <string.h>

#define UNPACK_DEPTH_MAX 8 /* messages in messages; ilora.proto needs 3 */

struct unpack_memory {
    struct arena *arena;
    bool refused;
};

static void *unpack_take(void *context, size_t size) {
    struct unpack_memory *memory = context;
    void *piece = arena_take(memory->arena, size);
    if (piece == NULL) { memory->refused = true; }
    return piece;
}

static void unpack_give(void *context, void *piece) {
    (void)context; /* the arena's reset gives everything back at once */
    (void)piece;
}

static enum status walk_strings(const ProtobufCMessageDescriptor *descriptor, struct span bytes,
                                int depth, struct error *err);

/* A length-delimited field: text is checked, a message is walked, bytes pass. UTF-8 is checked by
 * whoever uses the text (inbound.c). */
static enum status walk_value(const ProtobufCFieldDescriptor *field, struct span value, int depth,
                              struct error *err) {
    if (field == NULL) { return STATUS_OK; } /* an unknown field */
    if (field->type == PROTOBUF_C_TYPE_MESSAGE) {
        return walk_strings(field->descriptor, value, depth + 1, err);
    }
    if (field->type != PROTOBUF_C_TYPE_STRING) { return STATUS_OK; }

    if (value.size > 0 && memchr(value.data, 0, value.size) != NULL) {
        return error_set(err, STATUS_MALFORMED, "field '%s' holds a NUL byte", field->name);
    }
    return STATUS_OK;
}

/* Cuts `size` bytes off the front of rest; false when there are fewer. */
static bool walk_cut(struct span *rest, uint64_t size) {
    if (size > rest->size) { return false; }
    rest->data += size;
    rest->size -= (size_t)size;
    return true;
}

static bool walk_varint(struct span *rest, uint64_t *ret_value) {
    size_t size = get_varint(*rest, ret_value);
    return size > 0 && walk_cut(rest, size);
}

/* Visits every field of the wire form. Wire types 3 and 4 (groups) do not exist in proto3. */
static enum status walk_strings(const ProtobufCMessageDescriptor *descriptor, struct span bytes,
                                int depth, struct error *err) {
    if (depth > UNPACK_DEPTH_MAX) {
        return error_set(err, STATUS_MALFORMED, "messages nest deeper than %d", UNPACK_DEPTH_MAX);
    }
    while (bytes.size > 0) {
        uint64_t tag = 0;
        uint64_t value = 0;
        bool whole = walk_varint(&bytes, &tag);
        if (whole && (tag & 7) == 0) {
            whole = walk_varint(&bytes, &value);
        } else if (whole && ((tag & 7) == 1 || (tag & 7) == 5)) {
            whole = walk_cut(&bytes, (tag & 7) == 1 ? 8 : 4);
        } else {
            whole = whole && (tag & 7) == 2 && walk_varint(&bytes, &value);
            struct span text = span_make(bytes.data, (size_t)value);
            whole = whole && walk_cut(&bytes, value);
            if (whole && tag >> 3 <= UINT32_MAX) {
                const ProtobufCFieldDescriptor *field =
                    protobuf_c_message_descriptor_get_field(descriptor, (unsigned)(tag >> 3));
                enum status status = walk_value(field, text, depth, err);
                if (status != STATUS_OK) { return status; }
            }
        }
        if (!whole) { return error_set(err, STATUS_MALFORMED, "cut or with a bad wire type"); }
    }
    return STATUS_OK;
}

enum status unpack_message(const ProtobufCMessageDescriptor *descriptor, struct span bytes,
                           struct arena *arena, ProtobufCMessage **ret_message, struct error *err) {
    assert(descriptor != NULL);
    assert(arena != NULL);

    enum status status = walk_strings(descriptor, bytes, 0, err);
    if (status != STATUS_OK) { return error_wrap(err, "%s", descriptor->name); }

    struct unpack_memory memory = {.arena = arena, .refused = false};
    ProtobufCAllocator allocator = {unpack_take, unpack_give, &memory};
    const uint8_t *data = bytes.size > 0 ? bytes.data : (const uint8_t *)"";
    ProtobufCMessage *message = protobuf_c_message_unpack(descriptor, &allocator, bytes.size, data);
    if (message == NULL && memory.refused) {
        return error_set(err, STATUS_NO_MEMORY, "%s of %zu bytes", descriptor->name, bytes.size);
    }
    if (message == NULL) {
        return error_set(err, STATUS_MALFORMED, "%s: a field has the wrong type", descriptor->name);
    }
    *ret_message = message;
    return STATUS_OK;
}
