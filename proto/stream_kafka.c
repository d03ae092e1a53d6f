/* SPDX-License-Identifier: Apache-2.0
 *
 * stream_kafka.c - the stream port on Apache Kafka: opening, closing, the table of operations.
 *
 * Nothing here waits for a broker: handles are made when first needed and librdkafka connects in
 * its own threads. What each operation does is in the rooms that stream_kafka_client.h names.
 */
#include "proto/stream_kafka.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>

#include "base/memory.h"
#include "proto/stream_kafka_client.h"

#define TEXT_BLOCK_BYTES 4096u

static enum status kafka_partitions(struct stream *s, enum stream_topic topic, int32_t *ret_count,
                                    struct error *err) {
    struct kafka *kafka = kafka_of(s);
    rd_kafka_t *handle = NULL;
    const char *name = NULL;
    enum status status = kafka_topic_name(kafka, topic, &name, err);
    if (status == STATUS_OK) { status = kafka_reader_handle(kafka, &handle, err); }
    if (status != STATUS_OK) { return status; }

    rd_kafka_topic_t *local = rd_kafka_topic_new(handle, name, NULL);
    if (local == NULL) {
        return error_set(err, STATUS_CONFIG, "topic '%s': %s", name,
                         rd_kafka_err2str(rd_kafka_last_error()));
    }
    const struct rd_kafka_metadata *metadata = NULL;
    rd_kafka_resp_err_t code = rd_kafka_metadata(handle, 0, local, &metadata, KAFKA_ANSWER_MS / 2);
    int32_t count = 0;
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR) {
        assert(metadata->topic_cnt == 1);
        code = metadata->topics[0].err;
        count = metadata->topics[0].partition_cnt;
        rd_kafka_metadata_destroy(metadata);
    }
    rd_kafka_topic_destroy(local);
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR) {
        return error_set(err, kafka_code_status(code), "partitions of topic '%s' at '%s': %s", name,
                         kafka->bootstrap_servers, rd_kafka_err2str(code));
    }
    *ret_count = count;
    return STATUS_OK;
}

static void kafka_close(struct stream *s) {
    if (s == NULL) { return; }
    struct kafka *kafka = kafka_of(s);
    kafka_consumer_close(&kafka->consumer);
    kafka_reader_close(&kafka->reader);
    kafka_producer_close(kafka->producer);
    if (kafka->plain != NULL) { rd_kafka_destroy(kafka->plain); }
    arena_free(&kafka->text);
    memory_free(kafka);
}

static const struct stream_ops kafka_ops = {
    .name = "kafka",
    .partitions = kafka_partitions,
    .fence = kafka_fence,
    .committed = kafka_committed,
    .bounds = kafka_bounds,
    .tail = kafka_tail,
    .read = kafka_read,
    .assign = kafka_assign,
    .poll = kafka_poll,
    .begin = kafka_begin,
    .publish = kafka_publish,
    .commit = kafka_commit,
    .abort = kafka_abort,
    .tainted = kafka_tainted,
    .lag = kafka_lag,
    .close = kafka_close,
};

/* Copies text; NULL and "" become NULL. False: no memory. */
static bool text_copy(struct kafka *kafka, const char *text, const char **ret_copy) {
    *ret_copy = NULL;
    if (text == NULL || text[0] == '\0') { return true; }
    *ret_copy = arena_take_copy(&kafka->text, text, strlen(text));
    return *ret_copy != NULL;
}

static enum status settings_copy(struct kafka *kafka, const struct stream_kafka_settings *settings,
                                 struct error *err) {
    bool whole = text_copy(kafka, settings->bootstrap_servers, &kafka->bootstrap_servers) &&
                 text_copy(kafka, settings->transactional_id, &kafka->transactional_id);
    for (int i = 0; i < STREAM_TOPIC_COUNT; i++) {
        whole = whole && text_copy(kafka, settings->topics[i], &kafka->topics[i]);
    }
    kafka->properties =
        ARENA_TAKE_ARRAY(&kafka->text, struct stream_kafka_property, settings->property_count);
    whole = whole && kafka->properties != NULL;
    for (int i = 0; whole && i < settings->property_count; i++) {
        kafka->properties[i].value = "";
        const char *value = NULL;
        whole = text_copy(kafka, settings->properties[i].name, &kafka->properties[i].name) &&
                text_copy(kafka, settings->properties[i].value, &value);
        if (value != NULL) { kafka->properties[i].value = value; }
    }
    if (!whole) { return error_set(err, STATUS_NO_MEMORY, "settings of the Kafka stream"); }

    kafka->property_count = settings->property_count;
    kafka->transaction_timeout_ms = settings->transaction_timeout_ms;
    kafka->message_max_bytes = settings->message_max_bytes;
    kafka->read_only = settings->read_only;
    return STATUS_OK;
}

static enum status settings_check(const struct stream_kafka_settings *settings, struct error *err) {
    if (settings->bootstrap_servers == NULL || settings->bootstrap_servers[0] == '\0') {
        return error_set(err, STATUS_CONFIG, "no bootstrap servers are set for Kafka");
    }
    if (settings->transactional_id == NULL || settings->transactional_id[0] == '\0') {
        return error_set(err, STATUS_CONFIG, "no transactional id is set for Kafka");
    }
    for (int i = 0; i < settings->property_count; i++) {
        enum status status = stream_kafka_property_check(settings->properties[i].name,
                                                         settings->properties[i].value, err);
        if (status != STATUS_OK) { return status; }
    }
    return STATUS_OK;
}

enum status stream_kafka_open(const struct stream_kafka_settings *settings,
                              struct stream **ret_stream, struct error *err) {
    assert(settings != NULL && settings->property_count >= 0);
    assert(settings->transaction_timeout_ms > 0 && settings->message_max_bytes > 0);

    enum status status = settings_check(settings, err);
    if (status != STATUS_OK) { return status; }

    struct kafka *kafka = MEMORY_TAKE_ARRAY(struct kafka, 1);
    if (kafka == NULL) { return error_set(err, STATUS_NO_MEMORY, "Kafka stream"); }
    kafka->stream.ops = &kafka_ops;
    status = arena_init_chained(&kafka->text, TEXT_BLOCK_BYTES, err);
    if (status == STATUS_OK) { status = settings_copy(kafka, settings, err); }
    if (status == STATUS_OK && !kafka->read_only) {
        /* A producer is made and dropped now, so that librdkafka's own refusals come at start. */
        status = kafka_producer_try(kafka, err);
    }
    if (status != STATUS_OK) {
        kafka_close(&kafka->stream);
        return status;
    }
    *ret_stream = &kafka->stream;
    return STATUS_OK;
}
