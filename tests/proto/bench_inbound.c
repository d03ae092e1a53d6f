/* SPDX-License-Identifier: Apache-2.0
 *
 * bench_inbound.c - events a second through the decoder, one thread, JSON and protobuf.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "proto/ilora.pb-c.h"

#include "base/clock.h"
#include "proto/inbound.h"

#define BENCH_EVENTS 500000

static int bench(struct inbound *inbound, const char *name, struct span value) {
    struct stream_record record = {.topic = STREAM_EVENTS, .timestamp_ms = 5, .value = value};
    struct event event;
    const char *reason = NULL;
    struct error err;
    int64_t begin_us = clock_monotonic_us();
    for (int i = 0; i < BENCH_EVENTS; i++) {
        if (inbound_decode(inbound, &record, &event, &reason, &err) != STATUS_OK) {
            (void)fprintf(stderr, "%s: %s\n", name, err.text);
            return 1;
        }
    }
    double seconds = (double)(clock_monotonic_us() - begin_us) / 1e6;
    (void)printf("%-9s %4zu bytes  %9.0f events/s\n", name, value.size, BENCH_EVENTS / seconds);
    return 0;
}

int main(void) {
    const char *json = "{\"event\":\"interaction\",\"id\":\"e-001234567\",\"user\":\"user-194\","
                       "\"item\":\"item-2423\",\"type\":\"click\",\"timestamp\":1700000000123}";
    char id[] = "e-001234567";
    char user[] = "user-194";
    char item[] = "item-2423";
    char type[] = "click";
    Ilora__V1__Event message;
    ilora__v1__event__init(&message);
    message.id = id;
    message.user = user;
    message.item = item;
    message.type = type;
    message.timestamp_ms = INT64_C(1700000000123);
    uint8_t packed[256];
    size_t packed_size = ilora__v1__event__pack(&message, packed);

    const struct inbound_settings settings = {.format = INBOUND_AUTO};
    struct inbound *inbound = NULL;
    struct error err;
    if (inbound_init(&settings, &inbound, &err) != STATUS_OK) {
        (void)fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    int failed = bench(inbound, "json", span_of(json));
    failed |= bench(inbound, "protobuf", span_make(packed, packed_size));
    inbound_free(inbound);
    return failed;
}
