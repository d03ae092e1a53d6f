/* SPDX-License-Identifier: Apache-2.0
 *
 * evaluate.h - the test part: an answer is written out and matched, then all 20 candidates
 * are scored.
 *
 *   prompt with 20 candidates ─greedy─▶ text up to the newline ─▶ which candidate's title is it?
 *                             ─titles─▶ log-likelihood of each ─▶ the largest
 *
 * Two rules say which candidate a text names (ops/paper/candidates.h): ours, the text is the title,
 * and the released code's. Both are reported.
 */
#ifndef OPS_PAPER_EVALUATE_H
#define OPS_PAPER_EVALUATE_H

#include "ops/paper/train.h"

#define PAPER_ANSWER_TOKENS 64 /* of a written answer; the released code's */

/* Test samples: all, or `limit` of them by the hash of their ids, in the order of the file;
 * ret_samples (test.count). The same for every method and seed. NO_MEMORY. */
MUST_CHECK enum status paper_test_choose(const struct paper_split *split, int limit,
                                         const struct paper_sample **ret_samples, int *ret_count,
                                         struct error *err);

/* Fills targets, places and evaluate_seconds of result (samples: count), appends a JSON line a
 * sample to answers. params NULL: the base alone, prompts without item tokens. */
MUST_CHECK enum status paper_evaluate(const struct paper_model *model,
                                      const struct paper_sample *const *samples, int count,
                                      struct progress *progress, struct paper_result *result,
                                      struct buffer *answers, struct error *err);
/* SASRec: argmax over the same lists; every answer is valid. */
MUST_CHECK enum status paper_evaluate_sasrec(const struct paper_split *split,
                                             struct paper_sasrec *sasrec,
                                             const struct paper_sample *const *samples, int count,
                                             struct paper_result *result, struct buffer *answers,
                                             struct error *err);

#endif
