/* SPDX-License-Identifier: Apache-2.0
 *
 * golden_batch.h - a small batch whose answer is known: does the device still compute what it did?
 *
 *   four runs of token ids, a function of the vocabulary alone
 *     ─▶ frozen base ─▶ mean hidden states after block L/2 and after the last block
 *     ─▶ root mean square and one fixed projection of each: 16 figures
 *
 * They pass through every frozen matrix, norm and attention, forwards, and through nothing that
 * learns: so on one numeric profile they never change, whatever was trained. A driver that was
 * exchanged under a running name, a card that ages, a weight that was overwritten: the figures
 * move. One bit in the middle of one mantissa may stay below the tolerance; that is accepted.
 *
 * The same token ids as prompts check a version before it is published: under its adapter and heads
 * the probabilities over the catalogue must be numbers and add up to one.
 *
 * thread: the learner's; between batches.
 */
#ifndef MODEL_GOLDEN_BATCH_H
#define MODEL_GOLDEN_BATCH_H

#include "model/learner.h"

#define GOLDEN_RUNS         4
#define GOLDEN_TOKENS       12                /* of one run */
#define GOLDEN_FIGURES      (4 * GOLDEN_RUNS) /* rms, projection; of the half and of the end */
#define GOLDEN_REASON_BYTES 128

struct golden_batch {
    double figure[GOLDEN_FIGURES];
};

/* Runs the batch through the frozen base. The learner has a language model. DEVICE_LOST,
 * NO_MEMORY. */
MUST_CHECK enum status golden_batch_run(struct learner *learner, struct golden_batch *ret_golden,
                                        struct error *err);

/* The largest |a - b| as a share of the root mean square it belongs to; infinite when a figure is
 * not a number. */
double golden_batch_difference(const struct golden_batch *a, const struct golden_batch *b);

/* What a difference may be. On one profile the bits are the same, so the share is room for one
 * thing only: a library that chooses another algorithm after a restart. Other orders of summing
 * move these figures by 1e-6 in f32; in bf16 each rounding of a row is 2^-9 and a few hundred of
 * them in a row's way average out to below 1e-2. */
double golden_batch_tolerance(enum precision precision);

/* Scores the batch as prompts under what a version made now would hold. *ret_reason is "" when all
 * is well, else why the version is to be rejected; without items there is nothing to score. */
MUST_CHECK enum status golden_batch_version(struct learner *learner,
                                            char ret_reason[GOLDEN_REASON_BYTES],
                                            struct error *err);

#endif
