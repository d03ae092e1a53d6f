/* SPDX-License-Identifier: Apache-2.0
 *
 * tiny_learner.h - the inside of tiny_core that stands for the learner: counters over the training
 * log, a version at every mark. SASRec stays as it was made, so versions are quick and still
 * differ.
 */
#ifndef TESTS_SUPPORT_TINY_LEARNER_H
#define TESTS_SUPPORT_TINY_LEARNER_H

#include "tests/support/tiny_core.h"

#define TINY_ROWS 4096

/* Makes the learner, and version 0. */
MUST_CHECK enum status tiny_learner_open(struct tiny_core *core, struct error *err);
void tiny_learner_close(struct tiny_core *core);
/* "<state>/versions/<number>" */
void tiny_learner_path(const struct tiny_core *core, uint64_t number,
                       char path[FILE_PATH_BYTES_MAX]);

#endif
