/* SPDX-License-Identifier: Apache-2.0
 *
 * pipeline.c - the core thread: records from the ring into epochs, epochs into the world.
 *
 *   loop: operators ─ versions ─ feed records ─ due? ─ close ─ stream commit ─ LMDB ─ learner
 *
 * Why it exists: the engine has no clock and no I/O; here are both, and the only place that turns a
 * status into an action: AGAIN waits, a failure stops the daemon with its exit code, a full disk
 * stops consuming until there is room.
 * Thread: core. */
#include "daemon/pipeline.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/failpoint.h"
#include "base/log.h"
#include "base/memory.h"
#include "daemon/core.h"
#include "daemon/core_report.h"
#include "daemon/operators.h"
#include "daemon/rates.h"

#define FEED_AT_ONCE      256
#define IDLE_WAIT_MS      20
#define RATES_LONG_US     INT64_C(3000000)
#define RATES_EVERY_US    1000000
#define SHOW_EVERY_US     500000
#define DISK_WAIT_US      500000
#define FIRST_INTERVAL_US INT64_C(1000000)
#define VERSIONS_WAITING  2 /* marked and not delivered: no further mark by the timer */

static bool heartbeat_due(const struct core *core, int64_t now_us) {
    return now_us - core->heartbeat_us >= core->settings.epoch_heartbeat;
}

/* ---- closing an epoch ---- */

/* A new shard knows nothing: its first versions come 1, 2, 4 ... seconds apart, then at the
 * interval. */
static int64_t version_interval_us(const struct core *core, uint64_t versions) {
    int64_t interval_us = core->settings.publish_interval;
    int64_t early_us = versions < 20 ? FIRST_INTERVAL_US << versions : interval_us;
    return early_us < interval_us ? early_us : interval_us;
}

static bool version_due(const struct core *core, int64_t now_us) {
    const struct core_state *state = engine_state(core->engine);
    int waiting = 0;
    for (int i = 0; i < state->pending_count; i++) {
        waiting += !state->pending[i].announced;
    }
    int64_t interval_us = version_interval_us(core, state->version_next - 1);
    return now_us - core->version_marked_us >= interval_us && state->seq > state->version_seq &&
           waiting < VERSIONS_WAITING;
}

static bool batch_due(const struct core *core, int64_t now_us) {
    const struct core_state *state = engine_state(core->engine);
    return now_us - core->batch_cut_us >= core->settings.train_batch_interval &&
           state->seq > state->batch_end;
}

/* Asked after a batch was learned, at most once a second; a batch that takes long is asked about
 * too. */
static struct core_rates next_rates(struct core *core, int64_t now_us) {
    const struct core_state *state = engine_state(core->engine);
    uint64_t learned = learner_thread_seq(core->learner);
    int64_t passed_us = now_us - core->rates_us;
    int64_t due_us = learned != core->rates_seq ? RATES_EVERY_US : RATES_LONG_US;
    if (passed_us < due_us) { return state->rates; }
    int64_t busy_us = learner_thread_busy_us(core->learner);
    struct rates_load load = {.backlog = state->seq - learned,
                              .busy = (double)(busy_us - core->rates_busy_us) / (double)passed_us};
    core->rates_us = now_us;
    core->rates_seq = learned;
    core->rates_busy_us = busy_us;
    return rates_next(&core->settings, &state->rates, &load);
}

/* Restarts the timers of what this epoch ended. */
static void note_marks(struct core *core, int64_t now_us) {
    const struct core_state *state = engine_state(core->engine);
    if (state->batch_end != core->batch_end_seen) {
        core->batch_end_seen = state->batch_end;
        core->batch_cut_us = now_us;
    }
    if (state->version_seq != core->version_seq_seen) {
        core->version_seq_seen = state->version_seq;
        core->version_marked_us = now_us;
    }
}

/* The disk must hold what LMDB will write; until it does nothing is consumed. */
static bool disk_has_room(struct core *core) {
    uint64_t free_bytes;
    struct error err;
    if (dir_free_bytes(core->path, &free_bytes, &err) != STATUS_OK) { return true; }
    bool room = free_bytes >= (uint64_t)core->settings.state_free_min;
    if (room && core->disk_full) {
        core->disk_full = false;
        LOG_NOTICE("'%s' has room again, going on", core->path);
        core_say(core, "running");
    } else if (!room) {
        char words[SHARED_STATE_TEXT_BYTES];
        (void)snprintf(words, sizeof(words), /* a long path is cut */
                       "disk full: %" PRIu64
                       " bytes free on '%.100s', [state] free_min is %" PRId64,
                       free_bytes, core->path, core->settings.state_free_min);
        core_note_full(core, words);
    }
    return room;
}

/* LMDB follows the stream. A full disk is waited out, and so is a foreign reader that stands in the
 * way of a larger map: the stage keeps everything in memory. */
static enum status follow_with_state(struct core *core, struct error *err) {
    for (;;) {
        enum status status = stage_commit(core->stage, err);
        bool full = status == STATUS_IO && (!disk_has_room(core) || err->disk_full);
        if (!(full || status == STATUS_AGAIN) || !core_wait(core)) { return status; }
        if (full) { core_note_full(core, err->text); }
        clock_sleep_us(DISK_WAIT_US);
    }
}

/* The taint rule (PROTOCOL.md): a producer whose connection was disturbed is replaced before it is
 * used again, and the ledger must still end where this process left it. */
static enum status replace_tainted(struct core *core, struct error *err) {
    if (!core->stream->ops->tainted(core->stream)) { return STATUS_OK; }
    LOG_NOTICE("the connection was disturbed: making a new producer");
    enum status status = failpoint_pass(FAILPOINT_tainted, err);
    if (status != STATUS_OK) { return status; }
    return commit_refence(&core->doors, core->committed_epoch, core->committed_chain, err);
}

static enum status commit_epoch(struct core *core, struct error *err) {
    int64_t began_us = clock_monotonic_us();
    enum status status = replace_tainted(core, err);
    if (status == STATUS_OK) { status = commit_publish(&core->doors, core->engine, err); }
    if (status == STATUS_OK) { status = follow_with_state(core, err); }
    if (status == STATUS_OK) { status = failpoint_pass(FAILPOINT_epoch_kept, err); }
    if (status != STATUS_OK) { return status; }
    core_note_committed(core);
    core_report_epoch(core, began_us);
    return engine_begin(core->engine, err);
}

static enum status close_epoch(struct core *core, struct error *err) {
    int64_t now_us = clock_monotonic_us();
    uint64_t trim = learner_thread_trim_seq(core->learner);
    if (trim > 0) { engine_trim_below(core->engine, trim); }
    struct engine_close close = {.batch_due = batch_due(core, now_us),
                                 .version_due = version_due(core, now_us),
                                 .rates = next_rates(core, now_us)};
    memcpy(close.owner, core->owner, OWNER_BYTES);
    enum status status = engine_close_epoch(core->engine, &close, err);
    if (status != STATUS_OK) { return core->door_failed ? (*err = core->door_error).code : status; }
    note_marks(core, now_us);
    status = failpoint_pass(FAILPOINT_epoch_closed, err);
    if (status == STATUS_OK) { status = commit_epoch(core, err); }
    if (status != STATUS_OK) { return status; }
    core_versions_trim(core);
    learner_thread_reach(core->learner, engine_state(core->engine)->seq);
    failpoint_mark(FAILPOINT_rows_handed);
    now_us = clock_monotonic_us();
    core->epoch_began_us = now_us;
    core->heartbeat_us = now_us;
    core->oldest_arrival_us = 0;
    if (engine_dead_share(core->engine) > core->settings.events_dead_share_max) {
        return error_set(err, STATUS_CONFIG,
                         "%.1f %% of the last 10,000 records could not be used ([events] "
                         "dead_share_max): was another format deployed?",
                         100.0 * engine_dead_share(core->engine));
    }
    return STATUS_OK;
}

/* ---- is it time? ---- */

static bool close_is_due(struct core *core) {
    int64_t now_us = clock_monotonic_us();
    const struct epoch *epoch = engine_epoch(core->engine);
    bool strict = core->settings.engine_strict;
    if (strict && !engine_at_boundary(core->engine)) { return false; }
    if (epoch->records >= (uint64_t)core->settings.epoch_events_max) { return true; }
    if (now_us - core->epoch_began_us < core->settings.epoch_interval) { return false; }
    if (engine_has_work(core->engine)) { return true; }
    if (!strict && (batch_due(core, now_us) || version_due(core, now_us))) { return true; }
    return heartbeat_due(core, now_us);
}

/* ---- feeding ---- */

/* True when the learner is too far behind to consume more (recorded mode; strict waits at A_v). */
static bool learner_is_behind(const struct core *core) {
    uint64_t seq = engine_state(core->engine)->seq;
    uint64_t learned = learner_thread_seq(core->learner);
    return !core->settings.engine_strict && seq > learned &&
           seq - learned > (uint64_t)core->settings.train_backlog_max;
}

/* Strict mode commits and announces between groups only, so a group that cannot be completed yet is
 * not begun while something waits for that: the stream may stand still in the middle of it. */
static bool group_can_wait(const struct core *core) {
    if (!core->settings.engine_strict || !engine_at_boundary(core->engine)) { return false; }
    if (ring_usage(core->ring).messages >= (size_t)core->settings.predict_group_events) {
        return false;
    }
    const struct core_state *state = engine_state(core->engine);
    bool announces =
        state->pending_count > 0 && !state->pending[state->pending_count - 1].announced;
    return engine_has_work(core->engine) || announces;
}

/* True while records stay in the ring whoever sends them. */
static bool feeding_rests(const struct core *core) {
    return engine_waits_for(core->engine) != 0 || learner_is_behind(core) || group_can_wait(core);
}

static enum status feed(struct core *core, bool *ret_close, struct error *err) {
    for (int i = 0; i < FEED_AT_ONCE; i++) {
        if (engine_at_boundary(core->engine)) { core_score_choose(core); }
        if (feeding_rests(core)) { return STATUS_OK; }
        size_t size;
        const void *message = ring_peek(core->ring, &size);
        if (message == NULL) { return STATUS_OK; }
        struct stream_record record;
        int64_t arrived_us;
        poll_record_view(message, &record, &arrived_us);
        if (core->oldest_arrival_us == 0) { core->oldest_arrival_us = arrived_us; }
        enum status status = engine_feed(core->engine, &record, err);
        if (status == STATUS_OK) { status = failpoint_pass(FAILPOINT_record_fed, err); }
        if (status == STATUS_AGAIN && !shared_stopping(core->shared)) {
            *ret_close = true;
            return STATUS_OK;
        }
        if (status != STATUS_OK) {
            return core->door_failed ? (*err = core->door_error).code : status;
        }
        ring_release(core->ring, 1);
        if (close_is_due(core)) {
            *ret_close = true;
            return STATUS_OK;
        }
    }
    return STATUS_OK;
}

/* ---- the loop ---- */

static enum status turn(struct core *core, struct error *err) {
    shared_beat(core->shared, THREAD_CORE);
    enum status status = operators_serve(core, err);
    if (status != STATUS_OK) { return status; }
    bool close = false;
    if (!core->settings.engine_strict || engine_at_boundary(core->engine)) {
        int announced;
        status = core_versions_announce(core, &announced, err);
        if (status != STATUS_OK) { return status; }
        /* Strict: what is announced is committed before anything that may depend on it is fed. */
        close = core->settings.engine_strict && engine_waits_for(core->engine) == 0 &&
                engine_epoch(core->engine)->announced_count > 0;
    }
    if (!disk_has_room(core)) {
        clock_sleep_us(DISK_WAIT_US);
        return STATUS_OK;
    }
    if (!close) { status = feed(core, &close, err); }
    if (status != STATUS_OK) { return status; }
    if (close || close_is_due(core)) {
        status = close_epoch(core, err);
        if (status != STATUS_OK) { return status; }
    }
    int64_t now_us = clock_monotonic_us();
    if (now_us - core->shown_us >= SHOW_EVERY_US) { core_report_show(core, now_us); }
    size_t size;
    bool nothing = ring_peek(core->ring, &size) == NULL;
    if (nothing || feeding_rests(core)) {
        if (nothing) {
            (void)ring_wait_message(core->ring, 0, IDLE_WAIT_MS); /* or look at the timers */
        } else {
            clock_sleep_us(1000);
        }
    }
    return STATUS_OK;
}

static enum status open_all(struct core *core, struct error *err) {
    core_say(core, "opening the state");
    enum status status = core_open_state(core, err);
    if (status == STATUS_OK) { status = core_open_stream(core, err); }
    if (status == STATUS_OK) { status = core_open_engine_parts(core, err); }
    if (status != STATUS_OK) { return status; }
    core_say(core, "loading the model");
    status = learner_thread_start(&core->start_settings, core->shared, core->store, core->path,
                                  &core->learner, err);
    if (status == STATUS_OK) {
        status = learner_thread_wait_open(core->learner, core_wait, core, &core->identity, err);
    }
    if (status == STATUS_OK) { status = failpoint_pass(FAILPOINT_start_model_opened, err); }
    if (status != STATUS_OK) { return status; }
    core_say(core, "starting");
    status = core_start(core, err);
    if (status != STATUS_OK) { return status; }
    return poll_thread_start(core->stream, core->ring, core->shared, &core->poll, err);
}

static void reset_timers(struct core *core) {
    int64_t now_us = clock_monotonic_us();
    core->epoch_began_us = core->batch_cut_us = core->version_marked_us = now_us;
    core->rates_us = core->heartbeat_us = core->shown_us = core->lm_credit_at_us = now_us;
    core->batch_end_seen = engine_state(core->engine)->batch_end;
    core->version_seq_seen = engine_state(core->engine)->version_seq;
    core->shown_seq = engine_state(core->engine)->seq;
}

/* A last epoch, so that what was consumed is committed and not consumed again. */
static enum status last_epoch(struct core *core, struct error *err) {
    bool strict = core->settings.engine_strict;
    if (!engine_has_work(core->engine) || (strict && !engine_at_boundary(core->engine))) {
        return STATUS_OK;
    }
    return close_epoch(core, err);
}

enum status pipeline_run(struct shared *shared, const struct pipeline_options *options,
                         struct error *err) {
    struct core *core = memory_take_zeroed(1, sizeof(*core));
    if (core == NULL) { return error_set(err, STATUS_NO_MEMORY, "the core"); }
    core->shared = shared;
    core->options = options;
    core->settings = *shared_settings(shared);
    core->start_settings = core->settings;
    core->lock_fd = -1;
    shared_watch(shared, THREAD_CORE, true);
    enum status status = core_report_init(core, err);
    if (status == STATUS_OK) { status = open_all(core, err); }
    if (status == STATUS_OK) {
        core->ready = true;
        reset_timers(core);
        core_say(core, "running");
        if (options->on_ready != NULL) { options->on_ready(options->context); }
        failpoint_mark(FAILPOINT_start_ready);
        while (status == STATUS_OK && !shared_stopping(shared)) {
            status = turn(core, err);
        }
        failpoint_mark(FAILPOINT_stop_begun);
        if (status == STATUS_OK) { status = last_epoch(core, err); }
        failpoint_mark(FAILPOINT_stop_epoch_done);
    }
    if (status == STATUS_OK) {
        status = shared_stop_reason(shared, err);
    } else if (shared_stopping(shared) && status == STATUS_AGAIN) {
        status = shared_stop_reason(shared, err); /* a wait was given up because of the stop */
    }
    shared_stop(shared, status, err); /* the other threads end too */
    core_close(core);
    shared_watch(shared, THREAD_CORE, false);
    memory_free(core);
    return status;
}
