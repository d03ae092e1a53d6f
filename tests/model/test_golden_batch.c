/* SPDX-License-Identifier: Apache-2.0
 *
 * test_golden_batch.c - the golden batch stays what it is while the adapter learns, moves when a
 * frozen weight does, and rejects a version that gives no probabilities. */
#include <math.h>

#include "base/memory.h"
#include "model/base_model.h"
#include "model/golden_batch.h"
#include "tests/model/learner_lm_fixture.h"
#include "tests/support/unit.h"

static void learning_does_not_move_it(void **state) {
    const struct learner_lm_fixture *f = *state;
    const struct learner_settings settings = learner_lm_settings(f);
    struct learner *learner = learner_lm_open(f, &settings);
    struct golden_batch before, after;
    struct error err;
    ASSERT_OK(golden_batch_run(learner, &before, &err), err);
    learner_fixture_run(learner, f->stream, 0, 4);
    ASSERT_OK(golden_batch_run(learner, &after, &err), err);

    assert_memory_equal(&before, &after, sizeof before);
    assert_true(golden_batch_difference(&before, &after) == 0.0);
    for (int i = 0; i < GOLDEN_FIGURES; i += 2) {
        assert_true(before.figure[i] > 0.01); /* they say something */
    }
    learner_free(learner);
}

/* The gain of the last layer's second norm: what a card's broken memory would do. */
static void a_weight_that_was_overwritten_shows(void **state) {
    const struct learner_lm_fixture *f = *state;
    const struct learner_settings settings = learner_lm_settings(f);
    struct learner *learner = learner_lm_open(f, &settings);
    struct golden_batch before, after;
    struct error err;
    struct tensor gain = tensor_cols(f->base->layers[1].norm2, 5, 1);
    float was = 0.0f, now = 100.0f;
    ASSERT_OK(golden_batch_run(learner, &before, &err), err);
    ASSERT_OK(f->be->ops->download(f->be, &was, gain, &err), err);
    ASSERT_OK(f->be->ops->upload(f->be, gain, &now, &err), err);
    ASSERT_OK(golden_batch_run(learner, &after, &err), err);
    assert_true(golden_batch_difference(&before, &after) > golden_batch_tolerance(PRECISION_BF16));

    now = NAN;
    ASSERT_OK(f->be->ops->upload(f->be, gain, &now, &err), err);
    ASSERT_OK(golden_batch_run(learner, &after, &err), err);
    assert_true(isinf(golden_batch_difference(&before, &after)));

    ASSERT_OK(f->be->ops->upload(f->be, gain, &was, &err), err);
    ASSERT_OK(golden_batch_run(learner, &after, &err), err);
    assert_true(golden_batch_difference(&before, &after) == 0.0);
    learner_free(learner);
}

/* The learner goes back to a version whose adapter holds one NaN. */
static void a_version_that_gives_no_numbers_is_rejected(void **state) {
    const struct learner_lm_fixture *f = *state;
    const struct learner_settings settings = learner_lm_settings(f);
    struct learner *learner = learner_lm_open(f, &settings);
    char reason[GOLDEN_REASON_BYTES] = "left";
    struct error err;
    ASSERT_OK(golden_batch_version(learner, reason, &err), err);
    assert_string_equal(reason, ""); /* nothing to score yet */
    learner_fixture_run(learner, f->stream, 0, 4);
    ASSERT_OK(golden_batch_version(learner, reason, &err), err);
    assert_string_equal(reason, "");

    struct version *version = learner_lm_version(f, learner, 1, "1");
    float *values = MEMORY_TAKE_ARRAY(float, ilora_params_floats(version->params));
    assert_non_null(values);
    ASSERT_OK(ilora_params_read(version->params, ILORA_VALUE, values, &err), err);
    values[3] = NAN;
    ASSERT_OK(ilora_params_write(version->params, ILORA_VALUE, values, &err), err);
    ASSERT_OK(learner_restore_version(learner, version, &err), err);
    ASSERT_OK(golden_batch_version(learner, reason, &err), err);
    ASSERT_CONTAINS(reason, "not finite");
    version_give(version);
    memory_free(values);
    learner_free(learner);
}

int main(void) {
#define CASE(test) cmocka_unit_test_setup_teardown(test, learner_lm_setup, learner_lm_teardown)
    const struct CMUnitTest tests[] = {
        CASE(learning_does_not_move_it),
        CASE(a_weight_that_was_overwritten_shows),
        CASE(a_version_that_gives_no_numbers_is_rejected),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
