/* SPDX-License-Identifier: Apache-2.0
 *
 * train.h - tunes the adapter of one method with one seed, as published, and can be killed.
 *
 *   samples   a subset of the training part (--limit), shuffled anew every epoch
 *   step      `batch` samples in loader batches of 8; for each one a template and, with probability
 *             tau/T, hybrid prompts instead of text alone (curriculum; tau counts samples)
 *   optimiser Adam, lr x1 / x1 / x0.3 for adapter, projector, gate; L2 1e-5 on projector and gate;
 *             no clipping (the released code's trainer sets none); dropout on the LoRA input
 *   rate      linear warm-up over the first 5 % of the steps, from lr/100; then the cosine of the
 *             released code, which runs over all steps and ends at lr/100
 *
 * Every draw is a function of (seed, purpose, epoch or loader batch), so the checkpoint is
 * parameters, moments and a step number, and a resumed run gives the bits of one never killed.
 */
#ifndef OPS_PAPER_TRAIN_H
#define OPS_PAPER_TRAIN_H

#include "ops/paper/samples.h"
#include "ops/paper/settings.h"

#define PAPER_LOADER_BATCH 8 /* samples that share a template; the released code's batch of a GPU */

/* What training and evaluation of a method work with. borrows: all of it. */
struct paper_model {
    const struct paper_settings *settings;
    const struct paper_split *split;
    const struct paper_texts *texts;
    struct paper_sasrec *sasrec;
    struct language_model *lm;
    struct ilora_params *params; /* NULL: the base alone */
};

/* Learning rate of step `step` (from 0) of `steps`. */
double paper_learning_rate(double learning_rate, int64_t step, int64_t steps);
/* Which samples a seed learns from: `limit` of `count` (0 = all), ascending when all. order
 * (count): the first *ret_count are chosen. */
void paper_train_choose(int count, int limit, uint64_t seed, int *order, int *ret_count);
/* Shuffles a copy of chosen (count) for one epoch. */
void paper_train_shuffle(const int *chosen, int count, uint64_t seed, int epoch, int *ret_order);

/* Trains from the checkpoint at `path`, or from the start, to the end; leaves a checkpoint of the
 * end there. result: counts, losses and time of training. */
MUST_CHECK enum status paper_train(const struct paper_model *model, uint64_t seed, const char *path,
                                   struct progress *progress, struct paper_result *result,
                                   struct error *err);
/* Steps of a whole training run. */
int64_t paper_train_steps(const struct paper_settings *settings, int sample_count);

#endif
