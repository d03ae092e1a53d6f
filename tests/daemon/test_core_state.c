/* SPDX-License-Identifier: Apache-2.0
 *
 * test_core_state.c - the core's state comes back from META as it was, or says what is wrong.
 */
#include "daemon/core_state.h"

#include <stdlib.h>

#include "base/training_row.h"
#include "tests/storage/store_fixture.h"
#include "tests/support/fault.h"

static const int32_t partitions[STREAM_INPUT_COUNT] = {300, 2, 1};

/* Every field another value. */
static void fill(struct core_state *state) {
    struct error err = {0};
    ASSERT_OK(core_state_init(state, partitions, &err), err);
    state->epoch = 11;
    state->seq = 12345;
    memset(state->chain, 1, SHA256_BYTES);
    memset(state->input_digest, 2, SHA256_BYTES);
    memset(state->evaluation_digest, 3, SHA256_BYTES);
    state->evaluation_carried = true;
    state->in_force = 4;
    state->version_next = 7;
    state->batch_end = 12300;
    state->batches = 3;
    state->version_seq = 12000;
    state->metrics_seq = 12001;
    state->settings_digest = 0xfeedfacecafebeefu;
    state->counts = (struct core_counts){12345, 21, 22, 23, 24};
    state->rates = (struct core_rates){0.5, 0.25, 0.125, 1.0};
    state->live = (struct live_sums){100, 1.5, 2.5, 3.5, 0.1, 0.3};
    state->pending_count = PENDING_VERSIONS_MAX;
    for (int i = 0; i < PENDING_VERSIONS_MAX; i++) {
        state->pending[i] = (struct pending_version){.number = 5 + (uint64_t)i,
                                                     .seq = 12000 + (uint64_t)i,
                                                     .announced = i % 2 == 0,
                                                     .rejected = i % 3 == 0,
                                                     .rolled_back = (uint64_t)i};
    }
    state->control_count = PENDING_CONTROLS_MAX;
    for (int i = 0; i < PENDING_CONTROLS_MAX; i++) {
        state->controls[i] = (struct pending_control){.mark = TRAINING_FORGET,
                                                      .argument = 0x1000000000u + (uint64_t)i};
    }
    for (int i = 0; i < state->position_count; i++) {
        state->positions[i].next = 1000000000000 + i;
    }
}

static void assert_equal(const struct core_state *a, const struct core_state *b) {
    assert_int_equal(a->epoch, b->epoch);
    assert_int_equal(a->seq, b->seq);
    assert_memory_equal(a->chain, b->chain, SHA256_BYTES);
    assert_memory_equal(a->input_digest, b->input_digest, SHA256_BYTES);
    assert_memory_equal(a->evaluation_digest, b->evaluation_digest, SHA256_BYTES);
    assert_int_equal(a->evaluation_carried, b->evaluation_carried);
    assert_int_equal(a->in_force, b->in_force);
    assert_int_equal(a->version_next, b->version_next);
    assert_int_equal(a->batch_end, b->batch_end);
    assert_int_equal(a->batches, b->batches);
    assert_int_equal(a->version_seq, b->version_seq);
    assert_int_equal(a->metrics_seq, b->metrics_seq);
    assert_int_equal(a->settings_digest, b->settings_digest);
    assert_memory_equal(&a->counts, &b->counts, sizeof a->counts);
    assert_memory_equal(&a->rates, &b->rates, sizeof a->rates);
    assert_memory_equal(&a->live, &b->live, sizeof a->live);
    assert_int_equal(a->pending_count, b->pending_count);
    for (int i = 0; i < a->pending_count; i++) {
        const struct pending_version *x = &a->pending[i], *y = &b->pending[i];
        assert_true(x->number == y->number && x->seq == y->seq && x->announced == y->announced);
        assert_true(x->rejected == y->rejected && x->rolled_back == y->rolled_back);
    }
    assert_int_equal(a->control_count, b->control_count);
    for (int i = 0; i < a->control_count; i++) {
        assert_true(a->controls[i].mark == b->controls[i].mark &&
                    a->controls[i].argument == b->controls[i].argument);
    }
    assert_int_equal(a->position_count, b->position_count);
    for (int i = 0; i < a->position_count; i++) {
        const struct stream_position *x = &a->positions[i], *y = &b->positions[i];
        assert_true(x->topic == y->topic && x->partition == y->partition && x->next == y->next);
    }
}

static void load(struct store_fixture *f, const int32_t counts[STREAM_INPUT_COUNT],
                 enum status expected, struct core_state *state) {
    struct store_reader *reader;
    ASSERT_OK(core_state_init(state, counts, &f->err), f->err);
    ASSERT_OK(store_reader_open(f->store, &reader, &f->err), f->err);
    enum status status = core_state_load(state, reader, &f->err);
    store_reader_close(reader);
    if (expected == STATUS_OK) {
        ASSERT_OK(status, f->err);
    } else {
        ASSERT_STATUS(status, expected);
    }
}

static void a_new_state_knows_its_partitions_and_no_offsets(void **fixture) {
    struct store_fixture *f = *fixture;
    struct core_state state;
    ASSERT_OK(core_state_init(&state, partitions, &f->err), f->err);

    assert_int_equal(state.position_count, 303);
    assert_int_equal(core_state_position(&state, STREAM_ITEMS, 1)->partition, 1);
    assert_int_equal(core_state_position(&state, STREAM_ITEMS, 1)->topic, STREAM_ITEMS);
    assert_int_equal(core_state_position(&state, STREAM_EVENTS, 299)->next, -1);
    assert_null(core_state_position(&state, STREAM_EVENTS, 300));
    assert_null(core_state_position(&state, STREAM_PREDICTIONS, 0));
    assert_null(core_state_position(&state, STREAM_CONTROL, -1));
    core_state_free(&state);
}

static void more_partitions_than_a_shard_may_have_are_refused(void **fixture) {
    struct store_fixture *f = *fixture;
    const int32_t many[STREAM_INPUT_COUNT] = {STREAM_POSITIONS_MAX, 1, 0};
    struct core_state state;
    ASSERT_STATUS(core_state_init(&state, many, &f->err), STATUS_LIMIT);
}

static void an_empty_store_has_no_state(void **fixture) {
    struct store_fixture *f = *fixture;
    struct core_state state;
    load(f, partitions, STATUS_NOT_FOUND, &state);
    core_state_free(&state);
}

static void a_saved_state_comes_back_whole(void **fixture) {
    struct store_fixture *f = *fixture;
    struct core_state saved, loaded;
    fill(&saved);
    ASSERT_OK(core_state_save(&saved, f->stage, &f->err), f->err);
    ASSERT_OK(stage_commit(f->stage, &f->err), f->err);
    store_fixture_reopen(f);

    load(f, partitions, STATUS_OK, &loaded);

    assert_equal(&saved, &loaded);
    core_state_free(&saved);
    core_state_free(&loaded);
}

static void a_copy_has_positions_of_its_own(void **fixture) {
    (void)fixture;
    struct error err = {0};
    struct core_state state, copy;
    fill(&state);
    ASSERT_OK(core_state_init(&copy, partitions, &err), err);
    core_state_copy(&copy, &state);

    assert_equal(&copy, &state);
    copy.positions[0].next = 5;
    assert_int_not_equal(state.positions[0].next, 5);
    core_state_free(&state);
    core_state_free(&copy);
}

static void other_partitions_than_the_saved_are_corrupt(void **fixture) {
    struct store_fixture *f = *fixture;
    const int32_t others[STREAM_INPUT_COUNT] = {301, 2, 1};
    struct core_state saved, loaded;
    fill(&saved);
    ASSERT_OK(core_state_save(&saved, f->stage, &f->err), f->err);
    ASSERT_OK(stage_commit(f->stage, &f->err), f->err);

    load(f, others, STATUS_CORRUPT, &loaded);

    ASSERT_CONTAINS(f->err.text, "303");
    ASSERT_CONTAINS(f->err.text, "304");
    core_state_free(&saved);
    core_state_free(&loaded);
}

static void a_missing_or_cut_value_is_corrupt_and_named(void **fixture) {
    static const char *const keys[] = {"pending", "controls", "live", "positions/0", "positions/1"};
    struct store_fixture *f = *fixture;
    struct core_state saved, loaded;
    fill(&saved);
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        for (int cut = 0; cut < 2; cut++) {
            ASSERT_OK(core_state_save(&saved, f->stage, &f->err), f->err);
            if (cut) {
                stage_put_text(f, STORE_META, keys[i], "cut");
            } else {
                ASSERT_OK(stage_delete(f->stage, STORE_META, span_of(keys[i]), &f->err), f->err);
            }
            ASSERT_OK(stage_commit(f->stage, &f->err), f->err);

            load(f, partitions, STATUS_CORRUPT, &loaded);

            ASSERT_CONTAINS(f->err.text, keys[i]);
            core_state_free(&loaded);
        }
    }
    core_state_free(&saved);
}

static void another_layout_is_corrupt(void **fixture) {
    struct store_fixture *f = *fixture;
    struct core_state saved, loaded;
    fill(&saved);
    ASSERT_OK(core_state_save(&saved, f->stage, &f->err), f->err);
    stage_put_text(f, STORE_META, "state", "nonsense that is long enough for a number");
    ASSERT_OK(stage_commit(f->stage, &f->err), f->err);

    load(f, partitions, STATUS_CORRUPT, &loaded);

    core_state_free(&saved);
    core_state_free(&loaded);
}

static enum status init_and_free(void *context) {
    struct error err = {0};
    struct core_state state;
    (void)context;
    enum status status = core_state_init(&state, partitions, &err);
    core_state_free(&state);
    return status;
}

static void without_memory_there_is_no_state(void **fixture) {
    (void)fixture;
    assert_int_equal(fault_sweep(FAULT_MEMORY, STATUS_NO_MEMORY, init_and_free, NULL), 1);
}

#define WITH_STORE(test) \
    cmocka_unit_test_setup_teardown(test, store_fixture_setup, store_fixture_teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        WITH_STORE(a_new_state_knows_its_partitions_and_no_offsets),
        WITH_STORE(more_partitions_than_a_shard_may_have_are_refused),
        WITH_STORE(an_empty_store_has_no_state),
        WITH_STORE(a_saved_state_comes_back_whole),
        cmocka_unit_test(a_copy_has_positions_of_its_own),
        WITH_STORE(other_partitions_than_the_saved_are_corrupt),
        WITH_STORE(a_missing_or_cut_value_is_corrupt_and_named),
        WITH_STORE(another_layout_is_corrupt),
        cmocka_unit_test(without_memory_there_is_no_state),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
