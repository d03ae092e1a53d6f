/* SPDX-License-Identifier: Apache-2.0
 *
 * metrics.c - families by name, series by labels, values as atomics.
 *
 *   metrics ─▸ families[] sorted by name ─▸ series[] sorted by labels ─▸ bits (one double)
 *                                                                       buckets[] (histograms)
 *
 * A double is kept as its 64 bits, so that adding is one compare-and-swap. The registry's lock is
 * held while a series is added and while the text is made, never during an update.
 */
#include "base/metrics.h"

#include <assert.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/memory.h"

#define METRIC_BOUNDS_MAX        64
#define METRIC_NUMBER_TEXT_BYTES 32u

struct metric {
    char *labels; /* owns */
    const struct metric_family *family;
    _Atomic uint64_t bits;      /* the value, or a histogram's sum, as a double's bits */
    _Atomic uint64_t buckets[]; /* histograms: (bounds + 1), not cumulative */
};

struct metric_family {
    char *name; /* owns */
    char *help; /* owns */
    enum metric_kind kind;
    int bound_count;
    double *bounds;         /* owns; (bound_count), ascending */
    struct metric **series; /* owns; (series_count) */
    int series_count;
};

struct metrics {
    pthread_mutex_t lock;
    struct metric_family **families; /* owns; (family_count), sorted by name */
    int family_count;
    int series_count; /* of all families */
};

static uint64_t bits_of(double value) {
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static double value_of(uint64_t bits) {
    double value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

enum status metrics_init(struct metrics **ret_metrics, struct error *err) {
    struct metrics *metrics = memory_take_zeroed(1, sizeof *metrics);
    if (metrics == NULL) { return error_set(err, STATUS_NO_MEMORY, "metrics registry"); }

    int reason = pthread_mutex_init(&metrics->lock, NULL);
    if (reason != 0) {
        memory_free(metrics);
        return error_errno(err, reason, "lock of the metrics registry");
    }
    *ret_metrics = metrics;
    return STATUS_OK;
}

static void metric_free(struct metric *metric) {
    if (metric == NULL) { return; }
    memory_free(metric->labels);
    memory_free(metric);
}

static void family_free(struct metric_family *family) {
    if (family == NULL) { return; }
    for (int i = 0; i < family->series_count; i++) {
        metric_free(family->series[i]);
    }
    memory_free(family->series);
    memory_free(family->bounds);
    memory_free(family->help);
    memory_free(family->name);
    memory_free(family);
}

void metrics_free(struct metrics *metrics) {
    if (metrics == NULL) { return; }
    for (int i = 0; i < metrics->family_count; i++) {
        family_free(metrics->families[i]);
    }
    memory_free(metrics->families);
    (void)pthread_mutex_destroy(&metrics->lock); /* nobody holds it any more */
    memory_free(metrics);
}

/* Index of the first family whose name is not before `name`. */
static int family_place(const struct metrics *metrics, const char *name) {
    int place = 0;
    while (place < metrics->family_count && strcmp(metrics->families[place]->name, name) < 0) {
        place++;
    }
    return place;
}

static int series_place(const struct metric_family *family, const char *labels) {
    int place = 0;
    while (place < family->series_count && strcmp(family->series[place]->labels, labels) < 0) {
        place++;
    }
    return place;
}

/* Makes room for one more pointer at `place`; the new slot is NULL. False: no memory. */
static bool pointers_insert(void ***pointers, int count, int place) {
    void **grown = memory_resize(*pointers, ((size_t)count + 1) * sizeof *grown);
    if (grown == NULL) { return false; }
    memmove(grown + place + 1, grown + place, (size_t)(count - place) * sizeof *grown);
    grown[place] = NULL;
    *pointers = grown;
    return true;
}

static struct metric_family *family_make(enum metric_kind kind, const char *name, const char *help,
                                         const double *bounds, int bound_count) {
    struct metric_family *family = memory_take_zeroed(1, sizeof *family);
    if (family == NULL) { return NULL; }
    family->kind = kind;
    family->bound_count = bound_count;
    family->name = memory_take_copy(name, strlen(name));
    family->help = memory_take_copy(help, strlen(help));
    family->bounds = MEMORY_TAKE_ARRAY(double, bound_count);
    if (family->name == NULL || family->help == NULL || family->bounds == NULL) {
        family_free(family);
        return NULL;
    }
    if (bound_count > 0) { memcpy(family->bounds, bounds, (size_t)bound_count * sizeof *bounds); }
    return family;
}

/* Lock held. NULL: no memory, nothing changed. */
static struct metric_family *family_add(struct metrics *metrics, enum metric_kind kind,
                                        const char *name, const char *help, const double *bounds,
                                        int bound_count) {
    int place = family_place(metrics, name);
    if (place < metrics->family_count && strcmp(metrics->families[place]->name, name) == 0) {
        assert(metrics->families[place]->kind == kind);
        assert(metrics->families[place]->bound_count == bound_count);
        return metrics->families[place];
    }

    struct metric_family *family = family_make(kind, name, help, bounds, bound_count);
    if (family == NULL) { return NULL; }
    void **families = (void **)metrics->families;
    bool grown = pointers_insert(&families, metrics->family_count, place);
    metrics->families = (struct metric_family **)families;
    if (!grown) {
        family_free(family);
        return NULL;
    }
    metrics->families[place] = family;
    metrics->family_count++;
    return family;
}

/* Lock held. NULL: no memory, nothing changed. */
static struct metric *series_add(struct metric_family *family, const char *labels, int place) {
    size_t bucket_count = family->kind == METRIC_HISTOGRAM ? (size_t)family->bound_count + 1 : 0;
    struct metric *metric =
        memory_take_zeroed(1, sizeof *metric + bucket_count * sizeof metric->buckets[0]);
    if (metric == NULL) { return NULL; }
    metric->family = family;
    metric->labels = memory_take_copy(labels, strlen(labels));
    if (metric->labels == NULL) { goto fail; }

    void **series = (void **)family->series;
    bool grown = pointers_insert(&series, family->series_count, place);
    family->series = (struct metric **)series;
    if (!grown) { goto fail; }
    family->series[place] = metric;
    family->series_count++;
    return metric;

fail:
    metric_free(metric);
    return NULL;
}

/* [a-zA-Z_:][a-zA-Z0-9_:]*, the data model of Prometheus. */
static bool metric_name_valid(const char *name) {
    if (name[0] == '\0' || (name[0] >= '0' && name[0] <= '9')) { return false; }
    return name[strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                             "0123456789_:")] == '\0';
}

enum status metrics_add(struct metrics *metrics, enum metric_kind kind, const char *name,
                        const char *labels, const char *help, const double *bounds, int bound_count,
                        struct metric **ret_metric, struct error *err) {
    assert(metric_name_valid(name));
    assert(bound_count >= 0 && bound_count <= METRIC_BOUNDS_MAX);
    assert(kind == METRIC_HISTOGRAM || bound_count == 0);
    for (int i = 1; i < bound_count; i++) {
        assert(bounds[i - 1] < bounds[i]);
    }

    enum status status = STATUS_OK;
    struct metric *metric = NULL;
    (void)pthread_mutex_lock(&metrics->lock); /* cannot fail: a plain mutex that we do not hold */
    struct metric_family *family = family_add(metrics, kind, name, help, bounds, bound_count);
    if (family == NULL) { goto done; }

    int place = series_place(family, labels);
    if (place < family->series_count && strcmp(family->series[place]->labels, labels) == 0) {
        metric = family->series[place];
        goto done;
    }
    if (metrics->series_count == METRIC_SERIES_MAX) {
        status = error_set(err, STATUS_LIMIT, "metric '%s{%s}': more than %d series", name, labels,
                           METRIC_SERIES_MAX);
        goto done;
    }
    metric = series_add(family, labels, place);
    if (metric != NULL) { metrics->series_count++; }

done:
    (void)pthread_mutex_unlock(&metrics->lock); /* held since above */
    if (status == STATUS_OK && metric == NULL) {
        status = error_set(err, STATUS_NO_MEMORY, "metric '%s{%s}'", name, labels);
    }
    if (status == STATUS_OK) { *ret_metric = metric; }
    return status;
}

static void metric_add_bits(struct metric *metric, double amount) {
    uint64_t old = atomic_load_explicit(&metric->bits, memory_order_relaxed);
    while (!atomic_compare_exchange_weak_explicit(&metric->bits, &old,
                                                  bits_of(value_of(old) + amount),
                                                  memory_order_relaxed, memory_order_relaxed)) {
        /* old was refreshed */
    }
}

void metric_add(struct metric *metric, double amount) {
    assert(metric->family->kind != METRIC_HISTOGRAM);
    assert(metric->family->kind != METRIC_COUNTER || amount >= 0);
    metric_add_bits(metric, amount);
}

void metric_set(struct metric *metric, double value) {
    assert(metric->family->kind == METRIC_GAUGE);
    atomic_store_explicit(&metric->bits, bits_of(value), memory_order_relaxed);
}

void metric_observe(struct metric *metric, double value) {
    const struct metric_family *family = metric->family;
    assert(family->kind == METRIC_HISTOGRAM);

    int bucket = 0;
    while (bucket < family->bound_count && !(value <= family->bounds[bucket])) {
        bucket++;
    }
    atomic_fetch_add_explicit(&metric->buckets[bucket], 1, memory_order_relaxed);
    metric_add_bits(metric, value);
}

double metric_value(const struct metric *metric) {
    return value_of(atomic_load_explicit(&metric->bits, memory_order_relaxed));
}

/* The shortest of 15 and 17 digits that comes back; Prometheus' words for what is not finite. */
static void number_text(double value, char text[METRIC_NUMBER_TEXT_BYTES]) {
    if (isnan(value)) {
        memcpy(text, "NaN", 4);
        return;
    }
    if (isinf(value)) {
        memcpy(text, value > 0 ? "+Inf" : "-Inf", 5);
        return;
    }
    (void)snprintf(text, METRIC_NUMBER_TEXT_BYTES, "%.15g", value); /* fits: 24 bytes at most */
    if (strtod(text, NULL) != value) {
        (void)snprintf(text, METRIC_NUMBER_TEXT_BYTES, "%.17g", value); /* the same */
    }
}

static enum status render_histogram(const struct metric *metric, struct buffer *out) {
    const struct metric_family *family = metric->family;
    const char *comma = metric->labels[0] != '\0' ? "," : "";
    char number[METRIC_NUMBER_TEXT_BYTES];
    uint64_t total = 0;
    for (int i = 0; i <= family->bound_count; i++) {
        total += atomic_load_explicit(&metric->buckets[i], memory_order_relaxed);
        number_text(i < family->bound_count ? family->bounds[i] : HUGE_VAL, number);
        enum status status =
            buffer_append_format(out, "%s_bucket{%s%sle=\"%s\"} %llu\n", family->name,
                                 metric->labels, comma, number, (unsigned long long)total);
        if (status != STATUS_OK) { return status; }
    }

    const char *open = metric->labels[0] != '\0' ? "{" : "";
    const char *close = metric->labels[0] != '\0' ? "}" : "";
    number_text(metric_value(metric), number);
    return buffer_append_format(out, "%s_sum%s%s%s %s\n%s_count%s%s%s %llu\n", family->name, open,
                                metric->labels, close, number, family->name, open, metric->labels,
                                close, (unsigned long long)total);
}

static enum status render_value(const struct metric *metric, struct buffer *out) {
    const char *open = metric->labels[0] != '\0' ? "{" : "";
    const char *close = metric->labels[0] != '\0' ? "}" : "";
    char number[METRIC_NUMBER_TEXT_BYTES];
    number_text(metric_value(metric), number);
    return buffer_append_format(out, "%s%s%s%s %s\n", metric->family->name, open, metric->labels,
                                close, number);
}

static enum status render_family(const struct metric_family *family, struct buffer *out) {
    static const char *const kind_names[] = {
        [METRIC_COUNTER] = "counter", [METRIC_GAUGE] = "gauge", [METRIC_HISTOGRAM] = "histogram"};
    enum status status = buffer_append_format(out, "# HELP %s ", family->name);
    for (const char *p = family->help; status == STATUS_OK && *p != '\0'; p++) {
        const char *escaped = *p == '\n' ? "\\n" : *p == '\\' ? "\\\\" : NULL;
        status = escaped != NULL ? buffer_append(out, escaped, 2) : buffer_append(out, p, 1);
    }
    if (status != STATUS_OK) { return status; }

    status = buffer_append_format(out, "\n# TYPE %s %s\n", family->name, kind_names[family->kind]);
    for (int i = 0; status == STATUS_OK && i < family->series_count; i++) {
        status = family->kind == METRIC_HISTOGRAM ? render_histogram(family->series[i], out)
                                                  : render_value(family->series[i], out);
    }
    return status;
}

enum status metrics_render(const struct metrics *metrics, struct buffer *out) {
    pthread_mutex_t *lock = (pthread_mutex_t *)(uintptr_t)&metrics->lock;
    enum status status = STATUS_OK;
    (void)pthread_mutex_lock(lock); /* cannot fail: a plain mutex that we do not hold */
    for (int i = 0; status == STATUS_OK && i < metrics->family_count; i++) {
        status = render_family(metrics->families[i], out);
    }
    (void)pthread_mutex_unlock(lock); /* held since above */
    return status;
}
