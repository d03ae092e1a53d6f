/* SPDX-License-Identifier: Apache-2.0
 *
 * kafka_fixture.h - topics of its own for each test on the broker that ctest started, and a stream.
 */
#ifndef TESTS_KAFKA_KAFKA_FIXTURE_H
#define TESTS_KAFKA_KAFKA_FIXTURE_H

#include "tests/support/unit.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "proto/stream_kafka.h"

#define FIXTURE_TEXT_BYTES 128
#define FIXTURE_RECORDS    512

struct fixture {
    char bootstrap[FIXTURE_TEXT_BYTES];
    char id[FIXTURE_TEXT_BYTES];
    char names[STREAM_TOPIC_COUNT][FIXTURE_TEXT_BYTES];
    struct stream_kafka_settings settings;
    struct stream *stream;
    struct error err;
};

/* What a sink saw. */
struct seen {
    int count;
    int room; /* records accepted before AGAIN; < 0 = any number */
    struct {
        int64_t offset;
        int32_t partition;
        char value[32];
    } records[FIXTURE_RECORDS];
    char header[32];
    char key[32];
};

static inline enum status seen_sink(void *context, const struct stream_record *record,
                                    struct error *err) {
    (void)err;
    struct seen *seen = context;
    if (seen->room == 0) { return STATUS_AGAIN; }
    if (seen->room > 0) { seen->room--; }
    assert_true(seen->count < FIXTURE_RECORDS);
    seen->records[seen->count].offset = record->offset;
    seen->records[seen->count].partition = record->partition;
    (void)snprintf(seen->records[seen->count].value, sizeof seen->records[0].value, "%.*s",
                   SPAN_ARG(record->value));
    (void)snprintf(seen->key, sizeof seen->key, "%.*s", SPAN_ARG(record->key));
    if (record->header_count > 0) {
        (void)snprintf(seen->header, sizeof seen->header, "%s=%.*s", record->headers[0].name,
                       SPAN_ARG(record->headers[0].value));
    }
    seen->count++;
    return STATUS_OK;
}

static inline struct seen *seen_new(void) {
    static struct seen pool[4]; /* enough for one test; large for a stack */
    static int next;
    struct seen *seen = &pool[next++ % 4];
    memset(seen, 0, sizeof *seen);
    seen->room = -1;
    return seen;
}

/* The broker's address from the folder; false: none runs, the tests are skipped. */
static inline bool fixture_broker(const char *folder, char *bootstrap, long *ret_pid) {
    char path[512];
    (void)snprintf(path, sizeof path, "%s/bootstrap", folder);
    FILE *file = fopen(path, "r");
    if (file == NULL) { return false; }
    bool found = fscanf(file, "%127s", bootstrap) == 1;
    (void)fclose(file);

    (void)snprintf(path, sizeof path, "%s/pid", folder);
    file = fopen(path, "r");
    if (file == NULL) { return false; }
    found = found && fscanf(file, "%ld", ret_pid) == 1;
    (void)fclose(file);
    return found && kill((pid_t)*ret_pid, 0) == 0;
}

/* A second stream of the same identity, or one of another: the caller closes it. */
static inline struct stream *fixture_stream(struct fixture *f) {
    struct stream *stream = NULL;
    ASSERT_OK(stream_kafka_open(&f->settings, &stream, &f->err), f->err);
    return stream;
}

/* Fresh topics named after the test and the moment; every input topic has two partitions. */
static inline void fixture_open(struct fixture *f, const char *bootstrap, const char *name) {
    static const struct stream_kafka_property config[] = {{"cleanup.policy", "delete"},
                                                          {"retention.ms", "3600000"}};
    memset(f, 0, sizeof *f);
    (void)snprintf(f->bootstrap, sizeof f->bootstrap, "%s", bootstrap);
    (void)snprintf(f->id, sizeof f->id, "ilora.%.40s.%lld", name, (long long)clock_wall_us());
    f->settings = (struct stream_kafka_settings){.bootstrap_servers = f->bootstrap,
                                                 .transactional_id = f->id,
                                                 .transaction_timeout_ms = 10000,
                                                 .message_max_bytes = 1000000};
    for (int i = 0; i < STREAM_TOPIC_COUNT; i++) {
        (void)snprintf(f->names[i], sizeof f->names[i], "%.80s.%s", f->id,
                       stream_topic_name((enum stream_topic)i));
        f->settings.topics[i] = f->names[i];
    }
    f->stream = fixture_stream(f);
    for (int i = 0; i < STREAM_TOPIC_COUNT; i++) {
        struct stream_kafka_topic topic = {f->names[i], i < STREAM_INPUT_COUNT ? 2 : 1, 1, config,
                                           2};
        bool created = false;
        ASSERT_OK(stream_kafka_topic_create(f->stream, &topic, &created, &f->err), f->err);
        assert_true(created);
    }
}

static inline void fixture_close(struct fixture *f) {
    f->stream->ops->close(f->stream);
}

static inline void publish(struct fixture *f, struct stream *s, enum stream_topic topic,
                           int32_t partition, const char *value) {
    struct stream_output output = {.topic = topic,
                                   .partition = partition,
                                   .timestamp_ms = INT64_C(1700000000000),
                                   .key = span_of("key"),
                                   .value = span_of(value)};
    ASSERT_OK(s->ops->publish(s, &output, &f->err), f->err);
}

/* An event, without a transaction, as iloractl produces it. */
static inline void produce(struct fixture *f, struct stream *s, int32_t partition,
                           const char *value) {
    struct stream_output output = {.topic = STREAM_EVENTS,
                                   .partition = partition,
                                   .timestamp_ms = -1,
                                   .key = span_of("user"),
                                   .value = span_of(value)};
    ASSERT_OK(stream_kafka_produce(s, &output, &f->err), f->err);
}

/* One transaction with one record on the ledger and these positions of the events topic. */
static inline void commit_one(struct fixture *f, struct stream *s, const char *value,
                              const char *token, int64_t next_0, int64_t next_1) {
    struct stream_position positions[] = {{STREAM_EVENTS, 0, next_0}, {STREAM_EVENTS, 1, next_1}};
    ASSERT_OK(s->ops->begin(s, &f->err), f->err);
    publish(f, s, STREAM_LEDGER, 0, value);
    ASSERT_OK(s->ops->commit(s, positions, 2, token, NULL, NULL, &f->err), f->err);
}

/* Waits until the tail of a partition is this value: a commit is visible to readers only once the
 * broker has written its markers, a moment after the commit returned (fence waits for that). */
static inline void tail_until(struct fixture *f, struct stream *s, enum stream_topic topic,
                              const char *value, struct seen *seen) {
    int64_t deadline_us = clock_monotonic_us() + 10000000;
    enum status status = STATUS_NOT_FOUND;
    while (clock_monotonic_us() < deadline_us) {
        seen->count = 0;
        status = s->ops->tail(s, topic, 0, seen_sink, seen, &f->err);
        if (status == STATUS_OK && strcmp(seen->records[0].value, value) == 0) { return; }
        clock_sleep_us(10000);
    }
    ASSERT_OK(status, f->err);
    assert_string_equal(seen->records[0].value, value);
}

/* Polls until `count` records came or 10 s passed. */
static inline void poll_until(struct fixture *f, struct stream *s, struct seen *seen, int count) {
    int64_t deadline_us = clock_monotonic_us() + 10000000;
    while (seen->count < count && clock_monotonic_us() < deadline_us) {
        ASSERT_OK(s->ops->poll(s, 100, seen_sink, seen, &f->err), f->err);
    }
}

#endif
