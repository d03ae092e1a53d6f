/* SPDX-License-Identifier: Apache-2.0
 *
 * test_device_plan.c - the plan is what is taken, what does not fit is refused by name. */
#include "tests/support/unit.h"

#include <stdio.h>

#include "daemon/device_plan.h"
#include "daemon/model_settings.h"

static void load(struct settings *settings, const char *const *more, int count) {
    struct error err = {0};
    ASSERT_OK(settings_load(NULL, more, count, settings, &err), err);
}

static struct settings *new_settings(void) {
    static struct settings settings;
    return &settings;
}

/* Weights, adapters and activations against the objects themselves. */
static void the_plan_is_what_is_taken(void **state) {
    static const char *const heads[] = {"ilora.head=item", "ilora.head=both"};
    (void)state;
    for (int h = 0; h < 2; h++) {
        struct settings *s = new_settings();
        const char *const more[] = {"state.items_max=500", "train.micro_batch_tokens=256",
                                    heads[h]};
        load(s, more, 3);
        struct error err = {0};
        struct backend *be = NULL;
        struct checkpoint *checkpoint = NULL;
        struct base_model *base = NULL;
        struct ilora_params *params = NULL;
        struct language_model *lm = NULL;
        struct device_plan plan;
        ASSERT_OK(backend_cpu_new(1, &be, &err), err);
        ASSERT_OK(checkpoint_open("builtin:small", &checkpoint, &err), err);
        const struct model_description *d = checkpoint_description(checkpoint);
        struct learner_settings learner = model_settings_learner(s, 2 * d->C, false);
        ASSERT_OK(device_plan_make(be, d, PRECISION_F32, &learner, &plan, &err), err);

        const struct language_model_settings how = {
            .tokens_max = 256, .sequences_max = 32, .items_max = 500, .training = true};
        ASSERT_OK(base_model_load(be, checkpoint, PRECISION_F32, true, &base, &err), err);
        ASSERT_OK(ilora_params_new(be, d, &learner.ilora, 1, true, &params, &err), err);
        ASSERT_OK(language_model_new(base, &how, &learner.ilora, &lm, &err), err);

        size_t slab = ilora_params_floats(params) * sizeof(float), weights = base_model_bytes(base);
        assert_int_equal(plan.activations, language_model_bytes(lm));
        assert_int_equal(plan.adapters, 7 * slab);
        assert_int_equal(plan.versions, DEVICE_VERSIONS * slab);
        /* oneDNN's blocks round sizes up */
        assert_true(plan.weights > weights / 10 * 9 && plan.weights < weights / 10 * 11);
        language_model_free(lm);
        ilora_params_free(params);
        base_model_free(base);
        checkpoint_close(checkpoint);
        be->ops->free(be);
    }
}

/* One copy in bf16 on a card, padded; one a direction on the CPU. */
static void a_card_holds_half_of_what_the_processor_holds(void **state) {
    struct settings *s = new_settings();
    struct error err = {0};
    struct backend *be = NULL;
    struct checkpoint *checkpoint = NULL;
    struct device_plan cpu, card;
    (void)state;
    load(s, NULL, 0);
    ASSERT_OK(backend_cpu_new(1, &be, &err), err);
    ASSERT_OK(checkpoint_open("builtin:small", &checkpoint, &err), err);
    const struct model_description *d = checkpoint_description(checkpoint);
    struct learner_settings learner = model_settings_learner(s, 2 * d->C, false);
    struct backend_ops ops = *be->ops;
    struct backend stand_in = {.ops = &ops};
    ops.name = "cuda";
    ASSERT_OK(device_plan_make(be, d, PRECISION_BF16, &learner, &cpu, &err), err);
    ASSERT_OK(device_plan_make(&stand_in, d, PRECISION_BF16, &learner, &card, &err), err);

    assert_int_equal(card.activations, cpu.activations);
    assert_true(card.weights < cpu.weights);
    assert_true(card.workspace > 0 && cpu.workspace == 0);
    checkpoint_close(checkpoint);
    be->ops->free(be);
}

static void what_does_not_fit_is_refused_with_the_setting_to_lower(void **state) {
    const struct {
        struct device_plan plan;
        const char *setting;
    } cases[] = {
        {{.weights = 900u << 20, .activations = 100u << 20}, "[base_model] path"},
        {{.weights = 100u << 20, .activations = 900u << 20}, "[train] micro_batch_tokens"},
        {{.weights = 100u << 20, .adapters = 900u << 20}, "[ilora] rank"},
    };
    struct error err = {0};
    (void)state;
    for (int i = 0; i < 3; i++) {
        ASSERT_STATUS(device_plan_check(&cases[i].plan, 1000u << 20, &err), STATUS_CONFIG);
        ASSERT_CONTAINS(err.text, cases[i].setting);
        ASSERT_CONTAINS(err.text, "1000 MiB free");
        ASSERT_OK(device_plan_check(&cases[i].plan, 1100u << 20, &err), err);
    }
}

static void a_card_that_is_asked_for_and_missing_is_refused(void **state) {
    struct settings *s = new_settings();
    const char *const more[] = {"device.backend=cuda", "device.index=63"};
    struct error err = {0};
    struct backend *be = NULL;
    (void)state;
    load(s, more, 2);
    ASSERT_STATUS(device_open(s, 1, &be, &err), STATUS_CONFIG);
    ASSERT_CONTAINS(err.text, "[device] backend = cuda, index = 63: ");
    assert_null(be);
}

static void auto_takes_the_processor_where_there_is_no_card(void **state) {
    struct settings *s = new_settings();
    const char *const more[] = {"device.index=63"};
    struct error err = {0};
    struct backend *be = NULL;
    (void)state;
    load(s, more, 1);
    ASSERT_OK(device_open(s, 1, &be, &err), err);
    assert_string_equal(be->ops->name, "cpu");
    be->ops->free(be);
}

static void every_part_has_a_metric(void **state) {
    struct device_plan plan = {
        .weights = 11, .adapters = 22, .versions = 33, .activations = 44, .workspace = 55};
    struct metrics *metrics = NULL;
    struct buffer text = {.limit = 1u << 16};
    struct error err = {0};
    (void)state;
    ASSERT_OK(metrics_init(&metrics, &err), err);
    ASSERT_OK(device_plan_show(&plan, metrics, &err), err);
    ASSERT_OK(metrics_render(metrics, &text), err);
    assert_int_equal(buffer_append(&text, "", 1), STATUS_OK);
    ASSERT_CONTAINS((const char *)text.data, "ilorad_device_memory_bytes{kind=\"weights\"} 11");
    ASSERT_CONTAINS((const char *)text.data, "ilorad_device_memory_bytes{kind=\"workspace\"} 55");
    buffer_free(&text);
    metrics_free(metrics);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_plan_is_what_is_taken),
        cmocka_unit_test(a_card_holds_half_of_what_the_processor_holds),
        cmocka_unit_test(what_does_not_fit_is_refused_with_the_setting_to_lower),
        cmocka_unit_test(a_card_that_is_asked_for_and_missing_is_refused),
        cmocka_unit_test(auto_takes_the_processor_where_there_is_no_card),
        cmocka_unit_test(every_part_has_a_metric),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
