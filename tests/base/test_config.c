/* SPDX-License-Identifier: Apache-2.0
 *
 * test_config.c - values of every type, and the one line that says file, line, key and what is
 * allowed.
 */
#include "base/config.h"

#include <float.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/config_file.h"
#include "tests/support/fault.h"
#include "tests/support/tmpdir.h"
#include "tests/support/unit.h"

struct sample {
    bool strict;
    int64_t batch_events;
    double rate;
    int64_t interval; /* microseconds */
    int64_t cache;    /* bytes */
    char listen[CONFIG_TEXT_BYTES];
    int start;
    char password[CONFIG_TEXT_BYTES];
};

#define FIELD(name) offsetof(struct sample, name)

static const struct setting table[] = {
    {"train", "batch_events", SETTING_INTEGER, "events", "256", 1, 65536, NULL, true, true, false,
     "Interactions a batch.", FIELD(batch_events)},
    {"train", "lm_rate", SETTING_REAL, "", "0.25", 0, 1, NULL, true, true, false,
     "Share of rows for the language model.", FIELD(rate)},
    {"train", "strict", SETTING_BOOL, "", "no", 0, 0, NULL, false, true, false,
     "Byte-identical outputs.", FIELD(strict)},
    {"publish", "interval", SETTING_DURATION, "s", "30 s", 1000, 3600e6, NULL, true, false, false,
     "Time between versions.", FIELD(interval)},
    {"state", "cache", SETTING_BYTES, "", "64 MiB", 0, 0x1p40, NULL, false, false, false,
     "Memory for the overlay.", FIELD(cache)},
    {"http", "listen", SETTING_TEXT, "", "127.0.0.1:8040", 1, 0, NULL, false, false, false,
     "Address or socket.", FIELD(listen)},
    {"kafka", "start", SETTING_CHOICE, "", "earliest", 0, 0, "earliest|latest|timestamp", false,
     false, false, "Where a new group begins.", FIELD(start)},
    {"kafka", "pass_word", SETTING_TEXT, "", "", 0, 0, NULL, false, false, true, "Never shown.",
     FIELD(password)},
};
#define TABLE_COUNT ((int)(sizeof table / sizeof table[0]))

static enum status accept_kafka(const char *section, const char *key, const char *value,
                                struct error *err) {
    (void)value;
    if (strcmp(section, "kafka") != 0) { return STATUS_CONFIG; }
    if (strcmp(key, "plugin.library.paths") == 0) {
        return error_set(err, STATUS_CONFIG, "[kafka] %s: refused, it loads code", key);
    }
    return strchr(key, '.') != NULL ? STATUS_OK : STATUS_CONFIG;
}

struct fixture {
    struct tmpdir tmpdir;
    char path[FILE_PATH_BYTES_MAX];
    struct sample sample;
    struct config_extras extras;
    struct error err;
};

static int setup(void **state) {
    static struct fixture fixture;
    memset(&fixture, 0, sizeof fixture);
    tmpdir_init(&fixture.tmpdir);
    ASSERT_OK(path_join(fixture.path, fixture.tmpdir.path, "ilorad.conf", &fixture.err),
              fixture.err);
    *state = &fixture;
    return 0;
}

static int teardown(void **state) {
    tmpdir_free(&((struct fixture *)*state)->tmpdir);
    return 0;
}

/* Loads text as the file; overrides may be NULL. */
static enum status load(struct fixture *f, const char *text, const char *override) {
    ASSERT_OK(file_replace(f->path, span_of(text), &f->err), f->err);
    memset(&f->sample, 0, sizeof f->sample);
    return config_load(table, TABLE_COUNT, f->path, &override, override != NULL ? 1 : 0,
                       accept_kafka, &f->sample, &f->extras, &f->err);
}

/* Loading text fails with "path:line: words". */
static void assert_refused(struct fixture *f, const char *text, int line, const char *words) {
    char expected[2 * ERROR_TEXT_BYTES];
    (void)snprintf(expected, sizeof expected, "%.400s:%d: %.400s", f->path, line, words);
    ASSERT_STATUS(load(f, text, NULL), STATUS_CONFIG);
    assert_string_equal(f->err.text, expected);
}

static void an_empty_file_gives_the_defaults(void **state) {
    struct fixture *f = *state;
    ASSERT_OK(load(f, "", NULL), f->err);

    assert_int_equal(f->sample.batch_events, 256);
    assert_true(f->sample.rate == 0.25);
    assert_false(f->sample.strict);
    assert_int_equal(f->sample.interval, 30000000);
    assert_int_equal(f->sample.cache, 64 << 20);
    assert_string_equal(f->sample.listen, "127.0.0.1:8040");
    assert_int_equal(f->sample.start, 0);
    assert_int_equal(f->extras.count, 0);
    ASSERT_OK(config_load(table, TABLE_COUNT, NULL, NULL, 0, NULL, &f->sample, NULL, &f->err),
              f->err);
}

static void every_type_is_read_from_the_file(void **state) {
    struct fixture *f = *state;
    ASSERT_OK(load(f,
                   "\xEF\xBB\xBF# comment\n; comment\r\n\n[train]\r\n"
                   "  batch_events=1024   ; why\r\n\tlm_rate = 1e-3\nstrict = Yes\n"
                   "[publish]\ninterval = 1.5 min\n[ state ]\n[state]\ncache : 2GB\n"
                   "[http]\nlisten = /run/a socket;not a comment\n[kafka]\nstart = latest\n"
                   "bootstrap.servers = a:1,b:2",
                   NULL),
              f->err);

    assert_int_equal(f->sample.batch_events, 1024);
    assert_true(f->sample.rate == 1e-3);
    assert_true(f->sample.strict);
    assert_int_equal(f->sample.interval, 90000000);
    assert_int_equal(f->sample.cache, 2000000000);
    assert_string_equal(f->sample.listen, "/run/a socket;not a comment");
    assert_int_equal(f->sample.start, 1);
    assert_int_equal(f->extras.count, 1);
    assert_string_equal(f->extras.items[0].section, "kafka");
    assert_string_equal(f->extras.items[0].key, "bootstrap.servers");
    assert_string_equal(f->extras.items[0].value, "a:1,b:2");
}

static void a_refusal_names_file_line_key_and_what_is_allowed(void **state) {
    struct fixture *f = *state;
    assert_refused(f, "# one\n\n[train]\n\nbatch_events = 0\n", 5,
                   "[train] batch_events = 0: expected an integer from 1 to 65536 events");
    assert_refused(f, "[train]\nlm_rate = 1.5", 2,
                   "[train] lm_rate = 1.5: expected a number from 0 to 1");
    assert_refused(f, "[train]\nstrict = maybe", 2, "[train] strict = maybe: expected yes or no");
    assert_refused(f, "[publish]\ninterval = 5 days", 2,
                   "[publish] interval = 5 days: expected a duration from 1 ms to 1 h");
    assert_refused(f, "[publish]\n\n\ninterval = 2 h", 4,
                   "[publish] interval = 2 h: expected a duration from 1 ms to 1 h");
    assert_refused(f, "[state]\ncache = many", 2,
                   "[state] cache = many: expected a size from 0 B to 1 TiB");
    assert_refused(f, "[http]\nlisten =", 2, "[http] listen = : expected text of 1 to 511 bytes");
    assert_refused(f, "[kafka]\nstart = soon", 2,
                   "[kafka] start = soon: expected one of earliest, latest, timestamp");
}

static void unknown_keys_and_sections_are_refused_with_a_suggestion(void **state) {
    struct fixture *f = *state;
    assert_refused(f, "[train]\nbatch_event = 1", 2,
                   "[train] batch_event: unknown key, did you mean 'batch_events'?");
    assert_refused(f, "[train]\nspeed = 1", 2,
                   "[train] speed: unknown key, expected one of batch_events, lm_rate, strict");
    assert_refused(f, "[nowhere]\na = 1", 2, "[nowhere] a: unknown section");
    assert_refused(f, "a = 1", 1, "[] a: unknown section");
    assert_refused(f, "[kafka]\nplugin.library.paths = /x", 2,
                   "[kafka] plugin.library.paths: refused, it loads code");
    assert_refused(f, "[train]\nlm_rate = 1\n#\nlm_rate = 0", 4,
                   "[train] lm_rate: set twice, the first time on line 2");
    assert_refused(f, "[kafka]\na.b = 1\na.b = 2", 3,
                   "[kafka] a.b: set twice, the first time on line 2");
}

static void lines_that_are_not_ini_are_refused_by_number(void **state) {
    struct fixture *f = *state;
    static const char words[] = "expected 'key = value', '[section]' or a comment";
    char text[3000];

    assert_refused(f, "[train]\nbatch_events 5\nlm_rate = 1\n", 2, words);
    assert_refused(f, "[train]\nlm_rate = 1\nnonsense", 3, words);
    assert_refused(f, "\n[train\nlm_rate = 1\n", 2, "section without ']'");
    memset(text, 'x', sizeof text);
    memcpy(text, "[http]\nlisten = ", 16);
    text[sizeof text - 1] = '\0';
    assert_refused(f, text, 2, "line too long: expected at most 1024 bytes");
    ASSERT_STATUS(config_load(table, TABLE_COUNT, tmpdir_path(&f->tmpdir, "none"), NULL, 0, NULL,
                              &f->sample, NULL, &f->err),
                  STATUS_CONFIG);
    ASSERT_CONTAINS(f->err.text, "none' does not exist");
}

/* inih's buffer holds 200 bytes: the reader cuts longer lines and joins the value again. */
static void long_values_arrive_whole_and_keep_the_line_numbers(void **state) {
    struct fixture *f = *state;
    char text[1400];
    char value[CONFIG_TEXT_BYTES];
    for (size_t i = 0; i < sizeof value - 1; i++) {
        value[i] = "abc,d;e#f:g= "[i * 7 % 13];
    }
    value[0] = 'x';
    value[sizeof value - 2] = 'y';
    value[sizeof value - 1] = '\0';

    (void)snprintf(text, sizeof text, "[http]\nlisten = %s\n[train]\nlm_rate = 7\n", value);
    assert_refused(f, text, 4, "[train] lm_rate = 7: expected a number from 0 to 1");
    assert_string_equal(f->sample.listen, value);

    (void)snprintf(text, sizeof text, "[http]\nlisten = %s%s\n", value, "z");
    ASSERT_STATUS(load(f, text, NULL), STATUS_CONFIG);
    ASSERT_CONTAINS(f->err.text, ":2: [http] listen = ");
    (void)snprintf(text, sizeof text, "[kafka]\na.b = %s%s\n", value, "z");
    ASSERT_STATUS(load(f, text, NULL), STATUS_CONFIG);
    ASSERT_CONTAINS(f->err.text, ":2: [kafka] a.b: expected at most 511 bytes");
}

static void later_sources_win_file_environment_override(void **state) {
    struct fixture *f = *state;
    static const char text[] = "[train]\nbatch_events = 1\nlm_rate = 0.5\n[kafka]\na.b = file\n";
    assert_int_equal(setenv("ILORAD_TRAIN_BATCH_EVENTS", "2", 1), 0);
    assert_int_equal(setenv("ILORAD_KAFKA_A_B", "environment", 1), 0);

    enum status from_environment = load(f, text, NULL);
    int64_t environment_value = f->sample.batch_events;
    enum status from_override = load(f, text, "train.batch_events=3");
    assert_int_equal(unsetenv("ILORAD_TRAIN_BATCH_EVENTS"), 0);
    assert_int_equal(unsetenv("ILORAD_KAFKA_A_B"), 0);
    ASSERT_OK(from_environment, f->err);
    ASSERT_OK(from_override, f->err);
    assert_int_equal(environment_value, 2);
    assert_int_equal(f->sample.batch_events, 3);
    assert_true(f->sample.rate == 0.5);
    assert_int_equal(f->extras.count, 1);
    assert_string_equal(f->extras.items[0].value, "environment");

    ASSERT_OK(load(f, text, "kafka.a.b=x=y"), f->err);
    assert_string_equal(f->extras.items[0].value, "x=y");
}

static void overrides_and_environment_are_refused_by_name(void **state) {
    struct fixture *f = *state;
    ASSERT_STATUS(load(f, "", "train.batch_events=x"), STATUS_CONFIG);
    assert_string_equal(f->err.text, "--set train.batch_events: [train] batch_events = x: expected "
                                     "an integer from 1 to 65536 events");
    ASSERT_STATUS(load(f, "", "nonsense"), STATUS_CONFIG);
    assert_string_equal(f->err.text, "--set nonsense: expected section.key=value");
    ASSERT_STATUS(load(f, "", "kafka.pass_word=\x01"), STATUS_CONFIG);
    ASSERT_CONTAINS(f->err.text, "pass_word = (secret): expected text");

    assert_int_equal(setenv("ILORAD_TRAIN_SPEED", "1", 1), 0);
    enum status status = load(f, "", NULL);
    assert_int_equal(unsetenv("ILORAD_TRAIN_SPEED"), 0);
    ASSERT_STATUS(status, STATUS_CONFIG);
    ASSERT_CONTAINS(f->err.text, "environment ILORAD_TRAIN_SPEED: [train] speed: unknown key");
}

static void numbers_are_decimal_whole_and_finite(void **state) {
    struct fixture *f = *state;
    static const char *const bad[] = {
        "batch_events=",
        "batch_events= 5",
        "batch_events=5x",
        "batch_events=0x10",
        "batch_events=1e3",
        "batch_events=-1",
        "lm_rate=nan",
        "lm_rate=inf",
        "lm_rate=0x1p-1",
        "lm_rate=0.5 events",
        "lm_rate=",
        "lm_rate=.",
        "batch_events=99999999999999999999999999",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        char override[64];
        (void)snprintf(override, sizeof override, "train.%s", bad[i]);
        if (load(f, "", override) != STATUS_CONFIG) { fail_msg("'%s' was taken", override); }
    }
}

static void durations_and_sizes_take_their_units(void **state) {
    struct fixture *f = *state;
    static const struct {
        const char *override;
        int64_t expected;
    } cases[] = {
        {"publish.interval=2", 2000000},
        {"publish.interval=200 ms", 200000},
        {"publish.interval=200ms", 200000},
        {"publish.interval=1500us", 1500},
        {"publish.interval=5 min", 300000000},
        {"publish.interval=0.5 h", 1800000000},
        {"state.cache=1000", 1000},
        {"state.cache=1.5 KiB", 1536},
        {"state.cache=3 MB", 3000000},
        {"state.cache=1TiB", INT64_C(1) << 40},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        ASSERT_OK(load(f, "", cases[i].override), f->err);
        int64_t got = cases[i].override[0] == 'p' ? f->sample.interval : f->sample.cache;
        assert_int_equal(got, cases[i].expected);
    }
}

static const char *text_of(struct buffer *out) {
    ASSERT_STATUS(buffer_append(out, "", 1), STATUS_OK);
    return (const char *)out->data;
}

static void what_is_printed_loads_back_and_hides_secrets(void **state) {
    struct fixture *f = *state;
    struct buffer out = {.size = 0};
    ASSERT_OK(load(f,
                   "[train]\nlm_rate=0.1\nstrict=on\n[publish]\ninterval=90\n[kafka]\n"
                   "sasl.password = hidden\nclient.id = shown\npass_word = hidden\n",
                   NULL),
              f->err);
    struct sample before = f->sample;

    ASSERT_STATUS(config_print(table, TABLE_COUNT, &f->sample, &f->extras, &out), STATUS_OK);
    const char *text = text_of(&out);
    assert_string_equal(text, "[train]\nbatch_events = 256\nlm_rate = 0.1\nstrict = yes\n\n"
                              "[publish]\ninterval = 90 s\n\n[state]\ncache = 64 MiB\n\n"
                              "[http]\nlisten = 127.0.0.1:8040\n\n"
                              "[kafka]\nstart = earliest\npass_word = (secret)\n"
                              "sasl.password = (secret)\nclient.id = shown\n");
    ASSERT_OK(load(f, text, NULL), f->err);
    memcpy(f->sample.password, before.password, sizeof before.password);
    assert_memory_equal(&f->sample, &before, sizeof before);
    buffer_free(&out);
}

static void the_sample_file_is_loadable_and_complete(void **state) {
    struct fixture *f = *state;
    struct buffer out = {.size = 0};
    ASSERT_STATUS(config_sample(table, TABLE_COUNT, &out), STATUS_OK);
    char *text = (char *)(uintptr_t)text_of(&out);

    ASSERT_CONTAINS(text, "# Interactions a batch.\n"
                          "# Allowed: an integer from 1 to 65536 events. Reloaded on SIGHUP.\n"
                          "#batch_events = 256\n");
    ASSERT_OK(load(f, text, NULL), f->err);
    for (int i = 0; i < TABLE_COUNT; i++) {
        char line[64];
        (void)snprintf(line, sizeof line, "\n#%s = ", table[i].key);
        char *place = strstr(text, line);
        assert_non_null(place);
        place[1] = ' ';
    }
    ASSERT_OK(load(f, text, NULL), f->err);
    assert_int_equal(f->sample.batch_events, 256);
    buffer_free(&out);
}

static void one_value_is_set_by_name(void **state) {
    struct fixture *f = *state;
    char text[32];
    ASSERT_OK(load(f, "", NULL), f->err);
    ASSERT_OK(config_set(table, TABLE_COUNT, "train.lm_rate", "0.75", &f->sample, &f->err), f->err);
    assert_true(f->sample.rate == 0.75);
    ASSERT_STATUS(config_set(table, TABLE_COUNT, "train.lm_rate", "2", &f->sample, &f->err),
                  STATUS_CONFIG);
    assert_true(f->sample.rate == 0.75);
    ASSERT_STATUS(config_set(table, TABLE_COUNT, "train.nothing", "2", &f->sample, &f->err),
                  STATUS_CONFIG);
    ASSERT_STATUS(config_set(table, TABLE_COUNT, "nothing", "2", &f->sample, &f->err),
                  STATUS_CONFIG);
    ASSERT_STATUS(config_value_text(&table[3], &f->sample, text, sizeof text), STATUS_OK);
    assert_string_equal(text, "30 s");
    ASSERT_STATUS(config_value_text(&table[3], &f->sample, text, 4), STATUS_LIMIT);
}

static enum status load_once(void *context) {
    struct fixture *f = context;
    return config_load(table, TABLE_COUNT, f->path, NULL, 0, accept_kafka, &f->sample, &f->extras,
                       &f->err);
}

static void every_allocation_of_loading_may_fail(void **state) {
    struct fixture *f = *state;
    ASSERT_OK(load(f, "[train]\nlm_rate = 0.5\n", NULL), f->err);
    assert_int_equal(fault_sweep(FAULT_MEMORY, STATUS_NO_MEMORY, load_once, f), 2);
    assert_int_equal(fault_sweep(FAULT_FILE, STATUS_IO, load_once, f), 1);
}

#define WITH_FILE(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        WITH_FILE(an_empty_file_gives_the_defaults),
        WITH_FILE(every_type_is_read_from_the_file),
        WITH_FILE(a_refusal_names_file_line_key_and_what_is_allowed),
        WITH_FILE(unknown_keys_and_sections_are_refused_with_a_suggestion),
        WITH_FILE(lines_that_are_not_ini_are_refused_by_number),
        WITH_FILE(long_values_arrive_whole_and_keep_the_line_numbers),
        WITH_FILE(later_sources_win_file_environment_override),
        WITH_FILE(overrides_and_environment_are_refused_by_name),
        WITH_FILE(numbers_are_decimal_whole_and_finite),
        WITH_FILE(durations_and_sizes_take_their_units),
        WITH_FILE(what_is_printed_loads_back_and_hides_secrets),
        WITH_FILE(the_sample_file_is_loadable_and_complete),
        WITH_FILE(one_value_is_set_by_name),
        WITH_FILE(every_allocation_of_loading_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
