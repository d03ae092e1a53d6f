/* SPDX-License-Identifier: Apache-2.0
 *
 * sequence.h - what one user did: the last items with their times, the ring of event ids, the set
 * of items ever consumed, and the list last published for the user.
 *
 * Sequences stay in the order of sequence numbers; "history for time t" means entries with time <
 * t, so that events of the same second never see each other.
 *
 * Table users, value: varint total, first_seq, first_version, count, then per entry oldest first:
 * varint item number, zig-zag varint of the time difference (ms) to the entry before; then varint
 * id_count and id_count 64-bit hashes. Written in sequence.c; the seen set in seen.c, the published
 * list in published.c.
 */
#ifndef STORAGE_SEQUENCE_H
#define STORAGE_SEQUENCE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/status.h"
#include "storage/store.h"

#define HISTORY_MAX        128  /* [state] history is at most this */
#define DEDUP_MAX          64   /* [state] dedup is at most this */
#define SEEN_MAX           4096 /* [state] seen is at most this */
#define PUBLISHED_LIST_MAX 100

struct sequence {
    uint32_t count;              /* entries, oldest first; <= HISTORY_MAX */
    uint32_t items[HISTORY_MAX]; /* item numbers */
    int64_t times[HISTORY_MAX];  /* epoch milliseconds */
    uint32_t id_count;           /* <= DEDUP_MAX */
    uint64_t ids[DEDUP_MAX];     /* hashes of event ids, oldest first */
    uint64_t total;              /* events ever applied for this user */
    uint64_t first_seq;          /* sequence number of the first of them; 0: none yet */
    uint64_t first_version;      /* lowest model version that can have learned from it */
};

/* Fills sequence; a user never seen gives an empty one (OK). CORRUPT names the user's key. */
MUST_CHECK enum status sequence_load(struct stage *stage, struct span user,
                                     struct sequence *ret_sequence, struct error *err);
MUST_CHECK enum status sequence_read(struct store_reader *reader, struct span user,
                                     struct sequence *ret_sequence, struct error *err);
bool sequence_knows_event(const struct sequence *sequence, uint64_t event_hash);
/* Appends, dropping the oldest beyond history_max / dedup_max. */
void sequence_append(struct sequence *sequence, uint32_t item, int64_t time_ms, uint64_t event_hash,
                     uint32_t history_max, uint32_t dedup_max);
/* Where the bytes pass STORE_VALUE_BYTES_MAX (times centuries apart) the oldest entries are left
 * out. */
MUST_CHECK enum status sequence_save(struct stage *stage, struct span user,
                                     const struct sequence *sequence, struct error *err);
/* Item numbers of the newest entries with time < before_ms, oldest first, at most `max`. Returns
 * how many. INT64_MAX = all. */
uint32_t sequence_history(const struct sequence *sequence, int64_t before_ms, uint32_t max,
                          uint32_t *ret_items);

/* ---- items ever consumed --------------------------------------------------------------------- */

/* Adds an item to the user's seen set; beyond seen_max the oldest insertion goes. */
MUST_CHECK enum status seen_add(struct stage *stage, struct span user, uint32_t item,
                                uint32_t seen_max, struct error *err);
/* The item numbers of the set in insertion order, oldest first, into items[max]; *ret_count <= max.
 * Of more than max the newest. */
MUST_CHECK enum status seen_load(struct stage *stage, struct span user, uint32_t *items,
                                 uint32_t max, uint32_t *ret_count, struct error *err);
MUST_CHECK enum status seen_read(struct store_reader *reader, struct span user, uint32_t *items,
                                 uint32_t max, uint32_t *ret_count, struct error *err);

/* ---- the list last published ----------------------------------------------------------------- */

struct published {
    uint64_t version;                   /* model version that made it */
    int64_t newest_ms;                  /* newest event time its history held */
    uint32_t count;                     /* <= PUBLISHED_LIST_MAX */
    uint32_t items[PUBLISHED_LIST_MAX]; /* best first */
    uint8_t tier;                       /* 0 popular, 1 fast, 2 ilora */
};
/* NOT_FOUND: nothing was published for the user. */
MUST_CHECK enum status published_load(struct stage *stage, struct span user,
                                      struct published *ret_published, struct error *err);
MUST_CHECK enum status published_read(struct store_reader *reader, struct span user,
                                      struct published *ret_published, struct error *err);
MUST_CHECK enum status published_save(struct stage *stage, struct span user,
                                      const struct published *published, struct error *err);

/* Removes sequence, seen set and published list of a user (forget_user). */
MUST_CHECK enum status sequence_forget(struct stage *stage, struct span user, struct error *err);

#endif
