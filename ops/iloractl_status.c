/* SPDX-License-Identifier: Apache-2.0
 *
 * iloractl_status.c - what the daemon is doing: once, or drawn again every second. */
#include <errno.h>
#include <math.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/clock.h"
#include "ops/client.h"
#include "ops/command.h"
#include "ops/terminal.h"

#define CHART_WIDTH  72
#define SCREEN_BYTES (64u * 1024u)
#define ASK_AGAIN_US 1000000

static const char help[] =
    "usage: iloractl status [--watch] [--interval SECONDS] [--seconds N]\n"
    "\n"
    "Counts, rates, versions, and the prequential figures of all models side by side: each\n"
    "event is predicted, scored, and only then learned.\n"
    "\n"
    "  --watch        draw again until Ctrl-C, with charts of the last minutes\n"
    "  --interval S   every S seconds (default 1)\n"
    "  --seconds N    stop watching after N seconds\n"
    "\n"
    "example: iloractl status --watch\n";

static int run(const struct command_context *context, int argc, char **argv);
const struct command command_status = {"status", "what the daemon is doing; --watch: live", help,
                                       run};

/* Charts of one watch. */
struct watch {
    struct chart rate, loss, hit;
    struct buffer screen; /* owns */
};

static double hit_of(const struct json_value *status, const char *model) {
    const struct json_value *figures = json_member(status, "figures");
    for (size_t i = 0; i < json_size(figures); i++) {
        const struct json_value *figure = json_element(figures, i);
        if (span_equal(client_text(figure, "model"), span_of(model)) &&
            span_equal(client_text(figure, "kind"), span_of("candidates")) &&
            span_equal(client_text(figure, "slice"), span_of("all"))) {
            return client_real(figure, "hit_1", (double)NAN);
        }
    }
    return (double)NAN;
}

static enum status draw_chart(struct watch *watch, const char *words, const struct chart *chart) {
    double last = chart->count == 0 ? (double)NAN : chart->points[chart->count - 1];
    enum status status = buffer_append_format(&watch->screen, "  %-14s ", words);
    if (status == STATUS_OK) { status = chart_draw(chart, CHART_WIDTH, &watch->screen); }
    if (status == STATUS_OK) {
        status = isfinite(last) ? buffer_append_format(&watch->screen, " %.3f\n", last)
                                : buffer_append_format(&watch->screen, "\n");
    }
    return status;
}

static enum status draw(struct watch *watch, const struct json_value *answer, bool terminal) {
    const struct json_value *learning = json_member(answer, "learning");
    chart_add(&watch->rate, client_real(answer, "events_per_second", 0.0));
    chart_add(&watch->loss, client_real(learning, "lm_loss", (double)NAN));
    chart_add(&watch->hit, hit_of(answer, "fast"));
    buffer_reset(&watch->screen);
    enum status status = STATUS_OK;
    if (terminal) { status = buffer_append_format(&watch->screen, "\033[H\033[J"); }
    if (status == STATUS_OK) { status = terminal_status(answer, terminal, &watch->screen); }
    if (status == STATUS_OK) { status = buffer_append(&watch->screen, "\n", 1); }
    if (status == STATUS_OK) { status = draw_chart(watch, "events/s", &watch->rate); }
    if (status == STATUS_OK) { status = draw_chart(watch, "LM loss", &watch->loss); }
    if (status == STATUS_OK) { status = draw_chart(watch, "HR@1 fast", &watch->hit); }
    return status;
}

/* True when SIGINT or SIGTERM came, or the time is over. */
static bool wait_or_stop(const sigset_t *signals, double seconds) {
    struct timespec time = {.tv_sec = (time_t)seconds};
    time.tv_nsec = (long)((seconds - (double)time.tv_sec) * 1e9);
    return sigtimedwait(signals, NULL, &time) > 0;
}

static int watch_status(const struct command_context *context, double interval, double seconds) {
    struct watch watch = {.screen = {.limit = SCREEN_BYTES}};
    struct error err = {0};
    sigset_t signals;
    int64_t end = clock_monotonic_us() + (int64_t)(seconds * 1e6);
    (void)sigemptyset(&signals); /* cannot fail for these */
    (void)sigaddset(&signals, SIGINT);
    (void)sigaddset(&signals, SIGTERM);
    (void)sigprocmask(SIG_BLOCK, &signals, NULL);
    for (;;) {
        struct client_answer answer;
        enum status status =
            client_ask_about(context->settings, "status", NULL, NULL, &answer, &err);
        if (status != STATUS_OK) {
            (void)printf("%s%s\n", context->terminal ? "\033[H\033[J" : "", err.text);
        } else {
            if (context->json) {
                print_bytes(answer.content_text);
            } else if (draw(&watch, answer.content, context->terminal) == STATUS_OK) {
                print_bytes(buffer_span(&watch.screen));
            }
            client_answer_free(&answer);
        }
        if (fflush(stdout) != 0) { break; } /* the reader is gone */
        if (seconds > 0.0 && clock_monotonic_us() >= end) { break; }
        if (wait_or_stop(&signals, interval)) { break; }
    }
    buffer_free(&watch.screen);
    return COMMAND_DONE;
}

static int run(const struct command_context *context, int argc, char **argv) {
    struct options options = options_of(argc, argv);
    bool watch = options_flag(&options, "--watch");
    double interval = options_real(&options, "--interval", 1.0, 0.05, 3600.0);
    double seconds = options_real(&options, "--seconds", 0.0, 0.0, 1e9);
    if (!options_end(&options, &command_status, 0, 0)) { return COMMAND_USAGE; }
    if (watch) { return watch_status(context, interval, seconds); }

    struct error err = {0};
    struct client_answer answer;
    struct buffer screen = {.limit = SCREEN_BYTES};
    enum status status = client_ask_about(context->settings, "status", NULL, NULL, &answer, &err);
    if (status != STATUS_OK) { return command_failed(&command_status, &err); }
    if (context->json) {
        print_bytes(answer.content_text);
    } else if (terminal_status(answer.content, context->terminal, &screen) == STATUS_OK) {
        print_bytes(buffer_span(&screen));
    }
    buffer_free(&screen);
    client_answer_free(&answer);
    return COMMAND_DONE;
}
