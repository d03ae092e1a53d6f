/* SPDX-License-Identifier: Apache-2.0
 *
 * tiny_stream.c - what goes into a tiny core and what came out of it. See tiny_core.h.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/rng.h"
#include "tests/support/tiny_core.h"
#include "tests/support/unit.h"

#define LINE_BYTES 512
#define FIRST_MS   1700000000000
#define USERS      40
#define ITEMS      60

int64_t tiny_send(struct memory_broker *broker, enum stream_topic topic, const char *key,
                  const char *format, ...) {
    char line[LINE_BYTES];
    va_list arguments;
    va_start(arguments, format);
    int size = vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    assert_in_range(size, 0, (int)sizeof line - 1);
    struct stream_output output = {.topic = topic,
                                   .partition = -1,
                                   .timestamp_ms = FIRST_MS,
                                   .key = key != NULL ? span_of(key) : span_make(NULL, 0),
                                   .value = span_make(line, (size_t)size)};
    return memory_broker_append(broker, &output);
}

struct generator {
    struct memory_broker *broker;
    struct rng rng;
    uint64_t id; /* of the next event */
    int64_t time_ms;
    enum stream_topic items_topic;
};

static int draw(struct generator *g, int below) {
    return (int)rng_below(&g->rng, (uint64_t)below);
}

static void send_event(struct generator *g, uint64_t id, int n) {
    char user[16];
    int newest = 10 + n / 12 < ITEMS ? 10 + n / 12 : ITEMS; /* items appear one after another */
    (void)snprintf(user, sizeof user, "u%d", draw(g, USERS));
    int item = draw(g, 3) > 0 ? draw(g, newest) : draw(g, newest) % 7; /* some are popular */
    tiny_send(g->broker, STREAM_EVENTS, user,
              "{\"id\":\"e%" PRIu64 "\",\"user\":\"%s\",\"item\":\"i%d\",\"timestamp\":%" PRId64
              "}",
              id, user, item, g->time_ms);
}

static void send_title(struct generator *g) {
    char item[16];
    (void)snprintf(item, sizeof item, "i%d", draw(g, ITEMS));
    tiny_send(g->broker, g->items_topic, item,
              "{\"event\":\"item\",\"item\":\"%s\",\"title\":\"title %d of %s\"}", item, draw(g, 3),
              item);
}

static void send_broken(struct generator *g) {
    static const char *const broken[] = {"{\"user\":\"u1\"}", "{\"item\":",
                                         "{\"user\":1,\"item\":"
                                         "\"i1\",\"timestamp\":\"never\"}"};
    tiny_send(g->broker, STREAM_EVENTS, "u1", "%s", broken[draw(g, 3)]);
}

void tiny_stream(struct memory_broker *broker, uint64_t seed, int count, bool one_topic) {
    struct generator g = {.broker = broker,
                          .time_ms = FIRST_MS,
                          .rng = rng_make(seed, 0),
                          .items_topic = one_topic ? STREAM_EVENTS : STREAM_ITEMS};
    for (int n = 0; n < count; n++) {
        int what = draw(&g, 100);
        if (draw(&g, 3) > 0) { g.time_ms += 1000; } /* else in the same second */
        if (what < 88) {
            send_event(&g, g.id++, n);
        } else if (what < 91) {
            send_event(&g, g.id > 3 ? g.id - 1 - (uint64_t)draw(&g, 3) : 0, n);
        } else if (what < 98) {
            send_title(&g);
        } else {
            send_broken(&g);
        }
    }
}

/* ---- looking --------------------------------------------------------------------------------- */

static void add(struct buffer *out, struct span bytes, const char *after) {
    if (bytes.size > 0) { assert_int_equal(buffer_append(out, bytes.data, bytes.size), STATUS_OK); }
    assert_int_equal(buffer_append(out, after, strlen(after)), STATUS_OK);
}

static enum status dump_record(void *context, const struct stream_record *record,
                               struct error *err) {
    struct buffer *out = context;
    (void)err; /* nothing here fails but the test */
    add(out, record->key, "\t");
    add(out, record->value, "\t");
    for (int i = 0; i < record->header_count; i++) {
        add(out, span_of(record->headers[i].name), "=");
        add(out, record->headers[i].value, ";");
    }
    add(out, span_make(NULL, 0), "\n");
    return STATUS_OK;
}

void tiny_dump_topic(struct memory_broker *broker, enum stream_topic topic, struct buffer *out) {
    struct error err = {0};
    struct stream *stream = stream_memory_open(broker, NULL);
    int32_t partitions;
    ASSERT_OK(stream->ops->partitions(stream, topic, &partitions, &err), err);
    for (int32_t p = 0; p < partitions; p++) {
        int64_t first, end;
        ASSERT_OK(stream->ops->bounds(stream, topic, p, &first, &end, &err), err);
        ASSERT_OK(stream->ops->read(stream, topic, p, first, end - 1, dump_record, out, &err), err);
    }
    stream->ops->close(stream);
}

static bool digest_entry(void *context, struct span key, struct span value) {
    struct sha256 *hash = context;
    uint8_t sizes[8];
    put_u32le(sizes, (uint32_t)key.size);
    put_u32le(sizes + 4, (uint32_t)value.size);
    sha256_update(hash, sizes, sizeof sizes);
    sha256_update(hash, key.data, key.size);
    sha256_update(hash, value.data, value.size);
    return true;
}

void tiny_digest_state(struct tiny_core *core, uint8_t ret_digest[SHA256_BYTES]) {
    struct error err = {0};
    struct sha256 *hash;
    ASSERT_OK(sha256_init(&hash, &err), err);
    ASSERT_OK(store_reader_renew(core->reader, &err), err);
    for (int table = 0; table < STORE_TABLE_COUNT; table++) {
        if (table == STORE_META) { continue; }
        uint8_t number = (uint8_t)table;
        sha256_update(hash, &number, 1);
        ASSERT_OK(store_scan(core->reader, (enum store_table)table, span_make("", 0), digest_entry,
                             hash, &err),
                  err);
    }
    store_reader_reset(core->reader);
    sha256_finish(hash, ret_digest);
    sha256_free(hash);
}

struct last {
    struct arena *arena;
    struct epoch_record *record;
};

static enum status last_sink(void *context, const struct stream_record *record, struct error *err) {
    struct last *last = context;
    return outbound_epoch_read(record->value, last->arena, last->record, err);
}

void tiny_ledger_last(struct memory_broker *broker, struct arena *arena,
                      struct epoch_record *ret_record) {
    struct error err = {0};
    struct last last = {arena, ret_record};
    struct stream *stream = stream_memory_open(broker, NULL);
    ASSERT_OK(stream->ops->tail(stream, STREAM_LEDGER, 0, last_sink, &last, &err), err);
    stream->ops->close(stream);
}
