/* SPDX-License-Identifier: Apache-2.0
 *
 * stream_local.h - the embedded stream: topics as append-only tables in an LMDB environment.
 *
 * Several processes may produce and consume at the same time (LMDB's writer lock orders them). One
 * LMDB transaction with full sync is the commit: outputs, positions and token together. Producers
 * of input (iloractl) append in transactions of their own. Offsets of a partition are dense.
 *
 * Tables: records (topic u8, partition u32be, offset u64be) -> record; ends (topic, partition) ->
 * next offset, first held, bytes; commits (identity) -> owner, token, positions; topics (topic) ->
 * partitions. Bytes in stream_local_parts.h. Values larger than 2,000 bytes use LMDB's overflow
 * pages (snapshot chunks only).
 *
 * Bounded by retention_bytes: when the records take more, input below the position committed three
 * commits ago and output rows but the newest are trimmed, oldest first, never the ledger; if that
 * does not help producers get AGAIN.
 *
 * Fencing: fence() writes a fresh random owner for the identity; a commit by an older owner is
 * FENCED, and begin too until the next fence. A commit that meets a full disk or map writes
 * nothing, keeps the outputs and returns AGAIN: call it again, or abort. Idle pollers wait on
 * inotify of the data file, or in short sleeps (5 ms growing to 50 ms) where there is none.
 *
 * LMDB allows one open environment of a folder a process: open the stream once and share it.
 */
#ifndef STORAGE_STREAM_LOCAL_H
#define STORAGE_STREAM_LOCAL_H

#include "base/status.h"
#include "base/stream.h"

struct stream_local_settings {
    const char *path;         /* folder; made when absent */
    const char *identity;     /* ilora.<deployment>.<shard>; NULL: read and produce only */
    int32_t partitions;       /* of input topics when the folder is made (0: 1); others have 1 */
    uint64_t map_bytes_max;   /* LMDB map; address space only; raised to 2 * retention + 64 MiB */
    uint64_t retention_bytes; /* 0: no limit but the map */
};

MUST_CHECK enum status stream_local_open(const struct stream_local_settings *settings,
                                         struct stream **ret_stream, struct error *err);
/* Appends records to topics in one transaction of their own (iloractl produce, import; tests).
 * AGAIN: the stream is full, wait for the daemon; nothing was written. LIMIT, NOT_FOUND: a record
 * is too large or names no partition. thread: the one of commit. */
MUST_CHECK enum status stream_local_produce(struct stream *stream,
                                            const struct stream_output *outputs, int count,
                                            struct error *err);

#endif
