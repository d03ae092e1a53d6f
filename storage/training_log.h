/* SPDX-License-Identifier: Apache-2.0
 *
 * training_log.h - the applied interactions by sequence number: what the learner learns from.
 *
 * The log is also the queue between core and learner: after an epoch is in LMDB the core only says
 * how far the log reaches, and the learner reads rows from where it is. Replay after a restart is
 * the same loop from the newest checkpoint. Marks and rates travel in the rows, so that the learner
 * is a function of the log alone.
 */
#ifndef STORAGE_TRAINING_LOG_H
#define STORAGE_TRAINING_LOG_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "base/training_row.h"
#include "storage/store.h"

/* Puts the row under its seq (a second put of the last row replaces its marks). */
MUST_CHECK enum status training_log_put(struct stage *stage, const struct training_row *row,
                                        struct error *err);
MUST_CHECK enum status training_log_get(struct stage *stage, uint64_t seq,
                                        struct training_row *ret_row, struct error *err);
/* Rows with seq in [first, last], at most max, into rows; *ret_count of them. thread: any, with its
 * own reader. CORRUPT when a number is missing, at the front or in between; rows beyond the last
 * one held are simply not there yet. */
MUST_CHECK enum status training_log_read(struct store_reader *reader, uint64_t first, uint64_t last,
                                         struct training_row *rows, int max, int *ret_count,
                                         struct error *err);
/* Remembers a trim of rows below seq. */
MUST_CHECK enum status training_log_trim(struct stage *stage, uint64_t seq, struct error *err);
/* Remembers to erase user_key (0), item (ITEM_ERASED), weight (0), window and exclusions of all
 * committed rows of a user in [first, last], keeping seq, position, time and marks: the row then
 * teaches nothing. Done inside the next stage_commit and part of no digest. (forget_user;
 * PROTOCOL.md says when) */
#define ITEM_ERASED UINT32_MAX
MUST_CHECK enum status training_log_erase(struct stage *stage, struct store_reader *reader,
                                          uint64_t user_key, uint64_t first, uint64_t last,
                                          struct error *err);
/* Items the user had ever consumed before a row that is chosen for evaluation (table exclusions,
 * key seq u64be + part u8, value delta-coded ascending item numbers): what full-catalogue ranks and
 * negative candidates leave out. Ascending, distinct; count <= SEEN_MAX. */
MUST_CHECK enum status training_exclusions_put(struct stage *stage, uint64_t seq,
                                               const uint32_t *items, uint32_t count,
                                               struct error *err);
/* A row without exclusions gives count 0. */
MUST_CHECK enum status training_exclusions_read(struct store_reader *reader, uint64_t seq,
                                                uint32_t *items, uint32_t max, uint32_t *ret_count,
                                                struct error *err);
/* training_log_trim trims both tables.
 *
 * Smallest and largest seq held; NOT_FOUND when empty. */
MUST_CHECK enum status training_log_bounds(struct store_reader *reader, uint64_t *ret_first,
                                           uint64_t *ret_last, struct error *err);

#endif
