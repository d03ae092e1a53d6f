/* SPDX-License-Identifier: Apache-2.0
 *
 * test_peft_mix.c - PEFT adapters into iLoRA's ranks and experts, against PEFT's own logits, and
 * mixtures of experts out as plain LoRA. */
#include <math.h>
#include <stdlib.h>

#include "model/params.h"
#include "tests/model/peft_fixture.h"
#include "tests/support/fault.h"
#include "tests/support/tensor_check.h"
#include "tests/support/unit.h"

#define TOKENS_MAX 16
#define BOUND      1e-4 /* max|a-b| <= BOUND max|ref| */

/* Our logits of one golden prompt. */
static void logits_of(const struct peft_fixture *f, struct ilora_params *params, const float *z,
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
static void assert_logits(const struct peft_fixture *f, struct ilora_params *params,
                          const char *prefix) {
    static const float z[PEFT_FIXTURE_E] = {1.0F, -2.0F, 0.5F};
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
    const struct peft_fixture *f = *state;
    struct error err;

    for (int c = 0; c < 3; c++) {
        struct peft_adapter *adapter = peft_adapter_of(peft_golden_folder(cases[c]));
        for (int K = 1; K <= 4; K *= 2) {
            const struct ilora_shape shape = peft_shape_of(4, K);
            struct ilora_params *params = peft_params_of(f, &shape, false);
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
    const struct peft_fixture *f = *state;
    const struct ilora_shape shape = peft_shape_of(8, 4);
    const char *down = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight";
    const char *up = "base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight";
    struct ilora_params *fresh = peft_params_of(f, &shape, true),
                        *started = peft_params_of(f, &shape, true);
    struct peft_adapter *adapter = peft_adapter_of(peft_golden_folder("qv"));
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
    const struct peft_fixture *f = *state;
    const struct ilora_shape shape = peft_shape_of(2, 2);
    struct ilora_params *params = peft_params_of(f, &shape, false);
    struct peft_adapter *adapter = peft_adapter_of(peft_golden_folder("layer"));
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
static struct ilora_params *random_params(const struct peft_fixture *f,
                                          const struct ilora_shape *shape, const char *folder) {
    struct ilora_params *params = peft_params_of(f, shape, false);
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
static void assert_same_logits(const struct peft_fixture *f, struct ilora_params *a,
                               struct ilora_params *b) {
    static const float z[PEFT_FIXTURE_E] = {1.0F, -2.0F, 0.5F};
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
    const struct peft_fixture *f = *state;
    struct ilora_shape shape = peft_shape_of(8, 4);
    const struct ilora_shape plain = peft_shape_of(8, 1);
    char from[FILE_PATH_BYTES_MAX], to[FILE_PATH_BYTES_MAX];
    struct error err;

    shape.gate_floor = 0.0F;
    (void)snprintf(from, sizeof from, "%s", tmpdir_path(&f->tmp, "version"));
    struct ilora_params *params = random_params(f, &shape, from);
    struct peft_adapter *adapter = peft_adapter_of(from);
    for (int m = 0; m < 2; m++) {
        (void)snprintf(to, sizeof to, "%s/", tmpdir_path(&f->tmp, m == 0 ? "all" : "one"));
        ASSERT_OK(peft_adapter_export(adapter, mixtures[m], 4, to, &err), err);
        struct peft_adapter *exported = peft_adapter_of(to);
        struct ilora_params *one = peft_params_of(f, &plain, false);
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
    const struct peft_fixture *f = *state;
    const struct ilora_shape shape = peft_shape_of(8, 4);
    char from[FILE_PATH_BYTES_MAX];
    struct error err;

    (void)snprintf(from, sizeof from, "%s", tmpdir_path(&f->tmp, "version"));
    struct ilora_params *params = random_params(f, &shape, from);
    struct peft_adapter *adapter = peft_adapter_of(peft_golden_folder("all"));
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
    struct peft_adapter *again = peft_adapter_of(tmpdir_path(&f->tmp, "again"));
    const struct ilora_shape plain = peft_shape_of(8, 1);
    struct ilora_params *one = peft_params_of(f, &plain, false);
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
        peft_adapter_close(peft_adapter_of(c->to));
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
    const struct peft_fixture *f = *state;
    const struct ilora_shape shape = peft_shape_of(8, 4);
    char from[FILE_PATH_BYTES_MAX], to[FILE_PATH_BYTES_MAX];
    struct error err;

    (void)snprintf(from, sizeof from, "%s", tmpdir_path(&f->tmp, "version"));
    (void)snprintf(to, sizeof to, "%s", tmpdir_path(&f->tmp, "out"));
    ilora_params_free(random_params(f, &shape, from));
    struct peft_adapter *adapter = peft_adapter_of(from);
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
    const struct peft_fixture *f = *state;
    const struct ilora_shape shape = peft_shape_of(8, 4);
    char from[FILE_PATH_BYTES_MAX];
    struct error err;

    (void)snprintf(from, sizeof from, "%s", tmpdir_path(&f->tmp, "version"));
    ilora_params_free(random_params(f, &shape, from));
    struct peft_adapter *adapter = peft_adapter_of(from),
                        *part = peft_adapter_of(peft_golden_folder("qv"));
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

int main(void) {
#define CASE(test) cmocka_unit_test_setup_teardown(test, peft_setup, peft_teardown)
    const struct CMUnitTest tests[] = {
        CASE(a_uniform_gate_gives_the_logits_of_peft),
        CASE(experts_take_turns_and_the_rest_stays_fresh),
        CASE(a_rank_that_does_not_fit_names_the_setting),
        CASE(an_export_is_plain_lora_with_the_gate_inside),
        CASE(in_and_out_again_is_the_same_adapter),
        CASE(an_export_that_fails_leaves_nothing),
        CASE(a_mixture_that_is_none_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
