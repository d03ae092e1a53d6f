/* SPDX-License-Identifier: Apache-2.0
 *
 * commit.h - puts a closed epoch through: the stream's transaction first, LMDB after it.
 *
 *   begin ─▶ outputs ... ledger record ─▶ commit(offsets, token)  ══ the only commit point ══▶ LMDB
 *
 * A failure before the commit leaves the stream as it was; one after it leaves LMDB one epoch
 * behind, which the next start refolds. Never the other way round.
 */
#ifndef DAEMON_COMMIT_H
#define DAEMON_COMMIT_H

#include "base/status.h"
#include "base/stream.h"
#include "daemon/engine.h"

struct commit_doors {
    struct stream *stream;
    int32_t shard;
    int32_t partitions[STREAM_TOPIC_COUNT]; /* outputs with a fixed partition wrap around these */
    const uint8_t *owner;                   /* (OWNER_BYTES) */
    stream_wait wait;
    void *wait_context;
    /* Told the words when a commit waits for room, each time it asks again. */
    void (*tell_full)(void *wait_context, const char *words);
};

/* Publishes and commits the epoch the engine has closed. On failure the transaction was aborted
 * where that was possible and nothing of it is visible, unless the answer was lost: the caller
 * exits and the next start finds out. FENCED: somebody else is the writer now. */
MUST_CHECK enum status commit_publish(const struct commit_doors *doors, const struct engine *engine,
                                      struct error *err);

/* The taint rule: a new producer identity, then the ledger's tail must still be ours at this epoch
 * and chain. FENCED: another owner wrote. */
MUST_CHECK enum status commit_refence(const struct commit_doors *doors, uint64_t epoch,
                                      const uint8_t chain[SHA256_BYTES], struct error *err);

#endif
