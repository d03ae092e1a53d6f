/* SPDX-License-Identifier: Apache-2.0
 *
 * test_stream_kafka_pause.c - a broker that stops answering for a while (SIGSTOP) loses nothing.
 *
 * Alone in its program: other tests must not meet the stopped broker.
 */
#include "tests/kafka/kafka_fixture.h"

static char broker[FIXTURE_TEXT_BYTES];
static long broker_pid;

struct waiter {
    int calls;
    int resume_at; /* the call that wakes the broker */
    int64_t last_us;
    int64_t gap_us_max;
};

static void waiter_start(struct waiter *waiter, int resume_at) {
    *waiter = (struct waiter){.resume_at = resume_at, .last_us = clock_monotonic_us()};
}

static bool waiter_wait(void *context) {
    struct waiter *waiter = context;
    int64_t now_us = clock_monotonic_us();
    if (now_us - waiter->last_us > waiter->gap_us_max) {
        waiter->gap_us_max = now_us - waiter->last_us;
    }
    waiter->last_us = now_us;
    if (++waiter->calls == waiter->resume_at) { (void)kill((pid_t)broker_pid, SIGCONT); }
    return true;
}

/* Whatever a test left behind, the broker goes on. */
static int wake(void **state) {
    (void)state;
    return kill((pid_t)broker_pid, SIGCONT);
}

static void a_commit_outlives_a_pause_and_taints(void **state) {
    (void)state;
    struct fixture f;
    fixture_open(&f, broker, "pause");
    struct stream *s = f.stream;
    struct stream_position position = {STREAM_EVENTS, 0, 5};
    struct waiter waiter;
    ASSERT_OK(s->ops->fence(s, NULL, NULL, &f.err), f.err);
    commit_one(&f, s, "before", "t1", 1, 1);
    assert_false(s->ops->tainted(s));

    ASSERT_OK(s->ops->begin(s, &f.err), f.err);
    publish(&f, s, STREAM_LEDGER, 0, "during");
    assert_int_equal(kill((pid_t)broker_pid, SIGSTOP), 0);
    waiter_start(&waiter, 4);
    ASSERT_OK(s->ops->commit(s, &position, 1, "t2", waiter_wait, &waiter, &f.err), f.err);
    assert_true(waiter.calls >= 4);
    assert_true(waiter.gap_us_max < 1500000);
    assert_true(s->ops->tainted(s));

    struct seen *seen = seen_new();
    char token[STREAM_TOKEN_BYTES_MAX];
    ASSERT_OK(s->ops->fence(s, waiter_wait, &waiter, &f.err), f.err);
    assert_false(s->ops->tainted(s));
    ASSERT_OK(s->ops->tail(s, STREAM_LEDGER, 0, seen_sink, seen, &f.err), f.err);
    assert_string_equal(seen->records[0].value, "during");
    ASSERT_OK(s->ops->committed(s, &position, 1, token, &f.err), f.err);
    assert_string_equal(token, "t2");
    commit_one(&f, s, "after", "t3", 9, 9);
    fixture_close(&f);
}

static bool refuse_to_wait(void *context) {
    (void)context;
    return false;
}

/* A stop must not hang on a broker that is gone: the call is left behind, the next fence finds out
 * what became of the transaction. */
static void a_commit_can_be_given_up(void **state) {
    (void)state;
    struct fixture f;
    fixture_open(&f, broker, "give-up");
    struct stream *s = f.stream;
    struct stream_position position = {STREAM_EVENTS, 0, 5};
    ASSERT_OK(s->ops->fence(s, NULL, NULL, &f.err), f.err);
    commit_one(&f, s, "before", "t1", 1, 1);
    ASSERT_OK(s->ops->begin(s, &f.err), f.err);
    publish(&f, s, STREAM_LEDGER, 0, "in doubt");
    assert_int_equal(kill((pid_t)broker_pid, SIGSTOP), 0);
    int64_t begin_us = clock_monotonic_us();
    ASSERT_STATUS(s->ops->commit(s, &position, 1, "t2", refuse_to_wait, NULL, &f.err),
                  STATUS_AGAIN);
    assert_true(clock_monotonic_us() - begin_us < 3000000);
    assert_true(s->ops->tainted(s));
    ASSERT_STATUS(s->ops->commit(s, &position, 1, "t2", refuse_to_wait, NULL, &f.err), STATUS_IO);
    ASSERT_OK(s->ops->abort(s, &f.err), f.err);

    assert_int_equal(kill((pid_t)broker_pid, SIGCONT), 0);
    struct seen *seen = seen_new();
    char token[STREAM_TOKEN_BYTES_MAX];
    ASSERT_OK(s->ops->fence(s, NULL, NULL, &f.err), f.err);
    ASSERT_OK(s->ops->tail(s, STREAM_LEDGER, 0, seen_sink, seen, &f.err), f.err);
    ASSERT_OK(s->ops->committed(s, &position, 1, token, &f.err), f.err);
    bool committed = strcmp(token, "t2") == 0; /* all of it or nothing */
    assert_string_equal(seen->records[0].value, committed ? "in doubt" : "before");
    assert_int_equal(position.next, committed ? 5 : 1);
    commit_one(&f, s, "after", "t3", 9, 9);
    fixture_close(&f);
}

static void fencing_waits_for_the_broker(void **state) {
    (void)state;
    struct fixture f;
    fixture_open(&f, broker, "fence");
    struct stream *s = f.stream;
    struct waiter waiter;
    assert_int_equal(kill((pid_t)broker_pid, SIGSTOP), 0);
    waiter_start(&waiter, 3);
    ASSERT_OK(s->ops->fence(s, waiter_wait, &waiter, &f.err), f.err);
    assert_true(waiter.calls >= 3);
    assert_true(waiter.gap_us_max < 1500000);
    commit_one(&f, s, "epoch", "t", 1, 1);
    fixture_close(&f);
}

int main(int argc, char **argv) {
    if (argc < 2 || !fixture_broker(argv[1], broker, &broker_pid)) {
        (void)printf("skipped: no Kafka broker runs (Java, Maven or its artifacts are missing)\n");
        return TEST_SKIPPED;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(a_commit_outlives_a_pause_and_taints, wake),
        cmocka_unit_test_teardown(a_commit_can_be_given_up, wake),
        cmocka_unit_test_teardown(fencing_waits_for_the_broker, wake),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
