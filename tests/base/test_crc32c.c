/* SPDX-License-Identifier: Apache-2.0
 *
 * test_crc32c.c - the vectors of RFC 3720, appendix B.4, by both ways of computing.
 */
#include "base/hash.h"

#include "tests/support/unit.h"

static void assert_crc(const uint8_t *data, size_t size, uint32_t expected) {
    assert_int_equal(crc32c(0, data, size), expected);
    assert_int_equal(crc32c_by_tables(0, data, size), expected);
}

static void known_answers_of_rfc_3720(void **state) {
    (void)state;
    uint8_t data[48];

    memset(data, 0, 32);
    assert_crc(data, 32, 0x8A9136AA);
    memset(data, 0xFF, 32);
    assert_crc(data, 32, 0x62A8AB43);
    for (int i = 0; i < 32; i++) {
        data[i] = (uint8_t)i;
    }
    assert_crc(data, 32, 0x46DD794E);
    for (int i = 0; i < 32; i++) {
        data[i] = (uint8_t)(31 - i);
    }
    assert_crc(data, 32, 0x113FDB5C);
    assert_crc((const uint8_t *)"123456789", 9, 0xE3069283);

    /* An iSCSI SCSI Read (10) command PDU. */
    static const uint8_t pdu[48] = {0x01, 0xC0, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
                                    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x14, 0x00, 0x00, 0x00,
                                    0x00, 0x00, 0x04, 0x00, 0x00, 0x00, 0x00, 0x14, 0x00, 0x00,
                                    0x00, 0x18, 0x28, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
                                    0x02, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00};
    assert_crc(pdu, sizeof pdu, 0xD9963A56);
}

static void pieces_give_the_same_as_the_whole_at_every_cut(void **state) {
    (void)state;
    uint8_t data[67];
    for (size_t i = 0; i < sizeof data; i++) {
        data[i] = (uint8_t)(i * 37 + 11);
    }
    uint32_t whole = crc32c(0, data, sizeof data);
    assert_int_equal(whole, crc32c_by_tables(0, data, sizeof data));
    for (size_t cut = 0; cut <= sizeof data; cut++) {
        uint32_t first = crc32c(0, data, cut);
        assert_int_equal(first, crc32c_by_tables(0, data, cut));
        assert_int_equal(crc32c(first, data + cut, sizeof data - cut), whole);
        assert_int_equal(crc32c_by_tables(first, data + cut, sizeof data - cut), whole);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_answers_of_rfc_3720),
        cmocka_unit_test(pieces_give_the_same_as_the_whole_at_every_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
