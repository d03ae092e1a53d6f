/* SPDX-License-Identifier: Apache-2.0
 *
 * batch_users.h - the distinct users of a batch, in order of first appearance, and their rows. */
#ifndef MODEL_BATCH_USERS_H
#define MODEL_BATCH_USERS_H

#include <stdbool.h>

#include "model/learner.h"

#define BATCH_USERS_TABLE (4 * BATCH_EVENTS_MAX)

struct batch_users {
    int count;
    int of_row[BATCH_EVENTS_MAX];   /* user index of each row, -1: an erased row */
    int previous[BATCH_EVENTS_MAX]; /* the user's row before this one, -1 none */
    int first[BATCH_EVENTS_MAX];    /* (count) first row */
    int last[BATCH_EVENTS_MAX];     /* (count) last row */
    int rows[BATCH_EVENTS_MAX];     /* (count) how many */
    int table[BATCH_USERS_TABLE];   /* scratch: user index + 1 */
};

/* An erased row (user_key 0, after forget_user) belongs to nobody and teaches nothing. */
void batch_users_find(struct batch_users *users, const struct training_row *rows, int count);
bool batch_users_has(const struct batch_users *users, const struct training_row *rows,
                     uint64_t user_key);
/* The newest `span` items before row n: its window, then the user's earlier rows of this batch that
 * the window cannot hold because they are not older. Oldest first; ret_items (span). */
int batch_users_before(const struct batch_users *users, const struct training_row *rows, int n,
                       int span, uint32_t *ret_items);

#endif
