/* SPDX-License-Identifier: Apache-2.0
 *
 * metrics.h - counters, gauges and histograms, rendered in Prometheus' text format 0.0.4.
 *
 * A registry is made by daemon/main and passed down; nothing is global. Registration happens before
 * READY (limit METRIC_SERIES_MAX); updates are relaxed atomics from any thread and never allocate.
 */
#ifndef BASE_METRICS_H
#define BASE_METRICS_H

#include <stdint.h>

#include "base/bytes.h"
#include "base/status.h"

#define METRIC_SERIES_MAX 4096

struct metrics; /* the registry */
struct metric;  /* one series: a name with fixed labels */

enum metric_kind { METRIC_COUNTER, METRIC_GAUGE, METRIC_HISTOGRAM };

MUST_CHECK enum status metrics_init(struct metrics **ret_metrics, struct error *err);
void metrics_free(struct metrics *metrics);

/* labels is "" or `topic="events",result="applied"`, already escaped. The same name and labels give
 * the same series back. bounds: upper bucket bounds in ascending order, histograms only. LIMIT. */
MUST_CHECK enum status metrics_add(struct metrics *metrics, enum metric_kind kind, const char *name,
                                   const char *labels, const char *help, const double *bounds,
                                   int bound_count, struct metric **ret_metric, struct error *err);
void metric_add(struct metric *metric, double amount);    /* counter, gauge */
void metric_set(struct metric *metric, double value);     /* gauge */
void metric_observe(struct metric *metric, double value); /* histogram */
double metric_value(const struct metric *metric);         /* counter, gauge; histogram: the sum */

/* Appends the whole exposition, families sorted by name. */
MUST_CHECK enum status metrics_render(const struct metrics *metrics, struct buffer *out);

#endif
