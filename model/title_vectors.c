/* SPDX-License-Identifier: Apache-2.0
 *
 * title_vectors.c - measures the first titles and standardises all. */
#include "model/title_vectors.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#include "base/memory.h"

#define VARIANCE_FLOOR 1e-8 /* a dimension that never moves */

enum status title_vectors_init(struct title_vectors *titles, int W, struct error *err) {
    assert(W > 0);
    memset(titles, 0, sizeof *titles);
    titles->W = W;
    titles->mean = MEMORY_TAKE_ARRAY(float, W);
    titles->deviation = MEMORY_TAKE_ARRAY(float, W);
    titles->raw = MEMORY_TAKE_ARRAY(float, (size_t)TITLES_MEASURED *(size_t)W);
    if (titles->mean == NULL || titles->deviation == NULL || titles->raw == NULL) {
        title_vectors_free(titles);
        return error_set(err, STATUS_NO_MEMORY, "title vectors of width %d", W);
    }
    title_vectors_measure(titles);
    return STATUS_OK;
}

void title_vectors_free(struct title_vectors *titles) {
    memory_free(titles->mean);
    memory_free(titles->deviation);
    memory_free(titles->raw);
    memset(titles, 0, sizeof *titles);
}

void title_vectors_measure(struct title_vectors *titles) {
    const size_t W = (size_t)titles->W;
    const int n = titles->measured;

    for (size_t w = 0; w < W; w++) {
        double sum = 0, squares = 0;
        for (int t = 0; t < n; t++) {
            sum += (double)titles->raw[(size_t)t * W + w];
        }
        double mean = n > 0 ? sum / n : 0;
        for (int t = 0; t < n; t++) {
            double away = (double)titles->raw[(size_t)t * W + w] - mean;
            squares += away * away;
        }
        titles->mean[w] = (float)mean;
        titles->deviation[w] = n > 1 ? (float)sqrt(squares / n + VARIANCE_FLOOR) : 1.0F;
    }
}

bool title_vectors_add(struct title_vectors *titles, uint32_t item, const float *raw) {
    const size_t W = (size_t)titles->W;

    if (titles->measured == TITLES_MEASURED) { return false; }
    int at = 0;
    while (at < titles->measured && titles->item[at] != item) {
        at++; /* a title that changes early keeps one place */
    }
    titles->item[at] = item;
    memcpy(titles->raw + (size_t)at * W, raw, W * sizeof *raw);
    if (at == titles->measured) { titles->measured++; }
    return true;
}

void title_vectors_standardise(const struct title_vectors *titles, const float *raw,
                               float *ret_vector) {
    const float length = 1.0F / sqrtf((float)titles->W);

    for (int w = 0; w < titles->W; w++) {
        ret_vector[w] = (raw[w] - titles->mean[w]) / titles->deviation[w] * length;
    }
}
