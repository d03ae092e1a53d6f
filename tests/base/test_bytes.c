/* SPDX-License-Identifier: Apache-2.0
 *
 * test_bytes.c - spans, UTF-8, the buffer's limit, integers in bytes.
 */
#include "base/bytes.h"

#include "tests/support/fault.h"
#include "tests/support/unit.h"

static void text_ends_with_its_last_letters_only(void **state) {
    (void)state;
    assert_true(text_ends_with("ml-100k.inter", ".inter"));
    assert_true(text_ends_with(".inter", ".inter"));
    assert_true(text_ends_with("a", ""));
    assert_false(text_ends_with("inter", ".inter"));
    assert_false(text_ends_with("ml-100k.inter.gz", ".inter"));
}

static void order_is_bytewise_and_shorter_first(void **state) {
    (void)state;
    assert_true(span_compare(span_of("a"), span_of("b")) < 0);
    assert_true(span_compare(span_of("ab"), span_of("a")) > 0);
    assert_true(span_compare(span_of(""), span_of("a")) < 0);
    assert_int_equal(span_compare(span_of("ab"), span_of("ab")), 0);
    assert_true(span_compare(span_of("\xff"), span_of("a")) > 0);
    assert_int_equal(span_compare((struct span){0}, (struct span){0}), 0);
}

/* RFC 3629, section 4, and the boundary cases of Kuhn's UTF-8 stress test. */
static void utf8_takes_the_well_formed_and_refuses_the_rest(void **state) {
    (void)state;
    static const char *const good[] = {
        "",
        "plain ascii, longer than one word of eight",
        "\xC2\x80",
        "\xDF\xBF",
        "\xE0\xA0\x80",
        "\xED\x9F\xBF",
        "\xEE\x80\x80",
        "\xEF\xBF\xBF",
        "\xF0\x90\x80\x80",
        "\xF4\x8F\xBF\xBF",
        "12345678\xC3\xA9",
    };
    static const char *const bad[] = {
        "\x80",             /* lonely continuation */
        "\xC0\xAF",         /* overlong */
        "\xC1\xBF",         /* overlong */
        "\xE0\x9F\xBF",     /* overlong */
        "\xF0\x8F\xBF\xBF", /* overlong */
        "\xED\xA0\x80",     /* surrogate */
        "\xED\xBF\xBF",     /* surrogate */
        "\xF4\x90\x80\x80", /* beyond U+10FFFF */
        "\xF5\x80\x80\x80", /* never a lead */
        "\xC2",             /* cut */
        "\xE2\x82",         /* cut */
        "\xF0\x9F\x98",     /* cut */
        "\xE2\x28\xA1",     /* not a continuation */
        "12345678\xC3",     /* cut behind a whole word */
        "\xFF",
    };
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        if (!span_is_utf8(span_of(good[i]))) { fail_msg("good text %zu refused", i); }
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        if (span_is_utf8(span_of(bad[i]))) { fail_msg("bad text %zu accepted", i); }
    }
}

static void a_buffer_grows_to_its_limit_and_no_further(void **state) {
    (void)state;
    struct buffer buffer = {.limit = 1000};

    for (int i = 0; i < 100; i++) {
        ASSERT_STATUS(buffer_append(&buffer, "0123456789", 10), STATUS_OK);
    }
    ASSERT_STATUS(buffer_append(&buffer, "x", 1), STATUS_LIMIT);
    assert_int_equal(buffer.size, 1000);
    assert_true(buffer.capacity <= 1000);
    assert_memory_equal(buffer.data + 990, "0123456789", 10);
    ASSERT_STATUS(buffer_append(&buffer, NULL, 0), STATUS_OK);
    ASSERT_STATUS(buffer_reserve(&buffer, SIZE_MAX), STATUS_LIMIT);

    buffer_reset(&buffer);
    ASSERT_STATUS(buffer_append(&buffer, "again", 5), STATUS_OK);
    buffer_free(&buffer);
    buffer_free(&buffer);
}

static void formatting_may_fill_a_buffer_to_the_last_byte(void **state) {
    (void)state;
    struct buffer buffer = {.limit = 8};

    ASSERT_STATUS(buffer_append_format(&buffer, "%s", "123456789"), STATUS_LIMIT);
    assert_int_equal(buffer.size, 0);
    ASSERT_STATUS(buffer_append_format(&buffer, "%d%s", 1234, "5678"), STATUS_OK);
    assert_int_equal(buffer.size, 8);
    assert_memory_equal(buffer.data, "12345678", 8);
    buffer_free(&buffer);
}

static enum status append_twice(void *context) {
    (void)context;
    struct buffer buffer = {.size = 0};
    char big[1000] = {0};
    enum status status = buffer_append(&buffer, "small", 5);
    if (status == STATUS_OK) { status = buffer_append(&buffer, big, sizeof big); }
    if (status == STATUS_NO_MEMORY) { assert_true(buffer.size == 0 || buffer.size == 5); }
    buffer_free(&buffer);
    return status;
}

static void a_buffer_without_memory_keeps_what_it_had(void **state) {
    (void)state;
    assert_int_equal(fault_sweep(FAULT_MEMORY, STATUS_NO_MEMORY, append_twice, NULL), 2);
}

static void integers_come_back_and_big_endian_sorts(void **state) {
    (void)state;
    uint8_t a[8];
    uint8_t b[8];

    put_u16le(a, 0xBEEF);
    assert_int_equal(get_u16le(a), 0xBEEF);
    put_u32le(a, 0x01020304);
    assert_int_equal(a[0], 4);
    assert_int_equal(get_u32le(a), 0x01020304);
    put_u64le(a, UINT64_C(0x0102030405060708));
    assert_int_equal(a[7], 1);
    assert_true(get_u64le(a) == UINT64_C(0x0102030405060708));
    put_u32be(a, 0x01020304);
    assert_int_equal(a[0], 1);
    assert_int_equal(get_u32be(a), 0x01020304);
    put_u64be(a, 255);
    put_u64be(b, 256);
    assert_true(memcmp(a, b, 8) < 0);
    assert_true(get_u64be(b) == 256);
}

static void varints_come_back_and_bad_ones_are_refused(void **state) {
    (void)state;
    static const uint64_t values[] = {0, 1, 127, 128, 300, UINT32_MAX, INT64_MAX, UINT64_MAX};
    uint8_t bytes[10];
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        uint64_t back = 42;
        size_t size = put_varint(bytes, values[i]);
        assert_int_equal(get_varint(span_make(bytes, size), &back), size);
        assert_true(back == values[i]);
        back = 42;
        assert_int_equal(get_varint(span_make(bytes, size - 1), &back), 0);
        assert_true(back == 42);
    }

    uint64_t back = 42;
    static const uint8_t endless[12] = {0x80, 0x80, 0x80, 0x80, 0x80, 0x80,
                                        0x80, 0x80, 0x80, 0x80, 0x80, 0x80};
    static const uint8_t bit65[10] = {0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x02};
    assert_int_equal(get_varint(span_make(endless, sizeof endless), &back), 0);
    assert_int_equal(get_varint(span_make(bit65, sizeof bit65), &back), 0);
    assert_true(back == 42);
}

static void hexadecimal_is_exact(void **state) {
    (void)state;
    const uint8_t bytes[3] = {0x00, 0xAB, 0xFF};
    char text[7];
    uint8_t back[3] = {1, 2, 3};

    hex_encode(bytes, 3, text);
    assert_string_equal(text, "00abff");
    assert_true(hex_decode("00ABff", back, 3));
    assert_memory_equal(back, bytes, 3);
    back[0] = 7;
    assert_false(hex_decode("00abf", back, 3));
    assert_false(hex_decode("00abff0", back, 3));
    assert_false(hex_decode("00abfg", back, 3));
    assert_int_equal(back[0], 7);
}

static void decimal_numbers_are_taken_whole_or_not_at_all(void **state) {
    (void)state;
    static const char *const bad_integers[] = {"",
                                               "-",
                                               "+",
                                               " 1",
                                               "1 ",
                                               "1.",
                                               "0x1",
                                               "--1",
                                               "1e3",
                                               "9223372036854775808",
                                               "-9223372036854775809",
                                               "99999999999999999999999"};
    static const char *const bad_reals[] = {"",   ".",  "-",     "nan", "inf", "0x1",
                                            " 1", "1 ", "1e999", "1e",  "1..2"};
    int64_t integer = 7;
    double real = 7;
    for (size_t i = 0; i < sizeof bad_integers / sizeof bad_integers[0]; i++) {
        if (span_integer(span_of(bad_integers[i]), &integer)) { fail_msg("%s", bad_integers[i]); }
    }
    for (size_t i = 0; i < sizeof bad_reals / sizeof bad_reals[0]; i++) {
        if (span_real(span_of(bad_reals[i]), &real)) { fail_msg("%s", bad_reals[i]); }
    }
    assert_true(integer == 7 && real == 7);

    assert_true(span_integer(span_of("-9223372036854775808"), &integer) && integer == INT64_MIN);
    assert_true(span_integer(span_of("9223372036854775807"), &integer) && integer == INT64_MAX);
    assert_true(span_integer(span_of("+007"), &integer) && integer == 7);
    assert_true(span_integer(span_of("-0"), &integer) && integer == 0);
    assert_true(span_real(span_of("-.5"), &real) && real == -0.5);
    assert_true(span_real(span_of("1e-3"), &real) && real == 1e-3);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_ends_with_its_last_letters_only),
        cmocka_unit_test(order_is_bytewise_and_shorter_first),
        cmocka_unit_test(utf8_takes_the_well_formed_and_refuses_the_rest),
        cmocka_unit_test(a_buffer_grows_to_its_limit_and_no_further),
        cmocka_unit_test(formatting_may_fill_a_buffer_to_the_last_byte),
        cmocka_unit_test(a_buffer_without_memory_keeps_what_it_had),
        cmocka_unit_test(integers_come_back_and_big_endian_sorts),
        cmocka_unit_test(varints_come_back_and_bad_ones_are_refused),
        cmocka_unit_test(decimal_numbers_are_taken_whole_or_not_at_all),
        cmocka_unit_test(hexadecimal_is_exact),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
