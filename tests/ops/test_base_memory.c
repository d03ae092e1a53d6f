/* SPDX-License-Identifier: Apache-2.0
 *
 * test_base_memory.c - the memory foretold for a base model is what it takes. */
#include <math.h>

#include "model/base_model.h"
#include "ops/base_memory.h"
#include "tests/support/unit.h"

static const struct ilora_shape shape = {.R = 8,
                                         .K = 4,
                                         .alpha = 32.0f,
                                         .E = 64,
                                         .projector_width = 16,
                                         .items_max = 100,
                                         .head = ILORA_HEAD_TITLE};

static void assert_near(double foretold, double found, double share) {
    if (!(fabs(foretold - found) <= share * found)) {
        fail_msg("foretold %.0f bytes, found %.0f", foretold, found);
    }
}

static void check_mode(const char *path, enum precision precision, bool training) {
    struct error err;
    struct backend *be = NULL;
    struct checkpoint *checkpoint = NULL;
    struct base_model *base = NULL;
    struct language_model *lm = NULL;
    struct ilora_params *params = NULL;
    struct base_memory memory;
    struct language_model_settings settings = {
        .tokens_max = 512, .sequences_max = 8, .items_max = 100, .training = training};
    ASSERT_OK(backend_cpu_new(1, &be, &err), err);
    ASSERT_OK(checkpoint_open(path, &checkpoint, &err), err);
    ASSERT_OK(base_model_load(be, checkpoint, precision, training, &base, &err), err);
    ASSERT_OK(language_model_new(base, &settings, &shape, &lm, &err), err);
    const struct model_description *d = checkpoint_description(checkpoint);
    ASSERT_OK(ilora_params_new(be, d, &shape, 1, training, &params, &err), err);

    ASSERT_OK(base_memory_of(d, &shape, 512, precision, training, &memory, &err), err);

    assert_near((double)memory.weights, (double)base_model_bytes(base), 0.15);
    assert_int_equal(memory.parameters / (training ? 6u : 1u),
                     ilora_params_floats(params) * sizeof(float));
    assert_true(memory.work > 0 && memory.work <= language_model_bytes(lm));

    ilora_params_free(params);
    language_model_free(lm);
    base_model_free(base);
    checkpoint_close(checkpoint);
    be->ops->free(be);
}

static void foretold_memory_is_what_scoring_takes(void **state) {
    (void)state;
    check_mode("builtin:small", PRECISION_F32, false);
}

static void foretold_memory_is_what_training_takes(void **state) {
    (void)state;
    check_mode("builtin:small", PRECISION_F32, true);
}

static void parameters_of_a_known_model_are_counted(void **state) {
    (void)state;
    const struct model_description smollm2 = {.L = 30,
                                              .C = 576,
                                              .H = 9,
                                              .G = 3,
                                              .D = 64,
                                              .F = 1536,
                                              .V = 49152,
                                              .context = 8192,
                                              .tied_head = true};
    assert_int_equal(base_model_parameters(&smollm2), 134515008); /* the model card's 135 M */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(foretold_memory_is_what_scoring_takes),
        cmocka_unit_test(foretold_memory_is_what_training_takes),
        cmocka_unit_test(parameters_of_a_known_model_are_counted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
