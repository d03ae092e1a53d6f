/* SPDX-License-Identifier: Apache-2.0
 *
 * iloractl_topics.c - topics: shown with their ends; made on a broker with the right settings. */
#include <inttypes.h>
#include <string.h>

#include "ops/command.h"
#include "ops/stream_access.h"
#include "proto/stream_kafka.h"

#define RECORD_BYTES_TEXT "1048576"

static const char help[] =
    "usage: iloractl topics list\n"
    "       iloractl topics create [--partitions N] [--shards N] [--replication N]\n"
    "\n"
    "list shows partitions with first offset and end. create makes the topics of the settings\n"
    "that a broker does not have yet: N partitions for events, items, predictions and dlq,\n"
    "one a shard for the ledger, one for the others; cleanup.policy and retention as ilorad\n"
    "expects them. The embedded stream has its topics from the beginning.\n"
    "\n"
    "example: iloractl --config kafka.conf topics create --partitions 8 --replication 3\n";

static int run(const struct command_context *context, int argc, char **argv);
const struct command command_topics = {"topics", "list topics, or make them on a broker", help,
                                       run};

static enum status list_topic(const struct command_context *context, struct stream_access *access,
                              enum stream_topic topic, struct error *err) {
    const char *name = stream_access_topic_name(context->settings, topic);
    int32_t partitions = 0;
    enum status status = stream_access_partitions(access, topic, &partitions, err);
    if (status == STATUS_NOT_FOUND) {
        (void)(context->json ? printf("{\"topic\":\"%s\",\"partitions\":0}\n", name)
                             : printf("%-24s absent\n", name));
        return STATUS_OK;
    }
    for (int32_t p = 0; status == STATUS_OK && p < partitions; p++) {
        int64_t first = 0, end = 0;
        status = access->stream->ops->bounds(access->stream, topic, p, &first, &end, err);
        if (status != STATUS_OK) { break; }
        (void)(context->json ? printf("{\"topic\":\"%s\",\"partition\":%" PRId32
                                      ",\"first\":%" PRId64 ",\"end\":%" PRId64 "}\n",
                                      name, p, first, end)
                             : printf("%-24s %4" PRId32 " %12" PRId64 " %12" PRId64 "\n", name, p,
                                      first, end));
    }
    return status;
}

static enum status list_topics(const struct command_context *context, struct stream_access *access,
                               struct error *err) {
    enum status status = STATUS_OK;
    if (!context->json) { (void)printf("%-24s %4s %12s %12s\n", "topic", "part", "first", "end"); }
    for (int i = 0; i < STREAM_TOPIC_COUNT && status == STATUS_OK; i++) {
        status = list_topic(context, access, (enum stream_topic)i, err);
    }
    return status;
}

/* What a topic must be: input and ledger are kept, snapshots are looked up by version. */
static enum status create_topic(const struct command_context *context, struct stream_access *access,
                                enum stream_topic role, int partitions, int replication,
                                struct error *err) {
    static const struct stream_kafka_property deleted[] = {
        {"cleanup.policy", "delete"}, {"max.message.bytes", RECORD_BYTES_TEXT}};
    static const struct stream_kafka_property ledger[] = {{"cleanup.policy", "delete"},
                                                          {"retention.ms", "-1"},
                                                          {"retention.bytes", "-1"},
                                                          {"max.message.bytes", RECORD_BYTES_TEXT}};
    bool wide = role == STREAM_EVENTS || role == STREAM_ITEMS || role == STREAM_PREDICTIONS ||
                role == STREAM_DLQ || role == STREAM_LEDGER;
    struct stream_kafka_topic topic = {
        .name = stream_access_topic_name(context->settings, role),
        .partitions = wide ? partitions : 1,
        .replication = replication,
        .config = role == STREAM_LEDGER ? ledger : deleted,
        .config_count = role == STREAM_LEDGER ? 4 : 2,
    };
    bool created = false;
    enum status status = stream_kafka_topic_create(access->stream, &topic, &created, err);
    if (status != STATUS_OK) { return error_wrap(err, "topic '%s'", topic.name); }
    (void)(context->json ? printf("{\"topic\":\"%s\",\"created\":%s}\n", topic.name,
                                  created ? "true" : "false")
                         : printf("%-24s %s\n", topic.name, created ? "made" : "was there"));
    return STATUS_OK;
}

static int run(const struct command_context *context, int argc, char **argv) {
    struct options options = options_of(argc, argv);
    int partitions = (int)options_integer(&options, "--partitions", 4, 1, 4096);
    int replication = (int)options_integer(&options, "--replication", 1, 1, 16);
    int shards =
        (int)options_integer(&options, "--shards", context->settings->stream_shard + 1, 1, 65536);
    if (!options_end(&options, &command_topics, 1, 1)) { return COMMAND_USAGE; }
    bool create = strcmp(options.words[0], "create") == 0;
    if (!create && strcmp(options.words[0], "list") != 0) {
        (void)fputs(help, stderr);
        return COMMAND_USAGE;
    }
    struct error err = {0};
    struct stream_access access = {0};
    enum status status = stream_access_open(context->settings, &access, &err);
    if (status != STATUS_OK) { return command_failed(&command_topics, &err); }
    if (!create || !access.kafka) {
        status = list_topics(context, &access, &err);
    } else {
        for (int i = 0; i < STREAM_TOPIC_COUNT && status == STATUS_OK; i++) {
            status = create_topic(context, &access, (enum stream_topic)i,
                                  i == STREAM_LEDGER ? shards : partitions, replication, &err);
        }
    }
    stream_access_close(&access);
    return status == STATUS_OK ? COMMAND_DONE : command_failed(&command_topics, &err);
}
