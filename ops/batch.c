/* SPDX-License-Identifier: Apache-2.0
 *
 * batch.c - fills a batch, sends it, and keeps to the rate. */
#include "ops/batch.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"

#define ARENA_BLOCK_BYTES (256u * 1024u)
#define SLICE_US          50000 /* with a rate, records go out at least this often */
#define SHOW_US           250000

enum status batch_init(struct batch *batch, struct stream_access *access, double rate,
                       bool progress, struct error *err) {
    memset(batch, 0, sizeof *batch);
    batch->access = access;
    batch->rate = rate;
    batch->progress = progress;
    return arena_init_chained(&batch->arena, ARENA_BLOCK_BYTES, err);
}

void batch_free(struct batch *batch) {
    arena_free(&batch->arena);
}

static bool copy_span(struct batch *batch, struct span from, struct span *ret_to) {
    if (from.data == NULL) {
        *ret_to = from;
        return true;
    }
    char *copy = arena_take_copy(&batch->arena, from.data, from.size);
    if (copy == NULL) { return false; }
    *ret_to = span_make(copy, from.size);
    return true;
}

/* Records that may go out at once under the rate. */
static int slice(const struct batch *batch) {
    if (batch->rate <= 0.0) { return BATCH_RECORDS_MAX; }
    double records = batch->rate * SLICE_US / 1e6;
    if (records < 1.0) { return 1; }
    return records > BATCH_RECORDS_MAX ? BATCH_RECORDS_MAX : (int)records;
}

static void wait_for_rate(struct batch *batch) {
    if (batch->rate <= 0.0) { return; }
    int64_t due = batch->started_us + (int64_t)((double)batch->sent * 1e6 / batch->rate);
    int64_t now = clock_monotonic_us();
    if (due > now) { clock_sleep_us(due - now); }
}

static void show(struct batch *batch, bool last) {
    int64_t now = clock_monotonic_us();
    if (!batch->progress || (!last && now - batch->shown_us < SHOW_US)) { return; }
    batch->shown_us = now;
    double seconds = (double)(now - batch->started_us) / 1e6;
    double rate = seconds > 0.0 ? (double)batch->sent / seconds : 0.0;
    if (batch->expected > 0) {
        (void)fprintf(stderr, "\r%" PRIu64 " of %" PRIu64 " records (%.0f %%), %.0f/s ",
                      batch->sent, batch->expected,
                      100.0 * (double)batch->sent / (double)batch->expected, rate);
    } else {
        (void)fprintf(stderr, "\r%" PRIu64 " records, %.0f/s ", batch->sent, rate);
    }
    if (last) { (void)fputc('\n', stderr); }
}

static void say_waiting(void) {
    (void)fputs("the stream is full, waiting for ilorad to consume\n", stderr);
}

enum status batch_send(struct batch *batch, struct error *err) {
    if (batch->count == 0) { return STATUS_OK; }
    if (batch->started_us == 0) { batch->started_us = clock_monotonic_us(); }
    wait_for_rate(batch);
    enum status status =
        stream_access_produce(batch->access, batch->outputs, batch->count, say_waiting, err);
    if (status != STATUS_OK) { return status; }
    batch->sent += (uint64_t)batch->count;
    batch->count = 0;
    arena_reset(&batch->arena);
    show(batch, false);
    return STATUS_OK;
}

enum status batch_add(struct batch *batch, enum stream_topic topic, struct span key,
                      struct span value, int64_t timestamp_ms, struct error *err) {
    struct stream_output *output = &batch->outputs[batch->count];
    *output = (struct stream_output){.topic = topic, .partition = -1, .timestamp_ms = timestamp_ms};
    if (!copy_span(batch, key, &output->key) || !copy_span(batch, value, &output->value)) {
        return error_set(err, STATUS_NO_MEMORY, "records to send");
    }
    batch->count++;
    return batch->count < slice(batch) ? STATUS_OK : batch_send(batch, err);
}

enum status batch_finish(struct batch *batch, struct error *err) {
    enum status status = batch_send(batch, err);
    if (status == STATUS_OK) { status = stream_access_flush(batch->access, err); }
    if (status == STATUS_OK) { show(batch, true); }
    return status;
}
