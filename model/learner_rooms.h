/* SPDX-License-Identifier: Apache-2.0
 *
 * learner_rooms.h - what the learner's rooms share.
 *
 *   learner.c           the object and the order of a batch
 *   learner_evaluate.c  rows are predicted before they are learned; stacks are fitted
 *   learner_train.c     counters and SASRec
 *   learner_lm.c        titles, prompts, the language model's step and scores
 *   version.c           a version made, loaded, restored
 *   version_files.c     a version's files
 *   learner_state.c     checkpoints
 */
#ifndef MODEL_LEARNER_ROOMS_H
#define MODEL_LEARNER_ROOMS_H

#include "model/batch_users.h"
#include "model/eval_book.h"
#include "model/learner.h"
#include "model/reservoir.h"
#include "model/title_vectors.h"

#define EVAL_CANDIDATES_MAX 100
#define EVAL_EXCLUDE_MAX    65536 /* consumed items of one user that evaluation leaves out */
#define UNKNOWN_LOSS        20.0  /* -log p of an item that a model does not know */

/* What the random numbers of the learner are for: streams of base/rng.h, or-ed with a seq. */
enum learner_stream {
    LEARNER_NEGATIVES = 1, /* candidates of an evaluated row */
    LEARNER_REPLAY = 2,    /* users and rows that SASRec replays */
    LEARNER_LM_REPLAY = 3, /* rows that the language model replays */
    LEARNER_RESERVOIR = 4, /* which rows stay */
    LEARNER_SASREC = 5,    /* parameters */
    LEARNER_ILORA = 6,     /* parameters */
    LEARNER_USERS = 7,     /* which users SASRec trains on */
    LEARNER_TITLES = 8,    /* negatives of the title head */
};

/* Rows since the last version, by what became of them (PROTOCOL.md, G3). */
struct row_counts {
    uint64_t trained, unsampled, quarantined, excluded;
};

struct learner_lm; /* the language model's part, learner_lm.c; NULL without one */

struct learner {
    struct learner_settings settings;
    struct backend *be, *fast_be; /* borrows */
    struct learner_catalogue catalogue;
    struct fast_model *fast;     /* owns; trainable */
    struct ranker *ranker;       /* owns */
    struct reservoir *reservoir; /* owns */
    struct batch_users *users;   /* owns; of the batch at hand */
    struct learner_lm *lm;       /* owns */
    struct eval_book book;
    struct row_counts since; /* the last version */
    uint64_t seq;            /* last row learned */
    uint64_t version;        /* last version made or loaded into the state */
    uint64_t version_seq;    /* its C_v */
    uint64_t restored_from;  /* the next version's: a rollback happened */
    int64_t sasrec_steps, lm_steps;
    uint32_t *exclude;    /* (EVAL_EXCLUDE_MAX) owns; scratch */
    void (*beat)(void *); /* borrows: during a batch; NULL outside */
    void *beat_context;
};

/* Between two pieces of long work: the watchdog is fed, scoring jobs may run. */
static inline void learner_beat(const struct learner *learner) {
    if (learner->beat != NULL) { learner->beat(learner->beat_context); }
}

static inline uint64_t learner_stream_of(enum learner_stream stream, uint64_t seq) {
    return (uint64_t)stream << 56 | (seq & 0xffffffffffffffu);
}

/* learner_evaluate.c: predicts the marked rows, adds to the book, fits the stacks. */
MUST_CHECK enum status learner_evaluate(struct learner *learner, const struct training_row *rows,
                                        int count, struct batch_stats *stats, struct error *err);
/* learner_train.c */
MUST_CHECK enum status learner_train_counters(struct learner *learner,
                                              const struct training_row *rows, int count,
                                              struct error *err);
MUST_CHECK enum status learner_train_sasrec(struct learner *learner,
                                            const struct training_row *rows, int count,
                                            struct batch_stats *stats, struct error *err);

/* learner_lm.c */
MUST_CHECK enum status learner_lm_new(struct learner *learner, struct base_model *base,
                                      const struct tokenizer *tokenizer,
                                      const struct prompt_template *template, struct error *err);
void learner_lm_free(struct learner_lm *lm);
/* Titles that changed with after < from_seq <= upto become vectors and token ids. */
MUST_CHECK enum status learner_lm_titles(struct learner *learner, uint64_t upto, struct error *err);
MUST_CHECK enum status learner_lm_train(struct learner *learner, const struct training_row *rows,
                                        int count, struct batch_stats *stats, struct error *err);
/* Log-probabilities (count,M) of the served average on histories, with the adapter or without. */
MUST_CHECK enum status learner_lm_scores(struct learner *learner,
                                         const struct rank_request *requests, int count,
                                         bool frozen, float *ret_logprobs, struct error *err);
/* Title head: summed log-likelihoods (count) of the items' titles after a history, by the served
 * average. False in *ret_scored: the head is off, or prompt and titles do not fit in a pack. */
MUST_CHECK enum status learner_lm_title_scores(struct learner *learner,
                                               const struct rank_request *request,
                                               const uint32_t *items, int count, float *ret_scores,
                                               bool *ret_scored, struct error *err);
/* The served average as a params object of its own (a version's). Writes nothing else. */
MUST_CHECK enum status learner_lm_served(struct learner *learner, struct ilora_params **ret_params,
                                         struct error *err);
/* A params object of a version's shape, values to be filled. */
MUST_CHECK enum status learner_lm_empty(struct learner *learner, struct ilora_params **ret_params,
                                        struct error *err);
/* The last version's values become the proximal reference. */
MUST_CHECK enum status learner_lm_refer(struct learner *learner, struct ilora_params *params,
                                        struct error *err);
/* Fast weights and average = params, moments zero. */
MUST_CHECK enum status learner_lm_restore(struct learner *learner, struct ilora_params *params,
                                          struct error *err);
/* Slabs as host copies for a checkpoint, and back. ret/values: floats of one slab each, in the
 * order VALUE, MOMENT1, MOMENT2, EMA, reference. */
#define LEARNER_LM_SLABS 5
size_t learner_lm_floats(const struct learner *learner);
MUST_CHECK enum status learner_lm_read(struct learner *learner, float *ret_values,
                                       struct error *err);
MUST_CHECK enum status learner_lm_write(struct learner *learner, const float *values,
                                        struct error *err);
struct title_vectors *learner_lm_title_vectors(struct learner *learner); /* NULL when off */

#endif
