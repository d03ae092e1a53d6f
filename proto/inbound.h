/* SPDX-License-Identifier: Apache-2.0
 *
 * inbound.h - bytes of a record -> one event, whatever the format.
 *
 * First byte decides (a setting may pin it): '{' or '[' JSON with many accepted names; 0x00
 * Confluent's frame (magic 0, 4-byte schema id, message indexes zig-zag or plain) around protobuf;
 * anything else protobuf ilora.v1.Event. Nothing here keeps state: an event borrows from the record
 * or from the decoder's arena and lives until the next decode.
 *
 * A refusal is STATUS_MALFORMED or STATUS_LIMIT and carries one short reason word for the
 * dead-letter header ilora.error.reason.
 */
#ifndef PROTO_INBOUND_H
#define PROTO_INBOUND_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/status.h"
#include "base/stream.h"

#define EVENT_BYTES_MAX (64u * 1024u)
#define ID_BYTES_MAX    256u
#define TITLE_BYTES_MAX 512u
#define EVENT_DEPTH_MAX 16

enum event_kind { EVENT_INTERACTION, EVENT_ITEM, EVENT_CONTROL, EVENT_IGNORED };

enum control_command {
    CONTROL_NONE,
    CONTROL_FORGET_USER,
    CONTROL_HIDE_ITEM,
    CONTROL_PUBLISH_NOW,
    CONTROL_ROLLBACK,
    CONTROL_SET,
};

struct event {
    enum event_kind kind;
    struct span id;   /* empty: none */
    struct span user; /* 1..ID_BYTES_MAX bytes of UTF-8 for interactions */
    struct span item;
    int64_t time_ms;  /* event time, epoch milliseconds */
    struct span type; /* empty: none */
    float strength;   /* valid when has_strength */
    bool has_strength;
    bool has_title;
    bool hidden; /* item records: hide (a null value hides too) */
    struct span title;
    enum control_command command;
    uint64_t version;       /* CONTROL_ROLLBACK */
    struct span key, value; /* CONTROL_SET */
};

enum inbound_format { INBOUND_AUTO, INBOUND_JSON, INBOUND_PROTOBUF, INBOUND_FRAMED };
enum timestamp_unit { TIMESTAMP_AUTO, TIMESTAMP_S, TIMESTAMP_MS, TIMESTAMP_US };

struct inbound_settings {
    enum inbound_format format;
    enum timestamp_unit timestamp_unit;
    char title_field[64]; /* [events] field.title; "" = title */
    char user_field[64];  /* further names, "" = none */
    char item_field[64];
    char time_field[64];
};

struct inbound; /* decoder with its arena; one thread */

MUST_CHECK enum status inbound_init(const struct inbound_settings *settings,
                                    struct inbound **ret_inbound, struct error *err);
void inbound_free(struct inbound *inbound);

/* Decodes one record. On the items topic a record without kind is an item record and a null value
 * hides the item named by the key; on the control topic it is a control record. Ids may be numbers
 * in JSON (written in decimal). MALFORMED/LIMIT set *ret_reason to a static word: "not-utf8",
 * "not-json", "not-protobuf", "bad-frame", "no-user", "no-item", "bad-time", "too-large",
 * "too-deep", "bad-control", "bad-kind", "bad-field", "id-too-long", "title-too-long",
 * "bad-strength"; *ret_reason is NULL for NO_MEMORY, which is not the record's fault.
 * Times outside 1970..2199 are absurd. Text never holds a NUL byte. */
MUST_CHECK enum status inbound_decode(struct inbound *inbound, const struct stream_record *record,
                                      struct event *ret_event, const char **ret_reason,
                                      struct error *err);

#endif
