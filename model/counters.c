/* SPDX-License-Identifier: Apache-2.0
 *
 * counters.c - counts events, pairs of items and their decay.
 *
 * Decay without touching every item: an event at seq s weighs 2^(s/half_life) at the scale of seq
 * 0, and the value at seq t is that sum times 2^(-t/half_life). The sum is kept as a logarithm, so
 * it neither overflows nor needs rescaling:  l' = x + log(1 + exp(l - x)),  x = s ln2 / half_life.
 */
#include "model/counters.h"

#include <assert.h>
#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "base/memory.h"
#include "model/counters_state.h"

#define ITEMS_FIRST 1024 /* items the arrays hold at first */
#define ROW_FIRST   8    /* entries of a row at first */

enum status counters_new(const struct counters_settings *settings, struct counters **ret_counters,
                         struct error *err) {
    assert(settings->items_max > 0);
    assert(settings->neighbours_max > 0 && settings->span >= 0 && settings->half_life > 0);
    struct counters *counters = MEMORY_TAKE_ARRAY(struct counters, 1);
    if (counters == NULL) { return error_set(err, STATUS_NO_MEMORY, "counters"); }
    counters->settings = *settings;
    *ret_counters = counters;
    return STATUS_OK;
}

void counters_free(struct counters *counters) {
    if (counters == NULL) { return; }
    for (int i = 0; i < counters->capacity; i++) {
        memory_free(counters->rows[i].entries);
    }
    memory_free(counters->popularity);
    memory_free(counters->inverse_root);
    memory_free(counters->popularity_log);
    memory_free(counters->decayed_log);
    memory_free(counters->rows);
    memory_free(counters);
}

void counters_swap(struct counters *a, struct counters *b) {
    struct counters kept = *a;

    *a = *b;
    *b = kept;
}

/* The arrays are replaced together, so that a failure leaves the old ones. */
static enum status counters_resize(struct counters *counters, int capacity, struct error *err) {
    uint64_t *popularity = MEMORY_TAKE_ARRAY(uint64_t, capacity);
    float *inverse_root = MEMORY_TAKE_ARRAY(float, capacity);
    float *popularity_log = MEMORY_TAKE_ARRAY(float, capacity);
    double *decayed_log = MEMORY_TAKE_ARRAY(double, capacity);
    struct covisit_row *rows = MEMORY_TAKE_ARRAY(struct covisit_row, capacity);
    bool taken = popularity != NULL && inverse_root != NULL && popularity_log != NULL;
    if (!taken || decayed_log == NULL || rows == NULL) {
        memory_free(popularity);
        memory_free(inverse_root);
        memory_free(popularity_log);
        memory_free(decayed_log);
        memory_free(rows);
        return error_set(err, STATUS_NO_MEMORY, "counters of %d items", capacity);
    }

    size_t held = (size_t)counters->capacity;
    if (held > 0) {
        memcpy(popularity, counters->popularity, held * sizeof *popularity);
        memcpy(inverse_root, counters->inverse_root, held * sizeof *inverse_root);
        memcpy(popularity_log, counters->popularity_log, held * sizeof *popularity_log);
        memcpy(decayed_log, counters->decayed_log, held * sizeof *decayed_log);
        memcpy(rows, counters->rows, held * sizeof *rows);
    }
    for (int i = counters->capacity; i < capacity; i++) {
        decayed_log[i] = (double)-INFINITY;
    }
    memory_free(counters->popularity);
    memory_free(counters->inverse_root);
    memory_free(counters->popularity_log);
    memory_free(counters->decayed_log);
    memory_free(counters->rows);
    counters->popularity = popularity;
    counters->inverse_root = inverse_root;
    counters->popularity_log = popularity_log;
    counters->decayed_log = decayed_log;
    counters->rows = rows;
    counters->capacity = capacity;
    return STATUS_OK;
}

enum status counters_reserve(struct counters *counters, int items, struct error *err) {
    if (items <= counters->capacity) { return STATUS_OK; }
    if (items > counters->settings.items_max) {
        return error_set(err, STATUS_LIMIT, "item %d is beyond the limit of %d items", items - 1,
                         counters->settings.items_max);
    }

    int64_t capacity = counters->capacity > 0 ? counters->capacity : ITEMS_FIRST;
    while (capacity < items) {
        capacity *= 2;
    }
    if (capacity > counters->settings.items_max) { capacity = counters->settings.items_max; }
    return counters_resize(counters, (int)capacity, err);
}

enum status covisit_row_reserve(struct covisit_row *row, int count, struct error *err) {
    if (count <= row->capacity) { return STATUS_OK; }
    int capacity = row->capacity > 0 ? row->capacity : ROW_FIRST;
    while (capacity < count) {
        capacity *= 2;
    }
    void *entries = memory_resize(row->entries, (size_t)capacity * sizeof *row->entries);
    if (entries == NULL) {
        return error_set(err, STATUS_NO_MEMORY, "co-visitation row of %d entries", capacity);
    }
    row->entries = entries;
    row->capacity = capacity;
    return STATUS_OK;
}

/* First entry whose item is not below `item`. */
static int covisit_row_find(const struct covisit_row *row, uint32_t item) {
    int low = 0;
    int high = row->count;

    while (low < high) {
        int middle = low + (high - low) / 2;
        if (row->entries[middle].item < item) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

/* Entry that Space-Saving gives up: the smallest count, then the smallest number. */
static int covisit_row_smallest(const struct covisit_row *row) {
    int smallest = 0;

    for (int n = 1; n < row->count; n++) {
        if (row->entries[n].count < row->entries[smallest].count) { smallest = n; }
    }
    return smallest;
}

static enum status covisit_row_add(struct covisit_row *row, uint32_t item, int neighbours_max,
                                   struct error *err) {
    uint32_t count = 1;
    int at = covisit_row_find(row, item);

    if (at < row->count && row->entries[at].item == item) {
        if (row->entries[at].count < UINT32_MAX) { row->entries[at].count++; }
        return STATUS_OK;
    }
    if (row->count == neighbours_max) {
        int gone = covisit_row_smallest(row);
        uint32_t inherited = row->entries[gone].count;
        count = inherited < UINT32_MAX ? inherited + 1 : inherited;
        memmove(&row->entries[gone], &row->entries[gone + 1],
                (size_t)(row->count - gone - 1) * sizeof *row->entries);
        row->count--;
        if (gone < at) { at--; }
    }
    enum status status = covisit_row_reserve(row, row->count + 1, err);
    if (status != STATUS_OK) { return status; }

    memmove(&row->entries[at + 1], &row->entries[at],
            (size_t)(row->count - at) * sizeof *row->entries);
    row->entries[at] = (struct neighbour){item, count};
    row->count++;
    return STATUS_OK;
}

enum status counters_copy(struct counters *dst, const struct counters *src, struct error *err) {
    struct counters *copy = NULL;
    enum status status;

    assert(dst->settings.items_max == src->settings.items_max);
    status = counters_new(&src->settings, &copy, err);
    if (status != STATUS_OK) { return status; }
    status = counters_reserve(copy, src->items, err);
    for (int i = 0; status == STATUS_OK && i < src->items; i++) {
        const struct covisit_row *row = &src->rows[i];
        if (row->count == 0) { continue; }
        status = covisit_row_reserve(&copy->rows[i], row->count, err);
        if (status != STATUS_OK) { break; }
        memcpy(copy->rows[i].entries, row->entries, (size_t)row->count * sizeof *row->entries);
        copy->rows[i].count = row->count;
    }
    if (status != STATUS_OK) {
        counters_free(copy);
        return error_wrap(err, "copying counters");
    }
    if (src->items > 0) {
        size_t items = (size_t)src->items;
        memcpy(copy->popularity, src->popularity, items * sizeof *src->popularity);
        memcpy(copy->inverse_root, src->inverse_root, items * sizeof *src->inverse_root);
        memcpy(copy->popularity_log, src->popularity_log, items * sizeof *src->popularity_log);
        memcpy(copy->decayed_log, src->decayed_log, items * sizeof *src->decayed_log);
    }
    copy->items = src->items;
    counters_swap(dst, copy);
    counters_free(copy);
    return STATUS_OK;
}

/* Natural logarithm of what an event at seq weighs at seq 0's scale. */
static double decay_exponent(const struct counters *counters, uint64_t seq) {
    return (double)seq * (0.69314718055994530942 / counters->settings.half_life);
}

enum status counters_add(struct counters *counters, const uint32_t *window, int window_count,
                         uint32_t item, uint64_t seq, struct error *err) {
    assert(window_count >= 0);
    if (item >= (uint32_t)counters->settings.items_max) {
        return error_set(err, STATUS_LIMIT, "item %u is beyond the limit of %d items", item,
                         counters->settings.items_max);
    }
    enum status status = counters_reserve(counters, (int)item + 1, err);
    if (status != STATUS_OK) { return status; }
    if ((int)item >= counters->items) { counters->items = (int)item + 1; }

    int span = counters->settings.span;
    for (int n = window_count > span ? window_count - span : 0; n < window_count; n++) {
        uint32_t other = window[n];
        if (other == item || (int64_t)other >= counters->items) { continue; }
        int limit = counters->settings.neighbours_max;
        status = covisit_row_add(&counters->rows[item], other, limit, err);
        if (status != STATUS_OK) { return status; }
        status = covisit_row_add(&counters->rows[other], item, limit, err);
        if (status != STATUS_OK) { return status; }
    }

    double x = decay_exponent(counters, seq);
    double sum = counters->decayed_log[item];
    counters->decayed_log[item] = x + log1p(exp(sum - x));
    counters_set_popularity(counters, item, counters->popularity[item] + 1);
    return STATUS_OK;
}

void counters_set_popularity(struct counters *counters, uint32_t item, uint64_t events) {
    counters->popularity[item] = events;
    counters->inverse_root[item] = events > 0 ? (float)(1.0 / sqrt((double)events)) : 0.0F;
    counters->popularity_log[item] = (float)log1p((double)events);
}

const float *counters_popularity_logs(const struct counters *counters) {
    return counters->popularity_log;
}

int counters_items(const struct counters *counters) {
    return counters->items;
}

uint64_t counters_popularity(const struct counters *counters, uint32_t item) {
    return item < (uint32_t)counters->items ? counters->popularity[item] : 0;
}

double counters_decayed(const struct counters *counters, uint32_t item, uint64_t seq) {
    if (item >= (uint32_t)counters->items) { return 0; }
    return exp(counters->decayed_log[item] - decay_exponent(counters, seq));
}

float counters_decayed_log(const struct counters *counters, uint32_t item, uint64_t seq) {
    if (item >= (uint32_t)counters->items) { return (float)DECAYED_LOG_FLOOR; }
    double value = counters->decayed_log[item] - decay_exponent(counters, seq);
    return (float)(value > DECAYED_LOG_FLOOR ? value : DECAYED_LOG_FLOOR);
}

void counters_covisitation(const struct counters *counters, const uint32_t *history,
                           int history_count, int history_span, float *ret_scores, int M) {
    assert(M >= 0 && history_span >= 0);
    if (M > 0) { memset(ret_scores, 0, (size_t)M * sizeof *ret_scores); }

    int first = history_count > history_span ? history_count - history_span : 0;
    for (int n = first; n < history_count; n++) {
        if (history[n] >= (uint32_t)counters->items) { continue; }
        const struct covisit_row *row = &counters->rows[history[n]];
        float scale = counters->inverse_root[history[n]];
        for (int e = 0; e < row->count; e++) {
            uint32_t item = row->entries[e].item;
            if (item >= (uint32_t)M) { break; }
            ret_scores[item] += (float)row->entries[e].count * scale * counters->inverse_root[item];
        }
    }
}

void counters_covisitation_at(const struct counters *counters, const uint32_t *history,
                              int history_count, int history_span, const uint32_t *candidates,
                              int count, float *ret_scores) {
    int first = history_count > history_span ? history_count - history_span : 0;

    for (int c = 0; c < count; c++) {
        ret_scores[c] = 0;
    }
    for (int n = first; n < history_count; n++) {
        if (history[n] >= (uint32_t)counters->items) { continue; }
        const struct covisit_row *row = &counters->rows[history[n]];
        float scale = counters->inverse_root[history[n]];
        for (int c = 0; c < count; c++) {
            int at = covisit_row_find(row, candidates[c]);
            if (at == row->count || row->entries[at].item != candidates[c]) { continue; }
            ret_scores[c] +=
                (float)row->entries[at].count * scale * counters->inverse_root[candidates[c]];
        }
    }
}
