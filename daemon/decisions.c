/* SPDX-License-Identifier: Apache-2.0
 *
 * decisions.c - what the core decides at the close of an epoch, and the record that makes it count.
 *
 * Why it exists: batch ends, versions, rollbacks and rates decide what is learned and published; so
 * they are either functions of sequence numbers (strict mode) or written into the epoch record
 * before they take effect (recorded mode). PROTOCOL.md, "Who decides what, and when it counts".
 *
 *   .. row row│row row row│row ..   │ batch end: every batch_events rows since the last one, or
 *        batch b-1   batch b                 (recorded) cut at seq_hi by a timer
 *   version v marked at a batch end C_v; strict: in force for groups that begin after C_v +
 *   lag_events;
 *   recorded: in force from the epoch after the one that announces it
 *
 * Failure: CORRUPT when a followed epoch does not come out as recorded.
 * Thread: core. */
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/hash.h"
#include "daemon/engine_parts.h"
#include "daemon/forgets.h"
#include "daemon/ledger.h"
#include "daemon/settings_record.h"

static const struct settings *settings_of(const struct engine *engine) {
    return engine->doors.settings;
}

/* Gives the next version number to a row. The queue is long enough: strict mode waits for versions
 * and recorded mode makes one every publish.interval; a full queue skips the mark. */
static void mark_version(struct engine *engine, struct training_row *row, uint64_t rolled_back) {
    struct core_state *state = &engine->state;
    if (state->pending_count == PENDING_VERSIONS_MAX) { return; }
    row->marks |= TRAINING_VERSION;
    row->version = state->version_next;
    state->pending[state->pending_count] = (struct pending_version){
        .number = state->version_next, .seq = row->seq, .rolled_back = rolled_back};
    state->pending_count++;
    state->version_next++;
    state->version_seq = row->seq;
    state->batches = 0;
}

/* The oldest control that waits takes effect at this batch end. */
static enum status mark_control(struct engine *engine, struct training_row *row,
                                struct error *err) {
    struct core_state *state = &engine->state;
    if (state->control_count == 0 || (row->marks & (TRAINING_ROLLBACK | TRAINING_FORGET)) != 0) {
        return STATUS_OK;
    }
    struct pending_control control = state->controls[0];
    bool versioned = (row->marks & TRAINING_VERSION) != 0;
    if (control.mark != TRAINING_FORGET) {
        if (versioned) { return STATUS_OK; } /* at the next batch end: one version a row */
        mark_version(engine, row, control.mark == TRAINING_ROLLBACK ? control.argument + 1 : 0);
        if ((row->marks & TRAINING_VERSION) == 0) { return STATUS_OK; }
    }
    if (control.mark != TRAINING_VERSION) {
        row->marks |= control.mark;
        row->argument = control.argument;
    }
    state->control_count--;
    memmove(state->controls, state->controls + 1,
            (size_t)state->control_count * sizeof(state->controls[0]));
    if (control.mark != TRAINING_FORGET) { return STATUS_OK; }
    /* A version of this very row is made after the learner forgot, with what it learned before. */
    uint64_t last = versioned ? row->version : state->version_next;
    return forget_mark(engine->doors.stage, control.argument, row->seq, last, err);
}

enum status mark_batch_end(struct engine *engine, struct training_row *row, bool version_due,
                           struct error *err) {
    struct core_state *state = &engine->state;
    const struct settings *s = settings_of(engine);
    if ((row->marks & TRAINING_BATCH_END) == 0) {
        row->marks |= TRAINING_BATCH_END;
        state->batch_end = row->seq;
        state->batches++;
    }
    if (s->engine_strict && state->batches >= (uint64_t)s->publish_version_batches) {
        version_due = true;
    }
    if (version_due && (row->marks & TRAINING_VERSION) == 0) { mark_version(engine, row, 0); }
    return mark_control(engine, row, err);
}

/* ---- which version is in force ---- */

static void pending_drop(struct core_state *state, int count) {
    state->pending_count -= count;
    memmove(state->pending, state->pending + count,
            (size_t)state->pending_count * sizeof(state->pending[0]));
}

/* Strict: entries whose A_v lies at or before seq. */
static int pending_due(const struct engine *engine) {
    const struct core_state *state = &engine->state;
    uint64_t lag = (uint64_t)settings_of(engine)->publish_lag_events;
    int due = 0;
    while (due < state->pending_count && state->pending[due].seq + lag <= state->seq) {
        due++;
    }
    return due;
}

void decide_strict_version(struct engine *engine) {
    if (!settings_of(engine)->engine_strict) { return; }
    struct core_state *state = &engine->state;
    int due = pending_due(engine);
    for (int i = 0; i < due; i++) {
        assert(state->pending[i].announced); /* the caller asked engine_waits_for */
        if (!state->pending[i].rejected) { state->in_force = state->pending[i].number; }
    }
    pending_drop(state, due);
}

uint64_t engine_waits_for(const struct engine *engine) {
    if (!settings_of(engine)->engine_strict || engine->group.events > 0) { return 0; }
    int due = pending_due(engine);
    for (int i = 0; i < due; i++) {
        if (!engine->state.pending[i].announced) { return engine->state.pending[i].number + 1; }
    }
    return 0;
}

/* Recorded: the newest announced version is in force from the next epoch on. */
static void decide_recorded_version(struct engine *engine) {
    struct core_state *state = &engine->state;
    int done = 0;
    while (done < state->pending_count && state->pending[done].announced) {
        if (!state->pending[done].rejected) { state->in_force = state->pending[done].number; }
        done++;
    }
    pending_drop(state, done);
}

/* ---- marks at the close ---- */

/* Recorded mode: cuts a batch at seq_hi and, when due, marks a version there. The row may have been
 * committed by an earlier epoch (an idle stream): then its marks are rewritten. */
static enum status cut_batch(struct engine *engine, bool batch_due, bool version_due,
                             struct epoch_decisions *decisions, struct error *err) {
    struct core_state *state = &engine->state;
    if (version_due && state->seq <= state->version_seq) { version_due = false; }
    bool controls = state->control_count > 0 && state->seq > 0;
    bool cut = state->seq > state->batch_end && (batch_due || version_due || controls);
    bool late = state->seq == state->batch_end && (version_due || controls);
    if (!cut && !late) { return STATUS_OK; }
    struct training_row row;
    enum status status = training_log_get(engine->doors.stage, state->seq, &row, err);
    if (status != STATUS_OK) { return error_wrap(err, "marking row %" PRIu64, state->seq); }
    status = mark_batch_end(engine, &row, version_due, err);
    if (status != STATUS_OK) { return status; }
    decisions->batch_cut = true;
    decisions->version_mark = version_due;
    return training_log_put(engine->doors.stage, &row, err);
}

static void fill_decisions(struct engine *engine, const struct engine_close *how,
                           struct epoch_decisions *decisions) {
    struct core_state *state = &engine->state;
    if (!settings_of(engine)->engine_strict) {
        decide_recorded_version(engine);
        if (!how->claim) { state->rates = how->rates; }
    }
    decisions->claim = how->claim;
    decisions->in_force = state->in_force;
    decisions->lm_rate = state->rates.lm_rate;
    decisions->eval_rate = state->rates.eval_rate;
    decisions->eval_lm_rate = state->rates.eval_lm_rate;
    decisions->fast_share = state->rates.fast_share;
    decisions->announced = engine->epoch.announced;
    decisions->announced_count = engine->epoch.announced_count;
    decisions->forgotten = engine->epoch.forgotten;
    decisions->forgotten_count = engine->epoch.forgotten_count;
    decisions->crashed = engine->epoch.crashed;
    decisions->crashed_count = engine->epoch.crashed_count;
}

/* ---- digests and the chain ---- */

static enum status advance_digests(struct engine *engine, struct error *err) {
    struct core_state *state = &engine->state;
    if (stage_entries(engine->doors.stage) == 0) { return STATUS_OK; } /* carried */
    enum status status = core_state_save_sums(state, engine->doors.stage, err);
    if (status != STATUS_OK) { return status; }
    uint8_t digest[SHA256_BYTES];
    status = stage_digest(engine->doors.stage, 1, state->input_digest, digest, err);
    if (status != STATUS_OK) { return status; }
    memcpy(state->input_digest, digest, SHA256_BYTES);
    status = stage_digest(engine->doors.stage, 2, state->evaluation_digest, digest, err);
    if (status != STATUS_OK) { return status; }
    memcpy(state->evaluation_digest, digest, SHA256_BYTES);
    return STATUS_OK;
}

/* ---- the record ---- */

/* The settings that affect outputs, into the record and META. */
static enum status put_settings(struct engine *engine, struct settings_text *text,
                                struct epoch_record *record, struct error *err) {
    enum status status = settings_text_make(settings_of(engine), text, err);
    if (status != STATUS_OK) { return status; }
    record->settings = text->entries;
    record->setting_count = text->count;
    engine->state.settings_digest = settings_text_digest(text);
    return settings_text_save(text, engine->doors.stage, err);
}

static enum status start_positions(struct engine *engine, struct epoch_record *record,
                                   struct position_record *start, uint32_t *partitions) {
    const struct core_state *state = &engine->state;
    record->start = start;
    record->start_count = state->position_count;
    for (int i = 0; i < state->position_count; i++) {
        const struct stream_position *p = &state->positions[i];
        start[i] = (struct position_record){span_of(engine_topic_name(engine, (int)p->topic)),
                                            p->partition, p->next};
    }
    record->partitions = partitions;
    record->partition_count = STREAM_INPUT_COUNT;
    for (int i = 0; i < STREAM_INPUT_COUNT; i++) {
        partitions[i] = (uint32_t)state->partitions[i];
    }
    return STATUS_OK;
}

static void fill_record(const struct engine *engine, const struct engine_close *how,
                        struct epoch_record *record) {
    const struct core_state *state = &engine->state;
    const struct epoch *epoch = &engine->epoch;
    record->shard = (uint32_t)settings_of(engine)->stream_shard;
    record->epoch = state->epoch;
    memcpy(record->owner, how->owner, OWNER_BYTES);
    memcpy(record->previous, state->chain, SHA256_BYTES);
    record->runs = epoch->runs;
    record->run_count = epoch->run_count;
    record->seq_lo = epoch->seq_lo;
    record->seq_hi = state->seq;
    record->applied = epoch->applied;
    record->duplicate = epoch->duplicate;
    record->dead = epoch->dead;
    record->filtered = epoch->filtered;
    record->other = epoch->other;
    record->groups = epoch->groups;
    record->group_count = epoch->group_count;
    memcpy(record->input_digest, state->input_digest, SHA256_BYTES);
    memcpy(record->evaluation_digest, state->evaluation_digest, SHA256_BYTES);
    record->fold_version = FOLD_VERSION;
    record->predictions = epoch->predictions;
    record->dead_letters = epoch->dead_letters;
    record->metrics_records = epoch->metrics_records;
    if (how->numeric_profile != NULL) { record->numeric_profile = span_of(how->numeric_profile); }
}

/* Encodes the record, adds it as the last output and moves the chain on. */
static enum status put_record(struct engine *engine, const struct epoch_record *record,
                              struct error *err) {
    buffer_reset(&engine->message);
    enum status status = outbound_epoch(record, &engine->message);
    if (status != STATUS_OK) {
        return error_set(err, status, "encoding epoch record %" PRIu64, record->epoch);
    }
    status = ledger_chain_advance(engine->state.chain, buffer_span(&engine->message), err);
    if (status != STATUS_OK) { return status; }
    char key[16];
    int key_size = snprintf(key, sizeof(key), "%" PRIu32, record->shard);
    status = epoch_output_add(&engine->epoch, STREAM_LEDGER, (int32_t)record->shard, -1,
                              span_make(key, (size_t)key_size), buffer_span(&engine->message), err);
    if (status != STATUS_OK) { return status; }
    return core_state_save(&engine->state, engine->doors.stage, err);
}

enum status engine_close_epoch(struct engine *engine, const struct engine_close *how,
                               struct error *err) {
    assert(engine->follow == NULL);
    bool strict = settings_of(engine)->engine_strict;
    assert(!strict || engine->group.events == 0 || !engine_has_work(engine));
    static _Thread_local struct settings_text text; /* large; one core thread an engine */
    static _Thread_local struct position_record start[STREAM_POSITIONS_MAX];
    uint32_t partitions[STREAM_INPUT_COUNT];
    struct epoch_record record;
    memset(&record, 0, sizeof(record));

    enum status status = STATUS_OK;
    if (!strict) {
        status = group_close(engine, err);
        if (status != STATUS_OK) { return status; }
        if (!how->claim) {
            status = cut_batch(engine, how->batch_due, how->version_due, &record.decisions, err);
            if (status != STATUS_OK) { return status; }
        }
    }
    engine->state.epoch++;
    engine->state.evaluation_carried = false; /* from here on our own fold is what is recorded */
    fill_decisions(engine, how, &record.decisions);
    status = advance_digests(engine, err);
    if (status != STATUS_OK) { return status; }
    fill_record(engine, how, &record);
    if (how->with_settings) {
        status = put_settings(engine, &text, &record, err);
        if (status != STATUS_OK) { return status; }
        if (how->base_model_sha256 != NULL) {
            memcpy(record.base_model_sha256, how->base_model_sha256, SHA256_BYTES);
        }
        status = start_positions(engine, &record, start, partitions);
        if (status != STATUS_OK) { return status; }
    }
    if (engine->trim_seq > 0) {
        status = training_log_trim(engine->doors.stage, engine->trim_seq, err);
        if (status != STATUS_OK) { return status; }
        status = catalogue_trim(engine->doors.catalogue, engine->trim_seq, err);
        if (status != STATUS_OK) { return status; }
        engine->trim_seq = 0;
    }
    return put_record(engine, &record, err);
}

bool engine_has_work(const struct engine *engine) {
    const struct epoch *epoch = &engine->epoch;
    return epoch->records > 0 || epoch->output_count > 0 || epoch->announced_count > 0;
}

enum status engine_begin(struct engine *engine, struct error *err) {
    (void)err;
    assert(engine->group.events == 0);
    catalogue_committed(engine->doors.catalogue);
    epoch_reset(&engine->epoch, engine->state.seq + 1);
    engine->follow = NULL;
    return STATUS_OK;
}

/* ---- following ---- */

void engine_follow(struct engine *engine, const struct epoch_record *record,
                   const uint8_t chain_after[SHA256_BYTES]) {
    assert(engine->epoch.records == 0 && engine->group.events == 0);
    engine->follow = record;
    engine->follow_group = 0;
    memcpy(engine->follow_chain, chain_after, SHA256_BYTES);
}

static void follow_announcements(struct core_state *state, const struct epoch_record *record) {
    for (int i = 0; i < record->decisions.announced_count; i++) {
        const struct epoch_version *v = &record->decisions.announced[i];
        for (int j = 0; j < state->pending_count; j++) {
            if (state->pending[j].number != v->version) { continue; }
            state->pending[j].announced = true;
            state->pending[j].rejected = v->rejected;
        }
    }
}

/* Settings that a followed record brings are in force from there on (META keeps them). */
static enum status follow_settings(struct engine *engine, struct error *err) {
    const struct epoch_record *record = engine->follow;
    if (record->setting_count == 0) { return STATUS_OK; }
    static _Thread_local struct settings_text text;
    text.count = 0;
    for (int i = 0; i < record->setting_count && i < SETTINGS_RECORD_MAX; i++) {
        (void)snprintf(text.keys[i], sizeof(text.keys[i]), "%.*s",
                       SPAN_ARG(record->settings[i].key));
        text.entries[i] = record->settings[i];
        text.count++;
    }
    engine->state.settings_digest = settings_text_digest(&text);
    return settings_text_save(&text, engine->doors.stage, err);
}

static enum status follow_decisions(struct engine *engine, struct error *err) {
    const struct epoch_record *record = engine->follow;
    struct core_state *state = &engine->state;
    const struct epoch_decisions *d = &record->decisions;
    follow_announcements(state, record);
    if (!settings_of(engine)->engine_strict) {
        struct epoch_decisions made = {0};
        if (d->batch_cut) {
            enum status status = cut_batch(engine, true, d->version_mark, &made, err);
            if (status != STATUS_OK) { return status; }
        }
        decide_recorded_version(engine);
    }
    state->rates = (struct core_rates){d->lm_rate, d->eval_rate, d->eval_lm_rate, d->fast_share};
    state->in_force = d->in_force;
    return STATUS_OK;
}

static enum status follow_check(const struct engine *engine, struct error *err) {
    const struct epoch_record *record = engine->follow;
    const struct core_state *state = &engine->state;
    const struct epoch *epoch = &engine->epoch;
    if (state->seq != record->seq_hi) {
        return error_set(err, STATUS_CORRUPT,
                         "epoch %" PRIu64 " refolded to sequence number %" PRIu64
                         ", the ledger says %" PRIu64,
                         record->epoch, state->seq, record->seq_hi);
    }
    if (epoch->applied != record->applied || epoch->duplicate != record->duplicate ||
        epoch->dead != record->dead || epoch->filtered != record->filtered) {
        return error_set(err, STATUS_CORRUPT,
                         "epoch %" PRIu64 " refolded to other counts than the ledger's",
                         record->epoch);
    }
    if (memcmp(state->input_digest, record->input_digest, SHA256_BYTES) != 0) {
        return error_set(err, STATUS_CORRUPT,
                         "epoch %" PRIu64 " refolded to another input digest than the ledger's",
                         record->epoch);
    }
    if (!state->evaluation_carried &&
        memcmp(state->evaluation_digest, record->evaluation_digest, SHA256_BYTES) != 0) {
        return error_set(err, STATUS_CORRUPT,
                         "epoch %" PRIu64
                         " refolded to another evaluation digest than the ledger's",
                         record->epoch);
    }
    return STATUS_OK;
}

enum status engine_close_followed(struct engine *engine, struct error *err) {
    assert(engine->follow != NULL);
    const struct epoch_record *record = engine->follow;
    struct core_state *state = &engine->state;
    if (engine->group.events > 0 && !settings_of(engine)->engine_strict) {
        return error_set(err, STATUS_CORRUPT, "epoch %" PRIu64 " ends inside a group",
                         record->epoch);
    }
    enum status status = follow_decisions(engine, err);
    if (status != STATUS_OK) { return status; }
    state->epoch = record->epoch;
    status = advance_digests(engine, err);
    if (status != STATUS_OK) { return status; }
    status = follow_check(engine, err);
    if (status != STATUS_OK) { return status; }
    memcpy(state->evaluation_digest, record->evaluation_digest, SHA256_BYTES);
    memcpy(state->chain, engine->follow_chain, SHA256_BYTES);
    status = follow_settings(engine, err); /* META only: after the digests, as when it was closed */
    if (status != STATUS_OK) { return status; }
    return core_state_save(state, engine->doors.stage, err);
}
