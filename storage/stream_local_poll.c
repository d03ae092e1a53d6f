/* SPDX-License-Identifier: Apache-2.0
 *
 * stream_local_poll.c - consuming: runs of each partition in turn, and waiting without spinning.
 *
 * A poll takes one snapshot and walks the assigned partitions in a circle, at most LOCAL_RUN_MAX
 * records each; a sink without room ends it, and the same partition begins the next poll.
 * Waiting: inotify on data.mdb tells of every write by any process; whether it was a commit is seen
 * from LMDB's transaction number. Where inotify is not to be had, short sleeps (5 ms, then longer).
 * Thread: poll.
 */
#include <assert.h>
#include <poll.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/memory.h"
#include "storage/stream_local_parts.h"

#define POLL_SLEEP_US_MIN INT64_C(5000)
#define POLL_SLEEP_US_MAX INT64_C(50000)
#define POLL_WRITE_US     INT64_C(500)  /* a commit is many writes: looked at once in this time */
#define POLL_FULL_US      INT64_C(1000) /* a sink without any room is not asked again sooner */

/* ---- assign ---------------------------------------------------------------------------------- */

/* Opens the watch; without one the consumer sleeps. */
static void consumer_watch(struct local_consumer *consumer, const char *path) {
    char data[FILE_PATH_BYTES_MAX];
    if (consumer->notify >= 0 || path_join(data, path, "data.mdb", NULL) != STATUS_OK) { return; }
    int notify = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    if (notify < 0) { return; }
    if (inotify_add_watch(notify, data, IN_MODIFY) < 0) {
        (void)close(notify); /* only a descriptor */
        return;
    }
    consumer->notify = notify;
}

enum status local_assign(struct stream *s, const struct stream_position *positions, int count,
                         struct error *err) {
    struct stream_local *local = stream_local_of(s);
    struct local_consumer *consumer = &local->consumer;
    assert(count >= 0 && count <= STREAM_POSITIONS_MAX);
    for (int i = 0; i < count; i++) {
        assert((int)positions[i].topic < STREAM_TOPIC_COUNT);
        assert(positions[i].next >= 0);
        struct local_place place = {positions[i].topic, positions[i].partition};
        enum status status = local_place_check(local, place, err);
        if (status != STATUS_OK) { return status; }
    }
    struct stream_position *copy = MEMORY_TAKE_ARRAY(struct stream_position, count);
    if (copy == NULL) { return error_set(err, STATUS_NO_MEMORY, "%d positions", count); }
    if (count > 0) { memcpy(copy, positions, (size_t)count * sizeof *copy); }
    memory_free(consumer->positions);
    consumer->positions = copy;
    consumer->count = count;
    consumer->turn = 0;
    consumer->seen_txn = 0;
    consumer->sleep_us = POLL_SLEEP_US_MIN;
    consumer_watch(consumer, local->path);
    return STATUS_OK;
}

void local_consumer_free(struct local_consumer *consumer) {
    if (consumer->cursor != NULL) { mdb_cursor_close(consumer->cursor); }
    if (consumer->txn != NULL) { mdb_txn_abort(consumer->txn); }
    if (consumer->notify >= 0) { (void)close(consumer->notify); /* only a descriptor */ }
    memory_free(consumer->positions);
    *consumer = (struct local_consumer){.notify = -1};
}

/* ---- one round ------------------------------------------------------------------------------- */

static enum status consumer_begin(struct stream_local *local, struct error *err) {
    struct local_consumer *consumer = &local->consumer;
    int code = 0;
    if (consumer->txn == NULL) {
        code = mdb_txn_begin(local->env, NULL, MDB_RDONLY, &consumer->txn);
    } else {
        code = mdb_txn_renew(consumer->txn);
    }
    if (code == 0 && consumer->cursor == NULL) {
        code = mdb_cursor_open(consumer->txn, local->records, &consumer->cursor);
    } else if (code == 0) {
        code = mdb_cursor_renew(consumer->txn, consumer->cursor);
    }
    if (code != 0) { return lmdb_failed(err, code, local->path, "polling"); }
    consumer->seen_txn = mdb_txn_id(consumer->txn);
    return STATUS_OK;
}

/* Hands up to LOCAL_RUN_MAX records of one partition to sink. AGAIN: the sink has no room. */
static enum status consumer_run(struct stream_local *local, struct stream_position *position,
                                stream_sink sink, void *context, int *served, struct error *err) {
    MDB_cursor *cursor = local->consumer.cursor;
    struct local_place place = {position->topic, position->partition};
    uint8_t start[LOCAL_RECORD_KEY];
    local_record_key(place, (uint64_t)position->next, start);
    MDB_val key = {sizeof start, start};
    MDB_val stored;
    int code = mdb_cursor_get(cursor, &key, &stored, MDB_SET_RANGE);
    for (int i = 0; i < LOCAL_RUN_MAX && code == 0; i++) {
        struct local_place found;
        uint64_t offset = 0;
        if (!local_record_place(lmdb_span(&key), &found, &offset) || found.topic != place.topic ||
            found.partition != place.partition) {
            return STATUS_OK;
        }
        if (offset != (uint64_t)position->next) {
            return error_set(err, STATUS_CORRUPT, "records %s/%d/%lld..%llu are lost",
                             stream_topic_name(place.topic), place.partition,
                             (long long)position->next, (unsigned long long)offset - 1);
        }
        struct stream_record record;
        enum status status = local_record_decode(place, offset, lmdb_span(&stored), &record, err);
        if (status == STATUS_OK) { status = sink(context, &record, err); }
        if (status != STATUS_OK) { return status; }
        position->next++;
        (*served)++;
        code = mdb_cursor_get(cursor, &key, &stored, MDB_NEXT);
    }
    if (code != 0 && code != MDB_NOTFOUND) {
        return lmdb_failed(err, code, local->path, "polling");
    }
    return STATUS_OK;
}

/* One run of each partition; *ret_full: the sink had no room. */
static enum status consumer_round(struct stream_local *local, stream_sink sink, void *context,
                                  int *ret_served, bool *ret_full, struct error *err) {
    struct local_consumer *consumer = &local->consumer;
    enum status status = consumer_begin(local, err);
    int served = 0;
    int first = consumer->turn;
    for (int i = 0; i < consumer->count && status == STATUS_OK; i++) {
        consumer->turn = (first + i) % consumer->count;
        status =
            consumer_run(local, &consumer->positions[consumer->turn], sink, context, &served, err);
    }
    if (consumer->txn != NULL) { mdb_txn_reset(consumer->txn); }
    *ret_served = served;
    *ret_full = status == STATUS_AGAIN;
    if (status == STATUS_AGAIN) { return STATUS_OK; }
    if (status == STATUS_OK && consumer->count > 0) {
        consumer->turn = (first + 1) % consumer->count;
    }
    return status;
}

/* ---- waiting --------------------------------------------------------------------------------- */

/* True when a commit happened since the last snapshot. */
static bool consumer_news(const struct stream_local *local) {
    MDB_envinfo info;
    return mdb_env_info(local->env, &info) != 0 || info.me_last_txnid != local->consumer.seen_txn;
}

static void consumer_drain(const struct local_consumer *consumer) {
    uint8_t events[4096];
    while (read(consumer->notify, events, sizeof events) > 0) {}
}

static void consumer_wait(struct stream_local *local, int64_t until_us) {
    struct local_consumer *consumer = &local->consumer;
    int64_t left_us = until_us - clock_monotonic_us();
    while (left_us > 0 && !consumer_news(local)) {
        if (consumer->notify < 0) {
            clock_sleep_us(consumer->sleep_us < left_us ? consumer->sleep_us : left_us);
            consumer->sleep_us *= 2;
            if (consumer->sleep_us > POLL_SLEEP_US_MAX) { consumer->sleep_us = POLL_SLEEP_US_MAX; }
        } else {
            struct pollfd watched = {.fd = consumer->notify, .events = POLLIN};
            int ready = poll(&watched, 1, (int)((left_us + 999) / 1000));
            if (ready > 0 && !consumer_news(local)) { clock_sleep_us(POLL_WRITE_US); }
            if (ready > 0) { consumer_drain(consumer); }
        }
        left_us = until_us - clock_monotonic_us();
    }
}

enum status local_poll(struct stream *s, int timeout_ms, stream_sink sink, void *context,
                       struct error *err) {
    struct stream_local *local = stream_local_of(s);
    int64_t until_us = clock_monotonic_us() + (int64_t)timeout_ms * 1000;
    for (;;) {
        int served = 0;
        bool full = false;
        enum status status = consumer_round(local, sink, context, &served, &full, err);
        if (status != STATUS_OK || full || served > 0) {
            local->consumer.sleep_us = POLL_SLEEP_US_MIN;
            if (full && served == 0 && timeout_ms > 0) { clock_sleep_us(POLL_FULL_US); }
            return status;
        }
        if (clock_monotonic_us() >= until_us) { return STATUS_OK; }
        consumer_wait(local, until_us);
    }
}
