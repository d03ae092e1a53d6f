/* SPDX-License-Identifier: Apache-2.0
 *
 * test_settings_record.c - the settings that affect outputs, as the ledger and META keep them.
 */
#include "daemon/settings_record.h"

#include <stdlib.h>

#include "tests/storage/store_fixture.h"

static struct settings *load(const char *override) {
    struct settings *settings = calloc(1, sizeof *settings);
    struct error err = {0};
    assert_non_null(settings);
    ASSERT_OK(settings_load(NULL, &override, override == NULL ? 0 : 1, settings, &err), err);
    return settings;
}

static struct settings_text *text_of(const struct settings *settings) {
    struct settings_text *text = calloc(1, sizeof *text);
    struct error err = {0};
    assert_non_null(text);
    ASSERT_OK(settings_text_make(settings, text, &err), err);
    return text;
}

static uint64_t digest_with(const char *override) {
    struct settings *settings = load(override);
    struct settings_text *text = text_of(settings);
    uint64_t digest = settings_text_digest(text);
    free(text);
    free(settings);
    return digest;
}

static void every_setting_that_affects_outputs_is_recorded_and_no_other(void **state) {
    (void)state;
    struct settings *settings = load(NULL);
    struct settings_text *text = text_of(settings);
    int count, affecting = 0;
    const struct setting *table = settings_table(&count);
    for (int i = 0; i < count; i++) {
        affecting += table[i].affects_output;
        assert_false(table[i].affects_output && table[i].secret);
    }

    assert_int_equal(text->count, affecting);
    for (int i = 0; i < text->count; i++) {
        assert_true(span_equal(text->entries[i].key, span_of(text->keys[i])));
        assert_true(span_equal(text->entries[i].value, span_of(text->values[i])));
    }
    free(text);
    free(settings);
}

static void the_digest_moves_with_what_affects_outputs_alone(void **state) {
    (void)state;
    uint64_t digest = digest_with(NULL);
    assert_int_equal(digest_with(NULL), digest);

    assert_int_not_equal(digest_with("train.seed=2"), digest);
    assert_int_not_equal(digest_with("engine.strict=yes"), digest);
    assert_int_not_equal(digest_with("events.train_types=buy"), digest);
    assert_int_equal(digest_with("http.listen=none"), digest);
    assert_int_equal(digest_with("log.level=debug"), digest);
}

static void saved_settings_overwrite_those_of_the_file(void **fixture) {
    struct store_fixture *f = *fixture;
    struct settings *then = load("train.seed=77"), *now = load("train.seed=1");
    struct settings_text *text = text_of(then);
    ASSERT_OK(settings_text_save(text, f->stage, &f->err), f->err);
    ASSERT_OK(stage_commit(f->stage, &f->err), f->err);
    struct store_reader *reader;
    ASSERT_OK(store_reader_open(f->store, &reader, &f->err), f->err);

    ASSERT_OK(settings_text_load(now, reader, &f->err), f->err);

    assert_int_equal(now->train_seed, 77);
    struct settings_text *again = text_of(now);
    assert_int_equal(settings_text_digest(again), settings_text_digest(text));
    store_reader_close(reader);
    free(again);
    free(text);
    free(then);
    free(now);
}

static void an_empty_meta_leaves_settings_alone(void **fixture) {
    struct store_fixture *f = *fixture;
    struct settings *settings = load("train.seed=5");
    struct store_reader *reader;
    ASSERT_OK(store_reader_open(f->store, &reader, &f->err), f->err);

    ASSERT_OK(settings_text_load(settings, reader, &f->err), f->err);

    assert_int_equal(settings->train_seed, 5);
    store_reader_close(reader);
    free(settings);
}

static void a_recorded_value_that_is_not_allowed_is_corrupt(void **fixture) {
    struct store_fixture *f = *fixture;
    struct settings *settings = load(NULL);
    struct store_reader *reader;
    stage_put_text(f, STORE_META, "setting/train.seed", "-3");
    ASSERT_OK(stage_commit(f->stage, &f->err), f->err);
    ASSERT_OK(store_reader_open(f->store, &reader, &f->err), f->err);

    ASSERT_STATUS(settings_text_load(settings, reader, &f->err), STATUS_CORRUPT);

    ASSERT_CONTAINS(f->err.text, "seed");
    store_reader_close(reader);
    free(settings);
}

#define WITH_STORE(test) \
    cmocka_unit_test_setup_teardown(test, store_fixture_setup, store_fixture_teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_setting_that_affects_outputs_is_recorded_and_no_other),
        cmocka_unit_test(the_digest_moves_with_what_affects_outputs_alone),
        WITH_STORE(saved_settings_overwrite_those_of_the_file),
        WITH_STORE(an_empty_meta_leaves_settings_alone),
        WITH_STORE(a_recorded_value_that_is_not_allowed_is_corrupt),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
