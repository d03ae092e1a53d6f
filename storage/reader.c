/* SPDX-License-Identifier: Apache-2.0
 *
 * reader.c - a snapshot of the store: get, scan, last; every value checked against its CRC.
 *
 * One reader is one LMDB read transaction, begun once and renewed; its cursors are renewed with it.
 * While it is active the store's map stays where it is (store_enter), so a reader that nobody needs
 * is reset.
 */
#include <assert.h>
#include <stdio.h>

#include "base/memory.h"
#include "storage/store_parts.h"

const char *store_key_text(struct span key, char text[STORE_KEY_TEXT_BYTES]) {
    size_t at = 0;
    for (size_t i = 0; i < key.size; i++) {
        if (at + 8 > STORE_KEY_TEXT_BYTES) {
            (void)memcpy(text + at, "..", 2);
            at += 2;
            break;
        }
        uint8_t byte = key.data[i];
        if (byte >= 0x20 && byte < 0x7f && byte != '\'' && byte != '\\') {
            text[at++] = (char)byte;
        } else {
            at += (size_t)snprintf(text + at, 5, "\\x%02x", byte);
        }
    }
    text[at] = '\0';
    return text;
}

enum status store_value_check(enum store_table table, struct span key, struct span stored,
                              struct span *ret_value, struct error *err) {
    char text[STORE_KEY_TEXT_BYTES];
    if (stored.size < STORE_CRC_BYTES) {
        return error_set(err, STATUS_CORRUPT, "table %s, key '%s': %zu bytes, no room for a CRC",
                         store_table_name(table), store_key_text(key, text), stored.size);
    }
    struct span value = span_make(stored.data, stored.size - STORE_CRC_BYTES);
    uint32_t expected = get_u32le(stored.data + value.size);
    uint32_t found = store_crc(key, value);
    if (found != expected) {
        return error_set(err, STATUS_CORRUPT, "table %s, key '%s': CRC %08x, expected %08x",
                         store_table_name(table), store_key_text(key, text), found, expected);
    }
    *ret_value = value;
    return STATUS_OK;
}

enum status store_reader_open(struct store *store, struct store_reader **ret_reader,
                              struct error *err) {
    struct store_reader *reader = memory_take_zeroed(1, sizeof *reader);
    if (reader == NULL) { return error_set(err, STATUS_NO_MEMORY, "a reader of the store"); }
    reader->store = store;
    enum status status = store_reader_renew(reader, err);
    if (status != STATUS_OK) {
        memory_free(reader);
        return status;
    }
    *ret_reader = reader;
    return STATUS_OK;
}

void store_reader_close(struct store_reader *reader) {
    if (reader == NULL) { return; }
    for (int i = 0; i < STORE_TABLE_COUNT; i++) {
        if (reader->cursors[i] != NULL) { mdb_cursor_close(reader->cursors[i]); }
    }
    if (reader->txn != NULL) { mdb_txn_abort(reader->txn); }
    if (reader->active) { store_leave(reader->store); }
    memory_free(reader);
}

enum status store_reader_renew(struct store_reader *reader, struct error *err) {
    struct store *store = reader->store;
    store_reader_reset(reader);

    store_enter(store);
    int code = EIO;
    if (!fault_fires(FAULT_STORE)) {
        code = reader->txn != NULL ? mdb_txn_renew(reader->txn)
                                   : mdb_txn_begin(store->env, NULL, MDB_RDONLY, &reader->txn);
    }
    if (code != 0) {
        store_leave(store);
        return lmdb_failed(err, code, store->path, "taking a snapshot");
    }
    reader->active = true;
    for (int i = 0; i < STORE_TABLE_COUNT; i++) {
        reader->cursor_stale[i] = true;
    }
    return STATUS_OK;
}

void store_reader_reset(struct store_reader *reader) {
    if (!reader->active) { return; }
    mdb_txn_reset(reader->txn);
    reader->active = false;
    store_leave(reader->store);
}

/* The reader's cursor on a table, on its present snapshot. 0 or LMDB's code. */
static int reader_cursor(struct store_reader *reader, enum store_table table,
                         MDB_cursor **ret_cursor) {
    assert(reader->active);
    assert((int)table >= 0 && (int)table < STORE_TABLE_COUNT);

    int code = 0;
    if (reader->cursors[table] == NULL) {
        code = mdb_cursor_open(reader->txn, reader->store->tables[table], &reader->cursors[table]);
    } else if (reader->cursor_stale[table]) {
        code = mdb_cursor_renew(reader->txn, reader->cursors[table]);
    }
    if (code != 0) { return code; }
    reader->cursor_stale[table] = false;
    *ret_cursor = reader->cursors[table];
    return 0;
}

static enum status reader_failed(struct store_reader *reader, int code, enum store_table table,
                                 struct span key, struct error *err) {
    char text[STORE_KEY_TEXT_BYTES];
    return lmdb_failed(err, code, reader->store->path, "reading table %s, key '%s'",
                       store_table_name(table), store_key_text(key, text));
}

enum status store_get(struct store_reader *reader, enum store_table table, struct span key,
                      struct span *ret_value, struct error *err) {
    assert(key.size > 0 && key.size <= STORE_KEY_BYTES_MAX);

    MDB_cursor *cursor = NULL;
    MDB_val wanted = lmdb_val(key);
    MDB_val stored;
    int code = reader_cursor(reader, table, &cursor);
    if (code == 0) { code = mdb_cursor_get(cursor, &wanted, &stored, MDB_SET); }
    if (code == MDB_NOTFOUND) {
        /* The common answer, once an event of a new user: words would cost more than the look. */
        if (err != NULL) {
            err->code = STATUS_NOT_FOUND;
            memcpy(err->text, "no such key", sizeof "no such key");
        }
        return STATUS_NOT_FOUND;
    }
    if (code != 0) { return reader_failed(reader, code, table, key, err); }
    return store_value_check(table, key, lmdb_span(&stored), ret_value, err);
}

enum status store_scan(struct store_reader *reader, enum store_table table, struct span first,
                       store_visit visit, void *context, struct error *err) {
    MDB_cursor *cursor = NULL;
    MDB_val key = lmdb_val(first);
    MDB_val stored;
    int code = reader_cursor(reader, table, &cursor);
    if (code == 0) {
        code = mdb_cursor_get(cursor, &key, &stored, first.size > 0 ? MDB_SET_RANGE : MDB_FIRST);
    }
    while (code == 0) {
        struct span value = {0};
        enum status status =
            store_value_check(table, lmdb_span(&key), lmdb_span(&stored), &value, err);
        if (status != STATUS_OK) { return status; }
        if (!visit(context, lmdb_span(&key), value)) { return STATUS_OK; }
        code = mdb_cursor_get(cursor, &key, &stored, MDB_NEXT);
    }
    if (code != MDB_NOTFOUND) { return reader_failed(reader, code, table, first, err); }
    return STATUS_OK;
}

enum status store_at_or_below(struct store_reader *reader, enum store_table table, struct span key,
                              struct span *ret_key, struct span *ret_value, struct error *err) {
    assert(key.size > 0 && key.size <= STORE_KEY_BYTES_MAX);

    MDB_cursor *cursor = NULL;
    MDB_val found = lmdb_val(key);
    MDB_val stored;
    int code = reader_cursor(reader, table, &cursor);
    if (code == 0) { code = mdb_cursor_get(cursor, &found, &stored, MDB_SET_RANGE); }
    if (code == MDB_NOTFOUND) {
        code = mdb_cursor_get(cursor, &found, &stored, MDB_LAST);
    } else if (code == 0 && !span_equal(lmdb_span(&found), key)) {
        code = mdb_cursor_get(cursor, &found, &stored, MDB_PREV);
    }
    if (code == MDB_NOTFOUND) {
        return error_set(err, STATUS_NOT_FOUND, "table %s has no key so small",
                         store_table_name(table));
    }
    if (code != 0) { return reader_failed(reader, code, table, key, err); }

    struct span value = {0};
    enum status status =
        store_value_check(table, lmdb_span(&found), lmdb_span(&stored), &value, err);
    if (status != STATUS_OK) { return status; }
    *ret_key = lmdb_span(&found);
    *ret_value = value;
    return STATUS_OK;
}

enum status store_last(struct store_reader *reader, enum store_table table, struct span *ret_key,
                       struct span *ret_value, struct error *err) {
    MDB_cursor *cursor = NULL;
    MDB_val key, stored;
    int code = reader_cursor(reader, table, &cursor);
    if (code == 0) { code = mdb_cursor_get(cursor, &key, &stored, MDB_LAST); }
    if (code == MDB_NOTFOUND) {
        return error_set(err, STATUS_NOT_FOUND, "table %s is empty", store_table_name(table));
    }
    if (code != 0) { return reader_failed(reader, code, table, span_make(NULL, 0), err); }

    struct span value = {0};
    enum status status = store_value_check(table, lmdb_span(&key), lmdb_span(&stored), &value, err);
    if (status != STATUS_OK) { return status; }
    *ret_key = lmdb_span(&key);
    *ret_value = value;
    return STATUS_OK;
}
