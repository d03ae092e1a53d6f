/* SPDX-License-Identifier: Apache-2.0
 *
 * report.h - all results of a run as a table, and as JSON that says how to repeat it.
 */
#ifndef OPS_PAPER_REPORT_H
#define OPS_PAPER_REPORT_H

#include "ops/paper/settings.h"
#include "ops/paper/state.h"

#define PAPER_SEEDS_MAX 100

struct paper_report {
    const struct paper_settings *settings; /* borrows */
    const struct paper_setting *recorded;  /* borrows: settings and digests as text */
    int recorded_count;
    int sequences;                   /* that SASRec learns from: all, whatever the limit */
    int train_samples, test_samples; /* used of */
    int train_total, test_total;     /* that the data has */
    /* owns: by method and seed - 1; samples 0 = not run. The base has seed 1 alone. */
    struct paper_result results[PAPER_METHOD_COUNT][PAPER_SEEDS_MAX];
    char program_sha256[65]; /* of the program that wrote the report */
};

/* A figure of one method over its seeds: mean and interval. */
struct paper_summary {
    int seeds;
    double mean;
    struct interval interval; /* NaN where there is none */
};

void paper_report_free(struct paper_report *report);
struct paper_summary paper_report_figure(const struct paper_report *report,
                                         enum paper_method method, enum paper_figure figure);
/* iLoRA minus LoRA, HR@1 over all samples (scored: of the most likely candidate), on the seeds that
 * both have; seeds 0 when there are none. NO_MEMORY. */
MUST_CHECK enum status paper_report_difference(const struct paper_report *report, bool scored,
                                               struct paper_summary *ret_difference,
                                               struct error *err);
/* Appends the table. */
MUST_CHECK enum status paper_report_table(const struct paper_report *report, struct buffer *out,
                                          struct error *err);
/* Appends the JSON text. */
MUST_CHECK enum status paper_report_json(const struct paper_report *report, struct buffer *out,
                                         struct error *err);

#endif
