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
#include "storage/store.h"

#define WINDOW_MAX 100 /* items of frozen history in a row */

enum training_mark {
    TRAINING_BATCH_END = 1, /* a batch ends with this row */
    TRAINING_VERSION = 2,   /* and a version is made there */
    TRAINING_ROLLBACK = 4,  /* then the learner goes back to version `argument` */
    TRAINING_FORGET = 8,    /* then rows of user_key `argument` leave reservoir and log */
    TRAINING_DRAIN = 16,    /* a checkpoint is written after this batch */
};

struct training_row {
    uint64_t seq;
    uint8_t topic;          /* enum stream_topic */
    int32_t partition;
    int64_t offset;
    uint64_t user_key;      /* keyed 64-bit hash of the user id */
    uint32_t item;          /* item number */
    int64_t time_ms;        /* event time */
    float weight;           /* loss weight, 1 by default */
    uint8_t marks;          /* enum training_mark, or-ed */
    uint64_t argument;      /* of ROLLBACK or FORGET */
    float lm_rate;          /* share of rows the language model trains on, in force at this row */
    float eval_rate;        /* share of rows evaluated */
    float eval_lm_rate;     /* share of rows evaluated with language models */
    float sasrec_rate;      /* share of users SASRec trains on */
    uint32_t window_count;  /* <= WINDOW_MAX */
    uint32_t window[WINDOW_MAX]; /* the user's items with time < time_ms, oldest first */
    bool repeat;            /* the user consumed this item before: not evaluated */
};

/* Puts the row under its seq (a second put of the last row replaces its marks). */
MUST_CHECK enum status training_log_put(struct stage *stage, const struct training_row *row,
                                        struct error *err);
MUST_CHECK enum status training_log_get(struct stage *stage, uint64_t seq,
                                        struct training_row *ret_row, struct error *err);
/* Rows with seq in [first, last], at most max, into rows; *ret_count of them. thread: any, with its
 * own reader. CORRUPT when a number is missing in between. */
MUST_CHECK enum status training_log_read(struct store_reader *reader, uint64_t first,
                                         uint64_t last, struct training_row *rows, int max,
                                         int *ret_count, struct error *err);
/* Remembers a trim of rows below seq. */
MUST_CHECK enum status training_log_trim(struct stage *stage, uint64_t seq, struct error *err);
/* Erases user_key, item and window of all rows of a user, keeping seq, position and marks: the row
 * then teaches nothing. (forget_user; PROTOCOL.md says when) */
MUST_CHECK enum status training_log_erase(struct stage *stage, struct store_reader *reader,
                                          uint64_t user_key, uint64_t first, uint64_t last,
                                          struct error *err);
/* Smallest and largest seq held; NOT_FOUND when empty. */
MUST_CHECK enum status training_log_bounds(struct store_reader *reader, uint64_t *ret_first,
                                           uint64_t *ret_last, struct error *err);

#endif
