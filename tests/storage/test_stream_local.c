/* SPDX-License-Identifier: Apache-2.0
 *
 * test_stream_local.c - the embedded stream: the contract, several processes, kills, full disks,
 * retention, damage.
 */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/hash.h"
#include "base/rng.h"
#include "storage/stream_local.h"
#include "tests/storage/store_fixture.h"
#include "tests/storage/stream_contract.h"

static struct error err; /* of the running test */

struct local_fixture {
    struct tmpdir folder;
    uint64_t map_bytes, retention_bytes;
};

static struct stream *local_open(void *context, const char *identity) {
    const struct local_fixture *f = context;
    struct stream_local_settings settings = {.path = f->folder.path,
                                             .identity = identity,
                                             .partitions = 2,
                                             .map_bytes_max = f->map_bytes,
                                             .retention_bytes = f->retention_bytes};
    struct stream *stream = NULL;
    ASSERT_OK(stream_local_open(&settings, &stream, &err), err);
    return stream;
}

static void local_close(void *context, struct stream *stream) {
    (void)context;
    stream->ops->close(stream);
}

static void local_append(void *context, struct stream *stream, const struct stream_output *output) {
    (void)context;
    ASSERT_OK(stream_local_produce(stream, output, 1, &err), err);
}

static int setup(void **state) {
    static struct local_fixture fixture;
    fixture = (struct local_fixture){.map_bytes = 256u << 20};
    tmpdir_init(&fixture.folder);
    *state = &fixture;
    return 0;
}

static int teardown(void **state) {
    struct local_fixture *f = *state;
    tmpdir_free(&f->folder);
    return 0;
}

#define CONTRACT(name)                                                                \
    static void local_##name(void **state) {                                          \
        struct stream_under_test t = {*state, local_open, local_close, local_append}; \
        contract_##name(&t);                                                          \
    }
CONTRACT(commit_shows_outputs_positions_and_token_together)
CONTRACT(abort_leaves_nothing)
CONTRACT(second_fence_keeps_the_first_owner_out)
CONTRACT(records_come_back_as_they_were)
CONTRACT(poll_gives_each_record_once_in_order_and_again_when_refused)
CONTRACT(poll_takes_partitions_in_turn)
CONTRACT(read_bounds_and_tail_agree)

/* ---- several processes ----------------------------------------------------------------------- */

/* Runs body in a child process with a stream of its own; the child's asserts end it with 1. */
static pid_t in_child(void (*body)(struct local_fixture *f, int number), struct local_fixture *f,
                      int number) {
    (void)fflush(NULL); /* the child must not print it again */
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        body(f, number);
        _exit(0);
    }
    return pid;
}

static void join_child(pid_t pid) {
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

/* A child cannot use cmocka's asserts: they jump into the parent's frame. */
static void child_must(bool holds) {
    if (!holds) { _exit(1); }
}

#define PRODUCED 2000

static void produce_numbers(struct local_fixture *f, int number) {
    struct stream_local_settings settings = {
        .path = f->folder.path, .partitions = 2, .map_bytes_max = f->map_bytes};
    struct stream *s = NULL;
    child_must(stream_local_open(&settings, &s, NULL) == STATUS_OK);
    for (int i = 0; i < PRODUCED; i += 10) {
        struct stream_output outputs[10];
        char values[10][24];
        for (int k = 0; k < 10; k++) {
            (void)snprintf(values[k], sizeof values[k], "%d %d", number, i + k);
            outputs[k] = (struct stream_output){.topic = STREAM_EVENTS,
                                                .partition = number % 2,
                                                .timestamp_ms = -1,
                                                .value = span_of(values[k])};
        }
        child_must(stream_local_produce(s, outputs, 10, NULL) == STATUS_OK);
    }
    s->ops->close(s);
}

struct numbers {
    int next[4]; /* expected number of each producer */
    int total;
    int64_t now_ms;
};

static enum status take_number(void *context, const struct stream_record *record, struct error *e) {
    (void)e;
    struct numbers *numbers = context;
    char text[24] = {0};
    assert_true(record->value.size < sizeof text);
    memcpy(text, record->value.data, record->value.size);
    char *end = NULL;
    long producer = strtol(text, &end, 10);
    assert_true(producer >= 0 && producer < 4);
    assert_int_equal(strtol(end, NULL, 10), numbers->next[producer]);
    assert_int_equal(record->partition, producer % 2);
    assert_true(record->timestamp_ms >= numbers->now_ms); /* -1 became the clock */
    numbers->next[producer]++;
    numbers->total++;
    return STATUS_OK;
}

static void four_processes_produce_while_one_consumes_everything_in_order(void **state) {
    struct local_fixture *f = *state;
    struct numbers numbers = {.now_ms = clock_wall_us() / 1000};
    pid_t children[4];
    for (int i = 0; i < 4; i++) {
        children[i] = in_child(produce_numbers, f, i);
    }
    struct stream *s = local_open(f, "one");
    contract_start(s);

    int64_t until = clock_monotonic_us() + 60000000;
    while (numbers.total < 4 * PRODUCED && clock_monotonic_us() < until) {
        ASSERT_OK(s->ops->poll(s, 100, take_number, &numbers, &err), err);
    }
    assert_int_equal(numbers.total, 4 * PRODUCED);
    for (int i = 0; i < 4; i++) {
        join_child(children[i]);
    }
    s->ops->close(s);
}

static void fence_and_commit(struct local_fixture *f, int number) {
    (void)number;
    struct stream_local_settings settings = {
        .path = f->folder.path, .identity = "one", .partitions = 2, .map_bytes_max = f->map_bytes};
    struct stream *s = NULL;
    struct stream_position position = {STREAM_EVENTS, 0, 9};
    child_must(stream_local_open(&settings, &s, NULL) == STATUS_OK);
    child_must(s->ops->fence(s, NULL, NULL, NULL) == STATUS_OK);
    child_must(s->ops->begin(s, NULL) == STATUS_OK);
    child_must(s->ops->commit(s, &position, 1, "child", NULL, NULL, NULL) == STATUS_OK);
    s->ops->close(s);
}

static void commit_after_another_process_fenced_is_refused_and_writes_nothing(void **state) {
    struct local_fixture *f = *state;
    struct stream *s = local_open(f, "one");
    struct stream_output output = {STREAM_PREDICTIONS, 0, 5, span_of("u"), span_of("v"), NULL, 0};
    struct stream_position position = {STREAM_EVENTS, 0, 3};
    char token[STREAM_TOKEN_BYTES_MAX];
    int64_t first, end;
    contract_start(s);
    ASSERT_OK(s->ops->begin(s, &err), err);
    ASSERT_OK(s->ops->publish(s, &output, &err), err);
    join_child(in_child(fence_and_commit, f, 0));

    ASSERT_STATUS(s->ops->commit(s, &position, 1, "parent", NULL, NULL, &err), STATUS_FENCED);
    ASSERT_OK(s->ops->abort(s, &err), err);
    ASSERT_STATUS(s->ops->begin(s, &err), STATUS_FENCED);
    ASSERT_OK(s->ops->bounds(s, STREAM_PREDICTIONS, 0, &first, &end, &err), err);
    assert_int_equal(end, 0);
    ASSERT_OK(s->ops->committed(s, &position, 1, token, &err), err);
    assert_int_equal(position.next, 9);
    assert_string_equal(token, "child");
    s->ops->close(s);
}

static void append_later(struct local_fixture *f, int number) {
    (void)number;
    struct stream_local_settings settings = {
        .path = f->folder.path, .partitions = 2, .map_bytes_max = f->map_bytes};
    struct stream_output output = {STREAM_EVENTS, 0, -1, span_of("u"), span_of("0 0"), NULL, 0};
    struct stream *s = NULL;
    child_must(stream_local_open(&settings, &s, NULL) == STATUS_OK);
    clock_sleep_us(100000);
    child_must(stream_local_produce(s, &output, 1, NULL) == STATUS_OK);
    s->ops->close(s);
}

static void poll_until_woken(struct local_fixture *f, bool with_inotify) {
    struct numbers numbers = {0};
    pid_t child = in_child(append_later, f, 0);
    struct stream *s = local_open(f, "one");
    struct rlimit limit, none;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    none = limit;
    none.rlim_cur = with_inotify ? limit.rlim_cur : 0; /* no further descriptor: no inotify */
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    contract_start(s);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);

    int64_t start = clock_monotonic_us();
    ASSERT_OK(s->ops->poll(s, 20000, take_number, &numbers, &err), err);
    if (numbers.total == 0) { /* woken by our child's opening */
        ASSERT_OK(s->ops->poll(s, 20000, take_number, &numbers, &err), err);
    }
    assert_int_equal(numbers.total, 1);
    assert_true(clock_monotonic_us() - start < 10000000);
    join_child(child);
    s->ops->close(s);
}

static void waiting_poll_wakes_at_another_process_commit(void **state) {
    poll_until_woken(*state, true);
}

static void poll_without_inotify_wakes_too(void **state) {
    poll_until_woken(*state, false);
}

/* ---- two threads of one process -------------------------------------------------------------- */

struct polling {
    struct stream *stream;
    struct numbers numbers;
    atomic_int taken; /* records polled: what the core may commit */
    atomic_bool stop;
};

static void *poll_until_stopped(void *context) {
    struct polling *polling = context;
    struct error poll_err;
    while (!atomic_load(&polling->stop)) {
        enum status status = polling->stream->ops->poll(polling->stream, 20, take_number,
                                                        &polling->numbers, &poll_err);
        assert_int_equal(status, STATUS_OK);
        atomic_store(&polling->taken, polling->numbers.total);
    }
    return NULL;
}

static void core_commits_and_trims_while_the_poll_thread_polls(void **state) {
    struct local_fixture *f = *state;
    f->retention_bytes = 256u << 10;
    struct polling polling = {.stream = local_open(f, "one")};
    struct stream *s = polling.stream;
    pthread_t thread;
    enum { ROUNDS = 100, EVENTS = 50 };
    contract_start(s);
    assert_int_equal(pthread_create(&thread, NULL, poll_until_stopped, &polling), 0);
    int64_t until = clock_monotonic_us() + 30000000;
    for (int round = 0; round < ROUNDS; round++) {
        char values[EVENTS][24];
        struct stream_output outputs[EVENTS];
        for (int i = 0; i < EVENTS; i++) {
            (void)snprintf(values[i], sizeof values[i], "0 %d", round * EVENTS + i);
            outputs[i] = (struct stream_output){
                .topic = STREAM_EVENTS, .timestamp_ms = 5, .value = span_of(values[i])};
        }
        ASSERT_OK(stream_local_produce(s, outputs, EVENTS, &err), err);
        while (atomic_load(&polling.taken) < round * EVENTS && clock_monotonic_us() < until) {
            clock_sleep_us(100);
        }
        struct stream_position position = {STREAM_EVENTS, 0, atomic_load(&polling.taken)};
        ASSERT_OK(s->ops->begin(s, &err), err);
        for (int i = 0; i < EVENTS; i++) {
            outputs[i].topic = STREAM_PREDICTIONS;
            ASSERT_OK(s->ops->publish(s, &outputs[i], &err), err);
        }
        ASSERT_OK(s->ops->commit(s, &position, 1, "t", NULL, NULL, &err), err);
    }
    while (atomic_load(&polling.taken) < ROUNDS * EVENTS && clock_monotonic_us() < until) {
        clock_sleep_us(100);
    }
    atomic_store(&polling.stop, true);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(polling.numbers.total, ROUNDS * EVENTS);
    int64_t first = 0, end = 0;
    ASSERT_OK(s->ops->bounds(s, STREAM_EVENTS, 0, &first, &end, &err), err);
    assert_int_equal(end, ROUNDS * EVENTS);
    assert_true(first > 0); /* trimming took part */
    s->ops->close(s);
}

/* ---- kills ----------------------------------------------------------------------------------- */

#define OUTPUTS_A_COMMIT 20

/* Commits epoch after epoch from where the stream is, until killed. Epoch e: OUTPUTS_A_COMMIT
 * predictions and one ledger record with value "e", next offset e, token "e". */
static void commit_until_killed(struct local_fixture *f, int number) {
    (void)number;
    struct stream_local_settings settings = {
        .path = f->folder.path, .identity = "one", .partitions = 2, .map_bytes_max = f->map_bytes};
    struct stream *s = NULL;
    struct stream_position position = {STREAM_EVENTS, 0, 0};
    char token[STREAM_TOKEN_BYTES_MAX];
    child_must(stream_local_open(&settings, &s, NULL) == STATUS_OK);
    child_must(s->ops->fence(s, NULL, NULL, NULL) == STATUS_OK);
    child_must(s->ops->committed(s, &position, 1, token, NULL) == STATUS_OK);
    for (int64_t epoch = position.next < 0 ? 1 : position.next + 1;; epoch++) {
        (void)snprintf(token, sizeof token, "%lld", (long long)epoch);
        struct stream_output output = {.topic = STREAM_PREDICTIONS, .value = span_of(token)};
        child_must(s->ops->begin(s, NULL) == STATUS_OK);
        for (int i = 0; i < OUTPUTS_A_COMMIT; i++) {
            child_must(s->ops->publish(s, &output, NULL) == STATUS_OK);
        }
        output.topic = STREAM_LEDGER;
        child_must(s->ops->publish(s, &output, NULL) == STATUS_OK);
        position.next = epoch;
        child_must(s->ops->commit(s, &position, 1, token, NULL, NULL, NULL) == STATUS_OK);
    }
}

struct expected_epochs {
    int64_t epoch;
    int seen;
};

static enum status check_epoch(void *context, const struct stream_record *record, struct error *e) {
    (void)e;
    struct expected_epochs *expected = context;
    char text[24];
    int each = record->topic == STREAM_LEDGER ? 1 : OUTPUTS_A_COMMIT;
    int length = snprintf(text, sizeof text, "%d", expected->seen / each + 1);
    assert_int_equal(record->value.size, length);
    assert_memory_equal(record->value.data, text, record->value.size);
    expected->seen++;
    return STATUS_OK;
}

static void killed_at_any_moment_the_stream_is_old_or_new(void **state) {
    struct local_fixture *f = *state;
    struct rng rng = rng_make(11, 1);
    int64_t before = 0, moved = 0;
    for (int round = 0; round < 25; round++) {
        pid_t child = in_child(commit_until_killed, f, 0);
        clock_sleep_us(5000 + (int64_t)rng_below(&rng, 40000));
        assert_int_equal(kill(child, SIGKILL), 0);
        int status = 0;
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFSIGNALED(status)); /* not ended by a failed check */

        struct stream *s = local_open(f, "one");
        struct stream_position position = {STREAM_EVENTS, 0, 0};
        char token[STREAM_TOKEN_BYTES_MAX], text[24];
        ASSERT_OK(s->ops->committed(s, &position, 1, token, &err), err);
        int64_t epoch = position.next < 0 ? 0 : position.next;
        (void)snprintf(text, sizeof text, "%lld", (long long)epoch);
        assert_string_equal(token, epoch > 0 ? text : "");
        assert_true(epoch >= before);
        struct expected_epochs expected = {epoch, 0};
        ASSERT_OK(s->ops->read(s, STREAM_LEDGER, 0, 0, INT64_MAX, check_epoch, &expected, &err),
                  err);
        assert_int_equal(expected.seen, epoch);
        expected.seen = 0;
        ASSERT_OK(
            s->ops->read(s, STREAM_PREDICTIONS, 0, 0, INT64_MAX, check_epoch, &expected, &err),
            err);
        assert_int_equal(expected.seen, epoch * OUTPUTS_A_COMMIT);
        s->ops->close(s);
        moved += epoch > before;
        before = epoch;
    }
    assert_true(moved > 0); /* some rounds got as far as a commit, or nothing was tested */
}

/* ---- full, refused, damaged ------------------------------------------------------------------ */

static void refused_commit_may_be_called_again_until_it_goes_through(void **state) {
    struct local_fixture *f = *state;
    struct stream *s = local_open(f, "one");
    struct stream_position position = {STREAM_EVENTS, 0, 3};
    struct stream_output output = {STREAM_PREDICTIONS, 0, 5, span_of("u"), span_of("v"), NULL, 0};
    int64_t first, end;
    contract_start(s);
    ASSERT_OK(s->ops->begin(s, &err), err);
    ASSERT_OK(s->ops->publish(s, &output, &err), err);

    bool fired = true;
    for (long n = 1; fired; n++) {
        fault_arm(FAULT_STORE, n);
        enum status status = s->ops->commit(s, &position, 1, "t", NULL, NULL, &err);
        fired = fault_fired(FAULT_STORE);
        fault_arm(FAULT_STORE, 0);
        ASSERT_OK(s->ops->bounds(s, STREAM_PREDICTIONS, 0, &first, &end, &err), err);
        if (fired) {
            ASSERT_STATUS(status, STATUS_AGAIN);
            assert_int_equal(end, 0);
        } else {
            ASSERT_OK(status, err);
            assert_int_equal(end, 1);
        }
    }
    s->ops->close(s);
}

static void opening_survives_every_fault(void **state) {
    struct local_fixture *f = *state;
    struct stream_local_settings settings = {.identity = "x", .map_bytes_max = 1u << 20};
    const char *folder = tmpdir_path(&f->folder, "other");
    settings.path = folder;
    for (int kind = 0; kind < FAULT_KIND_COUNT; kind++) {
        bool fired = true;
        for (long n = 1; fired; n++) {
            struct stream *s = NULL;
            fault_arm((enum fault_kind)kind, n);
            enum status status = stream_local_open(&settings, &s, &err);
            fired = fault_fired((enum fault_kind)kind);
            fault_arm((enum fault_kind)kind, 0);
            if (status == STATUS_OK) { s->ops->close(s); }
            assert_true(fired == (status != STATUS_OK));
            ASSERT_OK(dir_remove(folder, &err), err);
        }
    }
}

static enum status produce_block(struct stream *s, enum stream_topic topic, int64_t time_ms) {
    static uint8_t value[1000];
    struct stream_output outputs[100];
    for (int i = 0; i < 100; i++) {
        outputs[i] = (struct stream_output){
            .topic = topic, .timestamp_ms = time_ms, .value = span_make(value, sizeof value)};
    }
    return stream_local_produce(s, outputs, 100, &err);
}

static void commit_at(struct stream *s, int64_t next) {
    struct stream_position position = {STREAM_EVENTS, 0, next};
    ASSERT_OK(s->ops->begin(s, &err), err);
    ASSERT_OK(s->ops->commit(s, &position, 1, "t", NULL, NULL, &err), err);
}

static void full_stream_makes_producers_wait_until_the_input_is_committed(void **state) {
    struct local_fixture *f = *state;
    f->retention_bytes = 1u << 20;
    struct stream *s = local_open(f, "one");
    int64_t first, end;
    contract_start(s);
    int blocks = 0;
    enum status status = STATUS_OK;
    while ((status = produce_block(s, STREAM_EVENTS, 1)) == STATUS_OK && blocks < 100) {
        blocks++;
    }
    ASSERT_STATUS(status, STATUS_AGAIN);
    assert_true(blocks == 9 || blocks == 10); /* 1 MiB of about 1,050 bytes a record */

    /* What the last commits may have to be read again stays: nothing goes before the fourth. */
    for (int i = 0; i < 3; i++) {
        commit_at(s, 500 + i);
        ASSERT_STATUS(produce_block(s, STREAM_EVENTS, 1), STATUS_AGAIN);
    }
    commit_at(s, 503);
    ASSERT_OK(produce_block(s, STREAM_EVENTS, 1), err);
    ASSERT_OK(s->ops->bounds(s, STREAM_EVENTS, 0, &first, &end, &err), err);
    assert_true(first > 0 && first <= 500);
    assert_int_equal(end, blocks * 100 + 100);

    struct numbers unused = {0};
    ASSERT_STATUS(s->ops->read(s, STREAM_EVENTS, 0, 0, 10, take_number, &unused, &err),
                  STATUS_CORRUPT);
    ASSERT_CONTAINS(err.text, "are lost");
    s->ops->close(s);
}

static void retention_takes_the_oldest_output_and_never_the_ledger(void **state) {
    struct local_fixture *f = *state;
    f->retention_bytes = 2u << 20;
    struct stream *s = local_open(f, "one");
    int64_t first, end;
    contract_start(s);
    for (int i = 0; i < 5; i++) {
        ASSERT_OK(produce_block(s, STREAM_LEDGER, 1), err);
    }
    for (int i = 0; i < 50; i++) {
        ASSERT_OK(produce_block(s, STREAM_PREDICTIONS, 10 + i), err);
    }
    ASSERT_OK(s->ops->bounds(s, STREAM_LEDGER, 0, &first, &end, &err), err);
    assert_true(first == 0 && end == 500);
    ASSERT_OK(s->ops->bounds(s, STREAM_PREDICTIONS, 0, &first, &end, &err), err);
    assert_int_equal(end, 5000);
    assert_true(end - first < 1600 && end - first >= 256);
    s->ops->close(s);
}

static void full_map_is_again_and_loses_nothing(void **state) {
    struct local_fixture *f = *state;
    f->map_bytes = 1u << 20;
    struct stream *s = local_open(f, "one");
    contract_start(s);
    int blocks = 0;
    enum status status = STATUS_OK;
    while ((status = produce_block(s, STREAM_EVENTS, 1)) == STATUS_OK && blocks < 100) {
        blocks++;
    }
    ASSERT_STATUS(status, STATUS_AGAIN);
    int64_t first, end;
    ASSERT_OK(s->ops->bounds(s, STREAM_EVENTS, 0, &first, &end, &err), err);
    assert_int_equal(end, blocks * 100);
    s->ops->close(s);
}

static void damaged_record_is_corrupt_and_named(void **state) {
    struct local_fixture *f = *state;
    struct stream *s = local_open(f, "one");
    contract_start(s);
    struct stream_output output = {STREAM_EVENTS, 1, 5, span_of("u"), span_of("v"), NULL, 0};
    local_append(f, s, &output);
    s->ops->close(s);
    uint8_t key[13] = {STREAM_EVENTS, 0, 0, 0, 1};
    for (size_t flip = 0; flip < 18; flip++) {
        store_flip_byte(f->folder.path, "records", span_make(key, sizeof key), flip);
        s = local_open(f, "one");
        struct numbers unused = {0};
        ASSERT_STATUS(s->ops->tail(s, STREAM_EVENTS, 1, take_number, &unused, &err),
                      STATUS_CORRUPT);
        ASSERT_CONTAINS(err.text, "events/1/0");
        s->ops->close(s);
        store_flip_byte(f->folder.path, "records", span_make(key, sizeof key), flip);
    }
}

static void positions_left_out_of_a_commit_stay_as_they_were(void **state) {
    struct local_fixture *f = *state;
    struct stream *s = local_open(f, "one");
    struct stream_position positions[] = {{STREAM_EVENTS, 0, 10}, {STREAM_ITEMS, 0, 20}};
    char token[STREAM_TOKEN_BYTES_MAX];
    contract_start(s);
    ASSERT_OK(s->ops->begin(s, &err), err);
    ASSERT_OK(s->ops->commit(s, positions, 2, "a", NULL, NULL, &err), err);
    commit_at(s, 11);
    ASSERT_OK(s->ops->committed(s, positions, 2, token, &err), err);
    assert_int_equal(positions[0].next, 11);
    assert_int_equal(positions[1].next, 20);
    s->ops->close(s);
}

int main(void) {
#define LOCAL_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        LOCAL_TEST(local_commit_shows_outputs_positions_and_token_together),
        LOCAL_TEST(local_abort_leaves_nothing),
        LOCAL_TEST(local_second_fence_keeps_the_first_owner_out),
        LOCAL_TEST(local_records_come_back_as_they_were),
        LOCAL_TEST(local_poll_gives_each_record_once_in_order_and_again_when_refused),
        LOCAL_TEST(local_poll_takes_partitions_in_turn),
        LOCAL_TEST(local_read_bounds_and_tail_agree),
        LOCAL_TEST(four_processes_produce_while_one_consumes_everything_in_order),
        LOCAL_TEST(commit_after_another_process_fenced_is_refused_and_writes_nothing),
        LOCAL_TEST(waiting_poll_wakes_at_another_process_commit),
        LOCAL_TEST(poll_without_inotify_wakes_too),
        LOCAL_TEST(core_commits_and_trims_while_the_poll_thread_polls),
        LOCAL_TEST(killed_at_any_moment_the_stream_is_old_or_new),
        LOCAL_TEST(refused_commit_may_be_called_again_until_it_goes_through),
        LOCAL_TEST(opening_survives_every_fault),
        LOCAL_TEST(full_stream_makes_producers_wait_until_the_input_is_committed),
        LOCAL_TEST(retention_takes_the_oldest_output_and_never_the_ledger),
        LOCAL_TEST(full_map_is_again_and_loses_nothing),
        LOCAL_TEST(damaged_record_is_corrupt_and_named),
        LOCAL_TEST(positions_left_out_of_a_commit_stay_as_they_were),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
