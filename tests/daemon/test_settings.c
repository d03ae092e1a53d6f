/* SPDX-License-Identifier: Apache-2.0
 *
 * test_settings.c - the table, what spans several settings, and secrets. */
#include "daemon/settings.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"
#include "tests/support/unit.h"

struct fixture {
    struct settings settings;
    struct error err;
    char folder[64];
};

static int setup(void **state) {
    struct fixture *f = memory_take_zeroed(1, sizeof *f);
    assert_non_null(f);
    (void)snprintf(f->folder, sizeof f->folder, "/tmp/ilora-settings-XXXXXX");
    assert_non_null(mkdtemp(f->folder));
    (void)unsetenv("CREDENTIALS_DIRECTORY");
    *state = f;
    return 0;
}

static int teardown(void **state) {
    struct fixture *f = *state;
    assert_int_equal(dir_remove(f->folder, &f->err), STATUS_OK);
    (void)unsetenv("CREDENTIALS_DIRECTORY");
    memory_free(f);
    return 0;
}

/* Loads with these overrides alone. */
static enum status load(struct fixture *f, const char *a, const char *b) {
    const char *overrides[2] = {a, b};
    int count = a == NULL ? 0 : b == NULL ? 1 : 2;
    return settings_load(NULL, overrides, count, &f->settings, &f->err);
}

static void write_file(struct fixture *f, const char *name, const char *text) {
    char path[FILE_PATH_BYTES_MAX];
    struct span bytes = span_of(text);
    ASSERT_OK(path_join(path, f->folder, name, &f->err), f->err);
    ASSERT_OK(file_write(path, &bytes, 1, &f->err), f->err);
}

static void every_row_of_the_table_has_words_and_a_unique_name(void **state) {
    (void)state;
    int count = 0;
    const struct setting *table = settings_table(&count);

    assert_true(count > 90);
    for (int i = 0; i < count; i++) {
        assert_true(strlen(table[i].sentence) > 5);
        assert_true(table[i].field < sizeof(struct settings));
        for (int j = 0; j < i; j++) {
            assert_false(strcmp(table[i].section, table[j].section) == 0 &&
                         strcmp(table[i].key, table[j].key) == 0);
        }
    }
}

static void defaults_alone_are_valid(void **state) {
    struct fixture *f = *state;

    ASSERT_OK(load(f, NULL, NULL), f->err);

    assert_int_equal(f->settings.predict_group_events, 64);
    assert_int_equal(f->settings.epoch_interval, 200000);
    assert_string_equal(f->settings.topics_events, "ilorad.events");
    assert_string_equal(f->settings.http_listen, "127.0.0.1:8040");
}

static void a_batch_is_a_multiple_of_groups(void **state) {
    struct fixture *f = *state;

    ASSERT_STATUS(load(f, "train.batch_events=100", NULL), STATUS_CONFIG);

    ASSERT_CONTAINS(f->err.text, "batch_events");
    ASSERT_CONTAINS(f->err.text, "multiple");
}

static void experts_divide_the_rank(void **state) {
    struct fixture *f = *state;

    ASSERT_STATUS(load(f, "ilora.experts=3", NULL), STATUS_CONFIG);

    ASSERT_CONTAINS(f->err.text, "divisor");
}

static void strict_mode_wants_one_partition_and_whole_groups(void **state) {
    struct fixture *f = *state;

    ASSERT_STATUS(load(f, "engine.strict=yes", "publish.lag_events=100"), STATUS_CONFIG);
    ASSERT_STATUS(load(f, "engine.strict=yes", "stream.partitions=2"), STATUS_CONFIG);
    ASSERT_OK(load(f, "engine.strict=yes", NULL), f->err);
}

static void an_unknown_key_is_refused(void **state) {
    struct fixture *f = *state;

    ASSERT_STATUS(load(f, "train.batch_event=64", NULL), STATUS_CONFIG);

    ASSERT_CONTAINS(f->err.text, "batch_event");
}

static void the_file_and_line_of_a_bad_value_are_named(void **state) {
    struct fixture *f = *state;
    char path[FILE_PATH_BYTES_MAX];
    write_file(f, "ilorad.conf", "[predict]\nlist = 5\nlist = 1000\n");
    ASSERT_OK(path_join(path, f->folder, "ilorad.conf", &f->err), f->err);

    ASSERT_STATUS(settings_load(path, NULL, 0, &f->settings, &f->err), STATUS_CONFIG);

    ASSERT_CONTAINS(f->err.text, "ilorad.conf:3");
    ASSERT_CONTAINS(f->err.text, "list");
    ASSERT_CONTAINS(f->err.text, "100");
}

static void weights_of_event_types_pass_through(void **state) {
    struct fixture *f = *state;

    ASSERT_OK(load(f, "events.weight.buy=2.5", "events.field.title=name"), f->err);

    assert_true(settings_type_weight(&f->settings, span_of("buy")) == 2.5f);
    assert_true(settings_type_weight(&f->settings, span_of("click")) == 1.0f);
    assert_string_equal(settings_field_name(&f->settings, "title"), "name");
    assert_string_equal(settings_field_name(&f->settings, "user"), "");
    ASSERT_STATUS(load(f, "events.weight.buy=much", NULL), STATUS_CONFIG);
    ASSERT_STATUS(load(f, "events.field.colour=x", NULL), STATUS_CONFIG);
}

static void secrets_come_from_credentials_and_are_never_printed(void **state) {
    struct fixture *f = *state;
    struct buffer out = {0};
    write_file(f, "http.token", "open-sesame\n");
    assert_int_equal(setenv("CREDENTIALS_DIRECTORY", f->folder, 1), 0);

    ASSERT_OK(load(f, NULL, NULL), f->err);
    assert_string_equal(f->settings.http_token, "open-sesame");

    assert_int_equal(settings_print(&f->settings, &out), STATUS_OK);
    assert_int_equal(buffer_append(&out, "", 1), STATUS_OK);
    assert_null(strstr((char *)out.data, "open-sesame"));
    ASSERT_CONTAINS((char *)out.data, "(secret)");
    buffer_free(&out);
}

static void kafka_passwords_come_from_credentials(void **state) {
    struct fixture *f = *state;
    struct buffer out = {0};
    write_file(f, "sasl.password", "hunter2");
    assert_int_equal(setenv("CREDENTIALS_DIRECTORY", f->folder, 1), 0);

    ASSERT_OK(load(f, NULL, NULL), f->err);

    assert_int_equal(f->settings.extras.count, 1);
    assert_string_equal(f->settings.extras.items[0].key, "sasl.password");
    assert_string_equal(f->settings.extras.items[0].value, "hunter2");
    assert_int_equal(settings_print(&f->settings, &out), STATUS_OK);
    assert_int_equal(buffer_append(&out, "", 1), STATUS_OK);
    assert_null(strstr((char *)out.data, "hunter2"));
    buffer_free(&out);
}

static void listen_takes_addresses_paths_and_none(void **state) {
    struct fixture *f = *state;
    struct listen_address address;

    ASSERT_OK(settings_listen("127.0.0.1:8040", &address, &f->err), f->err);
    assert_int_equal(address.kind, LISTEN_IPV4);
    assert_int_equal(address.port, 8040);
    assert_true(address.loopback);
    ASSERT_OK(settings_listen("[::1]:80", &address, &f->err), f->err);
    assert_int_equal(address.kind, LISTEN_IPV6);
    assert_true(address.loopback);
    ASSERT_OK(settings_listen("/run/ilorad/http.sock", &address, &f->err), f->err);
    assert_int_equal(address.kind, LISTEN_UNIX);
    ASSERT_OK(settings_listen("none", &address, &f->err), f->err);
    assert_int_equal(address.kind, LISTEN_NONE);
    ASSERT_STATUS(settings_listen("localhost:80", &address, &f->err), STATUS_CONFIG);
    ASSERT_STATUS(settings_listen("127.0.0.1:70000", &address, &f->err), STATUS_CONFIG);
    ASSERT_STATUS(settings_listen("127.0.0.1", &address, &f->err), STATUS_CONFIG);
}

static void an_address_that_others_reach_needs_a_token(void **state) {
    struct fixture *f = *state;

    ASSERT_STATUS(load(f, "http.listen=0.0.0.0:8040", NULL), STATUS_CONFIG);
    ASSERT_STATUS(load(f, "http.listen=192.0.2.1:8040", NULL), STATUS_CONFIG);
    ASSERT_STATUS(load(f, "http.listen=[2001:db8::1]:8040", NULL), STATUS_CONFIG);
    ASSERT_CONTAINS(f->err.text, "[http] token");
    ASSERT_OK(load(f, "http.listen=0.0.0.0:8040", "http.token=secret"), f->err);
    ASSERT_OK(load(f, "http.listen=127.0.0.2:8040", NULL), f->err);
    ASSERT_OK(load(f, "http.listen=/run/ilorad/http.sock", NULL), f->err);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(every_row_of_the_table_has_words_and_a_unique_name, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(defaults_alone_are_valid, setup, teardown),
        cmocka_unit_test_setup_teardown(a_batch_is_a_multiple_of_groups, setup, teardown),
        cmocka_unit_test_setup_teardown(experts_divide_the_rank, setup, teardown),
        cmocka_unit_test_setup_teardown(strict_mode_wants_one_partition_and_whole_groups, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(an_unknown_key_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(the_file_and_line_of_a_bad_value_are_named, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(weights_of_event_types_pass_through, setup, teardown),
        cmocka_unit_test_setup_teardown(secrets_come_from_credentials_and_are_never_printed, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(kafka_passwords_come_from_credentials, setup, teardown),
        cmocka_unit_test_setup_teardown(listen_takes_addresses_paths_and_none, setup, teardown),
        cmocka_unit_test_setup_teardown(an_address_that_others_reach_needs_a_token, setup,
                                        teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
