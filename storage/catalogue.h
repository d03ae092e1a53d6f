/* SPDX-License-Identifier: Apache-2.0
 *
 * catalogue.h - items: number <-> id, and title and hidden flag as of a sequence number.
 *
 * Numbers are given in order of first appearance (0, 1, 2, ...) and never change. A new title or
 * hidden flag is a new row (number, from_seq), so that whoever works on older training rows reads
 * what was true then; rows below the oldest sequence number still needed are trimmed, but one row
 * at or below it stays.
 */
#ifndef STORAGE_CATALOGUE_H
#define STORAGE_CATALOGUE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/status.h"
#include "storage/store.h"

#define ITEMS_LIMIT 4000000u
#define ITEM_NONE   UINT32_MAX

struct catalogue_item {
    struct span id;    /* borrows: from the stage or reader */
    struct span title; /* empty: none yet */
    bool hidden;
    uint64_t from_seq;
};

/* The core's view: current hidden flags in memory, everything else through the stage. */
struct catalogue;

MUST_CHECK enum status catalogue_open(struct stage *stage, uint32_t items_max,
                                      struct catalogue **ret_catalogue, struct error *err);
void catalogue_close(struct catalogue *catalogue);
/* Items known, pending ones included: numbers are 0 .. count-1. */
uint32_t catalogue_count(const struct catalogue *catalogue);
bool catalogue_hidden(const struct catalogue *catalogue, uint32_t item);

/* The number of an id; NOT_FOUND. */
MUST_CHECK enum status catalogue_find(struct catalogue *catalogue, struct span id,
                                      uint32_t *ret_item, struct error *err);
/* The number of an id, given now (row from_seq without title) when it is new. LIMIT: items_max. */
MUST_CHECK enum status catalogue_add(struct catalogue *catalogue, struct span id, uint64_t from_seq,
                                     uint32_t *ret_item, struct error *err);
/* Title and/or hidden flag take effect for sequence numbers >= from_seq. An unchanged value writes
 * nothing. title.data == NULL: keep. */
MUST_CHECK enum status catalogue_set(struct catalogue *catalogue, uint32_t item, uint64_t from_seq,
                                     struct span title, bool hidden, struct error *err);
/* The newest row (pending included). */
MUST_CHECK enum status catalogue_get(struct catalogue *catalogue, uint32_t item,
                                     struct catalogue_item *ret_item, struct error *err);
/* After stage_reset: forget pending numbers and flags. */
MUST_CHECK enum status catalogue_rollback(struct catalogue *catalogue, struct error *err);
/* After stage_commit: pending numbers and flags are the committed ones. */
void catalogue_committed(struct catalogue *catalogue);
/* Remembers trims of rows nobody needs for sequence numbers >= keep_seq. */
MUST_CHECK enum status catalogue_trim(struct catalogue *catalogue, uint64_t keep_seq,
                                      struct error *err);

/* ---- other threads, through a reader --------------------------------------------------------- */

/* The row with the largest from_seq <= seq; NOT_FOUND when the item did not exist yet. */
MUST_CHECK enum status catalogue_read(struct store_reader *reader, uint32_t item, uint64_t seq,
                                      struct catalogue_item *ret_item, struct error *err);
MUST_CHECK enum status catalogue_read_number(struct store_reader *reader, struct span id,
                                             uint32_t *ret_item, struct error *err);
/* Calls visit for each change with after < from_seq <= upto, in (from_seq, item) order. */
typedef enum status (*catalogue_visit)(void *context, uint32_t item,
                                       const struct catalogue_item *row, struct error *err);
MUST_CHECK enum status catalogue_changes(struct store_reader *reader, uint64_t after, uint64_t upto,
                                         catalogue_visit visit, void *context, struct error *err);

#endif
