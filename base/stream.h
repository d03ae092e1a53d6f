/* SPDX-License-Identifier: Apache-2.0
 *
 * stream.h - the port through which events come in and everything published goes out.
 *
 * Two implementations, same promises: proto/stream_kafka.c (Apache Kafka through librdkafka) and
 * storage/stream_local.c (the embedded default: append-only LMDB tables, several processes). Tests
 * add tests/support/stream_memory.c with fault injection.
 *
 * One transaction at a time: begin, publish..., commit(positions, token) makes the outputs, the
 * next input offsets and the token visible together or not at all. It is the only commit point of
 * the daemon; LMDB state follows it.
 *
 * Threads: `poll` is called by the poll thread, everything else by the core thread. `fence`,
 * `committed`, `tail`, `read`, `assign` run before polling starts, except that fence, tail and read
 * may run again later on the core thread while the poll thread polls.
 */
#ifndef BASE_STREAM_H
#define BASE_STREAM_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/status.h"

enum stream_topic {
    STREAM_EVENTS,
    STREAM_ITEMS,
    STREAM_CONTROL,
    STREAM_PREDICTIONS,
    STREAM_SNAPSHOTS,
    STREAM_LEDGER,
    STREAM_METRICS,
    STREAM_DLQ,
};
#define STREAM_TOPIC_COUNT      8
#define STREAM_INPUT_COUNT      3 /* EVENTS, ITEMS, CONTROL are consumed; the rest is produced */
#define STREAM_HEADERS_MAX      8
#define STREAM_TOKEN_BYTES_MAX  128u    /* the token with its NUL */
#define STREAM_POSITIONS_MAX    4096    /* input partitions of one shard */
#define STREAM_RECORD_BYTES_MAX 983040u /* 960 KiB */

/* "events", "items", ...: the role's name in settings and in the embedded stream; static. */
const char *stream_topic_name(enum stream_topic topic);

struct stream_header {
    const char *name; /* NUL-terminated ASCII */
    struct span value;
};

/* One record read. borrows: until the next poll on the same stream, or until the callback
 * returns. */
struct stream_record {
    enum stream_topic topic;
    int32_t partition;
    int64_t offset;       /* >= 0; offsets of a partition increase but may have gaps */
    int64_t timestamp_ms; /* epoch milliseconds; -1 = none */
    struct span key;      /* data == NULL: no key */
    struct span value;    /* data == NULL: a null value (tombstone) */
    struct stream_header headers[STREAM_HEADERS_MAX];
    int header_count;
};

/* One record to publish. borrows: during the call. */
struct stream_output {
    enum stream_topic topic;
    int32_t partition;    /* -1: chosen from the key as Kafka's murmur2 partitioner does */
    int64_t timestamp_ms; /* -1: the broker's clock */
    struct span key;
    struct span value;
    const struct stream_header *headers;
    int header_count;
};

struct stream_position {
    enum stream_topic topic; /* an input topic */
    int32_t partition;
    int64_t next; /* offset of the next record to consume; -1 in committed() = nothing committed */
};

/* Called for each record of a read in offset order; a status other than OK ends the read with
 * it. */
typedef enum status (*stream_sink)(void *context, const struct stream_record *record,
                                   struct error *err);

/* Called at least once a second while a call waits: beats the watchdog. Returns false to give up
 * (the call then returns STATUS_AGAIN). */
typedef bool (*stream_wait)(void *context);

struct stream;

struct stream_ops {
    const char *name; /* "kafka", "local", "memory" */

    /* Number of partitions of a topic that exists; NOT_FOUND when the topic is absent; AGAIN when
     * nobody answers (broker absent). */
    enum status (*partitions)(struct stream *s, enum stream_topic topic, int32_t *ret_count,
                              struct error *err);

    /* Becomes the one writer of this transactional identity: fences an older one and resolves its
     * transaction in doubt. Also used to replace a tainted producer. AGAIN: broker absent. */
    enum status (*fence)(struct stream *s, stream_wait wait, void *wait_context, struct error *err);

    /* Committed next offsets (read_committed) of the given positions, whose topic and partition are
     * set by the caller, and the token committed with them ("" when none). */
    enum status (*committed)(struct stream *s, struct stream_position *positions, int count,
                             char ret_token[STREAM_TOKEN_BYTES_MAX], struct error *err);

    /* First offset still held and the offset after the last committed record. */
    enum status (*bounds)(struct stream *s, enum stream_topic topic, int32_t partition,
                          int64_t *ret_first, int64_t *ret_end, struct error *err);

    /* Calls sink with the last committed record of a partition; NOT_FOUND when there is none. */
    enum status (*tail)(struct stream *s, enum stream_topic topic, int32_t partition,
                        stream_sink sink, void *context, struct error *err);

    /* Calls sink with every committed record whose offset lies in [first, last], in order. Offsets
     * below the first one held are an error CORRUPT that says which were lost. */
    enum status (*read)(struct stream *s, enum stream_topic topic, int32_t partition, int64_t first,
                        int64_t last, stream_sink sink, void *context, struct error *err);

    /* Starts consuming from exactly these positions; polling may begin. */
    enum status (*assign)(struct stream *s, const struct stream_position *positions, int count,
                          struct error *err);

    /* thread: poll. Waits up to timeout_ms for records, hands each to sink (AGAIN from the sink =
     * "no room, give me the same record again next time"). Returns OK also when nothing came;
     * AGAIN when the broker is away (keep calling). */
    enum status (*poll)(struct stream *s, int timeout_ms, stream_sink sink, void *context,
                        struct error *err);

    enum status (*begin)(struct stream *s, struct error *err);
    enum status (*publish)(struct stream *s, const struct stream_output *output, struct error *err);
    /* Commits outputs, positions (next offsets, all of the shard's partitions) and token. */
    enum status (*commit)(struct stream *s, const struct stream_position *positions, int count,
                          const char *token, stream_wait wait, void *wait_context,
                          struct error *err);
    enum status (*abort)(struct stream *s, struct error *err);

    /* True when the connection was disturbed inside a transaction since the last fence: the owner
     * must call fence and re-read the ledger's tail before the next begin (PROTOCOL.md, taint). */
    bool (*tainted)(struct stream *s);

    /* Records between the position and the end of the partition; -1 when unknown. */
    int64_t (*lag)(struct stream *s, enum stream_topic topic, int32_t partition, int64_t next);

    void (*close)(struct stream *s);
};

/* Implementations embed this as their first member. */
struct stream {
    const struct stream_ops *ops;
};

/* Kafka's default partitioner: murmur2 of the key, positive, modulo count. */
int32_t stream_partition_of_key(struct span key, int32_t count);

#endif
