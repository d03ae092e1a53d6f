/* SPDX-License-Identifier: Apache-2.0
 *
 * ledger.h - the chain of epoch records on the ledger topic, and the token that ties it to offsets.
 *
 *   ER_0 ◀─H_0── ER_1 ◀─H_1── ER_2 ...      H_n = SHA-256(H_{n-1} || ER_n), H_{-1} = 32 zero bytes
 *   token in the committed offsets' metadata: v1:<shard>:<epoch>:<first 16 hex digits of H>
 *
 * The token says which epoch the input offsets belong to; the tail is the authority when offsets
 * are gone (PROTOCOL.md, Start 4).
 */
#ifndef DAEMON_LEDGER_H
#define DAEMON_LEDGER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/hash.h"
#include "base/status.h"
#include "base/stream.h"
#include "daemon/core_state.h"
#include "proto/outbound.h"

struct ledger_tail {
    bool empty; /* no record yet: nothing else is set */
    uint64_t epoch;
    int64_t offset; /* of the tail's record */
    uint8_t owner[OWNER_BYTES];
    uint8_t chain[SHA256_BYTES]; /* H of the tail */
    uint32_t fold_version;
};

/* Reads the last record of the shard's ledger partition. CORRUPT: it does not parse. */
MUST_CHECK enum status ledger_read_tail(struct stream *stream, int32_t shard,
                                        struct ledger_tail *ret_tail, struct error *err);

/* H_n from H_{n-1} and the record's bytes, in place. */
MUST_CHECK enum status ledger_chain_advance(uint8_t chain[SHA256_BYTES], struct span record,
                                            struct error *err);

void ledger_token_write(char token[STREAM_TOKEN_BYTES_MAX], int32_t shard, uint64_t epoch,
                        const uint8_t chain[SHA256_BYTES]);
/* False: not a token of this shard. prefix: 8 bytes of H. */
bool ledger_token_read(const char *token, int32_t shard, uint64_t *ret_epoch,
                       uint8_t ret_prefix[8]);

/* Calls visit for the records of epochs first .. last in order, with H after each. The record lives
 * until visit returns. CORRUPT: one is missing, or previous does not match. chain: H of epoch
 * first-1. */
typedef enum status (*ledger_visit)(void *context, const struct epoch_record *record,
                                    const uint8_t chain_after[SHA256_BYTES], struct error *err);
MUST_CHECK enum status ledger_each(struct stream *stream, int32_t shard, uint64_t first,
                                   uint64_t last, int64_t tail_offset,
                                   const uint8_t chain[SHA256_BYTES], ledger_visit visit,
                                   void *context, struct error *err);

#endif
