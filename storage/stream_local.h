/* SPDX-License-Identifier: Apache-2.0
 *
 * stream_local.h - the embedded stream: topics as append-only tables in an LMDB environment.
 *
 * Several processes may produce and consume at the same time (LMDB's writer lock orders them). One
 * LMDB transaction with full sync is the commit: outputs, positions and token together. Producers of
 * input (iloractl) append in transactions of their own. Offsets of a partition are dense.
 *
 * Tables: records (topic u8, partition u32be, offset u64be) -> u32 crc, i64 timestamp, key, value,
 * headers; ends (topic, partition) -> next offset, first held; commits (identity) -> owner token,
 * positions, token; topics (topic) -> partitions. Values larger than 2,000 bytes use LMDB's overflow
 * pages (snapshot chunks only).
 *
 * Bounded by retention_bytes: when the environment is larger, input below the committed position and
 * output rows are trimmed, oldest first, never the ledger; if that does not help producers get AGAIN.
 *
 * Fencing: fence() writes a fresh random owner for the identity; a commit by an older owner is
 * FENCED. Idle pollers wait on a file in the folder (futex-free: short sleeps, 5 ms growing to 50 ms).
 */
#ifndef STORAGE_STREAM_LOCAL_H
#define STORAGE_STREAM_LOCAL_H

#include "base/status.h"
#include "base/stream.h"

struct stream_local_settings {
    const char *path;       /* folder; made when absent */
    const char *identity;   /* ilora.<deployment>.<shard>; NULL: read and produce only */
    int32_t partitions;     /* of input topics when the folder is made; others have 1 */
    uint64_t map_bytes_max; /* LMDB map; address space only */
    uint64_t retention_bytes;
};

MUST_CHECK enum status stream_local_open(const struct stream_local_settings *settings,
                                         struct stream **ret_stream, struct error *err);
/* Appends records to topics in one transaction of their own (iloractl produce, import; tests).
 * AGAIN: the stream is full, wait for the daemon. */
MUST_CHECK enum status stream_local_produce(struct stream *stream,
                                            const struct stream_output *outputs, int count,
                                            struct error *err);

#endif
