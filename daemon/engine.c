/* SPDX-License-Identifier: Apache-2.0
 *
 * engine.c - feeds records into the fold: one event, one step, in the order of the log.
 *
 * Why it exists: everything published follows from here, so this room has no clock, no randomness
 * of its own and no I/O; what it needs comes through engine_doors.
 * Failure: a bad record is a dead letter; anything else stops the epoch, of which nothing was
 * visible. Thread: core. */
#include "daemon/engine.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/failpoint.h"
#include "base/memory.h"
#include "daemon/engine_parts.h"
#include "daemon/forgets.h"

enum status engine_new(const struct engine_doors *doors, const struct core_state *state,
                       struct engine **ret_engine, struct error *err) {
    assert(doors->settings != NULL && doors->stage != NULL && doors->ranker != NULL);
    struct engine *engine = memory_take_zeroed(1, sizeof(*engine));
    if (engine == NULL) { return error_set(err, STATUS_NO_MEMORY, "the engine"); }
    engine->doors = *doors;
    engine->lm_users = (int)doors->settings->predict_lm_users;
    enum status status = core_state_init(&engine->state, state->partitions, err);
    if (status != STATUS_OK) { goto fail; }
    core_state_copy(&engine->state, state);

    size_t items = (size_t)doors->settings->state_items_max;
    engine->hidden = memory_take_zeroed(items, 1);
    if (engine->hidden == NULL) {
        status = error_set(err, STATUS_NO_MEMORY, "hidden flags of %zu items", items);
        goto fail;
    }
    for (uint32_t i = 0; i < catalogue_count(doors->catalogue); i++) {
        engine->hidden[i] = catalogue_hidden(doors->catalogue, i);
    }
    status = epoch_init(&engine->epoch, err);
    if (status != STATUS_OK) { goto fail; }
    epoch_reset(&engine->epoch, engine->state.seq + 1);
    status = group_init(engine, err);
    if (status != STATUS_OK) { goto fail; }
    *ret_engine = engine;
    return STATUS_OK;

fail:
    engine_free(engine);
    return status;
}

void engine_free(struct engine *engine) {
    if (engine == NULL) { return; }
    group_free(engine);
    epoch_free(&engine->epoch);
    core_state_free(&engine->state);
    buffer_free(&engine->message);
    memory_free(engine->hidden);
    if (engine->version != NULL) { version_give(engine->version); }
    memory_free(engine);
}

const struct core_state *engine_state(const struct engine *engine) {
    return &engine->state;
}

const struct epoch *engine_epoch(const struct engine *engine) {
    return &engine->epoch;
}

bool engine_at_boundary(const struct engine *engine) {
    return engine->group.events == 0;
}

void engine_set_lm_users(struct engine *engine, int users) {
    engine->lm_users = users;
}

void engine_trim_below(struct engine *engine, uint64_t seq) {
    engine->trim_seq = seq;
}

const struct stream_position *engine_positions(const struct engine *engine, int *ret_count) {
    *ret_count = engine->state.position_count;
    return engine->state.positions;
}

bool engine_take_set(struct engine *engine, char key[128], char value[CONFIG_TEXT_BYTES]) {
    if (!engine->set_waits) { return false; }
    memcpy(key, engine->set_key, sizeof(engine->set_key));
    memcpy(value, engine->set_value, sizeof(engine->set_value));
    engine->set_waits = false;
    return true;
}

const char *engine_topic_name(const struct engine *engine, int topic) {
    const struct settings *s = engine->doors.settings;
    const char *const names[STREAM_TOPIC_COUNT] = {
        s->topics_events,    s->topics_items,  s->topics_control, s->topics_predictions,
        s->topics_snapshots, s->topics_ledger, s->topics_metrics, s->topics_dlq};
    assert(topic >= 0 && topic < STREAM_TOPIC_COUNT);
    return names[topic];
}

void engine_take_version(struct engine *engine, uint64_t number) {
    if (engine->version != NULL && engine->version->number == number) { return; }
    struct version *version = engine->doors.version(engine->doors.context, number);
    if (engine->version != NULL) { version_give(engine->version); }
    engine->version = version;
}

double engine_dead_share(const struct engine *engine) {
    if (engine->dead_seen < DEAD_WINDOW) { return 0; }
    return (double)engine->dead_sum / DEAD_WINDOW;
}

static void dead_note(struct engine *engine, bool dead) {
    engine->dead_sum += (int)dead - engine->dead_ring[engine->dead_at];
    engine->dead_ring[engine->dead_at] = dead;
    engine->dead_at = (engine->dead_at + 1) % DEAD_WINDOW;
    if (engine->dead_seen < DEAD_WINDOW) { engine->dead_seen++; }
}

/* True when an event of this type and strength is to be learned from. */
static bool event_counts(const struct settings *settings, const struct event *event) {
    if (event->has_strength && (double)event->strength < settings->events_min_strength) {
        return false;
    }
    const char *list = settings->events_train_types;
    if (list[0] == '\0') { return true; }
    while (*list != '\0') {
        size_t length = strcspn(list, ",");
        if (span_equal(span_make(list, length), event->type)) { return true; }
        list += length + (list[length] == ',');
    }
    return false;
}

static float row_weight(const struct settings *settings, const struct event *event) {
    float weight = settings_type_weight(settings, event->type);
    if (settings->events_strength_weights_loss && event->has_strength) {
        weight *= event->strength;
    }
    return isfinite(weight) && weight >= 0.0F ? weight : 0.0F;
}

static int compare_items(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

/* Decides from the sequence number what the row is used for, and writes the exclusions it needs. */
static enum status sample_row(struct engine *engine, struct span user, struct training_row *row,
                              struct error *err) {
    uint64_t seed = (uint64_t)engine->doors.settings->train_seed;
    bool lm = engine->doors.settings->base_model_path[0] != '\0';
    if (lm && hash_unit(row->seq, SALT_LM, seed) < (double)row->lm_rate) {
        row->marks |= TRAINING_LM;
    }
    bool evaluate_lm =
        lm && hash_unit(row->seq, SALT_EVALUATE_LM, seed) < (double)row->eval_lm_rate;
    if (!evaluate_lm && hash_unit(row->seq, SALT_EVALUATE, seed) >= (double)row->eval_rate) {
        return STATUS_OK;
    }
    uint32_t count = 0;
    enum status status =
        seen_load(engine->doors.stage, user, engine->seen_items, SEEN_MAX, &count, err);
    if (status != STATUS_OK) { return status; }
    for (uint32_t i = 0; i < count; i++) {
        row->repeat |= engine->seen_items[i] == row->item;
    }
    if (row->repeat) { return STATUS_OK; }
    row->marks |= evaluate_lm ? TRAINING_EVALUATE | TRAINING_EVALUATE_LM : TRAINING_EVALUATE;
    qsort(engine->seen_items, count, sizeof(uint32_t), compare_items);
    return training_exclusions_put(engine->doors.stage, row->seq, engine->seen_items, count, err);
}

/* The row of the training log for one applied event; the sequence is as before the event. */
static enum status write_row(struct engine *engine, const struct stream_record *record,
                             const struct event *event, uint32_t item,
                             const struct sequence *sequence, struct training_row *row,
                             struct error *err) {
    const struct settings *settings = engine->doors.settings;
    const struct core_state *state = &engine->state;
    *row = (struct training_row){
        .seq = state->seq,
        .topic = (uint8_t)record->topic,
        .partition = record->partition,
        .offset = record->offset,
        .user_key = hash64(event->user, (uint64_t)settings->train_seed),
        .item = item,
        .time_ms = event->time_ms,
        .weight = row_weight(settings, event),
        .lm_rate = (float)state->rates.lm_rate,
        .eval_rate = (float)state->rates.eval_rate,
        .eval_lm_rate = (float)state->rates.eval_lm_rate,
        .sasrec_rate = (float)state->rates.fast_share,
    };
    uint32_t window = (uint32_t)settings->sasrec_history;
    if (window < (uint32_t)settings->ilora_history) { window = (uint32_t)settings->ilora_history; }
    row->window_count = sequence_history(sequence, event->time_ms, window, row->window);
    enum status status = sample_row(engine, event->user, row, err);
    if (status != STATUS_OK) { return status; }
    if (state->seq - state->batch_end >= (uint64_t)settings->train_batch_events) {
        status = mark_batch_end(engine, row, false, err);
        if (status != STATUS_OK) { return status; }
    }
    return training_log_put(engine->doors.stage, row, err);
}

/* One event that counts and is new: everything it changes. */
static enum status apply_event(struct engine *engine, const struct stream_record *record,
                               const struct event *event, uint32_t item, uint64_t id_hash,
                               struct sequence *sequence, struct error *err) {
    const struct settings *settings = engine->doors.settings;
    struct stage *stage = engine->doors.stage;
    engine->state.seq++;
    engine->state.counts.applied++;
    engine->epoch.applied++;
    if (sequence->total == 0) { /* before the row, which may itself get a version's mark */
        sequence->first_seq = engine->state.seq;
        sequence->first_version = engine->state.version_next;
    }
    enum status status = evaluate_live(engine, event->user, item, event->time_ms, err);
    if (status != STATUS_OK) { return status; }

    struct training_row row;
    status = write_row(engine, record, event, item, sequence, &row, err);
    if (status != STATUS_OK) { return status; }

    if (settings->state_seen > 0) {
        status = seen_add(stage, event->user, item, (uint32_t)settings->state_seen, err);
        if (status != STATUS_OK) { return status; }
    }
    sequence_append(sequence, item, event->time_ms, id_hash, (uint32_t)settings->state_history,
                    (uint32_t)settings->state_dedup);
    status = sequence_save(stage, event->user, sequence, err);
    if (status != STATUS_OK) { return status; }
    return group_note(engine, event->user, &row, err);
}

static uint64_t event_id_hash(const struct engine *engine, const struct stream_record *record,
                              const struct event *event) {
    uint64_t seed = (uint64_t)engine->doors.settings->train_seed;
    if (event->id.size > 0) { return hash64(event->id, seed); }
    uint64_t place = (uint64_t)record->topic << 32 | (uint32_t)record->partition;
    return hash64_pair(place, (uint64_t)record->offset, seed + 1);
}

static enum status feed_interaction(struct engine *engine, const struct stream_record *record,
                                    const struct event *event, struct error *err) {
    if (!event_counts(engine->doors.settings, event)) {
        engine->state.counts.filtered++;
        engine->epoch.filtered++;
        return STATUS_OK;
    }
    struct sequence sequence;
    enum status status = sequence_load(engine->doors.stage, event->user, &sequence, err);
    if (status != STATUS_OK) { return status; }
    uint64_t hash = event_id_hash(engine, record, event);
    if (sequence_knows_event(&sequence, hash)) {
        engine->state.counts.duplicate++;
        engine->epoch.duplicate++;
        return STATUS_OK;
    }
    uint32_t item;
    status = catalogue_add(engine->doors.catalogue, event->item, engine->state.seq + 1, &item, err);
    if (status != STATUS_OK) { return status; }
    return apply_event(engine, record, event, item, hash, &sequence, err);
}

static enum status feed_item(struct engine *engine, const struct event *event, struct error *err) {
    uint32_t item;
    uint64_t from = engine->state.seq + 1;
    enum status status = catalogue_add(engine->doors.catalogue, event->item, from, &item, err);
    if (status != STATUS_OK) { return status; }
    struct span title = event->has_title ? event->title : span_make(NULL, 0);
    status = catalogue_set(engine->doors.catalogue, item, from, title, event->hidden, err);
    if (status != STATUS_OK) { return status; }
    engine->hidden[item] = event->hidden;
    engine->state.counts.other++;
    engine->epoch.other++;
    return STATUS_OK;
}

/* Puts a control in the queue for the next batch end. */
static enum status queue_control(struct engine *engine, uint8_t mark, uint64_t argument,
                                 struct error *err) {
    struct core_state *state = &engine->state;
    if (state->control_count == PENDING_CONTROLS_MAX) {
        return error_set(err, STATUS_MALFORMED, "more than %d control records wait for a batch end",
                         PENDING_CONTROLS_MAX);
    }
    state->controls[state->control_count] =
        (struct pending_control){.mark = mark, .argument = argument};
    state->control_count++;
    return STATUS_OK;
}

static enum status hide_item(struct engine *engine, struct span item_id, struct error *err) {
    uint32_t item;
    enum status status = catalogue_find(engine->doors.catalogue, item_id, &item, err);
    if (status != STATUS_OK) { return status; }
    status = catalogue_set(engine->doors.catalogue, item, engine->state.seq + 1, span_make(NULL, 0),
                           true, err);
    if (status == STATUS_OK) { engine->hidden[item] = 1; }
    return status;
}

/* Forgets a user now: sequence, seen, published, and the open group scores it no more; the learner
 * follows at the next batch end. */
static enum status forget_user(struct engine *engine, struct span user, struct error *err) {
    uint64_t key = hash64(user, (uint64_t)engine->doors.settings->train_seed);
    if (engine->epoch.forgotten_count == EPOCH_FORGOTTEN_MAX) {
        return error_set(err, STATUS_MALFORMED, "more than %d users to forget in one epoch",
                         EPOCH_FORGOTTEN_MAX);
    }
    enum status status = queue_control(engine, TRAINING_FORGET, key, err);
    if (status != STATUS_OK) { return status; }
    struct sequence sequence;
    status = sequence_load(engine->doors.stage, user, &sequence, err);
    if (status != STATUS_OK) { return status; }
    status = forget_note(engine->doors.stage, key, &sequence, engine->state.seq,
                         engine->state.epoch + 1, err);
    if (status != STATUS_OK) { return status; }
    status = sequence_forget(engine->doors.stage, user, err);
    if (status != STATUS_OK) { return status; }
    group_forget(engine, user);
    engine->epoch.forgotten[engine->epoch.forgotten_count] = key;
    engine->epoch.forgotten_count++;
    return STATUS_OK;
}

static enum status feed_control(struct engine *engine, const struct event *event,
                                struct error *err) {
    bool strict = engine->doors.settings->engine_strict;
    enum status status = STATUS_OK;
    switch (event->command) {
    case CONTROL_FORGET_USER: status = forget_user(engine, event->user, err); break;
    case CONTROL_HIDE_ITEM: status = hide_item(engine, event->item, err); break;
    case CONTROL_ROLLBACK:
        status = queue_control(engine, TRAINING_ROLLBACK, event->version, err);
        break;
    case CONTROL_PUBLISH_NOW:
        if (strict) { return error_set(err, STATUS_MALFORMED, "publish_now in strict mode"); }
        status = queue_control(engine, TRAINING_VERSION, 0, err);
        break;
    case CONTROL_SET:
        (void)snprintf(engine->set_key, sizeof(engine->set_key), "%.*s", SPAN_ARG(event->key));
        (void)snprintf(engine->set_value, sizeof(engine->set_value), "%.*s",
                       SPAN_ARG(event->value)); /* cut values fail in config_set */
        engine->set_waits = true;
        break;
    case CONTROL_NONE: assert(0 && "a control record has a command"); break;
    }
    if (status == STATUS_NOT_FOUND) { status = STATUS_OK; } /* hiding what never was */
    if (status != STATUS_OK) { return status; }
    engine->state.counts.other++;
    engine->epoch.other++;
    return STATUS_OK;
}

static enum status dead_record(struct engine *engine, const struct stream_record *record,
                               const char *reason, struct error *err) {
    engine->state.counts.dead++;
    engine->epoch.dead++;
    dead_note(engine, true);
    char message[ERROR_TEXT_BYTES];
    memcpy(message, err->text, sizeof(message));
    return publish_dead_letter(engine, record, reason, message, err);
}

/* True when the record is to be given up: live because it has crashed the daemon too often, in a
 * refold because the ledger says that it was. */
static bool is_given_up(const struct engine *engine, const struct stream_record *record) {
    if (engine->follow == NULL) {
        return crash_count(engine->doors.crashes, record->topic, record->partition,
                           record->offset) >= CRASHES_MAX;
    }
    struct span topic = span_of(engine_topic_name(engine, (int)record->topic));
    const struct epoch_decisions *recorded = &engine->follow->decisions;
    for (int i = 0; i < recorded->crashed_count; i++) {
        const struct position_record *crashed = &recorded->crashed[i];
        if (crashed->offset == record->offset && crashed->partition == record->partition &&
            span_equal(crashed->topic, topic)) {
            return true;
        }
    }
    return false;
}

static enum status give_up(struct engine *engine, const struct stream_record *record,
                           struct error *err) {
    struct epoch *epoch = &engine->epoch;
    assert(epoch->crashed_count < EPOCH_CRASHED_MAX); /* epoch_is_full */
    epoch->crashed[epoch->crashed_count++] = (struct position_record){
        span_of(engine_topic_name(engine, (int)record->topic)), record->partition, record->offset};
    (void)error_set(err, STATUS_MALFORMED, "folding it crashed the daemon %d times", CRASHES_MAX);
    return dead_record(engine, record, "crash", err);
}

static enum status feed_decoded(struct engine *engine, const struct stream_record *record,
                                struct error *err) {
    struct event event;
    const char *reason = NULL;
    enum status status = inbound_decode(engine->doors.inbound, record, &event, &reason, err);
    if (status == STATUS_MALFORMED || status == STATUS_LIMIT) {
        return dead_record(engine, record, reason, err);
    }
    if (status != STATUS_OK) { return status; }
    switch (event.kind) {
    case EVENT_INTERACTION: status = feed_interaction(engine, record, &event, err); break;
    case EVENT_ITEM: status = feed_item(engine, &event, err); break;
    case EVENT_CONTROL: status = feed_control(engine, &event, err); break;
    case EVENT_IGNORED:
        engine->state.counts.filtered++;
        engine->epoch.filtered++;
        break;
    }
    if (status == STATUS_MALFORMED) { return dead_record(engine, record, "bad-control", err); }
    /* LIMIT comes from a full catalogue alone: this record cannot be used, the stream goes on. */
    if (status == STATUS_LIMIT) { return dead_record(engine, record, "catalogue-full", err); }
    if (status == STATUS_OK) { dead_note(engine, false); }
    return status;
}

/* In strict mode users are forgotten in an epoch until the next group, wherever epochs begin:
 * within one group no more than PENDING_CONTROLS_MAX and one are queued. */
static bool epoch_must_close(const struct engine *engine) {
    static_assert(EPOCH_FORGOTTEN_MAX > EPOCH_FORGOTTEN_FULL + PENDING_CONTROLS_MAX + 1,
                  "where an epoch ends decides over no user");
    if (epoch_is_full(&engine->epoch)) { return true; }
    if (engine->epoch.forgotten_count < EPOCH_FORGOTTEN_FULL) { return false; }
    return engine->group.events == 0 || !engine->doors.settings->engine_strict;
}

enum status engine_feed(struct engine *engine, const struct stream_record *record,
                        struct error *err) {
    struct stream_position *position =
        core_state_position(&engine->state, record->topic, record->partition);
    if (position == NULL) {
        return error_set(err, STATUS_CONFIG, "topic '%s' has partition %d, which it had not before",
                         engine_topic_name(engine, (int)record->topic), (int)record->partition);
    }
    if (record->offset < position->next) { return STATUS_OK; }
    if (engine->follow == NULL && epoch_must_close(engine)) {
        return error_set(err, STATUS_AGAIN, "the epoch is full");
    }
    enum status status = epoch_run_extend(&engine->epoch, record, err);
    if (status != STATUS_OK) { return status; }
    if (engine->group.events == 0) { decide_strict_version(engine); }
    if (is_given_up(engine, record)) {
        status = give_up(engine, record, err);
    } else {
        crash_folding(record->topic, record->partition, record->offset);
        status = failpoint_pass_value(FAILPOINT_record_folding, record->offset, err);
        if (status == STATUS_OK) { status = feed_decoded(engine, record, err); }
        crash_folded();
    }
    if (status != STATUS_OK) {
        return error_wrap(err, "record %s/%d/%lld", engine_topic_name(engine, (int)record->topic),
                          (int)record->partition, (long long)record->offset);
    }
    position->next = record->offset + 1;
    return STATUS_OK;
}
