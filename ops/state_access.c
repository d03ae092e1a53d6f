/* SPDX-License-Identifier: Apache-2.0
 *
 * state_access.c - the lock first: no daemon starts while a tool reads, and none that runs is read
 * beside. */
#include "ops/state_access.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/file.h"

/* LMDB takes the file's own size when it is larger. */
#define STATE_MAP_BYTES (16u * 1024u * 1024u)

static enum status take_lock(const char *state_path, int *ret_fd, struct error *err) {
    char path[FILE_PATH_BYTES_MAX];
    enum status status = path_join(path, state_path, "lock", err);
    if (status != STATUS_OK) { return status; }
    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0) {
        return errno == ENOENT ? error_set(err, STATUS_NOT_FOUND, "'%s' holds no state", state_path)
                               : error_errno(err, errno, "'%s'", path);
    }
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        (void)close(fd);
        return error_set(err, STATUS_AGAIN, "ilorad runs on '%s'", state_path);
    }
    *ret_fd = fd;
    return STATUS_OK;
}

enum status state_access_open(const struct settings *settings, struct state_access *ret_access,
                              struct error *err) {
    struct state_access access = {.lock = -1};
    char path[FILE_PATH_BYTES_MAX];
    enum status status = take_lock(settings->state_path, &access.lock, err);
    if (status != STATUS_OK) { return status; }
    status = path_join(path, settings->state_path, "state", err);
    if (status == STATUS_OK) {
        struct store_settings how = {.path = path,
                                     .map_bytes = STATE_MAP_BYTES,
                                     .map_bytes_max = (uint64_t)settings->state_map_max,
                                     .read_only = true};
        status = store_open(&how, &access.store, err);
    }
    if (status == STATUS_OK) { status = store_reader_open(access.store, &access.reader, err); }
    if (status != STATUS_OK) {
        state_access_close(&access);
        return status;
    }
    *ret_access = access;
    return STATUS_OK;
}

void state_access_close(struct state_access *access) {
    if (access->reader != NULL) { store_reader_close(access->reader); }
    if (access->store != NULL) { store_close(access->store); }
    if (access->lock >= 0) { (void)close(access->lock); }
    *access = (struct state_access){.lock = -1};
}
