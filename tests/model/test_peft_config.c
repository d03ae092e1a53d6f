/* SPDX-License-Identifier: Apache-2.0
 *
 * test_peft_config.c - adapter_config.json: what is taken, and each refusal in its words. */
#include "model/peft_config.h"

#include <stdio.h>

#include "tests/support/unit.h"

/* The smallest good config with more members. */
static void config_text(const char *more, char text[512]) {
    (void)snprintf(text, 512,
                   "{\"peft_type\":\"LORA\",\"r\":2,\"lora_alpha\":4,"
                   "\"target_modules\":[\"q_proj\",\"mlp.up_proj\"]%s%s}",
                   more[0] != '\0' ? "," : "", more);
}

static void what_iLoRA_cannot_express_is_refused_in_one_line(void **state) {
    static const char *const cases[][2] = {
        {"\"use_dora\":true", "field 'use_dora' is true, expected none"},
        {"\"rank_pattern\":{\"q_proj\":4}", "field 'rank_pattern' is an object of 1"},
        {"\"alpha_pattern\":{\"q_proj\":4}", "field 'alpha_pattern' is an object of 1"},
        {"\"bias\":\"lora_only\"", "field 'bias' is 'lora_only', expected 'none'"},
        {"\"lora_bias\":true", "field 'lora_bias' is true"},
        {"\"modules_to_save\":[\"lm_head\"]", "field 'modules_to_save' is a list of 1"},
        {"\"fan_in_fan_out\":true", "field 'fan_in_fan_out' is true"},
        {"\"trainable_token_indices\":[1,2]", "field 'trainable_token_indices' is a list of 2"},
        {"\"layer_replication\":[[0,2]]", "field 'layer_replication'"},
        {"\"init_lora_weights\":\"pissa\"", "field 'init_lora_weights' is 'pissa'"},
        {"\"init_lora_weights\":\"pissa_niter_16\"", "is 'pissa_niter_16'"},
        {"\"init_lora_weights\":\"olora\"", "is 'olora'"},
        {"\"init_lora_weights\":\"corda\"", "is 'corda'"},
        {"\"init_lora_weights\":\"loftq\"", "belongs to a base changed by its init"},
        {"\"alora_invocation_tokens\":[5]", "field 'alora_invocation_tokens'"},
        {"\"use_qalora\":true", "field 'use_qalora'"},
        {"\"of_tomorrow\":{\"a\":1}", "field 'of_tomorrow' is an object of 1, expected none"},
        {"\"peft_type\":\"IA3\"", "field 'peft_type' is 'IA3', expected 'LORA'"},
        {"\"r\":0", "field 'r' is 0, expected 1 to 1024"},
        {"\"r\":\"8\"", "field 'r' is '8', expected 1 to 1024"},
        {"\"lora_alpha\":-1", "field 'lora_alpha' is -1"},
        {"\"lora_alpha\":null", "field 'lora_alpha' is null"},
        {"\"use_rslora\":\"yes\"", "field 'use_rslora' is 'yes', expected true or false"},
        {"\"target_modules\":[\"q_proj\",\"embed_tokens\"]",
         "field 'target_modules' holds 'embed_tokens', expected some of q_proj, k_proj"},
        {"\"target_modules\":[\"lm_head\"]", "holds 'lm_head'"},
        {"\"target_modules\":[7]", "holds 7"},
        {"\"target_modules\":[]", "field 'target_modules' is a list of 0"},
        {"\"target_modules\":null", "field 'target_modules' is null"},
        {"\"layers_pattern\":\"blocks\"", "field 'layers_pattern' is 'blocks', expected 'layers'"},
    };
    struct peft_config config;
    struct error err;
    char text[512];

    (void)state;
    for (size_t c = 0; c < sizeof cases / sizeof cases[0]; c++) {
        config_text(cases[c][0], text);
        ASSERT_STATUS(peft_config_read(span_of(text), &config, &err), STATUS_CONFIG);
        ASSERT_CONTAINS(err.text, cases[c][1]);
        assert_null(strchr(err.text, '\n'));
    }
    ASSERT_STATUS(peft_config_read(span_of("{\"peft_type\":"), &config, &err), STATUS_CONFIG);
    ASSERT_STATUS(peft_config_read(span_of("[]"), &config, &err), STATUS_CONFIG);
    ASSERT_CONTAINS(err.text, "field 'peft_type' is nothing, expected 'LORA'");
}

static void what_changes_nothing_is_taken(void **state) {
    static const char *const cases[] = {
        "",
        "\"use_dora\":false,\"rank_pattern\":{},\"modules_to_save\":null,\"bias\":\"none\"",
        "\"init_lora_weights\":true,\"lora_dropout\":0.1,\"inference_mode\":true",
        "\"init_lora_weights\":\"gaussian\",\"use_rslora\":true",
        "\"of_tomorrow\":null,\"also\":false,\"and\":[],\"or\":0,\"nor\":\"\"",
        "\"target_modules\":\"all-linear\"",
        "\"target_modules\":[\"model.layers.3.self_attn.q_proj\",\"11.mlp.up_proj\"]",
        "\"layers_pattern\":[\"layers\"],\"layers_to_transform\":[0,1]",
    };
    struct peft_config config;
    struct error err;
    char text[512];

    (void)state;
    for (size_t c = 0; c < sizeof cases / sizeof cases[0]; c++) {
        config_text(cases[c], text);
        ASSERT_OK(peft_config_read(span_of(text), &config, &err), err);
        assert_int_equal(config.rank, 2);
        assert_true(config.alpha == 4.0);
        assert_int_equal(config.rslora, c == 3);
        peft_config_free(&config);
    }
}

static void targets_are_matched_as_peft_does(void **state) {
    enum { Q = 0, UP = 5, DOWN = 6 };
    struct peft_config config;
    struct error err;
    char text[512];

    (void)state;
    config_text("\"layers_to_transform\":[1,3],\"exclude_modules\":[\"3.mlp.up_proj\"]", text);
    ASSERT_OK(peft_config_read(span_of(text), &config, &err), err);
    assert_true(peft_config_targets(&config, 1, Q));
    assert_true(peft_config_targets(&config, 1, UP));
    assert_true(peft_config_targets(&config, 3, Q));
    assert_false(peft_config_targets(&config, 3, UP)); /* excluded */
    assert_false(peft_config_targets(&config, 0, Q));  /* another layer */
    assert_false(peft_config_targets(&config, 1, DOWN));
    peft_config_free(&config);

    config_text("\"target_modules\":[\"1.self_attn.q_proj\",\"_proj\"]", text);
    ASSERT_STATUS(peft_config_read(span_of(text), &config, &err), STATUS_CONFIG);
    ASSERT_CONTAINS(err.text, "holds '_proj'"); /* the end of a name, not after a dot */
    config_text("\"target_modules\":[\"1.self_attn.q_proj\"]", text);
    ASSERT_OK(peft_config_read(span_of(text), &config, &err), err);
    assert_true(peft_config_targets(&config, 1, Q));
    assert_false(peft_config_targets(&config, 11, Q));
    assert_false(peft_config_targets(&config, 0, Q));
    peft_config_free(&config);
}

static void our_config_is_read_back(void **state) {
    struct peft_config config;
    struct buffer out = {0};
    struct error err;

    (void)state;
    ASSERT_OK(peft_config_make(8, 32.5, "base \"x\"", &out, &err), err);
    ASSERT_OK(peft_config_read(buffer_span(&out), &config, &err), err);
    assert_int_equal(config.rank, 8);
    assert_true(config.alpha == 32.5);
    assert_string_equal(config.base_name, "base \"x\"");
    for (int module = 0; module < PEFT_MODULES; module++) {
        assert_true(peft_config_targets(&config, 29, module));
    }
    peft_config_free(&config);
    buffer_free(&out);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_iLoRA_cannot_express_is_refused_in_one_line),
        cmocka_unit_test(what_changes_nothing_is_taken),
        cmocka_unit_test(targets_are_matched_as_peft_does),
        cmocka_unit_test(our_config_is_read_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
