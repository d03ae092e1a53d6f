/* SPDX-License-Identifier: Apache-2.0
 *
 * test_json.c - what is read and refused, and that the writer's bytes are read back unchanged.
 */
#include "base/json.h"

#include <math.h>

#include "tests/support/fault.h"
#include "tests/support/unit.h"

static struct json_value *parsed(const char *text) {
    struct json_value *value = NULL;
    struct error err;
    ASSERT_OK(json_parse(span_of(text), &value, &err), err);
    return value;
}

static void values_have_their_kinds(void **state) {
    (void)state;
    struct json_value *value =
        parsed("{\"s\":\"a\\u0000\\u00e9\",\"i\":-5,\"r\":2.5,\"whole\":3e2,\"t\":true,"
               "\"f\":false,\"n\":null,\"a\":[1,2],\"o\":{}}");
    struct span text;
    int64_t integer = 0;
    double real = 0;
    bool truth = false;

    assert_int_equal(json_kind(value), JSON_OBJECT);
    assert_int_equal(json_size(value), 9);
    assert_true(json_string(json_member(value, "s"), &text));
    assert_true(span_equal(text, span_make("a\0\xC3\xA9", 4)));
    assert_true(json_integer(json_member(value, "i"), &integer));
    assert_int_equal(integer, -5);
    assert_true(json_real(json_member(value, "i"), &real));
    assert_true(real == -5);
    assert_false(json_integer(json_member(value, "r"), &integer));
    assert_true(json_integer(json_member(value, "whole"), &integer));
    assert_int_equal(integer, 300);
    assert_true(json_bool(json_member(value, "t"), &truth) && truth);
    assert_true(json_bool(json_member(value, "f"), &truth) && !truth);
    assert_int_equal(json_kind(json_member(value, "n")), JSON_NULL);
    assert_int_equal(json_size(json_member(value, "a")), 2);
    assert_true(json_integer(json_element(json_member(value, "a"), 1), &integer));
    assert_int_equal(integer, 2);
    json_free(value);
}

static void what_is_absent_or_of_another_kind_is_false_and_not_a_crash(void **state) {
    (void)state;
    struct json_value *value = parsed("[1e300,\"x\"]");
    struct span text = span_of("kept");
    int64_t integer = 7;
    double real = 7;
    bool truth = true;

    assert_null(json_member(value, "a"));
    assert_null(json_member(NULL, "a"));
    assert_null(json_element(value, 2));
    assert_null(json_element(NULL, 0));
    assert_int_equal(json_size(NULL), 0);
    assert_int_equal(json_size(json_element(value, 1)), 0);
    assert_false(json_string(NULL, &text));
    assert_false(json_string(json_element(value, 0), &text));
    assert_false(json_integer(json_element(value, 0), &integer));
    assert_false(json_integer(json_element(value, 1), &integer));
    assert_false(json_real(json_element(value, 1), &real));
    assert_false(json_bool(json_element(value, 1), &truth));
    assert_true(integer == 7 && real == 7 && truth);
    assert_true(span_equal(text, span_of("kept")));
    json_free(value);
    json_free(NULL);
}

static void bad_text_is_malformed_with_its_place(void **state) {
    (void)state;
    static const char *const bad[] = {
        "",      " ",         "{",        "{\"a\":}", "[1,]",         "tru",
        "\"a",   "{\"a\" 1}", "[1] x",    "\"\xff\"", "\"\\ud800\"",  "01",
        "{1:2}", "nan",       "[\"\n\"]", "1e999",    "\xEF\xBB\xBF",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct json_value *value = NULL;
        struct error err;
        if (json_parse(span_of(bad[i]), &value, &err) != STATUS_MALFORMED) {
            fail_msg("text %zu '%s' was not refused", i, bad[i]);
        }
        assert_null(value);
    }

    struct json_value *value = NULL;
    struct error err;
    ASSERT_STATUS(json_parse(span_of("{\n\"a\": x}"), &value, &err), STATUS_MALFORMED);
    ASSERT_CONTAINS(err.text, "line 2 column 6");
}

static void depth_is_limited_outside_strings(void **state) {
    (void)state;
    char text[2 * JSON_DEPTH_MAX + 3] = "";
    struct json_value *value = NULL;
    struct error err;

    memset(text, '[', JSON_DEPTH_MAX);
    memset(text + JSON_DEPTH_MAX, ']', JSON_DEPTH_MAX);
    ASSERT_OK(json_parse(span_make(text, (size_t)2 * JSON_DEPTH_MAX), &value, &err), err);
    json_free(value);

    memset(text, '[', JSON_DEPTH_MAX + 1);
    memset(text + JSON_DEPTH_MAX + 1, ']', JSON_DEPTH_MAX + 1);
    ASSERT_STATUS(json_parse(span_make(text, 2 * JSON_DEPTH_MAX + 2), &value, &err),
                  STATUS_MALFORMED);
    ASSERT_CONTAINS(err.text, "line 1 column 65: nested deeper than 64 levels");

    memset(text, '[', sizeof text);
    text[0] = '"';
    text[1] = '\\';
    text[2] = '"';
    text[sizeof text - 1] = '"';
    ASSERT_OK(json_parse(span_make(text, sizeof text), &value, &err), err);
    json_free(value);
}

static bool join_names(void *context, struct span name, const struct json_value *value) {
    int64_t integer = 0;
    assert_true(json_integer(value, &integer));
    ASSERT_STATUS(buffer_append_format(context, "%.*s=%d ", SPAN_ARG(name), (int)integer),
                  STATUS_OK);
    return integer != 9;
}

static void members_come_in_the_order_of_the_text_and_the_last_duplicate_wins(void **state) {
    (void)state;
    struct buffer names = {.size = 0};
    struct json_value *value = parsed("{\"z\":1,\"a\":2,\"m\":3,\"a\":4,\"stop\":9,\"x\":5}");

    json_members(value, join_names, &names);
    assert_true(span_equal(buffer_span(&names), span_of("z=1 a=4 m=3 stop=9 ")));
    json_free(value);
    buffer_free(&names);
}

static void the_writer_places_commas_and_escapes(void **state) {
    (void)state;
    struct buffer out = {.size = 0};
    struct json_writer w;

    json_write_begin(&w, &out);
    json_write_object(&w, NULL);
    json_write_string(&w, "q\"", span_make("a\"\\\n\r\t\x01\xC3\xA9\xFF/\0", 12));
    json_write_array(&w, "list");
    json_write_integer(&w, NULL, INT64_MIN);
    json_write_object(&w, NULL);
    json_write_object_end(&w);
    json_write_bool(&w, NULL, true);
    json_write_array_end(&w);
    json_write_real(&w, "nan", (double)NAN);
    json_write_bool(&w, "no", false);
    json_write_object_end(&w);
    ASSERT_STATUS(json_write_end(&w), STATUS_OK);

    assert_true(
        span_equal(buffer_span(&out),
                   span_of("{\"q\\\"\":\"a\\\"\\\\\\n\\r\\t\\u0001\xC3\xA9\xEF\xBF\xBD/\\u0000\","
                           "\"list\":[-9223372036854775808,{},true],\"nan\":null,\"no\":false}")));
    buffer_free(&out);
}

static void numbers_come_back_exactly(void **state) {
    (void)state;
    static const double numbers[] = {
        0,         -0.0,         1,    0.1, 1.0 / 3, 1e-300,       1.5e300,           123456789.5,
        0x1p-1074, (double)2.5f, 1e15, -7,  5e-324,  (double)0.1f, 4503599627370497.5};
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        struct buffer out = {.size = 0};
        struct json_writer w;
        struct json_value *value = NULL;
        struct error err;
        double back = 42;
        json_write_begin(&w, &out);
        json_write_real(&w, NULL, numbers[i]);
        ASSERT_STATUS(json_write_end(&w), STATUS_OK);
        ASSERT_OK(json_parse(buffer_span(&out), &value, &err), err);
        assert_true(json_real(value, &back));
        assert_true(back == numbers[i]);
        json_free(value);
        buffer_free(&out);
    }
}

static void the_writers_first_failure_sticks(void **state) {
    (void)state;
    struct buffer out = {.limit = 12};
    struct json_writer w;

    json_write_begin(&w, &out);
    json_write_array(&w, NULL);
    json_write_string(&w, NULL, span_of("far too long for it"));
    json_write_integer(&w, NULL, 1);
    json_write_array_end(&w);
    ASSERT_STATUS(json_write_end(&w), STATUS_LIMIT);
    assert_true(out.size <= 12);
    buffer_free(&out);
}

static enum status parse_one(void *context) {
    struct json_value *value = NULL;
    struct error err;
    enum status status = json_parse(span_of(context), &value, &err);
    json_free(value);
    return status;
}

static void every_allocation_of_parsing_may_fail(void **state) {
    (void)state;
    char text[] = "{\"user\":\"42\",\"items\":[1,2.5,{\"deep\":[true,null,\"x\"]}]}";
    assert_true(fault_sweep(FAULT_MEMORY, STATUS_NO_MEMORY, parse_one, text) > 10);
}

static void the_number_of_values_is_limited_before_parsing(void **state) {
    (void)state;
    static const struct {
        const char *text;
        size_t values; /* at most; the writer's count, containers included */
    } cases[] = {
        {"7", 1},           {"[]", 2},
        {"[1,2]", 3},       {"{\"a\":1,\"b\":[1,2]}", 5 + 2 * JSON_KEY_VALUES},
        {"[\",,,[{\"]", 2},
    };
    struct error err;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct json_value *value = NULL;
        ASSERT_OK(json_parse_limited(span_of(cases[i].text), cases[i].values, false, &value, &err),
                  err);
        json_free(value);
        if (cases[i].values == 1) { continue; }
        ASSERT_STATUS(
            json_parse_limited(span_of(cases[i].text), cases[i].values - 1, false, &value, &err),
            STATUS_MALFORMED);
        ASSERT_CONTAINS(err.text, "line 1 column");
        ASSERT_CONTAINS(err.text, "values");
    }
}

static void a_key_that_stands_twice_is_refused_where_keys_are_unique(void **state) {
    (void)state;
    struct error err;
    struct json_value *value = NULL;
    const char *text = "{\"a\":1,\"b\":{\"a\":1},\"a\":2}";
    int64_t integer = 0;

    ASSERT_STATUS(json_parse_limited(span_of(text), 100, true, &value, &err), STATUS_MALFORMED);
    ASSERT_CONTAINS(err.text, "\"a\"");
    ASSERT_OK(json_parse_limited(span_of(text), 100, false, &value, &err), err);
    assert_true(json_integer(json_member(value, "a"), &integer) && integer == 2);
    json_free(value);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_have_their_kinds),
        cmocka_unit_test(what_is_absent_or_of_another_kind_is_false_and_not_a_crash),
        cmocka_unit_test(bad_text_is_malformed_with_its_place),
        cmocka_unit_test(the_number_of_values_is_limited_before_parsing),
        cmocka_unit_test(a_key_that_stands_twice_is_refused_where_keys_are_unique),
        cmocka_unit_test(depth_is_limited_outside_strings),
        cmocka_unit_test(members_come_in_the_order_of_the_text_and_the_last_duplicate_wins),
        cmocka_unit_test(the_writer_places_commas_and_escapes),
        cmocka_unit_test(numbers_come_back_exactly),
        cmocka_unit_test(the_writers_first_failure_sticks),
        cmocka_unit_test(every_allocation_of_parsing_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
