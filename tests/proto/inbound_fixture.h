/* SPDX-License-Identifier: Apache-2.0
 *
 * inbound_fixture.h - one record in, one event out, for the tests of the decoder.
 */
#ifndef TESTS_PROTO_INBOUND_FIXTURE_H
#define TESTS_PROTO_INBOUND_FIXTURE_H

#include "tests/support/unit.h"

#include "proto/inbound.h"

struct fixture {
    struct inbound *inbound;
    struct event event;
    const char *reason;
    struct error err;
};

static inline void fixture_open(struct fixture *f, struct inbound_settings settings) {
    memset(f, 0, sizeof *f);
    ASSERT_OK(inbound_init(&settings, &f->inbound, &f->err), f->err);
}

static inline void fixture_close(struct fixture *f) {
    inbound_free(f->inbound);
}

/* Decodes bytes as a record of the topic with Kafka timestamp 1,700,000,000,000. */
static inline enum status fixture_decode(struct fixture *f, enum stream_topic topic,
                                         struct span value) {
    struct stream_record record = {
        .topic = topic, .timestamp_ms = INT64_C(1700000000000), .value = value};
    memset(&f->event, 0, sizeof f->event);
    f->reason = NULL;
    f->err.text[0] = '\0';
    return inbound_decode(f->inbound, &record, &f->event, &f->reason, &f->err);
}

static inline void assert_span(struct span span, const char *text) {
    if (!span_equal(span, span_of(text))) { fail_msg("'%.*s' is not '%s'", SPAN_ARG(span), text); }
}

/* Decodes text and expects it to be fine. */
static inline void accept(struct fixture *f, const char *text) {
    ASSERT_OK(fixture_decode(f, STREAM_EVENTS, span_of(text)), f->err);
}

/* Decodes text and expects this refusal. */
static inline void refuse(struct fixture *f, enum status status, const char *reason,
                          const char *text) {
    ASSERT_STATUS(fixture_decode(f, STREAM_EVENTS, span_of(text)), status);
    assert_non_null(f->reason);
    assert_string_equal(f->reason, reason);
    assert_true(f->err.text[0] != '\0');
}

#endif
