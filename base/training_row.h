/* SPDX-License-Identifier: Apache-2.0
 *
 * training_row.h - one applied interaction as the learner sees it: the contract between the
 * training log (storage), which keeps it, and the learner (model), which is a function of these
 * rows alone.
 */
#ifndef BASE_TRAINING_ROW_H
#define BASE_TRAINING_ROW_H

#include <stdbool.h>
#include <stdint.h>

#define WINDOW_MAX 100 /* items of frozen history in a row */

/* The core decides, the learner obeys: which rows are sampled stands in the row. */
enum training_mark {
    TRAINING_BATCH_END = 1, /* a batch ends with this row */
    TRAINING_VERSION = 2,   /* and a version is made there, numbered `version` */
    TRAINING_ROLLBACK = 4,  /* with the state of version `argument` (always with VERSION) */
    TRAINING_FORGET = 8,    /* rows of user_key `argument` leave the reservoir at this batch end */
    TRAINING_EVALUATE = 32, /* evaluated before its batch is learned; has exclusions */
    TRAINING_EVALUATE_LM = 64, /* also with language models (implies EVALUATE) */
    TRAINING_LM = 128,         /* the language model trains on it */
};

struct training_row {
    uint64_t seq;
    uint8_t topic; /* enum stream_topic */
    int32_t partition;
    int64_t offset;
    uint64_t user_key;     /* keyed 64-bit hash of the user id */
    uint32_t item;         /* item number */
    int64_t time_ms;       /* event time */
    float weight;          /* loss weight, 1 by default */
    uint8_t marks;         /* enum training_mark, or-ed */
    uint64_t argument;     /* of ROLLBACK or FORGET */
    uint64_t version;      /* of VERSION: the number to give */
    float lm_rate;         /* share of rows the language model trains on, in force at this row */
    float eval_rate;       /* share of rows evaluated */
    float eval_lm_rate;    /* share of rows evaluated with language models */
    float sasrec_rate;     /* share of users SASRec trains on */
    uint32_t window_count; /* <= WINDOW_MAX */
    uint32_t window[WINDOW_MAX]; /* the user's items with time < time_ms, oldest first */
    bool repeat;                 /* the user consumed this item before: not evaluated */
};

#endif
