/* SPDX-License-Identifier: Apache-2.0
 *
 * test_peft_adapter.c - what the folder of an adapter may not hold, and adapters that are not of
 * this base. */
#include <math.h>
#include <stdio.h>

#include "tests/model/peft_fixture.h"
#include "tests/support/fault.h"
#include "tests/support/unit.h"

/* ---- folders that are not right -------------------------------------------------------------- */

#define STEM   "base_model.model.model.layers.0.self_attn.q_proj.lora_"
#define CONFIG "{\"peft_type\":\"LORA\",\"r\":2,\"lora_alpha\":4,\"target_modules\":[\"q_proj\"]}"

static float ones[64];

static struct safetensors_entry entry_of(const char *name, const char *dtype, int rows, int cols) {
    struct safetensors_entry entry = {.shape = {rows, cols}, .dims = 2, .data = ones};

    (void)snprintf(entry.name, sizeof entry.name, "%s", name);
    (void)snprintf(entry.dtype, sizeof entry.dtype, "%s", dtype);
    entry.bytes = (size_t)rows * (size_t)cols * (dtype[0] == 'I' ? 8u : 4u);
    return entry;
}

/* Opens a folder of this config (NULL: none) and these tensors. */
static enum status open_made(const struct peft_fixture *f, const char *config,
                             const struct safetensors_entry *entries, int count,
                             struct error *err) {
    const char *folder = tmpdir_path(&f->tmp, "made");
    struct peft_adapter *adapter = NULL;

    ASSERT_OK(dir_remove(folder, err), *err);
    ASSERT_OK(dir_make(folder, err), *err);
    if (config != NULL) {
        struct span piece = span_of(config);
        ASSERT_OK(file_write(tmpdir_path(&f->tmp, "made/" PEFT_CONFIG_FILE), &piece, 1, err), *err);
    }
    if (count >= 0) {
        ASSERT_OK(safetensors_write(tmpdir_path(&f->tmp, "made/" PEFT_MODEL_FILE), entries, count,
                                    NULL, 0, err),
                  *err);
    }
    enum status status = peft_adapter_open(folder, &adapter, err);
    peft_adapter_close(adapter);
    return status;
}

static void a_name_with_default_in_it_is_the_same(void **state) {
    const struct peft_fixture *f = *state;
    const struct safetensors_entry good[] = {entry_of(STEM "A.default.weight", "F32", 2, 3),
                                             entry_of(STEM "B.default.weight", "F32", 5, 2)};
    const struct safetensors_entry twice[] = {entry_of(STEM "A.weight", "F32", 2, 3),
                                              entry_of(STEM "A.default.weight", "F32", 2, 3),
                                              entry_of(STEM "B.default.weight", "F32", 5, 2)};
    struct error err;

    ASSERT_OK(open_made(f, CONFIG, good, 2, &err), err);
    ASSERT_STATUS(open_made(f, CONFIG, twice, 3, &err), STATUS_CONFIG);
    ASSERT_CONTAINS(err.text, "with and without '.default'");
}

static void tensors_that_are_not_right_are_named(void **state) {
    struct wrong {
        struct safetensors_entry entries[2];
        int count;
        const char *words;
    };
    const struct safetensors_entry A = entry_of(STEM "A.weight", "F32", 2, 3);
    const struct safetensors_entry B = entry_of(STEM "B.weight", "F32", 5, 2);
    const struct wrong cases[] = {
        {{A}, 1, "lora_B.weight' is missing"},
        {{B}, 1, "lora_A.weight' is missing"},
        {{A, B}, 0, "no tensors"},
        {{A, entry_of(STEM "B.weight", "F32", 5, 3)}, 2, "is (5, 3), expected rank 2"},
        {{entry_of(STEM "A.weight", "F32", 3, 3), B}, 2, "is (3, 3), expected rank 2"},
        {{A, entry_of(STEM "B.weight", "I64", 5, 2)}, 2, "is I64, expected F32, F16 or BF16"},
        {{A, entry_of(STEM "magnitude_vector.weight", "F32", 5, 2)}, 2, "is not known"},
        {{A, entry_of("base_model.model.lm_head.lora_A.weight", "F32", 2, 2)}, 2, "is not known"},
        {{A, entry_of("base_model.model.model.layers.00.mlp.up_proj.lora_A.weight", "F32", 2, 2)},
         2,
         "is not known"},
        {{entry_of("base_model.model.model.layers.0.mlp.up_proj.lora_A.weight", "F32", 2, 3),
          entry_of("base_model.model.model.layers.0.mlp.up_proj.lora_B.weight", "F32", 5, 2)},
         2,
         "q_proj.lora_A.weight' is missing, 'adapter_config.json' names its module"},
    };
    const struct peft_fixture *f = *state;
    struct error err;

    for (size_t c = 0; c < sizeof cases / sizeof cases[0]; c++) {
        ASSERT_STATUS(open_made(f, CONFIG, cases[c].entries, cases[c].count, &err), STATUS_CONFIG);
        ASSERT_CONTAINS(err.text, cases[c].words);
        ASSERT_CONTAINS(err.text, "adapter '");
    }
    const struct safetensors_entry good[] = {A, B};
    ASSERT_OK(open_made(f, CONFIG, good, 2, &err), err);
    ones[4] = NAN;
    ASSERT_STATUS(open_made(f, CONFIG, good, 2, &err), STATUS_CONFIG);
    ones[4] = 0.0F;
    ASSERT_CONTAINS(err.text, "element 4 is nan, expected finite");
    ASSERT_STATUS(open_made(f, NULL, good, 2, &err), STATUS_CONFIG);
    ASSERT_CONTAINS(err.text, "adapter_config.json");
    ASSERT_STATUS(open_made(f, CONFIG, NULL, -1, &err), STATUS_CONFIG);
    ASSERT_CONTAINS(err.text, "adapter_model.safetensors");
}

#define FAR "base_model.model.model.layers.7.self_attn.q_proj.lora_"

/* The base has two layers and other widths than this adapter. */
static void an_adapter_of_another_base_is_refused(void **state) {
    const struct peft_fixture *f = *state;
    const struct ilora_shape shape = peft_shape_of(4, 1);
    struct ilora_params *params = peft_params_of(f, &shape, false);
    struct error err;

    const struct safetensors_entry widths[] = {entry_of(STEM "A.weight", "F32", 2, 3),
                                               entry_of(STEM "B.weight", "F32", 5, 2)};
    const struct safetensors_entry layers[] = {entry_of(FAR "A.weight", "F32", 2, 3),
                                               entry_of(FAR "B.weight", "F32", 5, 2)};
    const char *words[] = {"is (2, 3), expected (2, ", "is of no layer of the base, which has 2"};
    for (int c = 0; c < 2; c++) {
        const char *config = c == 0 ? CONFIG
                                    : "{\"peft_type\":\"LORA\",\"r\":2,\"lora_alpha\":4,"
                                      "\"layers_to_transform\":7,\"target_modules\":[\"q_proj\"]}";
        ASSERT_OK(open_made(f, config, c == 0 ? widths : layers, 2, &err), err);
        struct peft_adapter *adapter = peft_adapter_of(tmpdir_path(&f->tmp, "made"));
        if (c == 0) { adapter->targeted[1] = 0; } /* reach the widths */
        ASSERT_STATUS(peft_adapter_start(adapter, params, &err), STATUS_CONFIG);
        ASSERT_CONTAINS(err.text, words[c]);
        peft_adapter_close(adapter);
    }
    ilora_params_free(params);
}

static void a_module_missing_in_a_later_layer_is_named(void **state) {
    const struct peft_fixture *f = *state;
    const struct ilora_shape shape = peft_shape_of(4, 1);
    struct ilora_params *params = peft_params_of(f, &shape, false);
    const struct safetensors_entry first[] = {entry_of(STEM "A.weight", "F32", 2, 3),
                                              entry_of(STEM "B.weight", "F32", 5, 2)};
    struct error err;

    ASSERT_OK(open_made(f, CONFIG, first, 2, &err), err);
    struct peft_adapter *adapter = peft_adapter_of(tmpdir_path(&f->tmp, "made"));
    ASSERT_STATUS(peft_adapter_start(adapter, params, &err), STATUS_CONFIG);
    ASSERT_CONTAINS(err.text, "layers.1.self_attn.q_proj.lora_A.weight' is missing");
    peft_adapter_close(adapter);
    ilora_params_free(params);
}

static enum status open_once(void *context) {
    struct peft_adapter *adapter = NULL;
    struct error err;
    enum status status = peft_adapter_open(context, &adapter, &err);
    peft_adapter_close(adapter);
    return status;
}

struct start_case {
    struct peft_adapter *adapter;
    struct ilora_params *params;
};

static enum status start_once(void *context) {
    const struct start_case *c = context;
    struct error err;
    return peft_adapter_start(c->adapter, c->params, &err);
}

/* Not the allocations of open: jansson itself breaks when a long key finds no memory. */
static void a_file_or_memory_that_is_refused_is_told(void **state) {
    const struct peft_fixture *f = *state;
    const struct ilora_shape shape = peft_shape_of(4, 2);
    struct start_case c = {peft_adapter_of(peft_golden_folder("qv")),
                           peft_params_of(f, &shape, true)};
    char folder[512];

    (void)snprintf(folder, sizeof folder, "%s", peft_golden_folder("qv"));
    assert_true(fault_sweep(FAULT_FILE, STATUS_IO, open_once, folder) >= 2);
    assert_true(fault_sweep(FAULT_MEMORY, STATUS_NO_MEMORY, start_once, &c) >= 1);
    peft_adapter_close(c.adapter);
    ilora_params_free(c.params);
}

int main(void) {
#define CASE(test) cmocka_unit_test_setup_teardown(test, peft_setup, peft_teardown)
    const struct CMUnitTest tests[] = {
        CASE(a_name_with_default_in_it_is_the_same),
        CASE(tensors_that_are_not_right_are_named),
        CASE(an_adapter_of_another_base_is_refused),
        CASE(a_module_missing_in_a_later_layer_is_named),
        CASE(a_file_or_memory_that_is_refused_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
