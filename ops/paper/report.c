/* SPDX-License-Identifier: Apache-2.0
 *
 * report.c - summaries over seeds, the table, the JSON. */
#include "ops/paper/report.h"

#include <math.h>
#include <stdio.h>

#include "base/memory.h"

#define DIFFERENCE_SEED 95 /* of the bootstrap's draws */

static const char *const method_words[PAPER_METHOD_COUNT] = {"base, not tuned", "SASRec",
                                                             "LoRA, K=1", "iLoRA"};

void paper_report_free(struct paper_report *report) {
    for (int m = 0; m < PAPER_METHOD_COUNT; m++) {
        for (int s = 0; s < PAPER_SEEDS_MAX; s++) {
            paper_result_free(&report->results[m][s]);
        }
    }
}

/* ---- summaries ------------------------------------------------------------------------------- */

struct paper_summary paper_report_figure(const struct paper_report *report,
                                         enum paper_method method, enum paper_figure figure) {
    double values[PAPER_SEEDS_MAX];
    const struct paper_result *last = NULL;
    struct paper_summary summary = {0, (double)NAN, {(double)NAN, (double)NAN}};
    for (int s = 0; s < PAPER_SEEDS_MAX; s++) {
        if (report->results[method][s].samples == 0) { continue; }
        last = &report->results[method][s];
        values[summary.seeds++] = paper_result_figure(last, figure);
    }
    if (summary.seeds > 0) {
        summary.mean = mean_with_interval(values, summary.seeds, &summary.interval);
    }
    if (summary.seeds == 1) {
        int64_t hits = 0, of = 0;
        paper_result_count(last, figure, &hits, &of);
        if (of > 0) { summary.interval = wilson_interval(hits, of); }
    }
    return summary;
}

static bool hit(const struct paper_result *result, int sample, bool scored) {
    const int *places = scored ? result->scored : result->answered;
    return places[sample] == result->target[sample];
}

enum status paper_report_difference(const struct paper_report *report, bool scored,
                                    struct paper_summary *ret_difference, struct error *err) {
    struct paper_summary summary = {0, (double)NAN, {(double)NAN, (double)NAN}};
    size_t samples = (size_t)report->test_samples;
    int8_t *differences = MEMORY_TAKE_ARRAY(int8_t, PAPER_SEEDS_MAX * samples);
    if (differences == NULL) { return error_set(err, STATUS_NO_MEMORY, "differences"); }
    for (int s = 0; s < PAPER_SEEDS_MAX; s++) {
        const struct paper_result *a = &report->results[PAPER_ILORA][s];
        const struct paper_result *b = &report->results[PAPER_LORA][s];
        if (a->samples == 0 || b->samples == 0) { continue; }
        int8_t *row = differences + (size_t)summary.seeds++ * samples;
        for (int i = 0; i < report->test_samples; i++) {
            row[i] = (int8_t)((int)hit(a, i, scored) - (int)hit(b, i, scored));
        }
    }
    enum status status = STATUS_OK;
    if (summary.seeds > 0) {
        status = paired_bootstrap(differences, summary.seeds, report->test_samples, DIFFERENCE_SEED,
                                  &summary.mean, &summary.interval, err);
    }
    if (status == STATUS_OK) { *ret_difference = summary; }
    memory_free(differences);
    return status;
}

/* ---- table ----------------------------------------------------------------------------------- */

static enum status cell(struct buffer *out, struct paper_summary summary) {
    if (!isfinite(summary.mean)) { return buffer_append_format(out, "  %-22s", "-"); }
    if (!isfinite(summary.interval.low)) {
        return buffer_append_format(out, "  %-22.4f", summary.mean);
    }
    return buffer_append_format(out, "  %.4f [%.4f %.4f]", summary.mean, summary.interval.low,
                                summary.interval.high);
}

/* Tokens and seconds of training, seconds of evaluation: sums over seeds. */
struct cost {
    int64_t tokens;
    double train_seconds, evaluate_seconds;
};

static struct cost cost_of(const struct paper_report *report, enum paper_method method) {
    struct cost cost = {0};
    for (int s = 0; s < PAPER_SEEDS_MAX; s++) {
        const struct paper_result *result = &report->results[method][s];
        cost.tokens += result->tokens;
        cost.train_seconds += result->timing.train_seconds;
        cost.evaluate_seconds += result->timing.evaluate_seconds;
    }
    return cost;
}

static enum status table_row(const struct paper_report *report, enum paper_method method,
                             struct buffer *out) {
    static const enum paper_figure shown[] = {PAPER_HIT_VALID, PAPER_HIT_ALL, PAPER_VALID,
                                              PAPER_HIT_SCORED};
    char words[32];
    struct cost cost = cost_of(report, method);
    struct paper_summary first = paper_report_figure(report, method, PAPER_HIT_ALL);
    if (first.seeds == 0) { return STATUS_OK; }
    (void)snprintf(words, sizeof words, "%s", method_words[method]);
    if (method == PAPER_ILORA) {
        (void)snprintf(words, sizeof words, "iLoRA, K=%d", report->settings->experts);
    }
    enum status status = buffer_append_format(out, "%-15s %5d", words, first.seeds);
    for (size_t f = 0; f < sizeof shown / sizeof shown[0] && status == STATUS_OK; f++) {
        status = cell(out, paper_report_figure(report, method, shown[f]));
    }
    if (status == STATUS_OK && cost.tokens > 0 && cost.train_seconds > 0.0) {
        status = buffer_append_format(out, "  %8.0f", (double)cost.tokens / cost.train_seconds);
    } else if (status == STATUS_OK) {
        status = buffer_append_format(out, "  %8s", "-");
    }
    if (status == STATUS_OK) {
        status = buffer_append_format(out, "  %8.1f  %8.1f\n", cost.train_seconds,
                                      cost.evaluate_seconds);
    }
    return status;
}

static enum status table_head(const struct paper_report *report, struct buffer *out) {
    const struct paper_settings *settings = report->settings;
    bool limited =
        report->train_samples < report->train_total || report->test_samples < report->test_total;
    enum status status = buffer_append_format(
        out,
        "%s%d of %d training samples x %d epochs a seed, %d of %d test samples%s\n"
        "SASRec learns from all %d sequences, whatever the limit\n"
        "R=%d alpha=%g lr=%g batch=%d dropout=%g\n\n",
        limited ? "LIMITED RUN: " : "", report->train_samples, report->train_total,
        settings->epochs, report->test_samples, report->test_total,
        limited ? "; not comparable with the paper's full run" : "", report->sequences,
        settings->rank, settings->alpha, settings->learning_rate, settings->batch,
        settings->dropout);
    if (status != STATUS_OK) { return status; }
    return buffer_append_format(out, "%-15s %5s  %-22s  %-22s  %-22s  %-22s  %8s  %8s  %8s\n",
                                "METHOD", "SEEDS", "HR@1 valid (paper)", "HR@1 all", "ValidRatio",
                                "HR@1 scored", "TOKENS/S", "TRAIN S", "TEST S");
}

static enum status difference_lines(const struct paper_report *report, struct buffer *out,
                                    struct error *err) {
    struct paper_summary all, scored;
    enum status status = paper_report_difference(report, false, &all, err);
    if (status != STATUS_OK || all.seeds == 0) { return status; }
    status = paper_report_difference(report, true, &scored, err);
    if (status != STATUS_OK) { return status; }
    status = buffer_append_format(out,
                                  "Same samples, paired bootstrap over samples and seeds:\n"
                                  "iLoRA - LoRA, HR@1 all: %+.4f [%+.4f %+.4f]\n"
                                  "iLoRA - LoRA, HR@1 scored: %+.4f [%+.4f %+.4f]\n",
                                  all.mean, all.interval.low, all.interval.high, scored.mean,
                                  scored.interval.low, scored.interval.high);
    return status == STATUS_OK ? status : error_set(err, status, "table");
}

enum status paper_report_table(const struct paper_report *report, struct buffer *out,
                               struct error *err) {
    enum status status = table_head(report, out);
    for (int m = 0; m < PAPER_METHOD_COUNT && status == STATUS_OK; m++) {
        status = table_row(report, (enum paper_method)m, out);
    }
    if (status == STATUS_OK) {
        status = buffer_append_format(
            out,
            "\nIn brackets 95 %%: Student's t over seeds; Wilson over samples with one seed.\n");
    }
    if (status != STATUS_OK) { return error_set(err, status, "table"); }
    return difference_lines(report, out, err);
}

/* ---- JSON ------------------------------------------------------------------------------------ */

static void write_summary(struct json_writer *w, const char *name, struct paper_summary summary) {
    json_write_object(w, name);
    json_write_real(w, "mean", summary.mean);
    json_write_real(w, "low", summary.interval.low);
    json_write_real(w, "high", summary.interval.high);
    json_write_object_end(w);
}

static void write_method(struct json_writer *w, const struct paper_report *report,
                         enum paper_method method) {
    struct paper_summary first = paper_report_figure(report, method, PAPER_HIT_ALL);
    if (first.seeds == 0) { return; }
    json_write_object(w, paper_method_name(method));
    json_write_integer(w, "seeds", first.seeds);
    json_write_string(w, "interval",
                      span_of(first.seeds > 1 ? "Student t over seeds" : "Wilson over samples"));
    for (int f = 0; f < PAPER_FIGURE_COUNT; f++) {
        write_summary(w, paper_figure_name((enum paper_figure)f),
                      paper_report_figure(report, method, (enum paper_figure)f));
    }
    json_write_object(w, "runs");
    for (int s = 0; s < PAPER_SEEDS_MAX; s++) {
        if (report->results[method][s].samples == 0) { continue; }
        char seed[16];
        (void)snprintf(seed, sizeof seed, "%d", paper_method_has_seeds(method) ? s + 1 : 0);
        paper_result_json(w, seed, &report->results[method][s]);
    }
    json_write_object_end(w);
    json_write_object_end(w);
}

static enum status write_differences(struct json_writer *w, const struct paper_report *report,
                                     struct error *err) {
    struct paper_summary all, scored;
    enum status status = paper_report_difference(report, false, &all, err);
    if (status != STATUS_OK) { return status; }
    status = paper_report_difference(report, true, &scored, err);
    if (status != STATUS_OK || all.seeds == 0) { return status; }
    json_write_object(w, "ilora_minus_lora");
    json_write_integer(w, "seeds", all.seeds);
    json_write_string(w, "interval", span_of("paired bootstrap over samples and seeds"));
    json_write_integer(w, "rounds", PAPER_BOOTSTRAP_ROUNDS);
    write_summary(w, paper_figure_name(PAPER_HIT_ALL), all);
    write_summary(w, paper_figure_name(PAPER_HIT_SCORED), scored);
    json_write_object_end(w);
    return STATUS_OK;
}

enum status paper_report_json(const struct paper_report *report, struct buffer *out,
                              struct error *err) {
    struct json_writer w;
    json_write_begin(&w, out);
    json_write_object(&w, NULL);
    json_write_string(&w, "version", span_of(ILORA_VERSION));
    json_write_string(&w, "program_sha256", span_of(report->program_sha256));
    json_write_bool(&w, "limited",
                    report->train_samples < report->train_total ||
                        report->test_samples < report->test_total);
    json_write_integer(&w, "train_samples", report->train_samples);
    json_write_integer(&w, "train_samples_of", report->train_total);
    json_write_integer(&w, "sasrec_sequences", report->sequences);
    json_write_integer(&w, "test_samples", report->test_samples);
    json_write_integer(&w, "test_samples_of", report->test_total);
    json_write_object(&w, "settings");
    for (int i = 0; i < report->recorded_count; i++) {
        json_write_string(&w, report->recorded[i].name, span_of(report->recorded[i].value));
    }
    json_write_object_end(&w);
    json_write_object(&w, "methods");
    for (int m = 0; m < PAPER_METHOD_COUNT; m++) {
        write_method(&w, report, (enum paper_method)m);
    }
    json_write_object_end(&w);
    enum status status = write_differences(&w, report, err);
    json_write_object_end(&w);
    enum status written = json_write_end(&w);
    if (status != STATUS_OK) { return status; }
    return written == STATUS_OK ? written : error_set(err, written, "results");
}
