/* SPDX-License-Identifier: Apache-2.0
 *
 * lmdb_calls.c - LMDB's codes (lmdb.h, "Return Codes") as statuses with our words in front.
 */
#include "storage/lmdb_calls.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/file.h"

#define LMDB_ROOM_BYTES_MIN ((uint64_t)16 << 20) /* below it EIO is taken for a full disk */
#define LMDB_WORDS_BYTES    256u

static enum status lmdb_status(int code) {
    switch (code) {
    case MDB_NOTFOUND:
    case ENOENT: return STATUS_NOT_FOUND;
    case MDB_MAP_FULL:
    case MDB_BAD_VALSIZE:
    case MDB_READERS_FULL:
    case MDB_TXN_FULL: return STATUS_LIMIT;
    case MDB_PAGE_NOTFOUND:
    case MDB_CORRUPTED:
    case MDB_INVALID:
    case MDB_VERSION_MISMATCH:
    case MDB_INCOMPATIBLE: return STATUS_CORRUPT;
    case ENOMEM: return STATUS_NO_MEMORY;
    default: return STATUS_IO;
    }
}

bool lmdb_disk_full(int code, const char *path) {
    if (code == ENOSPC || code == EDQUOT) { return true; }
    if (code != EIO) { return false; }

    uint64_t free_bytes = 0;
    if (dir_free_bytes(path, &free_bytes, NULL) != STATUS_OK) { return false; }
    return free_bytes < LMDB_ROOM_BYTES_MIN;
}

enum status lmdb_failed(struct error *err, int code, const char *path, const char *format, ...) {
    assert(code != 0);
    assert(path != NULL);

    char words[LMDB_WORDS_BYTES];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(words, sizeof words, format, arguments); /* cut words are still words */
    va_end(arguments);

    bool full = lmdb_disk_full(code, path);
    enum status status = error_set(err, lmdb_status(code), "%s in '%s': %s%s", words, path,
                                   full ? "disk full: " : "", mdb_strerror(code));
    if (err != NULL) { err->disk_full = full; }
    return status;
}
