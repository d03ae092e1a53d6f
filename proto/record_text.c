/* SPDX-License-Identifier: Apache-2.0
 *
 * record_text.c - any record of our topics as one JSON line, for human eyes and scripts.
 *
 * Walks the generated descriptors, so that a field added to ilora.proto appears by itself: names
 * as in the file, enums by name, bytes in hexadecimal (only their count when they are many), fields
 * that hold their default too. Not on the daemon's path.
 */
#include "proto/outbound.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "proto/ilora.pb-c.h"

#include "base/json.h"
#include "proto/unpack.h"

#define TEXT_HEX_BYTES_MAX 64u /* longer fields are data, nobody reads them */
#define TEXT_ARENA_BYTES   (64u * 1024u)

static void text_message(struct json_writer *w, const char *name, const ProtobufCMessage *message);

static void text_unsigned(struct json_writer *w, const char *name, uint64_t value) {
    if (value <= INT64_MAX) {
        json_write_integer(w, name, (int64_t)value);
        return;
    }
    char digits[24];
    (void)snprintf(digits, sizeof digits, "%" PRIu64, value); /* 20 digits fit */
    json_write_string(w, name, span_of(digits));
}

static void text_bytes(struct json_writer *w, const char *name, const ProtobufCBinaryData *bytes) {
    if (bytes->len > TEXT_HEX_BYTES_MAX) {
        json_write_object(w, name);
        text_unsigned(w, "bytes", bytes->len);
        json_write_object_end(w);
        return;
    }
    char text[2 * TEXT_HEX_BYTES_MAX + 1] = "";
    if (bytes->len > 0) { hex_encode(bytes->data, bytes->len, text); }
    json_write_string(w, name, span_of(text));
}

static void text_enum(struct json_writer *w, const char *name,
                      const ProtobufCEnumDescriptor *descriptor, int value) {
    const ProtobufCEnumValue *known = protobuf_c_enum_descriptor_get_value(descriptor, value);
    if (known == NULL) {
        json_write_integer(w, name, value);
        return;
    }
    json_write_string(w, name, span_of(known->name));
}

/* One value of a field; at points to it inside the message or the list. */
static void text_value(struct json_writer *w, const char *name,
                       const ProtobufCFieldDescriptor *field, const void *at) {
    switch (field->type) {
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_SFIXED32: json_write_integer(w, name, *(const int32_t *)at); return;
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64: json_write_integer(w, name, *(const int64_t *)at); return;
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_FIXED32: json_write_integer(w, name, *(const uint32_t *)at); return;
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64: text_unsigned(w, name, *(const uint64_t *)at); return;
    case PROTOBUF_C_TYPE_FLOAT: json_write_real(w, name, (double)*(const float *)at); return;
    case PROTOBUF_C_TYPE_DOUBLE: json_write_real(w, name, *(const double *)at); return;
    case PROTOBUF_C_TYPE_BOOL:
        json_write_bool(w, name, *(const protobuf_c_boolean *)at != 0);
        return;
    case PROTOBUF_C_TYPE_ENUM: text_enum(w, name, field->descriptor, *(const int *)at); return;
    case PROTOBUF_C_TYPE_STRING: json_write_string(w, name, span_of(*(char *const *)at)); return;
    case PROTOBUF_C_TYPE_BYTES: text_bytes(w, name, at); return;
    case PROTOBUF_C_TYPE_MESSAGE: text_message(w, name, *(ProtobufCMessage *const *)at); return;
    }
    assert(false && "a field type that protobuf-c does not have");
}

static size_t element_bytes(ProtobufCType type) {
    switch (type) {
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_SFIXED32:
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_FIXED32:
    case PROTOBUF_C_TYPE_FLOAT:
    case PROTOBUF_C_TYPE_ENUM: return 4;
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
    case PROTOBUF_C_TYPE_DOUBLE: return 8;
    case PROTOBUF_C_TYPE_BOOL: return sizeof(protobuf_c_boolean);
    case PROTOBUF_C_TYPE_BYTES: return sizeof(ProtobufCBinaryData);
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_MESSAGE: return sizeof(void *);
    }
    assert(false && "a field type that protobuf-c does not have");
    return 0;
}

static void text_message(struct json_writer *w, const char *name, const ProtobufCMessage *message) {
    json_write_object(w, name);
    const ProtobufCMessageDescriptor *descriptor = message->descriptor;
    for (unsigned i = 0; i < descriptor->n_fields; i++) {
        const ProtobufCFieldDescriptor *field = &descriptor->fields[i];
        const uint8_t *at = (const uint8_t *)message + field->offset;
        if (field->label == PROTOBUF_C_LABEL_REPEATED) {
            size_t count = *(const size_t *)(const void *)((const uint8_t *)message +
                                                           field->quantifier_offset);
            const uint8_t *list = *(uint8_t *const *)(const void *)at;
            json_write_array(w, field->name);
            for (size_t k = 0; k < count; k++) {
                text_value(w, NULL, field, list + k * element_bytes(field->type));
            }
            json_write_array_end(w);
            continue;
        }
        bool absent = field->type == PROTOBUF_C_TYPE_MESSAGE &&
                      *(ProtobufCMessage *const *)(const void *)at == NULL;
        if (!absent) { text_value(w, field->name, field, at); }
    }
    json_write_object_end(w);
}

/* On the snapshots topic a chunk's field 2 is text, a manifest's a number. */
static bool is_chunk(struct span bytes) {
    uint64_t value;
    size_t at = 0;
    if (bytes.size > 0 && bytes.data[0] == 0x08) { /* field 1, the version */
        size_t size = get_varint(span_make(bytes.data + 1, bytes.size - 1), &value);
        if (size == 0) { return false; }
        at = 1 + size;
    }
    return at < bytes.size && bytes.data[at] == 0x12; /* field 2, with a length */
}

static const ProtobufCMessageDescriptor *role_descriptor(const char *role, struct span bytes) {
    if (strcmp(role, "predictions") == 0) { return &ilora__v1__prediction__descriptor; }
    if (strcmp(role, "ledger") == 0) { return &ilora__v1__epoch_record__descriptor; }
    if (strcmp(role, "metrics") == 0) { return &ilora__v1__metrics_record__descriptor; }
    if (strcmp(role, "chunk") == 0) { return &ilora__v1__snapshot_chunk__descriptor; }
    if (strcmp(role, "snapshots") == 0) {
        return is_chunk(bytes) ? &ilora__v1__snapshot_chunk__descriptor
                               : &ilora__v1__snapshot_manifest__descriptor;
    }
    if (strcmp(role, "events") == 0 || strcmp(role, "items") == 0 || strcmp(role, "control") == 0) {
        return &ilora__v1__event__descriptor;
    }
    return NULL;
}

/* A record that is JSON already passes as it is, once it parses. */
static enum status pass_json(struct span bytes, struct buffer *out, struct error *err) {
    struct json_value *value;
    enum status status = json_parse(bytes, &value, err);
    if (status != STATUS_OK) { return status; }

    json_free(value);
    status = buffer_append(out, bytes.data, bytes.size);
    if (status != STATUS_OK) { return error_set(err, status, "JSON of %zu bytes", bytes.size); }
    return STATUS_OK;
}

enum status outbound_to_json(const char *topic_role, struct span bytes, struct buffer *out,
                             struct error *err) {
    assert(topic_role != NULL);
    assert(out != NULL);

    if (bytes.size > 0 && bytes.data[0] == '{') { return pass_json(bytes, out, err); }
    const ProtobufCMessageDescriptor *descriptor = role_descriptor(topic_role, bytes);
    if (descriptor == NULL) {
        return error_set(err, STATUS_NOT_FOUND, "topic '%s' holds no record of ours", topic_role);
    }

    struct arena arena;
    enum status status = arena_init_chained(&arena, TEXT_ARENA_BYTES, err);
    if (status != STATUS_OK) { return status; }

    ProtobufCMessage *message = NULL;
    status = unpack_message(descriptor, bytes, &arena, &message, err);
    if (status == STATUS_OK) {
        size_t size_before = out->size;
        struct json_writer w;
        json_write_begin(&w, out);
        text_message(&w, NULL, message);
        status = json_write_end(&w);
        if (status != STATUS_OK) {
            out->size = size_before;
            (void)error_set(err, status, "record of topic '%s' as JSON", topic_role); /* = status */
        }
    }
    arena_free(&arena);
    return status;
}
