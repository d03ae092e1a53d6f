/* SPDX-License-Identifier: Apache-2.0
 *
 * unpack.h - protobuf-c's decoder on an arena: nothing to free, a bound on what a record may take.
 *
 * protobuf-c answers NULL both to bad bytes and to a refused allocation; here they differ.
 */
#ifndef PROTO_UNPACK_H
#define PROTO_UNPACK_H

#include <protobuf-c/protobuf-c.h>

#include "base/arena.h"
#include "base/bytes.h"
#include "base/status.h"

/* Unpacks bytes as the described message; everything it holds lives in arena until its reset.
 * MALFORMED: not that message, or a string with a NUL byte inside (protobuf-c would cut it there).
 * Whether text is UTF-8 is the caller's to check. NO_MEMORY: the arena refused. */
MUST_CHECK enum status unpack_message(const ProtobufCMessageDescriptor *descriptor,
                                      struct span bytes, struct arena *arena,
                                      ProtobufCMessage **ret_message, struct error *err);

#endif
