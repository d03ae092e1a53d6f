/* SPDX-License-Identifier: Apache-2.0
 *
 * stream_access.c - opens the stream of the settings for a tool, embedded or Kafka. */
#include "ops/stream_access.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "daemon/stream_open.h"
#include "proto/stream_kafka.h"
#include "storage/stream_local.h"

#define ROOM_WAIT_US     20000
#define ROOM_WAIT_US_MAX 600000000
#define BROKER_WAIT_US   200000
#define BROKER_TRIES     25
#define FLUSH_TIMEOUT_MS 60000

const char *stream_access_topic_name(const struct settings *settings, enum stream_topic topic) {
    switch (topic) {
    case STREAM_EVENTS: return settings->topics_events;
    case STREAM_ITEMS: return settings->topics_items;
    case STREAM_CONTROL: return settings->topics_control;
    case STREAM_PREDICTIONS: return settings->topics_predictions;
    case STREAM_SNAPSHOTS: return settings->topics_snapshots;
    case STREAM_LEDGER: return settings->topics_ledger;
    case STREAM_METRICS: return settings->topics_metrics;
    case STREAM_DLQ: return settings->topics_dlq;
    }
    return "";
}

enum status stream_access_topic(const struct settings *settings, const char *name,
                                enum stream_topic *ret_topic, struct error *err) {
    for (int i = 0; i < STREAM_TOPIC_COUNT; i++) {
        enum stream_topic topic = (enum stream_topic)i;
        if (strcmp(name, stream_topic_name(topic)) == 0 ||
            strcmp(name, stream_access_topic_name(settings, topic)) == 0) {
            *ret_topic = topic;
            return STATUS_OK;
        }
    }
    return error_set(err, STATUS_MALFORMED,
                     "no topic '%s': expected events, items, control, predictions, snapshots, "
                     "ledger, metrics or dlq",
                     name);
}

enum status stream_access_open(const struct settings *settings, struct stream_access *ret_access,
                               struct error *err) {
    struct stream_access access = {.kafka = settings->stream_kind == STREAM_KIND_KAFKA};
    enum status status = stream_open(settings, false, &access.stream, err);
    if (status == STATUS_OK) { *ret_access = access; }
    return status;
}

void stream_access_close(struct stream_access *access) {
    if (access->stream == NULL) { return; }
    access->stream->ops->close(access->stream);
    access->stream = NULL;
}

static enum status produce_local(struct stream_access *access, const struct stream_output *outputs,
                                 int count, void (*waiting)(void), struct error *err) {
    for (int64_t waited = 0; waited < ROOM_WAIT_US_MAX; waited += ROOM_WAIT_US) {
        enum status status = stream_local_produce(access->stream, outputs, count, err);
        if (status != STATUS_AGAIN) { return status; }
        if (waited == 0 && waiting != NULL) { waiting(); }
        clock_sleep_us(ROOM_WAIT_US);
    }
    return error_set(err, STATUS_IO,
                     "the stream has been full for ten minutes: is ilorad running?");
}

enum status stream_access_produce(struct stream_access *access, const struct stream_output *outputs,
                                  int count, void (*waiting)(void), struct error *err) {
    if (!access->kafka) { return produce_local(access, outputs, count, waiting, err); }
    enum status status = STATUS_OK;
    for (int i = 0; i < count && status == STATUS_OK; i++) {
        status = stream_kafka_produce(access->stream, &outputs[i], err);
    }
    return status;
}

enum status stream_access_flush(struct stream_access *access, struct error *err) {
    if (!access->kafka) { return STATUS_OK; }
    return stream_kafka_flush(access->stream, FLUSH_TIMEOUT_MS, err);
}

enum status stream_access_partitions(struct stream_access *access, enum stream_topic topic,
                                     int32_t *ret_count, struct error *err) {
    enum status status = STATUS_AGAIN;
    for (int i = 0; i < BROKER_TRIES && status == STATUS_AGAIN; i++) {
        if (i > 0) { clock_sleep_us(BROKER_WAIT_US); }
        status = access->stream->ops->partitions(access->stream, topic, ret_count, err);
    }
    return status;
}
