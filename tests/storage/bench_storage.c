/* SPDX-License-Identifier: Apache-2.0
 *
 * bench_storage.c - what storage costs an event: figures for BENCHMARKS.md, no test.
 *
 *   bench_storage FOLDER [users] [events]     default 1,000,000 users, 400,000 events
 *
 * 1. fill:   every user gets 20 events of history, in two visits of ten, users in a scattered order
 * 2. events: users all alike, then "skewed": half of the events come from 6 % of the users. Each
 *            loads and saves sequence and seen set, puts a training row and a published list; two
 *            digests and a commit follow each 10,000 events: what the core does
 * 3. stream: produce, poll, and a transaction with a prediction of 250 bytes an event
 * The folder is used as it is and left behind: remove it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/rng.h"
#include "storage/catalogue.h"
#include "storage/sequence.h"
#include "storage/stream_local.h"
#include "storage/training_log.h"

#define EPOCH_EVENTS   10000
#define HISTORY_EVENTS 20
#define VISIT_EVENTS   10
#define LOG_ROWS       50000 /* kept in the training log */
#define ITEMS          100000

struct bench {
    struct store *store;
    struct stage *stage;
    struct rng rng;
    uint64_t seq;
    uint8_t digest[SHA256_BYTES];
    struct error err;
    int64_t digest_us, commit_us; /* wall time of the running phase */
    int64_t cpu_us;               /* when it began */
};

static void must(struct bench *b, enum status status, const char *what) {
    if (status == STATUS_OK) { return; }
    (void)fprintf(stderr, "%s: %s: %s\n", what, status_name(status), b->err.text);
    exit(1);
}

static void fold(struct bench *b, uint64_t user_number, bool train, bool publish) {
    char name[32];
    int length = snprintf(name, sizeof name, "user-%llu", (unsigned long long)user_number);
    struct span user = span_make(name, (size_t)length);
    struct sequence sequence;
    /* Popular items are common: the square of a uniform number. */
    double u = rng_unit(&b->rng);
    uint32_t item = (uint32_t)(u * u * ITEMS);
    int64_t time_ms = INT64_C(1700000000000) + (int64_t)b->seq * 37;
    b->seq++;

    must(b, sequence_load(b->stage, user, &sequence, &b->err), "load");
    if (train) {
        struct training_row row = {.seq = b->seq,
                                   .offset = (int64_t)b->seq,
                                   .user_key = user_number,
                                   .item = item,
                                   .time_ms = time_ms,
                                   .weight = 1.0f,
                                   .lm_rate = 0.5f,
                                   .eval_rate = 1.0f,
                                   .eval_lm_rate = 1.0f,
                                   .sasrec_rate = 1.0f};
        row.window_count = sequence_history(&sequence, time_ms, 50, row.window);
        must(b, training_log_put(b->stage, &row, &b->err), "row");
    }
    sequence_append(&sequence, item, time_ms, rng_u64(&b->rng), 120, 32);
    must(b, sequence_save(b->stage, user, &sequence, &b->err), "save");
    must(b, seen_add(b->stage, user, item, 1024, &b->err), "seen");
    if (publish) {
        struct published list = {.version = 12, .newest_ms = time_ms, .count = 10, .tier = 1};
        for (uint32_t i = 0; i < list.count; i++) {
            list.items[i] = (uint32_t)rng_below(&b->rng, ITEMS);
        }
        must(b, published_save(b->stage, user, &list, &b->err), "publish");
    }
}

static void end_epoch(struct bench *b, uint64_t keep) {
    int64_t start = clock_monotonic_us();
    must(b, stage_digest(b->stage, 1, b->digest, b->digest, &b->err), "digest");
    must(b, stage_digest(b->stage, 2, b->digest, b->digest, &b->err), "digest");
    int64_t digested = clock_monotonic_us();
    if (b->seq > keep) { must(b, training_log_trim(b->stage, b->seq - keep, &b->err), "trim"); }
    must(b, stage_commit(b->stage, &b->err), "commit");
    b->digest_us += digested - start;
    b->commit_us += clock_monotonic_us() - digested;
}

/* Processor time of this process so far. */
static int64_t cpu_us(void) {
    struct timespec now;
    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now); /* cannot fail for this clock */
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static void report(struct bench *b, const char *phase, uint64_t events, int64_t wall_us) {
    double per = 1.0 / (double)events;
    int64_t cpu = cpu_us();
    (void)printf("%-8s processor %.2f us an event, %.0f events/s a core\n", phase,
                 (double)(cpu - b->cpu_us) * per, (double)events * 1e6 / (double)(cpu - b->cpu_us));
    b->cpu_us = cpu;
    (void)printf(
        "%-8s %8llu events  %9.0f events/s  fold %.2f  digest %.2f  commit %.2f us an event\n",
        phase, (unsigned long long)events, (double)events * 1e6 / (double)wall_us,
        (double)(wall_us - b->digest_us - b->commit_us) * per, (double)b->digest_us * per,
        (double)b->commit_us * per);
    b->digest_us = b->commit_us = 0;
}

static void report_size(struct bench *b, uint64_t users) {
    struct store_usage usage;
    must(b, store_usage(b->store, &usage, &b->err), "usage");
    (void)printf("used     %.3f GiB, %.0f bytes a user\n", (double)usage.used_bytes / 1073741824.0,
                 (double)usage.used_bytes / (double)users);
    for (int t = 0; t < STORE_TABLE_COUNT; t++) {
        if (usage.entries[t] == 0) { continue; }
        (void)printf("  %-13s %9llu entries\n", store_table_name((enum store_table)t),
                     (unsigned long long)usage.entries[t]);
    }
}

/* The users come in a scattered order: a walk by a prime stride. */
static void bench_fill(struct bench *b, uint64_t users) {
    uint64_t events = users * HISTORY_EVENTS;
    int64_t start = clock_monotonic_us();
    uint64_t user = 0;
    for (uint64_t i = 0; i < events; i++) {
        if (i % VISIT_EVENTS == 0) { user = (user + 611953) % users; }
        fold(b, user, false, i % VISIT_EVENTS == 0);
        if ((i + 1) % EPOCH_EVENTS == 0) { end_epoch(b, UINT64_MAX); }
    }
    end_epoch(b, UINT64_MAX);
    report(b, "fill", events, clock_monotonic_us() - start);
    report_size(b, users);
}

/* skew 1: all users alike; 4: a few are busy. */
static void bench_events(struct bench *b, uint64_t users, uint64_t events, int skew) {
    int64_t start = clock_monotonic_us();
    for (uint64_t i = 0; i < events; i++) {
        double u = rng_unit(&b->rng), place = 1.0;
        for (int k = 0; k < skew; k++) {
            place *= u;
        }
        fold(b, (uint64_t)(place * (double)users), true, true);
        if ((i + 1) % EPOCH_EVENTS == 0) { end_epoch(b, LOG_ROWS); }
    }
    end_epoch(b, LOG_ROWS);
    report(b, skew == 1 ? "events" : "skewed", events, clock_monotonic_us() - start);
}

/* ---- the embedded stream --------------------------------------------------------------------- */

static enum status count_record(void *context, const struct stream_record *record,
                                struct error *err) {
    (void)err;
    uint64_t *count = context;
    *count += record->value.size > 0;
    return STATUS_OK;
}

static int64_t bench_produce(struct bench *b, struct stream *s, uint64_t events) {
    static uint8_t value[120];
    static struct stream_output outputs[1000];
    static char keys[1000][16];
    int64_t start = clock_monotonic_us();
    for (uint64_t i = 0; i < events; i += 1000) {
        for (int k = 0; k < 1000; k++) {
            int length = snprintf(keys[k], sizeof keys[k], "u%llu",
                                  (unsigned long long)rng_below(&b->rng, 1000000));
            outputs[k] = (struct stream_output){.topic = STREAM_EVENTS,
                                                .partition = -1,
                                                .timestamp_ms = 1,
                                                .key = span_make(keys[k], (size_t)length),
                                                .value = span_make(value, sizeof value)};
        }
        must(b, stream_local_produce(s, outputs, 1000, &b->err), "produce");
    }
    return clock_monotonic_us() - start;
}

/* Consumes and answers each event, EPOCH_EVENTS a transaction. */
static int64_t bench_consume(struct bench *b, struct stream *s, uint64_t events) {
    static uint8_t value[250];
    struct stream_position position = {STREAM_EVENTS, 0, 0};
    must(b, s->ops->fence(s, NULL, NULL, &b->err), "fence");
    must(b, s->ops->assign(s, &position, 1, &b->err), "assign");
    struct stream_output output = {.topic = STREAM_PREDICTIONS,
                                   .partition = -1,
                                   .timestamp_ms = 1,
                                   .key = span_of("u1234567"),
                                   .value = span_make(value, sizeof value)};
    int64_t start = clock_monotonic_us();
    uint64_t consumed = 0, answered = 0;
    while (answered < events) {
        must(b, s->ops->begin(s, &b->err), "begin");
        while (consumed < events && consumed - answered < EPOCH_EVENTS) {
            must(b, s->ops->poll(s, 100, count_record, &consumed, &b->err), "poll");
        }
        for (; answered < consumed; answered++) {
            must(b, s->ops->publish(s, &output, &b->err), "publish");
        }
        position.next = (int64_t)consumed;
        must(b, s->ops->commit(s, &position, 1, "v1:0:1:0123456789abcdef", NULL, NULL, &b->err),
             "commit");
    }
    return clock_monotonic_us() - start;
}

static void bench_stream(struct bench *b, const char *folder, uint64_t events) {
    struct stream_local_settings settings = {.path = folder,
                                             .identity = "ilora.bench.0",
                                             .partitions = 1,
                                             .map_bytes_max = (uint64_t)16 << 30};
    struct stream *s = NULL;
    must(b, stream_local_open(&settings, &s, &b->err), "stream");
    int64_t produce_us = bench_produce(b, s, events);
    int64_t consume_us = bench_consume(b, s, events);
    (void)printf("stream   %8llu events  produce %.0f events/s  consume and answer %.0f events/s\n",
                 (unsigned long long)events, (double)events * 1e6 / (double)produce_us,
                 (double)events * 1e6 / (double)consume_us);
    s->ops->close(s);
}

int main(int argc, char **argv) {
    if (argc < 2) {
        (void)fprintf(stderr, "usage: bench_storage FOLDER [users] [events]\n");
        return 64;
    }
    uint64_t users = argc > 2 ? strtoull(argv[2], NULL, 10) : 1000000;
    uint64_t events = argc > 3 ? strtoull(argv[3], NULL, 10) : 400000;
    struct bench b = {.rng = rng_make(1, 1)};
    char state[FILE_PATH_BYTES_MAX], stream[FILE_PATH_BYTES_MAX];
    must(&b, path_join(state, argv[1], "state", &b.err), "path");
    must(&b, path_join(stream, argv[1], "stream", &b.err), "path");
    struct store_settings settings = {
        .path = state, .map_bytes = (uint64_t)8 << 30, .map_bytes_max = (uint64_t)64 << 30};
    must(&b, store_open(&settings, &b.store, &b.err), "store");
    must(&b, stage_open(b.store, &b.stage, &b.err), "stage");
    bench_fill(&b, users);
    bench_events(&b, users, events, 1);
    bench_events(&b, users, events, 4);
    report_size(&b, users);
    bench_stream(&b, stream, events);
    stage_close(b.stage);
    store_close(b.store);
    return 0;
}
