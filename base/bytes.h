/* SPDX-License-Identifier: Apache-2.0
 *
 * bytes.h - (pointer, length) spans, a bounded growing buffer, and fixed-width integers in bytes.
 *
 * Strings are spans; a terminating NUL exists only at the border of C libraries. Integers in files
 * and tables are little-endian, except in LMDB keys, which are big-endian so that they sort.
 */
#ifndef BASE_BYTES_H
#define BASE_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/status.h"

struct span {
    const uint8_t *data; /* borrows; may be NULL when size is 0 */
    size_t size;         /* bytes */
};

/* A span over a NUL-terminated string (the NUL is not part of it). */
static inline struct span span_of(const char *text) {
    return (struct span){(const uint8_t *)text, strlen(text)};
}

static inline struct span span_make(const void *data, size_t size) {
    return (struct span){(const uint8_t *)data, size};
}

static inline bool span_equal(struct span a, struct span b) {
    return a.size == b.size && (a.size == 0 || memcmp(a.data, b.data, a.size) == 0);
}

/* True when the text ends with these letters (a file's kind, a tensor's role). */
static inline bool text_ends_with(const char *text, const char *end) {
    size_t size = strlen(text), wanted = strlen(end);
    return size >= wanted && memcmp(text + size - wanted, end, wanted) == 0;
}

/* Bytewise order, shorter first on a common prefix: <0, 0, >0. The order of LMDB keys. */
int span_compare(struct span a, struct span b);

/* True when the span is well-formed UTF-8 (RFC 3629: no surrogates, no overlong forms). */
bool span_is_utf8(struct span text);

/* Bytes (1..4) of the well-formed UTF-8 sequence that text begins with; 0 when there is none. */
size_t span_utf8_sequence(struct span text);

/* The whole span as a decimal integer with an optional sign. False for anything else, blanks and
 * numbers beyond 64 bits included. */
bool span_integer(struct span text, int64_t *ret_integer);
/* The whole span as a finite decimal number, "2", "-.5", "1e-3". No blanks, hexadecimal, inf,
 * nan. */
bool span_real(struct span text, double *ret_real);

/* Use as printf("%.*s", SPAN_ARG(s)). */
#define SPAN_ARG(span) ((int)(span).size), ((const char *)(span).data)

/* A growing byte array with a hard limit. Zero-initialised is valid and empty, limit 0 = no
 * limit. */
struct buffer {
    uint8_t *data;   /* owns */
    size_t size;     /* bytes in use */
    size_t capacity; /* bytes */
    size_t limit;    /* bytes; growing beyond is STATUS_LIMIT; 0 = SIZE_MAX */
};

void buffer_free(struct buffer *buffer);
static inline void buffer_reset(struct buffer *buffer) {
    buffer->size = 0;
}
static inline struct span buffer_span(const struct buffer *buffer) {
    return (struct span){buffer->data, buffer->size};
}

/* Makes room for `size` more bytes. On failure (LIMIT, NO_MEMORY) nothing changed. */
MUST_CHECK enum status buffer_reserve(struct buffer *buffer, size_t size);
MUST_CHECK enum status buffer_append(struct buffer *buffer, const void *data, size_t size);
MUST_CHECK enum status buffer_append_format(struct buffer *buffer, const char *format, ...)
    PRINTF_LIKE(2, 3);

/* Little-endian fixed width. */
static inline void put_u16le(uint8_t *p, uint16_t v) {
    p[0] = (uint8_t)v;
    p[1] = (uint8_t)(v >> 8);
}
static inline void put_u32le(uint8_t *p, uint32_t v) {
    for (int i = 0; i < 4; i++) {
        p[i] = (uint8_t)(v >> (8 * i));
    }
}
static inline void put_u64le(uint8_t *p, uint64_t v) {
    for (int i = 0; i < 8; i++) {
        p[i] = (uint8_t)(v >> (8 * i));
    }
}
static inline uint16_t get_u16le(const uint8_t *p) {
    return (uint16_t)(p[0] | (p[1] << 8));
}
static inline uint32_t get_u32le(const uint8_t *p) {
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}
static inline uint64_t get_u64le(const uint8_t *p) {
    return (uint64_t)get_u32le(p) | (uint64_t)get_u32le(p + 4) << 32;
}

/* Big-endian, for keys. */
static inline void put_u32be(uint8_t *p, uint32_t v) {
    for (int i = 0; i < 4; i++) {
        p[i] = (uint8_t)(v >> (24 - 8 * i));
    }
}
static inline void put_u64be(uint8_t *p, uint64_t v) {
    for (int i = 0; i < 8; i++) {
        p[i] = (uint8_t)(v >> (56 - 8 * i));
    }
}
static inline uint32_t get_u32be(const uint8_t *p) {
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | (uint32_t)p[3];
}
static inline uint64_t get_u64be(const uint8_t *p) {
    return (uint64_t)get_u32be(p) << 32 | (uint64_t)get_u32be(p + 4);
}

/* LEB128. put writes at most 10 bytes and returns how many; get returns bytes read, 0 when cut or
 * longer than 64 bits. */
size_t put_varint(uint8_t *p, uint64_t v);
size_t get_varint(struct span bytes, uint64_t *ret_v);

/* "00ff.." of `size` bytes into text (2*size+1 bytes). */
void hex_encode(const uint8_t *data, size_t size, char *text);
/* Exactly 2*size lower- or upper-case digits; false otherwise. */
bool hex_decode(const char *text, uint8_t *data, size_t size);

#endif
