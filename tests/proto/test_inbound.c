/* SPDX-License-Identifier: Apache-2.0
 *
 * test_inbound.c - JSON in: every accepted name, every time format, every refusal.
 */
#include "tests/proto/inbound_fixture.h"

#include <stdio.h>

static const struct inbound_settings plain;

static void every_name_of_the_user_is_accepted(void **state) {
    (void)state;
    static const char *const names[] = {"user", "user_id", "userId", "UserId", "USER_ID"};
    struct fixture f;
    fixture_open(&f, plain);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char text[128];
        (void)snprintf(text, sizeof text, "{\"%s\":\"ada\",\"item\":\"i\"}", names[i]);
        accept(&f, text);
        assert_span(f.event.user, "ada");
    }
    fixture_close(&f);
}

static void every_name_of_the_item_is_accepted(void **state) {
    (void)state;
    static const char *const names[] = {"item", "item_id", "itemId", "ItemId", "ITEM_ID"};
    struct fixture f;
    fixture_open(&f, plain);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char text[128];
        (void)snprintf(text, sizeof text, "{\"user\":\"u\",\"%s\":\"book\"}", names[i]);
        accept(&f, text);
        assert_span(f.event.item, "book");
        assert_int_equal(f.event.kind, EVENT_INTERACTION);
    }
    fixture_close(&f);
}

static void every_name_of_id_type_time_and_strength_is_accepted(void **state) {
    (void)state;
    static const char *const ids[] = {"id", "eventId", "event_id"};
    static const char *const types[] = {"type", "eventType", "FeedbackType", "EVENT_TYPE"};
    static const char *const times[] = {"timestamp", "ts", "sentAt", "Timestamp", "TIMESTAMP"};
    static const char *const strengths[] = {"weight", "value", "rating", "Value", "EVENT_VALUE"};
    struct fixture f;
    fixture_open(&f, plain);
    for (size_t i = 0; i < 60; i++) {
        char text[256];
        (void)snprintf(text, sizeof text,
                       "{\"user\":\"u\",\"item\":\"i\",\"%s\":\"e1\",\"%s\":\"click\",\"%s\":5,"
                       "\"%s\":3.5}",
                       ids[i % 3], types[i % 4], times[i % 5], strengths[i % 5]);
        accept(&f, text);
        assert_span(f.event.id, "e1");
        assert_span(f.event.type, "click");
        assert_int_equal(f.event.time_ms, 5000);
        assert_true(f.event.has_strength);
        assert_true(f.event.strength > 3.49f && f.event.strength < 3.51f);
    }
    fixture_close(&f);
}

/* The table's order decides, not the text's; a null is no value. */
static void of_two_names_the_first_of_the_table_counts(void **state) {
    (void)state;
    struct fixture f;
    fixture_open(&f, plain);
    accept(&f, "{\"userId\":\"b\",\"user\":\"a\",\"item\":\"i\",\"rating\":2,\"value\":1}");
    assert_span(f.event.user, "a");
    assert_true(f.event.strength < 1.5f);

    accept(&f, "{\"userId\":\"b\",\"user\":null,\"item\":\"i\",\"rating\":2,\"value\":1,"
               "\"weight\":7}");
    assert_span(f.event.user, "b");
    assert_true(f.event.strength > 6.5f);
    fixture_close(&f);
}

static void names_from_the_settings_come_first(void **state) {
    (void)state;
    struct inbound_settings settings = {
        .title_field = "name", .user_field = "visitor", .item_field = "sku", .time_field = "at"};
    struct fixture f;
    fixture_open(&f, settings);
    accept(&f, "{\"user\":\"x\",\"visitor\":\"v\",\"sku\":17,\"at\":9,\"name\":\"T\"}");
    assert_span(f.event.user, "v");
    assert_span(f.event.item, "17");
    assert_int_equal(f.event.time_ms, 9000);
    assert_span(f.event.title, "T");
    fixture_close(&f);
}

static void ids_may_be_numbers(void **state) {
    (void)state;
    struct fixture f;
    fixture_open(&f, plain);
    accept(&f, "{\"user\":196,\"item\":-9223372036854775808,\"id\":42.0}");
    assert_span(f.event.user, "196");
    assert_span(f.event.item, "-9223372036854775808");
    assert_span(f.event.id, "42");
    refuse(&f, STATUS_MALFORMED, "no-user", "{\"user\":1.5,\"item\":\"i\"}");
    refuse(&f, STATUS_MALFORMED, "no-item", "{\"user\":1,\"item\":{\"id\":1}}");
    fixture_close(&f);
}

static void metarank_events_are_read(void **state) {
    (void)state;
    struct fixture f;
    fixture_open(&f, plain);
    accept(&f, "{\"event\":\"interaction\",\"id\":\"0f4c\",\"ranking\":\"81f4\","
               "\"timestamp\":\"1599391467000\",\"user\":\"user1\",\"session\":\"s1\","
               "\"type\":\"purchase\",\"item\":\"item1\",\"fields\":[]}");
    assert_int_equal(f.event.kind, EVENT_INTERACTION);
    assert_int_equal(f.event.time_ms, INT64_C(1599391467000));
    assert_span(f.event.type, "purchase");

    accept(&f, "{\"event\":\"item\",\"id\":\"8f1e\",\"item\":\"item1\",\"timestamp\":"
               "\"1599391467000\",\"fields\":[{\"name\":\"price\",\"value\":69.0},"
               "{\"name\":\"title\",\"value\":\"You favourite cat\"}]}");
    assert_int_equal(f.event.kind, EVENT_ITEM);
    assert_true(f.event.has_title);
    assert_span(f.event.title, "You favourite cat");

    accept(&f, "{\"event\":\"user\",\"id\":\"7\",\"user\":\"u\",\"fields\":[]}");
    assert_int_equal(f.event.kind, EVENT_IGNORED);
    accept(&f, "{\"event\":\"ranking\",\"id\":\"7\",\"items\":[{\"id\":\"i\"}]}");
    assert_int_equal(f.event.kind, EVENT_IGNORED);
    refuse(&f, STATUS_MALFORMED, "bad-kind", "{\"event\":\"dance\",\"user\":\"u\"}");
    refuse(&f, STATUS_MALFORMED, "bad-kind", "{\"event\":7,\"user\":\"u\"}");
    fixture_close(&f);
}

static void times_are_recognised_by_magnitude_or_as_iso(void **state) {
    (void)state;
    static const struct {
        const char *text;
        int64_t ms;
    } cases[] = {
        {"874965758", INT64_C(874965758000)},
        {"\"874965758\"", INT64_C(874965758000)},
        {"1599391467.25", INT64_C(1599391467250)},
        {"1599391467123", INT64_C(1599391467123)},
        {"1599391467123456", INT64_C(1599391467123)},
        {"\"1.599391467e9\"", INT64_C(1599391467000)},
        {"\"1970-01-01\"", 0},
        {"\"2024-02-29T12:30:00Z\"", INT64_C(1709209800000)},
        {"\"2024-02-29T12:30:00.5+01:00\"", INT64_C(1709206200500)},
        {"\"2024-02-29 12:30\"", INT64_C(1709209800000)},
        {"\"2024-02-29T12:30:00.123456789-0330\"", INT64_C(1709222400123)},
        {"\"1999-12-31T23:59:60Z\"", INT64_C(946684800000)},
        {"0", 0},
    };
    struct fixture f;
    fixture_open(&f, plain);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char text[128];
        (void)snprintf(text, sizeof text, "{\"user\":1,\"item\":2,\"timestamp\":%s}",
                       cases[i].text);
        accept(&f, text);
        assert_int_equal(f.event.time_ms, cases[i].ms);
    }
    fixture_close(&f);
}

static void a_pinned_unit_overrules_magnitude(void **state) {
    (void)state;
    struct inbound_settings settings = {.timestamp_unit = TIMESTAMP_MS};
    struct fixture f;
    fixture_open(&f, settings);
    accept(&f, "{\"user\":1,\"item\":2,\"timestamp\":874965758}");
    assert_int_equal(f.event.time_ms, 874965758);
    fixture_close(&f);
}

static void absurd_times_are_refused(void **state) {
    (void)state;
    static const char *const cases[] = {"-1",
                                        "1e300",
                                        "99999999999",
                                        "123456789012345678",
                                        "\"yesterday\"",
                                        "\"2024-02-30\"",
                                        "\"2023-02-29T00:00:00Z\"",
                                        "\"2024-01-01T25:00:00Z\"",
                                        "\"2024-01-01T10:61Z\"",
                                        "\"2024-01-01T10:00:00+99:00\"",
                                        "\"2300-01-01\"",
                                        "\"1969-12-31T23:59:59Z\"",
                                        "\"inf\"",
                                        "\"0x10\"",
                                        "true",
                                        "{}",
                                        "\"\""};
    struct fixture f;
    fixture_open(&f, plain);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char text[128];
        (void)snprintf(text, sizeof text, "{\"user\":1,\"item\":2,\"timestamp\":%s}", cases[i]);
        refuse(&f, STATUS_MALFORMED, "bad-time", text);
    }
    fixture_close(&f);
}

static void an_absent_time_is_the_records(void **state) {
    (void)state;
    struct fixture f;
    fixture_open(&f, plain);
    accept(&f, "{\"user\":1,\"item\":2}");
    assert_int_equal(f.event.time_ms, INT64_C(1700000000000));

    struct stream_record record = {
        .topic = STREAM_EVENTS, .timestamp_ms = -1, .value = span_of("{\"user\":1,\"item\":2}")};
    ASSERT_STATUS(inbound_decode(f.inbound, &record, &f.event, &f.reason, &f.err),
                  STATUS_MALFORMED);
    assert_string_equal(f.reason, "bad-time");
    fixture_close(&f);
}

static void incomplete_events_are_refused(void **state) {
    (void)state;
    struct fixture f;
    fixture_open(&f, plain);
    refuse(&f, STATUS_MALFORMED, "no-user", "{}");
    refuse(&f, STATUS_MALFORMED, "no-user", "{\"user\":\"\",\"item\":\"i\"}");
    refuse(&f, STATUS_MALFORMED, "no-item", "{\"user\":\"u\"}");
    refuse(&f, STATUS_MALFORMED, "no-item", "{\"event\":\"item\",\"title\":\"T\"}");
    refuse(&f, STATUS_MALFORMED, "bad-field", "{\"user\":1,\"item\":2,\"id\":[]}");
    refuse(&f, STATUS_MALFORMED, "bad-field", "{\"user\":1,\"item\":2,\"hidden\":\"yes\"}");
    refuse(&f, STATUS_MALFORMED, "bad-field", "{\"user\":\"a\\u0000b\",\"item\":2}");
    refuse(&f, STATUS_MALFORMED, "bad-strength", "{\"user\":1,\"item\":2,\"rating\":\"good\"}");
    refuse(&f, STATUS_MALFORMED, "bad-strength", "{\"user\":1,\"item\":2,\"rating\":1e31}");
    fixture_close(&f);
}

static void what_is_not_json_is_refused(void **state) {
    (void)state;
    static const char *const cases[] = {"{",
                                        "{\"user\":}",
                                        "[1]",
                                        "[]",
                                        "[{\"user\":1,\"item\":2},{\"user\":1,\"item\":2}]",
                                        "{\"user\":1,\"item\":2} x",
                                        "{'user':1}",
                                        "{\"user\":\"\\ud800\",\"item\":1}",
                                        "{\"user\":99999999999999999999,\"item\":1}"};
    struct fixture f;
    fixture_open(&f, plain);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        refuse(&f, STATUS_MALFORMED, "not-json", cases[i]);
    }
    refuse(&f, STATUS_MALFORMED, "not-utf8", "{\"user\":\"\xff\",\"item\":1}");
    refuse(&f, STATUS_MALFORMED, "not-utf8", "{\"user\":\"\xc0\x80\",\"item\":1}");
    fixture_close(&f);
}

static void one_object_may_stand_in_an_array(void **state) {
    (void)state;
    struct fixture f;
    fixture_open(&f, plain);
    accept(&f, " \n[{\"user\":1,\"item\":\"\xc3\xa9\"}]");
    assert_span(f.event.item, "\xc3\xa9");
    fixture_close(&f);
}

static void limits_are_kept_to_the_byte(void **state) {
    (void)state;
    static char text[EVENT_BYTES_MAX + 64];
    static char longest[TITLE_BYTES_MAX + 2];
    struct fixture f;
    fixture_open(&f, plain);
    memset(longest, 'x', sizeof longest - 1);

    (void)snprintf(text, sizeof text, "{\"user\":\"%.256s\",\"item\":1}", longest);
    accept(&f, text);
    (void)snprintf(text, sizeof text, "{\"user\":\"%.257s\",\"item\":1}", longest);
    refuse(&f, STATUS_LIMIT, "id-too-long", text);
    (void)snprintf(text, sizeof text, "{\"user\":1,\"item\":1,\"id\":\"%.257s\"}", longest);
    refuse(&f, STATUS_LIMIT, "id-too-long", text);
    (void)snprintf(text, sizeof text, "{\"event\":\"item\",\"item\":1,\"title\":\"%.512s\"}",
                   longest);
    accept(&f, text);
    (void)snprintf(text, sizeof text, "{\"event\":\"item\",\"item\":1,\"title\":\"%.513s\"}",
                   longest);
    refuse(&f, STATUS_LIMIT, "title-too-long", text);

    int head = snprintf(text, sizeof text, "{\"user\":1,\"item\":1}");
    memset(text + head, ' ', EVENT_BYTES_MAX + 1 - (size_t)head);
    text[EVENT_BYTES_MAX] = '\0';
    accept(&f, text);
    text[EVENT_BYTES_MAX] = ' ';
    text[EVENT_BYTES_MAX + 1] = '\0';
    refuse(&f, STATUS_LIMIT, "too-large", text);
    fixture_close(&f);
}

static void depth_is_limited(void **state) {
    (void)state;
    struct fixture f;
    fixture_open(&f, plain);
    accept(&f, "{\"user\":1,\"item\":1,\"x\":[[[[[[[[[[[[[[[\"]]}\"]]]]]]]]]]]]]]]}");
    refuse(&f, STATUS_LIMIT, "too-deep",
           "{\"user\":1,\"item\":1,\"x\":[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]}");
    fixture_close(&f);
}

static void control_records_are_read_in_json(void **state) {
    (void)state;
    struct fixture f;
    fixture_open(&f, plain);
    accept(&f, "{\"event\":\"control\",\"command\":\"forget_user\",\"user\":42}");
    assert_int_equal(f.event.kind, EVENT_CONTROL);
    assert_int_equal(f.event.command, CONTROL_FORGET_USER);
    assert_span(f.event.user, "42");
    accept(&f, "{\"event\":\"control\",\"command\":\"rollback\",\"version\":17}");
    assert_int_equal(f.event.version, 17);
    accept(&f, "{\"event\":\"control\",\"command\":\"set\",\"key\":\"train.replay\","
               "\"value\":0.25}");
    assert_span(f.event.key, "train.replay");
    assert_span(f.event.value, "0.25");
    ASSERT_OK(fixture_decode(&f, STREAM_CONTROL, span_of("{\"command\":\"publish_now\"}")), f.err);
    assert_int_equal(f.event.command, CONTROL_PUBLISH_NOW);
    refuse(&f, STATUS_MALFORMED, "bad-control", "{\"event\":\"control\",\"command\":\"explode\"}");
    refuse(&f, STATUS_MALFORMED, "bad-control", "{\"event\":\"control\"}");
    refuse(&f, STATUS_MALFORMED, "bad-control",
           "{\"event\":\"control\",\"command\":\"rollback\",\"version\":-1}");
    refuse(&f, STATUS_MALFORMED, "bad-control",
           "{\"event\":\"control\",\"command\":\"forget_user\"}");
    fixture_close(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_name_of_the_user_is_accepted),
        cmocka_unit_test(every_name_of_the_item_is_accepted),
        cmocka_unit_test(every_name_of_id_type_time_and_strength_is_accepted),
        cmocka_unit_test(of_two_names_the_first_of_the_table_counts),
        cmocka_unit_test(names_from_the_settings_come_first),
        cmocka_unit_test(ids_may_be_numbers),
        cmocka_unit_test(metarank_events_are_read),
        cmocka_unit_test(times_are_recognised_by_magnitude_or_as_iso),
        cmocka_unit_test(a_pinned_unit_overrules_magnitude),
        cmocka_unit_test(absurd_times_are_refused),
        cmocka_unit_test(an_absent_time_is_the_records),
        cmocka_unit_test(incomplete_events_are_refused),
        cmocka_unit_test(what_is_not_json_is_refused),
        cmocka_unit_test(one_object_may_stand_in_an_array),
        cmocka_unit_test(limits_are_kept_to_the_byte),
        cmocka_unit_test(depth_is_limited),
        cmocka_unit_test(control_records_are_read_in_json),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
