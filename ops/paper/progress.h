/* SPDX-License-Identifier: Apache-2.0
 *
 * progress.h - how far a long run is and how long it will still take.
 *
 *   terminal   one line redrawn:   lora, seed 1: train  [=====>    ]  43 %  1h 12m left  loss ▇▅▂
 *   otherwise  a plain line every half minute, and one at the end; never a bar
 *
 * The time left is from the work done in this process alone, so that a resumed run is right too.
 */
#ifndef OPS_PAPER_PROGRESS_H
#define OPS_PAPER_PROGRESS_H

#include <stdbool.h>
#include <stdio.h>

#include "base/bytes.h"
#include "ops/terminal.h"

#define PROGRESS_WHAT_BYTES 96

struct progress {
    FILE *to; /* borrows; NULL: says nothing */
    bool terminal;
    char what[PROGRESS_WHAT_BYTES];
    int64_t total;    /* units of work */
    int64_t first;    /* done before this process began */
    int64_t began_us; /* monotonic */
    int64_t shown_us; /* when a line was written last */
    struct chart loss;
    double last_loss; /* shown until the next one; NaN before the first */
};

/* What the line says; exposed for tests. elapsed_us covers units first..done. loss NaN: left out.
 * bar: with a bar and chart, no newline. STATUS_NO_MEMORY. */
MUST_CHECK enum status progress_text(const struct progress *progress, int64_t done,
                                     int64_t elapsed_us, double loss, bool bar, struct buffer *out);

void progress_begin(struct progress *progress, FILE *to, bool terminal, int64_t first,
                    int64_t total, const char *what, ...) PRINTF_LIKE(6, 7);
/* Says where the work stands, when it is time to; the end is progress_end's to say. loss NaN:
 * none. */
void progress_at(struct progress *progress, int64_t done, double loss);
/* The last word of this piece of work. */
void progress_end(struct progress *progress, int64_t done, double loss);

#endif
