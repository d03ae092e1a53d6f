/* SPDX-License-Identifier: Apache-2.0
 *
 * test_checkpoint.c - built-in models, Hugging Face folders, and what is refused before any use.
 */
#include "tests/support/unit.h"

#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "model/checkpoint.h"
#include "model/checkpoint_source.h"
#include "model/hf_config.h"
#include "model/tokenizer.h"
#include "tests/support/fault.h"
#include "tests/support/tmpdir.h"

static struct tmpdir folder; /* of one test */

static int folder_make(void **state) {
    (void)state;
    tmpdir_init(&folder);
    return 0;
}

static int folder_remove(void **state) {
    (void)state;
    tmpdir_free(&folder);
    return 0;
}

/* ---- built-in -------------------------------------------------------------------------------- */

static void read_values(const char *path, const char *name, int rows, int cols, float *values) {
    struct error err;
    struct checkpoint *checkpoint = NULL;
    ASSERT_OK(checkpoint_open(path, &checkpoint, &err), err);
    ASSERT_OK(checkpoint_read(checkpoint, name, rows, cols, values, &err), err);
    checkpoint_close(checkpoint);
}

static void builtin_weights_are_a_function_of_the_seed(void **state) {
    (void)state;
    const char *name = "model.layers.1.mlp.gate_proj.weight";
    float first[32 * 16];
    float again[32 * 16];
    float other[32 * 16];
    read_values("builtin:tiny:7", name, 32, 16, first);
    read_values("builtin:tiny:7", name, 32, 16, again);
    read_values("builtin:tiny:8", name, 32, 16, other);
    assert_memory_equal(first, again, sizeof first);
    assert_memory_not_equal(first, other, sizeof first);
}

static void builtin_weights_have_the_scale_they_promise(void **state) {
    (void)state;
    float values[128 * 64];
    double square = 0.0;
    double sum = 0.0;
    read_values("builtin:small", "model.layers.0.mlp.up_proj.weight", 128, 64, values);
    for (int i = 0; i < 128 * 64; i++) {
        sum += (double)values[i];
        square += (double)values[i] * (double)values[i];
    }
    assert_true(sum / (128 * 64) < 0.005 && sum / (128 * 64) > -0.005);
    assert_true(square / (128 * 64) > 0.9 / 64 && square / (128 * 64) < 1.1 / 64);
}

static void builtin_names_that_do_not_exist_are_refused(void **state) {
    (void)state;
    static const char *const paths[] = {"builtin:",        "builtin:huge",
                                        "builtin:tiny:",   "builtin:tiny:x",
                                        "builtin:tiny:-1", "builtin:tiny:1234567890123456789"};
    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++) {
        struct error err;
        struct checkpoint *checkpoint = NULL;
        ASSERT_STATUS(checkpoint_open(paths[i], &checkpoint, &err), STATUS_CONFIG);
        ASSERT_CONTAINS(err.text, "builtin:tiny or builtin:small");
    }
}

static void reading_with_another_shape_or_name_is_refused(void **state) {
    (void)state;
    struct error err;
    struct checkpoint *checkpoint = NULL;
    float values[16];
    ASSERT_OK(checkpoint_open("builtin:tiny", &checkpoint, &err), err);
    ASSERT_STATUS(checkpoint_read(checkpoint, "model.norm.weight", 16, 1, values, &err),
                  STATUS_CONFIG);
    ASSERT_CONTAINS(err.text, "(1, 16)");
    ASSERT_STATUS(
        checkpoint_read(checkpoint, "model.layers.2.input_layernorm.weight", 1, 16, values, &err),
        STATUS_CONFIG);
    ASSERT_CONTAINS(err.text, "missing");
    assert_true(checkpoint_has(checkpoint, "model.layers.1.input_layernorm.weight"));
    assert_false(checkpoint_has(checkpoint, "lm_head.weight"));
    checkpoint_close(checkpoint);
}

static void digests_tell_models_apart(void **state) {
    (void)state;
    static const char *const paths[] = {"builtin:tiny:1", "builtin:tiny:2", "builtin:small:1",
                                        "builtin:tiny"};
    uint8_t digest[4][32];
    for (int i = 0; i < 4; i++) {
        struct error err;
        struct checkpoint *checkpoint = NULL;
        ASSERT_OK(checkpoint_open(paths[i], &checkpoint, &err), err);
        ASSERT_OK(checkpoint_sha256(checkpoint, digest[i], &err), err);
        checkpoint_close(checkpoint);
    }
    assert_memory_not_equal(digest[0], digest[1], 32);
    assert_memory_not_equal(digest[0], digest[2], 32);
    assert_memory_equal(digest[0], digest[3], 32); /* the default seed is 1 */
}

static enum status open_and_close(void *context) {
    struct error err;
    struct checkpoint *checkpoint = NULL;
    enum status status = checkpoint_open(context, &checkpoint, &err);
    if (status == STATUS_OK) { checkpoint_close(checkpoint); }
    return status;
}

static void opening_survives_every_failed_allocation(void **state) {
    (void)state;
    char path[] = "builtin:small:3";
    assert_true(fault_sweep(FAULT_MEMORY, STATUS_NO_MEMORY, open_and_close, path) > 2);
}

/* ---- Hugging Face folders -------------------------------------------------------------------- */

#define HF_TENSORS 11

/* A Llama of one layer: C=8 H=2 G=1 D=4 F=12 V=16, tied. */
static const char hf_config[] =
    "{\"model_type\":\"llama\",\"hidden_size\":8,\"num_hidden_layers\":1,\"num_attention_heads\":2,"
    "\"num_key_value_heads\":1,\"intermediate_size\":12,\"vocab_size\":16,\"rms_norm_eps\":1e-5,"
    "\"tie_word_embeddings\":true,\"bos_token_id\":1,\"eos_token_id\":[2,3],"
    "\"max_position_embeddings\":64%s}";

static float hf_values[16 * 8]; /* shared by all tensors */

static void hf_entries(struct safetensors_entry entries[HF_TENSORS]) {
    static const struct {
        const char *name;
        int rows, cols;
    } tensors[HF_TENSORS] = {
        {"model.embed_tokens.weight", 16, 8},
        {"model.norm.weight", 0, 8},
        {"model.layers.0.input_layernorm.weight", 0, 8},
        {"model.layers.0.post_attention_layernorm.weight", 0, 8},
        {"model.layers.0.self_attn.q_proj.weight", 8, 8},
        {"model.layers.0.self_attn.k_proj.weight", 4, 8},
        {"model.layers.0.self_attn.v_proj.weight", 4, 8},
        {"model.layers.0.self_attn.o_proj.weight", 8, 8},
        {"model.layers.0.mlp.gate_proj.weight", 12, 8},
        {"model.layers.0.mlp.up_proj.weight", 12, 8},
        {"model.layers.0.mlp.down_proj.weight", 8, 12},
    };
    memset(entries, 0, HF_TENSORS * sizeof *entries);
    for (int i = 0; i < HF_TENSORS; i++) {
        int rows = tensors[i].rows;
        (void)snprintf(entries[i].name, sizeof entries[i].name, "%s", tensors[i].name);
        (void)snprintf(entries[i].dtype, sizeof entries[i].dtype, "F32");
        entries[i].dims = rows == 0 ? 1 : 2;
        entries[i].shape[0] = rows == 0 ? tensors[i].cols : rows;
        entries[i].shape[1] = rows == 0 ? 0 : tensors[i].cols;
        entries[i].bytes = sizeof(float) * (size_t)(rows == 0 ? 1 : rows) * (size_t)tensors[i].cols;
        entries[i].data = hf_values;
    }
}

static void write_text(const char *name, const char *text) {
    struct error err;
    struct span piece = span_of(text);
    ASSERT_OK(file_write(tmpdir_path(&folder, name), &piece, 1, &err), err);
}

/* more: members behind the usual ones, with a comma in front. */
static void write_config(const char *more) {
    char text[1024];
    int size = snprintf(text, sizeof text, hf_config, more);
    assert_true(size > 0 && (size_t)size < sizeof text);
    write_text("config.json", text);
}

static void write_weights(const char *name, const struct safetensors_entry *entries, int count) {
    struct error err;
    ASSERT_OK(safetensors_write(tmpdir_path(&folder, name), entries, count, NULL, 0, &err), err);
}

static void write_model(void) {
    struct safetensors_entry entries[HF_TENSORS];
    for (int i = 0; i < 16 * 8; i++) {
        hf_values[i] = (float)i / 4.0f;
    }
    hf_entries(entries);
    write_config("");
    write_weights("model.safetensors", entries, HF_TENSORS);
}

static void expect_refusal(const char *words) {
    struct error err = {.text = ""};
    struct checkpoint *checkpoint = NULL;
    ASSERT_STATUS(checkpoint_open(folder.path, &checkpoint, &err), STATUS_CONFIG);
    ASSERT_CONTAINS(err.text, words);
    ASSERT_CONTAINS(err.text, folder.path);
}

static void a_folder_opens_with_description_and_values(void **state) {
    (void)state;
    struct error err;
    struct checkpoint *checkpoint = NULL;
    float values[16 * 8];
    write_model();

    ASSERT_OK(checkpoint_open(folder.path, &checkpoint, &err), err);

    const struct model_description *d = checkpoint_description(checkpoint);
    assert_string_equal(checkpoint_kind(checkpoint), "hf");
    assert_int_equal(d->F, 12);
    assert_int_equal(d->G, 1);
    assert_int_equal(d->D, 4);
    assert_int_equal(d->context, 64);
    assert_int_equal(d->bos, 1);
    assert_int_equal(d->eos, 2);
    assert_true(d->tied_head && !d->qkv_bias && !d->qk_norm);
    ASSERT_OK(checkpoint_read(checkpoint, "model.embed_tokens.weight", 16, 8, values, &err), err);
    assert_memory_equal(values, hf_values, sizeof values);
    checkpoint_close(checkpoint);
}

static void sixteen_bit_weights_are_widened(void **state) {
    (void)state;
    struct error err;
    struct checkpoint *checkpoint = NULL;
    struct safetensors_entry entries[HF_TENSORS];
    float values[8];
    /* 1, -2, 0.5, 65504 and 1, -2, 0.5, 3.0 */
    static const uint16_t f16[8] = {0x3c00, 0xc000, 0x3800, 0x7bff, 0x0001, 0x8000, 0x0400, 0};
    static const uint16_t bf16[8] = {0x3f80, 0xc000, 0x3f00, 0x4040, 0, 0, 0, 0};
    write_model();
    hf_entries(entries);
    (void)snprintf(entries[1].dtype, sizeof entries[1].dtype, "F16");
    entries[1].bytes = sizeof f16;
    entries[1].data = f16;
    (void)snprintf(entries[2].dtype, sizeof entries[2].dtype, "BF16");
    entries[2].bytes = sizeof bf16;
    entries[2].data = bf16;
    write_weights("model.safetensors", entries, HF_TENSORS);
    ASSERT_OK(checkpoint_open(folder.path, &checkpoint, &err), err);

    ASSERT_OK(checkpoint_read(checkpoint, "model.norm.weight", 1, 8, values, &err), err);
    assert_true(values[0] == 1.0f && values[1] == -2.0f && values[2] == 0.5f);
    assert_true(values[3] == 65504.0f && values[4] == 0x1p-24f && values[6] == 0x1p-14f);
    ASSERT_OK(
        checkpoint_read(checkpoint, "model.layers.0.input_layernorm.weight", 1, 8, values, &err),
        err);
    assert_true(values[0] == 1.0f && values[1] == -2.0f && values[3] == 3.0f);
    checkpoint_close(checkpoint);
}

static void shards_are_found_by_the_index(void **state) {
    (void)state;
    struct error err;
    struct checkpoint *checkpoint = NULL;
    struct safetensors_entry entries[HF_TENSORS];
    write_model();
    hf_entries(entries);
    assert_int_equal(unlink(tmpdir_path(&folder, "model.safetensors")), 0);
    write_weights("one.safetensors", entries, 6);
    write_weights("two.safetensors", entries + 6, HF_TENSORS - 6);
    write_text("model.safetensors.index.json",
               "{\"weight_map\":{\"model.layers.0.mlp.down_proj.weight\":\"two.safetensors\","
               "\"model.norm.weight\":\"one.safetensors\"}}");
    ASSERT_OK(checkpoint_open(folder.path, &checkpoint, &err), err);
    assert_true(checkpoint_has(checkpoint, "model.layers.0.mlp.down_proj.weight"));
    checkpoint_close(checkpoint);
}

static void an_index_that_its_shards_contradict_is_refused(void **state) {
    (void)state;
    struct safetensors_entry entries[HF_TENSORS];
    static const char *const cases[][3] = {
        /* index; tensor; field and file */
        {"{\"weight_map\":{\"model.norm.weight\":\"two.safetensors\",\"a\":\"one.safetensors\"}}",
         "'model.norm.weight'", "'weight_map'"},
        {"{\"weight_map\":{\"lm_head.weight\":\"one.safetensors\"}}", "'lm_head.weight'",
         "'weight_map'"},
        {"{\"weight_map\":{\"model.norm.weight\":\"one.safetensors\",\"b\":\"three.safetensors\"}}",
         "three.safetensors", "does not exist"},
        {"{\"weight_map\":{\"model.norm.weight\":\"one.safetensors\","
         "\"model.norm.weight\":\"two.safetensors\"}}",
         "model.norm.weight", "duplicate"},
        {"{\"weight_map\":[\"one.safetensors\"]}", "index.json", "'weight_map'"},
        {"{\"weight_map\":{\"a\":", "index.json", "JSON line 1"},
        {"", "index.json", "empty"},
    };
    write_model();
    hf_entries(entries);
    write_weights("one.safetensors", entries, 6);
    write_weights("two.safetensors", entries + 6, HF_TENSORS - 6);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        write_text("model.safetensors.index.json", cases[i][0]);
        expect_refusal(cases[i][1]);
        expect_refusal(cases[i][2]);
    }
    /* A tensor in two shards: which one counts would depend on the reader. */
    write_weights("two.safetensors", entries + 5, HF_TENSORS - 5);
    write_text("model.safetensors.index.json",
               "{\"weight_map\":{\"model.layers.0.mlp.down_proj.weight\":\"two.safetensors\","
               "\"model.norm.weight\":\"one.safetensors\"}}");
    expect_refusal("two.safetensors': tensor 'model.layers.0.self_attn.k_proj.weight' is in "
                   "'one.safetensors' as well");
}

/* Opening a FIFO would wait for someone to write into it. */
static void what_is_no_regular_file_is_refused(void **state) {
    (void)state;
    write_model();
    assert_int_equal(unlink(tmpdir_path(&folder, "model.safetensors")), 0);
    assert_int_equal(mkfifo(tmpdir_path(&folder, "model.safetensors"), 0600), 0);
    expect_refusal("model.safetensors' is not a regular file");
}

/* File, tensor and what is wrong; the description itself is fine. */
static void tensors_of_another_shape_or_kind_are_refused_with_their_file(void **state) {
    (void)state;
    static const struct {
        const char *dtype;
        int64_t shape[4];
        int dims;
        size_t bytes;
        const char *words;
    } cases[] = {
        {"F32", {9}, 1, 36, "'shape' is (1, 9)"},       {"F32", {1, 8}, 2, 32, NULL},
        {"F32", {8, 1}, 2, 32, "'shape' is (8, 1)"},    {"F32", {2, 2, 2}, 3, 32, "'shape' is no"},
        {"F32", {0}, 1, 0, "'shape' is (1, 0)"},        {"F32", {0}, 0, 4, "'shape' is no"},
        {"F32", {0, 1ll << 40}, 2, 0, "'shape' is no"}, {"I32", {8}, 1, 32, "'dtype' is I32"},
        {"F64", {8}, 1, 64, "'dtype' is F64"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct error err = {.text = ""};
        struct checkpoint *checkpoint = NULL;
        struct safetensors_entry entries[HF_TENSORS];
        float values[8];
        write_model();
        hf_entries(entries);
        (void)snprintf(entries[1].dtype, sizeof entries[1].dtype, "%s", cases[i].dtype);
        memcpy(entries[1].shape, cases[i].shape, sizeof entries[1].shape);
        entries[1].dims = cases[i].dims;
        entries[1].bytes = cases[i].bytes;
        write_weights("model.safetensors", entries, HF_TENSORS);
        enum status status = checkpoint_open(folder.path, &checkpoint, &err);
        if (status == STATUS_OK) {
            status = checkpoint_read(checkpoint, "model.norm.weight", 1, 8, values, &err);
            checkpoint_close(checkpoint);
        }
        if (cases[i].words == NULL) {
            ASSERT_OK(status, err);
            continue;
        }
        ASSERT_STATUS(status, STATUS_CONFIG);
        ASSERT_CONTAINS(err.text, cases[i].words);
        ASSERT_CONTAINS(err.text, "/model.safetensors': tensor 'model.norm.weight'");
    }
}

static void an_index_cannot_point_outside_its_folder(void **state) {
    (void)state;
    write_model();
    static const char *const files[] = {"../x.safetensors", "/etc/passwd", "..", ""};
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        char index[128];
        (void)snprintf(index, sizeof index, "{\"weight_map\":{\"a\":\"%s\"}}", files[i]);
        write_text("model.safetensors.index.json", index);
        expect_refusal("plain file name");
    }
}

static void fields_that_change_the_forward_pass_are_refused_by_name(void **state) {
    (void)state;
    static const char *const cases[][2] = {
        {",\"model_type\":\"gpt2\"", "model_type"},
        {",\"hidden_act\":\"gelu\"", "hidden_act"},
        {",\"attention_bias\":true", "attention_bias"},
        {",\"mlp_bias\":true", "mlp_bias"},
        {",\"attention_bias\":1", "attention_bias"},
        {",\"tie_word_embeddings\":0", "lm_head.weight"},
        {",\"sliding_window\":32", "sliding_window"},
        {",\"quantization_config\":{}", "quantization_config"},
        {",\"num_local_experts\":8", "num_local_experts"},
        {",\"partial_rotary_factor\":0.5", "partial_rotary_factor"},
        {",\"rope_scaling\":{\"rope_type\":\"yarn\",\"factor\":4}", "yarn"},
        {",\"rope_scaling\":{\"rope_type\":\"llama3\",\"factor\":4}", "low_freq_factor"},
        {",\"layer_types\":[\"sliding_attention\"]", "layer_types"},
        {",\"num_attention_heads\":\"2\"", "num_attention_heads"},
        {",\"num_key_value_heads\":3", "num_key_value_heads"},
        {",\"num_key_value_heads\":0", "num_key_value_heads"},
        {",\"num_attention_heads\":256,\"head_dim\":2", "quotient of at most 128"},
        {",\"head_dim\":3",
         "'head_dim' (GGUF: attention.key_length) is 3, a head size that is odd"},
        {",\"head_dim\":0", "'head_dim' (GGUF: attention.key_length) is 0"},
        {",\"head_dim\":1026", "'head_dim' (GGUF: attention.key_length) is 1026"},
        {",\"num_hidden_layers\":0", "num_hidden_layers"},
        {",\"num_hidden_layers\":1000000", "num_hidden_layers"},
        {",\"hidden_size\":0", "hidden_size"},
        {",\"intermediate_size\":2147483647", "intermediate_size"},
        {",\"vocab_size\":0", "vocab_size"},
        {",\"max_position_embeddings\":0", "max_position_embeddings"},
        {",\"rope_theta\":0", "rope_theta"},
        {",\"rope_theta\":1e300", "rope_theta"},
        {",\"rms_norm_eps\":0", "rms_norm_eps"},
        {",\"vocab_size\":99999999999", "vocab_size"},
        {",\"vocab_size\":17", "(17, 8)"},
        {",\"num_hidden_layers\":2", "model.layers.1."},
        {",\"tie_word_embeddings\":false", "lm_head.weight"},
        {",", "config.json"},
    };
    write_model();
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        write_config(cases[i][0]);
        expect_refusal(cases[i][1]);
    }
}

static void flags_of_the_families_follow_the_model_type(void **state) {
    (void)state;
    struct error err;
    struct model_description d;
    char text[1024];
    (void)snprintf(text, sizeof text, hf_config,
                   ",\"model_type\":\"qwen2\",\"sliding_window\":32,\"use_sliding_window\":false");
    ASSERT_OK(hf_config_parse(span_of(text), &d, &err), err);
    assert_true(d.qkv_bias && !d.qk_norm);
    (void)snprintf(text, sizeof text, hf_config, ",\"model_type\":\"qwen3\",\"head_dim\":4");
    ASSERT_OK(hf_config_parse(span_of(text), &d, &err), err);
    assert_true(!d.qkv_bias && d.qk_norm);
    (void)snprintf(text, sizeof text, hf_config,
                   ",\"model_type\":\"mistral\",\"sliding_window\":null,\"rope_parameters\":{"
                   "\"rope_theta\":500000,\"rope_type\":\"llama3\",\"factor\":8,"
                   "\"low_freq_factor\":1,\"high_freq_factor\":4,"
                   "\"original_max_position_embeddings\":8192}");
    ASSERT_OK(hf_config_parse(span_of(text), &d, &err), err);
    assert_true(d.rope_scaling == ROPE_LLAMA3 && d.rope_theta == 500000.0f);
    assert_true(d.rope_factor == 8.0f && d.rope_low == 1.0f && d.rope_high == 4.0f);
    assert_int_equal(d.rope_context, 8192);
}

static void a_nan_is_refused_with_its_place(void **state) {
    (void)state;
    struct error err;
    struct checkpoint *checkpoint = NULL;
    float values[16 * 8];
    struct safetensors_entry entries[HF_TENSORS];
    write_model();
    hf_entries(entries);
    /* NaN, a signalling one, both infinities, and what bfloat16 rounds to one */
    static const uint32_t bad[] = {0x7fc00000, 0x7f800001, 0x7f800000, 0xff800000, 0x7f7fffff};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        memcpy(&hf_values[8 * 3 + 1], &bad[i], 4);
        write_weights("model.safetensors", entries, HF_TENSORS);
        ASSERT_OK(checkpoint_open(folder.path, &checkpoint, &err), err);
        ASSERT_STATUS(checkpoint_read(checkpoint, "model.embed_tokens.weight", 16, 8, values, &err),
                      STATUS_CONFIG);
        ASSERT_CONTAINS(err.text, "/model.safetensors': tensor 'model.embed_tokens.weight'");
        ASSERT_CONTAINS(err.text, "row 3, column 1");
        checkpoint_close(checkpoint);
    }
    memcpy(&hf_values[8 * 3 + 1], &(uint32_t){0x7f7f0000}, 4); /* the largest bfloat16 */
    write_weights("model.safetensors", entries, HF_TENSORS);
    ASSERT_OK(checkpoint_open(folder.path, &checkpoint, &err), err);
    ASSERT_OK(checkpoint_read(checkpoint, "model.embed_tokens.weight", 16, 8, values, &err), err);
    checkpoint_close(checkpoint);
}

static void missing_files_are_named(void **state) {
    (void)state;
    struct error err;
    expect_refusal("config.json");
    write_config("");
    expect_refusal("model.safetensors");
    write_model();
    write_text("model.safetensors", "short");
    expect_refusal("model.safetensors");

    struct checkpoint *checkpoint = NULL;
    struct tokenizer *tokenizer = NULL;
    write_model();
    ASSERT_OK(checkpoint_open(folder.path, &checkpoint, &err), err);
    ASSERT_STATUS(tokenizer_open(checkpoint, &tokenizer, &err), STATUS_CONFIG);
    ASSERT_CONTAINS(err.text, "no tokenizer.json");
    write_text("tokenizer.model", "x");
    ASSERT_STATUS(tokenizer_open(checkpoint, &tokenizer, &err), STATUS_CONFIG);
    ASSERT_CONTAINS(err.text, "convert it");
    checkpoint_close(checkpoint);
}

/* NO_MEMORY, or CONFIG: jansson 2.14 loses a member without a word when it cannot grow its table,
 * and the reader then misses a field. Never OK with something lost, never a crash or a leak. */
static void opening_a_folder_survives_every_failed_allocation(void **state) {
    (void)state;
    long nth = 1;
    write_model();
    for (;; nth++) {
        fault_arm(FAULT_MEMORY, nth);
        enum status status = open_and_close(folder.path);
        bool fired = fault_fired(FAULT_MEMORY);
        fault_arm(FAULT_MEMORY, 0);
        if (!fired) {
            ASSERT_STATUS(status, STATUS_OK);
            break;
        }
        assert_true(status == STATUS_NO_MEMORY || status == STATUS_CONFIG);
    }
    assert_true(nth > 10);
}

#define WITH_FOLDER(test) cmocka_unit_test_setup_teardown(test, folder_make, folder_remove)

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(builtin_weights_are_a_function_of_the_seed),
        cmocka_unit_test(builtin_weights_have_the_scale_they_promise),
        cmocka_unit_test(builtin_names_that_do_not_exist_are_refused),
        cmocka_unit_test(reading_with_another_shape_or_name_is_refused),
        cmocka_unit_test(digests_tell_models_apart),
        cmocka_unit_test(opening_survives_every_failed_allocation),
        WITH_FOLDER(a_folder_opens_with_description_and_values),
        WITH_FOLDER(sixteen_bit_weights_are_widened),
        WITH_FOLDER(shards_are_found_by_the_index),
        WITH_FOLDER(an_index_cannot_point_outside_its_folder),
        WITH_FOLDER(an_index_that_its_shards_contradict_is_refused),
        WITH_FOLDER(what_is_no_regular_file_is_refused),
        WITH_FOLDER(tensors_of_another_shape_or_kind_are_refused_with_their_file),
        WITH_FOLDER(fields_that_change_the_forward_pass_are_refused_by_name),
        cmocka_unit_test(flags_of_the_families_follow_the_model_type),
        WITH_FOLDER(a_nan_is_refused_with_its_place),
        WITH_FOLDER(missing_files_are_named),
        WITH_FOLDER(opening_a_folder_survives_every_failed_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
