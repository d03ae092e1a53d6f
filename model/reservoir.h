/* SPDX-License-Identifier: Apache-2.0
 *
 * reservoir.h - rows kept for replay, by content, stratified by user.
 *
 *   user 0 (first seen)   row row row         ascending by seq
 *   user 1                row row
 *   ...                                       at most `rows_max` rows in all
 *
 * When it is full, the user with the most rows (ties: the smaller key) gives one up: the one whose
 * hash of (seq, seed) is greatest, so what stays of a user is a uniform sample of all its rows, and
 * a user who has gone quiet keeps what it has. Which rows stay is a function of the rows added, so
 * a checkpoint need only hold the rows, user by user.
 */
#ifndef MODEL_RESERVOIR_H
#define MODEL_RESERVOIR_H

#include <stdint.h>

#include "base/bytes.h"
#include "base/status.h"
#include "base/training_row.h"

struct reservoir;

MUST_CHECK enum status reservoir_new(int rows_max, uint64_t seed, struct reservoir **ret_reservoir,
                                     struct error *err);
void reservoir_free(struct reservoir *reservoir);
/* Adds a copy; seqs of one user ascend. NO_MEMORY: unchanged. rows_max 0 keeps nothing. */
MUST_CHECK enum status reservoir_add(struct reservoir *reservoir, const struct training_row *row,
                                     struct error *err);
int reservoir_rows(const struct reservoir *reservoir);
/* Users in order of their first row still known; a forgotten user leaves the order. */
int reservoir_users(const struct reservoir *reservoir);
/* Rows of a user (0 .. users-1), and one of them. borrows: until the next change. */
int reservoir_user_rows(const struct reservoir *reservoir, int user);
const struct training_row *reservoir_at(const struct reservoir *reservoir, int user, int index);
/* Removes a user with all rows; one that is not there is no error. */
void reservoir_forget(struct reservoir *reservoir, uint64_t user_key);
/* Removes rows of first <= seq <= last (a rollback excludes them). */
void reservoir_exclude(struct reservoir *reservoir, uint64_t first, uint64_t last);
/* Removes all. */
void reservoir_clear(struct reservoir *reservoir);
/* The rows as bytes, user by user; load clears first. CORRUPT when cut or out of range. */
MUST_CHECK enum status reservoir_save(const struct reservoir *reservoir, struct buffer *out,
                                      struct error *err);
MUST_CHECK enum status reservoir_load(struct reservoir *reservoir, struct span bytes,
                                      struct error *err);

#endif
