/* SPDX-License-Identifier: Apache-2.0
 *
 * inbound_decode.h - what the decoders of inbound.c share: the decoder's memory and one verdict.
 *
 * A decoder fills struct event with what the record says, unchecked; inbound.c then checks lengths,
 * characters and what each kind must hold, once for all formats.
 */
#ifndef PROTO_INBOUND_DECODE_H
#define PROTO_INBOUND_DECODE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/json.h"
#include "proto/inbound.h"

#define ALIAS_SLOTS    128u /* a power of two, at least twice the names of inbound_json.c */
#define NUMBER_BYTES   24u  /* "-9223372036854775808" and its NUL */
#define NUMBER_IDS_MAX 8    /* ids and texts of one record that may be JSON numbers */

/* One name of a field in JSON. Several names of one field: the lowest rank wins. */
struct alias {
    const char *name; /* NULL: a free slot */
    uint8_t size;     /* bytes of name */
    uint8_t field;    /* enum json_field */
    uint8_t rank;
};

struct inbound {
    struct inbound_settings settings;
    struct arena message;              /* protobuf messages; reset per record */
    struct json_value *tree;           /* owns: JSON of the record decoded last; NULL = none */
    struct alias aliases[ALIAS_SLOTS]; /* open addressing, by inbound_json.c */
    char numbers[NUMBER_IDS_MAX][NUMBER_BYTES]; /* numbers of JSON as text */
    int number_count;
};

/* Refuses a record: sets *ret_reason to the word and the error to words, returns the code. */
#define REFUSE(reason, code, ...) (*ret_reason = (reason), error_set(err, (code), __VA_ARGS__))

/* Absent time is this; inbound.c puts the record's own timestamp in. */
#define TIME_ABSENT INT64_MIN

/* Puts every name of a field into inbound->aliases; once, at init. */
void inbound_json_prepare(struct inbound *inbound);

/* topic decides the kind of a record without one. event->time_ms is TIME_ABSENT when the record
 * names none. */
MUST_CHECK enum status inbound_json_decode(struct inbound *inbound, struct span bytes,
                                           enum stream_topic topic, struct event *event,
                                           const char **ret_reason, struct error *err);
MUST_CHECK enum status inbound_protobuf_decode(struct inbound *inbound, struct span bytes,
                                               enum stream_topic topic, struct event *event,
                                               const char **ret_reason, struct error *err);
/* Cuts the Confluent frame off: BAD frame = MALFORMED "bad-frame". */
MUST_CHECK enum status inbound_unframe(struct span bytes, struct span *ret_payload,
                                       const char **ret_reason, struct error *err);

/* "forget_user" and so on; CONTROL_NONE when unknown. */
enum control_command inbound_command(struct span name);
/* The kind of a record without one. */
enum event_kind inbound_topic_kind(enum stream_topic topic);

/* ---- inbound_time.c ---- */

#define TIME_MS_MAX INT64_C(7258118400000) /* 2200-01-01: later is absurd */

/* A number of seconds, milliseconds or microseconds to milliseconds; false: absurd. */
bool inbound_time_number(double number, enum timestamp_unit unit, int64_t *ret_ms);
bool inbound_time_integer(int64_t number, enum timestamp_unit unit, int64_t *ret_ms);
/* The same from text: a number, or ISO-8601 ("2024-02-29T12:30:00.5+01:00", "2024-02-29"). */
bool inbound_time_text(struct span text, enum timestamp_unit unit, int64_t *ret_ms);

/* A plain decimal number ("-12.5e3") that fills the whole span; false otherwise. */
bool inbound_number_text(struct span text, double *ret_number);

#endif
