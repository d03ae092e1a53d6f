/* SPDX-License-Identifier: Apache-2.0
 *
 * counters.h - what can be counted: popularity, decayed popularity and co-visitation.
 *
 * Co-visitation: after an event (window, item) each of the newest `span` window items j gets
 * C(j,item) += 1 and C(item,j) += 1; similarity is the cosine C(i,j)/sqrt(n_i n_j). Rows are
 * bounded to `neighbours_max` entries by a deterministic rule (Space-Saving, Metwally et al. 2005:
 * the smallest count, then the smallest number, is replaced and its count inherited). Decayed
 * popularity halves every `half_life` events (sequence numbers, not time: the same on every
 * replay).
 *
 *   row i   (neighbour, count) (neighbour, count) ...   ascending by neighbour: the same counts are
 *                                                       the same bytes whatever came first
 *
 * thread: one writer; readers of a copy that nobody writes may be many.
 */
#ifndef MODEL_COUNTERS_H
#define MODEL_COUNTERS_H

#include <stdint.h>

#include "base/status.h"

struct counters_settings {
    int items_max;
    int neighbours_max; /* entries of a row, 512 */
    int span;           /* window items paired with the new one */
    double half_life;   /* events */
};

#define DECAYED_LOG_FLOOR (-12.0) /* log of a decayed count that is as good as none */

struct counters;

MUST_CHECK enum status counters_new(const struct counters_settings *settings,
                                    struct counters **ret_counters, struct error *err);
void counters_free(struct counters *counters);
/* dst becomes equal to src; settings must be equal. On failure dst is unchanged. */
MUST_CHECK enum status counters_copy(struct counters *dst, const struct counters *src,
                                     struct error *err);
/* Learns one event; items may be new. seq orders decay and never falls. LIMIT beyond items_max,
 * NO_MEMORY; after a failure a part of the event's pairs may be counted. */
MUST_CHECK enum status counters_add(struct counters *counters, const uint32_t *window,
                                    int window_count, uint32_t item, uint64_t seq,
                                    struct error *err);
int counters_items(const struct counters *counters); /* largest item number seen + 1 */
/* Events of an item; 0 for one never seen. */
uint64_t counters_popularity(const struct counters *counters, uint32_t item);
/* log(events + 1) of all items, one float each, counters_items of them. borrows: until the next
 * add. */
const float *counters_popularity_logs(const struct counters *counters);
/* Decayed to seq. */
double counters_decayed(const struct counters *counters, uint32_t item, uint64_t seq);
/* log(decayed to seq), not below DECAYED_LOG_FLOOR: no exponential, so it is cheap
 * for all items. */
float counters_decayed_log(const struct counters *counters, uint32_t item, uint64_t seq);
/* scores (M) = sum over the newest `history_span` items of the history of the cosine; zeroed
 * first. */
void counters_covisitation(const struct counters *counters, const uint32_t *history,
                           int history_count, int history_span, float *ret_scores, int M);
/* The same for a few candidates only. */
void counters_covisitation_at(const struct counters *counters, const uint32_t *history,
                              int history_count, int history_span, const uint32_t *candidates,
                              int count, float *ret_scores);
/* Serialised as flat arrays for checkpoints and snapshots: the same state gives the same bytes. */
MUST_CHECK enum status counters_save(const struct counters *counters, const char *path,
                                     struct error *err);
/* Replaces the state. CORRUPT names the file and what is wrong; then the state is unchanged. */
MUST_CHECK enum status counters_load(struct counters *counters, const char *path,
                                     struct error *err);

#endif
