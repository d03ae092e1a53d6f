/* SPDX-License-Identifier: Apache-2.0
 *
 * learner_lm_fixture.h - what a learner with a language model stands on: the stream of
 * learner_fixture.h, the built-in tiny base with its tokenizer and prompt, and a folder. */
#ifndef TESTS_MODEL_LEARNER_LM_FIXTURE_H
#define TESTS_MODEL_LEARNER_LM_FIXTURE_H

#include "tests/model/learner_fixture.h"
#include "tests/support/tmpdir.h"

struct learner_lm_fixture {
    struct learner_walk *stream;
    struct backend *be;
    struct checkpoint *checkpoint;
    struct base_model *base;
    struct tokenizer *tokenizer;
    struct prompt_template *template;
    struct tmpdir tmp;
};

/* The SHA-256 that versions of the fixture name for their base. */
extern const uint8_t learner_lm_digest[SHA256_BYTES];

/* cmocka's setup and teardown: *state is a struct learner_lm_fixture. */
int learner_lm_setup(void **state);
int learner_lm_teardown(void **state);
/* Rank 4 of two experts, item head, titles as vectors. */
struct learner_settings learner_lm_settings(const struct learner_lm_fixture *f);
/* A fresh learner; a version that it makes in a folder of this name. They fail the test on an
 * error. */
struct learner *learner_lm_open(const struct learner_lm_fixture *f,
                                const struct learner_settings *settings);
struct version *learner_lm_version(const struct learner_lm_fixture *f, struct learner *learner,
                                   uint64_t number, const char *name);

#endif
