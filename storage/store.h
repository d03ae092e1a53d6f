/* SPDX-License-Identifier: Apache-2.0
 *
 * store.h - the LMDB environment of one shard, and the stage: an epoch's writes held in memory.
 *
 *   engine ──put/get──▶ stage (hash table of pending puts) ──read through──▶ LMDB snapshot (reader)
 *                         │ after the Kafka commit
 *                         └── stage_commit: one LMDB write transaction, keys sorted, trims last
 *
 * LMDB never runs ahead of the stream's commit: nothing is written before stage_commit. The stage
 * also computes the epoch's digests over exactly the puts and deletes it will write (never trims).
 * Every value on disk is followed by its CRC-32C; a mismatch is CORRUPT naming table and key.
 *
 * Threads: the stage and stage_commit belong to the core; other threads read through readers of
 * their own (one a thread, renewed often: a long reader pins pages).
 */
#ifndef STORAGE_STORE_H
#define STORAGE_STORE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/hash.h"
#include "base/status.h"

#define STORE_VALUE_BYTES_MAX 2000u /* beyond it LMDB takes overflow pages (FACTS.md) */
#define STORE_KEY_BYTES_MAX   511u

enum store_table {
    STORE_META,         /* name -> bytes; not part of any digest */
    STORE_USERS,        /* user id -> sequence */
    STORE_SEEN,         /* user id, chunk -> delta-coded item numbers */
    STORE_PUBLISHED,    /* user id -> last published list */
    STORE_ITEMS,        /* item number, from_seq (big-endian) -> id, title, hidden */
    STORE_ITEM_IDS,     /* item id -> item number */
    STORE_ITEM_CHANGES, /* from_seq, item number (big-endian) -> nothing: what changed */
    STORE_TRAINING_LOG, /* seq (big-endian) -> row */
    STORE_SUMS,         /* name -> live evaluation sums */
    STORE_EXCLUSIONS,   /* seq, part (big-endian) -> items consumed before an evaluated row */
};
#define STORE_TABLE_COUNT 10

/* Which digest chain a table belongs to: 0 none (META), 1 input state (USERS, SEEN, ITEMS,
 * ITEM_IDS, ITEM_CHANGES, TRAINING_LOG, EXCLUSIONS), 2 evaluation state (PUBLISHED, SUMS). */
int store_table_chain(enum store_table table);
const char *store_table_name(enum store_table table);

struct store;
struct store_reader;

struct store_settings {
    const char *path;   /* folder; made when absent */
    uint64_t map_bytes; /* first map size; doubles when full */
    uint64_t map_bytes_max;
    bool read_only; /* iloractl fsck on a stopped daemon's state */
};

struct store_usage {
    uint64_t map_bytes, used_bytes; /* used: pages in use * page size */
    uint64_t entries[STORE_TABLE_COUNT];
};

/* Opens (and makes) the environment; checks dead readers. The caller holds the folder's flock. */
MUST_CHECK enum status store_open(const struct store_settings *settings, struct store **ret_store,
                                  struct error *err);
void store_close(struct store *store);
/* fsyncs what NOMETASYNC left open; called before versions that depend on it are trimmed. */
MUST_CHECK enum status store_sync(struct store *store, struct error *err);
MUST_CHECK enum status store_usage(struct store *store, struct store_usage *ret_usage,
                                   struct error *err);

/* A read transaction. begin/renew take the newest snapshot; reset lets pages go between uses. */
MUST_CHECK enum status store_reader_open(struct store *store, struct store_reader **ret_reader,
                                         struct error *err);
void store_reader_close(struct store_reader *reader);
MUST_CHECK enum status store_reader_renew(struct store_reader *reader, struct error *err);
void store_reader_reset(struct store_reader *reader);

/* NOT_FOUND, CORRUPT. ret_value borrows: until the reader is renewed, reset or closed. */
MUST_CHECK enum status store_get(struct store_reader *reader, enum store_table table,
                                 struct span key, struct span *ret_value, struct error *err);
/* Calls visit for keys >= first in order until it returns false. CORRUPT. */
typedef bool (*store_visit)(void *context, struct span key, struct span value);
MUST_CHECK enum status store_scan(struct store_reader *reader, enum store_table table,
                                  struct span first, store_visit visit, void *context,
                                  struct error *err);
/* The largest key <= key (and its value); NOT_FOUND when there is none. */
MUST_CHECK enum status store_at_or_below(struct store_reader *reader, enum store_table table,
                                         struct span key, struct span *ret_key,
                                         struct span *ret_value, struct error *err);
/* The last key of a table (and its value); NOT_FOUND when empty. */
MUST_CHECK enum status store_last(struct store_reader *reader, enum store_table table,
                                  struct span *ret_key, struct span *ret_value, struct error *err);

/* ---- the stage ------------------------------------------------------------------------------- */

struct stage;

MUST_CHECK enum status stage_open(struct store *store, struct stage **ret_stage, struct error *err);
void stage_close(struct stage *stage);

/* The pending value if there is one, else LMDB's. NOT_FOUND also for a pending delete. ret_value
 * borrows: until the next put or delete of the same key, stage_commit or stage_reset. */
MUST_CHECK enum status stage_get(struct stage *stage, enum store_table table, struct span key,
                                 struct span *ret_value, struct error *err);
/* Copies key and value. LIMIT (key or value too long), NO_MEMORY: nothing changed. */
MUST_CHECK enum status stage_put(struct stage *stage, enum store_table table, struct span key,
                                 struct span value, struct error *err);
MUST_CHECK enum status stage_delete(struct stage *stage, enum store_table table, struct span key,
                                    struct error *err);
/* Remembers a delete of all keys < key of a table that is done inside the next stage_commit and is
 * part of no digest; stage_get still sees the rows until then. */
MUST_CHECK enum status stage_trim_below(struct stage *stage, enum store_table table,
                                        struct span key, struct error *err);
/* The same for one key. */
MUST_CHECK enum status stage_trim(struct stage *stage, enum store_table table, struct span key,
                                  struct error *err);

/* Remembers to replace the value of a committed key, where it still exists, inside the next
 * stage_commit; part of no digest, not seen by stage_get before. (forget_user erases log rows at a
 * moment that is no function of the input.) LIMIT, NO_MEMORY: nothing changed. */
MUST_CHECK enum status stage_rewrite(struct stage *stage, enum store_table table, struct span key,
                                     struct span value, struct error *err);
/* The committed state without pending writes, for scans. borrows: until stage_commit. */
MUST_CHECK enum status stage_reader(struct stage *stage, struct store_reader **ret_reader,
                                    struct error *err);

/* D_n = SHA-256(D_{n-1} || sorted (table, key, value) puts and deletes) over the tables of one
 * chain (1 or 2). Encoding a put: u8 table, u8 1, u32le key size, key, u32le value size, value; a
 * delete: u8 table, u8 0, u32le key size, key; sorted by table then key. No puts: D_n =
 * SHA-256(D_{n-1}). */
MUST_CHECK enum status stage_digest(struct stage *stage, int chain,
                                    const uint8_t previous[SHA256_BYTES],
                                    uint8_t ret_digest[SHA256_BYTES], struct error *err);

/* One LMDB transaction with everything, MDB_MAP_FULL answered by growing the map and retrying from
 * memory. OK: the stage is empty and reads see the new state. IO (err->disk_full: no room), LIMIT
 * (map_bytes_max), AGAIN (the map must grow and a reader stayed open): LMDB unchanged and the stage
 * still full, call again. */
MUST_CHECK enum status stage_commit(struct stage *stage, struct error *err);
void stage_reset(struct stage *stage); /* forgets all pending writes */
size_t stage_bytes(const struct stage *stage);
size_t stage_entries(const struct stage *stage);

#endif
