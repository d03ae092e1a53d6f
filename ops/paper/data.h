/* SPDX-License-Identifier: Apache-2.0
 *
 * data.h - sequences of the paper's offline protocol, from files.
 *
 * Protocol (LLaRA, Liao et al. 2023, and iLoRA, Kong et al. 2024): a sequence is one user's items
 * by time; sequences in order of time are cut 8 : 1 : 1 into train, valid and test; a sample is a
 * target with the last 10 items before it, at least 3. Their LastFM files show the rest: a training
 * user gives a sample for every target, a held-out user one (976, 122 and 122 of 1,220 users), and
 * users of fewer than 4 items are not there. No rating threshold. Which target a held-out user
 * gives is not published; here it is the last.
 *
 *   train user      a b c d e f      ▸ (abc ▸ d) (abcd ▸ e) (abcde ▸ f)
 *   held-out user   u v w x y        ▸ (uvwx ▸ y)
 *
 * Two kinds of folder:
 *   split     items.tsv (item_id, title), train.tsv, valid.tsv, test.tsv (history: ids apart by a
 *             space, may be empty; next), tabs between: already cut. A row is a sample; rows with
 *             fewer than 3 items of history only complete the sequences, which are put together
 *             from training rows whose history is what the rows before them end with
 *   RecBole   one *.inter (user_id, item_id, timestamp) and one *.item (item_id, movie_title or
 *             title): cut here. Users go by the time of their last item, so no training item is
 *             later than any held-out target. An item counts once a user, at its first time.
 *
 * The same files give the same split, always.
 */
#ifndef OPS_PAPER_DATA_H
#define OPS_PAPER_DATA_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/bytes.h"
#include "base/status.h"

#define PAPER_HISTORY_MAX 10 /* items of a history: the paper's S */
#define PAPER_HISTORY_MIN 3  /* samples with fewer are left out */
#define PAPER_ITEMS_MAX   1000000u
#define PAPER_SAMPLES_MAX 100000000u /* of one part */
#define PAPER_TITLE_BYTES 512u       /* longer titles are refused */

/* Items are numbers from 0 in the order of the items' file. */
struct paper_item {
    struct span name; /* as in the files; borrows: until paper_split_free */
    struct span
        title;      /* never empty, white space folded; RecBole: "Name, The" becomes "The Name" */
    uint32_t alike; /* first item with the same title; itself where there is none */
};

struct paper_sample {
    uint32_t history[PAPER_HISTORY_MAX]; /* oldest first */
    int count;                           /* of history; 3 to 10 */
    uint32_t target;
    uint64_t id; /* hash of history and target: the same wherever the sample stands */
};

struct paper_part {
    struct paper_sample *samples; /* owns; in the order of the file, RecBole: by user, by time */
    int count;
    size_t capacity; /* samples there is room for */
};

/* What SASRec learns from: a training user's items by time. */
struct paper_sequence {
    const uint32_t *items; /* borrows: the split's sequence_items */
    int count;             /* >= 1, without limit of history */
};

struct paper_split {
    const char *kind;         /* "split" or "RecBole" */
    struct paper_item *items; /* owns */
    int item_count;
    int title_count; /* distinct titles */
    struct paper_part train, valid, test;
    struct paper_sequence *sequences; /* owns; of training alone */
    int sequence_count;
    uint32_t *sequence_items; /* owns */
    struct arena text;        /* owns: names and titles */
};

/* Reads a folder of either kind. CONFIG: the folder is of neither kind (or both), or file, line and
 * what was expected there: an item that is unknown, twice or without a title, a row of another
 * shape, a target that stands in its own history, a part without samples. IO, NO_MEMORY.
 * paper_split_free afterwards. */
MUST_CHECK enum status paper_split_read(const char *folder, struct paper_split *ret_split,
                                        struct error *err);
void paper_split_free(struct paper_split *split);
/* Whether a file of such a folder holds data, by its name. */
bool paper_data_is_file(const char *name);

#endif
