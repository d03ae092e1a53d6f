/* SPDX-License-Identifier: Apache-2.0
 *
 * stream_local_write.c - appending to the embedded stream: the daemon's transaction, and produce.
 *
 *   begin ▸ publish, publish, ... (encoded into memory, no lock held) ▸ commit:
 *     one LMDB write transaction {owner still ours? ▸ records ▸ positions, token ▸ ends ▸ trims}
 *
 * A full disk or map aborts that transaction whole; the outputs stay in memory and commit may be
 * called again (AGAIN).
 * Thread: core.
 */
#include <assert.h>

#include "base/clock.h"
#include "base/failpoint.h"
#include "base/memory.h"
#include "storage/stream_local_parts.h"

#define LOCAL_PENDING_MIN 1024u

struct local_writer {
    struct stream_local *local;
    MDB_txn *txn;
    MDB_cursor *records;
    int32_t touched_count; /* of local->touched */
    uint64_t total;        /* bytes of all records */
};

/* ---- the write transaction ------------------------------------------------------------------- */

static enum status writer_begin(struct local_writer *writer, struct stream_local *local,
                                struct error *err) {
    *writer = (struct local_writer){.local = local};
    int code = lmdb_begin_write(local->env, &writer->txn);
    if (code == 0) { code = mdb_cursor_open(writer->txn, local->records, &writer->records); }
    if (code != 0) {
        if (writer->txn != NULL) { mdb_txn_abort(writer->txn); }
        writer->txn = NULL;
        return lmdb_failed(err, code, local->path, "beginning to write");
    }
    return local_total_load(local, writer->txn, &writer->total, err);
}

static void writer_forget(struct local_writer *writer) {
    struct stream_local *local = writer->local;
    for (int32_t i = 0; i < writer->touched_count; i++) {
        local->writing[local->touched[i]].loaded = false;
    }
    writer->touched_count = 0;
}

static void writer_abort(struct local_writer *writer) {
    writer_forget(writer);
    if (writer->txn != NULL) { mdb_txn_abort(writer->txn); }
    writer->txn = NULL;
}

/* The end of the place, loaded once a transaction. */
static enum status writer_end(struct local_writer *writer, struct local_place place,
                              struct local_end **ret_end, struct error *err) {
    struct stream_local *local = writer->local;
    int32_t index = local->first_place[place.topic] + place.partition;
    struct local_writing *writing = &local->writing[index];
    if (!writing->loaded) {
        enum status status = local_end_load(local, writer->txn, place, &writing->end, err);
        if (status != STATUS_OK) { return status; }
        writing->loaded = true;
        local->touched[writer->touched_count++] = index;
    }
    *ret_end = &writing->end;
    return STATUS_OK;
}

/* Appends a record of size bytes, which the caller writes to *ret_room at once. */
static enum status writer_append(struct local_writer *writer, struct local_place place, size_t size,
                                 uint8_t **ret_room, struct error *err) {
    struct local_end *end = NULL;
    enum status status = writer_end(writer, place, &end, err);
    if (status != STATUS_OK) { return status; }

    uint8_t key[LOCAL_RECORD_KEY];
    local_record_key(place, end->next, key);
    MDB_val wanted = {sizeof key, key};
    MDB_val room = {size, NULL};
    int code = lmdb_put(writer->records, &wanted, &room, MDB_NOOVERWRITE | MDB_RESERVE);
    if (code == MDB_KEYEXIST) {
        return error_set(err, STATUS_CORRUPT, "'%s': %s/%d already has a record %llu",
                         writer->local->path, stream_topic_name(place.topic), place.partition,
                         (unsigned long long)end->next);
    }
    if (code != 0) {
        return lmdb_failed(err, code, writer->local->path, "appending to topic %s",
                           stream_topic_name(place.topic));
    }
    end->next++;
    end->bytes += local_record_weight(size);
    writer->total += local_record_weight(size);
    *ret_room = room.mv_data;
    return STATUS_OK;
}

/* Writes the touched ends and the total. */
static enum status writer_save(struct local_writer *writer, struct error *err) {
    struct stream_local *local = writer->local;
    for (int32_t i = 0; i < writer->touched_count; i++) {
        const struct local_writing *writing = &local->writing[local->touched[i]];
        enum status status = local_end_save(local, writer->txn, writing->place, &writing->end, err);
        if (status != STATUS_OK) { return status; }
    }
    writer_forget(writer);
    return local_total_save(local, writer->txn, writer->total, err);
}

/* Trims down from the retention with room to spare, when it is passed. */
static enum status writer_retain(struct local_writer *writer, struct error *err) {
    uint64_t retention = writer->local->retention_bytes;
    if (retention == 0 || writer->total <= retention) { return STATUS_OK; }
    enum status status =
        local_trim(writer->local, writer->txn, retention - retention / 8, &writer->total, err);
    return status == STATUS_OK ? failpoint_pass(FAILPOINT_local_trimmed, err) : status;
}

static enum status writer_commit(struct local_writer *writer, struct error *err) {
    assert(writer->touched_count == 0);
    MDB_txn *txn = writer->txn;
    writer->txn = NULL;
    int code = lmdb_commit(txn);
    if (code != 0) { return lmdb_failed(err, code, writer->local->path, "committing"); }
    return STATUS_OK;
}

/* A failure to write that waiting may cure becomes AGAIN: a full map (lmdb_failed says LIMIT) or a
 * full disk. Nothing was written. */
static enum status local_soften(const struct stream_local *local, enum status status,
                                struct error *err) {
    uint64_t free_bytes = UINT64_MAX;
    bool full = status == STATUS_LIMIT;
    if (status == STATUS_IO) {
        full = err->disk_full ||
               (dir_free_bytes(local->path, &free_bytes, NULL) == STATUS_OK && free_bytes == 0);
    }
    if (!full) { return status; }
    err->code = STATUS_AGAIN;
    return STATUS_AGAIN;
}

/* ---- the daemon's transaction ---------------------------------------------------------------- */

enum status local_begin(struct stream *s, struct error *err) {
    struct stream_local *local = stream_local_of(s);
    assert(!local->in_transaction);
    if (!local->fenced_in) {
        return error_set(err, STATUS_FENCED, "'%s': another owner has fenced us", local->path);
    }
    buffer_reset(&local->pending_bytes);
    local->pending_count = 0;
    local->in_transaction = true;
    return STATUS_OK;
}

static enum status local_output_place(const struct stream_local *local,
                                      const struct stream_output *output,
                                      struct local_place *ret_place, struct error *err) {
    assert((int)output->topic >= 0 && (int)output->topic < STREAM_TOPIC_COUNT);
    struct local_place place = {output->topic, output->partition};
    if (place.partition < 0) {
        place.partition = stream_partition_of_key(output->key, local->partitions[output->topic]);
    }
    enum status status = local_place_check(local, place, err);
    if (status == STATUS_OK) { *ret_place = place; }
    return status;
}

static bool local_pending_room(struct stream_local *local) {
    if (local->pending_count < local->pending_capacity) { return true; }
    size_t wanted = local->pending_capacity == 0 ? LOCAL_PENDING_MIN : local->pending_capacity * 2;
    struct local_pending *pending = memory_resize(local->pending, wanted * sizeof *pending);
    if (pending == NULL) { return false; }
    local->pending = pending;
    local->pending_capacity = wanted;
    return true;
}

enum status local_publish(struct stream *s, const struct stream_output *output, struct error *err) {
    struct stream_local *local = stream_local_of(s);
    assert(local->in_transaction);

    struct local_pending pending = {.start = local->pending_bytes.size};
    enum status status = local_output_place(local, output, &pending.place, err);
    if (status == STATUS_OK) { status = local_record_size(output, &pending.size, err); }
    if (status != STATUS_OK) { return status; }
    if (!local_pending_room(local)) {
        return error_set(err, STATUS_NO_MEMORY, "%zu outputs of one transaction",
                         local->pending_count);
    }
    status = buffer_reserve(&local->pending_bytes, pending.size);
    if (status != STATUS_OK) {
        return error_set(err, status, "outputs of one transaction, %zu bytes so far",
                         local->pending_bytes.size);
    }

    local_record_encode(output, clock_wall_us() / 1000, local->pending_bytes.data + pending.start);
    local->pending_bytes.size += pending.size;
    local->pending[local->pending_count++] = pending;
    return STATUS_OK;
}

/* Topic by topic, so that the cursor stays where it appends; order within a partition is kept. */
static enum status writer_append_pending(struct local_writer *writer, struct error *err) {
    const struct stream_local *local = writer->local;
    size_t left = local->pending_count;
    for (int t = 0; t < STREAM_TOPIC_COUNT && left > 0; t++) {
        for (size_t i = 0; i < local->pending_count; i++) {
            const struct local_pending *pending = &local->pending[i];
            if ((int)pending->place.topic != t) { continue; }
            uint8_t *room = NULL;
            enum status status = writer_append(writer, pending->place, pending->size, &room, err);
            if (status != STATUS_OK) { return status; }
            assert(room != NULL);
            memcpy(room, local->pending_bytes.data + pending->start, pending->size);
            left--;
        }
    }
    return STATUS_OK;
}

/* Adds a position to the record being made: next, then what the old record had, one older each. */
static enum status commit_add_position(struct buffer *bytes, struct local_place place,
                                       uint64_t next, const struct local_position *old) {
    uint8_t encoded[LOCAL_POSITION_BYTES];
    encoded[0] = (uint8_t)place.topic;
    put_u32le(encoded + 1, (uint32_t)place.partition);
    put_u64le(encoded + 5, next);
    for (size_t i = 1; i < LOCAL_COMMITS_KEPT; i++) {
        put_u64le(encoded + 5 + 8 * i, old != NULL ? old->next[i - 1] : 0);
    }
    return buffer_append(bytes, encoded, sizeof encoded);
}

static bool positions_hold(const struct stream_position *positions, int count,
                           struct local_place place) {
    for (int i = 0; i < count; i++) {
        if (positions[i].topic == place.topic && positions[i].partition == place.partition) {
            return true;
        }
    }
    return false;
}

/* Makes the value of `commits` in local->commit_bytes: the given positions, then the old record's
 * that are not among them. */
static enum status local_commit_make(struct stream_local *local, const struct local_commit *old,
                                     const struct stream_position *positions, int count,
                                     const char *token, struct error *err) {
    struct buffer *bytes = &local->commit_bytes;
    size_t token_size = strlen(token);
    uint8_t size_byte = (uint8_t)token_size;
    uint8_t count_bytes[4] = {0};
    buffer_reset(bytes);
    enum status status = buffer_append(bytes, local->owner, LOCAL_OWNER_BYTES);
    if (status == STATUS_OK) { status = buffer_append(bytes, &size_byte, 1); }
    if (status == STATUS_OK) { status = buffer_append(bytes, token, token_size); }
    size_t count_at = bytes->size;
    if (status == STATUS_OK) { status = buffer_append(bytes, count_bytes, sizeof count_bytes); }

    uint32_t written = 0;
    for (int i = 0; i < count && status == STATUS_OK; i++) {
        struct local_place place = {positions[i].topic, positions[i].partition};
        struct local_position before;
        bool known = local_commit_find(old, place, &before);
        status =
            commit_add_position(bytes, place, (uint64_t)positions[i].next, known ? &before : NULL);
        written++;
    }
    for (uint32_t i = 0; i < old->count && status == STATUS_OK; i++) {
        struct local_position before = local_commit_position(old, i);
        if (positions_hold(positions, count, before.place)) { continue; }
        status = commit_add_position(bytes, before.place, before.next[0], &before);
        written++;
    }
    if (status != STATUS_OK) { return error_set(err, status, "positions of a commit"); }
    put_u32le(bytes->data + count_at, written);
    return STATUS_OK;
}

/* One attempt. */
static enum status local_commit_try(struct stream_local *local,
                                    const struct stream_position *positions, int count,
                                    const char *token, struct error *err) {
    struct local_writer writer;
    struct local_commit old = {0};
    enum status status = writer_begin(&writer, local, err);
    if (status != STATUS_OK) { goto fail; }
    status = local_commit_load(local, writer.txn, local->identity, &old, err);
    if (status != STATUS_OK) { goto fail; }
    if (memcmp(old.owner, local->owner, LOCAL_OWNER_BYTES) != 0) {
        local->fenced_in = false;
        status = error_set(err, STATUS_FENCED, "'%s': another process took '%s' over", local->path,
                           local->identity);
        goto fail;
    }
    status = local_commit_make(local, &old, positions, count, token, err);
    if (status != STATUS_OK) { goto fail; }

    status = writer_append_pending(&writer, err);
    if (status != STATUS_OK) { goto fail; }
    int code = local_put(writer.txn, local->commits, span_of(local->identity),
                         buffer_span(&local->commit_bytes));
    if (code != 0) {
        status = lmdb_failed(err, code, local->path, "writing positions");
        goto fail;
    }
    status = writer_save(&writer, err);
    if (status == STATUS_OK) { status = writer_retain(&writer, err); }
    if (status == STATUS_OK) { status = failpoint_pass(FAILPOINT_local_written, err); }
    if (status == STATUS_OK) {
        status = writer_commit(&writer, err);
        if (status == STATUS_OK) { failpoint_mark(FAILPOINT_local_committed); }
        return status;
    }

fail:
    writer_abort(&writer);
    return status;
}

/* Makes room in a full map: a transaction that only trims. True when it committed. */
static bool local_trim_alone(struct stream_local *local) {
    struct local_writer writer;
    if (local->retention_bytes == 0) { return false; }
    if (writer_begin(&writer, local, NULL) != STATUS_OK ||
        local_trim(local, writer.txn, local->retention_bytes / 2, &writer.total, NULL) !=
            STATUS_OK) {
        writer_abort(&writer);
        return false;
    }
    return writer_commit(&writer, NULL) == STATUS_OK;
}

enum status local_commit_all(struct stream *s, const struct stream_position *positions, int count,
                             const char *token, stream_wait wait, void *wait_context,
                             struct error *err) {
    struct stream_local *local = stream_local_of(s);
    assert(local->in_transaction);
    assert(count >= 0 && count <= STREAM_POSITIONS_MAX);
    assert(strlen(token) < STREAM_TOKEN_BYTES_MAX);
    (void)wait; /* the writer lock is held for milliseconds */
    (void)wait_context;

    struct error local_err;
    err = err != NULL ? err : &local_err;
    for (int i = 0; i < count; i++) {
        assert(positions[i].next >= 0);
        struct local_place place = {positions[i].topic, positions[i].partition};
        enum status known = local_place_check(local, place, err);
        if (known != STATUS_OK) { return known; }
    }
    enum status status = local_commit_try(local, positions, count, token, err);
    if (status == STATUS_LIMIT && local_trim_alone(local)) {
        status = local_commit_try(local, positions, count, token, err);
    }
    if (status != STATUS_OK) { return local_soften(local, status, err); }
    local->in_transaction = false;
    return STATUS_OK;
}

enum status local_abort(struct stream *s, struct error *err) {
    (void)err; /* nothing left this process yet */
    stream_local_of(s)->in_transaction = false;
    return STATUS_OK;
}

/* ---- produce --------------------------------------------------------------------------------- */

static enum status local_produce_try(struct stream_local *local,
                                     const struct stream_output *outputs, int count,
                                     struct error *err) {
    struct local_writer writer;
    int64_t now_ms = clock_wall_us() / 1000;
    enum status status = writer_begin(&writer, local, err);
    for (int i = 0; i < count && status == STATUS_OK; i++) {
        struct local_place place = {0};
        size_t size = 0;
        uint8_t *room = NULL;
        status = local_output_place(local, &outputs[i], &place, err);
        if (status == STATUS_OK) { status = local_record_size(&outputs[i], &size, err); }
        if (status == STATUS_OK) { status = writer_append(&writer, place, size, &room, err); }
        if (status == STATUS_OK) { local_record_encode(&outputs[i], now_ms, room); }
    }
    if (status == STATUS_OK) { status = writer_save(&writer, err); }
    if (status == STATUS_OK) { status = writer_retain(&writer, err); }
    if (status == STATUS_OK && local->retention_bytes > 0 &&
        writer.total > local->retention_bytes) {
        status = error_set(err, STATUS_AGAIN, "'%s' is full: %llu bytes wait for the daemon",
                           local->path, (unsigned long long)writer.total);
    }
    if (status == STATUS_OK) { return writer_commit(&writer, err); }
    writer_abort(&writer);
    return status;
}

enum status stream_local_produce(struct stream *stream, const struct stream_output *outputs,
                                 int count, struct error *err) {
    struct stream_local *local = stream_local_of(stream);
    assert(count >= 0);

    struct error local_err;
    err = err != NULL ? err : &local_err;
    /* What is wrong with a record is said before the lock is taken, and is never AGAIN. */
    for (int i = 0; i < count; i++) {
        struct local_place place;
        size_t size = 0;
        enum status checked = local_output_place(local, &outputs[i], &place, err);
        if (checked == STATUS_OK) { checked = local_record_size(&outputs[i], &size, err); }
        if (checked != STATUS_OK) { return error_wrap(err, "record %d of %d", i + 1, count); }
    }
    enum status status = local_produce_try(local, outputs, count, err);
    if (status == STATUS_LIMIT && local_trim_alone(local)) {
        status = local_produce_try(local, outputs, count, err);
    }
    return status == STATUS_OK ? status : local_soften(local, status, err);
}
