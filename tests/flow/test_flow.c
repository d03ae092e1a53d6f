/* SPDX-License-Identifier: Apache-2.0
 *
 * test_flow.c - the whole core on a stream in memory: what may depend on timing and what must not.
 *
 * Two runs over the same input are compared by everything they published (keys, values, headers,
 * order) and by a digest of all tables. A kill drops the process' memory; broker and state folder
 * stay.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "storage/sequence.h"
#include "tests/flow/flow_run.h"
#include "tests/support/unit.h"

#define RECORDS 700

/* ---- strict mode ----------------------------------------------------------------------------- */

static void strict_outputs_do_not_depend_on_where_epochs_end(void **state) {
    (void)state;
    struct flow_run one = {.strict = true, .seed = 1, .records = RECORDS};
    struct flow_run other = one;
    one.pace = (struct tiny_pace){.epoch_records = 1};
    other.pace = (struct tiny_pace){.epoch_records = 333};

    flow_run(&one);
    flow_run(&other);

    assert_true(one.ledger_records > other.ledger_records + 20);
    flow_assert_same_outputs(&one, &other);
    assert_memory_equal(one.state_digest, other.state_digest, SHA256_BYTES);
    flow_run_free(&one);
    flow_run_free(&other);
}

static void strict_outputs_survive_kills_anywhere(void **state) {
    (void)state;
    struct flow_run oracle = {.strict = true, .seed = 2, .records = RECORDS};
    flow_run(&oracle);
    assert_true(oracle.versions >= 5);

    static const enum memory_fault faults[] = {MEMORY_COMMIT_LOST, MEMORY_COMMIT_ANSWER_LOST,
                                               MEMORY_PUBLISH_FULL};
    for (size_t f = 0; f < sizeof faults / sizeof faults[0]; f++) {
        for (int every = 1; every <= 7; every += 2) {
            struct flow_run killed = oracle;
            flow_run_reset(&killed);
            killed.pace = (struct tiny_pace){.epoch_records = 16};
            killed.fault = faults[f];
            killed.fault_every = faults[f] == MEMORY_PUBLISH_FULL ? 10 * every : every + 1;

            flow_run(&killed);

            assert_true(killed.kills > 3);
            flow_assert_same_outputs(&oracle, &killed);
            assert_memory_equal(oracle.state_digest, killed.state_digest, SHA256_BYTES);
            flow_run_free(&killed);
        }
    }
    flow_run_free(&oracle);
}

static void strict_predictions_name_the_version_of_their_number(void **state) {
    (void)state;
    struct flow_run run = {.strict = true, .seed = 3, .records = RECORDS};
    flow_run(&run);

    /* C_v = v * 64 (two batches of 32), in force for groups that begin after C_v + 64. */
    const char *at = (const char *)run.outputs[STREAM_PREDICTIONS].data;
    const char *end = at + run.outputs[STREAM_PREDICTIONS].size;
    int checked = 0;
    for (; at < end; at = (const char *)memchr(at, '\n', (size_t)(end - at)) + 1) {
        uint64_t version = flow_number_after(at, "\"model_version\":");
        uint64_t seq = flow_number_after(at, "\"seq\":");
        uint64_t group_lo = (seq - 1) / 8 * 8 + 1;
        uint64_t expected = group_lo - 1 < 128 ? 0 : (group_lo - 1) / 64 - 1;
        assert_int_equal(version, expected);
        checked++;
    }
    assert_true(checked > 300);
    flow_run_free(&run);
}

/* ---- recorded mode --------------------------------------------------------------------------- */

static struct flow_run recorded(uint64_t seed) {
    return (struct flow_run){.seed = seed,
                             .records = RECORDS,
                             .partitions = 3,
                             .pace = {.epoch_records = 37,
                                      .batch_every = 3,
                                      .version_every = 4,
                                      .learner_every = 2,
                                      .fast_share = 0.7}};
}

static void recorded_refold_from_nothing_gives_state_and_digests_back(void **state) {
    (void)state;
    struct flow_run live = recorded(4);
    flow_run(&live);
    assert_true(live.versions >= 3);
    assert_true(live.applied > 500);

    flow_refold(&live, false);

    assert_true(live.refolded > 10);
    assert_memory_equal(live.state_digest, live.refold_digest, SHA256_BYTES);
    flow_run_free(&live);
}

/* Without the versions' folders the input state is the same and nothing is evaluated that was
 * not. */
static void recorded_refold_without_versions_folds_unscored(void **state) {
    (void)state;
    struct flow_run live = recorded(5);
    flow_run(&live);

    flow_refold(&live, true);

    assert_true(live.refolded > 10);
    assert_memory_not_equal(live.state_digest, live.refold_digest, SHA256_BYTES);
    assert_int_equal(live.refold_published, 0);
    flow_run_free(&live);
}

/* What is published after a kill may differ from the uninterrupted run (epochs end elsewhere),
 * but each epoch that was committed stays, is followed exactly, and every record is folded once. */
static void recorded_kills_lose_nothing_and_fold_nothing_twice(void **state) {
    (void)state;
    struct flow_run oracle = recorded(6);
    flow_run(&oracle);

    static const enum memory_fault faults[] = {MEMORY_COMMIT_LOST, MEMORY_COMMIT_ANSWER_LOST};
    for (int f = 0; f < 2; f++) {
        struct flow_run killed = recorded(6);
        killed.fault = faults[f];
        killed.fault_every = 3;

        flow_run(&killed);

        assert_true(killed.kills > 3);
        assert_int_equal(killed.applied, oracle.applied);
        assert_int_equal(killed.duplicate, oracle.duplicate);
        assert_int_equal(killed.dead, oracle.dead);
        flow_refold(&killed, false);
        assert_memory_equal(killed.state_digest, killed.refold_digest, SHA256_BYTES);
        flow_run_free(&killed);
    }
    flow_run_free(&oracle);
}

static void a_changed_input_record_fails_the_refold(void **state) {
    (void)state;
    struct flow_run live = recorded(7);
    flow_run(&live);
    struct flow_run other = recorded(8); /* another input under the same ledger */
    flow_run(&other);

    struct error err = {0};
    ASSERT_STATUS(flow_refold_ledger_of(&live, &other, &err), STATUS_CORRUPT);

    flow_run_free(&live);
    flow_run_free(&other);
}

/* ---- partitions ------------------------------------------------------------------------------ */

struct tiling {
    struct arena arena;
    int64_t next[STREAM_INPUT_COUNT][3];
    uint64_t seq;
    uint64_t records;
};

static enum status tile(void *context, const struct stream_record *record, struct error *err) {
    struct tiling *tiling = context;
    struct epoch_record epoch;
    arena_reset(&tiling->arena);
    ASSERT_OK(outbound_epoch_read(record->value, &tiling->arena, &epoch, err), *err);
    for (int i = 0; i < epoch.run_count; i++) {
        const struct epoch_run *run = &epoch.runs[i];
        assert_in_range(run->records, 1, 256); /* a partition's turn ends after 256 */
        assert_int_equal(run->lo, tiling->next[run->topic][run->partition]);
        tiling->next[run->topic][run->partition] = run->hi + 1;
        tiling->records += run->records;
    }
    assert_int_equal(epoch.seq_lo, tiling->seq + 1);
    assert_int_equal(epoch.seq_hi, tiling->seq + epoch.applied);
    tiling->seq = epoch.seq_hi;
    return STATUS_OK;
}

static void the_ledgers_runs_tile_every_partition_and_number_all_events(void **state) {
    (void)state;
    struct flow_run run = recorded(9);
    run.records = 3000;
    run.fault = MEMORY_COMMIT_ANSWER_LOST;
    run.fault_every = 20;
    flow_run(&run);
    struct error err = {0};
    struct tiling tiling = {0};
    ASSERT_OK(arena_init_chained(&tiling.arena, 65536, &err), err);
    struct stream *stream = stream_memory_open(run.broker, NULL);
    ASSERT_OK(stream->ops->read(stream, STREAM_LEDGER, 0, 0, INT64_MAX, tile, &tiling, &err), err);

    assert_int_equal(tiling.records, 3000);
    assert_int_equal(tiling.seq, run.applied);
    for (int topic = 0; topic < 2; topic++) { /* control records: none */
        for (int32_t p = 0; p < 3; p++) {
            int64_t first, end;
            ASSERT_OK(stream->ops->bounds(stream, (enum stream_topic)topic, p, &first, &end, &err),
                      err);
            assert_true(end > 10);
            assert_int_equal(tiling.next[topic][p], end);
        }
    }
    stream->ops->close(stream);
    arena_free(&tiling.arena);
    flow_run_free(&run);
}

/* ---- owners ---------------------------------------------------------------------------------- */

struct pair {
    struct memory_broker *broker;
    struct tmpdir folder[2];
    struct settings settings;
    struct tiny_core core[2];
};

static struct pair *open_pair(void) {
    struct pair *pair = calloc(1, sizeof *pair);
    struct error err = {0};
    assert_non_null(pair);
    pair->broker = memory_broker_new(1);
    tiny_settings(&pair->settings, false, NULL, 0);
    tiny_stream(pair->broker, 10, 100, false);
    for (int i = 0; i < 2; i++) {
        tmpdir_init(&pair->folder[i]);
        ASSERT_OK(tiny_core_open(&pair->core[i], pair->broker, pair->folder[i].path,
                                 &pair->settings, &err),
                  err);
    }
    return pair;
}

static void close_pair(struct pair *pair) {
    for (int i = 0; i < 2; i++) {
        tiny_core_kill(&pair->core[i]);
        tmpdir_free(&pair->folder[i]);
    }
    memory_broker_free(pair->broker);
    free(pair);
}

static void whoever_was_fenced_commits_nothing(void **state) {
    (void)state;
    struct pair *pair = open_pair();
    struct error err = {0};
    struct buffer before = {0}, after = {0};
    tiny_dump_topic(pair->broker, STREAM_LEDGER, &before);

    struct tiny_pace pace = {.epoch_records = 10};
    ASSERT_STATUS(tiny_core_run(&pair->core[0], &pace, &err), STATUS_FENCED);

    tiny_dump_topic(pair->broker, STREAM_LEDGER, &after);
    assert_int_equal(before.size, after.size);
    assert_memory_equal(before.data, after.data, before.size);
    ASSERT_OK(tiny_core_run(&pair->core[1], &pace, &err), err);
    buffer_free(&before);
    buffer_free(&after);
    close_pair(pair);
}

static enum status refence(struct tiny_core *core, struct error *err) {
    const struct core_state *at = engine_state(core->engine);
    return commit_refence(&core->doors, at->epoch, at->chain, err);
}

/* The taint rule: a new producer identity always succeeds, so the ledger's tail has the last
 * word. */
static void after_a_new_fence_the_ledgers_tail_decides(void **state) {
    (void)state;
    struct pair *pair = open_pair();
    struct error err = {0};
    struct tiny_pace pace = {.epoch_records = 10};
    ASSERT_OK(refence(&pair->core[1], &err), err);
    ASSERT_OK(tiny_core_run(&pair->core[1], &pace, &err), err);

    /* Same owner, another epoch: start over. */
    ASSERT_STATUS(refence(&pair->core[0], &err), STATUS_IO);
    memset(pair->core[0].owner, 8, OWNER_BYTES);
    ASSERT_STATUS(refence(&pair->core[0], &err), STATUS_FENCED);
    ASSERT_CONTAINS(err.text, "07070707");
    close_pair(pair);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(strict_outputs_do_not_depend_on_where_epochs_end),
        cmocka_unit_test(strict_outputs_survive_kills_anywhere),
        cmocka_unit_test(strict_predictions_name_the_version_of_their_number),
        cmocka_unit_test(recorded_refold_from_nothing_gives_state_and_digests_back),
        cmocka_unit_test(recorded_refold_without_versions_folds_unscored),
        cmocka_unit_test(recorded_kills_lose_nothing_and_fold_nothing_twice),
        cmocka_unit_test(a_changed_input_record_fails_the_refold),
        cmocka_unit_test(the_ledgers_runs_tile_every_partition_and_number_all_events),
        cmocka_unit_test(whoever_was_fenced_commits_nothing),
        cmocka_unit_test(after_a_new_fence_the_ledgers_tail_decides),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
