/* SPDX-License-Identifier: Apache-2.0
 *
 * core_open.c - opens what the core owns, in order, and closes it in the other order.
 *
 * Why it exists: a daemon that cannot start must say which file, setting or topic stands in the
 * way, before READY, and leave nothing half-made.
 * Thread: core. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/failpoint.h"
#include "base/log.h"
#include "daemon/core.h"
#include "daemon/model_settings.h"
#include "daemon/stream_open.h"

#define STATE_MAP_BYTES (1024u * 1024u * 1024u) /* first map of the state; address space only */
#define LOCK_TEXT_BYTES 64

bool core_wait(void *context) {
    struct core *core = context;
    shared_beat(core->shared, THREAD_CORE);
    return !shared_stopping(core->shared);
}

void core_note_committed(struct core *core) {
    const struct core_state *state = engine_state(core->engine);
    core->committed_epoch = state->epoch;
    memcpy(core->committed_chain, state->chain, SHA256_BYTES);
}

static void say(void *context, struct shared_picture *picture) {
    memcpy(picture->state, context, sizeof(picture->state));
}

void core_say(struct core *core, const char *format, ...) {
    char text[SHARED_STATE_TEXT_BYTES];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(text, sizeof(text), format, arguments); /* a long one is cut */
    va_end(arguments);
    shared_picture_update(core->shared, say, text);
}

void core_note_full(void *context, const char *words) {
    struct core *core = context;
    if (core->disk_full) { return; }
    core->disk_full = true;
    LOG_ERROR("%s: consuming stops until there is room", words);
    core_say(core, "%s", words);
}

/* ---- state ---- */

/* One daemon a state: the second one says who holds it and may be restarted. */
static enum status take_lock(struct core *core, struct error *err) {
    char path[FILE_PATH_BYTES_MAX];
    enum status status = path_join(path, core->path, "lock", err);
    if (status != STATUS_OK) { return status; }
    core->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0640);
    if (core->lock_fd < 0) { return error_errno(err, errno, "opening '%s'", path); }
    char text[LOCK_TEXT_BYTES] = "";
    if (flock(core->lock_fd, LOCK_EX | LOCK_NB) != 0) {
        ssize_t size = pread(core->lock_fd, text, sizeof(text) - 1, 0);
        text[size > 0 ? size : 0] = '\0';
        text[strcspn(text, "\n")] = '\0';
        (void)close(core->lock_fd); /* nothing was written */
        core->lock_fd = -1;
        return error_set(err, STATUS_IO, "state '%s' is held by process %s", core->path,
                         text[0] != '\0' ? text : "unknown");
    }
    int size = snprintf(text, sizeof(text), "%ld\n", (long)getpid());
    if (ftruncate(core->lock_fd, 0) != 0 ||
        pwrite(core->lock_fd, text, (size_t)size, 0) != (ssize_t)size) {
        return error_errno(err, errno, "writing '%s'", path);
    }
    return STATUS_OK;
}

/* The random id of this state directory; made once, durable before the first epoch. */
static enum status take_owner(struct core *core, struct error *err) {
    char path[FILE_PATH_BYTES_MAX];
    enum status status = path_join(path, core->path, "owner", err);
    if (status != STATUS_OK) { return status; }
    struct buffer text = {0};
    status = file_read(path, 4096, &text, err);
    if (status == STATUS_OK) {
        bool good = text.size >= 2 * OWNER_BYTES && buffer_append(&text, "", 1) == STATUS_OK;
        if (good) {
            text.data[2 * OWNER_BYTES] = '\0';
            good = hex_decode((const char *)text.data, core->owner, OWNER_BYTES);
        }
        buffer_free(&text);
        if (good) { return STATUS_OK; }
        return error_set(err, STATUS_CORRUPT, "'%s' does not hold 32 hex digits", path);
    }
    if (status != STATUS_NOT_FOUND) { return status; }
    if (getrandom(core->owner, OWNER_BYTES, 0) != (ssize_t)OWNER_BYTES) {
        return error_errno(err, errno, "random bytes for the owner id");
    }
    char digits[2 * OWNER_BYTES + 2];
    hex_encode(core->owner, OWNER_BYTES, digits);
    digits[2 * OWNER_BYTES] = '\n';
    return file_replace(path, span_make(digits, 2 * OWNER_BYTES + 1), err);
}

enum status core_open_state(struct core *core, struct error *err) {
    const struct settings *s = &core->settings;
    core->lock_fd = -1;
    (void)snprintf(core->path, sizeof(core->path), "%s", s->state_path); /* 512 bytes at most */
    enum status status = dir_make(core->path, err);
    if (status != STATUS_OK) { return error_wrap(err, "[state] path"); }
    status = take_lock(core, err);
    if (status == STATUS_OK) { status = failpoint_pass(FAILPOINT_start_locked, err); }
    if (status == STATUS_OK) { status = take_owner(core, err); }
    if (status == STATUS_OK) { status = failpoint_pass(FAILPOINT_start_owned, err); }
    if (status == STATUS_OK) { status = crash_list_load(core->path, &core->crashes, err); }
    if (status != STATUS_OK) { return status; }

    char path[FILE_PATH_BYTES_MAX];
    status = path_join(path, core->path, "state", err);
    if (status != STATUS_OK) { return status; }
    struct store_settings settings = {
        .path = path, .map_bytes = STATE_MAP_BYTES, .map_bytes_max = (uint64_t)s->state_map_max};
    if (settings.map_bytes > settings.map_bytes_max) {
        settings.map_bytes = settings.map_bytes_max;
    }
    status = store_open(&settings, &core->store, err);
    if (status == STATUS_OK) { status = store_reader_open(core->store, &core->reader, err); }
    if (status == STATUS_OK) { status = stage_open(core->store, &core->stage, err); }
    if (status == STATUS_OK) {
        status = catalogue_open(core->stage, (uint32_t)s->state_items_max, &core->catalogue, err);
    }
    if (status == STATUS_OK) { status = failpoint_pass(FAILPOINT_start_opened, err); }
    if (status == STATUS_OK) { shared_set_store(core->shared, core->store); }
    return status;
}

/* ---- stream ---- */

enum status core_open_stream(struct core *core, struct error *err) {
    enum status status = stream_open(&core->settings, true, &core->stream, err);
    if (status != STATUS_OK) { return error_wrap(err, "opening the stream"); }
    core->doors = (struct commit_doors){.stream = core->stream,
                                        .shard = (int32_t)core->settings.stream_shard,
                                        .owner = core->owner,
                                        .wait = core_wait,
                                        .wait_context = core,
                                        .tell_full = core_note_full};
    return STATUS_OK;
}

/* ---- what the engine needs ---- */

/* A further name of a field in JSON; longer ones do not occur there. */
static void take_field_name(const struct settings *s, const char *field, char name[64]) {
    (void)snprintf(name, 64, "%.63s", settings_field_name(s, field));
}

enum status core_open_engine_parts(struct core *core, struct error *err) {
    const struct settings *s = &core->settings;
    struct inbound_settings inbound = {.format = (enum inbound_format)s->events_format,
                                       .timestamp_unit =
                                           (enum timestamp_unit)s->events_timestamp_unit};
    take_field_name(s, "title", inbound.title_field);
    take_field_name(s, "user", inbound.user_field);
    take_field_name(s, "item", inbound.item_field);
    take_field_name(s, "time", inbound.time_field);
    enum status status = inbound_init(&inbound, &core->inbound, err);
    if (status != STATUS_OK) { return status; }
    status = backend_cpu_new(1, &core->backend, err);
    if (status != STATUS_OK) { return status; }
    /* The ranker only sizes its buffers by these: the title's width lives in the version. */
    struct fast_settings fast = model_settings_fast(s, 0);
    status = ranker_new(core->backend, &fast, &core->ranker, err);
    if (status != STATUS_OK) { return status; }
    return ring_init(&core->ring, POLL_RING_BYTES, POLL_RING_RECORDS, err);
}

void core_close(struct core *core) {
    poll_thread_stop(core->poll);
    shared_set_store(core->shared, NULL); /* waits for requests in work, which hold versions */
    shared_set_version(core->shared, NULL);
    engine_free(core->engine);
    for (int i = 0; i < core->held_count; i++) {
        if (core->held[i].version != NULL) { version_give(core->held[i].version); }
    }
    learner_thread_stop(core->learner, core->ready ? 1 : 0); /* versions live on its backend */
    if (core->ring != NULL) { ring_free(core->ring); }
    if (core->ranker != NULL) { ranker_free(core->ranker); }
    if (core->backend != NULL) { core->backend->ops->free(core->backend); }
    if (core->inbound != NULL) { inbound_free(core->inbound); }
    if (core->stream != NULL) { core->stream->ops->close(core->stream); }
    if (core->catalogue != NULL) { catalogue_close(core->catalogue); }
    if (core->stage != NULL) { stage_close(core->stage); }
    if (core->reader != NULL) { store_reader_close(core->reader); }
    if (core->store != NULL) { store_close(core->store); }
    if (core->lock_fd >= 0) { (void)close(core->lock_fd); } /* the lock goes with it */
}
