/* SPDX-License-Identifier: Apache-2.0
 *
 * test_stream.c - partitions of keys are those of Kafka's own producer.
 */
#include "base/stream.h"

#include "tests/support/unit.h"

/* Hashes of Kafka's own test of Utils.murmur2; partition = (hash & 0x7fffffff) % count. */
static void partitions_are_those_of_kafka(void **state) {
    (void)state;
    static const struct {
        const char *key;
        int32_t hash;
    } cases[] = {
        {"21", -973932308},
        {"foobar", -790332482},
        {"a-little-bit-long-string", -985981536},
        {"a-little-bit-longer-string", -1486304829},
        {"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971},
        {"abc", 479470107},
    };
    static const int32_t counts[] = {1, 2, 3, 4, 7, 12, 1000, INT32_MAX};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        for (size_t j = 0; j < sizeof counts / sizeof counts[0]; j++) {
            int32_t expected = (int32_t)(cases[i].hash & 0x7fffffff) % counts[j];
            assert_int_equal(stream_partition_of_key(span_of(cases[i].key), counts[j]), expected);
        }
    }
}

static void a_record_without_a_key_goes_to_partition_0(void **state) {
    (void)state;
    assert_int_equal(stream_partition_of_key((struct span){0}, 12), 0);
}

static void topics_have_the_names_of_their_roles(void **state) {
    (void)state;
    assert_string_equal(stream_topic_name(STREAM_EVENTS), "events");
    assert_string_equal(stream_topic_name(STREAM_DLQ), "dlq");
    for (int i = 0; i < STREAM_TOPIC_COUNT; i++) {
        for (int j = 0; j < i; j++) {
            assert_string_not_equal(stream_topic_name((enum stream_topic)i),
                                    stream_topic_name((enum stream_topic)j));
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(partitions_are_those_of_kafka),
        cmocka_unit_test(a_record_without_a_key_goes_to_partition_0),
        cmocka_unit_test(topics_have_the_names_of_their_roles),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
