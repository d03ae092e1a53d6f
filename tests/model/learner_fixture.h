/* SPDX-License-Identifier: Apache-2.0
 *
 * learner_fixture.h - a small learner on a generated stream: 24 users who walk through 60 items in
 * neighbouring steps, so that a history says something about what comes next. */
#ifndef TESTS_MODEL_LEARNER_FIXTURE_H
#define TESTS_MODEL_LEARNER_FIXTURE_H

#include "model/learner.h"

#define FIXTURE_USERS 24
#define FIXTURE_ITEMS 60
#define FIXTURE_BATCH 32
#define FIXTURE_ROWS  (40 * FIXTURE_BATCH)

struct learner_walk {
    struct training_row *rows; /* (FIXTURE_ROWS) owns */
    /* what each user consumed: items and their order */
    uint32_t consumed[FIXTURE_USERS][FIXTURE_ROWS];
    uint64_t consumed_seq[FIXTURE_USERS][FIXTURE_ROWS];
    int consumed_count[FIXTURE_USERS];
    int user_of_row[FIXTURE_ROWS];
    struct learner_catalogue catalogue;
    char title[64];
};

/* Rows marked for evaluation (all) and for the language model (every fourth). Fails the test. */
void learner_stream_init(struct learner_walk *stream);
void learner_stream_free(struct learner_walk *stream);
/* Small and quick; no language model. */
struct learner_settings learner_fixture_settings(void);
/* Learns batches [first, first+count) of the stream; fails the test on an error. */
void learner_fixture_run(struct learner *learner, const struct learner_walk *stream, int first,
                         int count);
/* Whole file equal; fails the test with the name otherwise. */
void assert_same_file(const char *folder_a, const char *folder_b, const char *name);

#endif
