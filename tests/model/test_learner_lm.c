/* SPDX-License-Identifier: Apache-2.0
 *
 * test_learner_lm.c - the learner with a language model (the built-in tiny one): it repeats itself
 * byte for byte, scores under versions, and writes an adapter that PEFT knows how to read. */
#include <math.h>

#include "base/file.h"
#include "base/json.h"
#include "base/memory.h"
#include "model/learner_rooms.h"
#include "tests/model/learner_lm_fixture.h"
#include "tests/support/unit.h"

static struct learner *learner_open(const struct learner_lm_fixture *fixture,
                                    enum ilora_head head) {
    struct learner_settings settings = learner_lm_settings(fixture);

    settings.ilora.head = head;
    return learner_lm_open(fixture, &settings);
}

static void loading_a_checkpoint_goes_on_byte_for_byte(void **state) {
    static const char *const files[] = {"adapter_model.safetensors", "adapter_config.json",
                                        "ilora.safetensors", "counters.bin", "manifest.json"};
    struct learner_lm_fixture *fixture = *state;
    struct error err;
    struct learner *straight = learner_open(fixture, ILORA_HEAD_ITEM);
    struct learner *first = learner_open(fixture, ILORA_HEAD_ITEM);
    struct learner *second = learner_open(fixture, ILORA_HEAD_ITEM);

    learner_fixture_run(straight, fixture->stream, 0, 5);
    version_give(learner_lm_version(fixture, straight, 1, "a1"));
    learner_fixture_run(straight, fixture->stream, 5, 5);
    learner_fixture_run(first, fixture->stream, 0, 5);
    version_give(learner_lm_version(fixture, first, 1, "b1"));
    ASSERT_OK(learner_save(first, tmpdir_path(&fixture->tmp, "checkpoint"), &err), err);
    learner_free(first);
    ASSERT_OK(learner_load(second, tmpdir_path(&fixture->tmp, "checkpoint"), &err), err);
    learner_fixture_run(second, fixture->stream, 5, 5);
    struct version *a = learner_lm_version(fixture, straight, 2, "a2");
    struct version *b = learner_lm_version(fixture, second, 2, "b2");

    for (size_t f = 0; f < sizeof files / sizeof files[0]; f++) {
        assert_same_file(tmpdir_path(&fixture->tmp, "a2"), tmpdir_path(&fixture->tmp, "b2"),
                         files[f]);
    }
    assert_memory_equal(a->digest, b->digest, SHA256_BYTES);
    version_give(a);
    version_give(b);
    learner_free(straight);
    learner_free(second);
}

/* Scores of one history under a version; M numbers, memory_free them. */
static float *scores_under(struct learner_lm_fixture *fixture, struct learner *learner,
                           struct version *version, int row_index) {
    const struct training_row *row = &fixture->stream->rows[row_index];
    const struct learner_settings settings = learner_lm_settings(fixture);
    static char texts[WINDOW_MAX][64];
    struct span titles[WINDOW_MAX], title = {NULL, 0};
    float state[64];
    struct ranker *ranker = NULL;
    struct error err;

    for (uint32_t n = 0; n < row->window_count; n++) {
        ASSERT_OK(fixture->stream->catalogue.title(fixture->stream, row->window[n], row->seq,
                                                   &title, &err),
                  err);
        memcpy(texts[n], title.data, title.size);
        titles[n] = span_make(texts[n], title.size);
    }
    ASSERT_OK(ranker_new(fixture->be, &settings.fast, &ranker, &err), err);
    const struct rank_request request = {.history = row->window,
                                         .history_count = (int)row->window_count};
    ASSERT_OK(ranker_states(ranker, version->fast, &request, 1, state, &err), err);
    ranker_free(ranker);
    const struct score_request score = {row->window, (int)row->window_count, titles, state};
    float *logprobs = MEMORY_TAKE_ARRAY(float, version->fast->items);
    assert_non_null(logprobs);
    ASSERT_OK(learner_score_items(learner, version, &score, 1, logprobs, &err), err);
    return logprobs;
}

static void a_loaded_version_scores_like_the_made_one_whatever_was_learned_since(void **state) {
    struct learner_lm_fixture *fixture = *state;
    struct learner *learner = learner_open(fixture, ILORA_HEAD_ITEM);
    struct version *loaded = NULL;
    struct error err;

    learner_fixture_run(learner, fixture->stream, 0, 6);
    struct version *made = learner_lm_version(fixture, learner, 1, "v");
    float *before = scores_under(fixture, learner, made, 500);
    learner_fixture_run(learner, fixture->stream, 6, 4);
    ASSERT_OK(learner_load_version(learner, tmpdir_path(&fixture->tmp, "v"), &loaded, &err), err);
    float *after = scores_under(fixture, learner, loaded, 500);

    double sum = 0;
    for (int i = 0; i < FIXTURE_ITEMS; i++) {
        sum += exp((double)before[i]);
    }
    assert_true(fabs(sum - 1) < 1e-4);
    assert_memory_equal(before, after, FIXTURE_ITEMS * sizeof(float));
    memory_free(before);
    memory_free(after);
    version_give(made);
    version_give(loaded);
    learner_free(learner);
}

/* The gate must see the same state of a user when it learns, is evaluated and serves: SASRec's over
 * its own history, which is longer than the prompt's. */
static void evaluation_scores_as_serving_does(void **state) {
    struct learner_lm_fixture *fixture = *state;
    struct learner *learner = learner_open(fixture, ILORA_HEAD_ITEM);
    struct error err;

    learner_fixture_run(learner, fixture->stream, 0, 12);
    struct version *version = learner_lm_version(fixture, learner, 1, "v");
    const struct training_row *row = &fixture->stream->rows[600];
    assert_true((int)row->window_count > learner_lm_settings(fixture).history);
    float *served = scores_under(fixture, learner, version, 600);
    const struct rank_request request = {.history = row->window,
                                         .history_count = (int)row->window_count};
    float evaluated[FIXTURE_ITEMS];
    assert_int_equal(version->fast->items, FIXTURE_ITEMS);
    ASSERT_OK(learner_lm_scores(learner, &request, 1, false, evaluated, &err), err);

    assert_memory_equal(evaluated, served, sizeof evaluated);
    memory_free(served);
    version_give(version);
    learner_free(learner);
}

static void full_stack_and_heads_are_evaluated_on_the_same_rows(void **state) {
    struct learner_lm_fixture *fixture = *state;
    struct learner *learner = learner_open(fixture, ILORA_HEAD_ITEM);
    static struct eval_figure figures[FIGURES_MAX];
    struct eval_pair pairs[8];
    uint64_t rows[2] = {0, 0};

    learner_fixture_run(learner, fixture->stream, 0, 10);
    int count = learner_figures(learner, figures, FIGURES_MAX);
    int pair_count = learner_pairs(learner, pairs, 8);

    for (int f = 0; f < count; f++) {
        if (strcmp(figures[f].slice, "lm") != 0) { continue; }
        int kind = strcmp(figures[f].kind, "catalogue") == 0 ? 1 : 0;
        if (rows[kind] == 0) { rows[kind] = figures[f].count; }
        assert_int_equal(figures[f].count, rows[kind]);
    }
    assert_true(rows[1] > 20);
    assert_int_equal(pair_count, 3);
    assert_int_equal(pairs[0].count, rows[0]);
    assert_string_equal(pairs[0].a, "full");
    assert_string_equal(pairs[0].b, "fast");
    learner_free(learner);
}

static void adapter_has_the_names_and_the_configuration_of_peft(void **state) {
    struct learner_lm_fixture *fixture = *state;
    struct learner *learner = learner_open(fixture, ILORA_HEAD_ITEM);
    struct safetensors *file = NULL;
    struct buffer text = {0};
    struct json_value *json = NULL;
    struct error err;
    int64_t rank = 0;
    double alpha = 0;

    learner_fixture_run(learner, fixture->stream, 0, 2);
    version_give(learner_lm_version(fixture, learner, 1, "v"));
    ASSERT_OK(
        safetensors_open(tmpdir_path(&fixture->tmp, "v/adapter_model.safetensors"), &file, &err),
        err);
    ASSERT_OK(file_read(tmpdir_path(&fixture->tmp, "v/adapter_config.json"), 4096, &text, &err),
              err);
    ASSERT_OK(json_parse(buffer_span(&text), &json, &err), err);

    const struct model_description *d = base_model_description(fixture->base);
    const struct safetensors_entry *down =
        safetensors_find(file, "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight");
    const struct safetensors_entry *up =
        safetensors_find(file, "base_model.model.model.layers.0.mlp.down_proj.lora_B.weight");
    assert_non_null(down);
    assert_non_null(up);
    assert_int_equal(down->shape[0], 4);
    assert_int_equal(down->shape[1], d->C);
    assert_int_equal(up->shape[0], d->C);
    assert_int_equal(up->shape[1], 4);
    assert_int_equal(safetensors_count(file), d->L * 7 * 2);
    assert_true(json_integer(json_member(json, "r"), &rank));
    assert_true(json_real(json_member(json, "lora_alpha"), &alpha));
    assert_int_equal(rank, 4);
    assert_true(alpha == 8);
    assert_int_equal(json_size(json_member(json, "target_modules")), 7);
    json_free(json);
    buffer_free(&text);
    safetensors_close(file);
    learner_free(learner);
}

static void both_heads_train_on_titles_too(void **state) {
    struct learner_lm_fixture *fixture = *state;
    struct learner *learner = learner_open(fixture, ILORA_HEAD_BOTH);
    struct batch_stats stats;
    struct error err;

    learner_fixture_run(learner, fixture->stream, 0, 3);
    ASSERT_OK(learner_batch(learner, fixture->stream->rows + (size_t)3 * FIXTURE_BATCH,
                            FIXTURE_BATCH, NULL, NULL, &stats, &err),
              err);

    assert_int_equal(stats.lm_rows, FIXTURE_BATCH / 4);
    assert_true(stats.lm.title_loss > 0);
    assert_true(stats.lm.item_loss > 0);
    assert_false(stats.lm.discarded);
    static struct eval_figure figures[FIGURES_MAX];
    int count = learner_figures(learner, figures, FIGURES_MAX), found = 0;
    for (int f = 0; f < count; f++) {
        found += strcmp(figures[f].model, "ilora_title") == 0 ? 1 : 0;
    }
    assert_true(found > 0);
    learner_free(learner);
}

static void restoring_a_version_brings_its_weights_back(void **state) {
    struct learner_lm_fixture *fixture = *state;
    struct learner *learner = learner_open(fixture, ILORA_HEAD_ITEM);
    struct error err;

    learner_fixture_run(learner, fixture->stream, 0, 4);
    struct version *good = learner_lm_version(fixture, learner, 1, "good");
    learner_fixture_run(learner, fixture->stream, 4, 3);
    ASSERT_OK(learner_restore_version(learner, good, &err), err);
    version_give(learner_lm_version(fixture, learner, 2, "again"));

    assert_same_file(tmpdir_path(&fixture->tmp, "good"), tmpdir_path(&fixture->tmp, "again"),
                     "adapter_model.safetensors");
    version_give(good);
    learner_free(learner);
}

int main(void) {
#define CASE(test) cmocka_unit_test_setup_teardown(test, learner_lm_setup, learner_lm_teardown)
    const struct CMUnitTest tests[] = {
        CASE(loading_a_checkpoint_goes_on_byte_for_byte),
        CASE(a_loaded_version_scores_like_the_made_one_whatever_was_learned_since),
        CASE(evaluation_scores_as_serving_does),
        CASE(full_stack_and_heads_are_evaluated_on_the_same_rows),
        CASE(adapter_has_the_names_and_the_configuration_of_peft),
        CASE(both_heads_train_on_titles_too),
        CASE(restoring_a_version_brings_its_weights_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
