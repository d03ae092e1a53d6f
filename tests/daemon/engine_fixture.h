/* SPDX-License-Identifier: Apache-2.0
 *
 * engine_fixture.h - a tiny core over a stream in memory, and words to feed it and to look at it.
 */
#ifndef TESTS_DAEMON_ENGINE_FIXTURE_H
#define TESTS_DAEMON_ENGINE_FIXTURE_H

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "daemon/engine.h"
#include "storage/sequence.h"
#include "storage/training_log.h"
#include "tests/support/tiny_core.h"
#include "tests/support/tmpdir.h"
#include "tests/support/unit.h"

struct fixture {
    struct tmpdir folder;
    struct memory_broker *broker;
    struct settings settings;
    struct tiny_core core;
    struct buffer text; /* what a topic holds */
    struct error err;
    int64_t time_s;
};

static inline struct fixture *open_with(bool strict, const char *const *more, int count) {
    struct fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    tmpdir_init(&f->folder);
    f->broker = memory_broker_new(1);
    f->time_s = 1700000000;
    tiny_settings(&f->settings, strict, more, count);
    ASSERT_OK(tiny_core_open(&f->core, f->broker, f->folder.path, &f->settings, &f->err), f->err);
    return f;
}

static inline void close_fixture(struct fixture *f) {
    tiny_core_kill(&f->core);
    buffer_free(&f->text);
    memory_broker_free(f->broker);
    tmpdir_free(&f->folder);
    free(f);
}

static inline void run_with(struct fixture *f, struct tiny_pace pace) {
    ASSERT_OK(tiny_core_run(&f->core, &pace, &f->err), f->err);
}

static inline void run_all(struct fixture *f) {
    run_with(f, (struct tiny_pace){0});
}

static inline void event(struct fixture *f, const char *id, const char *user, const char *item) {
    tiny_send(f->broker, STREAM_EVENTS, user,
              "{\"id\":\"%s\",\"user\":\"%s\",\"item\":\"%s\",\"timestamp\":%" PRId64 "}", id, user,
              item, f->time_s++);
}

/* count events of as many users, all on different items. */
static inline void crowd(struct fixture *f, int first, int count) {
    for (int i = first; i < first + count; i++) {
        char id[16], user[16], item[16];
        (void)snprintf(id, sizeof id, "c%d", i);
        (void)snprintf(user, sizeof user, "crowd%d", i % 9);
        (void)snprintf(item, sizeof item, "i%d", i % 30);
        event(f, id, user, item);
    }
}

static inline void control(struct fixture *f, const char *text) {
    enum stream_topic topic = f->settings.engine_strict ? STREAM_EVENTS : STREAM_CONTROL;
    tiny_send(f->broker, topic, NULL, "%s", text);
}

static inline const struct core_state *state_of(const struct fixture *f) {
    return engine_state(f->core.engine);
}

static inline struct training_row row_of(struct fixture *f, uint64_t seq) {
    struct training_row row;
    ASSERT_OK(training_log_get(f->core.stage, seq, &row, &f->err), f->err);
    return row;
}

static inline struct sequence sequence_of(struct fixture *f, const char *user) {
    struct sequence sequence;
    ASSERT_OK(sequence_load(f->core.stage, span_of(user), &sequence, &f->err), f->err);
    return sequence;
}

static inline const char *topic_text(struct fixture *f, enum stream_topic topic) {
    buffer_reset(&f->text);
    tiny_dump_topic(f->broker, topic, &f->text);
    assert_int_equal(buffer_append(&f->text, "", 1), STATUS_OK);
    return (const char *)f->text.data;
}

#endif
