/* SPDX-License-Identifier: Apache-2.0
 *
 * candidates.h - the 20 items a sample is asked about, pinned by hash.
 *
 * As in LLaRA and iLoRA: the target and 19 others that are not in the sample's history. There they
 * are drawn anew in every run; here they are a pure function of (seed, sample id), so every model,
 * order and resumed run sees the same lists, and the digest says which they were. Items that read
 * alike (the same title) never meet in a list, or an answer could mean both.
 */
#ifndef OPS_PAPER_CANDIDATES_H
#define OPS_PAPER_CANDIDATES_H

#include <stdint.h>

#include "base/status.h"
#include "ops/paper/data.h"

#define PAPER_CANDIDATES        20
#define PAPER_DIGEST_BYTES_TEXT 65u /* 64 hexadecimal digits and NUL */

struct paper_candidates {
    uint32_t items[PAPER_CANDIDATES]; /* distinct, in the order to be shown */
    int target_at;                    /* items[target_at] is the target */
};

/* The list of one sample. For lists that change by epoch in training, fold the epoch into seed.
 * CONFIG: fewer than 30 distinct titles in the catalogue (20 and a history of 10). */
MUST_CHECK enum status paper_candidates_draw(const struct paper_split *split, uint64_t seed,
                                             const struct paper_sample *sample,
                                             struct paper_candidates *ret_candidates,
                                             struct error *err);
/* How generated text names a candidate; both look at its first line, without white space at the
 * ends. */
enum paper_match {
    PAPER_MATCH_WHOLE,    /* it is the title: prompt_title_same, case counts */
    PAPER_MATCH_PUBLISHED /* the title stands in it, in any (ASCII) case, and no other candidate's
                           * does: the rule of LLaRA's and iLoRA's released evaluation */
};

/* Index of the candidate that the text names; -1: none or several, an invalid answer (ValidRatio
 * counts the others). */
int paper_candidates_named(const struct paper_split *split,
                           const struct paper_candidates *candidates, struct span generated,
                           enum paper_match match);
/* SHA-256 over the lists of all samples, in the order of their ids (so not of their places): per
 * sample id u64, items 20 x u32, target_at u32, little-endian. As draw, and NO_MEMORY. */
MUST_CHECK enum status paper_candidates_digest(const struct paper_split *split, uint64_t seed,
                                               const struct paper_sample *samples, int count,
                                               char ret_text[PAPER_DIGEST_BYTES_TEXT],
                                               struct error *err);

#endif
