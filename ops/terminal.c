/* SPDX-License-Identifier: Apache-2.0
 *
 * terminal.c - numbers to lines. Reads nothing, writes to a buffer: so it can be tested. */
#include "ops/terminal.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "ops/client.h"

void chart_add(struct chart *chart, double value) {
    if (chart->count == CHART_POINTS_MAX) {
        memmove(chart->points, chart->points + 1, (CHART_POINTS_MAX - 1) * sizeof *chart->points);
        chart->count--;
    }
    chart->points[chart->count++] = value;
}

/* Mean of the finite points [begin, end); NaN without any. */
static double mean_of(const struct chart *chart, int begin, int end) {
    double sum = 0.0;
    int count = 0;
    for (int i = begin; i < end; i++) {
        if (!isfinite(chart->points[i])) { continue; }
        sum += chart->points[i];
        count++;
    }
    return count == 0 ? (double)NAN : sum / count;
}

enum status chart_draw(const struct chart *chart, int width, struct buffer *out) {
    static const char *const blocks[] = {"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
    double low = (double)INFINITY, high = -(double)INFINITY;
    for (int i = 0; i < chart->count; i++) {
        low = fmin(low, chart->points[i]); /* fmin and fmax pass over NaN */
        high = fmax(high, chart->points[i]);
    }
    int columns = chart->count < width ? chart->count : width;
    enum status status = STATUS_OK;
    for (int c = 0; c < width && status == STATUS_OK; c++) {
        int from_right = width - 1 - c;
        if (from_right >= columns) {
            status = buffer_append(out, " ", 1);
            continue;
        }
        int column = columns - 1 - from_right;
        double value =
            mean_of(chart, column * chart->count / columns, (column + 1) * chart->count / columns);
        if (!isfinite(value)) {
            status = buffer_append(out, " ", 1);
            continue;
        }
        int level = high > low ? (int)((value - low) / (high - low) * 7.999) : 0;
        level = level < 0 ? 0 : level > 7 ? 7 : level;
        status = buffer_append(out, blocks[level], strlen(blocks[level]));
    }
    return status;
}

const struct model_line *terminal_models(int *ret_count) {
    static const struct model_line lines[] = {
        {"full", "full stack (fast + iLoRA)"},
        {"fast", "fast stack"},
        {"ilora_item", "iLoRA alone, item head"},
        {"ilora_title", "iLoRA alone, title head"},
        {"frozen_item", "frozen base, item head"},
        {"sasrec", "SASRec alone"},
        {"covisitation", "co-visitation"},
        {"popularity_decayed", "popularity, decayed"},
        {"popularity", "popularity"},
    };
    *ret_count = (int)(sizeof lines / sizeof lines[0]);
    return lines;
}

static const struct json_value *find_figure(const struct json_value *figures, const char *model,
                                            const char *kind, const char *slice) {
    for (size_t i = 0; i < json_size(figures); i++) {
        const struct json_value *figure = json_element(figures, i);
        if (span_equal(client_text(figure, "model"), span_of(model)) &&
            span_equal(client_text(figure, "kind"), span_of(kind)) &&
            span_equal(client_text(figure, "slice"), span_of(slice))) {
            return figure;
        }
    }
    return NULL;
}

/* "  0.1234", or dots where there is no figure. */
static enum status cell(struct buffer *out, const struct json_value *figure, const char *name) {
    double value = figure == NULL ? (double)NAN : client_real(figure, name, (double)NAN);
    return isfinite(value) ? buffer_append_format(out, " %9.4f", value)
                           : buffer_append_format(out, " %9s", "·");
}

static enum status model_row(struct buffer *out, const struct json_value *figures,
                             const struct model_line *line, const char *slice, bool *ret_any) {
    const struct json_value *candidates = find_figure(figures, line->model, "candidates", slice);
    const struct json_value *catalogue = find_figure(figures, line->model, "catalogue", slice);
    *ret_any = candidates != NULL || catalogue != NULL;
    if (!*ret_any) { return STATUS_OK; }
    int64_t count = client_integer(candidates != NULL ? candidates : catalogue, "count", 0);
    enum status status = buffer_append_format(out, "  %-26s %9" PRId64, line->words, count);
    if (status == STATUS_OK) { status = cell(out, candidates, "hit_1"); }
    if (status == STATUS_OK) { status = cell(out, catalogue, "hit_10"); }
    if (status == STATUS_OK) { status = cell(out, catalogue, "ndcg_10"); }
    if (status == STATUS_OK) { status = cell(out, candidates, "log_loss"); }
    if (status == STATUS_OK) { status = buffer_append(out, "\n", 1); }
    return status;
}

static enum status model_table(struct buffer *out, const struct json_value *figures,
                               const char *slice, const char *words) {
    int count = 0;
    bool any = false, row = false;
    const struct model_line *lines = terminal_models(&count);
    size_t before = out->size;
    enum status status = buffer_append_format(out, "\n  %-26s %9s %9s %9s %9s %9s\n", words,
                                              "events", "HR@1of20", "HR@10", "NDCG@10", "log loss");
    for (int i = 0; i < count && status == STATUS_OK; i++) {
        status = model_row(out, figures, &lines[i], slice, &row);
        any = any || row;
    }
    if (!any) { out->size = before; }
    return status;
}

static enum status counts(struct buffer *out, const struct json_value *s, bool colour) {
    const struct json_value *learning = json_member(s, "learning");
    struct span state = client_text(s, "state");
    int64_t seq = client_integer(s, "seq", 0), learned = client_integer(s, "learner_seq", 0);
    enum status status = buffer_append_format(out, "%silorad%s  %.*s\n\n", colour ? "\033[1m" : "",
                                              colour ? "\033[0m" : "", SPAN_ARG(state));
    if (status != STATUS_OK) { return status; }
    status = buffer_append_format(
        out,
        "  events %9" PRId64 "   %8.0f /s     epoch %8" PRId64 "     lag %8" PRId64 "\n"
        "  duplicate %6" PRId64 "   dead %6" PRId64 "    items %8" PRId64
        "     predictions %8" PRId64 "\n",
        client_integer(s, "applied", 0), client_real(s, "events_per_second", 0.0),
        client_integer(s, "epoch", 0), client_integer(s, "lag", -1),
        client_integer(s, "duplicate", 0), client_integer(s, "dead", 0),
        client_integer(s, "items", 0), client_integer(s, "predictions", 0));
    if (status != STATUS_OK) { return status; }
    return buffer_append_format(
        out,
        "  version in force %" PRId64 " (newest %" PRId64 ")   learner %" PRId64 " events behind\n"
        "  language model: rate %.3f, %" PRId64 " rows, %" PRId64
        " tokens, loss %.3f   SASRec loss %.3f\n",
        client_integer(s, "version_in_force", 0), client_integer(s, "version_newest", 0),
        seq > learned ? seq - learned : 0, client_real(learning, "lm_rate", 0.0),
        client_integer(learning, "lm_rows", 0), client_integer(learning, "lm_tokens", 0),
        client_real(learning, "lm_loss", 0.0), client_real(learning, "sasrec_loss", 0.0));
}

static enum status experts(struct buffer *out, const struct json_value *s) {
    const struct json_value *weights = json_member(json_member(s, "learning"), "expert_weight");
    size_t count = json_size(weights);
    if (count == 0) { return STATUS_OK; }
    enum status status = buffer_append_format(out, "  gate:");
    for (size_t i = 0; i < count && status == STATUS_OK; i++) {
        double weight = 0.0;
        (void)json_real(json_element(weights, i), &weight); /* 0 otherwise */
        status = buffer_append_format(out, " %.2f", weight);
    }
    return status == STATUS_OK ? buffer_append(out, "\n", 1) : status;
}

static enum status pairs(struct buffer *out, const struct json_value *s) {
    const struct json_value *list = json_member(s, "pairs");
    enum status status = STATUS_OK;
    for (size_t i = 0; i < json_size(list) && status == STATUS_OK; i++) {
        const struct json_value *pair = json_element(list, i);
        const struct json_value *hit = json_member(pair, "hit_1");
        struct span a = client_text(pair, "a"), b = client_text(pair, "b");
        if (client_integer(pair, "count", 0) < 2) { continue; }
        status = buffer_append_format(
            out, "  %.*s - %.*s, same %" PRId64 " events: HR@1 %+.4f (95 %%: %+.4f to %+.4f)\n",
            SPAN_ARG(a), SPAN_ARG(b), client_integer(pair, "count", 0),
            client_real(hit, "mean", 0.0), client_real(hit, "low", 0.0),
            client_real(hit, "high", 0.0));
    }
    return status;
}

enum status terminal_status(const struct json_value *s, bool colour, struct buffer *out) {
    const struct json_value *figures = json_member(s, "figures");
    const struct json_value *live = json_member(s, "live");
    enum status status = counts(out, s, colour);
    if (status == STATUS_OK) { status = experts(out, s); }
    if (status == STATUS_OK && client_integer(live, "count", 0) > 0) {
        status = buffer_append_format(
            out,
            "  published lists, live: %" PRId64 " events, HR@1 %.4f, HR@10 %.4f, NDCG@10 %.4f\n",
            client_integer(live, "count", 0), client_real(live, "hit_1", 0.0),
            client_real(live, "hit_10", 0.0), client_real(live, "ndcg_10", 0.0));
    }
    if (status == STATUS_OK) {
        status = model_table(out, figures, "all", "model, before it learned");
    }
    if (status == STATUS_OK) {
        status = model_table(out, figures, "lm", "on language-model events");
    }
    if (status == STATUS_OK) { status = pairs(out, s); }
    return status;
}
