/* SPDX-License-Identifier: Apache-2.0
 *
 * protocol_model.c - one step of the protocol: who may do what, and what becomes of it.
 *
 * A step reads or writes one thing that survives (stream, LMDB, a file) or moves a daemon on; so
 * between any two steps everything else may happen. Versions: version v covers the first
 * version_rows[v] rows, and the learner makes it right there, before it learns on.
 */
#include "tests/protocol/protocol_model.h"

#include <assert.h>
#include <stddef.h>
#include <string.h>

#define VERSIONS 2

static const uint8_t version_rows[VERSIONS + 1] = {0, 1, 2};

struct steps {
    enum model_variant variant;
    const struct model_state *from;
    struct model_state *states;
    const char **words;
    int count;
};

/* A copy to change; its word says what was done. */
static struct model_state *step(struct steps *steps, const char *word) {
    assert(steps->count < MODEL_STEPS_MAX);
    steps->words[steps->count] = word;
    struct model_state *state = &steps->states[steps->count];
    *state = *steps->from;
    steps->count++;
    return state;
}

const char *model_variant_name(enum model_variant variant) {
    static const char *const names[VARIANT_COUNT] = {
        [VARIANT_NONE] = "the protocol",
        [VARIANT_LMDB_FIRST] = "LMDB commits first",
        [VARIANT_NO_FENCE] = "no fence",
        [VARIANT_LATE_FENCE] = "the tail is not read again after the fence",
        [VARIANT_NO_OWNER] = "no look at the owner",
        [VARIANT_NO_TAINT] = "no taint rule",
        [VARIANT_BLIND_TAINT] = "taint rule without reading the tail",
        [VARIANT_OFFSETS_APART] = "offsets and ledger outside of the transaction",
        [VARIANT_LEARN_EARLY] = "the learner sees what is not committed",
        [VARIANT_ANNOUNCE_EARLY] = "a version is announced before it is durable",
        [VARIANT_TRIM_EARLY] = "rows are trimmed before a checkpoint holds them",
        [VARIANT_SKIP_REFOLD] = "a state behind the ledger is not refolded",
        [VARIANT_REFOLD_PUBLISHES] = "a refold publishes",
    };
    return names[variant];
}

void model_first(const struct model_bounds *bounds, struct model_state *ret_state) {
    memset(ret_state, 0, sizeof *ret_state);
    for (int d = 0; d < MODEL_DAEMONS; d++) {
        ret_state->directories[d].owner = (uint8_t)(d + 1);
    }
    ret_state->daemons[1].place = PLACE_ENDED; /* a spare machine: a human starts it */
    ret_state->owners = MODEL_DAEMONS;
    ret_state->kills = (uint8_t)bounds->kills;
    ret_state->losses = (uint8_t)bounds->losses;
    ret_state->moves = (uint8_t)bounds->moves;
    ret_state->disturbances = (uint8_t)bounds->disturbances;
    ret_state->learner = bounds->learner;
}

/* ---- what is where ---- */

static int events_in(const struct model_epoch *epochs, int count) {
    int events = 0;
    for (int i = 0; i < count; i++) {
        events += epochs[i].event;
    }
    return events;
}

static bool announced_in(const struct model_epoch *epochs, int count, int version) {
    for (int i = 0; i < count; i++) {
        if (epochs[i].announce == version) { return true; }
    }
    return false;
}

static bool tail_is_mine(const struct model_state *s, int d) {
    const struct model_stream *stream = &s->stream;
    return stream->length == 0 ||
           stream->ledger[stream->length - 1].owner == s->directories[d].owner;
}

static void die(struct model_state *s, int d) {
    s->daemons[d] = (struct model_daemon){.place = PLACE_DEAD};
}

/* Folds an epoch into LMDB: one transaction. */
static void fold(struct model_state *s, int d, struct model_epoch epoch,
                 enum model_variant variant) {
    struct model_directory *directory = &s->directories[d];
    if (directory->length == MODEL_LEDGER) { return; }
    if (epoch.event) {
        int offset = events_in(directory->epochs, directory->length);
        if (offset < MODEL_EVENTS) { directory->folded[offset]++; }
    }
    directory->epochs[directory->length] = epoch;
    directory->length++;
    directory->log_from = variant == VARIANT_TRIM_EARLY
                              ? (uint8_t)events_in(directory->epochs, directory->length)
                              : directory->checkpoint;
}

/* The stream's transaction becomes visible; with_ledger false: its outputs alone. */
static void stream_commit(struct model_stream *stream, bool with_ledger) {
    if (stream->open_event > 0) { stream->outputs[stream->open_event - 1]++; }
    if (stream->open_stray > 0) { stream->outputs[stream->open_stray - 1]++; }
    stream->open = stream->open_event = stream->open_stray = stream->ending = 0;
    if (!with_ledger) { return; }
    if (stream->open_base != stream->length) { stream->beside = 1; }
    assert(stream->length < MODEL_LEDGER);
    stream->ledger[stream->length] = stream->open_epoch;
    stream->length++;
    stream->open_epoch = (struct model_epoch){0};
    stream->open_base = 0;
}

static void stream_abort(struct model_stream *stream) {
    stream->open = stream->open_event = stream->open_stray = stream->ending = 0;
    stream->open_epoch = (struct model_epoch){0};
    stream->open_base = 0;
}

/* Whatever an older producer left, in the broker or in the network, is dead from here on. */
static void fence(struct model_state *s, int d) {
    stream_abort(&s->stream);
    s->stream.stray = 0;
    for (int i = 0; i < MODEL_DAEMONS; i++) {
        s->daemons[i].current = i == d;
    }
}

/* ---- a daemon's start ---- */

static void steps_tail(struct steps *steps, int d) {
    const struct model_state *from = steps->from;
    bool mine = tail_is_mine(from, d) || steps->variant == VARIANT_NO_OWNER;
    struct model_state *s =
        step(steps, mine ? "starts, reads the tail" : "finds another owner: 78");
    s->daemons[d].place = mine ? PLACE_FENCE : PLACE_ENDED;
    s->daemons[d].known = mine ? from->stream.length : 0;
}

/* After --take-over the tail is the owner's that was named, or ours; else somebody came between. */
static bool tail_is_expected(const struct model_state *s, int d) {
    return tail_is_mine(s, d) || s->daemons[d].known == s->stream.length;
}

static void steps_tail_again(struct steps *steps, int d) {
    const struct model_state *from = steps->from;
    bool blind = steps->variant == VARIANT_LATE_FENCE || steps->variant == VARIANT_NO_OWNER;
    if (!blind && !tail_is_expected(from, d)) {
        struct model_state *s = step(steps, "finds another owner after the fence: 78");
        die(s, d);
        s->daemons[d].place = PLACE_ENDED;
        return;
    }
    struct model_state *s = step(steps, "reads the tail again, loads the checkpoint");
    struct model_daemon *daemon = &s->daemons[d];
    if (steps->variant != VARIANT_LATE_FENCE) { daemon->known = from->stream.length; }
    daemon->loaded = 1;
    daemon->place = PLACE_REFOLD;
}

static void stage(struct model_state *s, int d, bool event, int announce) {
    struct model_daemon *daemon = &s->daemons[d];
    const struct model_directory *directory = &s->directories[d];
    daemon->staged = (struct model_epoch){.owner = directory->owner & 7u,
                                          .event = event,
                                          .announce = (uint8_t)announce & 3u,
                                          .filled = 1};
    int offset = events_in(directory->epochs, directory->length);
    daemon->staged_event = event ? (uint8_t)(offset + 1) : 0;
    daemon->staged_base = directory->length;
    daemon->place = PLACE_BEGIN;
}

static void steps_refold(struct steps *steps, int d) {
    const struct model_state *from = steps->from;
    const struct model_directory *directory = &from->directories[d];
    int known = from->daemons[d].known;
    if (directory->length > known) {
        struct model_state *s = step(steps, "is ahead of the ledger: 78");
        die(s, d);
        s->daemons[d].place = PLACE_ENDED;
        return;
    }
    if (directory->length == known) {
        struct model_state *s = step(steps, "stages the claim");
        stage(s, d, false, 0);
        if (steps->variant == VARIANT_LMDB_FIRST) { fold(s, d, s->daemons[d].staged, 0); }
        return;
    }
    struct model_epoch epoch = from->stream.ledger[directory->length];
    struct model_state *s = step(steps, "refolds an epoch");
    if (steps->variant == VARIANT_SKIP_REFOLD) {
        s->directories[d].epochs[directory->length] = epoch;
        s->directories[d].length++;
        return;
    }
    if (steps->variant == VARIANT_REFOLD_PUBLISHES && epoch.event) {
        s->stream.outputs[events_in(directory->epochs, directory->length)]++;
    }
    fold(s, d, epoch, steps->variant);
}

/* ---- a daemon's loop ---- */

/* The next version to announce; 0: none. */
static int version_waits(const struct steps *steps, int d) {
    const struct model_state *from = steps->from;
    const struct model_directory *directory = &from->directories[d];
    for (int v = 1; v <= VERSIONS; v++) {
        if (announced_in(directory->epochs, directory->length, v)) { continue; }
        bool durable = (directory->versions >> v & 1) != 0;
        bool made =
            from->learner && events_in(directory->epochs, directory->length) >= version_rows[v];
        return durable || (made && steps->variant == VARIANT_ANNOUNCE_EARLY) ? v : 0;
    }
    return 0;
}

static void steps_run(struct steps *steps, int d) {
    const struct model_directory *directory = &steps->from->directories[d];
    int version = version_waits(steps, d);
    bool event = events_in(directory->epochs, directory->length) < MODEL_EVENTS;
    if (!event && version == 0) { return; }
    if (event) {
        struct model_state *s = step(steps, "stages an event");
        stage(s, d, true, version);
        if (steps->variant == VARIANT_LMDB_FIRST) { fold(s, d, s->daemons[d].staged, 0); }
    }
    if (version > 0) {
        struct model_state *s = step(steps, "stages an announcement");
        stage(s, d, false, version);
        if (steps->variant == VARIANT_LMDB_FIRST) { fold(s, d, s->daemons[d].staged, 0); }
    }
}

static void open_transaction(struct model_state *s, int d) {
    struct model_stream *stream = &s->stream;
    const struct model_daemon *daemon = &s->daemons[d];
    if (stream->open) { stream->open_stray = stream->open_event; } /* the broker sees one */
    stream->open = 1;
    stream->open_event = daemon->staged_event;
    stream->open_epoch = daemon->staged;
    stream->open_base = daemon->staged_base;
    s->daemons[d].place = PLACE_COMMIT;
}

static void steps_begin(struct steps *steps, int d) {
    const struct model_state *from = steps->from;
    if (!from->daemons[d].current) {
        die(step(steps, "is fenced at begin: 75"), d);
        return;
    }
    open_transaction(step(steps, "sends outputs"), d);
    if (from->disturbances == 0) { return; }
    struct model_state *s = step(steps, "sends outputs twice, one copy stays in the network");
    open_transaction(s, d);
    s->disturbances--;
    s->stream.stray = s->stream.open_event;
    s->daemons[d].tainted = 1;
}

static void steps_commit(struct steps *steps, int d) {
    const struct model_state *from = steps->from;
    if (!from->daemons[d].current || !from->stream.open) {
        die(step(steps, "is fenced at commit: 75"), d);
        return;
    }
    if (from->stream.length == MODEL_LEDGER) { return; }
    bool apart = steps->variant == VARIANT_OFFSETS_APART;
    struct model_state *s = step(steps, "commits in the stream");
    stream_commit(&s->stream, !apart);
    s->daemons[d].place = apart ? PLACE_OFFSETS : PLACE_LMDB;
    if (steps->variant == VARIANT_LMDB_FIRST) {
        s->daemons[d].place = from->daemons[d].tainted ? PLACE_REFENCE : PLACE_RUN;
    }
    if (from->kills == 0) { return; }
    s = step(steps, "is killed with its commit under way");
    s->kills--;
    s->stream.ending = 1;
    die(s, d);
}

static void steps_offsets(struct steps *steps, int d) {
    if (steps->from->stream.length == MODEL_LEDGER) { return; }
    struct model_state *s = step(steps, "commits offsets and ledger");
    struct model_stream *stream = &s->stream;
    stream->open_epoch = s->daemons[d].staged;
    stream->open_base = s->daemons[d].staged_base;
    stream->open_event = 0;
    stream_commit(stream, true);
    s->daemons[d].place = PLACE_LMDB;
}

static void steps_lmdb(struct steps *steps, int d) {
    struct model_state *s = step(steps, "commits in LMDB");
    struct model_daemon *daemon = &s->daemons[d];
    fold(s, d, daemon->staged, steps->variant);
    bool replace = daemon->tainted && steps->variant != VARIANT_NO_TAINT;
    daemon->place = replace ? PLACE_REFENCE : PLACE_RUN;
    daemon->staged = (struct model_epoch){0};
    daemon->staged_event = daemon->staged_base = 0;
}

static void steps_refence(struct steps *steps, int d) {
    struct model_state *s = step(steps, "makes a new producer");
    fence(s, d);
    s->daemons[d].tainted = 0;
    s->daemons[d].place = steps->variant == VARIANT_BLIND_TAINT ? PLACE_RUN : PLACE_RECHECK;
}

static void steps_recheck(struct steps *steps, int d) {
    const struct model_state *from = steps->from;
    bool same = tail_is_mine(from, d) && from->stream.length == from->directories[d].length;
    struct model_state *s = step(steps, same ? "finds its own tail" : "finds another tail: 75");
    if (same) {
        s->daemons[d].place = PLACE_RUN;
    } else {
        die(s, d);
    }
}

/* ---- the learner ---- */

/* The learner follows LMDB by itself; what it leaves behind is what matters: versions made at their
 * rows, in order, and checkpoints. */
static void steps_learner(struct steps *steps, int d) {
    const struct model_state *from = steps->from;
    const struct model_daemon *daemon = &from->daemons[d];
    const struct model_directory *directory = &from->directories[d];
    if (!daemon->loaded || !from->learner) { return; }
    int rows = events_in(directory->epochs, directory->length);
    if (steps->variant == VARIANT_LEARN_EARLY && daemon->staged.event) { rows++; }
    int limit = rows;
    for (int v = 1; v <= VERSIONS; v++) {
        if ((directory->versions >> v & 1) != 0 || rows < version_rows[v]) { continue; }
        step(steps, "makes a version durable")->directories[d].versions |= (uint8_t)(1 << v);
        limit = version_rows[v]; /* it learns on after that */
        break;
    }
    if (limit > directory->checkpoint) {
        step(steps, "writes a checkpoint")->directories[d].checkpoint = (uint8_t)limit;
    }
}

/* ---- fate ---- */

static void lose_last(struct model_directory *directory) {
    directory->length--;
    struct model_epoch *epoch = &directory->epochs[directory->length];
    if (epoch->event) { directory->folded[events_in(directory->epochs, directory->length)]--; }
    *epoch = (struct model_epoch){0};
}

/* A move copies a directory to where there is none, or an older one. */
static bool is_newer(const struct model_directory *a, const struct model_directory *b) {
    return a->length > b->length && a->checkpoint >= b->checkpoint &&
           (a->versions & b->versions) == b->versions;
}

static void steps_fate(struct steps *steps, int d) {
    const struct model_state *from = steps->from;
    const struct model_daemon *daemon = &from->daemons[d];
    bool alive = daemon->place != PLACE_DEAD && daemon->place != PLACE_ENDED;
    if (alive && from->kills > 0) {
        struct model_state *s = step(steps, "is killed");
        s->kills--;
        die(s, d);
    }
    for (int lost = 1; lost <= 2 && from->losses > 0; lost++) {
        if (from->directories[d].length < lost) { break; }
        struct model_state *s = step(steps, "loses power: LMDB falls back");
        s->losses--;
        die(s, d);
        for (int i = 0; i < lost; i++) {
            lose_last(&s->directories[d]);
        }
    }
}

/* What a human does about a daemon that asks for one. */
static void steps_human(struct steps *steps, int d) {
    const struct model_state *from = steps->from;
    if (from->daemons[d].place != PLACE_ENDED || from->moves == 0) { return; }
    if (from->stream.length > 0 && from->owners < 7) {
        struct model_state *s = step(steps, "is started with --take-over: a fresh owner id");
        s->moves--;
        s->owners++;
        s->directories[d].owner = s->owners;
        s->daemons[d].place = PLACE_FENCE;
        s->daemons[d].known = from->stream.length;
    }
    const struct model_directory *other = &from->directories[1 - d];
    if (is_newer(other, &from->directories[d])) {
        struct model_state *s = step(steps, "is started on a copy of the other's directory");
        s->moves--;
        s->directories[d] = *other;
        s->daemons[d].place = PLACE_DEAD;
    }
}

static void steps_network(struct steps *steps) {
    const struct model_stream *stream = &steps->from->stream;
    if (stream->ending > 0) {
        bool counts = stream->open && stream->length < MODEL_LEDGER;
        struct model_state *s = step(steps, "the late commit request arrives");
        if (counts) {
            stream_commit(&s->stream, true);
        } else {
            s->stream.ending = 0;
        }
    }
    if (stream->stray > 0) {
        struct model_state *s = step(steps, "the late copy of an output arrives");
        if (stream->open && stream->stray != stream->open_event) {
            s->stream.open_stray = stream->stray;
        }
        s->stream.stray = 0; /* in its own transaction the sequence number tells it */
    }
}

/* ---- doors ---- */

static void steps_daemon(struct steps *steps, int d) {
    switch ((enum model_place)steps->from->daemons[d].place) {
    case PLACE_DEAD: steps_tail(steps, d); break;
    case PLACE_FENCE: {
        struct model_state *s = step(steps, "fences");
        if (steps->variant == VARIANT_NO_FENCE) {
            s->daemons[d].current = 1;
        } else {
            fence(s, d);
        }
        s->daemons[d].place = PLACE_TAIL_AGAIN;
        break;
    }
    case PLACE_TAIL_AGAIN: steps_tail_again(steps, d); break;
    case PLACE_REFOLD: steps_refold(steps, d); break;
    case PLACE_RUN: steps_run(steps, d); break;
    case PLACE_BEGIN: steps_begin(steps, d); break;
    case PLACE_COMMIT: steps_commit(steps, d); break;
    case PLACE_OFFSETS: steps_offsets(steps, d); break;
    case PLACE_LMDB: steps_lmdb(steps, d); break;
    case PLACE_REFENCE: steps_refence(steps, d); break;
    case PLACE_RECHECK: steps_recheck(steps, d); break;
    case PLACE_ENDED: steps_human(steps, d); break;
    }
}

int model_next(const struct model_state *state, enum model_variant variant,
               struct model_state ret_states[MODEL_STEPS_MAX],
               const char *ret_words[MODEL_STEPS_MAX]) {
    struct steps steps = {
        .variant = variant, .from = state, .states = ret_states, .words = ret_words};
    for (int d = 0; d < MODEL_DAEMONS; d++) {
        steps_daemon(&steps, d);
        steps_learner(&steps, d);
        steps_fate(&steps, d);
    }
    steps_network(&steps);
    return steps.count;
}

static const char *directory_violation(const struct model_state *state, int d) {
    const struct model_stream *stream = &state->stream;
    const struct model_directory *directory = &state->directories[d];
    if (directory->length > stream->length) { return "LMDB is ahead of the stream"; }
    if (memcmp(directory->epochs, stream->ledger, directory->length) != 0) {
        return "LMDB is beside the ledger";
    }
    int events = events_in(directory->epochs, directory->length);
    for (int e = 0; e < MODEL_EVENTS; e++) {
        if (directory->folded[e] != (e < events)) { return "an event is not folded once"; }
    }
    if (directory->checkpoint > events_in(stream->ledger, stream->length)) {
        return "a checkpoint has learned what is not committed";
    }
    if (directory->log_from > directory->checkpoint) { return "rows are gone that a replay needs"; }
    return NULL;
}

const char *model_violation(const struct model_state *state) {
    const struct model_stream *stream = &state->stream;
    if (stream->beside) { return "an epoch was committed on another base than its own"; }
    for (int i = 1; i < stream->length; i++) { /* fresh ids grow */
        if (stream->ledger[i].owner < stream->ledger[i - 1].owner) {
            return "an owner that was replaced writes again";
        }
    }
    int events = events_in(stream->ledger, stream->length);
    for (int e = 0; e < MODEL_EVENTS; e++) {
        if (stream->outputs[e] > 1) { return "an output was published twice"; }
        if (stream->outputs[e] == 0 && e < events) { return "an output is missing"; }
    }
    for (int v = 1; v <= VERSIONS; v++) {
        bool durable = false;
        for (int d = 0; d < MODEL_DAEMONS; d++) {
            durable |= (state->directories[d].versions >> v & 1) != 0;
        }
        if (!durable && announced_in(stream->ledger, stream->length, v)) {
            return "a version is announced that is not durable";
        }
    }
    for (int d = 0; d < MODEL_DAEMONS; d++) {
        const char *words = directory_violation(state, d);
        if (words != NULL) { return words; }
    }
    return NULL;
}

bool model_done(const struct model_state *state) {
    const struct model_stream *stream = &state->stream;
    return events_in(stream->ledger, stream->length) == MODEL_EVENTS &&
           (!state->learner || announced_in(stream->ledger, stream->length, VERSIONS));
}
