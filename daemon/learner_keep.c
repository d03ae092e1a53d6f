/* SPDX-License-Identifier: Apache-2.0
 *
 * learner_keep.c - folders of versions and checkpoints: made whole, kept while needed, removed
 * after.
 *
 *   <state>/versions/<number>/     immutable once renamed into place; announced in a later epoch
 *   <state>/checkpoints/<seq>/     the newest two are kept
 *
 * Why it exists: a crash must leave either no folder or a whole one, and what is announced must
 * stay while anybody may need it (PROTOCOL.md, Keeping).
 * Thread: learner. */
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/failpoint.h"
#include "base/log.h"
#include "daemon/learner_parts.h"

#define ROOM_BYTES_MIN (1024u * 1024u) /* a full disk has less, whatever free_min says */
#define ROOM_WAIT_US   500000

static enum status folder_path(const struct learner_thread *t, const char *kind, uint64_t number,
                               const char *suffix, char path[FILE_PATH_BYTES_MAX],
                               struct error *err) {
    char name[64];
    (void)snprintf(name, sizeof(name), "%s/%" PRIu64 "%s", kind, number, suffix); /* short */
    return path_join(path, t->state_path, name, err);
}

enum status learner_thread_version_path(const char *state_path, uint64_t number, char *path,
                                        struct error *err) {
    char name[64];
    (void)snprintf(name, sizeof(name), "versions/%" PRIu64, number); /* short */
    return path_join(path, state_path, name, err);
}

/* ---- listing ---- */

#define FOLDERS_MAX 4096

struct folder_list {
    uint64_t numbers[FOLDERS_MAX]; /* ascending */
    int count;
    const char *root;
};

static int compare_numbers(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* A folder named by digits; anything ending in .tmp is a leftover and goes. */
static enum status list_entry(void *context, const char *name, bool is_dir, struct error *err) {
    struct folder_list *list = context;
    size_t length = strlen(name);
    if (length > 4 && strcmp(name + length - 4, ".tmp") == 0) {
        char path[FILE_PATH_BYTES_MAX];
        enum status status = path_join(path, list->root, name, err);
        return status == STATUS_OK ? dir_remove(path, err) : status;
    }
    if (!is_dir || length > 19 || strspn(name, "0123456789") != length) { return STATUS_OK; }
    if (list->count == FOLDERS_MAX) {
        return error_set(err, STATUS_LIMIT, "'%s' holds more than %d folders", list->root,
                         FOLDERS_MAX);
    }
    int64_t number = 0;
    if (!span_integer(span_of(name), &number)) { return STATUS_OK; } /* not a number of ours */
    list->numbers[list->count] = (uint64_t)number;
    list->count++;
    return STATUS_OK;
}

static enum status list_folders(const struct learner_thread *t, const char *kind,
                                struct folder_list *list, struct error *err) {
    char root[FILE_PATH_BYTES_MAX];
    enum status status = path_join(root, t->state_path, kind, err);
    if (status != STATUS_OK) { return status; }
    list->count = 0;
    list->root = root;
    status = dir_list(root, list_entry, list, err);
    list->root = NULL;
    if (status != STATUS_OK) { return status; }
    qsort(list->numbers, (size_t)list->count, sizeof(list->numbers[0]), compare_numbers);
    return STATUS_OK;
}

enum status learner_keep_prepare(struct learner_thread *t, struct error *err) {
    static const char *const kinds[] = {"versions", "checkpoints"};
    for (int i = 0; i < 2; i++) {
        char root[FILE_PATH_BYTES_MAX];
        enum status status = path_join(root, t->state_path, kinds[i], err);
        if (status != STATUS_OK) { return status; }
        status = dir_make(root, err);
        if (status != STATUS_OK) { return status; }
        struct folder_list list;
        status = list_folders(t, kinds[i], &list, err);
        if (status != STATUS_OK) { return status; }
    }
    return STATUS_OK;
}

/* ---- a full disk ---- */

/* True when the failure is a full disk and it is worth asking again: a moment has passed and the
 * learner is not to stop. What was half written is removed by the next try. */
static bool wait_for_room(struct learner_thread *t, enum status status, const struct error *err,
                          bool *told) {
    uint64_t free_bytes = UINT64_MAX, wanted = (uint64_t)t->settings->state_free_min;
    struct error ignored;
    if (status != STATUS_IO) { return false; }
    if (dir_free_bytes(t->state_path, &free_bytes, &ignored) != STATUS_OK) { return false; }
    if (free_bytes >= (wanted > ROOM_BYTES_MIN ? wanted : ROOM_BYTES_MIN)) { return false; }
    if (!*told) { LOG_ERROR("%s: the learner waits until there is room", err->text); }
    *told = true;
    shared_beat(t->shared, THREAD_LEARNER);
    clock_sleep_us(ROOM_WAIT_US);
    pthread_mutex_lock(&t->lock);
    bool stopping = t->stopping;
    pthread_mutex_unlock(&t->lock);
    return !stopping;
}

/* ---- versions ---- */

enum status learner_keep_load(struct learner_thread *t, uint64_t number,
                              struct version **ret_version, struct error *err) {
    char path[FILE_PATH_BYTES_MAX];
    enum status status = folder_path(t, "versions", number, "", path, err);
    if (status != STATUS_OK) { return status; }
    if (!file_exists(path)) {
        return error_set(err, STATUS_NOT_FOUND, "version %" PRIu64 " has no folder '%s'", number,
                         path);
    }
    return learner_load_version(t->learner, path, ret_version, err);
}

/* The folder was there: the version made again must be the same. */
static enum status compare_held(struct learner_thread *t, uint64_t number, const char *made_path,
                                struct version **version, struct error *err) {
    struct version *held;
    enum status status = dir_remove(made_path, err);
    if (status != STATUS_OK) { return status; }
    status = learner_keep_load(t, number, &held, err);
    if (status != STATUS_OK) { return status; }
    bool same = memcmp(held->digest, (*version)->digest, SHA256_BYTES) == 0;
    version_give(*version);
    *version = held;
    if (same) { return STATUS_OK; }
    if (t->settings->engine_strict && !t->profile_changed) {
        version_give(held);
        *version = NULL;
        return error_set(err, STATUS_CORRUPT,
                         "version %" PRIu64 " was made again with another digest than before",
                         number);
    }
    LOG_DEBUG("version %" PRIu64 " differs when made again, the one held stays", number);
    return STATUS_OK;
}

static enum status try_version(struct learner_thread *t, uint64_t number,
                               struct version **ret_version, struct error *err) {
    char path[FILE_PATH_BYTES_MAX], temporary[FILE_PATH_BYTES_MAX];
    enum status status = folder_path(t, "versions", number, "", path, err);
    if (status == STATUS_OK) {
        status = folder_path(t, "versions", number, ".tmp", temporary, err);
    }
    if (status == STATUS_OK) { status = dir_remove(temporary, err); }
    if (status == STATUS_OK) { status = failpoint_pass(FAILPOINT_version_begun, err); }
    if (status != STATUS_OK) { return status; }
    struct version *version;
    status =
        learner_make_version(t->learner, number, temporary, t->identity.numeric_profile,
                             t->identity.base_model, t->identity.base_model_sha256, &version, err);
    if (status != STATUS_OK) { return error_wrap(err, "making version %" PRIu64, number); }
    status = failpoint_pass(FAILPOINT_version_written, err);
    if (status == STATUS_OK && file_exists(path)) {
        status = compare_held(t, number, temporary, &version, err);
    } else if (status == STATUS_OK) {
        status = dir_publish(temporary, path, err);
    }
    if (status == STATUS_OK) { status = failpoint_pass(FAILPOINT_version_kept, err); }
    if (status != STATUS_OK) {
        if (version != NULL) { version_give(version); }
        return status;
    }
    *ret_version = version;
    return STATUS_OK;
}

enum status learner_keep_version(struct learner_thread *t, uint64_t number,
                                 struct version **ret_version, struct error *err) {
    bool told = false;
    for (;;) {
        enum status status = try_version(t, number, ret_version, err);
        if (!wait_for_room(t, status, err, &told)) { return status; }
    }
}

/* ---- checkpoints ---- */

static enum status trim_versions(struct learner_thread *t, struct error *err) {
    struct folder_list list;
    enum status status = list_folders(t, "versions", &list, err);
    if (status != STATUS_OK) { return status; }
    pthread_mutex_lock(&t->lock);
    uint64_t keep_from = t->keep_from;
    pthread_mutex_unlock(&t->lock);
    int keep = (int)t->settings->publish_keep;
    for (int i = 0; i + keep < list.count && list.numbers[i] < keep_from; i++) {
        char path[FILE_PATH_BYTES_MAX];
        status = folder_path(t, "versions", list.numbers[i], "", path, err);
        if (status == STATUS_OK) { status = dir_remove(path, err); }
        if (status == STATUS_OK) { status = failpoint_pass(FAILPOINT_versions_trimmed, err); }
        if (status != STATUS_OK) { return status; }
    }
    return STATUS_OK;
}

static enum status trim_checkpoints(struct learner_thread *t, struct error *err) {
    struct folder_list list;
    enum status status = list_folders(t, "checkpoints", &list, err);
    if (status != STATUS_OK) { return status; }
    for (int i = 0; i + CHECKPOINTS_KEPT < list.count; i++) {
        char path[FILE_PATH_BYTES_MAX];
        status = folder_path(t, "checkpoints", list.numbers[i], "", path, err);
        if (status == STATUS_OK) { status = dir_remove(path, err); }
        if (status == STATUS_OK) { status = failpoint_pass(FAILPOINT_checkpoints_trimmed, err); }
        if (status != STATUS_OK) { return status; }
    }
    pthread_mutex_lock(&t->lock);
    if (list.count >= CHECKPOINTS_KEPT) {
        t->trim_seq = list.numbers[list.count - CHECKPOINTS_KEPT];
    }
    pthread_mutex_unlock(&t->lock);
    return STATUS_OK;
}

static enum status try_checkpoint(struct learner_thread *t, struct error *err) {
    uint64_t seq = learner_seq(t->learner);
    char path[FILE_PATH_BYTES_MAX], temporary[FILE_PATH_BYTES_MAX];
    enum status status = folder_path(t, "checkpoints", seq, "", path, err);
    if (status == STATUS_OK) {
        status = folder_path(t, "checkpoints", seq, ".tmp", temporary, err);
    }
    if (status != STATUS_OK) { return status; }
    if (!file_exists(path)) {
        status = dir_remove(temporary, err);
        if (status == STATUS_OK) { status = failpoint_pass(FAILPOINT_checkpoint_begun, err); }
        if (status == STATUS_OK) { status = learner_save(t->learner, temporary, err); }
        if (status == STATUS_OK) { status = failpoint_pass(FAILPOINT_checkpoint_written, err); }
        if (status == STATUS_OK) { status = dir_publish(temporary, path, err); }
        if (status == STATUS_OK) { status = failpoint_pass(FAILPOINT_checkpoint_kept, err); }
        if (status != STATUS_OK) {
            return error_wrap(err, "writing the checkpoint at %" PRIu64, seq);
        }
    }
    t->versions_since_checkpoint = 0;
    status = trim_checkpoints(t, err);
    return status == STATUS_OK ? trim_versions(t, err) : status;
}

/* Strict mode: a state that was lost, whole or in part, is refolded with the very versions of
 * then, which may be gone: they are made again from a checkpoint that the log reaches, or from
 * nothing. Later ones are removed. Without an earlier one the newest stays (its rows are in the
 * ledger, not in the log). */
static enum status drop_checkpoints_ahead(struct learner_thread *t, struct folder_list *list,
                                          struct error *err) {
    pthread_mutex_lock(&t->lock);
    uint64_t logged = t->reach; /* nobody moved it yet: the log's last row */
    pthread_mutex_unlock(&t->lock);
    int kept = list->count;
    while (kept > 0 && list->numbers[kept - 1] > logged) {
        kept--;
    }
    if (kept == 0 && logged > 0) { return STATUS_OK; }
    while (list->count > kept) {
        char path[FILE_PATH_BYTES_MAX];
        enum status status =
            folder_path(t, "checkpoints", list->numbers[list->count - 1], "", path, err);
        if (status == STATUS_OK) { status = dir_remove(path, err); }
        if (status != STATUS_OK) { return status; }
        list->count--;
    }
    return STATUS_OK;
}

enum status learner_keep_checkpoint(struct learner_thread *t, struct error *err) {
    bool told = false;
    for (;;) {
        enum status status = try_checkpoint(t, err);
        if (!wait_for_room(t, status, err, &told)) { return status; }
    }
}

enum status learner_keep_restore(struct learner_thread *t, struct error *err) {
    struct folder_list list;
    enum status status = list_folders(t, "checkpoints", &list, err);
    if (status != STATUS_OK) { return status; }
    if (t->settings->engine_strict) {
        status = drop_checkpoints_ahead(t, &list, err);
        if (status != STATUS_OK) { return status; }
    }
    if (list.count == 0) { return STATUS_OK; }
    char path[FILE_PATH_BYTES_MAX];
    status = folder_path(t, "checkpoints", list.numbers[list.count - 1], "", path, err);
    if (status != STATUS_OK) { return status; }
    status = learner_load(t->learner, path, err);
    if (status != STATUS_OK && t->profile_changed) {
        err->code = STATUS_CONFIG;
        return error_wrap(err,
                          "settings changed the model's shape: put them back, or remove state/, "
                          "versions/ and checkpoints/ and start with --rebuild: '%s'",
                          path);
    }
    if (status != STATUS_OK) { return error_wrap(err, "loading checkpoint '%s'", path); }
    if (list.count >= CHECKPOINTS_KEPT) {
        t->trim_seq = list.numbers[list.count - CHECKPOINTS_KEPT];
    }
    return STATUS_OK;
}
