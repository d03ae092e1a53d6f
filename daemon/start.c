/* SPDX-License-Identifier: Apache-2.0
 *
 * start.c - the start procedure of PROTOCOL.md: who owns the shard, where it stands, what is
 * missing.
 *
 *   tail ─▶ owner? ─▶ fence ─▶ tail again ─▶ committed offsets + token ─▶ (E_k, H_k)
 *   LMDB ─▶ (E_l, H_l)
 *      ledger empty, LMDB empty          a new shard: epoch 0
 *      E_l == E_k, H_l == H_k            go on
 *      E_l <  E_k                        refold: consume the recorded runs again, outputs
 *      suppressed
 *      LMDB empty, ledger ours           refold from epoch 0
 *      anything else                     78: iloractl fsck explains
 *   then the claim epoch: "here I am", with the settings when they changed
 *
 * The claim is committed after the refold and not before it: its digests are then computed like
 * every other epoch's. The fence alone keeps a predecessor from committing meanwhile.
 * Thread: core. */
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/failpoint.h"
#include "base/log.h"
#include "daemon/core.h"
#include "daemon/rates.h"
#include "daemon/settings_record.h"

#define AWAY_WAIT_US 500000

struct start {
    struct core *core;
    int32_t partitions[STREAM_INPUT_COUNT];
    struct ledger_tail tail;
    struct core_state state;
    bool empty; /* LMDB holds nothing */
    bool settings_changed;
    char token[STREAM_TOKEN_BYTES_MAX];
};

/* ---- topics ---- */

/* Waits while nobody answers; a topic that is absent gives 0 partitions. */
static enum status ask_partitions(struct core *core, enum stream_topic topic, int32_t *ret_count,
                                  struct error *err) {
    for (;;) {
        enum status status = core->stream->ops->partitions(core->stream, topic, ret_count, err);
        if (status == STATUS_NOT_FOUND) {
            *ret_count = 0;
            return STATUS_OK;
        }
        if (status != STATUS_AGAIN) { return status; }
        core_say(core, "waiting for the stream: %.200s", err->text);
        if (!core_wait(core)) { return status; }
        clock_sleep_us(AWAY_WAIT_US);
    }
}

static enum status find_topics(struct start *start, struct error *err) {
    struct core *core = start->core;
    if (core->settings.stream_kind == STREAM_KIND_KAFKA) { /* an answer may take seconds */
        core_say(core, "connecting to Kafka at '%.200s'", core->settings.kafka_bootstrap_servers);
    }
    for (int topic = 0; topic < STREAM_TOPIC_COUNT; topic++) {
        int32_t count;
        enum status status = ask_partitions(core, (enum stream_topic)topic, &count, err);
        if (status != STATUS_OK) { return status; }
        bool optional = topic == STREAM_ITEMS || topic == STREAM_CONTROL;
        if (count == 0 && !optional) {
            return error_set(err, STATUS_CONFIG,
                             "[topics] %s: there is no such topic; 'iloractl topics create' makes "
                             "what is missing",
                             stream_topic_name((enum stream_topic)topic));
        }
        core->doors.partitions[topic] = count;
        if (topic < STREAM_INPUT_COUNT) { start->partitions[topic] = count; }
    }
    if (core->doors.partitions[STREAM_LEDGER] <= core->doors.shard) {
        return error_set(err, STATUS_CONFIG,
                         "[topics] ledger has %d partitions, shard %d needs its own",
                         core->doors.partitions[STREAM_LEDGER], core->doors.shard);
    }
    if (!core->settings.engine_strict) { return STATUS_OK; }
    start->partitions[STREAM_ITEMS] = start->partitions[STREAM_CONTROL] = 0;
    if (start->partitions[STREAM_EVENTS] == 1) { return STATUS_OK; }
    return error_set(err, STATUS_CONFIG,
                     "[engine] strict needs one partition of the events topic, it has %d",
                     start->partitions[STREAM_EVENTS]);
}

/* ---- ownership ---- */

/* The ledger's last owner must be this state directory, or the one named by --take-over. */
static enum status check_owner(struct start *start, struct error *err) {
    struct core *core = start->core;
    enum status status = ledger_read_tail(core->stream, core->doors.shard, &start->tail, err);
    if (status != STATUS_OK || start->tail.empty) { return status; }
    if (memcmp(start->tail.owner, core->owner, OWNER_BYTES) == 0) { return STATUS_OK; }
    char last[2 * OWNER_BYTES + 1], own[2 * OWNER_BYTES + 1];
    hex_encode(start->tail.owner, OWNER_BYTES, last);
    hex_encode(core->owner, OWNER_BYTES, own);
    const char *take_over = core->options->take_over;
    if (take_over != NULL && strcmp(take_over, last) == 0) { return STATUS_OK; }
    return error_set(err, STATUS_CONFIG,
                     "shard %d belongs to owner %s, this state is %s; '--take-over %s' takes it",
                     core->doors.shard, last, own, last);
}

static enum status fence(struct start *start, struct error *err) {
    struct core *core = start->core;
    for (;;) {
        enum status status = core->stream->ops->fence(core->stream, core_wait, core, err);
        if (status != STATUS_AGAIN) { return status; }
        core_say(core, "waiting for the stream: %.200s", err->text);
        if (!core_wait(core)) { return status; }
        clock_sleep_us(AWAY_WAIT_US);
    }
}

/* ---- where the input begins ---- */

static enum status first_positions(struct start *start, struct error *err) {
    struct core *core = start->core;
    bool latest = core->settings.stream_kind == STREAM_KIND_KAFKA &&
                  core->settings.kafka_start == KAFKA_START_LATEST;
    for (int i = 0; i < start->state.position_count; i++) {
        struct stream_position *p = &start->state.positions[i];
        int64_t first, end;
        enum status status =
            core->stream->ops->bounds(core->stream, p->topic, p->partition, &first, &end, err);
        if (status != STATUS_OK) { return error_wrap(err, "where the input begins"); }
        p->next = latest ? end : first;
    }
    return STATUS_OK;
}

static enum status check_positions(struct start *start, struct error *err) {
    struct core *core = start->core;
    for (int i = 0; i < start->state.position_count; i++) {
        const struct stream_position *p = &start->state.positions[i];
        int64_t first, end;
        enum status status =
            core->stream->ops->bounds(core->stream, p->topic, p->partition, &first, &end, err);
        if (status != STATUS_OK) { return error_wrap(err, "checking input positions"); }
        if (p->next < first) {
            return error_set(err, STATUS_CORRUPT,
                             "%s/%d: offsets %" PRId64 " to %" PRId64
                             " were removed upstream before they were consumed",
                             stream_topic_name(p->topic), p->partition, p->next, first - 1);
        }
        if (p->next > end) {
            return error_set(err, STATUS_CORRUPT,
                             "%s/%d ends at %" PRId64 ", %" PRId64
                             " was consumed before: the topic was truncated or made again",
                             stream_topic_name(p->topic), p->partition, end, p->next);
        }
    }
    return STATUS_OK;
}

/* ---- the state ---- */

static enum status load_state(struct start *start, struct error *err) {
    struct core *core = start->core;
    enum status status = core_state_init(&start->state, start->partitions, err);
    if (status != STATUS_OK) { return status; }
    status = store_reader_renew(core->reader, err);
    if (status != STATUS_OK) { return status; }
    status = core_state_load(&start->state, core->reader, err);
    store_reader_reset(core->reader); /* an open one pins pages and keeps the map from growing */
    start->empty = status == STATUS_NOT_FOUND;
    if (start->empty) {
        start->state.epoch = UINT64_MAX; /* the next one is epoch 0 */
        start->state.version_next = 1;
        start->state.rates = rates_first(&core->settings);
        status = first_positions(start, err);
    }
    return status;
}

static enum status compare_with_ledger(struct start *start, struct error *err) {
    const struct core_state *state = &start->state;
    const struct ledger_tail *tail = &start->tail;
    if (tail->empty) {
        if (start->empty) { return STATUS_OK; }
        return error_set(err, STATUS_CORRUPT,
                         "the state is at epoch %" PRIu64 " and the ledger is empty: the stream "
                         "was made again",
                         state->epoch);
    }
    bool ours = memcmp(tail->owner, start->core->owner, OWNER_BYTES) == 0;
    if (start->empty && !ours && !start->core->options->rebuild) {
        return error_set(err, STATUS_CONFIG,
                         "the state is empty and the ledger at epoch %" PRIu64
                         ": '--rebuild' folds the whole input again",
                         tail->epoch);
    }
    if (start->empty) { return STATUS_OK; }
    if (state->epoch > tail->epoch) {
        return error_set(err, STATUS_CORRUPT,
                         "the state is at epoch %" PRIu64 ", ahead of the ledger at %" PRIu64,
                         state->epoch, tail->epoch);
    }
    if (state->epoch == tail->epoch && memcmp(state->chain, tail->chain, SHA256_BYTES) != 0) {
        return error_set(err, STATUS_CORRUPT, "state and ledger disagree about epoch %" PRIu64,
                         tail->epoch);
    }
    if (tail->fold_version != FOLD_VERSION && state->epoch < tail->epoch) {
        return error_set(err, STATUS_CONFIG,
                         "epochs of fold version %u wait: drain with the old program first",
                         tail->fold_version);
    }
    return STATUS_OK;
}

/* The token must name the tail, or be gone (offsets expire; the tail is the authority). */
static enum status check_token(struct start *start, struct error *err) {
    struct core *core = start->core;
    struct core_state copy; /* of the positions alone: committed() overwrites them */
    enum status status = core_state_init(&copy, start->partitions, err);
    if (status != STATUS_OK) { return status; }
    memcpy(copy.positions, start->state.positions,
           (size_t)copy.position_count * sizeof(*copy.positions));
    status = core->stream->ops->committed(core->stream, copy.positions, copy.position_count,
                                          start->token, err);
    core_state_free(&copy);
    if (status != STATUS_OK) { return error_wrap(err, "reading committed offsets"); }
    uint64_t epoch;
    uint8_t prefix[8];
    if (start->token[0] == '\0' ||
        !ledger_token_read(start->token, core->doors.shard, &epoch, prefix)) {
        return STATUS_OK;
    }
    if (!start->tail.empty && epoch == start->tail.epoch &&
        memcmp(prefix, start->tail.chain, sizeof(prefix)) == 0) {
        return STATUS_OK;
    }
    return error_set(err, STATUS_CORRUPT,
                     "committed offsets carry token %s, the ledger's tail is epoch %" PRIu64,
                     start->token, start->tail.empty ? 0 : start->tail.epoch);
}

/* ---- refold ---- */

struct refold {
    struct core *core;
    struct start *start;
    const struct epoch_run *run;
    uint32_t records;
    uint64_t epochs;
};

static enum status refold_record(void *context, const struct stream_record *record,
                                 struct error *err) {
    struct refold *refold = context;
    const struct epoch_run *run = refold->run;
    refold->records++;
    if (record->offset == run->hi && epoch_record_crc(record) != run->crc) {
        return error_set(err, STATUS_CORRUPT,
                         "%s/%d/%" PRId64 " is not the record that was consumed",
                         stream_topic_name(record->topic), record->partition, record->offset);
    }
    if (!core_wait(refold->core)) { return error_set(err, STATUS_AGAIN, "stopped in a refold"); }
    return engine_feed(refold->core->engine, record, err);
}

static enum status refold_run(struct refold *refold, const struct epoch_run *run,
                              struct error *err) {
    struct stream *stream = refold->core->stream;
    refold->run = run;
    refold->records = 0;
    enum status status = stream->ops->read(stream, (enum stream_topic)run->topic, run->partition,
                                           run->lo, run->hi, refold_record, refold, err);
    if (status != STATUS_OK) { return status; }
    if (refold->records == run->records) { return STATUS_OK; }
    return error_set(err, STATUS_CORRUPT,
                     "%s/%d: offsets %" PRId64 " to %" PRId64 " hold %u records, %u were consumed",
                     stream_topic_name((enum stream_topic)run->topic), run->partition, run->lo,
                     run->hi, refold->records, run->records);
}

/* The engine over the core's settings, from where start stands. */
static enum status make_engine(struct start *start, struct error *err) {
    struct core *core = start->core;
    struct engine_doors doors = {.settings = &core->settings,
                                 .stage = core->stage,
                                 .catalogue = core->catalogue,
                                 .inbound = core->inbound,
                                 .ranker = core->ranker,
                                 .crashes = &core->crashes,
                                 .context = core,
                                 .version = core_version_door,
                                 .score = core->identity.has_lm ? core_score_door : NULL};
    return engine_new(&doors, &start->state, &core->engine, err);
}

/* The same with other settings: its buffers are sized by them. */
static enum status remake_engine(struct start *start, struct error *err) {
    struct core *core = start->core;
    core_state_copy(&start->state, engine_state(core->engine));
    engine_free(core->engine);
    core->engine = NULL;
    return make_engine(start, err);
}

/* Settings that a record brings are in force for what comes after it. */
static enum status apply_recorded(struct core *core, const struct epoch_record *record,
                                  struct error *err) {
    int count;
    const struct setting *table = settings_table(&count);
    for (int i = 0; i < record->setting_count; i++) {
        char name[128], value[CONFIG_TEXT_BYTES];
        (void)snprintf(name, sizeof(name), "%.*s", SPAN_ARG(record->settings[i].key));
        (void)snprintf(value, sizeof(value), "%.*s", SPAN_ARG(record->settings[i].value));
        enum status status = config_set(table, count, name, value, &core->settings, err);
        if (status != STATUS_OK) {
            err->code = STATUS_CORRUPT;
            return error_wrap(err, "settings of epoch %" PRIu64, record->epoch);
        }
    }
    return STATUS_OK;
}

static enum status refold_epoch(void *context, const struct epoch_record *record,
                                const uint8_t chain_after[SHA256_BYTES], struct error *err) {
    struct refold *refold = context;
    struct core *core = refold->core;
    engine_follow(core->engine, record, chain_after);
    for (int i = 0; i < record->run_count; i++) {
        enum status status = refold_run(refold, &record->runs[i], err);
        if (status != STATUS_OK) { return status; }
    }
    enum status status = engine_close_followed(core->engine, err);
    if (status == STATUS_OK) { status = failpoint_pass(FAILPOINT_refold_epoch_folded, err); }
    if (status == STATUS_OK) { status = stage_commit(core->stage, err); }
    if (status == STATUS_OK) { status = failpoint_pass(FAILPOINT_refold_epoch_kept, err); }
    if (status == STATUS_OK) { status = engine_begin(core->engine, err); }
    if (status != STATUS_OK) { return status; }
    learner_thread_reach(core->learner, record->seq_hi);
    core_versions_collect(core);
    refold->epochs++;
    if (record->setting_count > 0) {
        status = apply_recorded(core, record, err);
        if (status == STATUS_OK) { status = remake_engine(refold->start, err); }
        if (status != STATUS_OK) { return status; }
    }
    core_say(core, "refolding: epoch %" PRIu64, record->epoch);
    return STATUS_OK;
}

/* Epoch 0 says where the input began. */
static enum status take_start(void *context, const struct epoch_record *record,
                              const uint8_t chain_after[SHA256_BYTES], struct error *err) {
    struct start *start = context;
    (void)chain_after;
    enum status status = apply_recorded(start->core, record, err);
    if (status != STATUS_OK) { return status; }
    for (int i = 0; i < record->start_count; i++) {
        const struct position_record *p = &record->start[i];
        if (i >= start->state.position_count ||
            start->state.positions[i].partition != p->partition) {
            return error_set(err, STATUS_CONFIG,
                             "the input topics have other partitions than at epoch 0");
        }
        start->state.positions[i].next = p->offset;
    }
    return STATUS_OK;
}

static enum status refold(struct start *start, struct error *err) {
    struct core *core = start->core;
    struct refold refold = {.core = core, .start = start};
    static const uint8_t origin[SHA256_BYTES] = {0};
    enum status status = STATUS_OK;
    struct settings now = core->settings;
    uint64_t first = start->empty ? 0 : start->state.epoch + 1;
    if (start->empty) {
        status = ledger_each(core->stream, core->doors.shard, 0, 0, start->tail.offset, origin,
                             take_start, start, err);
        if (status != STATUS_OK) { return status; }
    }
    if (!start->empty) {
        status = store_reader_renew(core->reader, err);
        if (status != STATUS_OK) { return status; }
        status = settings_text_load(&core->settings, core->reader, err);
        store_reader_reset(core->reader);
        if (status != STATUS_OK) { return status; }
    }
    status = make_engine(start, err);
    if (status != STATUS_OK) { return status; }
    int64_t began_us = clock_monotonic_us();
    status =
        ledger_each(core->stream, core->doors.shard, first, start->tail.epoch, start->tail.offset,
                    start->empty ? origin : start->state.chain, refold_epoch, &refold, err);
    if (status != STATUS_OK) {
        if (core->door_failed) { *err = core->door_error; }
        return error_wrap(err, "refolding from epoch %" PRIu64, first);
    }
    core_state_copy(&start->state, engine_state(core->engine));
    engine_free(core->engine);
    core->engine = NULL;
    core->settings = now;
    LOG_NOTICE("refolded %" PRIu64 " epochs up to %" PRIu64 " in %" PRId64 " ms", refold.epochs,
               start->tail.epoch, (clock_monotonic_us() - began_us) / 1000);
    return STATUS_OK;
}

/* Crashes of records that are consumed by now are forgotten. */
static enum status clear_crashes(struct start *start, struct error *err) {
    struct crash_list *crashes = &start->core->crashes;
    if (crashes->count == 0) { return STATUS_OK; }
    for (int i = 0; i < crashes->count; i++) {
        const struct crash_place *place = &crashes->places[i];
        for (int j = 0; j < start->state.position_count; j++) {
            const struct stream_position *p = &start->state.positions[j];
            bool same = (int)p->topic == place->topic && p->partition == place->partition;
            if (same && p->next <= place->offset) { return STATUS_OK; }
        }
    }
    return crash_list_clear(start->core->path, crashes, err);
}

/* ---- the claim ---- */

/* The version in force must be held before anything is scored. */
static enum status hold_version_in_force(struct start *start, struct error *err) {
    struct core *core = start->core;
    struct version *version = core_version_door(core, start->state.in_force);
    if (version != NULL) {
        version_give(version);
        return STATUS_OK;
    }
    if (core->door_failed) {
        *err = core->door_error;
        return error_wrap(err, "loading version %" PRIu64, start->state.in_force);
    }
    uint64_t newest;
    enum status status = core_versions_newest(core, start->state.in_force, &newest, err);
    if (status != STATUS_OK) { return status; }
    LOG_WARNING("version %" PRIu64 " is not held, version %" PRIu64 " goes in force",
                start->state.in_force, newest);
    start->state.in_force = newest;
    return STATUS_OK;
}

/* Settings that affect outputs and differ from the ones in force are recorded by the claim; the
 * rates begin again from them. */
static enum status compare_settings(struct start *start, struct error *err) {
    static _Thread_local struct settings_text text; /* large */
    enum status status = settings_text_make(&start->core->settings, &text, err);
    if (status != STATUS_OK) { return status; }
    start->settings_changed =
        start->tail.empty || settings_text_digest(&text) != start->state.settings_digest;
    if (start->settings_changed) { start->state.rates = rates_first(&start->core->settings); }
    return STATUS_OK;
}

static enum status claim(struct start *start, struct error *err) {
    struct core *core = start->core;
    enum status status;
    struct engine_close close = {.claim = true,
                                 .rates = engine_state(core->engine)->rates,
                                 .with_settings = start->settings_changed,
                                 .numeric_profile = core->identity.numeric_profile,
                                 .base_model_sha256 = core->identity.base_model_sha256};
    memcpy(close.owner, core->owner, OWNER_BYTES);
    status = engine_close_epoch(core->engine, &close, err);
    if (status == STATUS_OK) { status = failpoint_pass(FAILPOINT_claim_closed, err); }
    if (status == STATUS_OK) { status = commit_publish(&core->doors, core->engine, err); }
    if (status == STATUS_OK) { status = failpoint_pass(FAILPOINT_claim_published, err); }
    if (status == STATUS_OK) { status = stage_commit(core->stage, err); }
    if (status == STATUS_OK) { status = failpoint_pass(FAILPOINT_claim_kept, err); }
    if (status == STATUS_OK) { status = engine_begin(core->engine, err); }
    if (status == STATUS_OK) { core_note_committed(core); }
    return status;
}

static enum status run(struct start *start, struct error *err) {
    struct core *core = start->core;
    enum status status = find_topics(start, err);
    if (status == STATUS_OK) { status = check_owner(start, err); }
    if (status == STATUS_OK) { status = failpoint_pass(FAILPOINT_start_tail_read, err); }
    if (status == STATUS_OK) { status = fence(start, err); }
    if (status == STATUS_OK) { status = failpoint_pass(FAILPOINT_start_fenced, err); }
    if (status == STATUS_OK) { status = check_owner(start, err); }
    if (status == STATUS_OK) { status = failpoint_pass(FAILPOINT_start_tail_checked, err); }
    if (status == STATUS_OK) { status = load_state(start, err); }
    if (status == STATUS_OK) { status = failpoint_pass(FAILPOINT_start_state_loaded, err); }
    if (status == STATUS_OK) { status = check_token(start, err); }
    if (status == STATUS_OK) { status = failpoint_pass(FAILPOINT_start_token_checked, err); }
    if (status == STATUS_OK) { status = compare_with_ledger(start, err); }
    if (status != STATUS_OK) { return status; }
    if (!start->tail.empty && start->state.epoch != start->tail.epoch) {
        status = failpoint_pass(FAILPOINT_refold_begun, err);
        if (status == STATUS_OK) { status = refold(start, err); }
        if (status == STATUS_OK) { status = failpoint_pass(FAILPOINT_refold_ended, err); }
        if (status != STATUS_OK) { return status; }
    }
    status = check_positions(start, err);
    if (status == STATUS_OK) { status = clear_crashes(start, err); }
    if (status == STATUS_OK) { status = hold_version_in_force(start, err); }
    if (status == STATUS_OK) { status = failpoint_pass(FAILPOINT_start_version_held, err); }
    if (status == STATUS_OK) { status = compare_settings(start, err); }
    if (status == STATUS_OK) { status = make_engine(start, err); }
    if (status == STATUS_OK) { status = claim(start, err); }
    if (status != STATUS_OK) { return status; }
    core_versions_trim(core);
    learner_thread_reach(core->learner, engine_state(core->engine)->seq);
    learner_thread_live_from(core->learner, engine_state(core->engine)->seq);
    int count;
    const struct stream_position *positions = engine_positions(core->engine, &count);
    status = core->stream->ops->assign(core->stream, positions, count, err);
    return status == STATUS_OK ? failpoint_pass(FAILPOINT_start_assigned, err) : status;
}

enum status core_start(struct core *core, struct error *err) {
    struct start start = {.core = core};
    enum status status = run(&start, err);
    core_state_free(&start.state);
    return status == STATUS_OK ? status : error_wrap(err, "starting shard %d", core->doors.shard);
}
