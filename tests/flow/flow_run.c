/* SPDX-License-Identifier: Apache-2.0
 *
 * flow_run.c - see flow_run.h.
 */
#include "tests/flow/flow_run.h"

#include <stdio.h>
#include <stdlib.h>

#include "tests/support/unit.h"

static void settings_of(const struct flow_run *run, struct settings *settings) {
    tiny_settings(settings, run->strict, run->settings, run->setting_count);
}

static bool count_entry(void *context, struct span key, struct span value) {
    uint64_t *count = context;
    (void)key;
    (void)value;
    (*count)++;
    return true;
}

static uint64_t lines_of(const struct buffer *text) {
    uint64_t lines = 0;
    for (size_t i = 0; i < text->size; i++) {
        lines += text->data[i] == '\n';
    }
    return lines;
}

static void note_result(struct flow_run *run, struct tiny_core *core) {
    struct error err = {0};
    const struct core_state *state = engine_state(core->engine);
    ASSERT_OK(core_state_init(&run->state, state->partitions, &err), err);
    core_state_copy(&run->state, state);
    run->applied = state->counts.applied;
    run->duplicate = state->counts.duplicate;
    run->dead = state->counts.dead;
    run->filtered = state->counts.filtered;
    run->other = state->counts.other;
    run->versions = state->version_next - 1;
    run->rollbacks = core->learner.rollbacks;
    run->forgets = core->learner.forgets;
    tiny_digest_state(core, run->state_digest);
    for (int topic = STREAM_PREDICTIONS; topic < STREAM_TOPIC_COUNT; topic++) {
        tiny_dump_topic(run->broker, (enum stream_topic)topic, &run->outputs[topic]);
    }
    struct stream *stream = stream_memory_open(run->broker, NULL);
    int64_t first, end;
    ASSERT_OK(stream->ops->bounds(stream, STREAM_LEDGER, 0, &first, &end, &err), err);
    run->ledger_records = (uint64_t)(end - first);
    stream->ops->close(stream);
}

/* Consumes all there is. Strict mode publishes whole groups only: events are added until the
 * last one is whole, the same ones in every run of this input. */
static enum status run_to_boundary(struct flow_run *run, struct tiny_core *core,
                                   struct error *err) {
    enum status status = tiny_core_run(core, &run->pace, err);
    while (status == STATUS_OK && run->strict && !engine_at_boundary(core->engine)) {
        tiny_send(run->broker, STREAM_EVENTS, "u1",
                  "{\"id\":\"pad%d\",\"user\":\"u1\",\"item\":\"i%d\",\"timestamp\":1800000000}",
                  run->pads, run->pads);
        run->pads++;
        status = tiny_core_run(core, &run->pace, err);
    }
    return status;
}

/* One life: until everything is consumed, or until the planned fault. True: done. */
static bool live(struct flow_run *run, const struct settings *settings) {
    struct error err = {0};
    struct tiny_core *core = calloc(1, sizeof *core);
    assert_non_null(core);
    enum status status = tiny_core_open(core, run->broker, run->folder.path, settings, &err);
    bool opened = status == STATUS_OK;
    if (opened) {
        if (run->fault_every > 0) {
            /* Later with every life, so that the run ends. */
            memory_broker_fail(run->broker, run->fault, run->fault_every + run->kills / 4);
        }
        status = run_to_boundary(run, core, &err);
        bool planned = run->fault_every > 0 && memory_broker_failed(run->broker, run->fault);
        memory_broker_fail(run->broker, run->fault, 0);
        if (status == STATUS_OK) { note_result(run, core); }
        if (status != STATUS_OK && !planned) { fail_msg("%s: %s", status_name(status), err.text); }
        tiny_core_kill(core);
    } else {
        fail_msg("opening after %d kills: %s: %s", run->kills, status_name(status), err.text);
    }
    free(core);
    return status == STATUS_OK;
}

void flow_run(struct flow_run *run) {
    struct settings *settings = calloc(1, sizeof *settings);
    assert_non_null(settings);
    settings_of(run, settings);
    tmpdir_init(&run->folder);
    run->broker = memory_broker_new(run->partitions > 0 ? run->partitions : 1);
    if (run->fill != NULL) {
        run->fill(run->broker);
    } else {
        tiny_stream(run->broker, run->seed, run->records, run->strict);
    }
    while (!live(run, settings)) {
        run->kills++;
        assert_true(run->kills < 1000);
    }
    free(settings);
}

void flow_run_reset(struct flow_run *run) {
    struct flow_run fresh = {.strict = run->strict,
                             .seed = run->seed,
                             .records = run->records,
                             .partitions = run->partitions,
                             .pace = run->pace,
                             .settings = run->settings,
                             .setting_count = run->setting_count,
                             .fill = run->fill};
    *run = fresh;
}

void flow_run_free(struct flow_run *run) {
    for (int topic = 0; topic < STREAM_TOPIC_COUNT; topic++) {
        buffer_free(&run->outputs[topic]);
    }
    core_state_free(&run->state);
    memory_broker_free(run->broker);
    run->broker = NULL;
    tmpdir_free(&run->folder);
}

void flow_refold(struct flow_run *run, bool without_versions) {
    struct error err = {0};
    struct settings *settings = calloc(1, sizeof *settings);
    struct tiny_core *core = calloc(1, sizeof *core);
    struct tmpdir folder;
    assert_true(settings != NULL && core != NULL);
    settings_of(run, settings);
    tmpdir_init(&folder);
    core->no_versions = without_versions;

    ASSERT_OK(tiny_core_open(core, run->broker, folder.path, settings, &err), err);

    run->refolded = core->refolded;
    tiny_digest_state(core, run->refold_digest);
    run->refold_published = 0;
    ASSERT_OK(store_reader_renew(core->reader, &err), err);
    ASSERT_OK(store_scan(core->reader, STORE_PUBLISHED, span_make("", 0), count_entry,
                         &run->refold_published, &err),
              err);
    const struct core_state *state = engine_state(core->engine);
    assert_int_equal(state->seq, run->state.seq);
    assert_int_equal(state->version_next, run->state.version_next);
    assert_int_equal(state->in_force, run->state.in_force);
    assert_int_equal(state->batch_end, run->state.batch_end);
    assert_int_equal(state->counts.applied, run->applied);
    assert_memory_equal(state->input_digest, run->state.input_digest, SHA256_BYTES);
    assert_memory_equal(state->evaluation_digest, run->state.evaluation_digest, SHA256_BYTES);
    tiny_core_kill(core);
    tmpdir_free(&folder);
    free(core);
    free(settings);
}

/* Appends a run's ledger to the input of another, whose own ledger is empty. */
static enum status copy_ledger(void *context, const struct stream_record *record,
                               struct error *err) {
    struct stream_output output = {.topic = STREAM_LEDGER,
                                   .timestamp_ms = record->timestamp_ms,
                                   .key = record->key,
                                   .value = record->value};
    (void)err;
    (void)memory_broker_append(context, &output);
    return STATUS_OK;
}

enum status flow_refold_ledger_of(struct flow_run *ledger, struct flow_run *input,
                                  struct error *err) {
    struct settings *settings = calloc(1, sizeof *settings);
    struct tiny_core *core = calloc(1, sizeof *core);
    struct tmpdir folder;
    assert_true(settings != NULL && core != NULL);
    settings_of(ledger, settings);
    tmpdir_init(&folder);
    struct memory_broker *broker = memory_broker_new(input->partitions > 0 ? input->partitions : 1);
    tiny_stream(broker, input->seed, input->records, input->strict);
    struct stream *stream = stream_memory_open(ledger->broker, NULL);
    ASSERT_OK(stream->ops->read(stream, STREAM_LEDGER, 0, 0, INT64_MAX, copy_ledger, broker, err),
              *err);
    stream->ops->close(stream);

    enum status status = tiny_core_open(core, broker, folder.path, settings, err);

    if (status == STATUS_OK) { tiny_core_kill(core); }
    memory_broker_free(broker);
    tmpdir_free(&folder);
    free(core);
    free(settings);
    return status;
}

static void assert_same_lines(const char *topic, const struct buffer *a, const struct buffer *b) {
    size_t shared = a->size < b->size ? a->size : b->size, same = 0, line = 0;
    while (same < shared && a->data[same] == b->data[same]) {
        same++;
        if (a->data[same - 1] == '\n') { line = same; }
    }
    if (same == a->size && same == b->size) { return; }
    fail_msg("%s: %llu and %llu records, first difference:\n%.*s\n%.*s", topic,
             (unsigned long long)lines_of(a), (unsigned long long)lines_of(b),
             (int)(a->size - line < 300 ? a->size - line : 300), (const char *)a->data + line,
             (int)(b->size - line < 300 ? b->size - line : 300), (const char *)b->data + line);
}

void flow_assert_same_outputs(const struct flow_run *a, const struct flow_run *b) {
    static const enum stream_topic topics[] = {STREAM_PREDICTIONS, STREAM_SNAPSHOTS, STREAM_METRICS,
                                               STREAM_DLQ};
    for (size_t i = 0; i < sizeof topics / sizeof topics[0]; i++) {
        assert_true(a->outputs[topics[i]].size > 0); /* or the comparison says nothing */
        assert_same_lines(stream_topic_name(topics[i]), &a->outputs[topics[i]],
                          &b->outputs[topics[i]]);
    }
}

uint64_t flow_number_after(const char *line, const char *name) {
    const char *at = strstr(line, name);
    assert_non_null(at);
    return strtoull(at + strlen(name), NULL, 10);
}
