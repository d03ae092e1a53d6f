/* SPDX-License-Identifier: Apache-2.0
 *
 * dir.c - folders: make, list in a fixed order, publish atomically, remove. Door: file.h.
 *
 * Removal walks by file descriptors with O_NOFOLLOW, so that a symbolic link inside the folder is
 * deleted as a link and nothing outside is ever reached.
 */
#include "base/file.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/fault.h"

#define DIR_MODE       0750
#define DIR_DEPTH_MAX  64     /* levels that dir_remove descends */
#define DIR_LIST_BYTES 16384u /* a block of names */

/* mkdir; an existing folder is fine. Returns 0 or errno. */
static int dir_make_one(const char *path) {
    if (fault_fires(FAULT_FILE)) { return EIO; }
    if (mkdir(path, DIR_MODE) == 0) { return 0; }
    if (errno != EEXIST) { return errno; }

    struct stat info;
    if (stat(path, &info) != 0) { return errno; }
    return S_ISDIR(info.st_mode) ? 0 : ENOTDIR;
}

enum status dir_make(const char *path, struct error *err) {
    assert(path != NULL);

    char part[FILE_PATH_BYTES_MAX];
    size_t length = strlen(path);
    if (length == 0 || length >= sizeof part) {
        return error_set(err, STATUS_LIMIT, "folder path of %zu bytes, allowed 1 to %u", length,
                         FILE_PATH_BYTES_MAX - 1);
    }
    memcpy(part, path, length + 1);

    for (size_t i = 1; i <= length; i++) {
        if (part[i] != '/' && part[i] != '\0') { continue; }
        char kept = part[i];
        part[i] = '\0';
        int reason = dir_make_one(part);
        if (reason != 0) { return error_errno(err, reason, "making folder '%s'", part); }
        part[i] = kept;
    }
    return STATUS_OK;
}

enum status dir_sync(const char *path, struct error *err) {
    if (fault_fires(FAULT_FILE)) { return error_errno(err, EIO, "syncing folder '%s'", path); }
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) { return error_errno(err, errno, "opening folder '%s'", path); }

    int reason = fsync(fd) != 0 ? errno : 0;
    (void)close(fd); /* read only: nothing to lose */
    if (reason != 0) { return error_errno(err, reason, "syncing folder '%s'", path); }
    return STATUS_OK;
}

enum status dir_publish(const char *from, const char *to, struct error *err) {
    enum status status = dir_sync(from, err);
    if (status != STATUS_OK) { return status; }

    /* rename() would replace an empty folder: a published name is never used twice. */
    struct stat info;
    if (lstat(to, &info) == 0) {
        return error_errno(err, EEXIST, "renaming '%s' to '%s'", from, to);
    }
    bool refused = fault_fires(FAULT_FILE);
    if (refused || rename(from, to) != 0) {
        return error_errno(err, refused ? EIO : errno, "renaming '%s' to '%s'", from, to);
    }
    return path_sync_parent(to, err);
}

/* Removes everything under the open folder; takes: fd. Returns 0 or errno. */
static int dir_empty(int fd, int depth) {
    if (depth >= DIR_DEPTH_MAX) {
        (void)close(fd); /* already failing */
        return ELOOP;
    }
    DIR *dir = fdopendir(fd);
    if (dir == NULL) {
        int reason = errno;
        (void)close(fd); /* already failing */
        return reason;
    }

    int reason = 0;
    while (reason == 0) {
        errno = 0;
        struct dirent *entry = readdir(dir); /* NOLINT(concurrency-mt-unsafe): our own DIR */
        if (entry == NULL) {
            reason = errno;
            break;
        }
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) { continue; }
        if (fault_fires(FAULT_FILE)) {
            reason = EIO;
            break;
        }
        if (unlinkat(fd, entry->d_name, 0) == 0 || errno == ENOENT) { continue; }
        if (errno != EISDIR && errno != EPERM) {
            reason = errno;
            break;
        }

        int child = openat(fd, entry->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        reason = child < 0 ? errno : dir_empty(child, depth + 1);
        if (reason == 0 && unlinkat(fd, entry->d_name, AT_REMOVEDIR) != 0) { reason = errno; }
    }
    (void)closedir(dir); /* closes fd as well; read only */
    return reason;
}

enum status dir_remove(const char *path, struct error *err) {
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT) { return STATUS_OK; }
    if (fd < 0) { return error_errno(err, errno, "removing '%s'", path); }

    int reason = dir_empty(fd, 0);
    if (reason == 0 && rmdir(path) != 0) { reason = errno; }
    if (reason != 0) { return error_errno(err, reason, "removing '%s'", path); }
    return STATUS_OK;
}

struct dir_entry {
    const char *name; /* in the arena */
    bool is_dir;
};

struct dir_entries {
    struct arena names;
    struct buffer list; /* of struct dir_entry */
};

static int dir_entry_compare(const void *a, const void *b) {
    return strcmp(((const struct dir_entry *)a)->name, ((const struct dir_entry *)b)->name);
}

/* Collects all entries of the open folder. */
static enum status dir_collect(DIR *dir, const char *path, struct dir_entries *entries,
                               struct error *err) {
    for (;;) {
        errno = 0;
        struct dirent *entry = readdir(dir); /* NOLINT(concurrency-mt-unsafe): our own DIR */
        if (entry == NULL && errno != 0) { return error_errno(err, errno, "listing '%s'", path); }
        if (entry == NULL) { return STATUS_OK; }
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) { continue; }

        struct stat info;
        if (fstatat(dirfd(dir), entry->d_name, &info, AT_SYMLINK_NOFOLLOW) != 0) {
            if (errno == ENOENT) { continue; } /* removed meanwhile */
            return error_errno(err, errno, "listing '%s/%s'", path, entry->d_name);
        }
        struct dir_entry found = {
            .name = arena_take_copy(&entries->names, entry->d_name, strlen(entry->d_name)),
            .is_dir = S_ISDIR(info.st_mode),
        };
        if (found.name == NULL ||
            buffer_append(&entries->list, &found, sizeof found) != STATUS_OK) {
            return error_set(err, STATUS_NO_MEMORY, "listing '%s'", path);
        }
    }
}

enum status dir_list(const char *path, dir_visit visit, void *context, struct error *err) {
    struct dir_entries entries = {.list = {.size = 0}};
    DIR *dir = opendir(path);
    if (dir == NULL && errno == ENOENT) {
        return error_set(err, STATUS_NOT_FOUND, "folder '%s' does not exist", path);
    }
    if (dir == NULL) { return error_errno(err, errno, "opening folder '%s'", path); }

    enum status status = arena_init_chained(&entries.names, DIR_LIST_BYTES, err);
    if (status == STATUS_OK) { status = dir_collect(dir, path, &entries, err); }
    (void)closedir(dir); /* read only: nothing to lose */

    struct dir_entry *list = (struct dir_entry *)(void *)entries.list.data;
    size_t count = entries.list.size / sizeof *list;
    if (count > 1) { qsort(list, count, sizeof *list, dir_entry_compare); }
    for (size_t i = 0; status == STATUS_OK && i < count; i++) {
        status = visit(context, list[i].name, list[i].is_dir, err);
    }
    buffer_free(&entries.list);
    arena_free(&entries.names);
    return status;
}

enum status dir_free_bytes(const char *path, uint64_t *ret_bytes, struct error *err) {
    struct statvfs info;
    if (statvfs(path, &info) != 0) {
        return error_errno(err, errno, "asking the free space of '%s'", path);
    }
    *ret_bytes = (uint64_t)info.f_bavail * info.f_frsize;
    return STATUS_OK;
}
