/* SPDX-License-Identifier: Apache-2.0
 *
 * stream.c - what both streams share: the names of the topics and Kafka's partition of a key.
 */
#include "base/stream.h"

#include <assert.h>

static const char *const stream_topic_names[STREAM_TOPIC_COUNT] = {
    [STREAM_EVENTS] = "events",       [STREAM_ITEMS] = "items",
    [STREAM_CONTROL] = "control",     [STREAM_PREDICTIONS] = "predictions",
    [STREAM_SNAPSHOTS] = "snapshots", [STREAM_LEDGER] = "ledger",
    [STREAM_METRICS] = "metrics",     [STREAM_DLQ] = "dlq",
};

const char *stream_topic_name(enum stream_topic topic) {
    assert((int)topic >= 0 && (int)topic < STREAM_TOPIC_COUNT);
    return stream_topic_names[topic];
}

/* MurmurHash2, 32 bits, as Kafka's Java client computes it (seed 0x9747b28c, little-endian
 * words). */
static uint32_t murmur2(struct span bytes) {
    const uint32_t m = UINT32_C(0x5bd1e995);
    uint32_t h = UINT32_C(0x9747b28c) ^ (uint32_t)bytes.size;
    size_t at = 0;
    for (; bytes.size - at >= 4; at += 4) {
        uint32_t k = get_u32le(bytes.data + at) * m;
        k ^= k >> 24;
        h = h * m ^ k * m;
    }

    size_t left = bytes.size - at;
    if (left > 0) {
        for (size_t i = 0; i < left; i++) {
            h ^= (uint32_t)bytes.data[at + i] << (8 * i);
        }
        h *= m;
    }
    h ^= h >> 13;
    h *= m;
    return h ^ h >> 15;
}

int32_t stream_partition_of_key(struct span key, int32_t count) {
    assert(count > 0);

    /* Without a key Kafka picks any partition; partition 0 keeps our outputs deterministic. */
    if (key.data == NULL) { return 0; }
    return (int32_t)((murmur2(key) & UINT32_C(0x7fffffff)) % (uint32_t)count);
}
