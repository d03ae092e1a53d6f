/* SPDX-License-Identifier: Apache-2.0
 *
 * stream_access.h - the stream as an operator sees it: no identity of the daemon's, produce and
 * read.
 *
 * The embedded stream lies in `<state>/stream` and several processes may use it; Kafka is reached
 * with the daemon's own properties.
 */
#ifndef OPS_STREAM_ACCESS_H
#define OPS_STREAM_ACCESS_H

#include <stdbool.h>

#include "base/stream.h"
#include "daemon/settings.h"

struct stream_access {
    struct stream *stream; /* owns */
    bool kafka;
};

MUST_CHECK enum status stream_access_open(const struct settings *settings,
                                          struct stream_access *ret_access, struct error *err);
void stream_access_close(struct stream_access *access);

/* The configured name of a topic's role. borrows: from settings. */
const char *stream_access_topic_name(const struct settings *settings, enum stream_topic topic);
/* By role ("events") or configured name ("ilorad.events"); MALFORMED lists what there is. */
MUST_CHECK enum status stream_access_topic(const struct settings *settings, const char *name,
                                           enum stream_topic *ret_topic, struct error *err);

/* Appends records and waits while the embedded stream is full or the broker's queue is. `waiting`
 * may be NULL: told once when the wait begins. IO after ten minutes without room. */
MUST_CHECK enum status stream_access_produce(struct stream_access *access,
                                             const struct stream_output *outputs, int count,
                                             void (*waiting)(void), struct error *err);
/* All records sent are durable. */
MUST_CHECK enum status stream_access_flush(struct stream_access *access, struct error *err);

/* Partitions of a topic; AGAIN is retried for a while (a broker may be starting). */
MUST_CHECK enum status stream_access_partitions(struct stream_access *access,
                                                enum stream_topic topic, int32_t *ret_count,
                                                struct error *err);

#endif
