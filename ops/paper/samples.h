/* SPDX-License-Identifier: Apache-2.0
 *
 * samples.h - samples of the data as what the language model takes: prompts, titles, states.
 *
 *   paper_sample + candidates ─template─▶ prompt ┐
 *   history ─SASRec─▶ z (gate input)             ├─▶ lm_sample
 *   target ─▶ its title's tokens + "\n"          ┘
 *
 * Titles are tokenised once an item. The weight of a training sample is the number of its target's
 * tokens: the engine divides a title's loss by its length and the step's by the sum of weights, so
 * the loss is the mean over all target tokens of the step. (The released code takes that mean over
 * each loader batch of 4 or 8 and the mean of those; there is no difference in expectation.)
 */
#ifndef OPS_PAPER_SAMPLES_H
#define OPS_PAPER_SAMPLES_H

#include "model/language_model.h"
#include "ops/paper/sasrec.h"

/* Seed of the validation and test lists: the same for every seed of the run and every method. */
#define PAPER_LISTS_SEED 20240917u

struct paper_texts {
    const struct paper_split *split;                           /* borrows */
    const struct tokenizer *tokenizer;                         /* borrows */
    struct prompt_template *templates[PROMPT_EXACT_TEMPLATES]; /* owns */
    struct title_tokens *titles;                               /* owns: (items) for prompts */
    struct title_tokens *answers;                              /* owns: (items) title and "\n" */
    int32_t *stop_ids; /* owns: every token with a newline in it, and the base's end of text */
    int stop_count;
};

/* prompts NULL: the compiled-in templates. Errors name the item or the template. */
MUST_CHECK enum status paper_texts_open(const struct paper_split *split,
                                        const struct tokenizer *tokenizer, const char *prompts,
                                        int32_t eos, struct paper_texts *ret_texts,
                                        struct error *err);
void paper_texts_close(struct paper_texts *texts);

/* How one sample is shown. */
struct paper_showing {
    int template;  /* 0 .. PROMPT_EXACT_TEMPLATES-1 */
    bool hybrid;   /* with item tokens */
    bool listed;   /* all candidates' titles for scoring; else the target's alone, for training */
    uint64_t seed; /* of the candidate list */
};

/* Memory for the samples of a step or of a piece of the evaluation. */
struct paper_batch {
    int capacity, count;
    const struct paper_sample **sources; /* owns the array; borrows the samples */
    struct paper_candidates *lists;      /* owns: (capacity) */
    struct prompt *prompts;              /* owns: (capacity) */
    struct title_tokens *candidates;     /* owns: (capacity, 20) when listed, else NULL */
    float *states;                       /* owns: (capacity, E) */
    struct lm_sample *samples;           /* owns: (capacity) */
};

MUST_CHECK enum status paper_batch_init(struct paper_batch *batch, int capacity, bool listed,
                                        struct error *err);
void paper_batch_free(struct paper_batch *batch);
/* Adds a sample; its state is set by paper_batch_finish. CONFIG: the prompt cannot be built. */
MUST_CHECK enum status paper_batch_add(struct paper_batch *batch, const struct paper_texts *texts,
                                       const struct paper_sample *sample,
                                       const struct paper_showing *how, struct error *err);
/* Computes the states of all samples added. */
MUST_CHECK enum status paper_batch_finish(struct paper_batch *batch, struct paper_sasrec *sasrec,
                                          struct error *err);

#endif
