/* SPDX-License-Identifier: Apache-2.0
 *
 * stream_local_trim.c - retention: the oldest records go when the stream has grown too large.
 *
 * What may go:  input below the position committed three commits ago by every identity (a refold
 *               after a power loss starts at most two back); output but the newest records of each
 *               partition; nothing of the ledger.
 * Order:        always from the partition whose first record is the oldest, in slices.
 */
#include <assert.h>

#include "base/memory.h"
#include "storage/stream_local_parts.h"

#define TRIM_SLICE       256u
#define TRIM_OUTPUT_KEEP 256u /* newest records of an output partition, whatever the size */

struct trim_partition {
    struct local_place place;
    struct local_end end;
    uint64_t limit;    /* offsets below may go */
    int64_t oldest_ms; /* timestamp of the first record */
};

/* Lowers *limit to what the identity may still re-read. */
static void trim_limit_by(const struct local_commit *commit, struct local_place place,
                          uint64_t *limit) {
    struct local_position position;
    bool known = local_commit_find(commit, place, &position);
    uint64_t held = known ? position.next[LOCAL_COMMITS_KEPT - 1] : 0;
    if (held < *limit) { *limit = held; }
}

/* The offset below which the input of a place is no longer needed by anyone. */
static enum status trim_input_limit(struct stream_local *local, MDB_txn *txn,
                                    struct local_place place, uint64_t *ret_limit,
                                    struct error *err) {
    MDB_cursor *cursor = NULL;
    int code = mdb_cursor_open(txn, local->commits, &cursor);
    if (code != 0) { return lmdb_failed(err, code, local->path, "reading commits"); }

    enum status status = STATUS_OK;
    uint64_t limit = UINT64_MAX;
    MDB_val key, stored;
    bool any = false;
    while (status == STATUS_OK && (code = mdb_cursor_get(cursor, &key, &stored, MDB_NEXT)) == 0) {
        struct local_commit commit;
        status = local_commit_parse(local, lmdb_span(&stored), &commit, err);
        if (status == STATUS_OK) { trim_limit_by(&commit, place, &limit); }
        any = true;
    }
    mdb_cursor_close(cursor);
    if (status != STATUS_OK) { return status; }
    if (code != MDB_NOTFOUND) { return lmdb_failed(err, code, local->path, "reading commits"); }
    *ret_limit = any ? limit : 0;
    return STATUS_OK;
}

static enum status trim_limit(struct stream_local *local, MDB_txn *txn, struct trim_partition *part,
                              struct error *err) {
    part->limit = 0;
    if (part->place.topic == STREAM_LEDGER) { return STATUS_OK; }
    if ((int)part->place.topic < STREAM_INPUT_COUNT) {
        enum status status = trim_input_limit(local, txn, part->place, &part->limit, err);
        if (status != STATUS_OK) { return status; }
    } else if (part->end.next > TRIM_OUTPUT_KEEP) {
        part->limit = part->end.next - TRIM_OUTPUT_KEEP;
    }
    if (part->limit > part->end.next) { part->limit = part->end.next; }
    return STATUS_OK;
}

/* Reads the timestamp of the partition's first record, where there is one to trim. */
static enum status trim_look(struct stream_local *local, MDB_cursor *records,
                             struct trim_partition *part, struct error *err) {
    if (part->end.first >= part->limit) { return STATUS_OK; }
    uint8_t key[LOCAL_RECORD_KEY];
    local_record_key(part->place, part->end.first, key);
    MDB_val wanted = {sizeof key, key};
    MDB_val stored;
    int code = mdb_cursor_get(records, &wanted, &stored, MDB_SET);
    if (code != 0) {
        return lmdb_failed(err, code, local->path, "first record of %s/%d",
                           stream_topic_name(part->place.topic), part->place.partition);
    }
    struct stream_record record;
    enum status status =
        local_record_decode(part->place, part->end.first, lmdb_span(&stored), &record, err);
    if (status == STATUS_OK) { part->oldest_ms = record.timestamp_ms; }
    return status;
}

/* Deletes up to TRIM_SLICE records in front; *trimmed counts them, *total loses their bytes. */
static enum status trim_slice(struct stream_local *local, MDB_cursor *records,
                              struct trim_partition *part, uint64_t *total, uint32_t *trimmed,
                              struct error *err) {
    uint64_t until = part->limit;
    if (until - part->end.first > TRIM_SLICE) { until = part->end.first + TRIM_SLICE; }
    for (; part->end.first < until; part->end.first++) {
        uint8_t key[LOCAL_RECORD_KEY];
        local_record_key(part->place, part->end.first, key);
        MDB_val wanted = {sizeof key, key};
        MDB_val stored;
        int code = mdb_cursor_get(records, &wanted, &stored, MDB_SET);
        uint64_t weight = code == 0 ? local_record_weight(stored.mv_size) : 0;
        if (code == 0) { code = lmdb_delete(records); }
        if (code != 0) {
            return lmdb_failed(err, code, local->path, "trimming %s/%d",
                               stream_topic_name(part->place.topic), part->place.partition);
        }
        assert(weight <= part->end.bytes && weight <= *total);
        part->end.bytes -= weight;
        *total -= weight;
        (*trimmed)++;
    }
    return STATUS_OK;
}

/* All partitions with their ends, limits and first timestamps. parts has room for all places. */
static enum status trim_survey(struct stream_local *local, MDB_txn *txn, MDB_cursor *records,
                               struct trim_partition *parts, struct error *err) {
    for (int t = 0; t < STREAM_TOPIC_COUNT; t++) {
        for (int32_t p = 0; p < local->partitions[t]; p++) {
            struct trim_partition *part = &parts[local->first_place[t] + p];
            part->place = (struct local_place){(enum stream_topic)t, p};
            enum status status = local_end_load(local, txn, part->place, &part->end, err);
            if (status == STATUS_OK) { status = trim_limit(local, txn, part, err); }
            if (status == STATUS_OK) { status = trim_look(local, records, part, err); }
            if (status != STATUS_OK) { return status; }
        }
    }
    return STATUS_OK;
}

/* The partition with something to trim whose first record is the oldest; NULL: there is none. */
static struct trim_partition *trim_choose(struct trim_partition *parts, int32_t count) {
    struct trim_partition *chosen = NULL;
    for (int32_t i = 0; i < count; i++) {
        if (parts[i].end.first >= parts[i].limit) { continue; }
        if (chosen == NULL || parts[i].oldest_ms < chosen->oldest_ms) { chosen = &parts[i]; }
    }
    return chosen;
}

/* Slice after slice until the goal, the bound or the end of what may go. */
static enum status trim_down(struct stream_local *local, MDB_txn *txn, MDB_cursor *records,
                             struct trim_partition *parts, uint64_t goal, uint64_t *total,
                             struct error *err) {
    uint32_t trimmed = 0;
    enum status status = trim_survey(local, txn, records, parts, err);
    while (status == STATUS_OK && *total > goal && trimmed < LOCAL_TRIM_MAX) {
        struct trim_partition *part = trim_choose(parts, local->first_place[STREAM_TOPIC_COUNT]);
        if (part == NULL) { break; }
        status = trim_slice(local, records, part, total, &trimmed, err);
        if (status == STATUS_OK) {
            status = local_end_save(local, txn, part->place, &part->end, err);
        }
        if (status == STATUS_OK) { status = trim_look(local, records, part, err); }
    }
    return status;
}

enum status local_trim(struct stream_local *local, MDB_txn *txn, uint64_t goal, uint64_t *ret_bytes,
                       struct error *err) {
    int dead = 0;
    (void)mdb_reader_check(local->env, &dead); /* a killed reader pins pages; no more than that */

    struct trim_partition *parts =
        MEMORY_TAKE_ARRAY(struct trim_partition, local->first_place[STREAM_TOPIC_COUNT]);
    if (parts == NULL) { return error_set(err, STATUS_NO_MEMORY, "trimming the stream"); }
    MDB_cursor *records = NULL;
    uint64_t total = 0;
    enum status status = STATUS_OK;
    int code = mdb_cursor_open(txn, local->records, &records);
    if (code != 0) { status = lmdb_failed(err, code, local->path, "trimming"); }
    if (status == STATUS_OK) { status = local_total_load(local, txn, &total, err); }
    if (status == STATUS_OK) { status = trim_down(local, txn, records, parts, goal, &total, err); }
    if (status == STATUS_OK) { status = local_total_save(local, txn, total, err); }
    if (records != NULL) { mdb_cursor_close(records); }
    memory_free(parts);
    if (status == STATUS_OK) { *ret_bytes = total; }
    return status;
}
