/* SPDX-License-Identifier: Apache-2.0
 *
 * title_vectors.h - the frozen base model's title embeddings, standardised for SASRec.
 *
 *   raw (W) = mean over the title's rows of the hidden states of the middle and the last layer
 *   vector  = (raw - mean) / deviation / sqrt(W)
 *
 * mean and deviation (W) are those of the first TITLES_MEASURED titles and stay as they are then,
 * so that a vector never changes because others arrived. Until there are so many, every new title
 * measures all of them again. The length of a vector is about 1 whatever W is: the learned
 * projection behind it then moves an item about as fast as its own row of the table does.
 */
#ifndef MODEL_TITLE_VECTORS_H
#define MODEL_TITLE_VECTORS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/status.h"

#define TITLES_MEASURED 256

struct title_vectors {
    int W;
    int measured;                   /* titles that mean and deviation come from */
    float *mean, *deviation;        /* (W) owns */
    float *raw;                     /* (TITLES_MEASURED,W) owns; of the measured titles */
    uint32_t item[TITLES_MEASURED]; /* whose they are */
};

MUST_CHECK enum status title_vectors_init(struct title_vectors *titles, int W, struct error *err);
void title_vectors_free(struct title_vectors *titles);
/* Takes the raw vector of a new or changed title. True: it was measured, so the vectors of all
 * measured titles changed (title_vectors_measured gives them). */
bool title_vectors_add(struct title_vectors *titles, uint32_t item, const float *raw);
/* The standardised vector (W) of a raw one. */
void title_vectors_standardise(const struct title_vectors *titles, const float *raw,
                               float *ret_vector);
/* After the measured titles and their raw vectors were set from outside (a checkpoint). */
void title_vectors_measure(struct title_vectors *titles);

#endif
