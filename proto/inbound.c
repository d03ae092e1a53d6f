/* SPDX-License-Identifier: Apache-2.0
 *
 * inbound.c - which format a record has, and what every event must hold whatever its format.
 *
 *   record ─▸ null value? ─▸ format by first byte ─▸ decoder ─▸ checks ─▸ event
 *
 * Only here do lengths, characters and the needs of each kind meet the world: the decoders hand
 * over what the record says. Events of the kinds that are ignored are not checked further.
 */
#include "proto/inbound.h"

#include <assert.h>
#include <math.h>

#include "base/memory.h"
#include "proto/inbound_decode.h"

#define MESSAGE_ARENA_BYTES (64u * 1024u) /* first block; a record of 64 KiB may need some more */

enum status inbound_init(const struct inbound_settings *settings, struct inbound **ret_inbound,
                         struct error *err) {
    assert(settings != NULL);
    assert(ret_inbound != NULL);

    struct inbound *inbound = MEMORY_TAKE_ARRAY(struct inbound, 1);
    if (inbound == NULL) { return error_set(err, STATUS_NO_MEMORY, "decoder of events"); }

    inbound->settings = *settings;
    enum status status = arena_init_chained(&inbound->message, MESSAGE_ARENA_BYTES, err);
    if (status != STATUS_OK) {
        inbound_free(inbound);
        return error_wrap(err, "decoder of events");
    }
    inbound_json_prepare(inbound);
    *ret_inbound = inbound;
    return STATUS_OK;
}

void inbound_free(struct inbound *inbound) {
    if (inbound == NULL) { return; }
    json_free(inbound->tree);
    arena_free(&inbound->message);
    memory_free(inbound);
}

enum event_kind inbound_topic_kind(enum stream_topic topic) {
    if (topic == STREAM_ITEMS) { return EVENT_ITEM; }
    return topic == STREAM_CONTROL ? EVENT_CONTROL : EVENT_INTERACTION;
}

enum control_command inbound_command(struct span name) {
    static const struct {
        const char *name;
        enum control_command command;
    } commands[] = {
        {"forget_user", CONTROL_FORGET_USER},
        {"hide_item", CONTROL_HIDE_ITEM},
        {"publish_now", CONTROL_PUBLISH_NOW},
        {"rollback", CONTROL_ROLLBACK},
        {"set", CONTROL_SET},
    };
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
        if (span_equal(name, span_of(commands[i].name))) { return commands[i].command; }
    }
    return CONTROL_NONE;
}

/* ---- format ---- */

static bool is_space(uint8_t c) {
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/* White space begins no Event: as tags those bytes are fields 1 and 4 with wrong wire types. */
static enum inbound_format format_of(struct span bytes) {
    size_t at = 0;
    while (at < bytes.size && is_space(bytes.data[at])) {
        at++;
    }
    if (at < bytes.size && (bytes.data[at] == '{' || bytes.data[at] == '[')) {
        return INBOUND_JSON;
    }
    if (bytes.size > 0 && bytes.data[0] == 0) { return INBOUND_FRAMED; }
    return INBOUND_PROTOBUF;
}

static enum status decode_any(struct inbound *inbound, struct span bytes, enum stream_topic topic,
                              struct event *event, const char **ret_reason, struct error *err) {
    enum inbound_format format = inbound->settings.format;
    if (format == INBOUND_AUTO) { format = format_of(bytes); }
    if (format == INBOUND_JSON) {
        return inbound_json_decode(inbound, bytes, topic, event, ret_reason, err);
    }
    if (format == INBOUND_FRAMED) {
        enum status status = inbound_unframe(bytes, &bytes, ret_reason, err);
        if (status != STATUS_OK) { return status; }
    }
    return inbound_protobuf_decode(inbound, bytes, topic, event, ret_reason, err);
}

/* ---- checks ---- */

/* Any id: at most ID_BYTES_MAX bytes of UTF-8 without NUL. Absent passes. */
static enum status check_id(const char *name, struct span id, const char **ret_reason,
                            struct error *err) {
    if (id.size > ID_BYTES_MAX) {
        return REFUSE("id-too-long", STATUS_LIMIT, "%s has %zu bytes, %u are allowed", name,
                      id.size, ID_BYTES_MAX);
    }
    if (!span_is_utf8(id)) { return REFUSE("not-utf8", STATUS_MALFORMED, "%s is not UTF-8", name); }
    if (id.size > 0 && memchr(id.data, 0, id.size) != NULL) {
        return REFUSE("bad-field", STATUS_MALFORMED, "%s holds a NUL byte", name);
    }
    return STATUS_OK;
}

static enum status check_title(struct span title, const char **ret_reason, struct error *err) {
    if (title.size > TITLE_BYTES_MAX) {
        return REFUSE("title-too-long", STATUS_LIMIT, "title has %zu bytes, %u are allowed",
                      title.size, TITLE_BYTES_MAX);
    }
    if (!span_is_utf8(title)) { return REFUSE("not-utf8", STATUS_MALFORMED, "title is not UTF-8"); }
    if (title.size > 0 && memchr(title.data, 0, title.size) != NULL) {
        return REFUSE("bad-field", STATUS_MALFORMED, "title holds a NUL byte");
    }
    return STATUS_OK;
}

static enum status check_texts(const struct event *event, const char **ret_reason,
                               struct error *err) {
    enum status status = check_id("user", event->user, ret_reason, err);
    if (status == STATUS_OK) { status = check_id("item", event->item, ret_reason, err); }
    if (status == STATUS_OK) { status = check_id("id", event->id, ret_reason, err); }
    if (status == STATUS_OK) { status = check_id("type", event->type, ret_reason, err); }
    if (status == STATUS_OK) { status = check_id("key", event->key, ret_reason, err); }
    if (status == STATUS_OK) { status = check_id("value", event->value, ret_reason, err); }
    if (status == STATUS_OK) { status = check_title(event->title, ret_reason, err); }
    return status;
}

static enum status check_control(const struct event *event, const char **ret_reason,
                                 struct error *err) {
    switch (event->command) {
    case CONTROL_FORGET_USER:
        if (event->user.size > 0) { return STATUS_OK; }
        break;
    case CONTROL_HIDE_ITEM:
        if (event->item.size > 0) { return STATUS_OK; }
        break;
    case CONTROL_SET:
        if (event->key.size > 0) { return STATUS_OK; }
        break;
    case CONTROL_PUBLISH_NOW:
    case CONTROL_ROLLBACK: return STATUS_OK;
    case CONTROL_NONE: break;
    }
    return REFUSE("bad-control", STATUS_MALFORMED,
                  "control record without a known command and what it needs");
}

static enum status check_event(struct event *event, int64_t record_ms, const char **ret_reason,
                               struct error *err) {
    enum status status = check_texts(event, ret_reason, err);
    if (status != STATUS_OK) { return status; }

    if (event->time_ms == TIME_ABSENT) {
        bool sane = record_ms >= 0 && record_ms < TIME_MS_MAX;
        if (!sane && event->kind == EVENT_INTERACTION) {
            return REFUSE("bad-time", STATUS_MALFORMED, "neither event nor record has a time");
        }
        event->time_ms = sane ? record_ms : 0;
    }
    if (event->has_strength && !isfinite(event->strength)) {
        return REFUSE("bad-strength", STATUS_MALFORMED, "strength is not finite");
    }
    if (event->kind == EVENT_CONTROL) { return check_control(event, ret_reason, err); }
    if (event->kind == EVENT_INTERACTION && event->user.size == 0) {
        return REFUSE("no-user", STATUS_MALFORMED, "interaction without a user");
    }
    if (event->item.size == 0) {
        return REFUSE("no-item", STATUS_MALFORMED, "%s without an item",
                      event->kind == EVENT_ITEM ? "item record" : "interaction");
    }
    return STATUS_OK;
}

/* A null value: on the items topic the key's item is hidden; anywhere else it says nothing. */
static enum status decode_null(const struct stream_record *record, struct event *event,
                               const char **ret_reason, struct error *err) {
    if (record->topic == STREAM_ITEMS) {
        event->kind = EVENT_ITEM;
        event->item = record->key;
        event->hidden = true;
        event->time_ms = TIME_ABSENT;
        return STATUS_OK;
    }
    if (record->topic == STREAM_CONTROL) {
        return REFUSE("bad-control", STATUS_MALFORMED, "control record with a null value");
    }
    return REFUSE("no-user", STATUS_MALFORMED, "event with a null value");
}

enum status inbound_decode(struct inbound *inbound, const struct stream_record *record,
                           struct event *ret_event, const char **ret_reason, struct error *err) {
    assert(inbound != NULL && record != NULL);
    assert((int)record->topic < STREAM_INPUT_COUNT);

    json_free(inbound->tree);
    inbound->tree = NULL;
    inbound->number_count = 0;
    arena_reset(&inbound->message);

    struct event event = {.kind = EVENT_INTERACTION};
    enum status status = STATUS_OK;
    if (record->value.size > EVENT_BYTES_MAX) {
        return REFUSE("too-large", STATUS_LIMIT, "record has %zu bytes, %u are allowed",
                      record->value.size, EVENT_BYTES_MAX);
    }
    if (record->value.data == NULL) {
        status = decode_null(record, &event, ret_reason, err);
    } else {
        status = decode_any(inbound, record->value, record->topic, &event, ret_reason, err);
    }
    if (status != STATUS_OK) { return status; }
    if (event.kind != EVENT_IGNORED) {
        status = check_event(&event, record->timestamp_ms, ret_reason, err);
        if (status != STATUS_OK) { return status; }
    }
    *ret_event = event;
    return STATUS_OK;
}
