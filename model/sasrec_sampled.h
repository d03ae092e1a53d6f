/* SPDX-License-Identifier: Apache-2.0
 *
 * sasrec_sampled.h - the softmax over a sample of a large catalogue, and the rows a step touched.
 *
 *   columns = distinct targets of the pass  |  negatives, drawn uniformly from all other items
 *   logits  = z · v of the columns          |  + log((M - targets) / negatives)
 *
 * The sum over the sample is then an unbiased estimate of the sum over the catalogue: the targets
 * count as themselves, a negative for all it stands for (logQ correction; Bengio & Senecal 2008,
 * with the targets as a stratum of their own). Adam touches only rows that had a gradient.
 */
#ifndef MODEL_SASREC_SAMPLED_H
#define MODEL_SASREC_SAMPLED_H

#include "model/sasrec_rooms.h"

struct sasrec_sampled {
    int M;
    int negatives;
    int targets;        /* of the pass's columns */
    int columns;        /* of the pass: targets, then negatives */
    int32_t *column_of; /* (M) owns; -1: no column */
    int32_t *items;     /* (columns_max) owns; item of each column */
    int columns_max;
    struct tensor vectors, gradient; /* (columns_max,E) owns */
    struct tensor bias;              /* (1,columns_max) owns */
    uint8_t *is_touched;             /* (M) owns */
    int32_t *touched;                /* (M) owns; in order of first touch */
    int touched_count;
};

MUST_CHECK enum status sasrec_sampled_new(const struct sasrec *sasrec, int negatives,
                                          struct sasrec_sampled **ret_sampled, struct error *err);
void sasrec_sampled_free(struct backend *be, struct sasrec_sampled *sampled);
/* Columns for the N packed rows of a pass; work->target then holds columns. seed, stream: which
 * negatives. */
void sasrec_sampled_begin(struct sasrec_sampled *sampled, const struct sasrec *sasrec,
                          struct sasrec_work *work, int N, uint64_t seed, uint64_t stream);
/* Columns' gradient to the table's, and the pass's input rows touched. */
void sasrec_sampled_end(struct sasrec_sampled *sampled, const struct sasrec *sasrec,
                        const struct sasrec_work *work, int N);
/* grad (touched,E): the gathered gradient of the touched rows; give it back with
 * backend_tensor_give. index borrows `touched`. */
MUST_CHECK enum status sasrec_sampled_gather(struct sasrec_sampled *sampled,
                                             const struct sasrec *sasrec,
                                             struct tensor *ret_gradient, struct tensor *ret_index,
                                             struct error *err);

#endif
