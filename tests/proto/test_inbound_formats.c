/* SPDX-License-Identifier: Apache-2.0
 *
 * test_inbound_formats.c - protobuf and framed protobuf in, null values, and failing allocations.
 */
#include "tests/proto/inbound_fixture.h"

#include "proto/ilora.pb-c.h"

#include "base/fault.h"

static const struct inbound_settings plain;

static struct span pack(const Ilora__V1__Event *event, uint8_t *bytes) {
    return span_make(bytes, ilora__v1__event__pack(event, bytes));
}

static void a_protobuf_event_is_read(void **state) {
    (void)state;
    Ilora__V1__Event message;
    ilora__v1__event__init(&message);
    char user[] = "ada";
    char item[] = "book";
    char type[] = "play";
    message.user = user;
    message.item = item;
    message.type = type;
    message.timestamp_ms = INT64_C(1599391467123);
    message.strength = 3.0f;
    message.has_strength = 1;
    uint8_t bytes[256];
    struct fixture f;
    fixture_open(&f, plain);
    ASSERT_OK(fixture_decode(&f, STREAM_EVENTS, pack(&message, bytes)), f.err);
    assert_span(f.event.user, "ada");
    assert_span(f.event.item, "book");
    assert_span(f.event.type, "play");
    assert_int_equal(f.event.id.size, 0);
    assert_int_equal(f.event.time_ms, INT64_C(1599391467123));
    assert_true(f.event.has_strength);

    message.timestamp_ms = 0;
    ASSERT_OK(fixture_decode(&f, STREAM_EVENTS, pack(&message, bytes)), f.err);
    assert_int_equal(f.event.time_ms, INT64_C(1700000000000));
    message.timestamp_ms = -5;
    ASSERT_STATUS(fixture_decode(&f, STREAM_EVENTS, pack(&message, bytes)), STATUS_MALFORMED);
    assert_string_equal(f.reason, "bad-time");
    fixture_close(&f);
}

static void the_topic_gives_the_kind_that_is_absent(void **state) {
    (void)state;
    Ilora__V1__Event message;
    ilora__v1__event__init(&message);
    char item[] = "book";
    char title[] = "A Book";
    message.item = item;
    message.title = title;
    uint8_t bytes[256];
    struct fixture f;
    fixture_open(&f, plain);
    ASSERT_OK(fixture_decode(&f, STREAM_ITEMS, pack(&message, bytes)), f.err);
    assert_int_equal(f.event.kind, EVENT_ITEM);
    assert_span(f.event.title, "A Book");
    ASSERT_OK(fixture_decode(&f, STREAM_ITEMS, span_of("{\"item\":7,\"title\":\"T\"}")), f.err);
    assert_int_equal(f.event.kind, EVENT_ITEM);

    Ilora__V1__Control control;
    ilora__v1__control__init(&control);
    char command[] = "hide_item";
    control.command = command;
    control.item = item;
    message.control = &control;
    message.kind = ILORA__V1__EVENT_KIND__CONTROL;
    ASSERT_OK(fixture_decode(&f, STREAM_EVENTS, pack(&message, bytes)), f.err);
    assert_int_equal(f.event.command, CONTROL_HIDE_ITEM);
    assert_span(f.event.item, "book");
    fixture_close(&f);
}

static void a_null_value_hides_the_item_of_its_key(void **state) {
    (void)state;
    struct fixture f;
    fixture_open(&f, plain);
    struct stream_record record = {.topic = STREAM_ITEMS, .timestamp_ms = 5, .key = span_of("b7")};
    ASSERT_OK(inbound_decode(f.inbound, &record, &f.event, &f.reason, &f.err), f.err);
    assert_int_equal(f.event.kind, EVENT_ITEM);
    assert_true(f.event.hidden);
    assert_span(f.event.item, "b7");

    record.key = span_make(NULL, 0);
    ASSERT_STATUS(inbound_decode(f.inbound, &record, &f.event, &f.reason, &f.err),
                  STATUS_MALFORMED);
    assert_string_equal(f.reason, "no-item");
    record.topic = STREAM_EVENTS;
    ASSERT_STATUS(inbound_decode(f.inbound, &record, &f.event, &f.reason, &f.err),
                  STATUS_MALFORMED);
    assert_string_equal(f.reason, "no-user");
    record.topic = STREAM_CONTROL;
    ASSERT_STATUS(inbound_decode(f.inbound, &record, &f.event, &f.reason, &f.err),
                  STATUS_MALFORMED);
    assert_string_equal(f.reason, "bad-control");
    fixture_close(&f);
}

/* [0] short, [0] zig-zag, [0] plain, [1,0] zig-zag, [2,0,0] plain with three indexes. */
static void every_form_of_message_indexes_is_read(void **state) {
    (void)state;
    static const struct {
        uint8_t bytes[4];
        size_t size;
    } heads[] = {{{0}, 1}, {{2, 0}, 2}, {{1, 0}, 2}, {{4, 2, 0}, 3}, {{3, 2, 0, 0}, 4}};
    Ilora__V1__Event message;
    ilora__v1__event__init(&message);
    char user[] = "ada";
    char item[] = "book";
    message.user = user;
    message.item = item;
    struct fixture f;
    fixture_open(&f, plain);
    for (size_t i = 0; i < sizeof heads / sizeof heads[0]; i++) {
        uint8_t bytes[256] = {0, 0, 0, 1, 44};
        memcpy(bytes + 5, heads[i].bytes, heads[i].size);
        size_t size = 5 + heads[i].size;
        size += ilora__v1__event__pack(&message, bytes + size);
        ASSERT_OK(fixture_decode(&f, STREAM_EVENTS, span_make(bytes, size)), f.err);
        assert_span(f.event.user, "ada");
    }
    fixture_close(&f);
}

static void a_bad_frame_is_refused(void **state) {
    (void)state;
    static const struct {
        uint8_t bytes[8];
        size_t size;
    } frames[] = {{{0}, 1},
                  {{0, 0, 0, 0, 1}, 5},
                  {{0, 0, 0, 0, 1, 2}, 6},
                  {{0, 0, 0, 0, 1, 0x80}, 6},
                  {{0, 0, 0, 0, 1, 100, 1}, 7}};
    struct fixture f;
    fixture_open(&f, plain);
    for (size_t i = 0; i < sizeof frames / sizeof frames[0]; i++) {
        struct span frame = span_make(frames[i].bytes, frames[i].size);
        ASSERT_STATUS(fixture_decode(&f, STREAM_EVENTS, frame), STATUS_MALFORMED);
        assert_string_equal(f.reason, "bad-frame");
    }
    fixture_close(&f);

    struct inbound_settings framed = {.format = INBOUND_FRAMED};
    fixture_open(&f, framed);
    refuse(&f, STATUS_MALFORMED, "bad-frame", "{\"user\":1,\"item\":2}");
    fixture_close(&f);
}

static void what_is_not_protobuf_is_refused(void **state) {
    (void)state;
    struct fixture f;
    fixture_open(&f, plain);
    refuse(&f, STATUS_MALFORMED, "not-protobuf", "hello");
    refuse(&f, STATUS_MALFORMED, "not-protobuf", "\x1a\x7f");
    refuse(&f, STATUS_MALFORMED, "not-protobuf", "\x18\x01"); /* user as a number */
    refuse(&f, STATUS_MALFORMED, "bad-kind", "\x08\x09");     /* kind 9 */
    refuse(&f, STATUS_MALFORMED, "no-user", "");              /* nothing at all */
    refuse(&f, STATUS_MALFORMED, "not-utf8", "\x1a\x01\xff\x22\x01i");
    struct span nul = span_make("\x1a\x03"
                                "a\0b"
                                "\x22\x01i",
                                8);
    ASSERT_STATUS(fixture_decode(&f, STREAM_EVENTS, nul), STATUS_MALFORMED);
    assert_string_equal(f.reason, "not-protobuf");
    ASSERT_CONTAINS(f.err.text, "'user' holds a NUL byte");
    fixture_close(&f);
}

static void unknown_fields_are_ignored(void **state) {
    (void)state;
    struct fixture f;
    fixture_open(&f, plain);
    accept(&f, "\x1a\x01u\x22\x01i\x9a\x06\x03xyz\xa0\x06\x05");
    assert_span(f.event.user, "u");
    accept(&f, "{\"user\":1,\"item\":2,\"colour\":{\"red\":[1,2]}}");
    fixture_close(&f);
}

static void a_pinned_format_is_not_guessed(void **state) {
    (void)state;
    struct inbound_settings json = {.format = INBOUND_JSON};
    struct fixture f;
    fixture_open(&f, json);
    refuse(&f, STATUS_MALFORMED, "not-json", "\x1a\x01u\x22\x01i");
    fixture_close(&f);
    struct inbound_settings protobuf = {.format = INBOUND_PROTOBUF};
    fixture_open(&f, protobuf);
    refuse(&f, STATUS_MALFORMED, "not-protobuf", "{\"user\":1,\"item\":2}");
    fixture_close(&f);
}

/* Each allocation fails once: the record is not accepted and the decoder goes on. jansson words
 * some failed allocations as syntax errors, so both statuses may come. */
static void a_failing_allocation_never_gives_an_event(void **state) {
    (void)state;
    const char *text = "{\"user\":\"u\",\"item\":\"i\",\"ts\":5,\"id\":\"e\"}";
    struct fixture f;
    fixture_open(&f, plain);
    for (long nth = 1; nth < 200; nth++) {
        fault_arm(FAULT_MEMORY, nth);
        enum status status = fixture_decode(&f, STREAM_EVENTS, span_of(text));
        bool fired = fault_fired(FAULT_MEMORY);
        fault_arm(FAULT_MEMORY, 0);
        if (!fired) {
            ASSERT_OK(status, f.err);
            assert_true(nth > 3);
            fixture_close(&f);
            return;
        }
        assert_true(status == STATUS_NO_MEMORY || status == STATUS_MALFORMED);
        assert_true((status == STATUS_NO_MEMORY) == (f.reason == NULL));
        accept(&f, text);
    }
    fail_msg("the fault never stopped firing");
}

static void a_decoder_that_cannot_start_leaves_nothing(void **state) {
    (void)state;
    for (long nth = 1; nth <= 2; nth++) {
        struct inbound *inbound = NULL;
        struct error err;
        fault_arm(FAULT_MEMORY, nth);
        enum status status = inbound_init(&plain, &inbound, &err);
        fault_arm(FAULT_MEMORY, 0);
        ASSERT_STATUS(status, STATUS_NO_MEMORY);
        assert_null(inbound);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_protobuf_event_is_read),
        cmocka_unit_test(the_topic_gives_the_kind_that_is_absent),
        cmocka_unit_test(a_null_value_hides_the_item_of_its_key),
        cmocka_unit_test(every_form_of_message_indexes_is_read),
        cmocka_unit_test(a_bad_frame_is_refused),
        cmocka_unit_test(what_is_not_protobuf_is_refused),
        cmocka_unit_test(unknown_fields_are_ignored),
        cmocka_unit_test(a_pinned_format_is_not_guessed),
        cmocka_unit_test(a_failing_allocation_never_gives_an_event),
        cmocka_unit_test(a_decoder_that_cannot_start_leaves_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
