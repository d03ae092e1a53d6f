/* SPDX-License-Identifier: Apache-2.0
 *
 * tiny_core.c - see tiny_core.h: life, the start procedure in short, and the loop.
 */
#include "tests/support/tiny_core.h"

#include <stdio.h>

#include "base/memory.h"
#include "daemon/model_settings.h"
#include "daemon/rates.h"
#include "tests/support/tiny_learner.h"
#include "tests/support/unit.h"

#define SETTINGS_MORE_MAX 64
#define MAP_BYTES         (64u << 20)

void tiny_settings(struct settings *settings, bool strict, const char *const *more, int count) {
    static const char *const small[] = {
        "state.items_max=500",    "state.history=20",
        "state.seen=100",         "sasrec.width=8",
        "sasrec.blocks=1",        "sasrec.history=10",
        "ilora.history=5",        "train.batch_events=32",
        "predict.group_events=8", "publish.version_batches=2",
        "publish.lag_events=64",  "metrics.every=50",
        "eval.rate=0.5",          "predict.candidates=20",
        "publish.weights=no",     "output.format=json",
    };
    const char *overrides[SETTINGS_MORE_MAX];
    int n = 0;
    for (size_t i = 0; i < sizeof small / sizeof small[0]; i++) {
        overrides[n++] = small[i];
    }
    overrides[n++] = strict ? "engine.strict=yes" : "engine.strict=no";
    assert_true(n + count <= SETTINGS_MORE_MAX);
    for (int i = 0; i < count; i++) {
        overrides[n++] = more[i];
    }
    struct error err = {0};
    ASSERT_OK(settings_load(NULL, overrides, n, settings, &err), err);
}

/* ---- doors ----------------------------------------------------------------------------------- */

static struct version *held_version(const struct tiny_core *core, uint64_t number) {
    for (int i = 0; i < core->held_count; i++) {
        if (core->held[i]->number == number) { return core->held[i]; }
    }
    return NULL;
}

static struct version *version_door(void *context, uint64_t number) {
    struct tiny_core *core = context;
    if (core->no_versions) { return NULL; }
    struct version *version = held_version(core, number);
    if (version == NULL) {
        struct error err = {0};
        ASSERT_OK(tiny_core_learn(core, &err), err); /* a replay makes it again */
        version = held_version(core, number);
    }
    if (version != NULL) { version_take(version); }
    return version;
}

static bool go_on(void *context) {
    (void)context;
    return true;
}

/* ---- opening --------------------------------------------------------------------------------- */

static enum status open_state(struct tiny_core *core, struct error *err) {
    struct store_settings store = {
        .path = core->path, .map_bytes = MAP_BYTES, .map_bytes_max = 16 * (uint64_t)MAP_BYTES};
    enum status status = store_open(&store, &core->store, err);
    if (status == STATUS_OK) { status = stage_open(core->store, &core->stage, err); }
    if (status == STATUS_OK) { status = store_reader_open(core->store, &core->reader, err); }
    if (status == STATUS_OK) {
        status = catalogue_open(core->stage, (uint32_t)core->settings.state_items_max,
                                &core->catalogue, err);
    }
    return status;
}

static enum status open_parts(struct tiny_core *core, struct error *err) {
    struct inbound_settings inbound = {0};
    struct fast_settings fast = model_settings_fast(&core->settings, 0);
    enum status status = inbound_init(&inbound, &core->inbound, err);
    if (status == STATUS_OK) { status = backend_cpu_new(1, &core->backend, err); }
    if (status == STATUS_OK) { status = ranker_new(core->backend, &fast, &core->ranker, err); }
    if (status == STATUS_OK) { status = tiny_learner_open(core, err); }
    return status;
}

static enum status make_engine(struct tiny_core *core, const struct core_state *state,
                               struct error *err) {
    struct engine_doors doors = {.settings = &core->settings,
                                 .stage = core->stage,
                                 .catalogue = core->catalogue,
                                 .inbound = core->inbound,
                                 .ranker = core->ranker,
                                 .context = core,
                                 .version = version_door};
    return engine_new(&doors, state, &core->engine, err);
}

struct follow {
    struct tiny_core *core;
};

static enum status follow_record(void *context, const struct stream_record *record,
                                 struct error *err) {
    struct follow *follow = context;
    return engine_feed(follow->core->engine, record, err);
}

static enum status follow_epoch(void *context, const struct epoch_record *record,
                                const uint8_t chain_after[SHA256_BYTES], struct error *err) {
    struct follow *follow = context;
    struct tiny_core *core = follow->core;
    engine_follow(core->engine, record, chain_after);
    enum status status = STATUS_OK;
    for (int i = 0; i < record->run_count && status == STATUS_OK; i++) {
        const struct epoch_run *run = &record->runs[i];
        status =
            core->stream->ops->read(core->stream, (enum stream_topic)run->topic, run->partition,
                                    run->lo, run->hi, follow_record, follow, err);
    }
    if (status == STATUS_OK) { status = engine_close_followed(core->engine, err); }
    if (status == STATUS_OK) { status = stage_commit(core->stage, err); }
    if (status == STATUS_OK) { status = engine_begin(core->engine, err); }
    core->refolded++;
    return status;
}

static enum status claim(struct tiny_core *core, bool first, struct error *err) {
    static const uint8_t no_base[SHA256_BYTES] = {0};
    struct engine_close close = {.claim = true,
                                 .rates = engine_state(core->engine)->rates,
                                 .with_settings = first,
                                 .numeric_profile = "tiny",
                                 .base_model_sha256 = no_base};
    memcpy(close.owner, core->owner, OWNER_BYTES);
    return tiny_core_close_epoch(core, &close, err);
}

/* Where the inputs begin: 0 in a new broker. Strict mode reads the events topic alone. */
static enum status first_state(struct tiny_core *core, struct core_state *state,
                               struct error *err) {
    int32_t partitions[STREAM_INPUT_COUNT];
    for (int topic = 0; topic < STREAM_INPUT_COUNT; topic++) {
        enum status status = core->stream->ops->partitions(core->stream, (enum stream_topic)topic,
                                                           &partitions[topic], err);
        if (status != STATUS_OK) { return status; }
    }
    if (core->settings.engine_strict) { partitions[STREAM_ITEMS] = partitions[STREAM_CONTROL] = 0; }
    enum status status = core_state_init(state, partitions, err);
    if (status != STATUS_OK) { return status; }
    state->epoch = UINT64_MAX;
    state->version_next = 1;
    state->rates = rates_first(&core->settings);
    for (int i = 0; i < state->position_count; i++) {
        state->positions[i].next = 0;
    }
    return STATUS_OK;
}

static enum status start(struct tiny_core *core, struct core_state *state, struct error *err) {
    static const uint8_t origin[SHA256_BYTES] = {0};
    struct ledger_tail tail;
    enum status status = core->stream->ops->fence(core->stream, go_on, NULL, err);
    if (status == STATUS_OK) { status = ledger_read_tail(core->stream, 0, &tail, err); }
    if (status == STATUS_OK) { status = first_state(core, state, err); }
    if (status == STATUS_OK) { status = store_reader_renew(core->reader, err); }
    if (status != STATUS_OK) { return status; }
    status = core_state_load(state, core->reader, err);
    bool empty = status == STATUS_NOT_FOUND;
    if (status != STATUS_OK && !empty) { return status; }
    status = make_engine(core, state, err);
    if (status != STATUS_OK) { return status; }
    if (!tail.empty && state->epoch != tail.epoch) {
        struct follow follow = {.core = core};
        status = ledger_each(core->stream, 0, empty ? 0 : state->epoch + 1, tail.epoch, tail.offset,
                             empty ? origin : state->chain, follow_epoch, &follow, err);
        if (status != STATUS_OK) { return status; }
    }
    status = tiny_core_learn(core, err); /* the replay */
    if (status == STATUS_OK) { status = claim(core, tail.empty, err); }
    if (status != STATUS_OK) { return status; }
    int count;
    const struct stream_position *positions = engine_positions(core->engine, &count);
    return core->stream->ops->assign(core->stream, positions, count, err);
}

enum status tiny_core_open(struct tiny_core *core, struct memory_broker *broker, const char *path,
                           const struct settings *settings, struct error *err) {
    bool no_versions = core->no_versions;
    memset(core, 0, sizeof *core);
    core->no_versions = no_versions;
    core->settings = *settings;
    core->broker = broker;
    (void)snprintf(core->path, sizeof core->path, "%s", path); /* of a tmpdir: short */
    memset(core->owner, 7, OWNER_BYTES);
    core->stream = stream_memory_open(broker, "ilora.tiny.0");
    core->doors =
        (struct commit_doors){.stream = core->stream, .owner = core->owner, .wait = go_on};
    for (int topic = 0; topic < STREAM_TOPIC_COUNT; topic++) {
        int32_t count;
        ASSERT_OK(
            core->stream->ops->partitions(core->stream, (enum stream_topic)topic, &count, err),
            *err);
        core->doors.partitions[topic] = count;
    }
    struct core_state state = {0};
    enum status status = open_state(core, err);
    if (status == STATUS_OK) { status = open_parts(core, err); }
    if (status == STATUS_OK) { status = start(core, &state, err); }
    core_state_free(&state);
    if (status != STATUS_OK) { tiny_core_kill(core); }
    return status;
}

void tiny_core_kill(struct tiny_core *core) {
    engine_free(core->engine);
    for (int i = 0; i < core->held_count; i++) {
        version_give(core->held[i]);
    }
    tiny_learner_close(core);
    ranker_free(core->ranker);
    if (core->backend != NULL) { core->backend->ops->free(core->backend); }
    if (core->inbound != NULL) { inbound_free(core->inbound); }
    if (core->stream != NULL) { core->stream->ops->close(core->stream); }
    if (core->catalogue != NULL) { catalogue_close(core->catalogue); }
    if (core->stage != NULL) { stage_close(core->stage); }
    if (core->reader != NULL) { store_reader_close(core->reader); }
    if (core->store != NULL) { store_close(core->store); }
    memset(core, 0, sizeof *core);
}

/* ---- the loop -------------------------------------------------------------------------------- */

static enum status feed_sink(void *context, const struct stream_record *record, struct error *err) {
    struct tiny_core *core = context;
    if (core->close_due || engine_waits_for(core->engine) != 0) { return STATUS_AGAIN; }
    enum status status = engine_feed(core->engine, record, err);
    if (status == STATUS_AGAIN) { core->close_due = true; }
    if (status != STATUS_OK) { return status; }
    core->fed++;
    int most = core->pace.epoch_records > 0 ? core->pace.epoch_records : 64;
    bool strict = core->settings.engine_strict;
    if ((!strict || engine_at_boundary(core->engine)) &&
        engine_epoch(core->engine)->records >= (uint64_t)most) {
        core->close_due = true;
    }
    return STATUS_OK;
}

enum status tiny_core_feed(struct tiny_core *core, struct error *err) {
    return core->stream->ops->poll(core->stream, 0, feed_sink, core, err);
}

enum status tiny_core_close_epoch(struct tiny_core *core, const struct engine_close *how,
                                  struct error *err) {
    enum status status = engine_close_epoch(core->engine, how, err);
    if (status == STATUS_OK) { status = commit_publish(&core->doors, core->engine, err); }
    if (status == STATUS_OK) { status = stage_commit(core->stage, err); }
    if (status == STATUS_OK) { status = engine_begin(core->engine, err); }
    core->close_due = false;
    core->epochs++;
    return status;
}

enum status tiny_core_announce(struct tiny_core *core, int *ret_count, struct error *err) {
    static const uint8_t no_base[SHA256_BYTES] = {0};
    const struct core_state *state = engine_state(core->engine);
    *ret_count = 0;
    for (int i = 0; i < state->pending_count; i++) {
        uint64_t number = state->pending[i].number;
        if (state->pending[i].announced) { continue; }
        struct version *version = held_version(core, number);
        bool learned = state->pending[i].seq <= core->learner.seq;
        if (version == NULL && !learned) { return STATUS_OK; }
        char path[FILE_PATH_BYTES_MAX];
        tiny_learner_path(core, number, path);
        struct engine_announcement announcement = {.number = number,
                                                   .version = version,
                                                   .path = path,
                                                   .reason = "not held",
                                                   .numeric_profile = "tiny",
                                                   .base_model = "",
                                                   .base_model_sha256 = no_base};
        enum status status = engine_announce(core->engine, &announcement, err);
        if (status != STATUS_OK) { return status; }
        (*ret_count)++;
    }
    return STATUS_OK;
}

static bool every(uint64_t epochs, int period) {
    return period > 0 && epochs % (uint64_t)period == 0;
}

static enum status close_due_epoch(struct tiny_core *core, struct error *err) {
    struct engine_close close = {.rates = engine_state(core->engine)->rates};
    memcpy(close.owner, core->owner, OWNER_BYTES);
    close.batch_due = every(core->epochs, core->pace.batch_every);
    close.version_due = every(core->epochs, core->pace.version_every);
    if (core->pace.fast_share > 0) { close.rates.fast_share = core->pace.fast_share; }
    return tiny_core_close_epoch(core, &close, err);
}

/* One turn; *ret_idle: nothing is left to do. */
static enum status turn(struct tiny_core *core, bool *ret_idle, struct error *err) {
    bool strict = core->settings.engine_strict;
    int announced = 0;
    uint64_t fed = core->fed, learned = core->learner.seq;
    enum status status = STATUS_OK;
    if (!strict || engine_at_boundary(core->engine)) {
        status = tiny_core_announce(core, &announced, err);
    }
    if (status == STATUS_OK && !(strict && announced > 0)) { status = tiny_core_feed(core, err); }
    if (status != STATUS_OK) { return status; }
    bool nothing = core->fed == fed;
    bool boundary = !strict || engine_at_boundary(core->engine);
    if (boundary && (core->close_due || announced > 0 || nothing) &&
        engine_has_work(core->engine)) {
        status = close_due_epoch(core, err);
        if (status != STATUS_OK) { return status; }
    }
    int lag = core->pace.learner_every > 1 ? core->pace.learner_every : 1;
    bool awaited = engine_waits_for(core->engine) != 0 || nothing;
    if (awaited || (!strict && every(core->epochs, lag))) { status = tiny_core_learn(core, err); }
    *ret_idle = nothing && announced == 0 && core->learner.seq == learned;
    return status;
}

enum status tiny_core_run(struct tiny_core *core, const struct tiny_pace *pace, struct error *err) {
    core->pace = *pace;
    bool idle = false;
    enum status status = STATUS_OK;
    for (int quiet = 0; quiet < 2 && status == STATUS_OK; quiet = idle ? quiet + 1 : 0) {
        status = turn(core, &idle, err);
    }
    return status;
}
