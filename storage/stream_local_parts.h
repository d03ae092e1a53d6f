/* SPDX-License-Identifier: Apache-2.0
 *
 * stream_local_parts.h - the inside of the embedded stream.
 *
 *   stream_local.c         environment, topics, fence, committed
 *   stream_local_record.c  one record as bytes
 *   stream_local_write.c   appending: begin, publish, commit, abort, produce
 *   stream_local_trim.c    retention
 *   stream_local_read.c    bounds, tail, read, lag
 *   stream_local_poll.c    assign and poll
 *
 * Values of the tables, little-endian, each with a leading CRC-32C over what follows:
 *   records  u32 crc, i64 timestamp, u8 flags, u8 headers, key, value, headers: see
 *            stream_local_record.c
 *   ends     u32 crc, u64 next, u64 first, u64 bytes; key 0xff: u32 crc, u64 bytes of all records
 *   commits  u32 crc, owner[16], u8 token size, token, u32 count, count * {u8 topic, u32 partition,
 *            u64 next[4]}: the last commit's position and those of the three before it, because a
 *            reader of the stream (the shard's state) may be up to two commits behind after a
 *            power loss and re-reads from there: nothing above the oldest is trimmed
 *   topics   u32 crc, u32 partitions
 *
 * Threads: struct local_consumer belongs to the poll thread, all else to the core. They share the
 * environment, whose map never changes.
 */
#ifndef STORAGE_STREAM_LOCAL_PARTS_H
#define STORAGE_STREAM_LOCAL_PARTS_H

#include "base/file.h"
#include "base/hash.h"
#include "storage/lmdb_calls.h"
#include "storage/stream_local.h"

#define LOCAL_OWNER_BYTES       16u
#define LOCAL_IDENTITY_MAX      255u
#define LOCAL_COMMITS_KEPT      4 /* positions a commit record holds per partition */
#define LOCAL_RECORD_KEY        13u
#define LOCAL_RUN_MAX           256 /* records of one partition before the next has its turn */
#define LOCAL_PARTITIONS_MAX    STREAM_POSITIONS_MAX
#define LOCAL_RECORD_OVERHEAD   32u               /* LMDB's node header, key and slot, about */
#define LOCAL_PENDING_BYTES_MAX ((size_t)4 << 30) /* of one transaction */

struct local_end {
    uint64_t next;  /* offset of the next record */
    uint64_t first; /* offset of the first record still held; <= next */
    uint64_t bytes; /* of the records held, with overhead */
};

struct local_place {
    enum stream_topic topic;
    int32_t partition;
};

/* The end of a partition while a write transaction appends to it. */
struct local_writing {
    struct local_place place;
    struct local_end end;
    bool loaded;
};

/* An output waiting for its commit. */
struct local_pending {
    struct local_place place;
    size_t start, size; /* in stream_local.pending_bytes */
};

struct local_consumer {                /* thread: poll */
    struct stream_position *positions; /* (count) owns */
    int count;
    int turn;           /* whose run comes first in the next poll */
    MDB_txn *txn;       /* owns; reset between polls; NULL until the first */
    MDB_cursor *cursor; /* owns */
    size_t seen_txn;    /* number of the snapshot last looked at */
    int notify;         /* inotify descriptor, -1: none, then short sleeps */
    int64_t sleep_us;   /* the next short sleep */
};

struct stream_local {
    struct stream stream; /* first member */
    MDB_env *env;         /* owns */
    MDB_dbi records, ends, commits, topics;
    char path[FILE_PATH_BYTES_MAX];
    char identity[LOCAL_IDENTITY_MAX + 1]; /* "" = none */
    int32_t partitions[STREAM_TOPIC_COUNT];
    int32_t first_place[STREAM_TOPIC_COUNT + 1]; /* of a topic in `writing`; the last: how many */
    uint64_t retention_bytes;                    /* 0 = no limit */

    bool fenced_in;                   /* fence has succeeded */
    uint8_t owner[LOCAL_OWNER_BYTES]; /* ours; valid when fenced_in */
    bool in_transaction;
    struct buffer pending_bytes;   /* owns: encoded values of the open transaction */
    struct local_pending *pending; /* owns */
    size_t pending_count, pending_capacity;
    struct buffer commit_bytes;    /* owns: the record of `commits` being made */
    struct local_writing *writing; /* (places) owns: ends within one write transaction */
    int32_t *touched;              /* (places) owns: those of them that are loaded */

    struct local_consumer consumer;
};

static inline struct stream_local *stream_local_of(struct stream *stream) {
    return (struct stream_local *)(void *)stream;
}

/* ---- records --------------------------------------------------------------------------------- */

/* Bytes of the encoded record; LIMIT beyond STREAM_RECORD_BYTES_MAX or STREAM_HEADERS_MAX. */
MUST_CHECK enum status local_record_size(const struct stream_output *output, size_t *ret_size,
                                         struct error *err);
/* Encodes into bytes, which has local_record_size's room. timestamp_ms replaces -1. */
void local_record_encode(const struct stream_output *output, int64_t timestamp_ms, uint8_t *bytes);
/* borrows: from stored. CORRUPT names the place. */
MUST_CHECK enum status local_record_decode(struct local_place place, uint64_t offset,
                                           struct span stored, struct stream_record *ret_record,
                                           struct error *err);
void local_record_key(struct local_place place, uint64_t offset, uint8_t key[LOCAL_RECORD_KEY]);
/* The place and offset of a key of records; false when the key has another size. */
bool local_record_place(struct span key, struct local_place *ret_place, uint64_t *ret_offset);

/* ---- small tables ---------------------------------------------------------------------------- */

/* The place exists: NOT_FOUND otherwise. */
MUST_CHECK enum status local_place_check(const struct stream_local *local, struct local_place place,
                                         struct error *err);
/* A partition nobody wrote to gives zeros. */
MUST_CHECK enum status local_end_load(struct stream_local *local, MDB_txn *txn,
                                      struct local_place place, struct local_end *ret_end,
                                      struct error *err);
MUST_CHECK enum status local_end_save(struct stream_local *local, MDB_txn *txn,
                                      struct local_place place, const struct local_end *end,
                                      struct error *err);
/* Bytes of all records. */
MUST_CHECK enum status local_total_load(struct stream_local *local, MDB_txn *txn,
                                        uint64_t *ret_bytes, struct error *err);
MUST_CHECK enum status local_total_save(struct stream_local *local, MDB_txn *txn, uint64_t bytes,
                                        struct error *err);

struct local_position {
    struct local_place place;
    uint64_t next[LOCAL_COMMITS_KEPT]; /* newest first */
};

/* The record of an identity in `commits`, read in place. */
struct local_commit {
    const uint8_t *owner; /* (LOCAL_OWNER_BYTES) */
    struct span token;
    const uint8_t *positions; /* (count) encoded */
    uint32_t count;
};
#define LOCAL_POSITION_BYTES (5u + 8u * LOCAL_COMMITS_KEPT)

/* NOT_FOUND: the identity never fenced. borrows: until the transaction writes or ends. */
MUST_CHECK enum status local_commit_load(struct stream_local *local, MDB_txn *txn,
                                         const char *identity, struct local_commit *ret_commit,
                                         struct error *err);
MUST_CHECK enum status local_commit_parse(const struct stream_local *local, struct span stored,
                                          struct local_commit *ret_commit, struct error *err);
struct local_position local_commit_position(const struct local_commit *commit, uint32_t index);
/* The position of a place; false when the commit has none. */
bool local_commit_find(const struct local_commit *commit, struct local_place place,
                       struct local_position *ret_position);
/* Puts a table's value with its CRC in front. 0 or LMDB's code. */
int local_put(MDB_txn *txn, MDB_dbi table, struct span key, struct span value);

/* ---- the rest -------------------------------------------------------------------------------- */

/* Trims what retention allows, in the caller's write transaction, until the records take at most
 * `goal` bytes; at most LOCAL_TRIM_MAX records a call. Saves ends and total; *ret_bytes is the new
 * total. */
#define LOCAL_TRIM_MAX 20000
MUST_CHECK enum status local_trim(struct stream_local *local, MDB_txn *txn, uint64_t goal,
                                  uint64_t *ret_bytes, struct error *err);
/* What a stored value counts for in local_end.bytes. */
static inline uint64_t local_record_weight(size_t stored_size) {
    return stored_size + LOCAL_RECORD_OVERHEAD;
}

MUST_CHECK enum status local_begin(struct stream *s, struct error *err);
MUST_CHECK enum status local_publish(struct stream *s, const struct stream_output *output,
                                     struct error *err);
MUST_CHECK enum status local_commit_all(struct stream *s, const struct stream_position *positions,
                                        int count, const char *token, stream_wait wait,
                                        void *wait_context, struct error *err);
MUST_CHECK enum status local_abort(struct stream *s, struct error *err);

MUST_CHECK enum status local_bounds(struct stream *s, enum stream_topic topic, int32_t partition,
                                    int64_t *ret_first, int64_t *ret_end, struct error *err);
MUST_CHECK enum status local_tail(struct stream *s, enum stream_topic topic, int32_t partition,
                                  stream_sink sink, void *context, struct error *err);
MUST_CHECK enum status local_read(struct stream *s, enum stream_topic topic, int32_t partition,
                                  int64_t first, int64_t last, stream_sink sink, void *context,
                                  struct error *err);
int64_t local_lag(struct stream *s, enum stream_topic topic, int32_t partition, int64_t next);

MUST_CHECK enum status local_assign(struct stream *s, const struct stream_position *positions,
                                    int count, struct error *err);
MUST_CHECK enum status local_poll(struct stream *s, int timeout_ms, stream_sink sink, void *context,
                                  struct error *err);
void local_consumer_free(struct local_consumer *consumer);

#endif
