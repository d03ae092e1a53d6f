/* SPDX-License-Identifier: Apache-2.0
 *
 * json_write.c - appends JSON text to a buffer. Reading is in json.c; the door of both is json.h.
 *
 * Deterministic: the same calls give the same bytes. No white space. Text that is not UTF-8 is
 * written with U+FFFD for every bad byte, so that the output is always valid JSON. Needs libc
 * alone.
 */
#include "base/json.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define NUMBER_TEXT_BYTES 32u /* "-1.7976931348623157e+308" and its NUL */

static void json_write_bytes(struct json_writer *w, const void *data, size_t size) {
    if (w->status != STATUS_OK) { return; }
    w->status = buffer_append(w->out, data, size);
}

/* One character of a string, escaped; returns how many bytes of text it took. */
static size_t json_write_character(struct json_writer *w, struct span text) {
    uint8_t c = text.data[0];
    char escape[8];
    switch (c) {
    case '"': json_write_bytes(w, "\\\"", 2); return 1;
    case '\\': json_write_bytes(w, "\\\\", 2); return 1;
    case '\n': json_write_bytes(w, "\\n", 2); return 1;
    case '\r': json_write_bytes(w, "\\r", 2); return 1;
    case '\t': json_write_bytes(w, "\\t", 2); return 1;
    default: break;
    }
    if (c < 0x20) {
        (void)snprintf(escape, sizeof escape, "\\u%04x", c); /* 6 bytes */
        json_write_bytes(w, escape, 6);
        return 1;
    }

    size_t length = span_utf8_sequence(text);
    if (length == 0) {
        json_write_bytes(w, "\xEF\xBF\xBD", 3);
        return 1;
    }
    json_write_bytes(w, text.data, length);
    return length;
}

static void json_write_quoted(struct json_writer *w, struct span text) {
    json_write_bytes(w, "\"", 1);
    size_t plain = 0; /* first byte not written yet */
    size_t at = 0;
    while (at < text.size) {
        uint8_t c = text.data[at];
        if (c >= 0x20 && c < 0x80 && c != '"' && c != '\\') {
            at++;
            continue;
        }
        json_write_bytes(w, text.data + plain, at - plain);
        at += json_write_character(w, span_make(text.data + at, text.size - at));
        plain = at;
    }
    json_write_bytes(w, text.data + plain, at - plain);
    json_write_bytes(w, "\"", 1);
}

/* The comma that is due, and the name. */
static void json_write_lead(struct json_writer *w, const char *name) {
    uint64_t bit = UINT64_C(1) << w->depth;
    if (w->has_member & bit) { json_write_bytes(w, ",", 1); }
    w->has_member |= bit;
    if (name == NULL) { return; }
    json_write_quoted(w, span_of(name));
    json_write_bytes(w, ":", 1);
}

static void json_write_open(struct json_writer *w, const char *name, const char *bracket) {
    assert(w->depth + 1 < JSON_DEPTH_MAX);

    json_write_lead(w, name);
    json_write_bytes(w, bracket, 1);
    w->depth++;
    w->has_member &= ~(UINT64_C(1) << w->depth);
}

static void json_write_close(struct json_writer *w, const char *bracket) {
    assert(w->depth > 0);

    w->depth--;
    json_write_bytes(w, bracket, 1);
}

void json_write_begin(struct json_writer *w, struct buffer *out) {
    *w = (struct json_writer){.out = out, .status = STATUS_OK};
}

enum status json_write_end(struct json_writer *w) {
    assert(w->depth == 0);
    return w->status;
}

void json_write_object(struct json_writer *w, const char *name) {
    json_write_open(w, name, "{");
}

void json_write_object_end(struct json_writer *w) {
    json_write_close(w, "}");
}

void json_write_array(struct json_writer *w, const char *name) {
    json_write_open(w, name, "[");
}

void json_write_array_end(struct json_writer *w) {
    json_write_close(w, "]");
}

void json_write_string(struct json_writer *w, const char *name, struct span text) {
    json_write_lead(w, name);
    json_write_quoted(w, text);
}

void json_write_integer(struct json_writer *w, const char *name, int64_t integer) {
    char text[NUMBER_TEXT_BYTES];
    int length = snprintf(text, sizeof text, "%" PRId64, integer);
    json_write_lead(w, name);
    json_write_bytes(w, text, (size_t)length);
}

void json_write_real(struct json_writer *w, const char *name, double real) {
    json_write_lead(w, name);
    if (!isfinite(real)) {
        json_write_bytes(w, "null", 4);
        return;
    }

    /* Nine digits hold every float, seventeen every double; take the shorter when it comes back. */
    char text[NUMBER_TEXT_BYTES];
    int length = snprintf(text, sizeof text, "%.9g", real);
    if (strtod(text, NULL) != real) { length = snprintf(text, sizeof text, "%.17g", real); }
    json_write_bytes(w, text, (size_t)length);
}

void json_write_bool(struct json_writer *w, const char *name, bool value) {
    json_write_lead(w, name);
    json_write_bytes(w, value ? "true" : "false", value ? 4 : 5);
}
