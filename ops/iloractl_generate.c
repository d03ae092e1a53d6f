/* SPDX-License-Identifier: Apache-2.0
 *
 * iloractl_generate.c - a catalogue and a stream of events with drift, from a seed: a demo without
 * network, and tests of known structure.
 *
 * Items belong to genres and to series within a genre; a user likes two genres and tends to take
 * the next item of the series the last one belongs to. Tastes drift: after each tenth of the stream
 * every genre becomes a tenth more or less popular, and new items appear all along. So counting
 * learns something, sequences learn more, and titles (which name genre and series) tell of new
 * items. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/memory.h"
#include "base/rng.h"
#include "ops/batch.h"
#include "ops/command.h"

#include <unistd.h>

#define GENRES           12
#define SERIES_ITEMS     6
#define FIRST_TIME_MS    INT64_C(1700000000000)
#define SAME_SECOND      0.3 /* share of events that share their second with the one before */
#define FOLLOW_SERIES    0.55
#define STREAM_OF_USERS  1
#define STREAM_OF_EVENTS 2

static const char help[] =
    "usage: iloractl generate [--users N] [--items N] [--events N] [--seed N] [--rate N] [--send]\n"
    "\n"
    "A catalogue and a stream of events with drift, a function of the seed. Prints JSON lines\n"
    "(item records and events, in order: what the events topic takes), or sends them.\n"
    "\n"
    "  --users 500   --items 1200   --events 20000   --seed 1\n"
    "  --send        to the events topic instead of standard output\n"
    "  --rate N      with --send: N records a second\n"
    "\n"
    "example: iloractl generate --events 50000 --send --rate 500\n";

static int run(const struct command_context *context, int argc, char **argv);
const struct command command_generate = {"generate", "make a catalogue and a stream with drift",
                                         help, run};

static const char *const genre_words[GENRES] = {"Sea",    "Desert",  "Winter",  "Robot",
                                                "Castle", "Garden",  "Jungle",  "Orbit",
                                                "Circus", "Harbour", "Kitchen", "Forest"};
static const char *const series_words[] = {
    "Lantern", "Compass", "Letters", "Journey", "Secret", "Brothers", "Mirror", "Storm",
    "Clock",   "Bridge",  "Song",    "Shadow",  "Island", "Train",    "Horse",  "Key"};
static const char *const part_words[SERIES_ITEMS] = {"First",  "Second", "Third",
                                                     "Fourth", "Fifth",  "Last"};

struct user_taste {
    int genre[2];
    int last_item; /* -1: none */
};

struct generator {
    int users, items, events;
    uint64_t seed;
    struct user_taste *taste; /* owns */
    double popularity[GENRES];
    struct batch *batch; /* NULL: print */
    struct buffer line;  /* owns */
    int known;           /* items announced so far */
};

/* Item i: genres take turns by series, parts of a series stand in a row. */
static int item_genre(int item) {
    return item / SERIES_ITEMS % GENRES;
}

static void item_title(int item, char title[96]) {
    int series = item / SERIES_ITEMS;
    int words = (int)(sizeof series_words / sizeof series_words[0]);
    (void)snprintf(title, 96, "The %s %s %d, %s Part", genre_words[item_genre(item)], /* fits */
                   series_words[series / GENRES % words], series / GENRES / words + 1,
                   part_words[item % SERIES_ITEMS]);
}

static enum status emit(struct generator *g, struct span key, struct error *err) {
    if (g->batch != NULL) {
        return batch_add(g->batch, STREAM_EVENTS, key, buffer_span(&g->line), -1, err);
    }
    print_bytes(buffer_span(&g->line));
    return STATUS_OK;
}

static enum status emit_item(struct generator *g, int item, struct error *err) {
    char id[16], title[96];
    struct json_writer w;
    (void)snprintf(id, sizeof id, "i%d", item); /* fits */
    item_title(item, title);
    buffer_reset(&g->line);
    json_write_begin(&w, &g->line);
    json_write_object(&w, NULL);
    json_write_string(&w, "event", span_of("item"));
    json_write_string(&w, "item", span_of(id));
    json_write_string(&w, "title", span_of(title));
    json_write_object_end(&w);
    enum status status = json_write_end(&w);
    if (status != STATUS_OK) { return error_set(err, status, "item record"); }
    return emit(g, span_of(id), err);
}

static enum status emit_event(struct generator *g, int number, int user, int item, int64_t time_ms,
                              struct error *err) {
    char id[32], user_id[16], item_id[16];
    struct json_writer w;
    (void)snprintf(id, sizeof id, "g%" PRIu64 ":%d", g->seed, number); /* all three fit */
    (void)snprintf(user_id, sizeof user_id, "u%d", user);
    (void)snprintf(item_id, sizeof item_id, "i%d", item);
    buffer_reset(&g->line);
    json_write_begin(&w, &g->line);
    json_write_object(&w, NULL);
    json_write_string(&w, "id", span_of(id));
    json_write_string(&w, "user", span_of(user_id));
    json_write_string(&w, "item", span_of(item_id));
    json_write_integer(&w, "timestamp", time_ms);
    json_write_object_end(&w);
    enum status status = json_write_end(&w);
    if (status != STATUS_OK) { return error_set(err, status, "event"); }
    return emit(g, span_of(user_id), err);
}

/* A genre of the user's, weighed by how popular genres are now. */
static int choose_genre(const struct generator *g, const struct user_taste *taste,
                        struct rng *rng) {
    if (rng_unit(rng) < 0.1) { return (int)rng_below(rng, GENRES); }
    double first = g->popularity[taste->genre[0]], second = g->popularity[taste->genre[1]];
    return taste->genre[rng_unit(rng) * (first + second) < first ? 0 : 1];
}

static int choose_item(const struct generator *g, struct user_taste *taste, struct rng *rng) {
    int next = taste->last_item + 1;
    if (taste->last_item >= 0 && next % SERIES_ITEMS != 0 && next < g->known &&
        rng_unit(rng) < FOLLOW_SERIES) {
        return next;
    }
    int genre = choose_genre(g, taste, rng);
    int blocks = g->known / (SERIES_ITEMS * GENRES);
    if (blocks == 0) { return (int)rng_below(rng, (uint64_t)g->known); }
    double skew = rng_unit(rng); /* squared: newer series are more popular */
    int block = blocks - 1 - (int)(skew * skew * blocks);
    int item = (block * GENRES + genre) * SERIES_ITEMS;
    return item + (rng_unit(rng) < 0.6 ? 0 : (int)rng_below(rng, SERIES_ITEMS));
}

static void drift(struct generator *g, struct rng *rng) {
    for (int i = 0; i < GENRES; i++) {
        g->popularity[i] *= 0.6 + 0.8 * rng_unit(rng);
    }
    int changed = g->users / 20; /* one user in twenty finds a new taste */
    for (int i = 0; i < changed; i++) {
        struct user_taste *taste = &g->taste[rng_below(rng, (uint64_t)g->users)];
        taste->genre[rng_below(rng, 2)] = (int)rng_below(rng, GENRES);
    }
}

static enum status generate(struct generator *g, struct error *err) {
    struct rng users = rng_make(g->seed, STREAM_OF_USERS),
               rng = rng_make(g->seed, STREAM_OF_EVENTS);
    enum status status = STATUS_OK;
    int64_t time_ms = FIRST_TIME_MS;
    for (int i = 0; i < GENRES; i++) {
        g->popularity[i] = 0.5 + rng_unit(&users);
    }
    for (int i = 0; i < g->users; i++) {
        g->taste[i] = (struct user_taste){
            {(int)rng_below(&users, GENRES), (int)rng_below(&users, GENRES)}, -1};
    }
    int at_first = g->items / 2 < GENRES * SERIES_ITEMS ? g->items : g->items / 2;
    for (; g->known < at_first && status == STATUS_OK; g->known++) {
        status = emit_item(g, g->known, err);
    }
    for (int n = 0; n < g->events && status == STATUS_OK; n++) {
        int due = at_first + (int)((int64_t)(g->items - at_first) * n / g->events);
        for (; g->known < due && status == STATUS_OK; g->known++) {
            status = emit_item(g, g->known, err);
        }
        if (status != STATUS_OK) { break; }
        if (n > 0 && n % (g->events / 10 + 1) == 0) { drift(g, &rng); }
        if (rng_unit(&rng) >= SAME_SECOND) { time_ms += 1000 * (1 + (int64_t)rng_below(&rng, 9)); }
        int user = (int)rng_below(&rng, (uint64_t)g->users);
        int item = choose_item(g, &g->taste[user], &rng);
        g->taste[user].last_item = item;
        status = emit_event(g, n, user, item, time_ms, err);
    }
    return status;
}

static int run(const struct command_context *context, int argc, char **argv) {
    struct options options = options_of(argc, argv);
    struct generator g = {
        .users = (int)options_integer(&options, "--users", 500, 1, 10000000),
        .items = (int)options_integer(&options, "--items", 1200, GENRES * SERIES_ITEMS, 4000000),
        .events = (int)options_integer(&options, "--events", 20000, 1, 1000000000),
        .seed = (uint64_t)options_integer(&options, "--seed", 1, 0, INT64_MAX),
    };
    bool send = options_flag(&options, "--send");
    double rate = options_real(&options, "--rate", 0.0, 0.001, 1e9);
    if (!options_end(&options, &command_generate, 0, 0)) { return COMMAND_USAGE; }

    struct error err = {0};
    struct stream_access access = {0};
    enum status status = STATUS_OK;
    g.taste = MEMORY_TAKE_ARRAY(struct user_taste, g.users);
    if (g.taste == NULL) { status = error_set(&err, STATUS_NO_MEMORY, "users"); }
    if (status == STATUS_OK && send) {
        status = stream_access_open(context->settings, &access, &err);
        if (status == STATUS_OK) {
            g.batch = memory_take_zeroed(1, sizeof *g.batch);
            status = g.batch == NULL
                         ? error_set(&err, STATUS_NO_MEMORY, "records to send")
                         : batch_init(g.batch, &access, rate, isatty(STDERR_FILENO) == 1, &err);
        }
        if (status == STATUS_OK) { g.batch->expected = (uint64_t)g.events + (uint64_t)g.items; }
    }
    if (status == STATUS_OK) { status = generate(&g, &err); }
    if (status == STATUS_OK && g.batch != NULL) { status = batch_finish(g.batch, &err); }
    if (g.batch != NULL) { batch_free(g.batch); }
    memory_free(g.batch);
    memory_free(g.taste);
    buffer_free(&g.line);
    stream_access_close(&access);
    return status == STATUS_OK ? COMMAND_DONE : command_failed(&command_generate, &err);
}
