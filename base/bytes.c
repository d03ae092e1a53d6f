/* SPDX-License-Identifier: Apache-2.0
 *
 * bytes.c - spans, the growing buffer, varints and hexadecimal.
 */
#include "base/bytes.h"

#include <assert.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/memory.h"

#define BUFFER_BYTES_MIN 256u /* first allocation; most records and error lines fit */
#define VARINT_BYTES_MAX 10u  /* 64 bits, 7 a byte */
#define REAL_TEXT_BYTES  64u  /* of a decimal number with its NUL; "%.17g" needs 25 */

int span_compare(struct span a, struct span b) {
    size_t shorter = a.size < b.size ? a.size : b.size;
    int order = shorter > 0 ? memcmp(a.data, b.data, shorter) : 0;
    if (order != 0) { return order; }
    return a.size < b.size ? -1 : a.size > b.size;
}

size_t span_utf8_sequence(struct span text) {
    if (text.size == 0) { return 0; }
    const uint8_t *p = text.data;
    uint8_t lead = p[0];
    if (lead < 0x80) { return 1; }
    if (lead < 0xC2 || lead > 0xF4) { return 0; }

    size_t length = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
    if (text.size < length) { return 0; }

    /* RFC 3629, section 4: the second byte decides what is overlong, a surrogate or too large. */
    uint8_t low = 0x80;
    uint8_t high = 0xBF;
    if (lead == 0xE0) { low = 0xA0; }  /* overlong */
    if (lead == 0xED) { high = 0x9F; } /* surrogates */
    if (lead == 0xF0) { low = 0x90; }  /* overlong */
    if (lead == 0xF4) { high = 0x8F; } /* beyond U+10FFFF */
    if (p[1] < low || p[1] > high) { return 0; }
    for (size_t i = 2; i < length; i++) {
        if ((p[i] & 0xC0) != 0x80) { return 0; }
    }
    return length;
}

bool span_is_utf8(struct span text) {
    size_t at = 0;
    while (at < text.size) {
        /* Eight ASCII bytes at once: nearly all input is ASCII. */
        if (text.size - at >= 8) {
            uint64_t word;
            memcpy(&word, text.data + at, sizeof word);
            if ((word & UINT64_C(0x8080808080808080)) == 0) {
                at += 8;
                continue;
            }
        }

        size_t length = span_utf8_sequence(span_make(text.data + at, text.size - at));
        if (length == 0) { return false; }
        at += length;
    }
    return true;
}

bool span_integer(struct span text, int64_t *ret_integer) {
    bool negative = text.size > 0 && text.data[0] == '-';
    size_t at = negative || (text.size > 0 && text.data[0] == '+') ? 1 : 0;
    if (at == text.size) { return false; }

    uint64_t limit = negative ? UINT64_C(1) << 63 : INT64_MAX;
    uint64_t magnitude = 0;
    for (; at < text.size; at++) {
        uint8_t digit = (uint8_t)(text.data[at] - '0');
        if (digit > 9 || magnitude > (limit - digit) / 10) { return false; }
        magnitude = magnitude * 10 + digit;
    }
    *ret_integer = negative ? (int64_t)(0 - magnitude) : (int64_t)magnitude;
    return true;
}

bool span_real(struct span text, double *ret_real) {
    /* strtod also takes blanks, "inf", "nan" and hexadecimal: let only decimal characters in. */
    char digits[REAL_TEXT_BYTES];
    if (text.size == 0 || text.size >= sizeof digits) { return false; }
    memcpy(digits, text.data, text.size);
    digits[text.size] = '\0';
    if (strspn(digits, "+-.0123456789eE") != text.size) { return false; }

    char *end = NULL;
    double real = strtod(digits, &end);
    if (end != digits + text.size || !isfinite(real)) { return false; }
    *ret_real = real;
    return true;
}

void buffer_free(struct buffer *buffer) {
    memory_free(buffer->data);
    buffer->data = NULL;
    buffer->size = 0;
    buffer->capacity = 0;
}

enum status buffer_reserve(struct buffer *buffer, size_t size) {
    assert(buffer->size <= buffer->capacity);

    size_t limit = buffer->limit > 0 ? buffer->limit : SIZE_MAX;
    if (buffer->size > limit || size > limit - buffer->size) { return STATUS_LIMIT; }
    size_t wanted = buffer->size + size;
    if (wanted <= buffer->capacity) { return STATUS_OK; }

    size_t capacity = buffer->capacity < BUFFER_BYTES_MIN ? BUFFER_BYTES_MIN : buffer->capacity;
    while (capacity < wanted) {
        capacity = capacity > SIZE_MAX / 2 ? wanted : capacity * 2;
    }
    if (capacity > limit) { capacity = limit; }

    uint8_t *data = memory_resize(buffer->data, capacity);
    if (data == NULL) { return STATUS_NO_MEMORY; }
    buffer->data = data;
    buffer->capacity = capacity;
    return STATUS_OK;
}

enum status buffer_append(struct buffer *buffer, const void *data, size_t size) {
    enum status status = buffer_reserve(buffer, size);
    if (status != STATUS_OK) { return status; }

    if (size > 0) { memcpy(buffer->data + buffer->size, data, size); }
    buffer->size += size;
    return STATUS_OK;
}

enum status buffer_append_format(struct buffer *buffer, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    if (length < 0) { return STATUS_MALFORMED; }

    /* vsnprintf wants room for its NUL; a limit counts bytes in use, so format beside the buffer
     * when exactly the NUL does not fit. */
    size_t size = (size_t)length;
    enum status status = buffer_reserve(buffer, size);
    if (status != STATUS_OK) { return status; }
    if (buffer_reserve(buffer, size + 1) == STATUS_OK) {
        va_start(arguments, format);
        (void)vsnprintf((char *)buffer->data + buffer->size, size + 1, format, arguments);
        va_end(arguments);
        buffer->size += size;
        return STATUS_OK;
    }

    char *text = memory_take(size + 1);
    if (text == NULL) { return STATUS_NO_MEMORY; }
    va_start(arguments, format);
    (void)vsnprintf(text, size + 1, format, arguments); /* length known from the first pass */
    va_end(arguments);
    status = buffer_append(buffer, text, size);
    memory_free(text);
    return status;
}

size_t put_varint(uint8_t *p, uint64_t v) {
    size_t size = 0;
    while (v >= 0x80) {
        p[size++] = (uint8_t)(v | 0x80);
        v >>= 7;
    }
    p[size++] = (uint8_t)v;
    return size;
}

size_t get_varint(struct span bytes, uint64_t *ret_v) {
    uint64_t v = 0;
    for (size_t i = 0; i < bytes.size && i < VARINT_BYTES_MAX; i++) {
        uint8_t byte = bytes.data[i];
        if (i == VARINT_BYTES_MAX - 1 && byte > 1) { return 0; } /* a 65th bit */
        v |= (uint64_t)(byte & 0x7F) << (7 * i);
        if (byte < 0x80) {
            *ret_v = v;
            return i + 1;
        }
    }
    return 0;
}

void hex_encode(const uint8_t *data, size_t size, char *text) {
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < size; i++) {
        text[2 * i] = digits[data[i] >> 4];
        text[2 * i + 1] = digits[data[i] & 15];
    }
    text[2 * size] = '\0';
}

static int hex_digit(char c) {
    if (c >= '0' && c <= '9') { return c - '0'; }
    if (c >= 'a' && c <= 'f') { return c - 'a' + 10; }
    if (c >= 'A' && c <= 'F') { return c - 'A' + 10; }
    return -1;
}

bool hex_decode(const char *text, uint8_t *data, size_t size) {
    if (strnlen(text, 2 * size + 1) != 2 * size) { return false; }
    for (size_t i = 0; i < 2 * size; i++) {
        if (hex_digit(text[i]) < 0) { return false; }
    }
    for (size_t i = 0; i < size; i++) {
        data[i] = (uint8_t)(hex_digit(text[2 * i]) << 4 | hex_digit(text[2 * i + 1]));
    }
    return true;
}
