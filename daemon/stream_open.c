/* SPDX-License-Identifier: Apache-2.0
 *
 * stream_open.c - settings to a stream.
 *
 * Why it exists: daemon and tools must name the same topics, folder and identity.
 * Failure: CONFIG names the property or folder.
 * Thread: whoever owns the stream. */
#include "daemon/stream_open.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "proto/stream_kafka.h"
#include "storage/stream_local.h"

#define MESSAGE_BYTES_MAX (4 * 1024 * 1024)

static void identity_name(const struct settings *s, char name[256]) {
    (void)snprintf(name, 256, "ilora.%.64s.%" PRId64, s->stream_deployment,
                   s->stream_shard); /* [stream] deployment has at most 64 bytes */
}

static enum status open_kafka(const struct settings *s, bool writer, struct stream **ret_stream,
                              struct error *err) {
    char identity[256];
    identity_name(s, identity);
    struct stream_kafka_property properties[CONFIG_EXTRA_MAX];
    int count = 0;
    for (int i = 0; i < s->extras.count; i++) {
        const struct config_extra *extra = &s->extras.items[i];
        if (strcmp(extra->section, "kafka") != 0) { continue; }
        properties[count].name = extra->key;
        properties[count].value = extra->value;
        count++;
    }
    struct stream_kafka_settings settings = {
        .bootstrap_servers = s->kafka_bootstrap_servers,
        .transactional_id = identity,
        .topics = {s->topics_events, s->topics_items, s->topics_control, s->topics_predictions,
                   s->topics_snapshots, s->topics_ledger, s->topics_metrics, s->topics_dlq},
        .properties = properties,
        .property_count = count,
        .transaction_timeout_ms = (int)(s->kafka_transaction_timeout / 1000),
        .message_max_bytes = MESSAGE_BYTES_MAX,
        .read_only = !writer,
    };
    return stream_kafka_open(&settings, ret_stream, err);
}

static enum status open_local(const struct settings *s, bool writer, struct stream **ret_stream,
                              struct error *err) {
    char identity[256], path[FILE_PATH_BYTES_MAX];
    identity_name(s, identity);
    enum status status = path_join(path, s->state_path, "stream", err);
    if (status != STATUS_OK) { return status; }
    struct stream_local_settings settings = {.path = path,
                                             .identity = writer ? identity : NULL,
                                             .partitions = (int32_t)s->stream_partitions,
                                             .map_bytes_max = (uint64_t)s->state_map_max,
                                             .retention_bytes = (uint64_t)s->stream_retention};
    return stream_local_open(&settings, ret_stream, err);
}

enum status stream_open(const struct settings *settings, bool writer, struct stream **ret_stream,
                        struct error *err) {
    return settings->stream_kind == STREAM_KIND_KAFKA
               ? open_kafka(settings, writer, ret_stream, err)
               : open_local(settings, writer, ret_stream, err);
}
