/* SPDX-License-Identifier: Apache-2.0
 *
 * eval_book.h - sums of the learner's own evaluation: models side by side on the same rows.
 *
 * All numbers are doubles in one flat struct, so that a checkpoint keeps the book as one tensor.
 * Sums are added in the order of the rows: the same rows give the same bits.
 */
#ifndef MODEL_EVAL_BOOK_H
#define MODEL_EVAL_BOOK_H

#include "model/learner.h"

enum eval_model {
    EVAL_FULL,
    EVAL_FAST,
    EVAL_ILORA_ITEM,
    EVAL_ILORA_TITLE,
    EVAL_FROZEN_ITEM,
    EVAL_SASREC,
    EVAL_COVISITATION,
    EVAL_POPULARITY,
    EVAL_DECAYED,
};
#define EVAL_MODELS 9

enum eval_kind { EVAL_CANDIDATES, EVAL_CATALOGUE };
#define EVAL_KINDS 2

/* A row belongs to several slices: bits. */
enum eval_slice { SLICE_ALL, SLICE_UNSEEN, SLICE_SHORT, SLICE_LONG, SLICE_LM };
#define EVAL_SLICES 5

enum eval_pairing { PAIR_FULL_FAST, PAIR_ILORA_FROZEN, PAIR_FULL_SASREC };
#define EVAL_PAIRS 3

#define SHORT_HISTORY 10 /* items; a shorter history is in the slice "short", others in "long" */

struct eval_sum {
    double count, hit_1, hit_5, hit_10, ndcg_10, mrr, log_loss;
};

struct eval_pair_sum {
    double count, hit_1_sum, hit_1_square, log_loss_sum, log_loss_square;
};

struct eval_book {
    struct eval_sum sum[EVAL_MODELS][EVAL_KINDS][EVAL_SLICES];
    struct eval_pair_sum pair[EVAL_PAIRS];
};
#define EVAL_BOOK_DOUBLES (sizeof(struct eval_book) / sizeof(double))

/* How one model did on one row: 1-based rank and -log p(target). */
struct eval_outcome {
    int rank;
    double log_loss;
};

/* slices: bits (1 << enum eval_slice). */
void eval_book_add(struct eval_book *book, enum eval_model model, enum eval_kind kind,
                   unsigned slices, struct eval_outcome outcome);
/* Two models on the same row. */
void eval_book_pair(struct eval_book *book, enum eval_pairing pairing, struct eval_outcome a,
                    struct eval_outcome b);
/* Figures that hold at least one row, in the order of the enums; returns how many were written. */
int eval_book_figures(const struct eval_book *book, struct eval_figure *ret_figures, int max);
int eval_book_pairs(const struct eval_book *book, struct eval_pair *ret_pairs, int max);

/* Rank of scores[0] among scores (count): ties count half, rounded up; log loss of their
 * softmax. */
struct eval_outcome eval_outcome_of(const float *scores, int count);

#endif
