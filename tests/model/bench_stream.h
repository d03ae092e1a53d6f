/* SPDX-License-Identifier: Apache-2.0
 *
 * bench_stream.h - a RecBole data set as rows of a training log, for the benches. */
#ifndef TESTS_MODEL_BENCH_STREAM_H
#define TESTS_MODEL_BENCH_STREAM_H

#include "model/learner.h"

#define BENCH_BATCH       256
#define BENCH_TITLE_BYTES 128

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
    uint32_t **consumed;               /* (users) owns */
    double **times;                    /* (users) owns */
    int *held;                         /* (users) owns */
    const struct training_row *rows;   /* of the batch at hand */
    int *visible;                      /* (BENCH_BATCH) owns; consumed items with a smaller time */
    int *user_of;                      /* (BENCH_BATCH) owns */
    char (*titles)[BENCH_TITLE_BYTES]; /* (items) owns; NULL without a file of titles */
};

/* Prints and ends the program. */
_Noreturn void bench_give_up(const char *what);
/* events: .inter file (user_id, item_id, rating, timestamp); items: .item file (item_id, title,
 * year) or NULL. */
void bench_stream_open(struct stream *stream, const char *events, const char *items);
void bench_stream_close(struct stream *stream);
/* The next row: event `index`, at place `at` of its batch; the event is then consumed. */
void bench_stream_row(struct stream *stream, int index, int at, struct training_row *row);
/* What the learner asks. All items are known from the start, with their titles from row 1. */
struct learner_catalogue bench_stream_catalogue(struct stream *stream);

#endif
