/* SPDX-License-Identifier: Apache-2.0
 *
 * core_versions.c - the versions the core holds: delivered by the learner, or loaded from folders.
 *
 *   learner ─delivery─▶ held ─announce (next epoch)─▶ announced ─in force─▶ given back
 *
 * Why it exists: a prediction may only depend on a version that is durable and announced; this room
 * is the only way a version gets from the learner to the engine.
 * Thread: core. */
#include <assert.h>
#include <inttypes.h>
#include <string.h>

#include "base/clock.h"
#include "base/failpoint.h"
#include "base/log.h"
#include "daemon/core.h"

static int held_find(const struct core *core, uint64_t number) {
    for (int i = 0; i < core->held_count; i++) {
        if (core->held[i].number == number) { return i; }
    }
    return -1;
}

static void held_remove(struct core *core, int index) {
    if (core->held[index].version != NULL) { version_give(core->held[index].version); }
    core->held_count--;
    memmove(&core->held[index], &core->held[index + 1],
            (size_t)(core->held_count - index) * sizeof(core->held[0]));
}

/* Keeps a delivery; of two with the same number the first stays. */
static void held_add(struct core *core, const struct learner_delivery *delivery) {
    if (held_find(core, delivery->number) >= 0 || core->held_count == CORE_VERSIONS_MAX) {
        if (delivery->version != NULL) { version_give(delivery->version); }
        return;
    }
    core->held[core->held_count] = *delivery;
    core->held_count++;
}

void core_versions_collect(struct core *core) {
    struct learner_delivery delivery;
    while (core->held_count < CORE_VERSIONS_MAX && learner_thread_take(core->learner, &delivery)) {
        held_add(core, &delivery);
    }
}

/* Loads the folder of a version into the held list. */
static enum status held_load(struct core *core, uint64_t number, struct error *err) {
    struct learner_delivery loaded = {.number = number};
    enum status status =
        learner_thread_load(core->learner, number, core_wait, core, &loaded.version, err);
    if (status == STATUS_OK) { held_add(core, &loaded); }
    return status;
}

struct version *core_version_door(void *context, uint64_t number) {
    struct core *core = context;
    core_versions_collect(core);
    int index = held_find(core, number);
    if (index < 0) {
        struct error err = {0};
        enum status status = held_load(core, number, &err);
        while (status == STATUS_NOT_FOUND && core->settings.engine_strict && core_wait(core)) {
            core_versions_collect(core); /* the replay makes it again */
            index = held_find(core, number);
            if (index >= 0) { break; }
            status = held_load(core, number, &err);
        }
        index = held_find(core, number);
        if (index < 0 && status != STATUS_NOT_FOUND && !core->door_failed) {
            core->door_failed = true;
            core->door_error = err;
        }
    }
    if (index < 0 || core->held[index].version == NULL) { return NULL; }
    version_take(core->held[index].version);
    return core->held[index].version;
}

enum status core_score_door(void *context, struct version *version,
                            const struct score_request *requests, int count, float *ret_logprobs,
                            struct error *err) {
    struct core *core = context;
    int64_t began_us = clock_monotonic_us();
    enum status status = learner_thread_score(core->learner, version, requests, count, core_wait,
                                              core, ret_logprobs, err);
    core_score_spent(core, count, clock_monotonic_us() - began_us);
    return status;
}

static enum status announce_one(struct core *core, const struct learner_delivery *delivery,
                                struct error *err) {
    char path[FILE_PATH_BYTES_MAX];
    enum status status = learner_thread_version_path(core->path, delivery->number, path, err);
    if (status != STATUS_OK) { return status; }
    struct engine_announcement announcement = {
        .number = delivery->number,
        .version = delivery->version,
        .path = path,
        .reason = delivery->reason,
        .numeric_profile = core->identity.numeric_profile,
        .base_model = core->identity.base_model,
        .base_model_sha256 = core->identity.base_model_sha256,
    };
    status = engine_announce(core->engine, &announcement, err);
    return status == STATUS_OK ? failpoint_pass(FAILPOINT_version_announced, err) : status;
}

/* The learner is past the mark and delivered nothing: the folder was durable before a restart, or a
 * rollback was refused before it and said so to a process that is gone. */
static enum status find_durable(struct core *core, const struct pending_version *pending,
                                struct error *err) {
    enum status status = held_load(core, pending->number, err);
    if (status != STATUS_NOT_FOUND) { return status; }
    if (pending->rolled_back > 0) {
        struct learner_delivery refused = {.number = pending->number};
        learner_thread_no_rollback(pending->rolled_back - 1, refused.reason);
        held_add(core, &refused);
        return STATUS_OK;
    }
    if (core->settings.engine_strict) {
        err->code = STATUS_CORRUPT;
        return error_wrap(err, "version %" PRIu64 " was marked and is lost", pending->number);
    }
    struct learner_delivery lost = {.number = pending->number,
                                    .reason = "lost before it was announced"};
    held_add(core, &lost);
    return STATUS_OK;
}

enum status core_versions_announce(struct core *core, int *ret_count, struct error *err) {
    uint64_t learned = learner_thread_seq(core->learner); /* before collecting */
    core_versions_collect(core);
    *ret_count = 0;
    const struct core_state *state = engine_state(core->engine);
    for (int i = 0; i < state->pending_count; i++) {
        const struct pending_version *pending = &state->pending[i];
        if (pending->announced) { continue; }
        int index = held_find(core, pending->number);
        if (index < 0) {
            if (pending->seq > learned) { return STATUS_OK; }
            enum status status = find_durable(core, pending, err);
            if (status != STATUS_OK) { return status; }
            index = held_find(core, pending->number);
            if (index < 0) { return STATUS_OK; }
        }
        enum status status = announce_one(core, &core->held[index], err);
        if (status == STATUS_AGAIN) { return STATUS_OK; } /* this epoch announces enough */
        if (status != STATUS_OK) { return status; }
        (*ret_count)++;
    }
    return STATUS_OK;
}

static bool needed(const struct core_state *state, uint64_t number) {
    if (number == state->in_force) { return true; }
    for (int i = 0; i < state->pending_count; i++) {
        if (state->pending[i].number == number) { return true; }
    }
    return number >= state->version_next;
}

void core_versions_trim(struct core *core) {
    const struct core_state *state = engine_state(core->engine);
    for (int i = core->held_count - 1; i >= 0; i--) {
        if (!needed(state, core->held[i].number)) { held_remove(core, i); }
    }
    int index = held_find(core, state->in_force);
    if (index >= 0 && core->held[index].version != NULL) {
        shared_set_version(core->shared, core->held[index].version);
    }
    learner_thread_keep_from(core->learner, state->in_force);
}

enum status core_versions_newest(struct core *core, uint64_t number, uint64_t *ret_number,
                                 struct error *err) {
    for (uint64_t n = number + 1; n > 0; n--) {
        char path[FILE_PATH_BYTES_MAX];
        enum status status = learner_thread_version_path(core->path, n - 1, path, err);
        if (status != STATUS_OK) { return status; }
        if (!file_exists(path)) { continue; }
        status = held_load(core, n - 1, err);
        if (status != STATUS_OK) { return status; }
        *ret_number = n - 1;
        return STATUS_OK;
    }
    return error_set(err, STATUS_NOT_FOUND, "no version is held in '%s/versions'", core->path);
}
