/* SPDX-License-Identifier: Apache-2.0
 *
 * evaluator.c - live evaluation: was the item in the list last published for the user?
 *
 * Why it exists: the one figure that users feel. It is a fold like any other, so it is exact after
 * a kill and checked by the evaluation digest (PROTOCOL.md).
 * Rule: a list that already knew an event of the same or a later time is not evaluated (MODEL.md,
 * Evaluation on the stream (a)). Sums, not means: NDCG with one relevant item is 1/log2(1 + rank).
 * Thread: core. */
#include <math.h>

#include "daemon/engine_parts.h"

enum status evaluate_live(struct engine *engine, struct span user, uint32_t item, int64_t time_ms,
                          struct error *err) {
    struct published published;
    enum status status = published_load(engine->doors.stage, user, &published, err);
    if (status == STATUS_NOT_FOUND) { return STATUS_OK; }
    if (status != STATUS_OK) { return status; }
    if (published.newest_ms >= time_ms) { return STATUS_OK; }

    struct live_sums *live = &engine->state.live;
    live->count++;
    uint32_t index = 0;
    while (index < published.count && published.items[index] != item) {
        index++;
    }
    if (index == published.count) { return STATUS_OK; }
    live->mrr += 1.0 / (index + 1);
    live->hit_1 += index < 1;
    live->hit_5 += index < 5;
    live->hit_10 += index < 10;
    if (index < 10) { live->ndcg_10 += 1.0 / log2(index + 2.0); }
    return STATUS_OK;
}
