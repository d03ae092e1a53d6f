/* SPDX-License-Identifier: Apache-2.0
 *
 * sasrec.h - self-attentive sequential recommendation, learned online (Kang & McAuley 2018), with
 * full-catalogue cross-entropy (arXiv 2309.07602) and item vectors that start from titles.
 *
 *   item vector v_i = table_i (E) + title_i (W) · P_t (W,E)      W = 0: no title vectors
 *   state z = last row of L_s blocks over v of the last S items + learned positions
 *   logits = z · v^T over all M items
 *
 * An item without title vector and with no event yet stands near the mean of the table. The title
 * part is standardised by whoever makes it (model/title_vectors). Positions count from the newest
 * item, so a short history uses the same positions as the end of a long one.
 *
 * Two kinds of object. A trainable one learns, knows the titles and computes v when asked. A
 * version (trainable false) holds v itself, so it needs no titles; nobody writes it after it was
 * filled, and many threads may read it, each with a struct sasrec_work of its own.
 *
 * The backend is the CPU's: the single query of the last block is attended to in host memory.
 * thread: a trainable object, a work and their backend belong to one thread.
 */
#ifndef MODEL_SASREC_H
#define MODEL_SASREC_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "kernels/backend.h"

#define SASREC_ROWS_MAX   4096 /* packed rows of one pass; more sequences are split over passes */
#define SASREC_S_MAX      512  /* longest history */
#define SASREC_BLOCKS_MAX 8

struct sasrec_shape {
    int E;           /* width, 64 */
    int blocks;      /* 2 */
    int S;           /* history, 50 */
    int items_max;   /* rows of the table */
    int title_width; /* W; 0 = off */
};

struct sasrec;

struct sasrec_sequence {
    const uint32_t *items; /* oldest first; the newest S (+1 in training) are used */
    int count;
    float weight; /* of the loss; training only */
};

struct sasrec_step {
    float learning_rate; /* Adam, row-sparse on the table */
    float beta1, beta2, epsilon;
    float clip_norm; /* 0 = none */
    float weight_decay;
    float dropout;
    int64_t step;          /* 1, 2, ... */
    int sampled_negatives; /* 0: full catalogue; else sampled softmax with logQ beyond 1e5 items */
};

struct sasrec_stats {
    double loss; /* mean over positions */
    double grad_norm;
    int positions;
    bool discarded; /* not finite: nothing changed */
};

/* A function of seed alone. trainable false: values only (a version). */
MUST_CHECK enum status sasrec_new(struct backend *be, const struct sasrec_shape *shape,
                                  uint64_t seed, bool trainable, struct sasrec **ret_sasrec,
                                  struct error *err);
void sasrec_free(struct sasrec *sasrec);
const struct sasrec_shape *sasrec_shape_of(const struct sasrec *sasrec);
/* Copies parameters (not moments) and the item count; shapes must be equal. A trainable src must
 * have called sasrec_vectors; a trainable dst keeps its titles and zeroes its moments. */
MUST_CHECK enum status sasrec_copy(struct sasrec *dst, const struct sasrec *src, struct error *err);
/* Items 0 .. M-1 exist from now on; new rows start at the mean of the rows before plus small random
 * numbers that are a function of (seed, item). LIMIT beyond items_max, NO_MEMORY. */
MUST_CHECK enum status sasrec_grow(struct sasrec *sasrec, int M, struct error *err);
int sasrec_items(const struct sasrec *sasrec);
/* Standardised title vector (W) of one item, host; NULL takes it away. Trainable objects only. */
MUST_CHECK enum status sasrec_set_title(struct sasrec *sasrec, uint32_t item, const float *vector,
                                        struct error *err);
/* Effective item vectors v (M,E), host; recomputed when parameters changed. borrows: until the next
 * training step, grow, set_title. */
const float *sasrec_vectors(struct sasrec *sasrec);

/* Activations for at most SASREC_ROWS_MAX packed rows: scratch of one thread. */
struct sasrec_work;
MUST_CHECK enum status sasrec_work_new(struct backend *be, const struct sasrec_shape *shape,
                                       bool training, struct sasrec_work **ret_work,
                                       struct error *err);
void sasrec_work_free(struct sasrec_work *work);

/* States z (count,E) of histories; an empty history gives zeros. Items beyond M are left out. A
 * state has the same bits alone and in company. For a trainable object call sasrec_vectors first.
 * */
MUST_CHECK enum status sasrec_states(const struct sasrec *sasrec, struct sasrec_work *work,
                                     const struct sasrec_sequence *sequences, int count,
                                     float *ret_states, struct error *err);
/* log-probabilities over the catalogue, (count,M) = log softmax(states v^T). */
MUST_CHECK enum status sasrec_log_probabilities(const struct sasrec *sasrec,
                                                struct sasrec_work *work, const float *states,
                                                int count, float *ret_log_probabilities,
                                                struct error *err);
/* One Adam step: loss at every position of every sequence (items[t+1] from items[..t]), weighted
 * mean over positions. A loss or norm that is not finite discards the step. Sequences of fewer than
 * two known items teach nothing. */
MUST_CHECK enum status sasrec_train(struct sasrec *sasrec, const struct sasrec_sequence *sequences,
                                    int count, const struct sasrec_step *how,
                                    struct sasrec_stats *ret_stats, struct error *err);

/* Named tensors for snapshots and checkpoints, in a fixed order; moments only when trainable. */
struct sasrec_tensor {
    char name[64];
    int rows, cols;
    struct tensor value, moment1, moment2; /* no moments when not trainable or not learned */
};
int sasrec_tensor_count(const struct sasrec *sasrec);
const struct sasrec_tensor *sasrec_tensor_at(const struct sasrec *sasrec, int index);
/* To be called after values were written from outside (a snapshot was loaded) with M items. */
void sasrec_loaded(struct sasrec *sasrec, int M);

#endif
