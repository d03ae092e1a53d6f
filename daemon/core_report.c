/* SPDX-License-Identifier: Apache-2.0
 *
 * core_report.c - counts what epochs did, and paints the picture others look at.
 *
 * Why it exists: figures are for people and dashboards; nothing that is published depends on them.
 * Thread: core. */
#include "daemon/core_report.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "daemon/core.h"

/* Seconds; an epoch is 0.2 s by default, so the steps are finest around it. */
static const double time_bounds[] = {0.005, 0.01, 0.025, 0.05, 0.1,  0.2, 0.3,
                                     0.5,   1.0,  2.5,   5.0,  10.0, 30.0};
#define TIME_BOUND_COUNT ((int)(sizeof(time_bounds) / sizeof(time_bounds[0])))

struct metric_line {
    enum metric_kind kind;
    const char *name, *labels, *help;
    struct metric **place;
};

enum status core_report_init(struct core *core, struct error *err) {
    struct core_metrics *m = &core->metrics;
    const char *events = "Input records by what became of them.";
    const struct metric_line lines[] = {
        {METRIC_COUNTER, "ilorad_events_total", "result=\"applied\"", events, &m->applied},
        {METRIC_COUNTER, "ilorad_events_total", "result=\"duplicate\"", events, &m->duplicate},
        {METRIC_COUNTER, "ilorad_events_total", "result=\"dead\"", events, &m->dead},
        {METRIC_COUNTER, "ilorad_events_total", "result=\"filtered\"", events, &m->filtered},
        {METRIC_HISTOGRAM, "ilorad_event_to_prediction_seconds", "",
         "From the arrival of an epoch's oldest record to the commit of its predictions.",
         &m->prediction_age},
        {METRIC_HISTOGRAM, "ilorad_epoch_commit_seconds", "",
         "Stream transaction and LMDB transaction of an epoch.", &m->commit_time},
        {METRIC_HISTOGRAM, "ilorad_event_to_train_seconds", "",
         "From the arrival of an epoch's oldest record until the learner is past the epoch.",
         &m->train_age},
        {METRIC_COUNTER, "ilorad_publish_rejected_total", "", "Versions announced as rejected.",
         &m->rejected},
        {METRIC_GAUGE, "ilorad_snapshot_age_seconds", "",
         "Since the version in force became it, in this process.", &m->version_age},
        {METRIC_GAUGE, "ilorad_snapshot_version", "", "Version in force.", &m->in_force},
        {METRIC_GAUGE, "ilorad_consumer_lag", "", "Records between positions and ends.", &m->lag},
        {METRIC_GAUGE, "ilorad_ring_records_max", "", "Most records the ring ever held.",
         &m->queued_max},
        {METRIC_GAUGE, "ilorad_lmdb_used_bytes", "", "Pages in use by the state.", &m->lmdb_used},
        {METRIC_GAUGE, "ilorad_train_rows_total", "",
         "Rows the language model trained on in this process.", &m->trained_rows},
        {METRIC_GAUGE, "ilorad_train_tokens_total", "",
         "Tokens the language model trained on in this process.", &m->trained_tokens},
    };
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        const struct metric_line *l = &lines[i];
        bool histogram = l->kind == METRIC_HISTOGRAM;
        enum status status = metrics_add(shared_metrics(core->shared), l->kind, l->name, l->labels,
                                         l->help, histogram ? time_bounds : NULL,
                                         histogram ? TIME_BOUND_COUNT : 0, l->place, err);
        if (status != STATUS_OK) { return status; }
    }
    return STATUS_OK;
}

/* Dead letters by reason; the word is the first header of each. */
static void count_dead_letters(struct core *core, const struct epoch *epoch) {
    for (int i = 0; i < epoch->output_count; i++) {
        if (epoch->outputs[i].topic != STREAM_DLQ) { continue; }
        struct stream_header headers[STREAM_HEADERS_MAX];
        struct stream_output output;
        epoch_output_get(epoch, i, headers, &output);
        char label[64];
        (void)snprintf(label, sizeof(label), "reason=\"%.*s\"", SPAN_ARG(headers[0].value));
        struct metric *metric;
        struct error err;
        if (metrics_add(shared_metrics(core->shared), METRIC_COUNTER, "ilorad_dlq_total", label,
                        "Dead letters by reason.", NULL, 0, &metric, &err) == STATUS_OK) {
            metric_add(metric, 1);
        }
    }
}

/* Remembers when an epoch arrived, and observes those the learner is past. */
static void note_arrivals(struct core *core) {
    uint64_t learned = learner_thread_seq(core->learner);
    int64_t now_us = clock_monotonic_us();
    int past = 0;
    while (past < core->arrival_count && core->arrivals[past].seq_hi <= learned) {
        metric_observe(core->metrics.train_age,
                       (double)(now_us - core->arrivals[past].arrived_us) * 1e-6);
        past++;
    }
    core->arrival_count -= past;
    memmove(core->arrivals, core->arrivals + past,
            (size_t)core->arrival_count * sizeof(core->arrivals[0]));
    uint64_t seq = engine_state(core->engine)->seq;
    if (core->oldest_arrival_us == 0 || core->arrival_count == CORE_ARRIVALS_MAX) { return; }
    core->arrivals[core->arrival_count++] =
        (struct core_arrival){.seq_hi = seq, .arrived_us = core->oldest_arrival_us};
}

void core_report_epoch(struct core *core, int64_t began_us) {
    const struct core_metrics *m = &core->metrics;
    const struct epoch *epoch = engine_epoch(core->engine);
    metric_add(m->applied, (double)epoch->applied);
    metric_add(m->duplicate, (double)epoch->duplicate);
    metric_add(m->dead, (double)epoch->dead);
    metric_add(m->filtered, (double)epoch->filtered);
    core->predictions += epoch->predictions;
    for (int i = 0; i < epoch->announced_count; i++) {
        metric_add(m->rejected, epoch->announced[i].rejected ? 1 : 0);
    }
    if (epoch->dead_letters > 0) { count_dead_letters(core, epoch); }
    note_arrivals(core);
    int64_t now_us = clock_monotonic_us();
    metric_observe(m->commit_time, (double)(now_us - began_us) * 1e-6);
    if (core->oldest_arrival_us > 0) {
        metric_observe(m->prediction_age, (double)(now_us - core->oldest_arrival_us) * 1e-6);
    }
}

struct show {
    struct core *core;
    int64_t lag;
    double seconds;
    struct store_usage usage;
    uint64_t disk_free;
};

static void paint(void *context, struct shared_picture *p) {
    const struct show *show = context;
    const struct core *core = show->core;
    const struct core_state *state = engine_state(core->engine);
    p->ready = core->ready;
    p->epoch = state->epoch;
    p->seq = state->seq;
    p->applied = state->counts.applied;
    p->duplicate = state->counts.duplicate;
    p->dead = state->counts.dead;
    p->filtered = state->counts.filtered;
    p->other = state->counts.other;
    p->predictions = core->predictions;
    p->version_in_force = state->in_force;
    p->lag = show->lag;
    if (show->seconds > 0) {
        double rate = (double)(state->seq - core->shown_seq) / show->seconds;
        p->events_per_second = p->events_per_second * 0.7 + rate * 0.3;
    }
    p->lm_rate = state->rates.lm_rate;
    p->fast_share = state->rates.fast_share;
    p->eval_lm_rate = state->rates.eval_lm_rate;
    p->items = (int)catalogue_count(core->catalogue);
    p->store_used_bytes = show->usage.used_bytes;
    p->disk_free_bytes = show->disk_free;
    p->live_count = state->live.count;
    p->live_hit_1 = state->live.hit_1;
    p->live_hit_5 = state->live.hit_5;
    p->live_hit_10 = state->live.hit_10;
    p->live_ndcg_10 = state->live.ndcg_10;
    p->live_mrr = state->live.mrr;
    metric_set(core->metrics.trained_rows, (double)p->lm_rows);
    metric_set(core->metrics.trained_tokens, (double)p->lm_tokens);
}

void core_report_show(struct core *core, int64_t now_us) {
    struct show show = {.core = core, .seconds = (double)(now_us - core->shown_us) * 1e-6};
    const struct core_state *state = engine_state(core->engine);
    struct error err;
    for (int i = 0; i < state->position_count; i++) {
        const struct stream_position *p = &state->positions[i];
        int64_t lag = core->stream->ops->lag(core->stream, p->topic, p->partition, p->next);
        if (lag >= 0) { show.lag += lag; }
    }
    if (store_usage(core->store, &show.usage, &err) != STATUS_OK) { show.usage.used_bytes = 0; }
    if (dir_free_bytes(core->path, &show.disk_free, &err) != STATUS_OK) { show.disk_free = 0; }
    shared_picture_update(core->shared, paint, &show);
    if (core->in_force_us == 0 || state->in_force != core->in_force_seen) {
        core->in_force_us = now_us;
        core->in_force_seen = state->in_force;
    }
    metric_set(core->metrics.version_age, (double)(now_us - core->in_force_us) * 1e-6);
    metric_set(core->metrics.in_force, (double)state->in_force);
    metric_set(core->metrics.lag, (double)show.lag);
    metric_set(core->metrics.queued_max, (double)ring_usage(core->ring).messages_max);
    metric_set(core->metrics.lmdb_used, (double)show.usage.used_bytes);
    core->shown_us = now_us;
    core->shown_seq = state->seq;
}
