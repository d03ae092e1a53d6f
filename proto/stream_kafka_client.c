/* SPDX-License-Identifier: Apache-2.0
 *
 * stream_kafka_client.c - making librdkafka's handles, and reading its errors and messages.
 *
 * The operator's properties come first and ours after them, so that nothing that passes the list of
 * stream_kafka_properties.c can weaken the protocol.
 */
#include "proto/stream_kafka_client.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"

/* Prefetched a partition, within queued.max.messages.kbytes (64 MiB) for all of them. A full queue
 * is looked at again only after up to a second, so this is also the floor of records a second: with
 * 10,000 a backlog came at 28,000 to 60,000 records/s in most runs, with 100,000 at 500,000 and
 * more (bench_stream_kafka, 2026-11). */
#define QUEUED_MESSAGES "100000"

/* librdkafka's own lines; at this depth only for debugging. */
static void client_log(const rd_kafka_t *handle, int level, const char *facility,
                       const char *text) {
    (void)handle;
    LOG_DEBUG("librdkafka %d %s: %s", level, facility, text);
}

void kafka_conf_put(rd_kafka_conf_t *conf, const char *name, const char *value) {
    char text[KAFKA_TEXT_BYTES];
    rd_kafka_conf_res_t result = rd_kafka_conf_set(conf, name, value, text, sizeof text);
    assert(result == RD_KAFKA_CONF_OK);
    (void)result;
}

enum status kafka_conf_make(const struct kafka *kafka, rd_kafka_conf_t **ret_conf,
                            struct error *err) {
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    char text[KAFKA_TEXT_BYTES];
    kafka_conf_put(conf, "client.id", "ilorad");
    /* A transaction that begins while the broker still closes the one before is told to try again;
     * 20 ms is what Kafka's own client waits (the default of 100 halves the commits a second). */
    kafka_conf_put(conf, "retry.backoff.ms", "20");
    /* A broker that comes back is found within 2 s instead of 10. */
    kafka_conf_put(conf, "reconnect.backoff.max.ms", "2000");
    for (int i = 0; i < kafka->property_count; i++) {
        const struct stream_kafka_property *property = &kafka->properties[i];
        if (rd_kafka_conf_set(conf, property->name, property->value, text, sizeof text) !=
            RD_KAFKA_CONF_OK) {
            rd_kafka_conf_destroy(conf);
            return error_set(err, STATUS_CONFIG, "property '%s': %s", property->name, text);
        }
    }
    if (rd_kafka_conf_set(conf, "bootstrap.servers", kafka->bootstrap_servers, text, sizeof text) !=
        RD_KAFKA_CONF_OK) {
        rd_kafka_conf_destroy(conf);
        return error_set(err, STATUS_CONFIG, "bootstrap servers '%s': %s", kafka->bootstrap_servers,
                         text);
    }
    rd_kafka_conf_set_log_cb(conf, client_log);
    *ret_conf = conf;
    return STATUS_OK;
}

enum status kafka_client_make(rd_kafka_type_t type, rd_kafka_conf_t *conf, rd_kafka_t **ret_handle,
                              struct error *err) {
    char text[KAFKA_TEXT_BYTES];
    rd_kafka_t *handle = rd_kafka_new(type, conf, text, sizeof text);
    if (handle == NULL) {
        rd_kafka_conf_destroy(conf); /* rd_kafka_new takes it only when it succeeds */
        return error_set(err, STATUS_CONFIG, "making a Kafka client: %s", text);
    }
    *ret_handle = handle;
    return STATUS_OK;
}

enum status kafka_consumer_make(const struct kafka *kafka, void *opaque,
                                void (*error_callback)(rd_kafka_t *handle, int code,
                                                       const char *reason, void *opaque),
                                const char *fetch_wait_ms, rd_kafka_t **ret_handle,
                                struct error *err) {
    rd_kafka_conf_t *conf = NULL;
    enum status status = kafka_conf_make(kafka, &conf, err);
    if (status != STATUS_OK) { return status; }

    kafka_conf_put(conf, "group.id", kafka->transactional_id);
    kafka_conf_put(conf, "isolation.level", "read_committed");
    kafka_conf_put(conf, "enable.auto.commit", "false");
    kafka_conf_put(conf, "enable.auto.offset.store", "false");
    kafka_conf_put(conf, "auto.offset.reset", "error");
    kafka_conf_put(conf, "enable.partition.eof", "true");
    kafka_conf_put(conf, "allow.auto.create.topics", "false");
    kafka_conf_put(conf, "queued.min.messages", QUEUED_MESSAGES);
    if (fetch_wait_ms != NULL) { kafka_conf_put(conf, "fetch.wait.max.ms", fetch_wait_ms); }
    rd_kafka_conf_set_error_cb(conf, error_callback);
    rd_kafka_conf_set_opaque(conf, opaque);
    status = kafka_client_make(RD_KAFKA_CONSUMER, conf, ret_handle, err);
    if (status != STATUS_OK) { return status; }

    /* Callbacks, errors and records then come through one call, rd_kafka_consumer_poll. */
    (void)rd_kafka_poll_set_consumer(*ret_handle); /* fails only for producers */
    return STATUS_OK;
}

/* The enumeration has 150 values; those that are not named mean IO. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wswitch-enum"
enum status kafka_code_status(rd_kafka_resp_err_t code) {
    switch (code) {
    case RD_KAFKA_RESP_ERR_NO_ERROR: return STATUS_OK;
    case RD_KAFKA_RESP_ERR__FENCED:
    case RD_KAFKA_RESP_ERR_PRODUCER_FENCED:
    case RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH: return STATUS_FENCED;
    case RD_KAFKA_RESP_ERR__TIMED_OUT:
    case RD_KAFKA_RESP_ERR__TIMED_OUT_QUEUE:
    case RD_KAFKA_RESP_ERR__MSG_TIMED_OUT:
    case RD_KAFKA_RESP_ERR__TRANSPORT:
    case RD_KAFKA_RESP_ERR__RESOLVE:
    case RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN:
    case RD_KAFKA_RESP_ERR__SSL:
    case RD_KAFKA_RESP_ERR__AUTHENTICATION:
    case RD_KAFKA_RESP_ERR__WAIT_COORD:
    case RD_KAFKA_RESP_ERR__QUEUE_FULL:
    case RD_KAFKA_RESP_ERR__RETRY:
    case RD_KAFKA_RESP_ERR__IN_PROGRESS:
    case RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE:
    case RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION:
    case RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT:
    case RD_KAFKA_RESP_ERR_BROKER_NOT_AVAILABLE:
    case RD_KAFKA_RESP_ERR_REPLICA_NOT_AVAILABLE:
    case RD_KAFKA_RESP_ERR_NETWORK_EXCEPTION:
    case RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS:
    case RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE:
    case RD_KAFKA_RESP_ERR_NOT_COORDINATOR:
    case RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS:
    case RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS_AFTER_APPEND:
    case RD_KAFKA_RESP_ERR_CONCURRENT_TRANSACTIONS:
    case RD_KAFKA_RESP_ERR_UNSTABLE_OFFSET_COMMIT:
    case RD_KAFKA_RESP_ERR_KAFKA_STORAGE_ERROR: return STATUS_AGAIN;
    case RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC:
    case RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION:
    case RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART: return STATUS_NOT_FOUND;
    case RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE: return STATUS_LIMIT;
    case RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_SASL_AUTHENTICATION_FAILED:
    case RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION:
    case RD_KAFKA_RESP_ERR_INVALID_CONFIG:
    case RD_KAFKA_RESP_ERR_INVALID_PARTITIONS:
    case RD_KAFKA_RESP_ERR_INVALID_REPLICATION_FACTOR:
    case RD_KAFKA_RESP_ERR_POLICY_VIOLATION:
    case RD_KAFKA_RESP_ERR_INVALID_TRANSACTION_TIMEOUT:
    case RD_KAFKA_RESP_ERR__INVALID_ARG: return STATUS_CONFIG;
    default: return STATUS_IO;
    }
}
#pragma GCC diagnostic pop

enum status kafka_topic_name(const struct kafka *kafka, enum stream_topic topic,
                             const char **ret_name, struct error *err) {
    assert((int)topic >= 0 && (int)topic < STREAM_TOPIC_COUNT);

    if (kafka->topics[topic] == NULL) {
        return error_set(err, STATUS_NOT_FOUND, "no topic is set for '%s'",
                         stream_topic_name(topic));
    }
    *ret_name = kafka->topics[topic];
    return STATUS_OK;
}

int kafka_topic_find(const struct kafka *kafka, const char *name, int count) {
    for (int i = 0; i < count; i++) {
        if (kafka->topics[i] != NULL && strcmp(kafka->topics[i], name) == 0) { return i; }
    }
    return -1;
}

static void record_headers(const rd_kafka_message_t *message, struct stream_record *record) {
    rd_kafka_headers_t *headers = NULL;
    if (rd_kafka_message_headers(message, &headers) != RD_KAFKA_RESP_ERR_NO_ERROR) { return; }

    size_t count = rd_kafka_header_cnt(headers);
    for (size_t i = 0; i < count && record->header_count < STREAM_HEADERS_MAX; i++) {
        const char *name = NULL;
        const void *value = NULL;
        size_t size = 0;
        if (rd_kafka_header_get_all(headers, i, &name, &value, &size) !=
            RD_KAFKA_RESP_ERR_NO_ERROR) {
            return;
        }
        record->headers[record->header_count++] =
            (struct stream_header){name, span_make(value, size)};
    }
}

void kafka_record_of(const rd_kafka_message_t *message, enum stream_topic topic,
                     struct stream_record *ret_record) {
    assert(message->err == RD_KAFKA_RESP_ERR_NO_ERROR);
    assert(message->offset >= 0);

    rd_kafka_timestamp_type_t type;
    int64_t timestamp_ms = rd_kafka_message_timestamp(message, &type);
    struct stream_record record = {
        .topic = topic,
        .partition = message->partition,
        .offset = message->offset,
        .timestamp_ms = type == RD_KAFKA_TIMESTAMP_NOT_AVAILABLE ? -1 : timestamp_ms,
        .key = span_make(message->key, message->key_len),
        .value = span_make(message->payload, message->len),
    };
    record_headers(message, &record);
    *ret_record = record;
}
