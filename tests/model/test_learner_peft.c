/* SPDX-License-Identifier: Apache-2.0
 *
 * test_learner_peft.c - a learner that starts from a PEFT adapter, and a user's gate taken from the
 * folder of a version: model/version_gate.c against the forward pass. */
#include <math.h>
#include <stdlib.h>

#include "base/json.h"
#include "model/tensor_file.h"
#include "model/version_gate.h"
#include "tests/model/learner_lm_fixture.h"
#include "tests/model/peft_fixture.h"
#include "tests/support/tensor_check.h"
#include "tests/support/unit.h"

#define EXPERTS 4
#define TOKENS  9

static struct learner *learner_open(const struct learner_lm_fixture *f,
                                    const struct peft_adapter *adapter) {
    struct learner_settings settings = learner_lm_settings(f);

    settings.adapter = adapter;
    settings.ilora.R = 8;
    settings.ilora.K = EXPERTS;
    return learner_lm_open(f, &settings);
}

static struct version *make_version(const struct learner_lm_fixture *f, struct learner *learner,
                                    const char *name) {
    return learner_lm_version(f, learner, learner_version(learner) + 1, name);
}

static struct peft_adapter *golden_adapter(const char *name) {
    return peft_adapter_of(peft_golden_folder(name));
}

/* ---- start ----------------------------------------------------------------------------------- */

/* The version made before anything was learned is the adapter; its manifest names it. */
static void the_first_version_is_the_adapter(void **state) {
    struct learner_lm_fixture *f = *state;
    struct peft_adapter *adapter = golden_adapter("all");
    struct learner *learner = learner_open(f, adapter);
    struct json_value *json = NULL;
    struct span sha256 = {NULL, 0};
    char hex[2 * SHA256_BYTES + 1];
    struct error err;

    version_give(make_version(f, learner, "v"));
    struct peft_adapter *first = peft_adapter_of(tmpdir_path(&f->tmp, "v"));
    ASSERT_OK(folder_digests_check(tmpdir_path(&f->tmp, "v"), "manifest.json", &json, NULL, &err),
              err);

    assert_int_equal(first->rank, 8);
    double factor = adapter->scale / first->scale; /* B of rank 0, which lies in column 0 */
    for (int i = 1; i < adapter->count; i += 2) {
        const struct peft_matrix *theirs = &adapter->matrices[i], *ours = &first->matrices[i];
        assert_string_equal(ours->name, theirs->name);
        for (int o = 0; o < theirs->rows; o++) {
            double expected = factor * (double)theirs->values[o * theirs->cols];
            double found = (double)ours->values[o * ours->cols];
            assert_true(fabs(found - expected) <= 1e-6 * fabs(expected));
        }
    }
    hex_encode(adapter->sha256, SHA256_BYTES, hex);
    assert_true(json_string(json_member(json_member(json, "adapter"), "sha256"), &sha256));
    assert_true(span_equal(sha256, span_of(hex)));
    json_free(json);
    learner_free(learner);
    peft_adapter_close(first);
    peft_adapter_close(adapter);
}

static void a_state_goes_on_only_under_its_own_adapter(void **state) {
    struct learner_lm_fixture *f = *state;
    struct peft_adapter *adapter = golden_adapter("all"), *other = golden_adapter("qv");
    struct learner *learner = learner_open(f, adapter);
    const struct peft_adapter *const tried[] = {adapter, other, NULL};
    struct error err;

    ASSERT_OK(learner_save(learner, tmpdir_path(&f->tmp, "checkpoint"), &err), err);
    learner_free(learner);
    for (int i = 0; i < 3; i++) {
        learner = learner_open(f, tried[i]);
        enum status status = learner_load(learner, tmpdir_path(&f->tmp, "checkpoint"), &err);
        ASSERT_STATUS(status, i == 0 ? STATUS_OK : STATUS_CORRUPT);
        if (i > 0) { ASSERT_CONTAINS(err.text, "it started from adapter '"); }
        learner_free(learner);
    }
    peft_adapter_close(adapter);
    peft_adapter_close(other);
}

/* ---- gate ------------------------------------------------------------------------------------ */

/* A learner that knows a catalogue, gone back to a version with random B and gate. */
static struct learner *learner_with_gate(struct learner_lm_fixture *f) {
    struct learner *learner = learner_open(f, NULL);
    struct error err;

    learner_fixture_run(learner, f->stream, 0, 3);
    struct version *version = make_version(f, learner, "before");
    float *values = calloc(ilora_params_floats(version->params), sizeof *values);
    assert_non_null(values);
    ASSERT_OK(ilora_params_read(version->params, ILORA_VALUE, values, &err), err);
    for (int t = 0; t < ilora_params_count(version->params); t++) {
        const struct ilora_tensor *tensor = ilora_params_at(version->params, t);
        bool gate = strncmp(tensor->name, "gate.", 5) == 0;
        if (!gate && strstr(tensor->name, ".lora_B.") == NULL) { continue; }
        for (size_t i = 0; i < (size_t)tensor->rows * (size_t)tensor->cols; i++) {
            values[tensor->offset + i] = 0.5F * sinf((float)((i * 37 + (size_t)t) % 1009));
        }
    }
    ASSERT_OK(ilora_params_write(version->params, ILORA_VALUE, values, &err), err);
    ASSERT_OK(learner_restore_version(learner, version, &err), err);
    free(values);
    version_give(version);
    return learner;
}

static struct version_gate *gate_open(const struct learner_lm_fixture *f, const char *name) {
    struct version_gate *gate = NULL;
    struct error err;

    ASSERT_OK(version_gate_open(tmpdir_path(&f->tmp, name), &gate, &err), err);
    return gate;
}

static void logits_of(const struct learner_lm_fixture *f, struct ilora_params *params,
                      const float *z, float *logits) {
    static const int32_t tokens[TOKENS] = {1, 50, 100, 7, 33, 250, 99, 0, 12};
    struct language_model_settings how = {
        .tokens_max = 16, .sequences_max = 1, .items_max = FIXTURE_ITEMS};
    struct language_model *lm = NULL;
    struct error err;

    how.items_max = ilora_params_shape(params)->items_max;
    ASSERT_OK(language_model_new(f->base, &how, ilora_params_shape(params), &lm, &err), err);
    ASSERT_OK(language_model_logits(lm, params, z, tokens, TOKENS, logits, &err), err);
    language_model_free(lm);
}

/* The forward pass computes the gate of z itself; the export gets it from the version's folder. */
static void a_users_export_gives_that_users_logits(void **state) {
    static const uint32_t history[] = {3, 17, 4, 40, 41, 9};
    struct learner_lm_fixture *f = *state;
    struct learner *learner = learner_with_gate(f);
    const struct model_description *d = base_model_description(f->base);
    const size_t count = TOKENS * (size_t)d->V;
    float *ours = calloc(count, sizeof *ours), *theirs = calloc(count, sizeof *theirs);
    float weights[EXPERTS], z[64];
    struct ilora_params *plain = NULL;
    struct error err;

    assert_non_null(ours);
    assert_non_null(theirs);
    struct version *version = make_version(f, learner, "v");
    struct version_gate *gate = gate_open(f, "v");
    assert_int_equal(version_gate_experts(gate), EXPERTS);
    assert_false(version_gate_has_item_tokens(gate));
    ASSERT_OK(version_gate_state(gate, history, 6, z, &err), err);
    ASSERT_OK(version_gate_weights(gate, history, 6, weights, &err), err);
    struct peft_adapter *adapter = peft_adapter_of(tmpdir_path(&f->tmp, "v"));
    ASSERT_OK(peft_adapter_export(adapter, weights, EXPERTS, tmpdir_path(&f->tmp, "user"), &err),
              err);
    struct peft_adapter *exported = peft_adapter_of(tmpdir_path(&f->tmp, "user"));
    const struct ilora_shape shape = {
        .R = 8, .K = 1, .alpha = 3, .E = version_gate_width(gate), .head = ILORA_HEAD_TITLE};
    ASSERT_OK(ilora_params_new(f->be, d, &shape, 1, false, &plain, &err), err);
    ASSERT_OK(peft_adapter_start(exported, plain, &err), err);

    double sum = 0.0, largest = 0.0;
    for (int k = 0; k < EXPERTS; k++) {
        sum += (double)weights[k];
        largest = fmax(largest, (double)weights[k]);
        assert_true(weights[k] >= 0.05F / EXPERTS);
    }
    assert_true(fabs(sum - 1.0) < 1e-6);
    assert_true(largest > 0.3); /* not the uniform one: the test can fail */
    logits_of(f, version->params, z, ours);
    logits_of(f, plain, z, theirs);
    assert_true(tensor_check_scaled("logits", theirs, ours, count, 1e-4));
    free(ours);
    free(theirs);
    ilora_params_free(plain);
    version_give(version);
    peft_adapter_close(adapter);
    peft_adapter_close(exported);
    version_gate_close(gate);
    learner_free(learner);
}

/* As the daemon serves it: the newest S events, of which unknown items are left out. */
static void old_and_unknown_items_do_not_matter(void **state) {
    struct learner_lm_fixture *f = *state;
    struct learner *learner = learner_with_gate(f);
    const int S = learner_fixture_settings().fast.sasrec.S;
    uint32_t history[SASREC_S_MAX + 2];
    float a[EXPERTS], b[EXPERTS];
    struct error err;

    version_give(make_version(f, learner, "v"));
    struct version_gate *gate = gate_open(f, "v");
    assert_int_equal(version_gate_items(gate), FIXTURE_ITEMS);
    for (int i = 0; i < S + 2; i++) {
        history[i] = (uint32_t)(i * 7 % FIXTURE_ITEMS);
    }
    ASSERT_OK(version_gate_weights(gate, history, S + 2, a, &err), err);
    ASSERT_OK(version_gate_weights(gate, history + 2, S, b, &err), err);
    assert_memory_equal(a, b, sizeof a);
    const uint32_t with[] = {3, 17, FIXTURE_ITEMS + 5, 4}, without[] = {3, 17, 4};
    ASSERT_OK(version_gate_weights(gate, with, 4, a, &err), err);
    ASSERT_OK(version_gate_weights(gate, without, 3, b, &err), err);
    assert_memory_equal(a, b, sizeof a);
    version_gate_close(gate);
    learner_free(learner);
}

static void a_version_without_a_gate_is_refused(void **state) {
    struct learner_lm_fixture *f = *state;
    struct learner_settings settings = learner_fixture_settings();
    struct learner *learner = NULL;
    struct version *version = NULL;
    struct version_gate *gate = NULL;
    struct error err;

    ASSERT_OK(learner_new(&settings, f->be, f->be, NULL, NULL, NULL, &f->stream->catalogue,
                          &learner, &err),
              err);
    ASSERT_OK(learner_make_version(learner, 1, tmpdir_path(&f->tmp, "fast"), "test", "",
                                   learner_lm_digest, &version, &err),
              err);
    ASSERT_STATUS(version_gate_open(tmpdir_path(&f->tmp, "fast"), &gate, &err), STATUS_CONFIG);
    ASSERT_CONTAINS(err.text, "made without a base model");
    version_give(version);
    learner_free(learner);
}

static void a_changed_file_of_a_version_is_refused(void **state) {
    struct learner_lm_fixture *f = *state;
    struct learner *learner = learner_with_gate(f);
    struct version_gate *gate = NULL;
    struct buffer bytes = {0};
    struct error err;

    version_give(make_version(f, learner, "v"));
    ASSERT_OK(file_read(tmpdir_path(&f->tmp, "v/" PEFT_MODEL_FILE), 1u << 24, &bytes, &err), err);
    bytes.data[bytes.size - 1] ^= 1;
    struct span piece = buffer_span(&bytes);
    ASSERT_OK(file_write(tmpdir_path(&f->tmp, "v/" PEFT_MODEL_FILE), &piece, 1, &err), err);
    ASSERT_STATUS(version_gate_open(tmpdir_path(&f->tmp, "v"), &gate, &err), STATUS_CORRUPT);
    ASSERT_CONTAINS(err.text, "'" PEFT_MODEL_FILE "' has another SHA-256");
    buffer_free(&bytes);
    learner_free(learner);
}

int main(void) {
#define CASE(test) cmocka_unit_test_setup_teardown(test, learner_lm_setup, learner_lm_teardown)
    const struct CMUnitTest tests[] = {
        CASE(the_first_version_is_the_adapter),
        CASE(a_state_goes_on_only_under_its_own_adapter),
        CASE(a_users_export_gives_that_users_logits),
        CASE(old_and_unknown_items_do_not_matter),
        CASE(a_version_without_a_gate_is_refused),
        CASE(a_changed_file_of_a_version_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
