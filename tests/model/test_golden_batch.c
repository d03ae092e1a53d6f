/* SPDX-License-Identifier: Apache-2.0
 *
 * test_golden_batch.c - the golden batch stays what it is while the adapter learns, moves when a
 * frozen weight does, and rejects a version that gives no probabilities. */
#include <math.h>

#include "base/memory.h"
#include "model/base_model.h"
#include "model/golden_batch.h"
#include "tests/model/learner_fixture.h"
#include "tests/support/tmpdir.h"
#include "tests/support/unit.h"

struct fixture {
    struct learner_walk stream; /* large */
    struct backend *be;
    struct checkpoint *checkpoint;
    struct base_model *base;
    struct tokenizer *tokenizer;
    struct prompt_template *template;
    struct learner *learner;
};

static int setup(void **state) {
    struct error err;
    struct fixture *f = MEMORY_TAKE_ARRAY(struct fixture, 1);
    assert_non_null(f);
    learner_stream_init(&f->stream);
    ASSERT_OK(backend_cpu_new(1, &f->be, &err), err);
    ASSERT_OK(checkpoint_open("builtin:tiny:3", &f->checkpoint, &err), err);
    ASSERT_OK(base_model_load(f->be, f->checkpoint, PRECISION_F32, true, &f->base, &err), err);
    ASSERT_OK(tokenizer_open(f->checkpoint, &f->tokenizer, &err), err);
    ASSERT_OK(prompt_template_open(NULL, f->tokenizer, &f->template, &err), err);

    struct learner_settings settings = learner_fixture_settings();
    settings.lm = true;
    settings.ilora = (struct ilora_shape){.R = 4,
                                          .K = 2,
                                          .alpha = 8.0f,
                                          .gate_floor = 0.05f,
                                          .E = settings.fast.sasrec.E,
                                          .projector_width = 16,
                                          .items_max = settings.fast.sasrec.items_max,
                                          .head = ILORA_HEAD_ITEM};
    settings.lm_step = (struct lm_step){.learning_rate = 1e-2f,
                                        .multiplier = {1, 1, 1, 1},
                                        .beta1 = 0.9f,
                                        .beta2 = 0.999f,
                                        .epsilon = 1e-8f,
                                        .ema_decay = 0.5f};
    settings.history = 3;
    settings.micro_batch_tokens = 256;
    ASSERT_OK(learner_new(&settings, f->be, f->be, f->base, f->tokenizer, f->template,
                          &f->stream.catalogue, &f->learner, &err),
              err);
    *state = f;
    return 0;
}

static int teardown(void **state) {
    struct fixture *f = *state;
    learner_free(f->learner);
    prompt_template_close(f->template);
    tokenizer_close(f->tokenizer);
    base_model_free(f->base);
    checkpoint_close(f->checkpoint);
    f->be->ops->free(f->be);
    learner_stream_free(&f->stream);
    memory_free(f);
    return 0;
}

static void learning_does_not_move_it(void **state) {
    struct fixture *f = *state;
    struct golden_batch before, after;
    struct error err;
    ASSERT_OK(golden_batch_run(f->learner, &before, &err), err);
    learner_fixture_run(f->learner, &f->stream, 0, 4);
    ASSERT_OK(golden_batch_run(f->learner, &after, &err), err);

    assert_memory_equal(&before, &after, sizeof before);
    assert_true(golden_batch_difference(&before, &after) == 0.0);
    for (int i = 0; i < GOLDEN_FIGURES; i += 2) {
        assert_true(before.figure[i] > 0.01); /* they say something */
    }
}

/* The gain of the last layer's second norm: what a card's broken memory would do. */
static void a_weight_that_was_overwritten_shows(void **state) {
    struct fixture *f = *state;
    struct golden_batch before, after;
    struct error err;
    struct tensor gain = tensor_cols(f->base->layers[1].norm2, 5, 1);
    float was = 0.0f, now = 100.0f;
    ASSERT_OK(golden_batch_run(f->learner, &before, &err), err);
    ASSERT_OK(f->be->ops->download(f->be, &was, gain, &err), err);
    ASSERT_OK(f->be->ops->upload(f->be, gain, &now, &err), err);
    ASSERT_OK(golden_batch_run(f->learner, &after, &err), err);
    assert_true(golden_batch_difference(&before, &after) > golden_batch_tolerance(PRECISION_BF16));

    now = NAN;
    ASSERT_OK(f->be->ops->upload(f->be, gain, &now, &err), err);
    ASSERT_OK(golden_batch_run(f->learner, &after, &err), err);
    assert_true(isinf(golden_batch_difference(&before, &after)));

    ASSERT_OK(f->be->ops->upload(f->be, gain, &was, &err), err);
    ASSERT_OK(golden_batch_run(f->learner, &after, &err), err);
    assert_true(golden_batch_difference(&before, &after) == 0.0);
}

/* The learner goes back to a version whose adapter holds one NaN. */
static void a_version_that_gives_no_numbers_is_rejected(void **state) {
    static const uint8_t digest[SHA256_BYTES] = {1};
    struct fixture *f = *state;
    struct version *version = NULL;
    struct tmpdir tmp;
    char reason[GOLDEN_REASON_BYTES] = "left";
    struct error err;
    tmpdir_init(&tmp);
    ASSERT_OK(golden_batch_version(f->learner, reason, &err), err);
    assert_string_equal(reason, ""); /* nothing to score yet */
    learner_fixture_run(f->learner, &f->stream, 0, 4);
    ASSERT_OK(golden_batch_version(f->learner, reason, &err), err);
    assert_string_equal(reason, "");

    ASSERT_OK(learner_make_version(f->learner, 1, tmpdir_path(&tmp, "1"), "test", "tiny", digest,
                                   &version, &err),
              err);
    float *values = MEMORY_TAKE_ARRAY(float, ilora_params_floats(version->params));
    assert_non_null(values);
    ASSERT_OK(ilora_params_read(version->params, ILORA_VALUE, values, &err), err);
    values[3] = NAN;
    ASSERT_OK(ilora_params_write(version->params, ILORA_VALUE, values, &err), err);
    ASSERT_OK(learner_restore_version(f->learner, version, &err), err);
    ASSERT_OK(golden_batch_version(f->learner, reason, &err), err);
    ASSERT_CONTAINS(reason, "not finite");
    version_give(version);
    memory_free(values);
    tmpdir_free(&tmp);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(learning_does_not_move_it, setup, teardown),
        cmocka_unit_test_setup_teardown(a_weight_that_was_overwritten_shows, setup, teardown),
        cmocka_unit_test_setup_teardown(a_version_that_gives_no_numbers_is_rejected, setup,
                                        teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
