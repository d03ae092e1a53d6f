/* SPDX-License-Identifier: Apache-2.0
 *
 * stream_kafka_reader.c - looking at committed records without disturbing the poll thread.
 *
 * The reader is a second consumer with one partition assigned at a time. Until consuming starts it
 * keeps its place between reads, so that a refold, which reads run after run, continues from what
 * was fetched already; at the end of a partition, and whenever consuming goes on, it rests.
 *
 * A partition ends with control markers, perhaps with aborted records; the last committed record
 * may lie any distance before the end. tail() looks at growing windows:
 *
 *        first                                                        end
 *          │            [──────── third ────────][─ second ─][─first─]│
 *
 * Thread: core.
 */
#include "proto/stream_kafka_client.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"

/* A broker answers one connection's requests in order: a fetch that waits at the end of a partition
 * holds up the next question for as long (500 ms by default, seen as 1.5 s a tail). */
#define FETCH_WAIT_MS "10"

#define TAIL_WINDOW_FIRST  8 /* offsets; an epoch's record and its marker take 2 */
#define TAIL_WINDOW_FACTOR 8
#define BOUNDS_TRIES       10 /* slices of KAFKA_SLICE_MS */

/* error_cb: connection trouble shows as a lack of answers, which the calls below measure. */
static void reader_error(rd_kafka_t *handle, int code, const char *reason, void *opaque) {
    (void)handle;
    (void)code;
    (void)reason;
    (void)opaque;
}

enum status kafka_reader_handle(struct kafka *kafka, rd_kafka_t **ret_handle, struct error *err) {
    struct kafka_reader *reader = &kafka->reader;
    if (reader->handle == NULL) {
        enum status status =
            kafka_consumer_make(kafka, reader, reader_error, FETCH_WAIT_MS, &reader->handle, err);
        if (status != STATUS_OK) { return status; }
    }
    *ret_handle = reader->handle;
    return STATUS_OK;
}

static void reader_forget(struct kafka_reader *reader) {
    if (reader->pending != NULL) { rd_kafka_message_destroy(reader->pending); }
    reader->pending = NULL;
    reader->assigned = false;
}

void kafka_reader_rest(struct kafka_reader *reader) {
    reader_forget(reader);
    if (reader->handle != NULL) {
        (void)rd_kafka_assign(reader->handle, NULL); /* nothing to fail */
    }
}

void kafka_reader_close(struct kafka_reader *reader) {
    reader_forget(reader);
    if (reader->handle == NULL) { return; }
    (void)rd_kafka_consumer_close(reader->handle); /* no group to leave: nothing can fail */
    rd_kafka_destroy(reader->handle);
    reader->handle = NULL;
}

/* ---- committed positions ---- */

/* The token of one partition's offset; all of a commit carry the same. */
static enum status token_of(const rd_kafka_topic_partition_t *partition,
                            char token[STREAM_TOKEN_BYTES_MAX], struct error *err) {
    if (partition->metadata_size == 0) { return STATUS_OK; }
    if (partition->metadata_size >= STREAM_TOKEN_BYTES_MAX) {
        return error_set(err, STATUS_CORRUPT,
                         "topic '%s' partition %d: the committed offset's metadata has %zu bytes, "
                         "no token of ours",
                         partition->topic, partition->partition, partition->metadata_size);
    }
    char text[STREAM_TOKEN_BYTES_MAX];
    memcpy(text, partition->metadata, partition->metadata_size); /* comes without a NUL */
    text[partition->metadata_size] = '\0';
    if (token[0] != '\0' && strcmp(token, text) != 0) {
        return error_set(err, STATUS_CORRUPT,
                         "topic '%s' partition %d: token '%s' differs from '%s' of the others",
                         partition->topic, partition->partition, text, token);
    }
    memcpy(token, text, sizeof text);
    return STATUS_OK;
}

static enum status committed_take(const rd_kafka_topic_partition_list_t *list,
                                  struct stream_position *positions, int count,
                                  char token[STREAM_TOKEN_BYTES_MAX], struct error *err) {
    for (int i = 0; i < count; i++) {
        const rd_kafka_topic_partition_t *partition = &list->elems[i];
        if (partition->err != RD_KAFKA_RESP_ERR_NO_ERROR) {
            return error_set(err, kafka_code_status(partition->err),
                             "committed offset of topic '%s' partition %d: %s", partition->topic,
                             partition->partition, rd_kafka_err2str(partition->err));
        }
        if (partition->offset < 0) { continue; } /* nothing committed */
        enum status status = token_of(partition, token, err);
        if (status != STATUS_OK) { return status; }
    }
    for (int i = 0; i < count; i++) {
        positions[i].next = list->elems[i].offset < 0 ? -1 : list->elems[i].offset;
    }
    return STATUS_OK;
}

enum status kafka_committed(struct stream *s, struct stream_position *positions, int count,
                            char ret_token[STREAM_TOKEN_BYTES_MAX], struct error *err) {
    struct kafka *kafka = kafka_of(s);
    assert(count >= 0 && count <= STREAM_POSITIONS_MAX);

    rd_kafka_t *handle = NULL;
    enum status status = kafka_reader_handle(kafka, &handle, err);
    if (status != STATUS_OK) { return status; }

    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(count);
    for (int i = 0; i < count && status == STATUS_OK; i++) {
        const char *name = NULL;
        status = kafka_topic_name(kafka, positions[i].topic, &name, err);
        if (status != STATUS_OK) { break; }
        rd_kafka_topic_partition_list_add(list, name, positions[i].partition);
    }
    char token[STREAM_TOKEN_BYTES_MAX] = "";
    if (status == STATUS_OK) {
        /* Under read_committed the broker answers only once no transaction on them is open. */
        rd_kafka_resp_err_t code = rd_kafka_committed(handle, list, KAFKA_ANSWER_MS);
        if (code != RD_KAFKA_RESP_ERR_NO_ERROR) {
            status = error_set(err, kafka_code_status(code), "committed offsets of group '%s': %s",
                               kafka->transactional_id, rd_kafka_err2str(code));
        }
    }
    if (status == STATUS_OK) { status = committed_take(list, positions, count, token, err); }
    rd_kafka_topic_partition_list_destroy(list);
    if (status == STATUS_OK) { memcpy(ret_token, token, sizeof token); }
    return status;
}

/* ---- bounds ---- */

enum status kafka_bounds(struct stream *s, enum stream_topic topic, int32_t partition,
                         int64_t *ret_first, int64_t *ret_end, struct error *err) {
    struct kafka *kafka = kafka_of(s);
    rd_kafka_t *handle = NULL;
    const char *name = NULL;
    enum status status = kafka_topic_name(kafka, topic, &name, err);
    if (status == STATUS_OK) { status = kafka_reader_handle(kafka, &handle, err); }
    if (status != STATUS_OK) { return status; }

    rd_kafka_resp_err_t code = RD_KAFKA_RESP_ERR__TIMED_OUT;
    for (int i = 0; i < BOUNDS_TRIES && kafka_code_status(code) == STATUS_AGAIN; i++) {
        code = rd_kafka_query_watermark_offsets(handle, name, partition, ret_first, ret_end,
                                                KAFKA_SLICE_MS);
    }
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR) {
        return error_set(err, kafka_code_status(code), "bounds of topic '%s' partition %d: %s",
                         name, partition, rd_kafka_err2str(code));
    }
    return STATUS_OK;
}

/* ---- ranges ---- */

/* Makes the reader stand at offset `first`, or goes on when it stands at or before it there. */
static enum status reader_stand(struct kafka *kafka, enum stream_topic topic, int32_t partition,
                                int64_t first, struct error *err) {
    struct kafka_reader *reader = &kafka->reader;
    bool here = reader->assigned && reader->topic == topic && reader->partition == partition;
    if (here && reader->next == first) { return STATUS_OK; }

    rd_kafka_t *handle = NULL;
    const char *name = NULL;
    enum status status = kafka_topic_name(kafka, topic, &name, err);
    if (status == STATUS_OK) { status = kafka_reader_handle(kafka, &handle, err); }
    if (status != STATUS_OK) { return status; }

    reader_forget(reader);
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(list, name, partition)->offset = first;
    rd_kafka_resp_err_t code = rd_kafka_assign(handle, list);
    rd_kafka_topic_partition_list_destroy(list);
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR) {
        return error_set(err, kafka_code_status(code), "reading topic '%s' partition %d: %s", name,
                         partition, rd_kafka_err2str(code));
    }
    reader->topic = topic;
    reader->partition = partition;
    reader->next = first;
    reader->assigned = true;
    return STATUS_OK;
}

/* True when the message belongs to the partition the reader stands in, and was not read before. */
static bool reader_wants(const struct kafka *kafka, const rd_kafka_message_t *message) {
    const struct kafka_reader *reader = &kafka->reader;
    if (message->rkt == NULL || message->partition != reader->partition) { return false; }
    if (strcmp(rd_kafka_topic_name(message->rkt), kafka->topics[reader->topic]) != 0) {
        return false;
    }
    return message->err != RD_KAFKA_RESP_ERR_NO_ERROR || message->offset >= reader->next;
}

/* The next committed record of the partition; *ret_message NULL at its end. takes: caller owns it.
 * */
static enum status reader_next(struct kafka *kafka, rd_kafka_message_t **ret_message,
                               struct error *err) {
    struct kafka_reader *reader = &kafka->reader;
    if (reader->pending != NULL) {
        *ret_message = reader->pending;
        reader->pending = NULL;
        return STATUS_OK;
    }
    int64_t deadline_us = clock_monotonic_us() + (int64_t)KAFKA_ANSWER_MS * 1000;
    while (clock_monotonic_us() < deadline_us) {
        rd_kafka_message_t *message = rd_kafka_consumer_poll(reader->handle, KAFKA_SLICE_MS);
        if (message == NULL) { continue; }
        if (message->err == RD_KAFKA_RESP_ERR_NO_ERROR && reader_wants(kafka, message)) {
            *ret_message = message;
            return STATUS_OK;
        }
        rd_kafka_resp_err_t code = message->err;
        bool ours = reader_wants(kafka, message);
        rd_kafka_message_destroy(message);
        if (code == RD_KAFKA_RESP_ERR__PARTITION_EOF && ours) {
            reader->assigned = false; /* the end is said once only: the next read starts anew */
            *ret_message = NULL;
            return STATUS_OK;
        }
        bool passing = code == RD_KAFKA_RESP_ERR_NO_ERROR ||
                       code == RD_KAFKA_RESP_ERR__PARTITION_EOF ||
                       kafka_code_status(code) == STATUS_AGAIN;
        if (!passing) {
            enum status status = kafka_code_status(code);
            bool lost = code == RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET ||
                        code == RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE;
            reader->assigned = false;
            return error_set(err, lost ? STATUS_CORRUPT : status, "at offset %" PRId64 ": %s",
                             reader->next, rd_kafka_err2str(code));
        }
    }
    reader->assigned = false;
    return error_set(err, STATUS_AGAIN, "no broker of '%s' answers for %d s",
                     kafka->bootstrap_servers, KAFKA_ANSWER_MS / 1000);
}

/* A sink for whole messages; takes: the message. */
typedef enum status (*message_sink)(void *context, rd_kafka_message_t *message, struct error *err);

/* Every committed record in [first, last] to the sink. */
static enum status reader_range(struct kafka *kafka, enum stream_topic topic, int32_t partition,
                                int64_t first, int64_t last, message_sink sink, void *context,
                                struct error *err) {
    struct kafka_reader *reader = &kafka->reader;
    enum status status = reader_stand(kafka, topic, partition, first, err);
    while (status == STATUS_OK && reader->next <= last) {
        rd_kafka_message_t *message = NULL;
        status = reader_next(kafka, &message, err);
        if (status != STATUS_OK || message == NULL) { break; }
        if (message->offset > last) {
            reader->pending = message;
            reader->next = last + 1;
            break;
        }
        reader->next = message->offset + 1;
        status = sink(context, message, err);
    }
    bool keeps = status == STATUS_OK && reader->assigned && kafka->consumer.handle == NULL;
    if (!keeps) { kafka_reader_rest(reader); }
    return status;
}

struct read_context {
    enum stream_topic topic;
    stream_sink sink;
    void *context;
};

static enum status read_one(void *context, rd_kafka_message_t *message, struct error *err) {
    const struct read_context *read = context;
    struct stream_record record;
    kafka_record_of(message, read->topic, &record);
    enum status status = read->sink(read->context, &record, err);
    rd_kafka_message_destroy(message);
    return status;
}

enum status kafka_read(struct stream *s, enum stream_topic topic, int32_t partition, int64_t first,
                       int64_t last, stream_sink sink, void *context, struct error *err) {
    struct kafka *kafka = kafka_of(s);
    assert(first >= 0);
    assert(sink != NULL);

    struct kafka_reader *reader = &kafka->reader;
    bool goes_on = reader->assigned && reader->topic == topic && reader->partition == partition &&
                   reader->next == first;
    if (!goes_on) {
        int64_t held = 0;
        int64_t end = 0;
        enum status status = kafka_bounds(s, topic, partition, &held, &end, err);
        if (status != STATUS_OK) { return status; }
        if (first < held) {
            return error_set(err, STATUS_CORRUPT,
                             "topic '%s' partition %d: offsets %" PRId64 "..%" PRId64
                             " are no longer held",
                             kafka->topics[topic], partition, first, held - 1);
        }
        if (first >= end || last < first) { return STATUS_OK; }
    }
    struct read_context read = {.topic = topic, .sink = sink, .context = context};
    enum status status = reader_range(kafka, topic, partition, first, last, read_one, &read, err);
    if (status != STATUS_OK) {
        return error_wrap(err, "reading topic '%s' partition %d from offset %" PRId64,
                          kafka->topics[topic], partition, first);
    }
    return STATUS_OK;
}

/* ---- tail ---- */

static enum status tail_one(void *context, rd_kafka_message_t *message, struct error *err) {
    (void)err;
    rd_kafka_message_t **last = context;
    if (*last != NULL) { rd_kafka_message_destroy(*last); }
    *last = message;
    return STATUS_OK;
}

/* The last committed record below `end`, or NULL; takes: caller owns it. */
static enum status tail_find(struct kafka *kafka, enum stream_topic topic, int32_t partition,
                             int64_t first, int64_t end, rd_kafka_message_t **ret_last,
                             struct error *err) {
    int64_t window = TAIL_WINDOW_FIRST;
    rd_kafka_message_t *last = NULL;
    while (end > first && last == NULL) {
        int64_t from = end - first > window ? end - window : first;
        enum status status =
            reader_range(kafka, topic, partition, from, end - 1, tail_one, &last, err);
        if (status != STATUS_OK) {
            if (last != NULL) { rd_kafka_message_destroy(last); }
            return status;
        }
        end = from;
        if (window <= INT64_MAX / TAIL_WINDOW_FACTOR) { window *= TAIL_WINDOW_FACTOR; }
    }
    *ret_last = last;
    return STATUS_OK;
}

enum status kafka_tail(struct stream *s, enum stream_topic topic, int32_t partition,
                       stream_sink sink, void *context, struct error *err) {
    struct kafka *kafka = kafka_of(s);
    assert(sink != NULL);

    int64_t first = 0;
    int64_t end = 0;
    enum status status = kafka_bounds(s, topic, partition, &first, &end, err);
    if (status != STATUS_OK) { return status; }

    rd_kafka_message_t *last = NULL;
    status = tail_find(kafka, topic, partition, first, end, &last, err);
    if (status != STATUS_OK) {
        return error_wrap(err, "last record of topic '%s' partition %d", kafka->topics[topic],
                          partition);
    }
    if (last == NULL) {
        return error_set(err, STATUS_NOT_FOUND, "topic '%s' partition %d holds no committed record",
                         kafka->topics[topic], partition);
    }
    struct stream_record record;
    kafka_record_of(last, topic, &record);
    status = sink(context, &record, err);
    rd_kafka_message_destroy(last);
    return status;
}
