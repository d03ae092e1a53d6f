/* SPDX-License-Identifier: Apache-2.0
 *
 * iloractl_consume.c - records of a topic as JSON lines, only what is committed.
 *
 * Values in the project's own protobuf are shown as JSON; what is neither text nor ours as hex. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/memory.h"
#include "ops/command.h"
#include "ops/stream_access.h"
#include "proto/outbound.h"

#define FOLLOW_WAIT_US     100000
#define LAST_BY_DEFAULT    10
#define PARTITIONS_MAX     4096
#define LINE_OUT_BYTES_MAX (8u * 1024u * 1024u)

static const char help[] =
    "usage: iloractl consume TOPIC [--from-beginning] [--follow] [--max N] [--envelope]\n"
    "\n"
    "Prints committed records, one JSON line each: the last 10, unless told otherwise.\n"
    "\n"
    "  --from-beginning  from the first record held\n"
    "  --follow          go on with what comes (from the end, unless --from-beginning)\n"
    "  --max N           stop after N records\n"
    "  --envelope        with partition, offset, timestamp, key and headers (always for dlq)\n"
    "\n"
    "example: iloractl consume predictions --follow\n";

static int run(const struct command_context *context, int argc, char **argv);
const struct command command_consume = {"consume", "print the records of a topic", help, run};

struct consumer {
    struct stream *stream; /* borrows: until the end */
    enum stream_topic topic;
    bool envelope;
    int64_t left; /* records still to print */
    int32_t partitions;
    int64_t next[PARTITIONS_MAX];
    struct buffer line, value; /* owns */
};

/* The value as JSON text into out: as it is, or read from protobuf, or null, or {"hex": ...}. */
static enum status value_json(enum stream_topic topic, struct span value, struct buffer *out) {
    struct error err = {0};
    struct json_value *parsed = NULL;
    if (value.data == NULL) { return buffer_append(out, "null", 4); }
    if (value.size > 0 && (value.data[0] == '{' || value.data[0] == '[') &&
        json_parse(value, &parsed, &err) == STATUS_OK) {
        json_free(parsed);
        for (size_t i = 0; i < value.size; i++) { /* one line, whatever the producer's layout */
            char c = (char)value.data[i];
            if (c == '\n' || c == '\r') { c = ' '; }
            enum status status = buffer_append(out, &c, 1);
            if (status != STATUS_OK) { return status; }
        }
        return STATUS_OK;
    }
    size_t before = out->size;
    if (topic != STREAM_DLQ &&
        outbound_to_json(stream_topic_name(topic), value, out, &err) == STATUS_OK) {
        while (out->size > before && out->data[out->size - 1] == '\n') {
            out->size--;
        }
        return STATUS_OK;
    }
    out->size = before;
    struct json_writer w;
    json_write_begin(&w, out);
    if (span_is_utf8(value)) {
        json_write_string(&w, NULL, value);
        return json_write_end(&w);
    }
    char *hex = memory_take(value.size * 2 + 1);
    if (hex == NULL) { return STATUS_NO_MEMORY; }
    hex_encode(value.data, value.size, hex);
    json_write_object(&w, NULL);
    json_write_string(&w, "hex", span_of(hex));
    json_write_object_end(&w);
    memory_free(hex);
    return json_write_end(&w);
}

static void write_text(struct json_writer *w, const char *name, struct span text) {
    static const char not_text[] = "(not text)";
    json_write_string(w, name, span_is_utf8(text) ? text : span_of(not_text));
}

/* {"partition":..,"offset":..,...,"value":VALUE} with VALUE already JSON. */
static enum status envelope_json(const struct stream_record *record, struct span value,
                                 struct buffer *out) {
    struct json_writer w;
    json_write_begin(&w, out);
    json_write_object(&w, NULL);
    json_write_integer(&w, "partition", record->partition);
    json_write_integer(&w, "offset", record->offset);
    json_write_integer(&w, "timestamp", record->timestamp_ms);
    if (record->key.data != NULL) { write_text(&w, "key", record->key); }
    if (record->header_count > 0) {
        json_write_object(&w, "headers");
        for (int i = 0; i < record->header_count; i++) {
            write_text(&w, record->headers[i].name, record->headers[i].value);
        }
        json_write_object_end(&w);
    }
    json_write_object_end(&w);
    enum status status = json_write_end(&w);
    if (status != STATUS_OK) { return status; }
    out->size--; /* the closing brace */
    status = buffer_append_format(out, ",\"value\":");
    if (status == STATUS_OK) { status = buffer_append(out, value.data, value.size); }
    if (status == STATUS_OK) { status = buffer_append(out, "}", 1); }
    return status;
}

static enum status print_record(void *context, const struct stream_record *record,
                                struct error *err) {
    struct consumer *consumer = context;
    if (consumer->left == 0) { return STATUS_LIMIT; }
    buffer_reset(&consumer->value);
    buffer_reset(&consumer->line);
    enum status status = value_json(consumer->topic, record->value, &consumer->value);
    struct span shown = buffer_span(&consumer->value);
    if (status == STATUS_OK && consumer->envelope) {
        status = envelope_json(record, shown, &consumer->line);
        shown = buffer_span(&consumer->line);
    }
    if (status != STATUS_OK) {
        return error_set(err, status, "record %" PRId64 " as JSON", record->offset);
    }
    print_bytes(shown);
    consumer->left--;
    consumer->next[record->partition] = record->offset + 1;
    return consumer->left == 0 ? STATUS_LIMIT : STATUS_OK;
}

/* Prints what each partition has now. LIMIT: --max was reached. */
static enum status print_new(struct consumer *consumer, struct error *err) {
    struct stream *stream = consumer->stream;
    for (int32_t p = 0; p < consumer->partitions; p++) {
        int64_t first = 0, end = 0;
        enum status status = stream->ops->bounds(stream, consumer->topic, p, &first, &end, err);
        if (status != STATUS_OK) { return status; }
        if (consumer->next[p] < first) { consumer->next[p] = first; } /* trimmed meanwhile */
        if (consumer->next[p] >= end) { continue; }
        status = stream->ops->read(stream, consumer->topic, p, consumer->next[p], end - 1,
                                   print_record, consumer, err);
        if (status != STATUS_OK) { return status; }
        consumer->next[p] = end;
    }
    return STATUS_OK;
}

/* Where to begin in every partition. */
static enum status set_start(struct consumer *consumer, bool from_beginning, bool follow,
                             struct error *err) {
    struct stream *stream = consumer->stream;
    for (int32_t p = 0; p < consumer->partitions; p++) {
        int64_t first = 0, end = 0;
        enum status status = stream->ops->bounds(stream, consumer->topic, p, &first, &end, err);
        if (status != STATUS_OK) { return status; }
        int64_t back = follow ? 0 : LAST_BY_DEFAULT;
        consumer->next[p] = from_beginning ? first : end - back < first ? first : end - back;
    }
    return STATUS_OK;
}

static enum status consume(struct consumer *consumer, bool from_beginning, bool follow,
                           struct error *err) {
    enum status status = set_start(consumer, from_beginning, follow, err);
    if (status != STATUS_OK) { return status; }
    for (;;) {
        status = print_new(consumer, err);
        if (status == STATUS_LIMIT && consumer->left == 0) { return STATUS_OK; }
        if (status == STATUS_AGAIN && follow) { status = STATUS_OK; } /* broker away: wait */
        if (status != STATUS_OK || !follow) { return status; }
        if (fflush(stdout) != 0) { return STATUS_OK; } /* the reader is gone */
        clock_sleep_us(FOLLOW_WAIT_US);
    }
}

static int run(const struct command_context *context, int argc, char **argv) {
    struct options options = options_of(argc, argv);
    bool from_beginning = options_flag(&options, "--from-beginning");
    bool follow = options_flag(&options, "--follow");
    bool envelope = options_flag(&options, "--envelope");
    int64_t max = options_integer(&options, "--max", INT64_MAX, 1, INT64_MAX);
    if (!options_end(&options, &command_consume, 1, 1)) { return COMMAND_USAGE; }

    struct error err = {0};
    struct stream_access access = {0};
    enum stream_topic topic;
    enum status status = stream_access_topic(context->settings, options.words[0], &topic, &err);
    if (status != STATUS_OK) {
        (void)command_failed(&command_consume, &err);
        return COMMAND_USAGE;
    }
    struct consumer *consumer = memory_take_zeroed(1, sizeof *consumer);
    if (consumer == NULL) { return COMMAND_FAILED; }
    status = stream_access_open(context->settings, &access, &err);
    if (status == STATUS_OK) {
        consumer->stream = access.stream;
        consumer->topic = topic;
        consumer->envelope = envelope || topic == STREAM_DLQ;
        consumer->left = max;
        consumer->line.limit = LINE_OUT_BYTES_MAX;
        consumer->value.limit = LINE_OUT_BYTES_MAX;
        status = stream_access_partitions(&access, topic, &consumer->partitions, &err);
    }
    if (status == STATUS_OK && consumer->partitions > PARTITIONS_MAX) {
        status = error_set(&err, STATUS_LIMIT, "more than %d partitions", PARTITIONS_MAX);
    }
    if (status == STATUS_OK) { status = consume(consumer, from_beginning, follow, &err); }
    buffer_free(&consumer->line);
    buffer_free(&consumer->value);
    memory_free(consumer);
    stream_access_close(&access);
    return status == STATUS_OK ? COMMAND_DONE : command_failed(&command_consume, &err);
}
