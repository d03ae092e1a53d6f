/* SPDX-License-Identifier: Apache-2.0
 *
 * file.h - whole files, written so that a crash leaves the old one or the new one.
 *
 * Durable write: temporary name in the same folder, write, fsync, rename, fsync the folder. A
 * durable folder: fill "<name>.tmp", fsync each file and the folder, rename, fsync the parent.
 * Leftover "*.tmp" is removed at start by whoever owns the parent folder.
 */
#ifndef BASE_FILE_H
#define BASE_FILE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/status.h"

#define FILE_PATH_BYTES_MAX 4096u

/* Writes path from the pieces and fsyncs it (not the folder). Replaces an existing file in place:
 * only for files inside a folder that is not yet published. IO names the path. */
MUST_CHECK enum status file_write(const char *path, const struct span *pieces, int piece_count,
                                  struct error *err);
/* Temporary name, fsync, rename, fsync of the folder. */
MUST_CHECK enum status file_replace(const char *path, struct span bytes, struct error *err);
/* Reads at most limit bytes; LIMIT when the file is larger, NOT_FOUND when absent. */
MUST_CHECK enum status file_read(const char *path, size_t limit, struct buffer *ret_bytes,
                                 struct error *err);
/* Maps a whole file read-only; an empty file gives size 0. Unmap with file_unmap. */
MUST_CHECK enum status file_map(const char *path, struct span *ret_bytes, struct error *err);
void file_unmap(struct span bytes);
bool file_exists(const char *path);

/* mkdir -p with mode 0750. */
MUST_CHECK enum status dir_make(const char *path, struct error *err);
MUST_CHECK enum status dir_sync(const char *path, struct error *err);
/* fsync of from, rename from -> to, fsync of the parent of to. to must not exist. */
MUST_CHECK enum status dir_publish(const char *from, const char *to, struct error *err);
/* rm -r; absent is OK. Refuses to leave the given folder (no symbolic link is followed). */
MUST_CHECK enum status dir_remove(const char *path, struct error *err);
/* Calls visit with the name of each entry except "." and "..", sorted bytewise. */
typedef enum status (*dir_visit)(void *context, const char *name, bool is_dir, struct error *err);
MUST_CHECK enum status dir_list(const char *path, dir_visit visit, void *context,
                                struct error *err);
/* Free bytes for an ordinary user on the file system that holds path. */
MUST_CHECK enum status dir_free_bytes(const char *path, uint64_t *ret_bytes, struct error *err);
/* fsync of the folder that holds path: makes a rename or removal of path last. */
MUST_CHECK enum status path_sync_parent(const char *path, struct error *err);
/* Joins with '/', checks the limit. */
MUST_CHECK enum status path_join(char ret_path[FILE_PATH_BYTES_MAX], const char *folder,
                                 const char *name, struct error *err);

#endif
