/* SPDX-License-Identifier: Apache-2.0
 *
 * run.h - the offline protocol from files to report.
 *
 *   data ─▶ SASRec (offline) ─▶ LoRA, K=1 ─▶ iLoRA, K ─▶ next seed ... ─▶ table, results.json
 *           each step leaves its result in the folder of the run; what is there is not done again
 */
#ifndef OPS_PAPER_RUN_H
#define OPS_PAPER_RUN_H

#include "ops/paper/report.h"

/* Does what is missing in settings->out and prints the table (or the JSON) on stdout, progress on
 * stderr. CONFIG names the setting, file or place. */
MUST_CHECK enum status paper_run(const struct paper_settings *settings, struct error *err);

#endif
