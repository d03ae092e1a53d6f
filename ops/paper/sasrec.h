/* SPDX-License-Identifier: Apache-2.0
 *
 * sasrec.h - SASRec of the paper's size, trained offline on whole sequences.
 *
 * E = 64, one block, one head, S = 10 (Kang & McAuley 2018; MODEL.md). The loss is the engine's,
 * cross-entropy over the whole catalogue at every position, which is stronger than the released
 * code's binary cross-entropy with one negative; so this row is a harder baseline than the paper's.
 *
 *   user's items   a b c d e f g h i j k l m n      windows of 11, each epoch cut elsewhere:
 *                  [a b c d][d ... n]               every transition is learned once an epoch
 *
 * Early stopping: mean reciprocal rank of the target among the 20 candidates of the validation
 * part; the best epoch's values are kept.
 */
#ifndef OPS_PAPER_SASREC_H
#define OPS_PAPER_SASREC_H

#include "model/sasrec.h"
#include "ops/paper/candidates.h"
#include "ops/paper/data.h"
#include "ops/paper/progress.h"

#define PAPER_SASREC_WIDTH    64
#define PAPER_SASREC_EPOCHS   200 /* at most */
#define PAPER_SASREC_PATIENCE 15  /* epochs without a better one */

struct paper_sasrec {
    struct sasrec *sasrec;    /* owns: values only */
    struct sasrec_work *work; /* owns */
    int epochs;               /* those of the values kept */
    double valid_mrr;
    double loss;    /* of the epoch kept */
    double seconds; /* that training took; 0 when it was read from a file */
};

/* candidate_seed: of the validation lists. A function of its arguments alone. NO_MEMORY, CONFIG. */
MUST_CHECK enum status paper_sasrec_train(struct backend *be, const struct paper_split *split,
                                          uint64_t seed, uint64_t candidate_seed,
                                          struct progress *progress,
                                          struct paper_sasrec *ret_sasrec, struct error *err);
void paper_sasrec_free(struct paper_sasrec *sasrec);

/* Writes the values to path (whole or not at all), and reads them back. CORRUPT names the file. */
MUST_CHECK enum status paper_sasrec_write(const struct paper_sasrec *sasrec, const char *path,
                                          struct error *err);
MUST_CHECK enum status paper_sasrec_read(struct backend *be, int item_count, const char *path,
                                         struct paper_sasrec *ret_sasrec, struct error *err);

/* States z (count, PAPER_SASREC_WIDTH) of the samples' histories. */
MUST_CHECK enum status paper_sasrec_states(struct paper_sasrec *sasrec,
                                           const struct paper_sample *const *samples, int count,
                                           float *ret_states, struct error *err);
/* Place of the candidate with the largest z . v; of equal ones the first. rank (may be NULL): of
 * the target, from 1. */
int paper_sasrec_choose(const struct paper_sasrec *sasrec, const float *state,
                        const struct paper_candidates *candidates, int *ret_rank);

#endif
