/* SPDX-License-Identifier: Apache-2.0
 *
 * test_peft_adapter.c - PEFT adapters into iLoRA and out of it, against PEFT's own logits
 * (peft_make_golden.py), and what a folder may not hold. */
#include <math.h>
#include <stdlib.h>

#include "model/params.h"
#include "model/peft_adapter.h"
#include "tests/reference/lm_golden.h"
#include "tests/support/fault.h"
#include "tests/support/tensor_check.h"
#include "tests/support/tmpdir.h"
#include "tests/support/unit.h"

#define MODEL      "builtin:tiny:3" /* whose weights the golden files were made with */
#define TOKENS_MAX 16
#define E_WIDTH    8
#define BOUND      1e-4 /* max|a-b| <= BOUND max|ref| */

struct fixture {
    struct backend *be;
    struct checkpoint *checkpoint;
    struct base_model *base;
    struct lm_golden golden;
    struct tmpdir tmp;
};

static int setup(void **state) {
    static struct fixture fixture;
    struct error err;

    memset(&fixture, 0, sizeof fixture);
    assert_int_equal(lm_golden_read(PEFT_GOLDEN_FOLDER "/peft_tiny.bin", &fixture.golden), 0);
    ASSERT_OK(backend_cpu_new(1, &fixture.be, &err), err);
    ASSERT_OK(checkpoint_open(MODEL, &fixture.checkpoint, &err), err);
    ASSERT_OK(
        base_model_load(fixture.be, fixture.checkpoint, PRECISION_F32, false, &fixture.base, &err),
        err);
    tmpdir_init(&fixture.tmp);
    *state = &fixture;
    return 0;
}

static int teardown(void **state) {
    struct fixture *fixture = *state;

    base_model_free(fixture->base);
    checkpoint_close(fixture->checkpoint);
    fixture->be->ops->free(fixture->be);
    lm_golden_free(&fixture->golden);
    tmpdir_free(&fixture->tmp);
    return 0;
}

static struct ilora_shape shape_of(int R, int K) {
    return (struct ilora_shape){.R = R,
                                .K = K,
                                .alpha = 10.0F,
                                .gate_floor = 0.05F,
                                .E = E_WIDTH,
                                .head = ILORA_HEAD_TITLE};
}

static struct ilora_params *params_of(const struct fixture *f, const struct ilora_shape *shape,
                                      bool trainable) {
    struct ilora_params *params = NULL;
    struct error err;

    ASSERT_OK(ilora_params_new(f->be, base_model_description(f->base), shape, 9, trainable, &params,
                               &err),
              err);
    return params;
}

static struct peft_adapter *adapter_of(const char *folder) {
    struct peft_adapter *adapter = NULL;
    struct error err;

    ASSERT_OK(peft_adapter_open(folder, &adapter, &err), err);
    return adapter;
}

static const char *golden_folder(const char *name) {
    static char path[512];

    (void)snprintf(path, sizeof path, PEFT_GOLDEN_FOLDER "/peft_tiny_%s", name);
    return path;
}

/* Our logits of one golden prompt. */
static void logits_of(const struct fixture *f, struct ilora_params *params, const float *z,
                      const struct lm_array *tokens, float *logits) {
    struct language_model_settings how = {.tokens_max = TOKENS_MAX, .sequences_max = 1};
    struct language_model *lm = NULL;
    struct error err;

    ASSERT_OK(language_model_new(f->base, &how, ilora_params_shape(params), &lm, &err), err);
    ASSERT_OK(language_model_logits(lm, params, z, tokens->values, tokens->cols, logits, &err),
              err);
    language_model_free(lm);
}

/* Every golden prompt against the arrays "<prefix>.<tokens>". */
static void assert_logits(const struct fixture *f, struct ilora_params *params,
                          const char *prefix) {
    static const float z[E_WIDTH] = {1.0F, -2.0F, 0.5F};
    int V = base_model_description(f->base)->V, compared = 0;
    float *logits = calloc((size_t)TOKENS_MAX * (size_t)V, sizeof *logits);

    assert_non_null(logits);
    for (int i = 0; i < f->golden.count; i++) {
        const struct lm_array *tokens = &f->golden.arrays[i];
        char name[96];
        if (tokens->kind != 1) { continue; }
        (void)snprintf(name, sizeof name, "%s.%s", prefix, tokens->name);
        const struct lm_array *reference = lm_golden_find(&f->golden, name);
        assert_non_null(reference);
        logits_of(f, params, z, tokens, logits);
        size_t count = (size_t)tokens->cols * (size_t)V;
        assert_true(tensor_check_scaled(name, logits, reference->values, count, BOUND));
        compared++;
    }
    assert_int_equal(compared, 3);
    free(logits);
}

/* ---- in -------------------------------------------------------------------------------------- */

/* Ranks 2, 3, 4 of PEFT (F32, F16, BF16; rslora; one layer only) in R = 4 of 1, 2, 4 experts. */
static void a_uniform_gate_gives_the_logits_of_peft(void **state) {
    static const char *const cases[] = {"qv", "layer", "all"};
    const struct fixture *f = *state;
    struct error err;

    for (int c = 0; c < 3; c++) {
        struct peft_adapter *adapter = adapter_of(golden_folder(cases[c]));
        for (int K = 1; K <= 4; K *= 2) {
            const struct ilora_shape shape = shape_of(4, K);
            struct ilora_params *params = params_of(f, &shape, false);
            ASSERT_OK(peft_adapter_start(adapter, params, &err), err);
            assert_logits(f, params, cases[c]);
            ilora_params_free(params);
        }
        peft_adapter_close(adapter);
    }
}

static int find_tensor(const struct ilora_params *params, const char *name) {
    for (int t = 0; t < ilora_params_count(params); t++) {
        if (strcmp(ilora_params_at(params, t)->name, name) == 0) { return t; }
    }
    fail_msg("no tensor '%s'", name);
    return -1;
}

static void read_slab(struct ilora_params *params, enum ilora_slab slab, float **ret_values) {
    struct error err;

    *ret_values = calloc(ilora_params_floats(params), sizeof **ret_values);
    assert_non_null(*ret_values);
    ASSERT_OK(ilora_params_read(params, slab, *ret_values, &err), err);
}

/* r = 2 in R = 8 of K = 4: rank 0 goes to row 0, rank 1 to row 2; the others are fresh. */
static void experts_take_turns_and_the_rest_stays_fresh(void **state) {
    const struct fixture *f = *state;
    const struct ilora_shape shape = shape_of(8, 4);
    const char *down = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight";
    const char *up = "base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight";
    struct ilora_params *fresh = params_of(f, &shape, true), *started = params_of(f, &shape, true);
    struct peft_adapter *adapter = adapter_of(golden_folder("qv"));
    float *before, *after, *ema;
    struct error err;

    ASSERT_OK(peft_adapter_start(adapter, started, &err), err);

    read_slab(fresh, ILORA_VALUE, &before);
    read_slab(started, ILORA_VALUE, &after);
    read_slab(started, ILORA_EMA, &ema);
    assert_memory_equal(after, ema, ilora_params_floats(started) * sizeof *after);
    const struct ilora_tensor *A = ilora_params_at(started, find_tensor(started, down));
    const struct ilora_tensor *B = ilora_params_at(started, find_tensor(started, up));
    assert_string_equal(adapter->matrices[0].name, down);
    assert_string_equal(adapter->matrices[1].name, up);
    for (int r = 0; r < 8; r++) {
        const float *row = after + A->offset + (size_t)r * (size_t)A->cols;
        const float *expected = before + A->offset + (size_t)r * (size_t)A->cols;
        int rank = r == 0 ? 0 : r == 2 ? 1 : -1;
        if (rank >= 0) { expected = adapter->matrices[0].values + (size_t)rank * (size_t)A->cols; }
        assert_memory_equal(row, expected, (size_t)A->cols * sizeof *row);
        for (int o = 0; o < B->rows; o++) { /* PEFT's 6/2 by our 10/8 */
            double held = (double)after[B->offset + (size_t)o * 8 + (size_t)r];
            double theirs =
                rank < 0 ? 0.0 : (double)adapter->matrices[1].values[o * 2 + rank] * 3.0 / 1.25;
            assert_true(fabs(held - theirs) <= 1e-6 * fabs(theirs));
        }
    }
    const struct ilora_tensor *other = ilora_params_at(
        started, find_tensor(started, "base_model.model.model.layers.1.mlp.up_proj.lora_B.weight"));
    for (int i = 0; i < other->rows * other->cols; i++) {
        assert_true(after[other->offset + (size_t)i] == 0.0F);
    }
    free(before);
    free(after);
    free(ema);
    peft_adapter_close(adapter);
    ilora_params_free(fresh);
    ilora_params_free(started);
}

static void a_rank_that_does_not_fit_names_the_setting(void **state) {
    const struct fixture *f = *state;
    const struct ilora_shape shape = shape_of(2, 2);
    struct ilora_params *params = params_of(f, &shape, false);
    struct peft_adapter *adapter = adapter_of(golden_folder("layer"));
    float *before, *after;
    struct error err;

    read_slab(params, ILORA_VALUE, &before);
    ASSERT_STATUS(peft_adapter_start(adapter, params, &err), STATUS_CONFIG);

    ASSERT_CONTAINS(err.text, "rank r = 3");
    ASSERT_CONTAINS(err.text, "expected [ilora] rank = 4 or more");
    read_slab(params, ILORA_VALUE, &after);
    assert_memory_equal(before, after, ilora_params_floats(params) * sizeof *after);
    free(before);
    free(after);
    peft_adapter_close(adapter);
    ilora_params_free(params);
}

/* ---- out ------------------------------------------------------------------------------------- */

/* A version's adapter with random B, written as a version writes it. */
static struct ilora_params *random_params(const struct fixture *f, const struct ilora_shape *shape,
                                          const char *folder) {
    struct ilora_params *params = params_of(f, shape, false);
    struct tensor_list list = {0};
    float *values;
    struct error err;

    read_slab(params, ILORA_VALUE, &values);
    for (size_t i = 0; i < ilora_params_floats(params); i++) {
        values[i] = 0.4F * sinf((float)(i * 37 % 1009));
    }
    ASSERT_OK(ilora_params_write(params, ILORA_VALUE, values, &err), err);
    for (int t = 0; t < ilora_params_count(params); t++) {
        const struct ilora_tensor *tensor = ilora_params_at(params, t);
        if (strstr(tensor->name, ".lora_") == NULL) { continue; }
        tensor_list_add(&list, tensor->name, "", "F32", tensor->rows, tensor->cols,
                        values + tensor->offset);
    }
    ASSERT_OK(dir_make(folder, &err), err);
    ASSERT_OK(peft_adapter_write(&list, shape->R, (double)shape->alpha, "base", folder, &err), err);
    tensor_list_free(&list);
    free(values);
    return params;
}

/* gate.weight zero, gate.bias = log of the mixture, no floor: the forward pass has this gate. */
static void fix_gate(struct ilora_params *params, const float *mixture) {
    float *values;
    struct error err;

    read_slab(params, ILORA_VALUE, &values);
    const struct ilora_tensor *W = ilora_params_at(params, find_tensor(params, "gate.weight"));
    const struct ilora_tensor *b = ilora_params_at(params, find_tensor(params, "gate.bias"));
    memset(values + W->offset, 0, (size_t)W->rows * (size_t)W->cols * sizeof *values);
    for (int k = 0; k < b->cols; k++) {
        values[b->offset + (size_t)k] = logf(mixture[k]);
    }
    ASSERT_OK(ilora_params_write(params, ILORA_VALUE, values, &err), err);
    free(values);
}

/* Our own logits of both sides, prompt by prompt. */
static void assert_same_logits(const struct fixture *f, struct ilora_params *a,
                               struct ilora_params *b) {
    static const float z[E_WIDTH] = {1.0F, -2.0F, 0.5F};
    const size_t count = (size_t)TOKENS_MAX * (size_t)base_model_description(f->base)->V;
    float *x = calloc(count, sizeof *x), *y = calloc(count, sizeof *y);

    assert_non_null(x);
    assert_non_null(y);
    for (int i = 0; i < f->golden.count; i++) {
        if (f->golden.arrays[i].kind != 1) { continue; }
        logits_of(f, a, z, &f->golden.arrays[i], x);
        logits_of(f, b, z, &f->golden.arrays[i], y);
        assert_true(tensor_check_scaled(f->golden.arrays[i].name, x, y, count, BOUND));
    }
    free(x);
    free(y);
}

static void an_export_is_plain_lora_with_the_gate_inside(void **state) {
    static const float mixtures[2][4] = {{0.25F, 0.25F, 0.25F, 0.25F}, {0.7F, 0.05F, 0.15F, 0.1F}};
    const struct fixture *f = *state;
    struct ilora_shape shape = shape_of(8, 4);
    const struct ilora_shape plain = shape_of(8, 1);
    char from[FILE_PATH_BYTES_MAX], to[FILE_PATH_BYTES_MAX];
    struct error err;

    shape.gate_floor = 0.0F;
    (void)snprintf(from, sizeof from, "%s", tmpdir_path(&f->tmp, "version"));
    struct ilora_params *params = random_params(f, &shape, from);
    struct peft_adapter *adapter = adapter_of(from);
    for (int m = 0; m < 2; m++) {
        (void)snprintf(to, sizeof to, "%s/", tmpdir_path(&f->tmp, m == 0 ? "all" : "one"));
        ASSERT_OK(peft_adapter_export(adapter, mixtures[m], 4, to, &err), err);
        struct peft_adapter *exported = adapter_of(to);
        struct ilora_params *one = params_of(f, &plain, false);
        ASSERT_OK(peft_adapter_start(exported, one, &err), err);

        fix_gate(params, mixtures[m]);
        assert_same_logits(f, params, one);
        peft_adapter_close(exported);
        ilora_params_free(one);
    }
    peft_adapter_close(adapter);
    ilora_params_free(params);
}

/* From PEFT, split over experts, written again: the same plain LoRA to PEFT, so to us. */
static void in_and_out_again_is_the_same_adapter(void **state) {
    const struct fixture *f = *state;
    const struct ilora_shape shape = shape_of(8, 4);
    char from[FILE_PATH_BYTES_MAX];
    struct error err;

    (void)snprintf(from, sizeof from, "%s", tmpdir_path(&f->tmp, "version"));
    struct ilora_params *params = random_params(f, &shape, from);
    struct peft_adapter *adapter = adapter_of(golden_folder("all"));
    ASSERT_OK(peft_adapter_start(adapter, params, &err), err);
    struct tensor_list list = {0};
    float *values;
    read_slab(params, ILORA_VALUE, &values);
    for (int t = 0; t < ilora_params_count(params); t++) {
        const struct ilora_tensor *tensor = ilora_params_at(params, t);
        if (strstr(tensor->name, ".lora_") == NULL) { continue; }
        tensor_list_add(&list, tensor->name, "", "F32", tensor->rows, tensor->cols,
                        values + tensor->offset);
    }
    ASSERT_OK(dir_make(tmpdir_path(&f->tmp, "again"), &err), err);
    ASSERT_OK(peft_adapter_write(&list, 8, 10.0, "base", tmpdir_path(&f->tmp, "again"), &err), err);
    struct peft_adapter *again = adapter_of(tmpdir_path(&f->tmp, "again"));
    const struct ilora_shape plain = shape_of(8, 1);
    struct ilora_params *one = params_of(f, &plain, false);
    ASSERT_OK(peft_adapter_start(again, one, &err), err);

    assert_logits(f, one, "all");
    tensor_list_free(&list);
    free(values);
    peft_adapter_close(adapter);
    peft_adapter_close(again);
    ilora_params_free(one);
    ilora_params_free(params);
}

struct export_case {
    const struct peft_adapter *adapter;
    const char *to;
};

static enum status export_once(void *context) {
    static const float mixture[4] = {0.4F, 0.3F, 0.2F, 0.1F};
    const struct export_case *c = context;
    struct error err;
    enum status status = peft_adapter_export(c->adapter, mixture, 4, c->to, &err);
    if (status != STATUS_OK && file_exists(c->to)) { /* whole: only the last fsync failed */
        struct error unused;
        peft_adapter_close(adapter_of(c->to));
        assert_int_equal(dir_remove(c->to, &unused), STATUS_OK);
    }
    return status;
}

static enum status count_entry(void *context, const char *name, bool is_dir, struct error *err) {
    int *count = context;
    (void)name;
    (void)is_dir;
    (void)err;
    (*count)++;
    return STATUS_OK;
}

static void an_export_that_fails_leaves_nothing(void **state) {
    const struct fixture *f = *state;
    const struct ilora_shape shape = shape_of(8, 4);
    char from[FILE_PATH_BYTES_MAX], to[FILE_PATH_BYTES_MAX];
    struct error err;

    (void)snprintf(from, sizeof from, "%s", tmpdir_path(&f->tmp, "version"));
    (void)snprintf(to, sizeof to, "%s", tmpdir_path(&f->tmp, "out"));
    ilora_params_free(random_params(f, &shape, from));
    struct peft_adapter *adapter = adapter_of(from);
    struct export_case c = {adapter, to};

    (void)fault_sweep(FAULT_MEMORY, STATUS_NO_MEMORY, export_once, &c);
    ASSERT_OK(dir_remove(to, &err), err);
    assert_true(fault_sweep(FAULT_FILE, STATUS_IO, export_once, &c) > 5);

    int count = 0;
    ASSERT_OK(dir_list(f->tmp.path, count_entry, &count, &err), err);
    assert_int_equal(count, 2); /* version, out */
    ASSERT_STATUS(peft_adapter_export(adapter, NULL, 4, to, &err), STATUS_CONFIG);
    ASSERT_CONTAINS(err.text, "exists, expected a folder to be made");
    peft_adapter_close(adapter);
}

static void a_mixture_that_is_none_is_refused(void **state) {
    static const float wrong[3][4] = {
        {0.5F, 0.5F, 0.5F, 0.5F}, {1.5F, -0.5F, 0, 0}, {NAN, 0, 0, 1}};
    static const char *const words[3] = {"sum 2", "is -0.5", "is nan"};
    const struct fixture *f = *state;
    const struct ilora_shape shape = shape_of(8, 4);
    char from[FILE_PATH_BYTES_MAX];
    struct error err;

    (void)snprintf(from, sizeof from, "%s", tmpdir_path(&f->tmp, "version"));
    ilora_params_free(random_params(f, &shape, from));
    struct peft_adapter *adapter = adapter_of(from), *part = adapter_of(golden_folder("qv"));
    const char *to = tmpdir_path(&f->tmp, "out");
    for (int i = 0; i < 3; i++) {
        ASSERT_STATUS(peft_adapter_export(adapter, wrong[i], 4, to, &err), STATUS_CONFIG);
        ASSERT_CONTAINS(err.text, words[i]);
    }
    ASSERT_STATUS(peft_adapter_export(adapter, NULL, 3, to, &err), STATUS_CONFIG);
    ASSERT_CONTAINS(err.text, "3 experts do not divide the rank 8");
    ASSERT_STATUS(peft_adapter_export(part, NULL, 1, to, &err), STATUS_CONFIG);
    ASSERT_CONTAINS(err.text, "all seven modules");
    assert_false(file_exists(to));
    peft_adapter_close(adapter);
    peft_adapter_close(part);
}

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
static enum status open_made(const struct fixture *f, const char *config,
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
    const struct fixture *f = *state;
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
    const struct fixture *f = *state;
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

/* The base has two layers and other widths than this adapter. */
static void an_adapter_of_another_base_is_refused(void **state) {
    static const char *const far =
        "base_model.model.model.layers.7.self_attn.q_proj.lora_%c.weight";
    const struct fixture *f = *state;
    const struct ilora_shape shape = shape_of(4, 1);
    struct ilora_params *params = params_of(f, &shape, false);
    struct error err;
    char a[128], b[128];

    (void)snprintf(a, sizeof a, far, 'A');
    (void)snprintf(b, sizeof b, far, 'B');
    const struct safetensors_entry widths[] = {entry_of(STEM "A.weight", "F32", 2, 3),
                                               entry_of(STEM "B.weight", "F32", 5, 2)};
    const struct safetensors_entry layers[] = {entry_of(a, "F32", 2, 3), entry_of(b, "F32", 5, 2)};
    const char *words[] = {"is (2, 3), expected (2, ", "is of no layer of the base, which has 2"};
    for (int c = 0; c < 2; c++) {
        const char *config = c == 0 ? CONFIG
                                    : "{\"peft_type\":\"LORA\",\"r\":2,\"lora_alpha\":4,"
                                      "\"layers_to_transform\":7,\"target_modules\":[\"q_proj\"]}";
        ASSERT_OK(open_made(f, config, c == 0 ? widths : layers, 2, &err), err);
        struct peft_adapter *adapter = adapter_of(tmpdir_path(&f->tmp, "made"));
        if (c == 0) { adapter->targeted[1] = 0; } /* reach the widths */
        ASSERT_STATUS(peft_adapter_start(adapter, params, &err), STATUS_CONFIG);
        ASSERT_CONTAINS(err.text, words[c]);
        peft_adapter_close(adapter);
    }
    ilora_params_free(params);
}

static void a_module_missing_in_a_later_layer_is_named(void **state) {
    const struct fixture *f = *state;
    const struct ilora_shape shape = shape_of(4, 1);
    struct ilora_params *params = params_of(f, &shape, false);
    const struct safetensors_entry first[] = {entry_of(STEM "A.weight", "F32", 2, 3),
                                              entry_of(STEM "B.weight", "F32", 5, 2)};
    struct error err;

    ASSERT_OK(open_made(f, CONFIG, first, 2, &err), err);
    struct peft_adapter *adapter = adapter_of(tmpdir_path(&f->tmp, "made"));
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
    const struct fixture *f = *state;
    const struct ilora_shape shape = shape_of(4, 2);
    struct start_case c = {adapter_of(golden_folder("qv")), params_of(f, &shape, true)};
    char folder[512];

    (void)snprintf(folder, sizeof folder, "%s", golden_folder("qv"));
    assert_true(fault_sweep(FAULT_FILE, STATUS_IO, open_once, folder) >= 2);
    assert_true(fault_sweep(FAULT_MEMORY, STATUS_NO_MEMORY, start_once, &c) >= 1);
    peft_adapter_close(c.adapter);
    ilora_params_free(c.params);
}

int main(void) {
#define CASE(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(a_uniform_gate_gives_the_logits_of_peft),
        CASE(experts_take_turns_and_the_rest_stays_fresh),
        CASE(a_rank_that_does_not_fit_names_the_setting),
        CASE(an_export_is_plain_lora_with_the_gate_inside),
        CASE(in_and_out_again_is_the_same_adapter),
        CASE(an_export_that_fails_leaves_nothing),
        CASE(a_mixture_that_is_none_is_refused),
        CASE(a_name_with_default_in_it_is_the_same),
        CASE(tensors_that_are_not_right_are_named),
        CASE(an_adapter_of_another_base_is_refused),
        CASE(a_module_missing_in_a_later_layer_is_named),
        CASE(a_file_or_memory_that_is_refused_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
