/* SPDX-License-Identifier: Apache-2.0
 *
 * bench_stream_kafka.c - the bare transport: what Kafka and librdkafka allow, without an engine
 * between them. Argument: the address of a broker.
 *
 * Produces events, consumes them, and commits transactions as the daemon does (outputs, offsets,
 * token), printing records and transactions a second.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "proto/stream_kafka.h"

#define BENCH_EVENTS       500000
#define BENCH_RUN          256
#define BENCH_TRANSACTIONS 200
#define BENCH_OUTPUTS      500 /* predictions a transaction */

static enum status bench_sink(void *context, const struct stream_record *record,
                              struct error *err) {
    (void)record;
    (void)err;
    int64_t *count = context;
    (*count)++;
    return STATUS_OK;
}

static double seconds_since(int64_t begin_us) {
    return (double)(clock_monotonic_us() - begin_us) / 1e6;
}

static enum status bench_produce(struct stream *s, struct error *err) {
    char value[121];
    memset(value, 'x', sizeof value - 1);
    value[sizeof value - 1] = '\0';
    int64_t begin_us = clock_monotonic_us();
    for (int i = 0; i < BENCH_EVENTS; i++) {
        char key[16];
        (void)snprintf(key, sizeof key, "u%d", i % 1000);
        struct stream_output output = {.topic = STREAM_EVENTS,
                                       .partition = -1,
                                       .timestamp_ms = -1,
                                       .key = span_of(key),
                                       .value = span_of(value)};
        enum status status = stream_kafka_produce(s, &output, err);
        if (status != STATUS_OK) { return status; }
    }
    enum status status = stream_kafka_flush(s, 60000, err);
    (void)printf("produce   %9.0f records/s of %zu bytes\n", BENCH_EVENTS / seconds_since(begin_us),
                 sizeof value - 1);
    return status;
}

static enum status bench_consume(struct stream *s, struct error *err) {
    struct stream_position position = {STREAM_EVENTS, 0, 0};
    enum status status = s->ops->assign(s, &position, 1, err);
    int64_t count = 0;
    int64_t begin_us = clock_monotonic_us();
    while (status == STATUS_OK && count < BENCH_EVENTS) {
        status = s->ops->poll(s, 1000, bench_sink, &count, err);
    }
    (void)printf("consume   %9.0f records/s\n", (double)count / seconds_since(begin_us));
    return status;
}

/* As a refold does: run after run of 256 records. */
static enum status bench_read(struct stream *s, struct error *err) {
    enum status status = STATUS_OK;
    int64_t count = 0;
    int64_t begin_us = clock_monotonic_us();
    for (int64_t at = 0; status == STATUS_OK && at < BENCH_EVENTS; at += BENCH_RUN) {
        status = s->ops->read(s, STREAM_EVENTS, 0, at, at + BENCH_RUN - 1, bench_sink, &count, err);
    }
    (void)printf("read      %9.0f records/s in runs of %d\n",
                 (double)count / seconds_since(begin_us), BENCH_RUN);
    return status;
}

static enum status bench_transactions(struct stream *s, int outputs, struct error *err) {
    char value[400];
    memset(value, 'y', sizeof value);
    struct stream_position position = {STREAM_EVENTS, 0, 1};
    struct stream_output output = {.topic = STREAM_PREDICTIONS,
                                   .partition = 0,
                                   .timestamp_ms = 5,
                                   .key = span_of("user"),
                                   .value = span_make(value, sizeof value)};
    enum status status = s->ops->fence(s, NULL, NULL, err);
    int64_t begin_us = clock_monotonic_us();
    for (int i = 0; i < BENCH_TRANSACTIONS && status == STATUS_OK; i++) {
        status = s->ops->begin(s, err);
        for (int k = 0; k < outputs && status == STATUS_OK; k++) {
            status = s->ops->publish(s, &output, err);
        }
        if (status == STATUS_OK) {
            status = s->ops->commit(s, &position, 1, "v1:0:1:0123456789abcdef", NULL, NULL, err);
        }
    }
    double seconds = seconds_since(begin_us);
    (void)printf("commit    %9.1f ms a transaction of %d outputs (%.0f outputs/s)\n",
                 seconds * 1e3 / BENCH_TRANSACTIONS, outputs,
                 (double)BENCH_TRANSACTIONS * outputs / seconds);
    return status;
}

int main(int argc, char **argv) {
    if (argc != 2) {
        (void)fprintf(stderr, "usage: bench_stream_kafka BOOTSTRAP\n");
        return 64;
    }
    char names[STREAM_TOPIC_COUNT][96];
    char id[64];
    (void)snprintf(id, sizeof id, "ilora.bench.%" PRId64, clock_wall_us());
    struct stream_kafka_settings settings = {.bootstrap_servers = argv[1],
                                             .transactional_id = id,
                                             .transaction_timeout_ms = 10000,
                                             .message_max_bytes = 1000000};
    struct error err = {.code = STATUS_OK};
    for (int i = 0; i < STREAM_TOPIC_COUNT; i++) {
        (void)snprintf(names[i], sizeof names[i], "%s.%d", id, i);
        settings.topics[i] = names[i];
    }
    struct stream *s = NULL;
    enum status status = stream_kafka_open(&settings, &s, &err);
    for (int i = 0; i < STREAM_TOPIC_COUNT && status == STATUS_OK; i++) {
        struct stream_kafka_topic topic = {names[i], 1, 1, NULL, 0};
        bool created = false;
        status = stream_kafka_topic_create(s, &topic, &created, &err);
    }
    if (status == STATUS_OK) { status = bench_produce(s, &err); }
    if (status == STATUS_OK) { status = bench_read(s, &err); }
    if (status == STATUS_OK) { status = bench_consume(s, &err); }
    if (status == STATUS_OK) { status = bench_transactions(s, 1, &err); }
    if (status == STATUS_OK) { status = bench_transactions(s, BENCH_OUTPUTS, &err); }
    if (status != STATUS_OK) { (void)fprintf(stderr, "%s\n", err.text); }
    if (s != NULL) { s->ops->close(s); }
    return status == STATUS_OK ? 0 : 1;
}
