/* SPDX-License-Identifier: Apache-2.0
 *
 * counters_state.h - what the two rooms of the counters share: counting (counters.c) and the file
 * (counters_file.c).
 */
#ifndef MODEL_COUNTERS_STATE_H
#define MODEL_COUNTERS_STATE_H

#include "model/counters.h"

struct neighbour {
    uint32_t item;
    uint32_t count; /* saturates */
};

struct covisit_row {
    struct neighbour *entries; /* owns; ascending by item */
    int count;                 /* <= neighbours_max */
    int capacity;
};

struct counters {
    struct counters_settings settings;
    int items;                /* largest item number seen + 1 */
    int capacity;             /* items the arrays hold */
    uint64_t *popularity;     /* (capacity) owns; events */
    float *inverse_root;      /* (capacity) owns; 1/sqrt(popularity), 0 when never seen */
    float *popularity_log;    /* (capacity) owns; log(popularity + 1) */
    double *decayed_log;      /* (capacity) owns; log of the decayed count at seq 0's scale */
    struct covisit_row *rows; /* (capacity) owns */
};

/* Sets an item's events and what follows from them. */
void counters_set_popularity(struct counters *counters, uint32_t item, uint64_t events);
/* Makes room for items 0 .. items-1. LIMIT, NO_MEMORY. */
MUST_CHECK enum status counters_reserve(struct counters *counters, int items, struct error *err);
/* Makes room for `count` entries of a row. NO_MEMORY. */
MUST_CHECK enum status covisit_row_reserve(struct covisit_row *row, int count, struct error *err);
/* An empty counters takes over the state of another, which is then empty. */
void counters_swap(struct counters *a, struct counters *b);

#endif
