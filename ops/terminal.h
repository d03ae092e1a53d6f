/* SPDX-License-Identifier: Apache-2.0
 *
 * terminal.h - the live view: a picture of the daemon as lines of text, and small charts of blocks.
 */
#ifndef OPS_TERMINAL_H
#define OPS_TERMINAL_H

#include <stdbool.h>

#include "base/bytes.h"
#include "base/json.h"
#include "base/status.h"

#define CHART_POINTS_MAX 600

/* The last values of one figure, oldest first. */
struct chart {
    double points[CHART_POINTS_MAX];
    int count;
};

void chart_add(struct chart *chart, double value); /* drops the oldest */
/* Appends `width` blocks "▁▂▃▄▅▆▇█", newest at the right; several points share one when there are
 * more than fit (their mean). Values that are not finite are blank. */
MUST_CHECK enum status chart_draw(const struct chart *chart, int width, struct buffer *out);

/* Appends the answer of the command "status" as text: counts, rates, one table of all models. */
MUST_CHECK enum status terminal_status(const struct json_value *status, bool colour,
                                       struct buffer *out);

/* One column of the view's models: prequential figures of one model on candidates and catalogue. */
struct model_line {
    const char *model; /* as in the figures */
    const char *words; /* as shown */
};
/* The models in the order they are shown; *ret_count of them. static */
const struct model_line *terminal_models(int *ret_count);

#endif
