/* SPDX-License-Identifier: Apache-2.0
 *
 * file.c - whole files in and out. Folders are in dir.c; both doors are file.h.
 *
 * Order of a durable replace (a crash between any two leaves the old file or the new one):
 *   write "<path>.tmp" ▸ fsync it ▸ rename over path ▸ fsync the folder
 * A failed step removes the temporary name; the old file is never touched before the rename.
 */
#include "base/file.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/failpoint.h"
#include "base/fault.h"

#define FILE_MODE        0640
#define READ_CHUNK_BYTES 65536u

/* Writes all bytes, going on after short writes and signals. Returns 0 or errno. */
static int file_write_all(int fd, struct span bytes) {
    size_t at = 0;
    while (at < bytes.size) {
        if (fault_fires(FAULT_FILE)) { return EIO; }
        ssize_t written = write(fd, bytes.data + at, bytes.size - at);
        if (written < 0 && errno == EINTR) { continue; }
        if (written < 0) { return errno; }
        at += (size_t)written;
    }
    return 0;
}

enum status file_write(const char *path, const struct span *pieces, int piece_count,
                       struct error *err) {
    assert(path != NULL);
    assert(piece_count >= 0);

    int fd = -1;
    int reason = EIO;
    const char *step = "opening";
    if (fault_fires(FAULT_FILE)) { goto fail; }
    fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, FILE_MODE);
    if (fd < 0) {
        reason = errno;
        goto fail;
    }

    step = "writing";
    for (int i = 0; i < piece_count; i++) {
        reason = file_write_all(fd, pieces[i]);
        if (reason != 0) { goto fail; }
    }

    step = "syncing";
    reason = EIO;
    failpoint_mark(FAILPOINT_file_written);
    if (fault_fires(FAULT_FILE)) { goto fail; }
    if (fsync(fd) != 0) {
        reason = errno;
        goto fail;
    }

    step = "closing";
    int closed = close(fd);
    fd = -1;
    if (closed != 0) {
        reason = errno;
        goto fail;
    }
    return STATUS_OK;

fail:
    if (fd >= 0) { (void)close(fd); /* already failing */ }
    return error_errno(err, reason, "%s '%s'", step, path);
}

/* The folder part of path: "." when there is none, "/" for "/x". */
static enum status path_parent(char ret_folder[FILE_PATH_BYTES_MAX], const char *path,
                               struct error *err) {
    size_t length = strlen(path);
    while (length > 1 && path[length - 1] == '/') {
        length--;
    }
    while (length > 0 && path[length - 1] != '/') {
        length--;
    }
    while (length > 1 && path[length - 1] == '/') {
        length--;
    }
    if (length >= FILE_PATH_BYTES_MAX) {
        return error_set(err, STATUS_LIMIT, "path longer than %u bytes", FILE_PATH_BYTES_MAX);
    }
    if (length == 0) {
        memcpy(ret_folder, ".", 2);
        return STATUS_OK;
    }
    memcpy(ret_folder, path, length);
    ret_folder[length] = '\0';
    return STATUS_OK;
}

enum status path_sync_parent(const char *path, struct error *err) {
    char folder[FILE_PATH_BYTES_MAX];
    enum status status = path_parent(folder, path, err);
    if (status != STATUS_OK) { return status; }
    return dir_sync(folder, err);
}

enum status file_replace(const char *path, struct span bytes, struct error *err) {
    char temporary[FILE_PATH_BYTES_MAX];
    int length = snprintf(temporary, sizeof temporary, "%s.tmp", path);
    if (length < 0 || (size_t)length >= sizeof temporary) {
        return error_set(err, STATUS_LIMIT, "path longer than %u bytes", FILE_PATH_BYTES_MAX);
    }

    enum status status = file_write(temporary, &bytes, 1, err);
    if (status == STATUS_OK) { status = failpoint_pass(FAILPOINT_file_synced, err); }
    if (status != STATUS_OK) { goto fail; }

    bool refused = fault_fires(FAULT_FILE);
    if (refused || rename(temporary, path) != 0) {
        status = error_errno(err, refused ? EIO : errno, "renaming '%s' to '%s'", temporary, path);
        goto fail;
    }
    status = failpoint_pass(FAILPOINT_file_renamed, err);
    return status == STATUS_OK ? path_sync_parent(path, err) : status;

fail:
    (void)unlink(temporary); /* may not exist; the first error is the one that matters */
    return status;
}

/* Opens for reading; NOT_FOUND or IO. A folder is refused. flags: more of open's. */
static enum status file_open(const char *path, int flags, int *ret_fd, struct stat *ret_info,
                             struct error *err) {
    if (fault_fires(FAULT_FILE)) { return error_errno(err, EIO, "opening '%s'", path); }
    int fd = open(path, O_RDONLY | O_CLOEXEC | flags);
    if (fd < 0 && errno == ENOENT) {
        return error_set(err, STATUS_NOT_FOUND, "'%s' does not exist", path);
    }
    if (fd < 0) { return error_errno(err, errno, "opening '%s'", path); }

    int reason = 0;
    if (fstat(fd, ret_info) != 0) { reason = errno; }
    if (reason == 0 && S_ISDIR(ret_info->st_mode)) { reason = EISDIR; }
    if (reason != 0) {
        (void)close(fd); /* read only: nothing to lose */
        return error_errno(err, reason, "opening '%s'", path);
    }
    *ret_fd = fd;
    return STATUS_OK;
}

/* Appends to bytes until the end of the file; bytes->limit bounds it. */
static enum status file_read_all(int fd, const char *path, size_t size_hint, struct buffer *bytes,
                                 struct error *err) {
    for (;;) {
        size_t left = bytes->limit - bytes->size;
        /* One byte more than the file has, so that its end is seen without growing. */
        size_t chunk = bytes->size <= size_hint ? size_hint + 1 - bytes->size : READ_CHUNK_BYTES;
        if (chunk > left) { chunk = left; }
        if (chunk == 0) {
            return error_set(err, STATUS_LIMIT, "'%s' is larger than %zu bytes", path,
                             bytes->limit - 1);
        }
        enum status status = buffer_reserve(bytes, chunk);
        if (status != STATUS_OK) { return error_set(err, status, "reading '%s'", path); }

        ssize_t got = read(fd, bytes->data + bytes->size, chunk);
        if (got < 0 && errno == EINTR) { continue; }
        if (got < 0) { return error_errno(err, errno, "reading '%s'", path); }
        if (got == 0) { return STATUS_OK; }
        bytes->size += (size_t)got;
    }
}

enum status file_read(const char *path, size_t limit, struct buffer *ret_bytes, struct error *err) {
    assert(limit < SIZE_MAX);

    int fd = -1;
    struct stat info;
    enum status status = file_open(path, 0, &fd, &info, err);
    if (status != STATUS_OK) { return status; }

    /* One byte beyond the limit is what proves that the file is too large. */
    struct buffer bytes = {.limit = limit + 1};
    if (info.st_size > 0 && (uint64_t)info.st_size > limit) {
        status = error_set(err, STATUS_LIMIT, "'%s' is %lld bytes, more than %zu", path,
                           (long long)info.st_size, limit);
    } else {
        status = file_read_all(fd, path, (size_t)info.st_size, &bytes, err);
    }
    (void)close(fd); /* read only: nothing to lose */
    if (status != STATUS_OK) {
        buffer_free(&bytes);
        return status;
    }

    bytes.limit = ret_bytes->limit;
    buffer_free(ret_bytes);
    *ret_bytes = bytes;
    return STATUS_OK;
}

enum status file_map(const char *path, struct span *ret_bytes, struct error *err) {
    int fd = -1;
    struct stat info;
    /* Not blocking: opening a FIFO would wait for a writer. */
    enum status status = file_open(path, O_NONBLOCK, &fd, &info, err);
    if (status != STATUS_OK) { return status; }
    if (!S_ISREG(info.st_mode)) {
        (void)close(fd); /* read only: nothing to lose */
        return error_set(err, STATUS_IO, "'%s' is not a regular file", path);
    }

    size_t size = (size_t)info.st_size;
    void *mapped = NULL;
    if (size > 0) {
        mapped = mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (mapped == MAP_FAILED) { status = error_errno(err, errno, "mapping '%s'", path); }
    }
    (void)close(fd); /* the mapping holds the file */
    if (status == STATUS_OK) { *ret_bytes = span_make(mapped, size); }
    return status;
}

void file_unmap(struct span bytes) {
    if (bytes.size == 0) { return; }

    int failed = munmap((void *)(uintptr_t)bytes.data, bytes.size);
    assert(!failed); /* fails only for an address that was never mapped */
    (void)failed;
}

bool file_exists(const char *path) {
    return access(path, F_OK) == 0;
}

enum status path_join(char ret_path[FILE_PATH_BYTES_MAX], const char *folder, const char *name,
                      struct error *err) {
    size_t folder_length = strlen(folder);
    const char *slash = folder_length > 0 && folder[folder_length - 1] == '/' ? "" : "/";
    char path[FILE_PATH_BYTES_MAX];
    int length = snprintf(path, sizeof path, "%s%s%s", folder, slash, name);
    if (length < 0 || (size_t)length >= sizeof path) {
        return error_set(err, STATUS_LIMIT, "path of '%.80s' longer than %u bytes", name,
                         FILE_PATH_BYTES_MAX);
    }

    memcpy(ret_path, path, (size_t)length + 1);
    return STATUS_OK;
}
