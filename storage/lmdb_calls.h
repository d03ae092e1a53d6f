/* SPDX-License-Identifier: Apache-2.0
 *
 * lmdb_calls.h - the calls into LMDB that the disk may refuse, and LMDB's codes in our words.
 *
 * Why it exists: every write may meet a full disk, and a test must be able to make the n-th one
 * fail (base/fault.h, FAULT_STORE). All writes of this folder go through these. A refused call
 * behaves as LMDB does on a full disk: ENOSPC, and a refused commit has aborted its transaction.
 * Only storage/ includes this file.
 */
#ifndef STORAGE_LMDB_CALLS_H
#define STORAGE_LMDB_CALLS_H

#include <errno.h>
#include <lmdb.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/fault.h"
#include "base/status.h"

/* LMDB takes void pointers for bytes it only reads. */
static inline MDB_val lmdb_val(struct span bytes) {
    return (MDB_val){.mv_size = bytes.size, .mv_data = (void *)(uintptr_t)bytes.data};
}

static inline struct span lmdb_span(const MDB_val *value) {
    return span_make(value->mv_data, value->mv_size);
}

static inline int lmdb_begin_write(MDB_env *env, MDB_txn **ret_txn) {
    if (fault_fires(FAULT_STORE)) { return ENOSPC; }
    return mdb_txn_begin(env, NULL, 0, ret_txn);
}

static inline int lmdb_put(MDB_cursor *cursor, MDB_val *key, MDB_val *value, unsigned flags) {
    if (fault_fires(FAULT_STORE)) { return ENOSPC; }
    return mdb_cursor_put(cursor, key, value, flags);
}

static inline int lmdb_delete(MDB_cursor *cursor) {
    if (fault_fires(FAULT_STORE)) { return ENOSPC; }
    return mdb_cursor_del(cursor, 0);
}

/* The transaction is gone afterwards, whatever the answer. */
static inline int lmdb_commit(MDB_txn *txn) {
    if (fault_fires(FAULT_STORE)) {
        mdb_txn_abort(txn);
        return ENOSPC;
    }
    return mdb_txn_commit(txn);
}

/* True when code means "no room on the file system of path": ENOSPC, or EIO (LMDB's name for a
 * short write) while hardly anything is free. */
bool lmdb_disk_full(int code, const char *path);

/* Sets err to the words, LMDB's own text and a status: MDB_NOTFOUND and
 * ENOENT NOT_FOUND, MDB_MAP_FULL and MDB_BAD_VALSIZE LIMIT, ENOMEM NO_MEMORY, damaged files
 * CORRUPT, all else IO. path: the environment's folder, for the words and for lmdb_disk_full. code
 * != 0. Returns the status. */
MUST_CHECK enum status lmdb_failed(struct error *err, int code, const char *path,
                                   const char *format, ...) PRINTF_LIKE(4, 5);

#endif
