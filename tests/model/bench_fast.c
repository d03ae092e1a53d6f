/* SPDX-License-Identifier: Apache-2.0
 *
 * bench_fast.c - replays a RecBole interaction file through the learner and prints the prequential
 * figures of all cheap models, and events per second. Not a ctest: it needs a real data set.
 *
 *   bench_fast FILE.inter [key=value ...]
 *
 * MODEL.md's evaluation: stable time order; batches of 256 events; a row's history is the user's
 * items with a smaller time, so events of the same second never see each other; every row whose
 * history has three items is predicted before its batch is learned, over the whole catalogue minus
 * what the user consumed before. The known figures count 91,636 events of MovieLens 100K: their
 * script began at the batch that holds event 5,000, that is after event 4,864 (`warmup`).
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "base/memory.h"
#include "model/learner.h"

#define BATCH      256
#define LINE_BYTES 512

struct event {
    int user, item; /* numbered by first appearance in time order */
    long user_id, item_id;
    double time;
    int order; /* in the file */
};

struct stream {
    struct event *events; /* owns */
    int count, users, items;
    /* each user's items, oldest first, with their times: filled as events are taken */
    uint32_t **consumed;             /* (users) owns */
    double **times;                  /* (users) owns */
    int *held;                       /* (users) owns */
    const struct training_row *rows; /* of the batch at hand */
    int *visible;                    /* (BATCH) owns; consumed items with a smaller time */
    int *user_of;                    /* (BATCH) owns */
};

static void give_up(const char *what) {
    (void)fprintf(stderr, "bench_fast: %s\n", what);
    exit(1);
}

static double option(int argc, char **argv, const char *key, double value) {
    size_t size = strlen(key);

    for (int n = 2; n < argc; n++) {
        if (strncmp(argv[n], key, size) == 0 && argv[n][size] == '=') {
            return strtod(argv[n] + size + 1, NULL);
        }
    }
    return value;
}

/* ---- the file -------------------------------------------------------------------------------- */

static int by_time(const void *a, const void *b) {
    const struct event *x = a, *y = b;

    if (x->time != y->time) { return x->time < y->time ? -1 : 1; }
    return x->order - y->order;
}

/* user_id, item_id, rating, timestamp, separated by tabs; the first line names them. */
static void read_events(struct stream *stream, const char *path) {
    char line[LINE_BYTES];
    int capacity = 0;
    FILE *file = fopen(path, "r");
    if (file == NULL || fgets(line, sizeof line, file) == NULL) { give_up("cannot read the file"); }

    while (fgets(line, sizeof line, file) != NULL) {
        char *at = line;
        if (stream->count == capacity) {
            capacity = capacity > 0 ? 2 * capacity : 65536;
            void *events = memory_resize(stream->events, (size_t)capacity * sizeof *stream->events);
            if (events == NULL) { give_up("no memory"); }
            stream->events = events;
        }
        struct event *event = &stream->events[stream->count];
        event->user_id = strtol(at, &at, 10);
        event->item_id = strtol(at, &at, 10);
        (void)strtod(at, &at); /* rating */
        event->time = strtod(at, &at);
        event->order = stream->count++;
    }
    (void)fclose(file);
    qsort(stream->events, (size_t)stream->count, sizeof *stream->events, by_time);
}

/* Numbers ids by first appearance; ids of the data sets used are small positive integers. */
static int number_ids(struct stream *stream, bool users) {
    long largest = 0;
    int next = 0;

    for (int n = 0; n < stream->count; n++) {
        long id = users ? stream->events[n].user_id : stream->events[n].item_id;
        if (id < 0 || id > 100000000) { give_up("an id is no small number"); }
        largest = id > largest ? id : largest;
    }
    int *number = MEMORY_TAKE_ARRAY(int, largest + 1);
    if (number == NULL) { give_up("no memory"); }
    for (int n = 0; n < stream->count; n++) {
        long id = users ? stream->events[n].user_id : stream->events[n].item_id;
        if (number[id] == 0) { number[id] = ++next; }
        if (users) {
            stream->events[n].user = number[id] - 1;
        } else {
            stream->events[n].item = number[id] - 1;
        }
    }
    memory_free(number);
    return next;
}

static void stream_open(struct stream *stream, const char *path) {
    read_events(stream, path);
    stream->users = number_ids(stream, true);
    stream->items = number_ids(stream, false);
    stream->consumed = MEMORY_TAKE_ARRAY(uint32_t *, stream->users);
    stream->times = MEMORY_TAKE_ARRAY(double *, stream->users);
    stream->held = MEMORY_TAKE_ARRAY(int, stream->users);
    stream->visible = MEMORY_TAKE_ARRAY(int, BATCH);
    stream->user_of = MEMORY_TAKE_ARRAY(int, BATCH);
    int *wanted = MEMORY_TAKE_ARRAY(int, stream->users);
    if (stream->consumed == NULL || stream->times == NULL || wanted == NULL) { give_up("memory"); }
    for (int n = 0; n < stream->count; n++) {
        wanted[stream->events[n].user]++;
    }
    for (int u = 0; u < stream->users; u++) {
        stream->consumed[u] = MEMORY_TAKE_ARRAY(uint32_t, wanted[u]);
        stream->times[u] = MEMORY_TAKE_ARRAY(double, wanted[u]);
        if (stream->consumed[u] == NULL || stream->times[u] == NULL) { give_up("no memory"); }
    }
    memory_free(wanted);
}

static void stream_close(struct stream *stream) {
    for (int u = 0; u < stream->users; u++) {
        memory_free(stream->consumed[u]);
        memory_free(stream->times[u]);
    }
    memory_free(stream->consumed);
    memory_free(stream->times);
    memory_free(stream->held);
    memory_free(stream->visible);
    memory_free(stream->user_of);
    memory_free(stream->events);
}

/* ---- rows ------------------------------------------------------------------------------------ */

static void row_of(struct stream *stream, int index, int at, struct training_row *row) {
    const struct event *event = &stream->events[index];
    int user = event->user, visible = stream->held[user];

    while (visible > 0 && stream->times[user][visible - 1] >= event->time) {
        visible--;
    }
    int window = visible < WINDOW_MAX ? visible : WINDOW_MAX;
    memset(row, 0, sizeof *row);
    row->seq = (uint64_t)index + 1;
    row->user_key = 1 + (uint64_t)user;
    row->item = (uint32_t)event->item;
    row->time_ms = (int64_t)(event->time * 1000);
    row->weight = 1.0F;
    row->sasrec_rate = 1.0F;
    row->marks = TRAINING_EVALUATE;
    row->window_count = (uint32_t)window;
    memcpy(row->window, stream->consumed[user] + visible - window,
           (size_t)window * sizeof row->window[0]);
    for (int n = 0; n < stream->held[user]; n++) {
        if (stream->consumed[user][n] == row->item) { row->repeat = true; }
    }
    stream->visible[at] = visible;
    stream->user_of[at] = user;
    stream->consumed[user][stream->held[user]] = row->item;
    stream->times[user][stream->held[user]++] = event->time;
}

static enum status count_items(void *context, uint64_t seq, int *ret_count, struct error *err) {
    (void)seq;
    (void)err;
    *ret_count = ((struct stream *)context)->items; /* the catalogue was imported first */
    return STATUS_OK;
}

static int ascending(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return (x > y) - (x < y);
}

static enum status exclusions(void *context, uint64_t seq, uint32_t *items, int max, int *ret_count,
                              struct error *err) {
    const struct stream *stream = context;
    int at = (int)(seq - stream->rows[0].seq);
    int count = stream->visible[at] < max ? stream->visible[at] : max;

    (void)err;
    memcpy(items, stream->consumed[stream->user_of[at]], (size_t)count * sizeof *items);
    qsort(items, (size_t)count, sizeof *items, ascending);
    *ret_count = count;
    return STATUS_OK;
}

/* ---- run ------------------------------------------------------------------------------------- */

static struct learner_settings settings_of(int argc, char **argv, int items) {
    return (struct learner_settings){
        .seed = (uint64_t)option(argc, argv, "seed", 1),
        .fast = {.sasrec = {.E = (int)option(argc, argv, "width", 64),
                            .blocks = (int)option(argc, argv, "blocks", 2),
                            .S = (int)option(argc, argv, "history", 50),
                            .items_max = items},
                 .counters = {.items_max = items,
                              .neighbours_max = (int)option(argc, argv, "neighbours", 1024),
                              .span = (int)option(argc, argv, "span", 20),
                              .half_life = option(argc, argv, "half_life", 2000)},
                 .history_span = (int)option(argc, argv, "history_span", 10),
                 .candidates = 100,
                 .new_share = 0.1},
        .sasrec_step = {.learning_rate = (float)option(argc, argv, "learning_rate", 2e-3),
                        .beta1 = 0.9F,
                        .beta2 = 0.98F,
                        .epsilon = 1e-8F,
                        .clip_norm = (float)option(argc, argv, "clip_norm", 5),
                        .dropout = (float)option(argc, argv, "dropout", 0.2)},
        .sasrec_replay_users = option(argc, argv, "replay", 1),
        .replay_rows_max = 20000,
        .eval_candidates = 20,
        .warmup_events = (uint64_t)option(argc, argv, "warmup", 4864),
        .min_history = 3,
    };
}

static double seconds(void) {
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static void print_figures(const struct learner *learner) {
    static struct eval_figure figures[FIGURES_MAX];
    int count = learner_figures(learner, figures, FIGURES_MAX);

    (void)printf("%-20s %-11s %-7s %8s %7s %7s %8s %7s %9s\n", "model", "kind", "slice", "rows",
                 "HR@1", "HR@10", "NDCG@10", "MRR", "log loss");
    for (int f = 0; f < count; f++) {
        const struct eval_figure *figure = &figures[f];
        double n = (double)figure->count;
        (void)printf("%-20s %-11s %-7s %8" PRIu64 " %7.4f %7.4f %8.4f %7.4f %9.4f\n", figure->model,
                     figure->kind, figure->slice, figure->count, figure->hit_1 / n,
                     figure->hit_10 / n, figure->ndcg_10 / n, figure->mrr / n,
                     figure->log_loss / n);
    }
}

static void replay(struct stream *stream, struct learner *learner) {
    static struct training_row rows[BATCH];
    struct batch_stats stats;
    struct error err;
    int64_t positions = 0;
    struct rusage usage;

    stream->rows = rows;
    double begin = seconds();
    for (int first = 0; first < stream->count; first += BATCH) {
        int count = stream->count - first < BATCH ? stream->count - first : BATCH;
        for (int n = 0; n < count; n++) {
            row_of(stream, first + n, n, &rows[n]);
        }
        rows[count - 1].marks |= TRAINING_BATCH_END;
        if (learner_batch(learner, rows, count, NULL, NULL, &stats, &err) != STATUS_OK) {
            give_up(err.text);
        }
        positions += stats.sasrec.positions;
    }
    double took = seconds() - begin;
    (void)getrusage(RUSAGE_SELF, &usage);
    print_figures(learner);
    (void)printf("%d events in %.2f s: %.0f events/s; %.1f SASRec positions an event; CPU %.2f s; "
                 "peak %ld MiB\n",
                 stream->count, took, stream->count / took, (double)positions / stream->count,
                 (double)usage.ru_utime.tv_sec + 1e-6 * (double)usage.ru_utime.tv_usec,
                 usage.ru_maxrss / 1024);
}

int main(int argc, char **argv) {
    struct stream stream = {0};
    struct backend *be = NULL;
    struct learner *learner = NULL;
    struct error err;

    if (argc < 2) { give_up("usage: bench_fast FILE.inter [key=value ...]"); }
    stream_open(&stream, argv[1]);
    if (backend_cpu_new((int)option(argc, argv, "threads", 2), &be, &err) != STATUS_OK) {
        give_up(err.text);
    }
    const struct learner_settings settings = settings_of(argc, argv, stream.items);
    const struct learner_catalogue catalogue = {
        .context = &stream, .count = count_items, .exclusions = exclusions};
    if (learner_new(&settings, be, be, NULL, NULL, NULL, &catalogue, &learner, &err) != STATUS_OK) {
        give_up(err.text);
    }
    (void)printf("%s; %d users, %d items\n", be->profile, stream.users, stream.items);
    replay(&stream, learner);
    learner_free(learner);
    be->ops->free(be);
    stream_close(&stream);
    return 0;
}
