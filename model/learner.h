/* SPDX-License-Identifier: Apache-2.0
 *
 * learner.h - learns from the training log, batch by batch; makes versions and checkpoints.
 *
 *   rows ((b-1)N, bN] ─▶ evaluate rows marked EVALUATE with the state after b-1; fit the stacks
 *                     ─▶ counters: all rows
 *                     ─▶ SASRec: one sequence a distinct user + replayed users, one step
 *                     ─▶ language model: rows marked TRAINING_LM + replay, one step, EMA
 *                     ─▶ reservoir
 *
 * A learner is a function of (settings, base model, rows, catalogue): it reads no clock and no
 * environment, so replaying rows from a checkpoint makes the same versions, byte for byte on the
 * same numeric profile. It knows neither LMDB nor Kafka: rows and titles are handed in.
 *
 * Folder of a version (immutable, INTERFACES.md): adapter_model.safetensors, adapter_config.json,
 * ilora.safetensors (gate, projector, heads, SASRec, stackers), counters.bin, manifest.json.
 * Folder of a checkpoint: state.safetensors, counters.bin, checkpoint.json.
 *
 * thread: learner. Versions are shared by reference count with the core.
 */
#ifndef MODEL_LEARNER_H
#define MODEL_LEARNER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/hash.h"
#include "base/status.h"
#include "base/training_row.h"
#include "kernels/backend.h"
#include "model/fast_model.h"
#include "model/language_model.h"
#include "model/peft_adapter.h"
#include "model/tokenizer.h"

#define BATCH_EVENTS_MAX 4096
#define FIGURES_MAX      160

struct learner_settings {
    uint64_t seed;
    struct fast_settings fast;
    struct sasrec_step sasrec_step; /* learning rate etc.; step is filled in */
    double sasrec_replay_users;     /* 1: a replayed user for each four rows of the batch */
    bool title_vectors;
    /* language model */
    bool lm; /* false: no base model, fast tier alone */
    struct ilora_shape ilora;
    const struct peft_adapter *adapter; /* borrows; fresh A and B start from it. NULL: none */
    struct lm_step lm_step;             /* step is filled in */
    int lm_warmup_steps;
    int history; /* items in a prompt, 10 */
    int micro_batch_tokens;
    double replay; /* share of replayed rows in a language-model batch */
    int replay_rows_max;
    int title_negatives; /* title head */
    /* evaluation */
    int eval_candidates;    /* 20: the target and 19 others */
    uint64_t warmup_events; /* rows with a smaller seq are not evaluated */
    int min_history;        /* rows with a shorter history are not evaluated */
};

/* What the learner may ask about items as of a sequence number. */
struct learner_catalogue {
    void *context;
    /* Items known at seq: numbers 0 .. count-1. */
    enum status (*count)(void *context, uint64_t seq, int *ret_count, struct error *err);
    /* Title of an item as of seq (size 0: none). borrows: until the next call. */
    enum status (*title)(void *context, uint32_t item, uint64_t seq, struct span *ret_title,
                         struct error *err);
    /* Calls visit for each item whose title changed with after < from_seq <= upto. */
    enum status (*changes)(void *context, uint64_t after, uint64_t upto,
                           enum status (*visit)(void *visit_context, uint32_t item,
                                                struct span title, struct error *err),
                           void *visit_context, struct error *err);
    /* Items the user had consumed before an evaluated row, ascending. */
    enum status (*exclusions)(void *context, uint64_t seq, uint32_t *items, int max, int *ret_count,
                              struct error *err);
};

/* Figures of one model on one kind of evaluation and one slice: sums, not means. */
struct eval_figure {
    /* full, fast, ilora_item, ilora_title (candidates only), frozen_item, sasrec, covisitation,
     * popularity, popularity_decayed */
    char model[24];
    char kind[16]; /* candidates (1 target among 20), catalogue (full rank) */
    /* all; unseen (no event before); short, long (history below 10 items or not); lm (rows
     * evaluated with language models: the same rows for all models) */
    char slice[24];
    uint64_t count;
    double hit_1, hit_5, hit_10, ndcg_10, mrr;
    double
        log_loss; /* nats; catalogue: of sasrec, fast, full and the heads only, 0 for the others */
};

/* Paired sums on the rows evaluated with language models (kind candidates): full stack minus fast
 * stack, iLoRA alone minus frozen base, full stack minus SASRec: mean and variance of the
 * difference, for intervals. */
struct eval_pair {
    char a[24], b[24];
    uint64_t count;
    double hit_1_sum, hit_1_square;       /* of hit(a) - hit(b) */
    double log_loss_sum, log_loss_square; /* of loss(a) - loss(b) */
};

struct version {
    uint64_t number, parent;
    uint64_t seq_lo, seq_hi;      /* rows learned since the parent; C_v */
    uint64_t restored_from;       /* rollback; 0 = none */
    uint8_t digest[SHA256_BYTES]; /* of manifest.json, which names all files with theirs */
    char folder[256];             /* the name under the versions folder */
    struct fast_model *fast;      /* immutable copy on the CPU */
    struct ilora_params *params;  /* EMA values; NULL without a language model */
    float *vectors;               /* (M,E) item vectors as of C_v */
    struct eval_figure *figures;
    int figure_count;
    uint64_t rows_trained, rows_unsampled, rows_quarantined, rows_excluded;
    int references; /* atomic */
};
void version_take(struct version *version);
void version_give(struct version *version); /* the last one frees */

/* How a learner with these settings sizes its language model: rows and prompts of one pass, items
 * of its head; for training. What a plan of its memory asks (device_plan.h). */
struct language_model_settings learner_lm_budget(const struct learner_settings *settings);

struct learner;

/* base, tokenizer, template NULL when settings->lm is false. be: the learner's backend; fast_be:
 * the CPU backend of the learner's fast tier. All are borrowed for the learner's life. */
MUST_CHECK enum status learner_new(const struct learner_settings *settings, struct backend *be,
                                   struct backend *fast_be, struct base_model *base,
                                   const struct tokenizer *tokenizer,
                                   const struct prompt_template *template,
                                   const struct learner_catalogue *catalogue,
                                   struct learner **ret_learner, struct error *err);
void learner_free(struct learner *learner);
uint64_t learner_seq(const struct learner *learner);     /* last row learned */
uint64_t learner_version(const struct learner *learner); /* last version made or loaded */

struct batch_stats {
    int rows, lm_rows, replayed, evaluated, evaluated_lm;
    int quarantined;         /* rows of a discarded step */
    struct lm_step_stats lm; /* zero when no row was sampled */
    struct sasrec_stats sasrec;
    int64_t lm_tokens;
};

/* Learns one batch: rows in seq order, the last one carries TRAINING_BATCH_END. rows[0].seq must be
 * learner_seq()+1. beat may be NULL. */
MUST_CHECK enum status learner_batch(struct learner *learner, const struct training_row *rows,
                                     int count, void (*beat)(void *), void *beat_context,
                                     struct batch_stats *ret_stats, struct error *err);
/* Removes a user's rows from the reservoir. */
void learner_forget(struct learner *learner, uint64_t user_key);

/* Writes the version's folder (path must not exist; files fsynced, not renamed) as `number` with
 * the state as it is, and returns the object (one reference, caller's). The learner's proximal
 * reference becomes this version. base_model_name and base_sha256 are written only with a
 * language model. */
MUST_CHECK enum status learner_make_version(struct learner *learner, uint64_t number,
                                            const char *path, const char *numeric_profile,
                                            const char *base_model_name,
                                            const uint8_t base_sha256[SHA256_BYTES],
                                            struct version **ret_version, struct error *err);
/* Loads a version from its folder for scoring; checks every digest. CORRUPT names the file. */
MUST_CHECK enum status learner_load_version(struct learner *learner, const char *path,
                                            struct version **ret_version, struct error *err);
/* The learner goes back to a version (rollback): fast weights = its EMA, moments zero, counters and
 * stackers its own, reservoir kept without rows of seq > version's seq_hi. seq continues. */
MUST_CHECK enum status learner_restore_version(struct learner *learner,
                                               const struct version *version, struct error *err);

/* The whole state at a batch end, into a folder that does not exist yet (fsynced, not renamed). */
MUST_CHECK enum status learner_save(struct learner *learner, const char *path, struct error *err);
MUST_CHECK enum status learner_load(struct learner *learner, const char *path, struct error *err);

/* ---- scoring for predictions (the device's owner runs these between training jobs) ----------- */

struct score_request {
    const uint32_t *history; /* oldest first; the newest settings.history are used */
    int history_count;
    const struct span *titles; /* of those history items as of now; size 0 = none */
    const float *state;        /* z (E) under the same version */
};
/* Item head log-probabilities (count, M of the version), under a version, not the
 * learner's state. */
MUST_CHECK enum status learner_score_items(struct learner *learner, struct version *version,
                                           const struct score_request *requests, int count,
                                           float *ret_logprobs, struct error *err);

/* Evaluation sums as of the last batch. */
int learner_figures(const struct learner *learner, struct eval_figure *ret_figures, int max);
int learner_pairs(const struct learner *learner, struct eval_pair *ret_pairs, int max);

#endif
