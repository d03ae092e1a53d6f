/* SPDX-License-Identifier: Apache-2.0
 *
 * stream_kafka_producer.c - the transactional identity: fence, begin, publish, commit, abort,
 * taint.
 *
 * Errors are read in librdkafka's order: fenced, then requires-abort, then retriable (the same call
 * again), and everything else ends the process (PROTOCOL.md, Loop). Taking over is done in slices
 * of one second, which librdkafka resumes; the calls of a transaction run beside the caller
 * (stream_kafka_call.c). One that needs more than a second taints the producer.
 *
 * Taint: librdkafka of our time has no KIP-890, a request that was lost and sent again may reach
 * the broker in the next transaction. So after a disconnect, a time-out, a retry or an abort the
 * producer finishes its transaction and is replaced. The statistics count those per broker; the
 * error callback hears of lost connections sooner. Thread: core; librdkafka's callbacks run inside
 * our own calls.
 */
#include "proto/stream_kafka_client.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/failpoint.h"
#include "base/json.h"
#include "base/memory.h"

#define STATISTICS_MS "1000"
#define FENCE_TRIES   30 /* slices, when nobody waits with us */
#define ABORT_SLICES  5  /* a stop may take 5 s */

/* ---- callbacks ---- */

static void producer_error(rd_kafka_t *handle, int code, const char *reason, void *opaque) {
    (void)handle;
    (void)code;
    (void)reason;
    struct kafka_producer *producer = opaque;
    producer->disturbed = true;
}

static void producer_delivery(rd_kafka_t *handle, const rd_kafka_message_t *message, void *opaque) {
    (void)handle;
    struct kafka_producer *producer = opaque;
    if (message->err != RD_KAFKA_RESP_ERR_NO_ERROR &&
        producer->delivery_error == RD_KAFKA_RESP_ERR_NO_ERROR) {
        producer->delivery_error = message->err;
    }
}

/* Adds one broker's counters of trouble. */
static bool statistics_broker(void *context, struct span name, const struct json_value *broker) {
    static const char *const counters[] = {"disconnects", "req_timeouts", "txretries"};
    (void)name;
    int64_t *sum = context;
    for (size_t i = 0; i < sizeof counters / sizeof counters[0]; i++) {
        int64_t count = 0;
        if (json_integer(json_member(broker, counters[i]), &count)) { *sum += count; }
    }
    return true;
}

static int producer_statistics(rd_kafka_t *handle, char *json, size_t size, void *opaque) {
    (void)handle;
    struct kafka_producer *producer = opaque;
    struct json_value *tree = NULL;
    if (json_parse(span_make(json, size), &tree, NULL) != STATUS_OK) {
        return 0; /* no memory: counted next second */
    }
    int64_t sum = 0;
    json_members(json_member(tree, "brokers"), statistics_broker, &sum);
    json_free(tree);

    /* What happened before the first transaction disturbed none. */
    if (producer->counted && sum > producer->disturbances && producer->begun) {
        producer->disturbed = true;
    }
    producer->disturbances = sum;
    producer->counted = true;
    return 0; /* librdkafka frees json */
}

/* ---- errors ---- */

/* Words an error of the transactional interface; frees it. *ret_again: make the same call again. */
static enum status transaction_status(struct kafka *kafka, rd_kafka_error_t *error,
                                      const char *what, bool *ret_again, struct error *err) {
    *ret_again = false;
    if (error == NULL) { return STATUS_OK; }

    char text[KAFKA_TEXT_BYTES];
    rd_kafka_resp_err_t code = rd_kafka_error_code(error);
    enum status status = kafka_code_status(code);
    rd_kafka_resp_err_t fatal = rd_kafka_fatal_error(kafka->producer->handle, text, sizeof text);
    bool fenced = status == STATUS_FENCED || kafka_code_status(fatal) == STATUS_FENCED;
    if (fenced) {
        status = STATUS_FENCED;
    } else if (rd_kafka_error_txn_requires_abort(error)) {
        kafka->producer->disturbed = true;
        status = status == STATUS_LIMIT || status == STATUS_CONFIG ? status : STATUS_IO;
    } else if (rd_kafka_error_is_retriable(error)) {
        *ret_again = true;
        status = STATUS_AGAIN;
    } else if (status != STATUS_CONFIG) {
        status = STATUS_IO;
    }
    (void)error_set(err, status, "%s as '%s': %s (%s)", what, kafka->transactional_id,
                    rd_kafka_error_string(error), rd_kafka_err2name(code)); /* = status */
    rd_kafka_error_destroy(error);
    return status;
}

/* ---- identity ---- */

void kafka_producer_close(struct kafka_producer *producer) {
    if (producer == NULL) { return; }
    if (producer->group != NULL) { rd_kafka_consumer_group_metadata_destroy(producer->group); }
    for (int i = 0; i < STREAM_TOPIC_COUNT; i++) {
        if (producer->topics[i] != NULL) { rd_kafka_topic_destroy(producer->topics[i]); }
    }
    if (producer->handle != NULL) {
        /* What is still queued belongs to a transaction that will not be committed. */
        (void)rd_kafka_purge(producer->handle, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
        rd_kafka_destroy(producer->handle);
    }
    memory_free(producer);
}

static void producer_drop(struct kafka *kafka) {
    kafka_producer_close(kafka->producer);
    kafka->producer = NULL;
}

/* Makes kafka->producer; on failure it may be half built, and is closed by whoever comes next. */
static enum status producer_make(struct kafka *kafka, struct error *err) {
    assert(kafka->producer == NULL);

    struct kafka_producer *producer = MEMORY_TAKE_ARRAY(struct kafka_producer, 1);
    if (producer == NULL) { return error_set(err, STATUS_NO_MEMORY, "Kafka producer"); }
    kafka->producer = producer;

    rd_kafka_conf_t *conf = NULL;
    enum status status = kafka_conf_make(kafka, &conf, err);
    if (status != STATUS_OK) { return status; }

    char number[16];
    kafka_conf_put(conf, "transactional.id", kafka->transactional_id);
    (void)snprintf(number, sizeof number, "%d", kafka->transaction_timeout_ms);
    kafka_conf_put(conf, "transaction.timeout.ms", number);
    (void)snprintf(number, sizeof number, "%d", kafka->message_max_bytes);
    kafka_conf_put(conf, "message.max.bytes", number);
    kafka_conf_put(conf, "enable.idempotence", "true");
    kafka_conf_put(conf, "partitioner", "murmur2");
    kafka_conf_put(conf, "statistics.interval.ms", STATISTICS_MS);
    rd_kafka_conf_set_stats_cb(conf, producer_statistics);
    rd_kafka_conf_set_error_cb(conf, producer_error);
    rd_kafka_conf_set_dr_msg_cb(conf, producer_delivery);
    rd_kafka_conf_set_opaque(conf, producer);
    status = kafka_client_make(RD_KAFKA_PRODUCER, conf, &producer->handle, err);
    if (status != STATUS_OK) { return status; }

    producer->group = rd_kafka_consumer_group_metadata_new(kafka->transactional_id);
    if (producer->group == NULL) {
        return error_set(err, STATUS_NO_MEMORY, "group '%s'", kafka->transactional_id);
    }
    return STATUS_OK;
}

/* Asks for the leaders of all topics at once. Without it librdkafka looks for a new topic's leader
 * when its timer of one second fires, and the first commit after each fence takes that second. Only
 * an optimisation: what fails here is found again by the first record. */
static void producer_warm(struct kafka *kafka) {
    struct kafka_producer *producer = kafka->producer;
    for (int i = STREAM_INPUT_COUNT; i < STREAM_TOPIC_COUNT; i++) {
        if (kafka->topics[i] == NULL || producer->topics[i] != NULL) { continue; }
        producer->topics[i] = rd_kafka_topic_new(producer->handle, kafka->topics[i], NULL);
    }
    const struct rd_kafka_metadata *metadata = NULL;
    if (rd_kafka_metadata(producer->handle, 0, NULL, &metadata, KAFKA_SLICE_MS) ==
        RD_KAFKA_RESP_ERR_NO_ERROR) {
        rd_kafka_metadata_destroy(metadata);
    }
}

enum status kafka_producer_try(struct kafka *kafka, struct error *err) {
    enum status status = producer_make(kafka, err);
    producer_drop(kafka);
    return status;
}

enum status kafka_fence(struct stream *s, stream_wait wait, void *wait_context, struct error *err) {
    struct kafka *kafka = kafka_of(s);
    if (kafka->read_only) {
        return error_set(err, STATUS_CONFIG, "a read-only stream has no identity to fence with");
    }
    producer_drop(kafka);
    enum status status = producer_make(kafka, err);
    if (status != STATUS_OK) {
        producer_drop(kafka);
        return status;
    }

    bool again = true;
    rd_kafka_t *handle = kafka->producer->handle;
    for (int i = 0; again; i++) {
        status = transaction_status(kafka, rd_kafka_init_transactions(handle, KAFKA_SLICE_MS),
                                    "taking over", &again, err);
        bool goes_on = wait != NULL ? wait(wait_context) : i + 1 < FENCE_TRIES;
        (void)rd_kafka_poll(handle, 0); /* callbacks of a connection that was refused */
        again = again && goes_on;
    }
    if (status != STATUS_OK) {
        producer_drop(kafka);
        return status;
    }
    producer_warm(kafka);
    kafka->producer->disturbed = false;
    kafka->given_up = false;
    return STATUS_OK;
}

bool kafka_tainted(struct stream *s) {
    struct kafka *kafka = kafka_of(s);
    struct kafka_producer *producer = kafka->producer;
    if (producer == NULL) { return kafka->given_up; }
    (void)rd_kafka_poll(producer->handle, 0); /* serves the callbacks */
    return producer->begun && producer->disturbed;
}

/* ---- transaction ---- */

enum status kafka_begin(struct stream *s, struct error *err) {
    struct kafka *kafka = kafka_of(s);
    struct kafka_producer *producer = kafka->producer;
    if (producer == NULL) {
        return error_set(err, STATUS_IO, "no transaction can begin before the stream is fenced");
    }
    assert(!producer->in_transaction);

    (void)rd_kafka_poll(producer->handle, 0);
    bool again = false;
    enum status status = transaction_status(kafka, rd_kafka_begin_transaction(producer->handle),
                                            "beginning a transaction", &again, err);
    if (status != STATUS_OK) { return status; }

    producer->in_transaction = true;
    producer->begun = true;
    producer->offsets_sent = false;
    producer->delivery_error = RD_KAFKA_RESP_ERR_NO_ERROR;
    return STATUS_OK;
}

/* Headers for librdkafka; NULL when there are none. The handle's produce call takes them. */
static rd_kafka_headers_t *produce_headers(const struct stream_output *output) {
    if (output->header_count == 0) { return NULL; }
    rd_kafka_headers_t *headers = rd_kafka_headers_new((size_t)output->header_count);
    for (int i = 0; i < output->header_count; i++) {
        const struct stream_header *header = &output->headers[i];
        (void)rd_kafka_header_add(headers, header->name, -1, header->value.data,
                                  (ssize_t)header->value.size); /* fails for read-only ones only */
    }
    return headers;
}

/* rd_kafka_producev's argument macros check types by statement expressions. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpedantic"
static rd_kafka_resp_err_t produce_once(rd_kafka_t *handle, const char *topic,
                                        const struct stream_output *output) {
    rd_kafka_headers_t *headers = produce_headers(output);
    void *key = (void *)(uintptr_t)output->key.data; /* copied, never written to */
    void *value = (void *)(uintptr_t)output->value.data;
    rd_kafka_resp_err_t code = rd_kafka_producev(
        handle, RD_KAFKA_V_TOPIC(topic), RD_KAFKA_V_PARTITION(output->partition),
        RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_KEY(key, output->key.size),
        RD_KAFKA_V_VALUE(value, output->value.size),
        RD_KAFKA_V_TIMESTAMP(output->timestamp_ms < 0 ? 0 : output->timestamp_ms),
        RD_KAFKA_V_HEADERS(headers), RD_KAFKA_V_END);
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR && headers != NULL) {
        rd_kafka_headers_destroy(headers);
    }
    return code;
}
#pragma GCC diagnostic pop

enum status kafka_produce_on(struct kafka *kafka, rd_kafka_t *handle,
                             const struct stream_output *output, struct error *err) {
    assert(output->partition >= -1);
    assert(output->header_count >= 0 && output->header_count <= STREAM_HEADERS_MAX);

    const char *topic = NULL;
    enum status status = kafka_topic_name(kafka, output->topic, &topic, err);
    if (status != STATUS_OK) { return status; }

    int64_t deadline_us = clock_monotonic_us() + (int64_t)KAFKA_ANSWER_MS * 1000;
    rd_kafka_resp_err_t code = produce_once(handle, topic, output);
    while (code == RD_KAFKA_RESP_ERR__QUEUE_FULL && clock_monotonic_us() < deadline_us) {
        (void)rd_kafka_poll(handle, 100); /* delivery reports make room */
        code = produce_once(handle, topic, output);
    }
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR) { return STATUS_OK; }
    return error_set(err, kafka_code_status(code), "publishing %zu bytes to topic '%s': %s",
                     output->value.size, topic, rd_kafka_err2str(code));
}

enum status kafka_publish(struct stream *s, const struct stream_output *output, struct error *err) {
    struct kafka *kafka = kafka_of(s);
    assert(kafka->producer != NULL && kafka->producer->in_transaction);

    enum status status = kafka_produce_on(kafka, kafka->producer->handle, output, err);
    (void)rd_kafka_poll(kafka->producer->handle, 0);
    return status;
}

/* Offsets and token of all partitions for send_offsets. */
static enum status commit_offsets(struct kafka *kafka, const struct stream_position *positions,
                                  int count, const char *token,
                                  rd_kafka_topic_partition_list_t **ret_list, struct error *err) {
    size_t token_size = strlen(token);
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(count);
    for (int i = 0; i < count; i++) {
        assert(positions[i].next >= 0);
        const char *name = NULL;
        enum status status = kafka_topic_name(kafka, positions[i].topic, &name, err);
        if (status == STATUS_OK) {
            rd_kafka_topic_partition_t *partition =
                rd_kafka_topic_partition_list_add(list, name, positions[i].partition);
            partition->offset = positions[i].next;
            partition->metadata = rd_kafka_mem_malloc(kafka->producer->handle, token_size + 1);
            if (partition->metadata == NULL) {
                status = error_set(err, STATUS_NO_MEMORY, "offsets of %d partitions", count);
            } else {
                memcpy(partition->metadata, token, token_size + 1);
                partition->metadata_size = token_size; /* the list frees it */
            }
        }
        if (status != STATUS_OK) {
            rd_kafka_topic_partition_list_destroy(list);
            return status;
        }
    }
    *ret_list = list;
    return STATUS_OK;
}

static rd_kafka_error_t *send_offsets(struct kafka_producer *producer,
                                      rd_kafka_topic_partition_list_t *offsets) {
    return rd_kafka_send_offsets_to_transaction(producer->handle, offsets, producer->group, -1);
}

static rd_kafka_error_t *commit_transaction(struct kafka_producer *producer,
                                            rd_kafka_topic_partition_list_t *offsets) {
    (void)offsets;
    return rd_kafka_commit_transaction(producer->handle, -1); /* the transaction's own time-out */
}

/* The broker refuses to end a transaction it has not heard of: an abort may overtake the request
 * that adds the first partition (librdkafka issue 4849). Nothing is committed then, and the fence
 * that has to follow an abort (stream.h) ends whatever the late request opened. */
static rd_kafka_error_t *abort_transaction(struct kafka_producer *producer,
                                           rd_kafka_topic_partition_list_t *offsets) {
    (void)offsets;
    rd_kafka_error_t *error = rd_kafka_abort_transaction(producer->handle, -1);
    if (error != NULL && rd_kafka_error_code(error) == RD_KAFKA_RESP_ERR_INVALID_TXN_STATE) {
        rd_kafka_error_destroy(error);
        error = NULL;
    }
    return error;
}

/* Makes a call again while librdkafka calls its error retriable and wait agrees. */
static enum status call_until_done(struct kafka *kafka, kafka_blocking call,
                                   rd_kafka_topic_partition_list_t *offsets, const char *what,
                                   stream_wait wait, void *wait_context, struct error *err) {
    bool again = true;
    enum status status = STATUS_OK;
    while (again) {
        rd_kafka_error_t *error = NULL;
        status = kafka_call(kafka, call, offsets, wait, wait_context, &error, err);
        if (status != STATUS_OK) { return error_wrap(err, "%s", what); }
        status = transaction_status(kafka, error, what, &again, err);
        if (again) { kafka->producer->disturbed = true; }
        if (again && wait != NULL && !wait(wait_context)) { return status; }
    }
    return status;
}

enum status kafka_commit(struct stream *s, const struct stream_position *positions, int count,
                         const char *token, stream_wait wait, void *wait_context,
                         struct error *err) {
    struct kafka *kafka = kafka_of(s);
    assert(token != NULL && strlen(token) < STREAM_TOKEN_BYTES_MAX);

    if (kafka->given_up) { return error_set(err, STATUS_IO, "the transaction was given up"); }
    assert(kafka->producer != NULL && kafka->producer->in_transaction);

    enum status status = STATUS_OK;
    if (!kafka->producer->offsets_sent && count > 0) {
        rd_kafka_topic_partition_list_t *offsets = NULL;
        status = commit_offsets(kafka, positions, count, token, &offsets, err);
        if (status != STATUS_OK) { return status; }
        status = call_until_done(kafka, send_offsets, offsets, "sending offsets", wait,
                                 wait_context, err);
        if (!kafka->given_up) { rd_kafka_topic_partition_list_destroy(offsets); }
        if (status != STATUS_OK) { return status; }
    }
    kafka->producer->offsets_sent = true;
    status = failpoint_pass(FAILPOINT_offsets_sent, err);
    if (status != STATUS_OK) { return status; }

    status =
        call_until_done(kafka, commit_transaction, NULL, "committing", wait, wait_context, err);
    if (status == STATUS_OK) {
        kafka->producer->in_transaction = false;
        return STATUS_OK;
    }
    if (!kafka->given_up && kafka->producer->delivery_error != RD_KAFKA_RESP_ERR_NO_ERROR) {
        return error_wrap(err, "a record was not delivered (%s)",
                          rd_kafka_err2str(kafka->producer->delivery_error));
    }
    return status;
}

/* Lets an abort take ABORT_SLICES; then the broker does it when the transaction times out. */
static bool abort_wait(void *context) {
    int *slices = context;
    return ++*slices < ABORT_SLICES;
}

enum status kafka_abort(struct stream *s, struct error *err) {
    struct kafka *kafka = kafka_of(s);
    if (kafka->producer == NULL || !kafka->producer->in_transaction) { return STATUS_OK; }

    int slices = 0;
    kafka->producer->disturbed = true; /* the taint rule counts an abort */
    kafka->producer->in_transaction = false;
    return call_until_done(kafka, abort_transaction, NULL, "aborting", abort_wait, &slices, err);
}
