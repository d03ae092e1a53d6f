/* SPDX-License-Identifier: Apache-2.0
 *
 * stream_kafka_properties.c - which of librdkafka's properties an operator may set.
 *
 * A list of what is allowed, not of what is forbidden: a later librdkafka may learn new ways to
 * load code, and those must not become settings by themselves. What people are likely to try and
 * must not set has its own reason in the second table, because the reason is what they need to
 * read.
 */
#include "proto/stream_kafka.h"

#include <assert.h>
#include <string.h>

#include "proto/stream_kafka_client.h"

/* A name that ends in '.' allows everything below it, unless refused_properties names it. */
static const char *const allowed_properties[] = {
    /* who we are and whom we trust */
    "client.id",
    "client.rack",
    "security.protocol",
    "ssl.ca.location",
    "ssl.ca.pem",
    "ssl.certificate.location",
    "ssl.certificate.pem",
    "ssl.key.location",
    "ssl.key.pem",
    "ssl.key.password",
    "ssl.keystore.location",
    "ssl.keystore.password",
    "ssl.crl.location",
    "ssl.cipher.suites",
    "ssl.curves.list",
    "ssl.sigalgs.list",
    "ssl.endpoint.identification.algorithm",
    "enable.ssl.certificate.verification",
    "sasl.mechanism",
    "sasl.mechanisms",
    "sasl.username",
    "sasl.password",
    "sasl.kerberos.service.name",
    "sasl.kerberos.principal",
    "sasl.kerberos.keytab",
    "sasl.kerberos.min.time.before.relogin",
    /* connections */
    "broker.address.family",
    "broker.address.ttl",
    "broker.version.fallback",
    "api.version.request",
    "api.version.request.timeout.ms",
    "api.version.fallback.ms",
    "connections.max.idle.ms",
    "socket.",
    "reconnect.backoff.ms",
    "reconnect.backoff.max.ms",
    "metadata.max.age.ms",
    "topic.metadata.refresh.interval.ms",
    "topic.metadata.refresh.fast.interval.ms",
    "topic.metadata.refresh.sparse",
    "topic.metadata.propagation.max.ms",
    "topic.blacklist",
    "max.in.flight",
    "max.in.flight.requests.per.connection",
    /* reading */
    "fetch.",
    "max.partition.fetch.bytes",
    "receive.message.max.bytes",
    "queued.max.messages.kbytes",
    "check.crcs",
    /* writing */
    "acks",
    "request.required.acks",
    "request.timeout.ms",
    "retry.backoff.ms",
    "linger.ms",
    "queue.buffering.max.ms",
    "queue.buffering.max.messages",
    "queue.buffering.max.kbytes",
    "batch.size",
    "batch.num.messages",
    "compression.codec",
    "compression.type",
    "compression.level",
    "message.copy.max.bytes",
    "sticky.partitioning.linger.ms",
    /* looking for trouble */
    "debug",
    "log_level",
    "log.connection.close",
    "log.thread.name",
};

static const struct {
    const char *name; /* ending in '.': everything below it */
    const char *reason;
} refused_properties[] = {
    {"plugin.library.paths", "it loads code"},
    {"sasl.kerberos.kinit.cmd", "it runs a command"},
    {"ssl.engine.", "it loads code"},
    {"ssl.providers", "it loads code"},
    {"ssl_engine_callback_data", "it loads code"},
    {"test.mock.", "it replaces the brokers"},
    {"sasl.oauthbearer.", "this build has no OAuth client"},
    {"enable.sasl.oauthbearer.unsecure.jwt", "it is for tests only"},
    {"bootstrap.servers", "'[kafka] bootstrap_servers' sets it"},
    {"metadata.broker.list", "'[kafka] bootstrap_servers' sets it"},
    {"group.id", "it follows from '[kafka] deployment' and the shard"},
    {"transactional.id", "it follows from '[kafka] deployment' and the shard"},
    {"transaction.timeout.ms", "it has a setting of its own in [kafka]"},
    {"message.max.bytes", "it has a setting of its own in [kafka]"},
    {"enable.auto.commit", "offsets are committed in the transaction only"},
    {"auto.commit.", "offsets are committed in the transaction only"},
    {"enable.auto.offset.store", "offsets are committed in the transaction only"},
    {"offset.store.", "offsets are committed in the transaction only"},
    {"isolation.level", "only committed records are read"},
    {"auto.offset.reset", "positions are explicit, nothing may be skipped"},
    {"enable.idempotence", "the protocol needs it on"},
    {"enable.gapless.guarantee", "the protocol decides it"},
    {"enable.partition.eof", "the daemon needs it on"},
    {"partitioner", "records of a user must stay in one partition"},
    {"partition.assignment.strategy", "partitions are assigned by the shard, not by the group"},
    {"group.", "partitions are assigned by the shard, not by the group"},
    {"session.timeout.ms", "the daemon joins no group"},
    {"heartbeat.interval.ms", "the daemon joins no group"},
    {"max.poll.interval.ms", "the daemon joins no group"},
    {"queued.min.messages", "the daemon's memory plan sets it"},
    {"statistics.interval.ms", "the daemon watches its connection with it"},
    {"allow.auto.create.topics", "topics are made by 'iloractl topics create'"},
    {"message.timeout.ms", "it follows from the transaction's time-out"},
    {"delivery.timeout.ms", "it follows from the transaction's time-out"},
    {"retries", "the idempotent producer decides it"},
    {"message.send.max.retries", "the idempotent producer decides it"},
};

/* pattern is the whole name, or ends in '.' and begins it. */
static bool pattern_holds(const char *pattern, const char *name) {
    size_t size = strlen(pattern);
    if (pattern[size - 1] == '.') { return strncmp(pattern, name, size) == 0; }
    return strcmp(pattern, name) == 0;
}

static bool property_allowed(const char *name) {
    for (size_t i = 0; i < sizeof allowed_properties / sizeof allowed_properties[0]; i++) {
        if (pattern_holds(allowed_properties[i], name)) { return true; }
    }
    return false;
}

static const char *property_refusal(const char *name) {
    for (size_t i = 0; i < sizeof refused_properties / sizeof refused_properties[0]; i++) {
        if (pattern_holds(refused_properties[i].name, name)) {
            return refused_properties[i].reason;
        }
    }
    return NULL;
}

enum status stream_kafka_property_check(const char *name, const char *value, struct error *err) {
    assert(name != NULL && value != NULL);

    const char *reason = property_refusal(name);
    if (reason != NULL) {
        return error_set(err, STATUS_CONFIG, "Kafka property '%s' may not be set: %s", name,
                         reason);
    }

    char text[KAFKA_TEXT_BYTES] = "";
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    rd_kafka_conf_res_t result = rd_kafka_conf_set(conf, name, value, text, sizeof text);
    rd_kafka_conf_destroy(conf);
    if (result == RD_KAFKA_CONF_UNKNOWN) {
        return error_set(err, STATUS_CONFIG, "librdkafka %s has no property '%s'",
                         rd_kafka_version_str(), name);
    }
    if (!property_allowed(name)) {
        return error_set(err, STATUS_CONFIG,
                         "Kafka property '%s' is not one of those that may be set", name);
    }
    if (result != RD_KAFKA_CONF_OK) {
        return error_set(err, STATUS_CONFIG, "Kafka property '%s': %s", name, text);
    }
    return STATUS_OK;
}
