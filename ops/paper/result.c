/* SPDX-License-Identifier: Apache-2.0
 *
 * result.c - counts places, writes and reads them. */
#include "ops/paper/result.h"

#include <assert.h>
#include <math.h>

#include "base/memory.h"

static const char *const method_names[PAPER_METHOD_COUNT] = {"base", "sasrec", "lora", "ilora"};

const char *paper_method_name(enum paper_method method) {
    assert(method < PAPER_METHOD_COUNT);
    return method_names[method];
}

bool paper_method_find(struct span name, enum paper_method *ret_method) {
    for (int m = 0; m < PAPER_METHOD_COUNT; m++) {
        if (!span_equal(name, span_of(method_names[m]))) { continue; }
        *ret_method = (enum paper_method)m;
        return true;
    }
    return false;
}

bool paper_method_has_seeds(enum paper_method method) {
    return method != PAPER_BASE;
}

const char *paper_figure_name(enum paper_figure figure) {
    static const char *const names[PAPER_FIGURE_COUNT] = {
        "hr1_valid",          "hr1_all",          "valid_ratio",         "hr1_scored",
        "released_hr1_valid", "released_hr1_all", "released_valid_ratio"};
    assert(figure < PAPER_FIGURE_COUNT);
    return names[figure];
}

/* ---- memory ---------------------------------------------------------------------------------- */

enum status paper_result_init(struct paper_result *result, int samples, struct error *err) {
    int **const places[4] = {&result->target, &result->answered, &result->lenient, &result->scored};
    *result = (struct paper_result){
        .samples = samples, .first_loss = (double)NAN, .last_loss = (double)NAN};
    for (int p = 0; p < 4; p++) {
        *places[p] = MEMORY_TAKE_ARRAY(int, samples);
        if (*places[p] == NULL) {
            paper_result_free(result);
            return error_set(err, STATUS_NO_MEMORY, "answers of %d samples", samples);
        }
        for (int i = 0; i < samples; i++) {
            (*places[p])[i] = -1;
        }
    }
    return STATUS_OK;
}

void paper_result_free(struct paper_result *result) {
    memory_free(result->target);
    memory_free(result->answered);
    memory_free(result->lenient);
    memory_free(result->scored);
    *result = (struct paper_result){0};
}

/* ---- figures --------------------------------------------------------------------------------- */

void paper_result_count(const struct paper_result *result, enum paper_figure figure,
                        int64_t *ret_hits, int64_t *ret_of) {
    bool lenient =
        figure == PAPER_LENIENT_HIT || figure == PAPER_LENIENT_ALL || figure == PAPER_LENIENT_VALID;
    const int *places = lenient                      ? result->lenient
                        : figure == PAPER_HIT_SCORED ? result->scored
                                                     : result->answered;
    int64_t hits = 0, valid = 0;
    for (int i = 0; i < result->samples; i++) {
        if (places[i] < 0) { continue; }
        valid++;
        hits += places[i] == result->target[i];
    }
    bool ratio = figure == PAPER_VALID || figure == PAPER_LENIENT_VALID;
    bool among_valid = figure == PAPER_HIT_VALID || figure == PAPER_LENIENT_HIT;
    *ret_hits = ratio ? valid : hits;
    *ret_of = among_valid ? valid : result->samples;
}

double paper_result_figure(const struct paper_result *result, enum paper_figure figure) {
    int64_t hits = 0, of = 0;
    paper_result_count(result, figure, &hits, &of);
    return of > 0 ? (double)hits / (double)of : (double)NAN;
}

/* ---- text ------------------------------------------------------------------------------------ */

static void write_places(struct json_writer *w, const char *name, const int *places, int count) {
    json_write_array(w, name);
    for (int i = 0; i < count; i++) {
        json_write_integer(w, NULL, places[i]);
    }
    json_write_array_end(w);
}

void paper_result_json(struct json_writer *w, const char *name, const struct paper_result *result) {
    json_write_object(w, name);
    json_write_integer(w, "samples", result->samples);
    for (int f = 0; f < PAPER_FIGURE_COUNT; f++) {
        json_write_real(w, paper_figure_name((enum paper_figure)f),
                        paper_result_figure(result, (enum paper_figure)f));
    }
    json_write_integer(w, "steps", result->steps);
    json_write_integer(w, "trained_samples", result->trained);
    json_write_integer(w, "trained_tokens", result->tokens);
    json_write_real(w, "first_loss", result->first_loss);
    json_write_real(w, "last_loss", result->last_loss);
    json_write_integer(w, "discarded_steps", result->discarded);
    write_places(w, "target", result->target, result->samples);
    write_places(w, "answered", result->answered, result->samples);
    write_places(w, "released_rule", result->lenient, result->samples);
    write_places(w, "scored", result->scored, result->samples);
    json_write_object(w, "timing");
    json_write_real(w, "train_seconds", result->timing.train_seconds);
    json_write_real(w, "evaluate_seconds", result->timing.evaluate_seconds);
    json_write_object_end(w);
    json_write_object_end(w);
}

static enum status read_places(const struct json_value *json, const char *name, int *places,
                               int count, struct error *err) {
    const struct json_value *array = json_member(json, name);
    if (json_size(array) != (size_t)count) {
        return error_set(err, STATUS_CORRUPT, "'%s': expected %d places", name, count);
    }
    for (int i = 0; i < count; i++) {
        int64_t place = 0;
        if (!json_integer(json_element(array, (size_t)i), &place) || place < -1 || place > 1000) {
            return error_set(err, STATUS_CORRUPT, "'%s', element %d: expected a place", name, i);
        }
        places[i] = (int)place;
    }
    return STATUS_OK;
}

/* A number, or null for NaN. */
static double real_or_nan(const struct json_value *json, const char *name) {
    double value = (double)NAN;
    (void)json_real(json_member(json, name), &value); /* stays NaN otherwise */
    return value;
}

static enum status read_counts(const struct json_value *json, struct paper_result *result,
                               struct error *err) {
    int64_t discarded = 0;
    const struct {
        const char *name;
        int64_t *value;
    } counts[] = {{"steps", &result->steps},
                  {"trained_samples", &result->trained},
                  {"trained_tokens", &result->tokens},
                  {"discarded_steps", &discarded}};
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        if (!json_integer(json_member(json, counts[i].name), counts[i].value)) {
            return error_set(err, STATUS_CORRUPT, "'%s': expected a number", counts[i].name);
        }
    }
    const struct json_value *timing = json_member(json, "timing");
    result->discarded = (int)discarded;
    result->first_loss = real_or_nan(json, "first_loss");
    result->last_loss = real_or_nan(json, "last_loss");
    result->timing.train_seconds = real_or_nan(timing, "train_seconds");
    result->timing.evaluate_seconds = real_or_nan(timing, "evaluate_seconds");
    return STATUS_OK;
}

enum status paper_result_parse(const struct json_value *json, struct paper_result *ret_result,
                               struct error *err) {
    struct paper_result result;
    int64_t samples = 0;
    if (!json_integer(json_member(json, "samples"), &samples) || samples < 1 ||
        samples > INT32_MAX) {
        return error_set(err, STATUS_CORRUPT, "'samples': expected a number above 0");
    }
    enum status status = paper_result_init(&result, (int)samples, err);
    if (status != STATUS_OK) { return status; }
    status = read_places(json, "target", result.target, result.samples, err);
    if (status == STATUS_OK) {
        status = read_places(json, "answered", result.answered, result.samples, err);
    }
    if (status == STATUS_OK) {
        status = read_places(json, "released_rule", result.lenient, result.samples, err);
    }
    if (status == STATUS_OK) {
        status = read_places(json, "scored", result.scored, result.samples, err);
    }
    if (status == STATUS_OK) { status = read_counts(json, &result, err); }
    if (status != STATUS_OK) {
        paper_result_free(&result);
        return status;
    }
    *ret_result = result;
    return STATUS_OK;
}
