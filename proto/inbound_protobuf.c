/* SPDX-License-Identifier: Apache-2.0
 *
 * inbound_protobuf.c - ilora.v1.Event, bare or in Confluent's frame.
 *
 *   frame: [0x00][schema id, 4 bytes][message indexes][Event]
 *   message indexes: [0x00], short for "the first message", or [count][index]...
 *
 * Count and indexes are zig-zag varints; older clients wrote them plain. An odd first byte can only
 * be a plain count, as zig-zag makes every positive count even.
 */
#include "proto/inbound_decode.h"

#include <assert.h>

#include "proto/ilora.pb-c.h"

#include "proto/unpack.h"

#define FRAME_SCHEMA_BYTES 5u /* magic and schema id */
#define FRAME_INDEXES_MAX  8u /* messages nested in messages of a schema */

enum status inbound_unframe(struct span bytes, struct span *ret_payload, const char **ret_reason,
                            struct error *err) {
    if (bytes.size <= FRAME_SCHEMA_BYTES || bytes.data[0] != 0) {
        return REFUSE("bad-frame", STATUS_MALFORMED,
                      "no frame of 0x00, schema id and message indexes in %zu bytes", bytes.size);
    }
    struct span rest = span_make(bytes.data + FRAME_SCHEMA_BYTES, bytes.size - FRAME_SCHEMA_BYTES);
    uint64_t count = 0;
    size_t size = get_varint(rest, &count);
    bool zig_zag = (count & 1) == 0;
    uint64_t indexes = zig_zag ? count / 2 : count;
    if (size == 0 || indexes > FRAME_INDEXES_MAX) {
        return REFUSE("bad-frame", STATUS_MALFORMED, "frame with bad message indexes");
    }
    for (uint64_t i = 0; size > 0 && i <= indexes; i++) {
        rest = span_make(rest.data + size, rest.size - size);
        if (i == indexes) { break; }
        uint64_t index = 0;
        size = get_varint(rest, &index);
    }
    if (size == 0) {
        return REFUSE("bad-frame", STATUS_MALFORMED, "frame cut in its message indexes");
    }
    *ret_payload = rest;
    return STATUS_OK;
}

/* protobuf-c leaves an absent text as its shared empty string. */
static struct span text_of(const char *text) {
    return span_of(text);
}

static enum status kind_of(const Ilora__V1__Event *message, enum stream_topic topic,
                           enum event_kind *ret_kind, const char **ret_reason, struct error *err) {
    switch (message->kind) {
    case ILORA__V1__EVENT_KIND__INTERACTION:
        *ret_kind = inbound_topic_kind(topic); /* proto3: absent looks the same */
        return STATUS_OK;
    case ILORA__V1__EVENT_KIND__ITEM: *ret_kind = EVENT_ITEM; return STATUS_OK;
    case ILORA__V1__EVENT_KIND__CONTROL: *ret_kind = EVENT_CONTROL; return STATUS_OK;
    case _ILORA__V1__EVENT_KIND_IS_INT_SIZE: break;
    }
    return REFUSE("bad-kind", STATUS_MALFORMED, "event of unknown kind %d", (int)message->kind);
}

static void control_of(const Ilora__V1__Control *message, struct event *event) {
    if (message == NULL) { return; }
    event->command = inbound_command(text_of(message->command));
    event->user = text_of(message->user);
    event->item = text_of(message->item);
    event->version = message->version;
    event->key = text_of(message->key);
    event->value = text_of(message->value);
}

enum status inbound_protobuf_decode(struct inbound *inbound, struct span bytes,
                                    enum stream_topic topic, struct event *event,
                                    const char **ret_reason, struct error *err) {
    assert(event != NULL);

    ProtobufCMessage *unpacked = NULL;
    enum status status =
        unpack_message(&ilora__v1__event__descriptor, bytes, &inbound->message, &unpacked, err);
    if (status != STATUS_OK) {
        *ret_reason = status == STATUS_MALFORMED ? "not-protobuf" : NULL;
        return status;
    }
    const Ilora__V1__Event *message = (const Ilora__V1__Event *)(const void *)unpacked;

    status = kind_of(message, topic, &event->kind, ret_reason, err);
    if (status != STATUS_OK) { return status; }
    event->id = text_of(message->id);
    event->user = text_of(message->user);
    event->item = text_of(message->item);
    event->type = text_of(message->type);
    event->has_strength = message->has_strength != 0;
    event->strength = message->strength;
    event->title = text_of(message->title);
    event->has_title = event->title.size > 0;
    event->hidden = message->hidden != 0;
    if (event->kind == EVENT_CONTROL) { control_of(message->control, event); }

    event->time_ms = TIME_ABSENT;
    if (message->timestamp_ms != 0 &&
        !inbound_time_integer(message->timestamp_ms, TIMESTAMP_MS, &event->time_ms)) {
        return REFUSE("bad-time", STATUS_MALFORMED, "time %lld ms lies outside 1970..2199",
                      (long long)message->timestamp_ms);
    }
    return STATUS_OK;
}
