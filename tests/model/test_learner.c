/* SPDX-License-Identifier: Apache-2.0
 *
 * test_learner.c - the learner without a language model: it learns, it repeats itself byte for
 * byte, and its versions and checkpoints hold what they should. */
#include <stdio.h>

#include "base/file.h"
#include "tests/model/learner_fixture.h"
#include "tests/support/fault.h"
#include "tests/support/tmpdir.h"
#include "tests/support/unit.h"

struct fixture {
    struct learner_walk *stream;
    struct backend *be;
    struct tmpdir tmp;
};

static const uint8_t no_base[SHA256_BYTES];

static int setup(void **state) {
    static struct learner_walk stream; /* large; one test at a time */
    static struct fixture fixture;
    struct error err;

    memset(&fixture, 0, sizeof fixture);
    fixture.stream = &stream;
    learner_stream_init(fixture.stream);
    ASSERT_OK(backend_cpu_new(1, &fixture.be, &err), err);
    tmpdir_init(&fixture.tmp);
    *state = &fixture;
    return 0;
}

static int teardown(void **state) {
    struct fixture *fixture = *state;

    learner_stream_free(fixture->stream);
    fixture->be->ops->free(fixture->be);
    tmpdir_free(&fixture->tmp);
    return 0;
}

static struct learner *learner_open(struct fixture *fixture) {
    const struct learner_settings settings = learner_fixture_settings();
    struct learner *learner = NULL;
    struct error err;

    ASSERT_OK(learner_new(&settings, fixture->be, fixture->be, NULL, NULL, NULL,
                          &fixture->stream->catalogue, &learner, &err),
              err);
    return learner;
}

static struct version *make_version(struct fixture *fixture, struct learner *learner,
                                    uint64_t number, const char *name) {
    struct version *version = NULL;
    struct error err;

    ASSERT_OK(learner_make_version(learner, number, tmpdir_path(&fixture->tmp, name), "test", "",
                                   no_base, &version, &err),
              err);
    return version;
}

static const struct eval_figure *figure_of(const struct eval_figure *figures, int count,
                                           const char *model, const char *kind) {
    for (int f = 0; f < count; f++) {
        bool same = strcmp(figures[f].model, model) == 0 && strcmp(figures[f].kind, kind) == 0 &&
                    strcmp(figures[f].slice, "all") == 0;
        if (same) { return &figures[f]; }
    }
    fail_msg("no figure of %s, %s", model, kind);
    return figures; /* not reached */
}

static void fast_stack_beats_popularity_on_a_stream_with_structure(void **state) {
    struct fixture *fixture = *state;
    struct learner *learner = learner_open(fixture);
    static struct eval_figure figures[FIGURES_MAX];

    learner_fixture_run(learner, fixture->stream, 0, 40);
    int count = learner_figures(learner, figures, FIGURES_MAX);

    const struct eval_figure *fast = figure_of(figures, count, "fast", "candidates");
    const struct eval_figure *popular = figure_of(figures, count, "popularity", "candidates");
    assert_true(fast->count > 100);
    assert_true(fast->count == popular->count);
    assert_true(fast->hit_1 > 2 * popular->hit_1);
    assert_true(fast->log_loss < popular->log_loss);
    assert_int_equal(learner_seq(learner), FIXTURE_ROWS);
    learner_free(learner);
}

static void loading_a_checkpoint_goes_on_byte_for_byte(void **state) {
    static const char *const files[] = {"manifest.json", "ilora.safetensors", "counters.bin"};
    struct fixture *fixture = *state;
    struct error err;
    struct learner *straight = learner_open(fixture), *first = learner_open(fixture);
    struct learner *second = learner_open(fixture);
    const char *checkpoint = tmpdir_path(&fixture->tmp, "checkpoint");

    learner_fixture_run(straight, fixture->stream, 0, 20);
    learner_fixture_run(first, fixture->stream, 0, 10);
    ASSERT_OK(learner_save(first, checkpoint, &err), err);
    learner_free(first);
    ASSERT_OK(learner_load(second, checkpoint, &err), err);
    learner_fixture_run(second, fixture->stream, 10, 10);
    struct version *a = make_version(fixture, straight, 1, "a");
    struct version *b = make_version(fixture, second, 1, "b");

    for (size_t f = 0; f < sizeof files / sizeof files[0]; f++) {
        assert_same_file(tmpdir_path(&fixture->tmp, "a"), tmpdir_path(&fixture->tmp, "b"),
                         files[f]);
    }
    assert_memory_equal(a->digest, b->digest, SHA256_BYTES);
    version_give(a);
    version_give(b);
    learner_free(straight);
    learner_free(second);
}

static void a_loaded_version_ranks_like_the_made_one(void **state) {
    struct fixture *fixture = *state;
    struct learner *learner = learner_open(fixture);
    const struct learner_settings settings = learner_fixture_settings();
    const struct training_row *row = &fixture->stream->rows[700];
    struct ranker *ranker = NULL;
    struct version *loaded = NULL;
    struct rank_list made_list, loaded_list;
    struct error err;

    learner_fixture_run(learner, fixture->stream, 0, 12);
    struct version *made = make_version(fixture, learner, 7, "00000007.tmp");
    assert_string_equal(made->folder, "00000007");
    ASSERT_OK(
        learner_load_version(learner, tmpdir_path(&fixture->tmp, "00000007.tmp"), &loaded, &err),
        err);
    ASSERT_OK(ranker_new(fixture->be, &settings.fast, &ranker, &err), err);
    const struct rank_request request = {
        .history = row->window,
        .history_count = (int)row->window_count,
        .exclude = row->window,
        .exclude_count = (int)row->window_count,
        .seq = 500,
        .use_sasrec = true,
        .list = 10,
    };
    ASSERT_OK(ranker_rank(ranker, made->fast, &request, 1, &made_list, &err), err);
    ASSERT_OK(ranker_rank(ranker, loaded->fast, &request, 1, &loaded_list, &err), err);

    assert_int_equal(made_list.count, 10);
    assert_memory_equal(made_list.items, loaded_list.items, 10 * sizeof(uint32_t));
    assert_memory_equal(made_list.probability, loaded_list.probability, 10 * sizeof(float));
    assert_memory_equal(made->digest, loaded->digest, SHA256_BYTES);
    assert_int_equal(loaded->number, 7);
    assert_int_equal(loaded->seq_lo, 1);
    assert_int_equal(loaded->seq_hi, 12 * FIXTURE_BATCH);
    assert_int_equal(loaded->rows_trained, 12 * FIXTURE_BATCH);
    assert_int_equal(loaded->figure_count, made->figure_count);
    ranker_free(ranker);
    version_give(made);
    version_give(loaded);
    learner_free(learner);
}

static void a_changed_file_of_a_version_is_corrupt_and_named(void **state) {
    struct fixture *fixture = *state;
    struct learner *learner = learner_open(fixture);
    struct version *loaded = NULL;
    struct error err;

    learner_fixture_run(learner, fixture->stream, 0, 2);
    version_give(make_version(fixture, learner, 1, "v"));
    FILE *file = fopen(tmpdir_path(&fixture->tmp, "v/counters.bin"), "r+");
    assert_non_null(file);
    assert_int_equal(fseek(file, 40, SEEK_SET), 0);
    assert_int_equal(fputc(0x5a, file), 0x5a);
    assert_int_equal(fclose(file), 0);

    ASSERT_STATUS(learner_load_version(learner, tmpdir_path(&fixture->tmp, "v"), &loaded, &err),
                  STATUS_CORRUPT);
    ASSERT_CONTAINS(err.text, "counters.bin");
    learner_free(learner);
}

static void restoring_a_version_leaves_what_came_after_out(void **state) {
    struct fixture *fixture = *state;
    struct learner *learner = learner_open(fixture);
    struct error err;

    learner_fixture_run(learner, fixture->stream, 0, 8);
    struct version *good = make_version(fixture, learner, 1, "good");
    learner_fixture_run(learner, fixture->stream, 8, 4);
    ASSERT_OK(learner_restore_version(learner, good, &err), err);
    struct version *again = make_version(fixture, learner, 2, "again");

    assert_int_equal(again->restored_from, 1);
    assert_int_equal(again->parent, 1);
    assert_int_equal(again->seq_hi, 12 * FIXTURE_BATCH);
    assert_same_file(tmpdir_path(&fixture->tmp, "good"), tmpdir_path(&fixture->tmp, "again"),
                     "counters.bin");
    size_t vectors = (size_t)FIXTURE_ITEMS * 16 * sizeof(float);
    assert_memory_equal(again->vectors, good->vectors, vectors);
    learner_fixture_run(learner, fixture->stream, 12, 2); /* and it goes on */
    version_give(good);
    version_give(again);
    learner_free(learner);
}

static void a_gap_in_the_rows_is_corrupt(void **state) {
    struct fixture *fixture = *state;
    struct learner *learner = learner_open(fixture);
    struct batch_stats stats;
    struct error err;

    ASSERT_STATUS(learner_batch(learner, fixture->stream->rows + 1, 8, NULL, NULL, &stats, &err),
                  STATUS_CORRUPT);
    assert_int_equal(learner_seq(learner), 0);
    learner_free(learner);
}

static void an_erased_row_teaches_nothing(void **state) {
    struct fixture *fixture = *state;
    struct learner *learner = learner_open(fixture);

    for (int n = 0; n < FIXTURE_BATCH; n++) {
        fixture->stream->rows[n].user_key = 0;
        fixture->stream->rows[n].window_count = 0;
    }
    learner_fixture_run(learner, fixture->stream, 0, 1);
    struct version *version = make_version(fixture, learner, 1, "v");

    assert_int_equal(version->rows_excluded, FIXTURE_BATCH);
    assert_int_equal(version->rows_trained, 0);
    assert_int_equal(counters_items(version->fast->counters), 0);
    version_give(version);
    learner_free(learner);
}

/* ---- failures -------------------------------------------------------------------------------- */

/* Opens, learns, makes a version, saves; folders of earlier runs are removed first. */
static enum status learn_and_write(struct fixture *fixture, struct learner **ret_learner) {
    const struct learner_settings settings = learner_fixture_settings();
    struct version *version = NULL;
    struct batch_stats stats;
    char made[FILE_PATH_BYTES_MAX], saved[FILE_PATH_BYTES_MAX];
    struct error err;

    (void)snprintf(made, sizeof made, "%s", tmpdir_path(&fixture->tmp, "made"));
    (void)snprintf(saved, sizeof saved, "%s", tmpdir_path(&fixture->tmp, "saved"));
    enum status status = dir_remove(made, &err);
    if (status == STATUS_OK) { status = dir_remove(saved, &err); }
    if (status == STATUS_OK) {
        status = learner_new(&settings, fixture->be, fixture->be, NULL, NULL, NULL,
                             &fixture->stream->catalogue, ret_learner, &err);
    }
    for (int b = 0; b < 2 && status == STATUS_OK; b++) {
        status = learner_batch(*ret_learner, fixture->stream->rows + (size_t)b * FIXTURE_BATCH,
                               FIXTURE_BATCH, NULL, NULL, &stats, &err);
    }
    if (status == STATUS_OK) {
        status = learner_make_version(*ret_learner, 1, made, "test", "", no_base, &version, &err);
    }
    if (status == STATUS_OK) { status = learner_save(*ret_learner, saved, &err); }
    version_give(version);
    return status;
}

static enum status write_life(void *context) {
    struct learner *learner = NULL;

    enum status status = learn_and_write(context, &learner);
    learner_free(learner);
    return status;
}

/* The same, then everything is read again. */
static enum status whole_life(void *context) {
    struct fixture *fixture = context;
    const struct learner_settings settings = learner_fixture_settings();
    struct learner *learner = NULL, *other = NULL;
    struct version *loaded = NULL;
    struct error err;

    enum status status = learn_and_write(context, &learner);
    if (status == STATUS_OK) {
        status = learner_load_version(learner, tmpdir_path(&fixture->tmp, "made"), &loaded, &err);
    }
    if (status == STATUS_OK) {
        status = learner_new(&settings, fixture->be, fixture->be, NULL, NULL, NULL,
                             &fixture->stream->catalogue, &other, &err);
    }
    if (status == STATUS_OK) {
        status = learner_load(other, tmpdir_path(&fixture->tmp, "saved"), &err);
    }
    version_give(loaded);
    learner_free(other);
    learner_free(learner);
    return status;
}

static void every_failed_allocation_is_no_memory(void **state) {
    assert_true(fault_sweep(FAULT_MEMORY, STATUS_NO_MEMORY, write_life, *state) > 100);
}

static void every_failed_file_operation_is_io(void **state) {
    assert_true(fault_sweep(FAULT_FILE, STATUS_IO, whole_life, *state) > 20);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(fast_stack_beats_popularity_on_a_stream_with_structure,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(loading_a_checkpoint_goes_on_byte_for_byte, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_loaded_version_ranks_like_the_made_one, setup, teardown),
        cmocka_unit_test_setup_teardown(a_changed_file_of_a_version_is_corrupt_and_named, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(restoring_a_version_leaves_what_came_after_out, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_gap_in_the_rows_is_corrupt, setup, teardown),
        cmocka_unit_test_setup_teardown(an_erased_row_teaches_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(every_failed_allocation_is_no_memory, setup, teardown),
        cmocka_unit_test_setup_teardown(every_failed_file_operation_is_io, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
