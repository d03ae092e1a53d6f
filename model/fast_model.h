/* SPDX-License-Identifier: Apache-2.0
 *
 * fast_model.h - the fast tier: an online SASRec and counters, stacked; candidates from the whole
 * catalogue; and where the language model's view joins in.
 *
 *   history ─▶ SASRec state z ─▶ logits (M) ─┐
 *           ─▶ co-visitation (M) ────────────┼─ retrieve ─▶ features ─▶ stacker ─▶ list
 *           ─▶ decayed popularity (M) ───────┘    ▲ item head log-probabilities (M), if any
 *                            new items' share ────┘
 *
 * The learner owns a trainable one; each version holds an immutable copy. Ranking is a function of
 * (fast model, history, exclusions, hidden flags, sequence number) and nothing else: the same bits
 * whoever asks, whenever, alone or in company.
 */
#ifndef MODEL_FAST_MODEL_H
#define MODEL_FAST_MODEL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "kernels/backend.h"
#include "model/counters.h"
#include "model/sasrec.h"
#include "model/stacker.h"

#define LIST_MAX       100 /* items of one published list */
#define CANDIDATES_MAX 400 /* of one user */

struct fast_settings {
    struct sasrec_shape sasrec;
    struct counters_settings counters;
    int history_span; /* newest items that co-visitation looks at, 5 */
    int candidates;   /* 100 */
    double new_share; /* reserved share for items with fewer than 5 events, 0.1 */
};

struct fast_model {
    struct fast_settings settings;
    struct sasrec *sasrec;     /* owns */
    struct counters *counters; /* owns */
    struct stacker fast_stack; /* without the language model's features */
    struct stacker full_stack; /* with them */
    int items;                 /* M: items known */
};

MUST_CHECK enum status fast_model_new(struct backend *be, const struct fast_settings *settings,
                                      uint64_t seed, bool trainable, struct fast_model **ret_model,
                                      struct error *err);
void fast_model_free(struct fast_model *model);
MUST_CHECK enum status fast_model_copy(struct fast_model *dst, const struct fast_model *src,
                                       struct error *err);
/* Items 0 .. M-1 exist. */
MUST_CHECK enum status fast_model_grow(struct fast_model *model, int M, struct error *err);

enum list_source {
    SOURCE_SASREC,
    SOURCE_COVISITATION,
    SOURCE_POPULARITY,
    SOURCE_NEW,
    SOURCE_ITEM_HEAD
};
const char *list_source_name(int source); /* "sasrec", ... static */

struct rank_request {
    const uint32_t *history; /* oldest first, newest S used */
    int history_count;
    const uint32_t *exclude; /* items left out, any order, duplicates allowed */
    int exclude_count;
    const uint8_t *hidden;     /* one byte an item, M of them; NULL = none hidden */
    uint64_t seq;              /* for decay */
    bool use_sasrec;           /* false: counters only (tier "popular" under overload) */
    const float *state;        /* z (E) already computed, or NULL */
    const float *sasrec;       /* SASRec's log-probabilities (M) already computed, or NULL */
    bool same_history;         /* history and model are those of this ranker's previous call: what
                                 * was computed from them is kept (rows of the same second) */
    const float *item_head;    /* log-probabilities (M) of the item head; NULL: fast stack */
    const float *title_scores; /* of the candidates given in `title_items`; NULL: none */
    const float *title_priors;
    const uint32_t *title_items;
    int title_count;
    int list; /* length wanted, <= LIST_MAX */
};

struct rank_list {
    int count;
    uint32_t items[LIST_MAX];
    float probability[LIST_MAX]; /* softmax over the candidates, best first */
    uint8_t source[LIST_MAX];    /* enum list_source: who proposed it first */
};

/* Scratch of one thread: buffers for M items. It runs versions on its own backend (the CPU's), so
 * several threads may rank under one version, each with its ranker.
 *
 * A request without history, or an item that SASRec or the counters do not know, is no error: the
 * feature is at its floor. */
struct ranker;
MUST_CHECK enum status ranker_new(struct backend *be, const struct fast_settings *settings,
                                  struct ranker **ret_ranker, struct error *err);
void ranker_free(struct ranker *ranker);
/* States z (count,E) for many histories at once. */
MUST_CHECK enum status ranker_states(struct ranker *ranker, const struct fast_model *model,
                                     const struct rank_request *requests, int count,
                                     float *ret_states, struct error *err);
/* SASRec's log-probabilities (count,M) of states, count <= SASREC_ROWS_MAX. */
MUST_CHECK enum status ranker_log_probabilities(struct ranker *ranker,
                                                const struct fast_model *model, const float *states,
                                                int count, float *ret_values, struct error *err);
/* Lists of many users. */
MUST_CHECK enum status ranker_rank(struct ranker *ranker, const struct fast_model *model,
                                   const struct rank_request *requests, int count,
                                   struct rank_list *ret_lists, struct error *err);
/* Top candidates of the fast tier (before the language model): what the title head scores. */
MUST_CHECK enum status ranker_candidates(struct ranker *ranker, const struct fast_model *model,
                                         const struct rank_request *request, int max,
                                         uint32_t *ret_items, int *ret_count, struct error *err);
/* Features (count, FEATURE_COUNT) of given candidates for one request (learner's evaluation). */
MUST_CHECK enum status ranker_features(struct ranker *ranker, const struct fast_model *model,
                                       const struct rank_request *request,
                                       const uint32_t *candidates, int count, float *ret_features,
                                       struct error *err);
/* Ranks (1-based) of `target` over the whole catalogue minus exclusions and hidden ones, by each
 * cheap model alone and by the fast stack. Ties count half, as the expected rank, rounded up. An
 * item that the model does not know yet has rank M + 1. */
struct catalogue_ranks {
    int sasrec, covisitation, popularity, decayed, fast;
    double sasrec_log_loss; /* -log p(target) over the catalogue */
    double
        fast_log_loss; /* -log p(target) of the fast stack over the same items; NaN: unknown item */
};
MUST_CHECK enum status ranker_catalogue_ranks(struct ranker *ranker, const struct fast_model *model,
                                              const struct rank_request *request, uint32_t target,
                                              struct catalogue_ranks *ret_ranks, struct error *err);
/* For the request of the last ranker_catalogue_ranks: rank of the target by scores (M) of any
 * model, and features (count, FEATURE_COUNT) of known items. */
int ranker_rank_of(const struct ranker *ranker, const float *scores, uint32_t target);
void ranker_last_features(const struct ranker *ranker, const uint32_t *items, int count,
                          float *ret_features);
/* Fits a stack (the learner's fast_stack or full_stack) on the list of the last
 * ranker_catalogue_ranks: the target against everything it was ranked among. Nothing for an unknown
 * item. */
void ranker_fit(struct ranker *ranker, struct stacker *stack,
                const struct stacker_settings *settings);

#endif
