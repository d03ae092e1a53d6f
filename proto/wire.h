/* SPDX-License-Identifier: Apache-2.0
 *
 * wire.h - writes protobuf's wire format straight into a buffer.
 *
 * Why not the generated packer: it wants NUL-terminated copies of every string and an array of
 * pointers for every list, so each record would allocate. These functions take our spans as they
 * are. The form is the canonical one of ilora.proto: callers write fields in the order of their
 * numbers, a field that holds its default is left out, so the bytes are a function of the content.
 * tests/proto/test_outbound.c holds every record against the generated code and Python's protobuf.
 *
 * Source: "Encoding", protobuf's language-independent guide.
 */
#ifndef PROTO_WIRE_H
#define PROTO_WIRE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/status.h"

/* The first failure (LIMIT, NO_MEMORY) sticks; wire_finish then takes back what was written. */
struct wire {
    struct buffer *out;
    size_t begin; /* bytes that out held before */
    enum status status;
};

void wire_start(struct wire *wire, struct buffer *out);
/* On failure out holds what it held at wire_start. */
MUST_CHECK enum status wire_finish(struct wire *wire);

void wire_uint(struct wire *wire, uint32_t field, uint64_t value); /* uint32, uint64, enum */
void wire_int(struct wire *wire, uint32_t field,
              int64_t value); /* int32, int64: 10 bytes below 0 */
void wire_bool(struct wire *wire, uint32_t field, bool value);
void wire_float(struct wire *wire, uint32_t field, float value);
void wire_double(struct wire *wire, uint32_t field, double value);
void wire_bytes(struct wire *wire, uint32_t field, struct span value);
void wire_text(struct wire *wire, uint32_t field, const char *text); /* NULL = "" */
/* An element of a repeated bytes or string field: written when empty, too. */
void wire_element(struct wire *wire, uint32_t field, struct span value);

/* A message inside a message: begin, its fields, end. Written when empty, too. */
size_t wire_begin(struct wire *wire, uint32_t field);
void wire_end(struct wire *wire, size_t mark);
/* A packed list of varints: begin, items, end. */
void wire_packed(struct wire *wire, uint64_t value);

#endif
