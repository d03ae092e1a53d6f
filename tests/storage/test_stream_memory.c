/* SPDX-License-Identifier: Apache-2.0
 *
 * test_stream_memory.c - the stream that the flow tests trust keeps the contract, and breaks as
 * told.
 */
#include "tests/storage/stream_contract.h"
#include "tests/support/stream_memory.h"

static struct error err; /* of the running test */

static struct stream *open_stream(void *context, const char *identity) {
    return stream_memory_open(context, identity);
}

static void close_stream(void *context, struct stream *stream) {
    (void)context;
    stream->ops->close(stream);
}

static void append(void *context, struct stream *stream, const struct stream_output *output) {
    (void)stream;
    (void)memory_broker_append(context, output);
}

static int setup(void **state) {
    *state = memory_broker_new(2);
    return 0;
}

static int teardown(void **state) {
    memory_broker_free(*state);
    return 0;
}

#define CONTRACT(name)                                                            \
    static void memory_##name(void **state) {                                     \
        struct stream_under_test t = {*state, open_stream, close_stream, append}; \
        contract_##name(&t);                                                      \
    }
CONTRACT(commit_shows_outputs_positions_and_token_together)
CONTRACT(abort_leaves_nothing)
CONTRACT(second_fence_keeps_the_first_owner_out)
CONTRACT(records_come_back_as_they_were)
CONTRACT(poll_gives_each_record_once_in_order_and_again_when_refused)
CONTRACT(poll_takes_partitions_in_turn)
CONTRACT(read_bounds_and_tail_agree)

static void begin_with_one_output(struct stream *s) {
    struct stream_output output = {STREAM_LEDGER, 0, 5, span_of("0"), span_of("er"), NULL, 0};
    ASSERT_OK(s->ops->begin(s, &err), err);
    ASSERT_OK(s->ops->publish(s, &output, &err), err);
}

static enum status commit(struct stream *s) {
    struct stream_position position = {STREAM_EVENTS, 0, 3};
    return s->ops->commit(s, &position, 1, "t", NULL, NULL, &err);
}

static void assert_applied(struct stream *s, int records) {
    int64_t first = 0, end = 0;
    struct stream_position position = {STREAM_EVENTS, 0, 0};
    char token[STREAM_TOKEN_BYTES_MAX];
    ASSERT_OK(s->ops->bounds(s, STREAM_LEDGER, 0, &first, &end, &err), err);
    assert_int_equal(end, records);
    ASSERT_OK(s->ops->committed(s, &position, 1, token, &err), err);
    assert_int_equal(position.next, records > 0 ? 3 : -1);
}

static void planned_faults_apply_or_lose_the_commit_as_they_say(void **state) {
    struct memory_broker *broker = *state;
    struct stream *s = stream_memory_open(broker, "one");
    contract_start(s);

    memory_broker_fail(broker, MEMORY_COMMIT_LOST, 1);
    begin_with_one_output(s);
    ASSERT_STATUS(commit(s), STATUS_IO);
    assert_true(memory_broker_failed(broker, MEMORY_COMMIT_LOST));
    assert_true(s->ops->tainted(s));
    assert_applied(s, 0);
    s->ops->close(s);

    s = stream_memory_open(broker, "one");
    contract_start(s);
    memory_broker_fail(broker, MEMORY_COMMIT_ANSWER_LOST, 1);
    begin_with_one_output(s);
    ASSERT_STATUS(commit(s), STATUS_IO);
    assert_applied(s, 1);
    ASSERT_OK(s->ops->fence(s, NULL, NULL, &err), err);
    assert_false(s->ops->tainted(s));

    memory_broker_fail(broker, MEMORY_COMMIT_AGAIN, 1);
    memory_broker_fail(broker, MEMORY_COMMIT_DISTURBED, 2);
    begin_with_one_output(s);
    ASSERT_STATUS(commit(s), STATUS_AGAIN);
    assert_applied(s, 1);
    ASSERT_OK(commit(s), err); /* called again: goes through */
    assert_false(s->ops->tainted(s));
    begin_with_one_output(s);
    ASSERT_OK(commit(s), err);
    assert_true(s->ops->tainted(s));
    assert_applied(s, 3);
    assert_int_equal(memory_broker_commits(broker), 3);
    s->ops->close(s);
}

static void closing_inside_a_transaction_is_a_kill_there(void **state) {
    struct memory_broker *broker = *state;
    struct stream *s = stream_memory_open(broker, "one");
    contract_start(s);
    begin_with_one_output(s);
    s->ops->close(s);
    s = stream_memory_open(broker, "one");
    assert_applied(s, 0);
    s->ops->close(s);
}

static void two_streams_of_one_identity_fence_each_other(void **state) {
    struct memory_broker *broker = *state;
    struct stream *old = stream_memory_open(broker, "one");
    struct stream *young = stream_memory_open(broker, "one");
    contract_start(old);
    begin_with_one_output(old);
    ASSERT_OK(young->ops->fence(young, NULL, NULL, &err), err);
    ASSERT_STATUS(commit(old), STATUS_FENCED);
    assert_applied(young, 0);
    old->ops->close(old);
    young->ops->close(young);
}

int main(void) {
#define MEMORY_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        MEMORY_TEST(memory_commit_shows_outputs_positions_and_token_together),
        MEMORY_TEST(memory_abort_leaves_nothing),
        MEMORY_TEST(memory_second_fence_keeps_the_first_owner_out),
        MEMORY_TEST(memory_records_come_back_as_they_were),
        MEMORY_TEST(memory_poll_gives_each_record_once_in_order_and_again_when_refused),
        MEMORY_TEST(memory_poll_takes_partitions_in_turn),
        MEMORY_TEST(memory_read_bounds_and_tail_agree),
        MEMORY_TEST(planned_faults_apply_or_lose_the_commit_as_they_say),
        MEMORY_TEST(closing_inside_a_transaction_is_a_kill_there),
        MEMORY_TEST(two_streams_of_one_identity_fence_each_other),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
