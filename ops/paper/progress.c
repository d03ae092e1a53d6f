/* SPDX-License-Identifier: Apache-2.0
 *
 * progress.c - text of the line, and when to write it. A failed write is of no consequence:
 * progress is not a result. */
#include "ops/paper/progress.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>

#include "base/clock.h"

#define BAR_WIDTH         24
#define CHART_WIDTH       16
#define TERMINAL_EVERY_US 200000   /* five times a second */
#define PLAIN_EVERY_US    30000000 /* half a minute */

static enum status duration_text(double seconds, struct buffer *out) {
    if (seconds >= 3600.0) {
        return buffer_append_format(out, "%dh %02dm", (int)(seconds / 3600.0),
                                    (int)fmod(seconds / 60.0, 60.0));
    }
    if (seconds >= 60.0) {
        return buffer_append_format(out, "%dm %02ds", (int)(seconds / 60.0),
                                    (int)fmod(seconds, 60.0));
    }
    return buffer_append_format(out, "%ds", (int)ceil(seconds));
}

static enum status bar_text(double share, struct buffer *out) {
    int filled = (int)(share * BAR_WIDTH);
    enum status status = buffer_append(out, "  [", 3);
    for (int i = 0; i < BAR_WIDTH && status == STATUS_OK; i++) {
        status = buffer_append(out, i < filled ? "=" : i == filled ? ">" : " ", 1);
    }
    return status == STATUS_OK ? buffer_append(out, "]", 1) : status;
}

enum status progress_text(const struct progress *progress, int64_t done, int64_t elapsed_us,
                          double loss, bool bar, struct buffer *out) {
    double share = progress->total > 0 ? (double)done / (double)progress->total : 1.0;
    enum status status = buffer_append_format(out, "%s", progress->what);
    if (status == STATUS_OK && bar) { status = bar_text(share, out); }
    if (status == STATUS_OK) {
        status = buffer_append_format(out, "  %" PRId64 "/%" PRId64 "  %3d %%  ", done,
                                      progress->total, (int)(share * 100.0));
    }
    if (status != STATUS_OK) { return status; }
    if (done >= progress->total) {
        status = duration_text((double)elapsed_us / 1e6, out);
    } else if (done > progress->first) {
        double each = (double)elapsed_us / 1e6 / (double)(done - progress->first);
        status = duration_text(each * (double)(progress->total - done), out);
        if (status == STATUS_OK) { status = buffer_append(out, " left", 5); }
    } else {
        status = buffer_append_format(out, "time left unknown");
    }
    if (status == STATUS_OK && isfinite(loss)) {
        status = buffer_append_format(out, "  loss %.4f", loss);
    }
    if (status == STATUS_OK && bar && progress->loss.count > 0) {
        status = buffer_append(out, " ", 1);
        if (status == STATUS_OK) { status = chart_draw(&progress->loss, CHART_WIDTH, out); }
    }
    return status;
}

static void show(struct progress *progress, int64_t done, double loss, int64_t now_us, bool last) {
    struct buffer line = {0};
    enum status status =
        progress_text(progress, done, now_us - progress->began_us, loss, progress->terminal, &line);
    if (status == STATUS_OK) {
        const char *begin = progress->terminal ? "\r\033[K" : "";
        const char *end = progress->terminal && !last ? "" : "\n";
        (void)fprintf(progress->to, "%s%.*s%s", begin, SPAN_ARG(buffer_span(&line)), end);
        (void)fflush(progress->to);
    }
    progress->shown_us = now_us;
    buffer_free(&line);
}

void progress_begin(struct progress *progress, FILE *to, bool terminal, int64_t first,
                    int64_t total, const char *what, ...) {
    va_list arguments;
    *progress = (struct progress){
        .to = to, .terminal = terminal, .first = first, .total = total, .last_loss = (double)NAN};
    va_start(arguments, what);
    (void)vsnprintf(progress->what, sizeof progress->what, what, arguments); /* cut when too long */
    va_end(arguments);
    progress->began_us = clock_monotonic_us();
    progress->shown_us = progress->began_us;
    if (to != NULL && terminal) { show(progress, first, (double)NAN, progress->began_us, false); }
}

void progress_at(struct progress *progress, int64_t done, double loss) {
    int64_t now_us = clock_monotonic_us();
    if (isfinite(loss)) {
        chart_add(&progress->loss, loss);
        progress->last_loss = loss;
    }
    int64_t every_us = progress->terminal ? TERMINAL_EVERY_US : PLAIN_EVERY_US;
    bool due = now_us - progress->shown_us >= every_us && done < progress->total;
    if (progress->to != NULL && due) { show(progress, done, progress->last_loss, now_us, false); }
}

void progress_end(struct progress *progress, int64_t done, double loss) {
    if (progress->to == NULL) { return; }
    show(progress, done, loss, clock_monotonic_us(), true);
}
