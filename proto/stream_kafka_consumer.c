/* SPDX-License-Identifier: Apache-2.0
 *
 * stream_kafka_consumer.c - input records, partition by partition, from explicit offsets.
 *
 * Backpressure is not taking: when the sink has no room the record is kept and offered again, and
 * librdkafka stops fetching once its own queue is full. Pausing and seeking
 * are not used, they had bugs in the versions that must work. Offsets of a partition may have gaps
 * (control markers, compaction) but never go back: smaller ones are dropped.
 * Thread: poll; kafka_lag: core.
 */
#include "proto/stream_kafka_client.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/memory.h"

#define POLL_RECORDS_MAX  1024 /* handed on by one call */
#define FULL_SINK_WAIT_US 1000 /* before the call returns to a caller whose sink is full */

/* error_cb: what librdkafka says about its connections, at poll time. */
static void consumer_error(rd_kafka_t *handle, int code, const char *reason, void *opaque) {
    (void)handle;
    (void)reason;
    struct kafka_consumer *consumer = opaque;
    if (code == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN) { consumer->away = true; }
}

void kafka_consumer_close(struct kafka_consumer *consumer) {
    if (consumer->refused != NULL) { rd_kafka_message_destroy(consumer->refused); }
    consumer->refused = NULL;
    if (consumer->handle != NULL) {
        (void)rd_kafka_consumer_close(consumer->handle); /* no group to leave: nothing can fail */
        rd_kafka_destroy(consumer->handle);
    }
    consumer->handle = NULL;
    memory_free(consumer->partitions);
    consumer->partitions = NULL;
    consumer->partition_count = 0;
    consumer->away = false;
}

static int partition_order(const void *left, const void *right) {
    const struct kafka_partition *a = left;
    const struct kafka_partition *b = right;
    if (a->topic != b->topic) { return a->topic < b->topic ? -1 : 1; }
    if (a->partition != b->partition) { return a->partition < b->partition ? -1 : 1; }
    return 0;
}

static struct kafka_partition *partition_find(const struct kafka_consumer *consumer,
                                              enum stream_topic topic, int32_t partition) {
    int low = 0;
    int high = consumer->partition_count - 1;
    const struct kafka_partition wanted = {.topic = topic, .partition = partition};
    while (low <= high) {
        int middle = low + (high - low) / 2;
        int order = partition_order(&consumer->partitions[middle], &wanted);
        if (order == 0) { return &consumer->partitions[middle]; }
        if (order < 0) { low = middle + 1; }
        if (order > 0) { high = middle - 1; }
    }
    return NULL;
}

static enum status partitions_make(struct kafka_consumer *consumer,
                                   const struct stream_position *positions, int count,
                                   struct error *err) {
    consumer->partitions = MEMORY_TAKE_ARRAY(struct kafka_partition, count > 0 ? count : 1);
    if (consumer->partitions == NULL) {
        return error_set(err, STATUS_NO_MEMORY, "%d input partitions", count);
    }
    for (int i = 0; i < count; i++) {
        struct kafka_partition *partition = &consumer->partitions[i];
        partition->topic = positions[i].topic;
        partition->partition = positions[i].partition;
        atomic_init(&partition->next, positions[i].next);
        atomic_init(&partition->end, -1);
    }
    qsort(consumer->partitions, (size_t)count, sizeof consumer->partitions[0], partition_order);
    consumer->partition_count = count;
    return STATUS_OK;
}

enum status kafka_assign(struct stream *s, const struct stream_position *positions, int count,
                         struct error *err) {
    struct kafka *kafka = kafka_of(s);
    struct kafka_consumer *consumer = &kafka->consumer;
    assert(count >= 0 && count <= STREAM_POSITIONS_MAX);

    kafka_consumer_close(consumer);
    kafka_reader_rest(&kafka->reader);
    enum status status = partitions_make(consumer, positions, count, err);
    if (status != STATUS_OK) { return status; }
    status = kafka_consumer_make(kafka, consumer, consumer_error, NULL, &consumer->handle, err);
    if (status != STATUS_OK) { return status; }

    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(count);
    for (int i = 0; i < count; i++) {
        assert((int)positions[i].topic < STREAM_INPUT_COUNT);
        assert(positions[i].next >= 0);
        const char *name = NULL;
        status = kafka_topic_name(kafka, positions[i].topic, &name, err);
        if (status != STATUS_OK) { break; }
        rd_kafka_topic_partition_list_add(list, name, positions[i].partition)->offset =
            positions[i].next;
    }
    if (status == STATUS_OK) {
        rd_kafka_resp_err_t code = rd_kafka_assign(consumer->handle, list);
        if (code != RD_KAFKA_RESP_ERR_NO_ERROR) {
            status = error_set(err, kafka_code_status(code), "assigning %d partitions: %s", count,
                               rd_kafka_err2str(code));
        }
    }
    rd_kafka_topic_partition_list_destroy(list);
    return status;
}

/* ---- polling ---- */

/* An event of the partition or the connection instead of a record. */
static enum status poll_event(struct kafka *kafka, const rd_kafka_message_t *message,
                              struct error *err) {
    struct kafka_consumer *consumer = &kafka->consumer;
    const char *name = message->rkt != NULL ? rd_kafka_topic_name(message->rkt) : "";
    int topic = kafka_topic_find(kafka, name, STREAM_INPUT_COUNT);
    if (message->err == RD_KAFKA_RESP_ERR__PARTITION_EOF) {
        struct kafka_partition *partition =
            topic < 0 ? NULL
                      : partition_find(consumer, (enum stream_topic)topic, message->partition);
        if (partition != NULL) { atomic_store(&partition->end, message->offset); }
        consumer->away = false;
        return STATUS_OK;
    }
    if (message->err == RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET ||
        message->err == RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE) {
        return error_set(err, STATUS_CORRUPT,
                         "topic '%s' partition %d no longer holds offset %" PRId64 ": %s", name,
                         message->partition, message->offset, rd_kafka_message_errstr(message));
    }
    enum status status = kafka_code_status(message->err);
    if (status == STATUS_AGAIN) {
        consumer->away = true;
        return STATUS_OK;
    }
    if (status == STATUS_NOT_FOUND) { status = STATUS_CONFIG; }
    return error_set(err, status, "consuming topic '%s' partition %d: %s", name, message->partition,
                     rd_kafka_message_errstr(message));
}

/* Hands one record to the sink. *ret_kept: the sink had no room, the message was kept. */
static enum status poll_record(struct kafka *kafka, rd_kafka_message_t *message, stream_sink sink,
                               void *context, bool *ret_kept, struct error *err) {
    struct kafka_consumer *consumer = &kafka->consumer;
    int topic = kafka_topic_find(kafka, rd_kafka_topic_name(message->rkt), STREAM_INPUT_COUNT);
    struct kafka_partition *partition =
        topic < 0 ? NULL : partition_find(consumer, (enum stream_topic)topic, message->partition);
    consumer->away = false;
    *ret_kept = false;
    if (partition == NULL || message->offset < atomic_load(&partition->next)) { return STATUS_OK; }

    struct stream_record record;
    kafka_record_of(message, partition->topic, &record);
    enum status status = sink(context, &record, err);
    if (status == STATUS_AGAIN) {
        consumer->refused = message;
        *ret_kept = true;
        return STATUS_OK;
    }
    if (status == STATUS_OK) { atomic_store(&partition->next, message->offset + 1); }
    return status;
}

enum status kafka_poll(struct stream *s, int timeout_ms, stream_sink sink, void *context,
                       struct error *err) {
    struct kafka *kafka = kafka_of(s);
    struct kafka_consumer *consumer = &kafka->consumer;
    assert(consumer->handle != NULL);
    assert(timeout_ms >= 0);

    int handed = 0;
    while (handed < POLL_RECORDS_MAX) {
        rd_kafka_message_t *message = consumer->refused;
        consumer->refused = NULL;
        if (message == NULL) {
            message = rd_kafka_consumer_poll(consumer->handle, handed == 0 ? timeout_ms : 0);
        }
        if (message == NULL) { break; }

        bool kept = false;
        enum status status = STATUS_OK;
        if (message->err != RD_KAFKA_RESP_ERR_NO_ERROR) {
            status = poll_event(kafka, message, err);
        } else {
            status = poll_record(kafka, message, sink, context, &kept, err);
        }
        if (!kept) { rd_kafka_message_destroy(message); }
        if (kept && handed == 0 && timeout_ms > 0) { clock_sleep_us(FULL_SINK_WAIT_US); }
        if (status != STATUS_OK || kept) { return status; }
        handed++;
    }
    if (handed == 0 && consumer->away) {
        return error_set(err, STATUS_AGAIN, "no broker of '%s' answers", kafka->bootstrap_servers);
    }
    return STATUS_OK;
}

int64_t kafka_lag(struct stream *s, enum stream_topic topic, int32_t partition, int64_t next) {
    struct kafka *kafka = kafka_of(s);
    const struct kafka_partition *at = partition_find(&kafka->consumer, topic, partition);
    if (kafka->consumer.handle == NULL || at == NULL) { return -1; }

    int64_t low = -1;
    int64_t high = -1;
    rd_kafka_resp_err_t code = rd_kafka_get_watermark_offsets(
        kafka->consumer.handle, kafka->topics[topic], partition, &low, &high);
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR || high < 0) { return -1; }

    /* Control markers lie between the last record and the end: once the end was reached and all
     * that was handed on is consumed, nothing is left. */
    bool reached = atomic_load(&at->end) >= high;
    if (reached && next >= atomic_load(&at->next)) { return 0; }
    return next < high ? high - next : 0;
}
