/* SPDX-License-Identifier: Apache-2.0
 *
 * exposition.c - a table of series and where in the picture each one's value stands.
 *
 * Counters are added the difference to what was shown last, so that a registry's counter only
 * grows. What the core counts itself (daemon/core_report.c) is not here.
 * Thread: doors. */
#include "daemon/exposition.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/memory.h"

#define LABELS_BYTES 160u

enum value_kind { VALUE_U64, VALUE_REAL, VALUE_INT, VALUE_BOOL };

struct series {
    enum metric_kind kind;
    const char *name, *labels, *help;
    enum value_kind value;
    size_t field; /* offset in struct shared_picture */
};

#define PICTURE(field) offsetof(struct shared_picture, field)

static const char events_help[] = "Input records by what became of them.";
static const char rate_help[] = "Adaptive rates in force.";

static const struct series table[] = {
    {METRIC_COUNTER, "ilorad_events_total", "result=\"other\"", events_help, VALUE_U64,
     PICTURE(other)},
    {METRIC_COUNTER, "ilorad_predictions_total", "", "Prediction records committed.", VALUE_U64,
     PICTURE(predictions)},
    {METRIC_GAUGE, "ilorad_ready", "", "1 when events are being consumed.", VALUE_BOOL,
     PICTURE(ready)},
    {METRIC_GAUGE, "ilorad_epoch", "", "Last committed epoch.", VALUE_U64, PICTURE(epoch)},
    {METRIC_GAUGE, "ilorad_seq", "", "Last applied sequence number.", VALUE_U64, PICTURE(seq)},
    {METRIC_GAUGE, "ilorad_learner_seq", "", "Last sequence number learned.", VALUE_U64,
     PICTURE(learner_seq)},
    {METRIC_GAUGE, "ilorad_events_per_second", "", "Applied events over the last seconds.",
     VALUE_REAL, PICTURE(events_per_second)},
    {METRIC_GAUGE, "ilorad_snapshot_newest", "", "Newest version made.", VALUE_U64,
     PICTURE(version_newest)},
    {METRIC_GAUGE, "ilorad_rate", "what=\"lm_training\"", rate_help, VALUE_REAL, PICTURE(lm_rate)},
    {METRIC_GAUGE, "ilorad_rate", "what=\"sasrec_scoring\"", rate_help, VALUE_REAL,
     PICTURE(fast_share)},
    {METRIC_GAUGE, "ilorad_rate", "what=\"lm_evaluation\"", rate_help, VALUE_REAL,
     PICTURE(eval_lm_rate)},
    {METRIC_COUNTER, "ilorad_train_steps_total", "", "Optimiser steps of the language model.",
     VALUE_U64, PICTURE(lm_steps)},
    {METRIC_GAUGE, "ilorad_train_loss", "model=\"ilora\"", "Loss of the last batch.", VALUE_REAL,
     PICTURE(lm_loss)},
    {METRIC_GAUGE, "ilorad_train_loss", "model=\"sasrec\"", "Loss of the last batch.", VALUE_REAL,
     PICTURE(sasrec_loss)},
    {METRIC_GAUGE, "ilorad_items", "", "Items known.", VALUE_INT, PICTURE(items)},
    {METRIC_GAUGE, "ilorad_disk_free_bytes", "", "Free bytes where the state lies.", VALUE_U64,
     PICTURE(disk_free_bytes)},
};

#define TABLE_COUNT (sizeof table / sizeof table[0])

struct exposition {
    struct shared *shared; /* borrows: until exposition_free */
    struct metric *series[TABLE_COUNT];
    bool full; /* a series of a model was refused once */
};

enum status exposition_new(struct shared *shared, struct exposition **ret_exposition,
                           struct error *err) {
    struct metrics *metrics = shared_metrics(shared);
    assert(metrics != NULL);
    struct exposition *exposition = memory_take_zeroed(1, sizeof *exposition);
    if (exposition == NULL) { return error_set(err, STATUS_NO_MEMORY, "metrics of the picture"); }
    exposition->shared = shared;
    enum status status = STATUS_OK;
    for (size_t i = 0; i < TABLE_COUNT && status == STATUS_OK; i++) {
        status = metrics_add(metrics, table[i].kind, table[i].name, table[i].labels, table[i].help,
                             NULL, 0, &exposition->series[i], err);
    }
    struct metric *build = NULL;
    if (status == STATUS_OK) {
        status =
            metrics_add(metrics, METRIC_GAUGE, "ilorad_build_info", "version=\"" ILORA_VERSION "\"",
                        "Always 1; the labels say what runs.", NULL, 0, &build, err);
    }
    if (status != STATUS_OK) {
        memory_free(exposition);
        return status;
    }
    metric_set(build, 1.0);
    *ret_exposition = exposition;
    return STATUS_OK;
}

void exposition_free(struct exposition *exposition) {
    memory_free(exposition);
}

static double picture_value(const struct shared_picture *picture, const struct series *series) {
    const char *at = (const char *)picture + series->field;
    switch (series->value) {
    case VALUE_U64: {
        uint64_t value;
        memcpy(&value, at, sizeof value);
        return (double)value;
    }
    case VALUE_REAL: {
        double value;
        memcpy(&value, at, sizeof value);
        return value;
    }
    case VALUE_INT: {
        int value;
        memcpy(&value, at, sizeof value);
        return value;
    }
    case VALUE_BOOL: {
        bool value;
        memcpy(&value, at, sizeof value);
        return value ? 1.0 : 0.0;
    }
    }
    return 0.0;
}

/* A gauge that may be new. The registry is bounded: past its limit the series is left out. */
static void set_gauge(struct exposition *exposition, const char *name, const char *labels,
                      const char *help, double value) {
    struct metric *metric = NULL;
    struct error err = {0};
    enum status status = metrics_add(shared_metrics(exposition->shared), METRIC_GAUGE, name, labels,
                                     help, NULL, 0, &metric, &err);
    if (status == STATUS_OK) {
        metric_set(metric, value);
    } else if (!exposition->full) {
        exposition->full = true;
        LOG_WARNING("metrics: %s, leaving series out", err.text);
    }
}

static void set_figure(struct exposition *exposition, const struct eval_figure *figure) {
    static const char rate_name[] = "ilorad_prequential_hit_rate";
    static const char rate_help_text[] = "Share of events whose item was among the first k.";
    const double hits[] = {figure->hit_1, figure->hit_5, figure->hit_10};
    static const int ks[] = {1, 5, 10};
    char labels[LABELS_BYTES];
    if (figure->count == 0) { return; }
    double count = (double)figure->count;
    for (int i = 0; i < 3; i++) {
        (void)snprintf(labels, sizeof labels, /* three names of 24 fit */
                       "model=\"%s\",kind=\"%s\",slice=\"%s\",k=\"%d\"", figure->model,
                       figure->kind, figure->slice, ks[i]);
        set_gauge(exposition, rate_name, labels, rate_help_text, hits[i] / count);
    }
    (void)snprintf(labels, sizeof labels, "model=\"%s\",kind=\"%s\",slice=\"%s\",k=\"10\"",
                   figure->model, figure->kind, figure->slice);
    set_gauge(exposition, "ilorad_prequential_ndcg", labels, "Mean NDCG at k.",
              figure->ndcg_10 / count);
    (void)snprintf(labels, sizeof labels, "model=\"%s\",kind=\"%s\",slice=\"%s\"", figure->model,
                   figure->kind, figure->slice);
    set_gauge(exposition, "ilorad_prequential_log_loss", labels, "Mean -log p of the item.",
              figure->log_loss / count);
    set_gauge(exposition, "ilorad_prequential_events", labels, "Events scored.", count);
}

void exposition_update(struct exposition *exposition) {
    struct shared_picture picture;
    shared_picture_copy(exposition->shared, &picture);
    for (size_t i = 0; i < TABLE_COUNT; i++) {
        double value = picture_value(&picture, &table[i]);
        struct metric *metric = exposition->series[i];
        if (table[i].kind == METRIC_GAUGE) {
            metric_set(metric, value);
        } else if (value > metric_value(metric)) {
            metric_add(metric, value - metric_value(metric));
        }
    }
    for (int i = 0; i < picture.experts && i < 16; i++) {
        char labels[LABELS_BYTES];
        (void)snprintf(labels, sizeof labels, "expert=\"%d\"", i); /* fits */
        set_gauge(exposition, "ilorad_gate_weight", labels, "Mean gate weight of the last batch.",
                  picture.expert_weight[i]);
    }
    for (int i = 0; i < picture.figure_count; i++) {
        set_figure(exposition, &picture.figures[i]);
    }
    if (picture.live_count > 0) {
        struct eval_figure live = {.model = "published",
                                   .kind = "live",
                                   .slice = "all",
                                   .count = picture.live_count,
                                   .hit_1 = picture.live_hit_1,
                                   .hit_5 = picture.live_hit_5,
                                   .hit_10 = picture.live_hit_10,
                                   .ndcg_10 = picture.live_ndcg_10};
        set_figure(exposition, &live);
    }
}
