/* SPDX-License-Identifier: Apache-2.0
 *
 * stream_local_read.c - looking at partitions: bounds, tail, a range, how far behind.
 *
 * Each call has a snapshot of its own; a long range takes a new one every few thousand records, so
 * that a refold of hours does not keep the writer from reusing pages.
 * Thread: core.
 */
#include <assert.h>

#include "storage/stream_local_parts.h"

#define READ_SLICE 4096 /* records a snapshot */

static enum status read_begin(struct stream_local *local, struct local_place place,
                              MDB_txn **ret_txn, struct local_end *ret_end, struct error *err) {
    enum status status = local_place_check(local, place, err);
    if (status != STATUS_OK) { return status; }
    MDB_txn *txn = NULL;
    int code = mdb_txn_begin(local->env, NULL, MDB_RDONLY, &txn);
    if (code != 0) { return lmdb_failed(err, code, local->path, "taking a snapshot"); }
    status = local_end_load(local, txn, place, ret_end, err);
    if (status != STATUS_OK) {
        mdb_txn_abort(txn);
        return status;
    }
    *ret_txn = txn;
    return STATUS_OK;
}

enum status local_bounds(struct stream *s, enum stream_topic topic, int32_t partition,
                         int64_t *ret_first, int64_t *ret_end, struct error *err) {
    MDB_txn *txn = NULL;
    struct local_end end = {0};
    struct local_place place = {topic, partition};
    enum status status = read_begin(stream_local_of(s), place, &txn, &end, err);
    if (status != STATUS_OK) { return status; }
    mdb_txn_abort(txn);
    *ret_first = (int64_t)end.first;
    *ret_end = (int64_t)end.next;
    return STATUS_OK;
}

int64_t local_lag(struct stream *s, enum stream_topic topic, int32_t partition, int64_t next) {
    int64_t first = 0, end = 0;
    if (local_bounds(s, topic, partition, &first, &end, NULL) != STATUS_OK) { return -1; }
    return end > next ? end - next : 0;
}

/* Hands records [first, last] of a snapshot to sink. Every one of them must be there. */
static enum status read_records(struct stream_local *local, MDB_txn *txn, struct local_place place,
                                uint64_t first, uint64_t last, stream_sink sink, void *context,
                                struct error *err) {
    MDB_cursor *cursor = NULL;
    int code = mdb_cursor_open(txn, local->records, &cursor);
    if (code != 0) { return lmdb_failed(err, code, local->path, "reading records"); }

    uint8_t start[LOCAL_RECORD_KEY];
    local_record_key(place, first, start);
    MDB_val key = {sizeof start, start};
    MDB_val stored;
    enum status status = STATUS_OK;
    code = mdb_cursor_get(cursor, &key, &stored, MDB_SET);
    for (uint64_t offset = first; status == STATUS_OK && offset <= last; offset++) {
        struct local_place found;
        uint64_t found_offset = 0;
        bool right = code == 0 && local_record_place(lmdb_span(&key), &found, &found_offset) &&
                     found.topic == place.topic && found.partition == place.partition &&
                     found_offset == offset;
        if (!right) {
            status = error_set(err, STATUS_CORRUPT, "record %s/%d/%llu is missing",
                               stream_topic_name(place.topic), place.partition,
                               (unsigned long long)offset);
            break;
        }
        struct stream_record record;
        status = local_record_decode(place, offset, lmdb_span(&stored), &record, err);
        if (status == STATUS_OK) { status = sink(context, &record, err); }
        if (offset < last) { code = mdb_cursor_get(cursor, &key, &stored, MDB_NEXT); }
    }
    mdb_cursor_close(cursor);
    return status;
}

enum status local_tail(struct stream *s, enum stream_topic topic, int32_t partition,
                       stream_sink sink, void *context, struct error *err) {
    struct stream_local *local = stream_local_of(s);
    struct local_place place = {topic, partition};
    MDB_txn *txn = NULL;
    struct local_end end = {0};
    enum status status = read_begin(local, place, &txn, &end, err);
    if (status != STATUS_OK) { return status; }
    if (end.next == end.first) {
        status = error_set(err, STATUS_NOT_FOUND, "topic %s, partition %d is empty",
                           stream_topic_name(topic), partition);
    } else {
        status = read_records(local, txn, place, end.next - 1, end.next - 1, sink, context, err);
    }
    mdb_txn_abort(txn);
    return status;
}

enum status local_read(struct stream *s, enum stream_topic topic, int32_t partition, int64_t first,
                       int64_t last, stream_sink sink, void *context, struct error *err) {
    struct stream_local *local = stream_local_of(s);
    struct local_place place = {topic, partition};
    assert(first >= 0);

    uint64_t at = (uint64_t)first;
    enum status status = STATUS_OK;
    while (status == STATUS_OK && last >= 0 && at <= (uint64_t)last) {
        MDB_txn *txn = NULL;
        struct local_end end = {0};
        status = read_begin(local, place, &txn, &end, err);
        if (status != STATUS_OK) { return status; }
        uint64_t until =
            (uint64_t)last < at + READ_SLICE - 1 ? (uint64_t)last : at + READ_SLICE - 1;
        if (until >= end.next) { until = end.next - 1; /* next 0: handled by at >= next */ }
        if (at < end.first) {
            status = error_set(err, STATUS_CORRUPT,
                               "records %s/%d/%llu..%llu are lost: the stream starts at %llu",
                               stream_topic_name(topic), partition, (unsigned long long)at,
                               (unsigned long long)end.first - 1, (unsigned long long)end.first);
        } else if (at < end.next) {
            status = read_records(local, txn, place, at, until, sink, context, err);
        }
        bool at_end = at >= end.next || until + 1 >= end.next;
        mdb_txn_abort(txn);
        if (at_end) { break; }
        at = until + 1;
    }
    return status;
}
