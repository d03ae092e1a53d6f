/* SPDX-License-Identifier: Apache-2.0
 *
 * batch.h - records on their way into the stream: copied, sent many at a time, at a rate if wished.
 */
#ifndef OPS_BATCH_H
#define OPS_BATCH_H

#include "base/arena.h"
#include "ops/stream_access.h"

#define BATCH_RECORDS_MAX 1000

struct batch {
    struct stream_access *access; /* borrows: until batch_free */
    struct stream_output outputs[BATCH_RECORDS_MAX];
    int count;
    struct arena arena; /* keys and values of `outputs` */
    double rate;        /* records a second; 0 = as fast as it goes */
    int64_t started_us; /* when the first one was sent */
    uint64_t sent;      /* records */
    bool progress;      /* a line on stderr now and then */
    int64_t shown_us;
    uint64_t expected; /* records, for the progress; 0 = unknown */
};

/* rate 0: no limit. */
MUST_CHECK enum status batch_init(struct batch *batch, struct stream_access *access, double rate,
                                  bool progress, struct error *err);
void batch_free(struct batch *batch);
/* Copies one record; sends when the batch is full, or before when a rate asks for it. key or value
 * with data NULL: none. */
MUST_CHECK enum status batch_add(struct batch *batch, enum stream_topic topic, struct span key,
                                 struct span value, int64_t timestamp_ms, struct error *err);
/* Sends what is held. */
MUST_CHECK enum status batch_send(struct batch *batch, struct error *err);
/* Sends, waits until all is durable, ends the progress line. */
MUST_CHECK enum status batch_finish(struct batch *batch, struct error *err);

#endif
