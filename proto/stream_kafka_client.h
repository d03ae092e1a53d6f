/* SPDX-License-Identifier: Apache-2.0
 *
 * stream_kafka_client.h - what the rooms of the Kafka stream share: its handles and its verdicts.
 *
 *   consumer   thread: poll   input partitions, by manual assign           stream_kafka_consumer.c
 *   reader     thread: core   bounds, tail, read, committed, admin          stream_kafka_reader.c
 *   producer   thread: core   the transactional identity                    stream_kafka_producer.c
 *   plain      thread: any one, iloractl's idempotent producing             stream_kafka_admin.c
 *
 * Each handle is touched by its thread alone, but for the consumer's cache of watermarks, which
 * librdkafka guards itself, and the atomics of struct kafka_partition.
 */
#ifndef PROTO_STREAM_KAFKA_CLIENT_H
#define PROTO_STREAM_KAFKA_CLIENT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <librdkafka/rdkafka.h>

#include "base/arena.h"
#include "base/stream.h"
#include "proto/stream_kafka.h"

#define KAFKA_SLICE_MS   1000  /* blocking calls return so often, to beat the watchdog */
#define KAFKA_ANSWER_MS  10000 /* no answer for so long: AGAIN */
#define KAFKA_TEXT_BYTES 256u  /* an error text of librdkafka */

/* An input partition that is consumed. */
struct kafka_partition {
    enum stream_topic topic;
    int32_t partition;
    _Atomic int64_t next; /* offset after the last record handed on; thread: poll writes */
    _Atomic int64_t end;  /* end of the partition as last reached, -1 = not yet */
};

struct kafka_consumer {
    rd_kafka_t *handle;                 /* owns; NULL until assign */
    rd_kafka_message_t *refused;        /* owns: the sink had no room for it */
    struct kafka_partition *partitions; /* owns; ordered by topic, partition */
    int partition_count;
    bool away; /* the last word was that no broker answers */
};

struct kafka_reader {
    rd_kafka_t *handle;          /* owns; NULL until first used */
    rd_kafka_message_t *pending; /* owns: read beyond the last range's end */
    enum stream_topic topic;     /* what is assigned, when assigned */
    int32_t partition;
    int64_t next; /* offset the next message has at least */
    bool assigned;
};

/* Of its own memory: a call that is given up keeps it until librdkafka returns (kafka_call). */
struct kafka_producer {
    rd_kafka_t *handle;                           /* owns */
    rd_kafka_consumer_group_metadata_t *group;    /* owns */
    rd_kafka_topic_t *topics[STREAM_TOPIC_COUNT]; /* owns; kept so that their leaders are known */
    bool in_transaction;
    bool offsets_sent;                  /* commit is resumed after the offsets */
    bool begun;                         /* a transaction was begun since fence */
    bool disturbed;                     /* PROTOCOL's taint */
    bool counted;                       /* disturbances holds a count */
    int64_t disturbances;               /* disconnects, time-outs and retries, as last counted */
    rd_kafka_resp_err_t delivery_error; /* first failed record of the transaction */
};

struct kafka {
    struct stream stream; /* first: the port */
    struct arena text;    /* copies of the settings */
    const char *bootstrap_servers;
    const char *transactional_id;
    const char *topics[STREAM_TOPIC_COUNT]; /* NULL: not used */
    struct stream_kafka_property *properties;
    int property_count;
    int transaction_timeout_ms;
    int message_max_bytes;
    bool read_only;
    struct kafka_consumer consumer;
    struct kafka_reader reader;
    struct kafka_producer *producer; /* owns; NULL until fence, and after a call was given up */
    bool given_up;                   /* a transaction was; fence clears it */
    rd_kafka_t *plain;               /* owns; NULL until stream_kafka_produce */
    rd_kafka_resp_err_t plain_error; /* first record that could not be delivered since flush */
};

static inline struct kafka *kafka_of(struct stream *stream) {
    return (struct kafka *)(void *)stream;
}

/* ---- stream_kafka_client.c ---- */

/* A configuration with the servers, the operator's properties and what all clients need; the caller
 * adds its own with kafka_conf_put and hands it to kafka_client_make. NULL: error set. */
MUST_CHECK enum status kafka_conf_make(const struct kafka *kafka, rd_kafka_conf_t **ret_conf,
                                       struct error *err);
/* Sets one of our own properties; a refusal is a bug. */
void kafka_conf_put(rd_kafka_conf_t *conf, const char *name, const char *value);
/* takes: conf, also on failure. CONFIG with librdkafka's words. */
MUST_CHECK enum status kafka_client_make(rd_kafka_type_t type, rd_kafka_conf_t *conf,
                                         rd_kafka_t **ret_handle, struct error *err);
/* The consumer's or the reader's handle: read_committed, explicit offsets only, no commits.
 * fetch_wait_ms: how long a broker holds a fetch that finds nothing; NULL: as configured. */
MUST_CHECK enum status kafka_consumer_make(const struct kafka *kafka, void *opaque,
                                           void (*error_callback)(rd_kafka_t *handle, int code,
                                                                  const char *reason, void *opaque),
                                           const char *fetch_wait_ms, rd_kafka_t **ret_handle,
                                           struct error *err);

/* What an error code means for us: AGAIN for what passes by itself, FENCED, NOT_FOUND for topics
 * and partitions, CONFIG for missing rights, LIMIT for size, else IO. */
MUST_CHECK enum status kafka_code_status(rd_kafka_resp_err_t code);
/* The topic's name, or NOT_FOUND when the setting is empty. */
MUST_CHECK enum status kafka_topic_name(const struct kafka *kafka, enum stream_topic topic,
                                        const char **ret_name, struct error *err);
/* Our topic with this name among the first `count`; -1 when none. */
int kafka_topic_find(const struct kafka *kafka, const char *name, int count);
/* message as a record of the port; borrows from message. */
void kafka_record_of(const rd_kafka_message_t *message, enum stream_topic topic,
                     struct stream_record *ret_record);

/* ---- stream_kafka_reader.c ---- */

/* The reader's handle, made when first needed. */
MUST_CHECK enum status kafka_reader_handle(struct kafka *kafka, rd_kafka_t **ret_handle,
                                           struct error *err);
void kafka_reader_close(struct kafka_reader *reader);
/* Forgets the reader's place and stops its fetching. */
void kafka_reader_rest(struct kafka_reader *reader);
MUST_CHECK enum status kafka_committed(struct stream *s, struct stream_position *positions,
                                       int count, char ret_token[STREAM_TOKEN_BYTES_MAX],
                                       struct error *err);
MUST_CHECK enum status kafka_bounds(struct stream *s, enum stream_topic topic, int32_t partition,
                                    int64_t *ret_first, int64_t *ret_end, struct error *err);
MUST_CHECK enum status kafka_tail(struct stream *s, enum stream_topic topic, int32_t partition,
                                  stream_sink sink, void *context, struct error *err);
MUST_CHECK enum status kafka_read(struct stream *s, enum stream_topic topic, int32_t partition,
                                  int64_t first, int64_t last, stream_sink sink, void *context,
                                  struct error *err);

/* ---- stream_kafka_consumer.c ---- */

void kafka_consumer_close(struct kafka_consumer *consumer);
MUST_CHECK enum status kafka_assign(struct stream *s, const struct stream_position *positions,
                                    int count, struct error *err);
MUST_CHECK enum status kafka_poll(struct stream *s, int timeout_ms, stream_sink sink, void *context,
                                  struct error *err);
int64_t kafka_lag(struct stream *s, enum stream_topic topic, int32_t partition, int64_t next);

/* ---- stream_kafka_call.c ---- */

/* One of librdkafka's blocking calls on a producer. */
typedef rd_kafka_error_t *(*kafka_blocking)(struct kafka_producer *producer,
                                            rd_kafka_topic_partition_list_t *offsets);

/* Makes the call in a thread of its own and asks wait once a second meanwhile. OK: the call
 * returned, *ret_error is its answer (NULL = fine; caller destroys it), offsets is the caller's
 * again. AGAIN: wait said no. Then kafka->producer is NULL and given_up is set: the thread owns
 * producer and offsets, and frees them when librdkafka returns. offsets may be NULL. */
MUST_CHECK enum status kafka_call(struct kafka *kafka, kafka_blocking call,
                                  rd_kafka_topic_partition_list_t *offsets, stream_wait wait,
                                  void *wait_context, rd_kafka_error_t **ret_error,
                                  struct error *err);

/* ---- stream_kafka_producer.c ---- */

/* Frees it with its handle; NULL is fine. */
void kafka_producer_close(struct kafka_producer *producer);
/* Makes a producer and drops it: CONFIG when librdkafka refuses the properties. */
MUST_CHECK enum status kafka_producer_try(struct kafka *kafka, struct error *err);
MUST_CHECK enum status kafka_fence(struct stream *s, stream_wait wait, void *wait_context,
                                   struct error *err);
MUST_CHECK enum status kafka_begin(struct stream *s, struct error *err);
MUST_CHECK enum status kafka_publish(struct stream *s, const struct stream_output *output,
                                     struct error *err);
MUST_CHECK enum status kafka_commit(struct stream *s, const struct stream_position *positions,
                                    int count, const char *token, stream_wait wait,
                                    void *wait_context, struct error *err);
MUST_CHECK enum status kafka_abort(struct stream *s, struct error *err);
bool kafka_tainted(struct stream *s);
/* Queues one record on a producer's handle, waiting for room up to KAFKA_ANSWER_MS. LIMIT: the
 * record is too large. AGAIN: the queue stays full. */
MUST_CHECK enum status kafka_produce_on(struct kafka *kafka, rd_kafka_t *handle,
                                        const struct stream_output *output, struct error *err);

#endif
