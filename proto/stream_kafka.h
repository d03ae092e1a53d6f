/* SPDX-License-Identifier: Apache-2.0
 *
 * stream_kafka.h - the stream port on Apache Kafka, through librdkafka.
 *
 * One transactional producer and one consumer with manual assign; read_committed everywhere. The
 * producer epoch is the safety: see PROTOCOL.md, start 3-4 and the taint rule. Input is never
 * subscribed, auto.offset.reset is error.
 *
 * A commit is visible to readers when the broker has written its markers, some milliseconds after
 * commit returned; fence returns only when those of all earlier transactions are written, so that a
 * tail read after fence is the true one. commit and abort that are given up (wait said no) leave
 * the stream without a producer: tainted() is true until the next fence, which resolves what was in
 * doubt. bounds: end is the last stable offset; markers may lie between it and the last record.
 */
#ifndef PROTO_STREAM_KAFKA_H
#define PROTO_STREAM_KAFKA_H

#include "base/status.h"
#include "base/stream.h"

struct stream_kafka_property {
    const char *name;
    const char *value;
};

struct stream_kafka_settings {
    const char *bootstrap_servers;
    const char *transactional_id; /* ilora.<deployment>.<shard>; also the group id */
    const char *topics[STREAM_TOPIC_COUNT];
    const struct stream_kafka_property *properties; /* pass-through, already allowed */
    int property_count;
    int transaction_timeout_ms;
    int message_max_bytes;
    bool read_only; /* iloractl: no producer identity; fence/begin/commit are refused */
};

/* OK when a librdkafka property may be set by the operator; CONFIG with the reason when it loads
 * code, runs commands (plugin.library.paths, sasl.kerberos.kinit.cmd, ssl.engine.*, test.mock.*) or
 * would break the protocol (enable.auto.commit, isolation.level, transactional.id, ...), or
 * is not a property librdkafka knows. */
MUST_CHECK enum status stream_kafka_property_check(const char *name, const char *value,
                                                   struct error *err);

/* Makes clients; does not wait for a broker. CONFIG: a property is refused. */
MUST_CHECK enum status stream_kafka_open(const struct stream_kafka_settings *settings,
                                         struct stream **ret_stream, struct error *err);

/* Non-transactional idempotent producing for iloractl (produce, import): queues one record, waits
 * for room when the queue is full. flush waits for all. */
MUST_CHECK enum status stream_kafka_produce(struct stream *stream,
                                            const struct stream_output *output, struct error *err);
MUST_CHECK enum status stream_kafka_flush(struct stream *stream, int timeout_ms, struct error *err);

/* Creates a topic (config: "cleanup.policy=delete" ... pairs); OK when it exists already. */
struct stream_kafka_topic {
    const char *name;
    int partitions;
    int replication;
    const struct stream_kafka_property *config;
    int config_count;
};
MUST_CHECK enum status stream_kafka_topic_create(struct stream *stream,
                                                 const struct stream_kafka_topic *topic,
                                                 bool *ret_created, struct error *err);
/* One configuration value of a topic, e.g. "cleanup.policy", "retention.ms". */
MUST_CHECK enum status stream_kafka_topic_config(struct stream *stream, enum stream_topic topic,
                                                 const char *key, char *value, size_t value_bytes,
                                                 struct error *err);

#endif
