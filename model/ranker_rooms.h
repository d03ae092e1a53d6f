/* SPDX-License-Identifier: Apache-2.0
 *
 * ranker_rooms.h - what the rooms of ranking share: one request's view of the catalogue.
 *
 *   ranker.c          buffers, SASRec's part, lists
 *   features.c        what each model says about an item
 *   candidates.c      who proposes which items
 *   catalogue_ranks.c where one item stands among all (evaluation)
 */
#ifndef MODEL_RANKER_ROOMS_H
#define MODEL_RANKER_ROOMS_H

#include "model/fast_model.h"

#define NEW_ITEM_EVENTS 5        /* an item with fewer events is new (MODEL.md) */
#define LOG_FLOOR       (-20.0f) /* log-probability of what a model does not know */
#define STATES_CHUNK    64       /* requests whose log-probabilities are held at once */

/* What the models say about all items for one request; borrows the ranker's buffers. */
struct view {
    int M;
    const struct rank_request *request;
    const float *sasrec;         /* (M) log-probabilities; NULL: SASRec is not asked */
    const float *popularity_log; /* (counted) */
    int counted;                 /* items that the counters know */
};

struct ranker {
    struct backend *be; /* borrows */
    struct fast_settings settings;
    struct sasrec_work *work;         /* owns */
    int capacity;                     /* items the buffers hold */
    float *states;                    /* (STATES_CHUNK,E) owns */
    float *sasrec;                    /* (STATES_CHUNK,capacity) owns; log-probabilities */
    float *covisitation;              /* (capacity) owns */
    float *covisitation_log;          /* (capacity) owns; log(cosine sum + epsilon) */
    float *decayed;                   /* (capacity) owns; log */
    float *score;                     /* (capacity) owns */
    float *features;                  /* (capacity,FEATURE_COUNT) owns */
    uint8_t *left_out;                /* (capacity) owns; excluded or hidden */
    uint8_t *taken;                   /* (capacity) owns; zero between calls */
    int fit_count;                    /* rows of features that ranker_fit uses; 0 none */
    struct view last;                 /* of the last ranker_catalogue_ranks */
    const struct stacker *last_stack; /* borrows: the model's */
    int fit_target;                   /* index into them */
};

/* Room for M items. NO_MEMORY. */
MUST_CHECK enum status ranker_reserve(struct ranker *ranker, int M, struct error *err);
/* Fills co-visitation, decayed popularity and the exclusions of one request. sasrec: its
 * log-probabilities or NULL. */
MUST_CHECK enum status ranker_view(struct ranker *ranker, const struct fast_model *model,
                                   const struct rank_request *request, const float *sasrec,
                                   struct view *ret_view, struct error *err);
/* SASRec's log-probabilities of one request, wherever they come from; NULL when not asked for. */
MUST_CHECK enum status ranker_sasrec(struct ranker *ranker, const struct fast_model *model,
                                     const struct rank_request *request, const float **ret_sasrec,
                                     struct error *err);
/* Features of one item; stack says what stands for a model that is not asked. */
void view_features(const struct ranker *ranker, const struct view *view,
                   const struct stacker *stack, uint32_t item, float *ret_features);
/* Candidates of a view, at most max, in order of proposal; sources may be NULL. */
int view_candidates(struct ranker *ranker, const struct view *view, int max, uint32_t *ret_items,
                    uint8_t *ret_sources);
/* The stack that a request asks for. */
const struct stacker *request_stack(const struct fast_model *model,
                                    const struct rank_request *request);

#endif
