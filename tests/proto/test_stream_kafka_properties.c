/* SPDX-License-Identifier: Apache-2.0
 *
 * test_stream_kafka_properties.c - what an operator may pass to librdkafka, and what not.
 */
#include "tests/support/unit.h"

#include "base/fault.h"
#include "proto/stream_kafka.h"

static void ordinary_properties_pass(void **state) {
    (void)state;
    static const struct stream_kafka_property properties[] = {
        {"client.id", "shop-7"},
        {"security.protocol", "sasl_ssl"},
        {"sasl.mechanisms", "PLAIN"},
        {"sasl.username", "u"},
        {"sasl.password", "p"},
        {"compression.codec", "lz4"},
        {"fetch.wait.max.ms", "50"},
        {"socket.keepalive.enable", "true"},
        {"ssl.ca.location", "/etc/ca.pem"},
        {"linger.ms", "20"},
    };
    struct error err;
    for (size_t i = 0; i < sizeof properties / sizeof properties[0]; i++) {
        ASSERT_OK(stream_kafka_property_check(properties[i].name, properties[i].value, &err), err);
    }
}

static void what_loads_code_or_runs_commands_is_refused(void **state) {
    (void)state;
    static const char *const names[] = {"plugin.library.paths", "sasl.kerberos.kinit.cmd",
                                        "ssl.engine.location", "ssl.engine.id",
                                        "test.mock.num.brokers"};
    struct error err;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        ASSERT_STATUS(stream_kafka_property_check(names[i], "1", &err), STATUS_CONFIG);
        ASSERT_CONTAINS(err.text, names[i]);
        ASSERT_CONTAINS(err.text, "may not be set: it");
    }
}

static void what_would_break_the_protocol_is_refused_with_the_reason(void **state) {
    (void)state;
    static const char *const names[] = {
        "enable.auto.commit",   "isolation.level",        "transactional.id",  "group.id",
        "auto.offset.reset",    "enable.idempotence",     "partitioner",       "bootstrap.servers",
        "enable.partition.eof", "statistics.interval.ms", "message.timeout.ms"};
    struct error err;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        ASSERT_STATUS(stream_kafka_property_check(names[i], "x", &err), STATUS_CONFIG);
        ASSERT_CONTAINS(err.text, "may not be set");
    }
}

static void unknown_names_and_bad_values_are_told_apart(void **state) {
    (void)state;
    struct error err;
    ASSERT_STATUS(stream_kafka_property_check("linger.msec", "5", &err), STATUS_CONFIG);
    ASSERT_CONTAINS(err.text, "has no property 'linger.msec'");
    ASSERT_STATUS(stream_kafka_property_check("linger.ms", "soon", &err), STATUS_CONFIG);
    ASSERT_CONTAINS(err.text, "linger.ms");
    ASSERT_STATUS(stream_kafka_property_check("internal.termination.signal", "5", &err),
                  STATUS_CONFIG);
    ASSERT_CONTAINS(err.text, "not one of those");
}

static struct stream_kafka_settings settings_of(const struct stream_kafka_property *property) {
    return (struct stream_kafka_settings){
        .bootstrap_servers = "127.0.0.1:1", /* nobody answers there, and nobody needs to */
        .transactional_id = "ilora.test.0",
        .topics = {"events", "items", "control", "predictions", "snapshots", "ledger"},
        .properties = property,
        .property_count = property != NULL ? 1 : 0,
        .transaction_timeout_ms = 10000,
        .message_max_bytes = 1000000,
    };
}

static void opening_needs_no_broker(void **state) {
    (void)state;
    struct stream_kafka_settings settings = settings_of(NULL);
    struct stream *stream = NULL;
    struct error err;
    ASSERT_OK(stream_kafka_open(&settings, &stream, &err), err);
    assert_string_equal(stream->ops->name, "kafka");
    assert_int_equal(stream->ops->lag(stream, STREAM_EVENTS, 0, 0), -1);
    assert_false(stream->ops->tainted(stream));
    ASSERT_STATUS(stream->ops->begin(stream, &err), STATUS_IO);
    int32_t count = 0;
    ASSERT_STATUS(stream->ops->partitions(stream, STREAM_DLQ, &count, &err), STATUS_NOT_FOUND);
    ASSERT_CONTAINS(err.text, "dlq");
    stream->ops->close(stream);
}

static void a_refused_property_stops_the_opening(void **state) {
    (void)state;
    static const struct stream_kafka_property bad = {"plugin.library.paths", "evil.so"};
    static const struct stream_kafka_property clash = {"acks", "1"}; /* transactions need all */
    struct stream_kafka_settings settings = settings_of(&bad);
    struct stream *stream = NULL;
    struct error err;
    ASSERT_STATUS(stream_kafka_open(&settings, &stream, &err), STATUS_CONFIG);
    settings = settings_of(&clash);
    ASSERT_STATUS(stream_kafka_open(&settings, &stream, &err), STATUS_CONFIG);
    ASSERT_CONTAINS(err.text, "acks");
    assert_null(stream);
}

static bool give_up_at_third(void *context) {
    int *calls = context;
    return ++*calls < 3;
}

/* Slices of one second: the caller is asked between them, and may give up. */
static void fencing_without_a_broker_asks_whether_to_wait(void **state) {
    (void)state;
    struct stream_kafka_settings settings = settings_of(NULL);
    struct stream *stream = NULL;
    struct error err;
    int calls = 0;
    ASSERT_OK(stream_kafka_open(&settings, &stream, &err), err);
    ASSERT_STATUS(stream->ops->fence(stream, give_up_at_third, &calls, &err), STATUS_AGAIN);
    assert_int_equal(calls, 3);
    ASSERT_CONTAINS(err.text, "ilora.test.0");
    stream->ops->close(stream);
}

static enum status no_record(void *context, const struct stream_record *record, struct error *err) {
    (void)context;
    (void)record;
    return error_set(err, STATUS_CORRUPT, "a record from nowhere");
}

static void polling_without_a_broker_says_so(void **state) {
    (void)state;
    struct stream_kafka_settings settings = settings_of(NULL);
    struct stream_position position = {STREAM_EVENTS, 0, 0};
    struct stream *stream = NULL;
    struct error err;
    ASSERT_OK(stream_kafka_open(&settings, &stream, &err), err);
    ASSERT_OK(stream->ops->assign(stream, &position, 1, &err), err);
    enum status status = STATUS_OK;
    for (int i = 0; i < 50 && status == STATUS_OK; i++) {
        status = stream->ops->poll(stream, 100, no_record, NULL, &err);
    }
    ASSERT_STATUS(status, STATUS_AGAIN);
    ASSERT_CONTAINS(err.text, "127.0.0.1:1");
    stream->ops->close(stream);
}

static void a_read_only_stream_has_no_identity(void **state) {
    (void)state;
    struct stream_kafka_settings settings = settings_of(NULL);
    settings.read_only = true;
    struct stream *stream = NULL;
    struct error err;
    ASSERT_OK(stream_kafka_open(&settings, &stream, &err), err);
    ASSERT_STATUS(stream->ops->fence(stream, NULL, NULL, &err), STATUS_CONFIG);
    ASSERT_STATUS(stream->ops->begin(stream, &err), STATUS_IO);
    stream->ops->close(stream);
}

static void opening_without_memory_leaves_nothing(void **state) {
    (void)state;
    struct stream_kafka_settings settings = settings_of(NULL);
    struct error err;
    for (long nth = 1; nth <= 2; nth++) {
        struct stream *stream = NULL;
        fault_arm(FAULT_MEMORY, nth);
        enum status status = stream_kafka_open(&settings, &stream, &err);
        fault_arm(FAULT_MEMORY, 0);
        ASSERT_STATUS(status, STATUS_NO_MEMORY);
        assert_null(stream);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ordinary_properties_pass),
        cmocka_unit_test(what_loads_code_or_runs_commands_is_refused),
        cmocka_unit_test(what_would_break_the_protocol_is_refused_with_the_reason),
        cmocka_unit_test(unknown_names_and_bad_values_are_told_apart),
        cmocka_unit_test(opening_needs_no_broker),
        cmocka_unit_test(a_refused_property_stops_the_opening),
        cmocka_unit_test(fencing_without_a_broker_asks_whether_to_wait),
        cmocka_unit_test(polling_without_a_broker_says_so),
        cmocka_unit_test(a_read_only_stream_has_no_identity),
        cmocka_unit_test(opening_without_memory_leaves_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
