/* SPDX-License-Identifier: Apache-2.0
 *
 * stream_kafka_admin.c - what the operator's tool needs beside the port: making topics, looking at
 * their configuration, producing events without a transaction.
 *
 * Plain producing is idempotent and keeps the order of a partition; the first record that could not
 * be delivered is remembered and reported by flush.
 */
#include "proto/stream_kafka.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "proto/stream_kafka_client.h"

/* ---- topics ---- */

/* Waits for the one event of an admin request. takes: the queue. */
static enum status admin_wait(struct kafka *kafka, rd_kafka_queue_t *queue,
                              rd_kafka_event_t **ret_event, struct error *err) {
    rd_kafka_event_t *event = rd_kafka_queue_poll(queue, 2 * KAFKA_ANSWER_MS);
    rd_kafka_queue_destroy(queue);
    if (event == NULL) {
        return error_set(err, STATUS_AGAIN, "no broker of '%s' answers", kafka->bootstrap_servers);
    }
    rd_kafka_resp_err_t code = rd_kafka_event_error(event);
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR) {
        enum status status =
            error_set(err, kafka_code_status(code), "%s", rd_kafka_event_error_string(event));
        rd_kafka_event_destroy(event);
        return status;
    }
    *ret_event = event;
    return STATUS_OK;
}

static rd_kafka_AdminOptions_t *admin_options(rd_kafka_t *handle, rd_kafka_admin_op_t operation) {
    char text[KAFKA_TEXT_BYTES];
    rd_kafka_AdminOptions_t *options = rd_kafka_AdminOptions_new(handle, operation);
    rd_kafka_resp_err_t code =
        rd_kafka_AdminOptions_set_request_timeout(options, KAFKA_ANSWER_MS, text, sizeof text);
    assert(code == RD_KAFKA_RESP_ERR_NO_ERROR);
    (void)code;
    return options;
}

static enum status created_result(const rd_kafka_event_t *event, const char *name,
                                  bool *ret_created, struct error *err) {
    size_t count = 0;
    const rd_kafka_CreateTopics_result_t *result =
        rd_kafka_event_CreateTopics_result((rd_kafka_event_t *)(uintptr_t)event);
    const rd_kafka_topic_result_t **topics = rd_kafka_CreateTopics_result_topics(result, &count);
    assert(count == 1);

    rd_kafka_resp_err_t code = rd_kafka_topic_result_error(topics[0]);
    if (code == RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS) {
        *ret_created = false;
        return STATUS_OK;
    }
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR) {
        const char *text = rd_kafka_topic_result_error_string(topics[0]);
        return error_set(err, kafka_code_status(code), "creating topic '%s': %s", name,
                         text != NULL ? text : rd_kafka_err2str(code));
    }
    *ret_created = true;
    return STATUS_OK;
}

enum status stream_kafka_topic_create(struct stream *stream, const struct stream_kafka_topic *topic,
                                      bool *ret_created, struct error *err) {
    struct kafka *kafka = kafka_of(stream);
    assert(topic->name != NULL && topic->partitions > 0);

    rd_kafka_t *handle = NULL;
    enum status status = kafka_reader_handle(kafka, &handle, err);
    if (status != STATUS_OK) { return status; }

    char text[KAFKA_TEXT_BYTES];
    rd_kafka_NewTopic_t *wanted = rd_kafka_NewTopic_new(topic->name, topic->partitions,
                                                        topic->replication, text, sizeof text);
    if (wanted == NULL) {
        return error_set(err, STATUS_CONFIG, "topic '%s': %s", topic->name, text);
    }
    for (int i = 0; i < topic->config_count; i++) {
        (void)rd_kafka_NewTopic_set_config(wanted, topic->config[i].name,
                                           topic->config[i].value); /* the broker judges it */
    }
    rd_kafka_queue_t *queue = rd_kafka_queue_new(handle);
    rd_kafka_AdminOptions_t *options = admin_options(handle, RD_KAFKA_ADMIN_OP_CREATETOPICS);
    rd_kafka_CreateTopics(handle, &wanted, 1, options, queue);
    rd_kafka_AdminOptions_destroy(options);
    rd_kafka_NewTopic_destroy(wanted);

    rd_kafka_event_t *event = NULL;
    status = admin_wait(kafka, queue, &event, err);
    if (status != STATUS_OK) { return error_wrap(err, "creating topic '%s'", topic->name); }
    status = created_result(event, topic->name, ret_created, err);
    rd_kafka_event_destroy(event);
    return status;
}

/* The value of key among a described topic's entries. */
static enum status config_value(const rd_kafka_event_t *event, const char *topic, const char *key,
                                char *value, size_t value_bytes, struct error *err) {
    size_t count = 0;
    const rd_kafka_DescribeConfigs_result_t *result =
        rd_kafka_event_DescribeConfigs_result((rd_kafka_event_t *)(uintptr_t)event);
    const rd_kafka_ConfigResource_t **resources =
        rd_kafka_DescribeConfigs_result_resources(result, &count);
    assert(count == 1);

    rd_kafka_resp_err_t code = rd_kafka_ConfigResource_error(resources[0]);
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR) {
        return error_set(err, kafka_code_status(code), "configuration of topic '%s': %s", topic,
                         rd_kafka_err2str(code));
    }
    const rd_kafka_ConfigEntry_t **entries = rd_kafka_ConfigResource_configs(resources[0], &count);
    for (size_t i = 0; i < count; i++) {
        const char *found = rd_kafka_ConfigEntry_value(entries[i]);
        if (found == NULL || strcmp(rd_kafka_ConfigEntry_name(entries[i]), key) != 0) { continue; }
        size_t size = strlen(found);
        if (size >= value_bytes) {
            return error_set(err, STATUS_LIMIT, "'%s' of topic '%s' has %zu bytes", key, topic,
                             size);
        }
        memcpy(value, found, size + 1);
        return STATUS_OK;
    }
    return error_set(err, STATUS_NOT_FOUND, "topic '%s' has no configuration '%s'", topic, key);
}

enum status stream_kafka_topic_config(struct stream *stream, enum stream_topic topic,
                                      const char *key, char *value, size_t value_bytes,
                                      struct error *err) {
    struct kafka *kafka = kafka_of(stream);
    assert(key != NULL && value != NULL && value_bytes > 0);

    rd_kafka_t *handle = NULL;
    const char *name = NULL;
    enum status status = kafka_topic_name(kafka, topic, &name, err);
    if (status == STATUS_OK) { status = kafka_reader_handle(kafka, &handle, err); }
    if (status != STATUS_OK) { return status; }

    rd_kafka_ConfigResource_t *resource =
        rd_kafka_ConfigResource_new(RD_KAFKA_RESOURCE_TOPIC, name);
    rd_kafka_queue_t *queue = rd_kafka_queue_new(handle);
    rd_kafka_AdminOptions_t *options = admin_options(handle, RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS);
    rd_kafka_DescribeConfigs(handle, &resource, 1, options, queue);
    rd_kafka_AdminOptions_destroy(options);
    rd_kafka_ConfigResource_destroy(resource);

    rd_kafka_event_t *event = NULL;
    status = admin_wait(kafka, queue, &event, err);
    if (status != STATUS_OK) { return error_wrap(err, "configuration of topic '%s'", name); }
    status = config_value(event, name, key, value, value_bytes, err);
    rd_kafka_event_destroy(event);
    return status;
}

/* ---- plain producing ---- */

static void plain_delivery(rd_kafka_t *handle, const rd_kafka_message_t *message, void *opaque) {
    (void)handle;
    struct kafka *kafka = opaque;
    if (message->err != RD_KAFKA_RESP_ERR_NO_ERROR &&
        kafka->plain_error == RD_KAFKA_RESP_ERR_NO_ERROR) {
        kafka->plain_error = message->err;
    }
}

static void plain_trouble(rd_kafka_t *handle, int code, const char *reason, void *opaque) {
    (void)handle; /* shows as records that are not delivered */
    (void)code;
    (void)reason;
    (void)opaque;
}

static enum status plain_make(struct kafka *kafka, struct error *err) {
    rd_kafka_conf_t *conf = NULL;
    enum status status = kafka_conf_make(kafka, &conf, err);
    if (status != STATUS_OK) { return status; }

    char number[16];
    (void)snprintf(number, sizeof number, "%d", kafka->message_max_bytes);
    kafka_conf_put(conf, "message.max.bytes", number);
    kafka_conf_put(conf, "enable.idempotence", "true");
    kafka_conf_put(conf, "partitioner", "murmur2");
    rd_kafka_conf_set_dr_msg_cb(conf, plain_delivery);
    rd_kafka_conf_set_error_cb(conf, plain_trouble);
    rd_kafka_conf_set_opaque(conf, kafka);
    return kafka_client_make(RD_KAFKA_PRODUCER, conf, &kafka->plain, err);
}

enum status stream_kafka_produce(struct stream *stream, const struct stream_output *output,
                                 struct error *err) {
    struct kafka *kafka = kafka_of(stream);
    if (kafka->plain == NULL) {
        enum status status = plain_make(kafka, err);
        if (status != STATUS_OK) { return status; }
    }
    enum status status = kafka_produce_on(kafka, kafka->plain, output, err);
    (void)rd_kafka_poll(kafka->plain, 0);
    return status;
}

enum status stream_kafka_flush(struct stream *stream, int timeout_ms, struct error *err) {
    struct kafka *kafka = kafka_of(stream);
    if (kafka->plain == NULL) { return STATUS_OK; }

    rd_kafka_resp_err_t code = rd_kafka_flush(kafka->plain, timeout_ms);
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR) {
        return error_set(err, kafka_code_status(code), "%d records are not delivered yet: %s",
                         rd_kafka_outq_len(kafka->plain), rd_kafka_err2str(code));
    }
    code = kafka->plain_error;
    kafka->plain_error = RD_KAFKA_RESP_ERR_NO_ERROR;
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR) {
        return error_set(err, kafka_code_status(code), "a record was not delivered: %s",
                         rd_kafka_err2str(code));
    }
    return STATUS_OK;
}
