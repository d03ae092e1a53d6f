/* SPDX-License-Identifier: Apache-2.0
 *
 * test_paper_state.c - the folder of a run refuses other settings and a second process, and gives
 * back what was put in; SASRec learns, stops and comes back from its file. */
#include "tests/ops/paper_fixture.h"

#include <math.h>

#include "ops/paper/sasrec.h"
#include "ops/paper/state.h"
#include "tests/support/fault.h"

static struct tmpdir folder;
static struct error err;

static int setup(void **state) {
    (void)state;
    tmpdir_init(&folder);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    tmpdir_free(&folder);
    return 0;
}

static enum fault_kind armed_kind;
static long armed_at;

static const struct paper_setting settings[2] = {{"rank", "8"}, {"lr", "0.0007"}};

static void another_setting_is_refused_by_name(void **state) {
    (void)state;
    struct paper_state held;
    struct paper_setting other[2];
    memcpy(other, settings, sizeof other);
    (void)snprintf(other[0].value, sizeof other[0].value, "4");
    const char *out = tmpdir_path(&folder, "out");
    ASSERT_OK(paper_state_open(out, settings, 2, &held, &err), err);
    paper_state_close(&held);

    ASSERT_STATUS(paper_state_open(out, other, 2, &held, &err), STATUS_CONFIG);
    ASSERT_CONTAINS(err.text, "rank 8, not 4");

    ASSERT_OK(paper_state_open(out, settings, 2, &held, &err), err);
    paper_state_close(&held);
}

static void a_second_process_is_refused(void **state) {
    (void)state;
    struct paper_state first, second;
    ASSERT_OK(paper_state_open(folder.path, settings, 2, &first, &err), err);

    ASSERT_STATUS(paper_state_open(folder.path, settings, 2, &second, &err), STATUS_CONFIG);

    ASSERT_CONTAINS(err.text, "another process");
    paper_state_close(&first);
}

static void a_result_is_finished_once_it_is_written(void **state) {
    (void)state;
    struct paper_state held;
    struct paper_result result, back;
    ASSERT_OK(paper_state_open(folder.path, settings, 2, &held, &err), err);
    ASSERT_OK(paper_result_init(&result, 3, &err), err);
    result.answered[1] = 5;

    ASSERT_STATUS(paper_state_result_read(&held, 2, PAPER_LORA, &back, &err), STATUS_NOT_FOUND);
    ASSERT_OK(paper_state_result_write(&held, 2, PAPER_LORA, &result, &err), err);
    ASSERT_OK(paper_state_result_read(&held, 2, PAPER_LORA, &back, &err), err);

    assert_int_equal(back.answered[1], 5);
    assert_true(file_exists(tmpdir_path(&folder, "seed-2/lora.json")));
    paper_result_free(&result);
    paper_result_free(&back);
    paper_state_close(&held);
}

static void a_damaged_result_is_named(void **state) {
    (void)state;
    struct paper_state held;
    struct paper_result back;
    ASSERT_OK(paper_state_open(folder.path, settings, 2, &held, &err), err);
    paper_write(&folder, "base.json", "{\"samples\": 3");

    ASSERT_STATUS(paper_state_result_read(&held, 0, PAPER_BASE, &back, &err), STATUS_CORRUPT);

    ASSERT_CONTAINS(err.text, "base.json");
    paper_state_close(&held);
}

/* A whole life of the folder: begun, a result and tensors written, all read back. */
static enum status fill_once(void) {
    struct paper_state held;
    struct paper_result result = {0}, back = {0};
    struct tensor_list list = {0};
    const float values[4] = {1.0f, 2.0f, 3.0f, 4.0f};
    char path[FILE_PATH_BYTES_MAX];
    ASSERT_OK(dir_remove(tmpdir_path(&folder, "out"), &err), err);
    fault_arm(armed_kind, armed_at);
    enum status status = paper_state_open(tmpdir_path(&folder, "out"), settings, 2, &held, &err);
    if (status != STATUS_OK) { return status; }
    status = paper_result_init(&result, 3, &err);
    if (status == STATUS_OK) {
        status = paper_state_result_write(&held, 1, PAPER_LORA, &result, &err);
    }
    if (status == STATUS_OK) {
        status = paper_state_result_read(&held, 1, PAPER_LORA, &back, &err);
    }
    tensor_list_add(&list, "values", "", "F32", 2, 2, values);
    if (status == STATUS_OK) {
        status = paper_state_path(&held, 1, "lora", ".safetensors", path, &err);
    }
    if (status == STATUS_OK) { status = paper_tensors_write(&list, path, &err); }
    tensor_list_free(&list);
    paper_result_free(&result);
    paper_result_free(&back);
    paper_state_close(&held);
    return status;
}

static void a_folder_that_cannot_be_written_is_refused(void **state) {
    (void)state;
    static const struct {
        enum fault_kind kind;
        enum status expected;
    } sweeps[] = {{FAULT_MEMORY, STATUS_NO_MEMORY}, {FAULT_FILE, STATUS_IO}};
    for (size_t s = 0; s < 2; s++) {
        armed_kind = sweeps[s].kind;
        bool fired = true;
        for (armed_at = 1; fired; armed_at++) {
            enum status status = fill_once();
            fired = fault_fired(armed_kind);
            fault_arm(armed_kind, 0);
            ASSERT_STATUS(status, fired ? sweeps[s].expected : STATUS_OK);
        }
        assert_true(armed_at > 5);
    }
}

/* ---- SASRec ---- */

#define ITEMS 32

/* Users walk through the items by one; the next item is the one behind the newest. */
static void write_walks(void) {
    struct buffer train = {0}, held_out = {0};
    assert_int_equal(buffer_append_format(&train, "history\tnext\n"), STATUS_OK);
    assert_int_equal(buffer_append_format(&held_out, "history\tnext\n"), STATUS_OK);
    for (int user = 0; user < 64; user++) {
        for (int n = 0; n < 8; n++) {
            for (int h = 0; h < n; h++) {
                assert_int_equal(
                    buffer_append_format(&train, "%si%d", h > 0 ? " " : "", (user * 5 + h) % ITEMS),
                    STATUS_OK);
            }
            assert_int_equal(buffer_append_format(&train, "\ti%d\n", (user * 5 + n) % ITEMS),
                             STATUS_OK);
        }
    }
    for (int user = 0; user < ITEMS; user++) {
        assert_int_equal(buffer_append_format(&held_out, "i%d i%d i%d\ti%d\n", user,
                                              (user + 1) % ITEMS, (user + 2) % ITEMS,
                                              (user + 3) % ITEMS),
                         STATUS_OK);
    }
    assert_int_equal(buffer_append(&train, "", 1), STATUS_OK);
    assert_int_equal(buffer_append(&held_out, "", 1), STATUS_OK);
    paper_write_items(&folder, ITEMS);
    paper_write(&folder, "train.tsv", (const char *)train.data);
    paper_write(&folder, "valid.tsv", (const char *)held_out.data);
    paper_write(&folder, "test.tsv", (const char *)held_out.data);
    buffer_free(&train);
    buffer_free(&held_out);
}

static int hits_of(struct paper_sasrec *sasrec, const struct paper_split *split) {
    int hits = 0;
    for (int i = 0; i < split->test.count; i++) {
        const struct paper_sample *sample = &split->test.samples[i];
        float state[PAPER_SASREC_WIDTH];
        struct paper_candidates list;
        int rank = 0;
        ASSERT_OK(paper_candidates_draw(split, 1, sample, &list, &err), err);
        ASSERT_OK(paper_sasrec_states(sasrec, &sample, 1, state, &err), err);
        int place = paper_sasrec_choose(sasrec, state, &list, &rank);
        assert_int_equal(place == list.target_at, rank == 1);
        hits += place == list.target_at;
    }
    return hits;
}

static void sasrec_learns_a_rule_and_comes_back_from_its_file(void **state) {
    (void)state;
    struct backend *be = NULL;
    struct paper_split split;
    struct paper_sasrec sasrec, back;
    struct progress progress;
    write_walks();
    const char *file = tmpdir_path(&folder, "sasrec.safetensors");
    ASSERT_OK(backend_cpu_new(1, &be, &err), err);
    ASSERT_OK(paper_split_read(folder.path, &split, &err), err);
    progress_begin(&progress, NULL, false, 0, PAPER_SASREC_EPOCHS, "train");

    ASSERT_OK(paper_sasrec_train(be, &split, 1, 1, &progress, &sasrec, &err), err);

    assert_true(sasrec.epochs >= 1 && sasrec.epochs <= PAPER_SASREC_EPOCHS);
    int hits = hits_of(&sasrec, &split);
    if (hits < ITEMS * 3 / 4) { fail_msg("%d hits of %d; chance has one in 20", hits, ITEMS); }

    ASSERT_OK(paper_sasrec_write(&sasrec, file, &err), err);
    ASSERT_OK(paper_sasrec_read(be, split.item_count, file, &back, &err), err);
    assert_int_equal(back.epochs, sasrec.epochs);
    assert_memory_equal(sasrec_vectors(back.sasrec), sasrec_vectors(sasrec.sasrec),
                        sizeof(float) * ITEMS * PAPER_SASREC_WIDTH);
    assert_int_equal(hits_of(&back, &split), hits);
    paper_sasrec_free(&back);
    paper_sasrec_free(&sasrec);
    paper_split_free(&split);
    be->ops->free(be);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(another_setting_is_refused_by_name, setup, teardown),
        cmocka_unit_test_setup_teardown(a_second_process_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(a_result_is_finished_once_it_is_written, setup, teardown),
        cmocka_unit_test_setup_teardown(a_damaged_result_is_named, setup, teardown),
        cmocka_unit_test_setup_teardown(a_folder_that_cannot_be_written_is_refused, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(sasrec_learns_a_rule_and_comes_back_from_its_file, setup,
                                        teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
