/* SPDX-License-Identifier: Apache-2.0
 *
 * test_import.c - tables of other systems: delimiters, quotes, encodings, times, order. */
#include <stdio.h>
#include <stdlib.h>

#include "base/file.h"
#include "ops/import_table.h"
#include "ops/table_file.h"
#include "tests/support/unit.h"

struct fixture {
    char folder[64];
    char path[128];
    struct import_data data;
    struct error err;
};

static int setup(void **state) {
    static struct fixture fixture;
    memset(&fixture, 0, sizeof fixture);
    (void)snprintf(fixture.folder, sizeof fixture.folder, "/tmp/ilora-import-XXXXXX");
    assert_non_null(mkdtemp(fixture.folder));
    (void)snprintf(fixture.path, sizeof fixture.path, "%s/table", fixture.folder);
    assert_int_equal(import_data_init(&fixture.data, &fixture.err), STATUS_OK);
    *state = &fixture;
    return 0;
}

static int teardown(void **state) {
    struct fixture *f = *state;
    import_data_free(&f->data);
    assert_int_equal(dir_remove(f->folder, &f->err), STATUS_OK);
    return 0;
}

static void write_table(struct fixture *f, const char *text) {
    struct span bytes = span_of(text);
    ASSERT_OK(file_write(f->path, &bytes, 1, &f->err), f->err);
}

static void assert_span(struct span span, const char *text) {
    char copy[256];
    assert_true(span.size < sizeof copy);
    if (span.size > 0) { memcpy(copy, span.data, span.size); }
    copy[span.size] = '\0';
    assert_string_equal(copy, text);
}

static void recbole_names_lose_their_types(void **state) {
    struct fixture *f = *state;
    struct import_format format = {.delimiter = "\t",
                                   .header = true,
                                   .user = "user_id",
                                   .item = "item_id",
                                   .time = "timestamp",
                                   .strength = "rating"};
    write_table(f, "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
                   "196\t242\t3\t881250949\n\n186\t302\t3.5\t891717742\n");

    ASSERT_OK(import_read_events(&f->data, f->path, &format, &f->err), f->err);

    assert_int_equal(f->data.event_count, 2);
    assert_span(f->data.events[0].user, "196");
    assert_span(f->data.events[1].strength, "3.5");
    assert_true(f->data.events[0].time_ms == INT64_C(881250949000));
    assert_int_equal(f->data.events[1].line, 4);
}

static void quotes_hold_delimiters_and_doubled_quotes(void **state) {
    struct fixture *f = *state;
    struct import_format format = {
        .delimiter = ",", .quotes = true, .header = true, .item = "movieId", .title = "title"};
    write_table(f, "movieId,title,genres\r\n11,\"American President, The (1995)\",Drama\r\n"
                   "12,\"So \"\"called\"\"\",x\r\n");

    ASSERT_OK(import_read_items(&f->data, f->path, &format, &f->err), f->err);

    assert_int_equal(f->data.item_count, 2);
    assert_span(f->data.items[0].title, "American President, The (1995)");
    assert_span(f->data.items[1].title, "So \"called\"");
}

static void an_open_quote_is_refused_with_its_line(void **state) {
    struct fixture *f = *state;
    struct import_format format = {
        .delimiter = ",", .quotes = true, .header = true, .item = "a", .title = "b"};
    write_table(f, "a,b\n1,\"open\n");

    ASSERT_STATUS(import_read_items(&f->data, f->path, &format, &f->err), STATUS_MALFORMED);

    ASSERT_CONTAINS(f->err.text, "line 2");
}

static void long_delimiters_and_numbers_of_columns_work(void **state) {
    struct fixture *f = *state;
    struct import_format format = {.delimiter = "::", .user = "1", .item = "2", .time = "4"};
    write_table(f, "1::1193::5::978300760\n");

    ASSERT_OK(import_read_events(&f->data, f->path, &format, &f->err), f->err);

    assert_span(f->data.events[0].item, "1193");
}

static void old_encodings_become_utf8(void **state) {
    struct fixture *f = *state;
    struct import_format format = {.delimiter = "|", .item = "1", .title = "2"};
    write_table(f, "543|Mis\xE9rables, Les (1995)|x\n");

    ASSERT_OK(import_read_items(&f->data, f->path, &format, &f->err), f->err);

    assert_span(f->data.items[0].title, "Mis\xC3\xA9rables, Les (1995)");
}

static void a_missing_column_is_named(void **state) {
    struct fixture *f = *state;
    struct import_format format = {
        .delimiter = ",", .header = true, .user = "user", .item = "item"};
    write_table(f, "usr,item\n1,2\n");

    ASSERT_STATUS(import_read_events(&f->data, f->path, &format, &f->err), STATUS_MALFORMED);

    ASSERT_CONTAINS(f->err.text, "'user'");
}

static void sorting_keeps_the_order_of_equal_times(void **state) {
    struct fixture *f = *state;
    struct import_format format = {
        .delimiter = ",", .header = true, .user = "u", .item = "i", .time = "t"};
    write_table(f, "u,i,t\na,1,200\na,2,100\na,3,200\na,4,100\n");
    ASSERT_OK(import_read_events(&f->data, f->path, &format, &f->err), f->err);

    import_sort(&f->data);

    assert_span(f->data.events[0].item, "2");
    assert_span(f->data.events[1].item, "4");
    assert_span(f->data.events[2].item, "1");
    assert_span(f->data.events[3].item, "3");
}

static void times_of_every_usual_form_are_milliseconds(void **state) {
    (void)state;
    int64_t ms = 0;

    assert_true(import_time(span_of("881250949"), &ms) && ms == INT64_C(881250949000));
    assert_true(import_time(span_of("881250949123"), &ms) && ms == INT64_C(881250949123));
    assert_true(import_time(span_of("881250949123456"), &ms) && ms == INT64_C(881250949123));
    assert_true(import_time(span_of("881250949.5"), &ms) && ms == INT64_C(881250949500));
    assert_true(import_time(span_of("1997-12-04T15:55:49Z"), &ms) && ms == INT64_C(881250949000));
    assert_true(import_time(span_of("1997-12-04 15:55:49.25"), &ms) && ms == INT64_C(881250949250));
    assert_true(import_time(span_of("1997-12-04T16:55:49+01:00"), &ms) &&
                ms == INT64_C(881250949000));
    assert_false(import_time(span_of("yesterday"), &ms));
    assert_false(import_time(span_of(""), &ms));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(recbole_names_lose_their_types, setup, teardown),
        cmocka_unit_test_setup_teardown(quotes_hold_delimiters_and_doubled_quotes, setup, teardown),
        cmocka_unit_test_setup_teardown(an_open_quote_is_refused_with_its_line, setup, teardown),
        cmocka_unit_test_setup_teardown(long_delimiters_and_numbers_of_columns_work, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(old_encodings_become_utf8, setup, teardown),
        cmocka_unit_test_setup_teardown(a_missing_column_is_named, setup, teardown),
        cmocka_unit_test_setup_teardown(sorting_keeps_the_order_of_equal_times, setup, teardown),
        cmocka_unit_test(times_of_every_usual_form_are_milliseconds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
