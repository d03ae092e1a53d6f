/* SPDX-License-Identifier: Apache-2.0
 *
 * stage_commit.c - the stage into LMDB: one write transaction, keys in order, trims last.
 *
 * Sorted keys keep LMDB's cursor on the same page from put to put, and keys beyond a table's last
 * are appended without splitting pages. A full map aborts the transaction, grows, and starts again
 * from memory; any other failure leaves LMDB as it was and the stage full.
 */
#include <assert.h>

#include "base/failpoint.h"
#include "storage/stage_parts.h"

struct stage_writer {
    MDB_cursor *cursor; /* on the table being written */
    uint8_t last[STORE_KEY_BYTES_MAX];
    size_t last_size; /* bytes of the table's last key when it was opened; 0 = empty table */
};

/* Puts [value][crc] under key. */
static int writer_put(struct stage_writer *writer, struct span key, struct span value,
                      unsigned flags) {
    MDB_val wanted = lmdb_val(key);
    MDB_val room = {value.size + STORE_CRC_BYTES, NULL};
    int code = lmdb_put(writer->cursor, &wanted, &room, flags | MDB_RESERVE);
    if (code != 0) { return code; }

    uint8_t *bytes = room.mv_data;
    if (value.size > 0) { memcpy(bytes, value.data, value.size); }
    put_u32le(bytes + value.size, store_crc(key, value));
    return 0;
}

static int writer_delete(struct stage_writer *writer, struct span key) {
    MDB_val wanted = lmdb_val(key);
    MDB_val stored;
    int code = mdb_cursor_get(writer->cursor, &wanted, &stored, MDB_SET);
    if (code == 0) { code = lmdb_delete(writer->cursor); }
    return code == MDB_NOTFOUND ? 0 : code;
}

static int writer_open(struct stage_writer *writer, MDB_txn *txn, MDB_dbi table) {
    int code = mdb_cursor_open(txn, table, &writer->cursor);
    if (code != 0) { return code; }

    MDB_val key, value;
    code = mdb_cursor_get(writer->cursor, &key, &value, MDB_LAST);
    writer->last_size = 0;
    if (code == 0) {
        memcpy(writer->last, key.mv_data, key.mv_size);
        writer->last_size = key.mv_size;
    }
    return code == MDB_NOTFOUND ? 0 : code;
}

/* Writes the entries of one table, which are in order. */
static int stage_write_table(struct stage *stage, MDB_txn *txn, enum store_table table) {
    size_t start = stage->table_start[table], end = stage->table_start[table + 1];
    if (start == end) { return 0; }

    struct stage_writer writer;
    int code = writer_open(&writer, txn, stage->store->tables[table]);
    if (code != 0) { return code; }
    for (size_t i = start; i < end && code == 0; i++) {
        const struct stage_entry *entry = &stage->entries[stage->order[i].entry];
        struct span key = stage_entry_key(entry);
        if (entry->deleted) {
            code = writer_delete(&writer, key);
            continue;
        }
        bool beyond = span_compare(key, span_make(writer.last, writer.last_size)) > 0;
        code = writer_put(&writer, key, stage_entry_value(entry), beyond ? MDB_APPEND : 0);
    }
    mdb_cursor_close(writer.cursor);
    return code;
}

static int writer_trim_below(struct stage_writer *writer, struct span bound) {
    MDB_val key, value;
    int code = mdb_cursor_get(writer->cursor, &key, &value, MDB_FIRST);
    while (code == 0 && span_compare(lmdb_span(&key), bound) < 0) {
        code = lmdb_delete(writer->cursor);
        if (code == 0) { code = mdb_cursor_get(writer->cursor, &key, &value, MDB_FIRST); }
    }
    return code == MDB_NOTFOUND ? 0 : code;
}

static int writer_rewrite(struct stage_writer *writer, struct span key, struct span value) {
    MDB_val wanted = lmdb_val(key);
    MDB_val stored;
    int code = mdb_cursor_get(writer->cursor, &wanted, &stored, MDB_SET);
    if (code != 0) { return code == MDB_NOTFOUND ? 0 : code; }
    return writer_put(writer, key, value, 0);
}

static int stage_write_after(struct stage *stage, MDB_txn *txn, const struct stage_after *after) {
    struct stage_writer writer;
    int code = writer_open(&writer, txn, stage->store->tables[after->table]);
    if (code != 0) { return code; }
    switch (after->kind) {
    case STAGE_TRIM: code = writer_delete(&writer, after->key); break;
    case STAGE_TRIM_BELOW: code = writer_trim_below(&writer, after->key); break;
    case STAGE_REWRITE: code = writer_rewrite(&writer, after->key, after->value); break;
    }
    mdb_cursor_close(writer.cursor);
    return code;
}

/* Everything in one transaction: 0, or LMDB's code and nothing written. */
static int stage_write(struct stage *stage) {
    MDB_txn *txn = NULL;
    int code = lmdb_begin_write(stage->store->env, &txn);
    if (code != 0) { return code; }
    failpoint_mark(FAILPOINT_stage_begun);
    if (stage->entry_count > 0) {
        for (int t = 0; t < STORE_TABLE_COUNT && code == 0; t++) {
            code = stage_write_table(stage, txn, (enum store_table)t);
        }
    }
    failpoint_mark(FAILPOINT_stage_written);
    for (size_t i = 0; i < stage->after_count && code == 0; i++) {
        code = stage_write_after(stage, txn, &stage->after[i]);
    }
    failpoint_mark(FAILPOINT_stage_trimmed);
    if (code != 0) {
        mdb_txn_abort(txn);
        return code;
    }
    code = lmdb_commit(txn);
    if (code == 0) { failpoint_mark(FAILPOINT_stage_committed); }
    return code;
}

enum status stage_commit(struct stage *stage, struct error *err) {
    if (stage->entry_count == 0 && stage->after_count == 0) { return STATUS_OK; }
    enum status status = stage_sort(stage, err);
    if (status != STATUS_OK) { return status; }

    /* Our own snapshot would keep the map from growing; the next read takes a new one. */
    store_reader_reset(stage->reader);
    stage->reader_stale = true;
    int code = stage_write(stage);
    while (code == MDB_MAP_FULL) {
        status = store_grow(stage->store, err);
        if (status == STATUS_OK) { status = failpoint_pass(FAILPOINT_map_grown, err); }
        if (status != STATUS_OK) { return status; }
        code = stage_write(stage);
    }
    if (code != 0) {
        return lmdb_failed(err, code, stage->store->path, "writing %zu entries",
                           stage->entry_count);
    }
    stage_reset(stage);
    return STATUS_OK;
}
