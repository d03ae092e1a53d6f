/* SPDX-License-Identifier: Apache-2.0
 *
 * hf_config.c - reads what the forward pass needs from config.json, and refuses what it lacks.
 *
 * Defaults are those of the transformers classes LlamaConfig, MistralConfig, Qwen2Config and
 * Qwen3Config. Newer files hold the rotary settings in "rope_parameters", older ones in
 * "rope_theta" and "rope_scaling"; both are read.
 */
#include "model/hf_config.h"

#include <assert.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"

/* An integer into *value; a missing or null field keeps the default unless needed. */
static enum status read_integer(const struct json_value *config, const char *field, bool needed,
                                int *value, struct error *err) {
    const struct json_value *found = json_member(config, field);
    int64_t integer = 0;
    bool absent = found == NULL || json_kind(found) == JSON_NULL;
    if (absent && !needed) { return STATUS_OK; }
    if (absent || !json_integer(found, &integer) || integer < 0 || integer > INT_MAX) {
        return error_set(err, STATUS_CONFIG, "field '%s' is %s", field,
                         absent ? "missing" : "not an integer in range");
    }
    *value = (int)integer;
    return STATUS_OK;
}

static enum status read_real(const struct json_value *config, const char *field, bool needed,
                             float *value, struct error *err) {
    const struct json_value *found = json_member(config, field);
    double real = 0.0;
    bool absent = found == NULL || json_kind(found) == JSON_NULL;
    if (absent && !needed) { return STATUS_OK; }
    if (absent || !json_real(found, &real)) {
        return error_set(err, STATUS_CONFIG, "field '%s' is %s", field,
                         absent ? "missing" : "not a number");
    }
    *value = (float)real;
    return STATUS_OK;
}

/* True when the field is there and Python, which the reference reads it with, takes it for true: a
 * flag written as 1 must not pass for absent. */
static bool is_true(const struct json_value *config, const char *field) {
    const struct json_value *found = json_member(config, field);
    double number = 1.0;
    if (found == NULL || json_kind(found) == JSON_NULL || json_kind(found) == JSON_FALSE) {
        return false;
    }
    return !json_real(found, &number) || number != 0.0;
}

static bool is_set(const struct json_value *config, const char *field) {
    const struct json_value *found = json_member(config, field);
    return found != NULL && json_kind(found) != JSON_NULL;
}

static enum status read_architecture(const struct json_value *config, struct model_description *d,
                                     struct error *err) {
    static const char *const known[] = {"llama", "mistral", "qwen2", "qwen3"};
    struct span type = span_of("missing");
    bool named = json_string(json_member(config, "model_type"), &type);
    for (size_t i = 0; named && i < sizeof known / sizeof known[0]; i++) {
        if (span_equal(type, span_of(known[i]))) {
            (void)snprintf(d->architecture, sizeof d->architecture, "%s", known[i]);
            return STATUS_OK;
        }
    }
    return error_set(err, STATUS_CONFIG,
                     "field 'model_type' is '%.*s', expected llama, mistral, "
                     "qwen2 or qwen3",
                     type.size < 40 ? (int)type.size : 40, (const char *)type.data);
}

static enum status read_sizes(const struct json_value *config, struct model_description *d,
                              struct error *err) {
    struct integer_field {
        const char *field;
        int *value;
    } const fields[] = {
        {"num_hidden_layers", &d->L}, {"hidden_size", &d->C}, {"num_attention_heads", &d->H},
        {"intermediate_size", &d->F}, {"vocab_size", &d->V},
    };
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
        enum status status = read_integer(config, fields[i].field, true, fields[i].value, err);
        if (status != STATUS_OK) { return status; }
    }
    bool qwen3 = strcmp(d->architecture, "qwen3") == 0;
    d->G = d->H;
    d->D = qwen3 ? 128 : d->H > 0 ? d->C / d->H : 0;
    d->context = 2048;
    enum status status = read_integer(config, "num_key_value_heads", false, &d->G, err);
    if (status != STATUS_OK) { return status; }
    status = read_integer(config, "head_dim", false, &d->D, err);
    if (status != STATUS_OK) { return status; }
    status = read_integer(config, "max_position_embeddings", false, &d->context, err);
    if (status != STATUS_OK) { return status; }
    d->norm_epsilon = 1e-6f;
    return read_real(config, "rms_norm_eps", false, &d->norm_epsilon, err);
}

/* rope: the object with factor and type, NULL = plain. */
static enum status read_rope_scaling(const struct json_value *rope, struct model_description *d,
                                     struct error *err) {
    struct span type = span_of("default");
    if (!json_string(json_member(rope, "rope_type"), &type)) {
        (void)json_string(json_member(rope, "type"), &type); /* absent: the default */
    }
    if (span_equal(type, span_of("default"))) { return STATUS_OK; }
    enum status status = read_real(rope, "factor", true, &d->rope_factor, err);
    if (status != STATUS_OK) { return error_wrap(err, "rope scaling"); }
    if (span_equal(type, span_of("linear"))) {
        d->rope_scaling = ROPE_LINEAR;
        return STATUS_OK;
    }
    if (!span_equal(type, span_of("llama3"))) {
        return error_set(err, STATUS_CONFIG,
                         "rope scaling has type '%.*s', expected default, "
                         "linear or llama3",
                         type.size < 40 ? (int)type.size : 40, (const char *)type.data);
    }
    d->rope_scaling = ROPE_LLAMA3;
    status = read_real(rope, "low_freq_factor", true, &d->rope_low, err);
    if (status != STATUS_OK) { return error_wrap(err, "rope scaling"); }
    status = read_real(rope, "high_freq_factor", true, &d->rope_high, err);
    if (status != STATUS_OK) { return error_wrap(err, "rope scaling"); }
    status = read_integer(rope, "original_max_position_embeddings", true, &d->rope_context, err);
    return status == STATUS_OK ? STATUS_OK : error_wrap(err, "rope scaling");
}

static enum status read_rope(const struct json_value *config, struct model_description *d,
                             struct error *err) {
    d->rope_theta = 10000.0f;
    d->rope_scaling = ROPE_PLAIN;
    enum status status = read_real(config, "rope_theta", false, &d->rope_theta, err);
    if (status != STATUS_OK) { return status; }
    const char *field = is_set(config, "rope_parameters") ? "rope_parameters" : "rope_scaling";
    if (!is_set(config, field)) { return STATUS_OK; }
    const struct json_value *rope = json_member(config, field);
    if (json_kind(rope) != JSON_OBJECT) {
        return error_set(err, STATUS_CONFIG, "field '%s' is not an object", field);
    }
    status = read_real(rope, "rope_theta", false, &d->rope_theta, err);
    if (status != STATUS_OK) { return status; }
    return read_rope_scaling(rope, d, err);
}

/* A window narrower than the context, where the architecture uses it. */
static enum status check_window(const struct json_value *config, const struct model_description *d,
                                struct error *err) {
    const struct json_value *types = json_member(config, "layer_types");
    for (size_t i = 0; i < json_size(types); i++) {
        struct span type = span_of("");
        if (json_string(json_element(types, i), &type) &&
            !span_equal(type, span_of("full_attention"))) {
            return error_set(err, STATUS_CONFIG,
                             "field 'layer_types': layer %zu is '%.*s', "
                             "expected full_attention",
                             i, type.size < 40 ? (int)type.size : 40, (const char *)type.data);
        }
    }
    bool qwen = strncmp(d->architecture, "qwen", 4) == 0;
    if (qwen && !is_true(config, "use_sliding_window")) { return STATUS_OK; }
    int window = INT_MAX;
    enum status status = read_integer(config, "sliding_window", false, &window, err);
    if (status != STATUS_OK) { return status; }
    if (window < d->context) {
        return error_set(err, STATUS_CONFIG,
                         "field 'sliding_window' is %d below the context of "
                         "%d: sliding windows are not supported",
                         window, d->context);
    }
    return STATUS_OK;
}

static enum status check_refused(const struct json_value *config, const struct model_description *d,
                                 struct error *err) {
    static const char *const set[] = {"quantization_config", "num_local_experts", "num_experts"};
    static const char *const truths[] = {"attention_bias", "mlp_bias"};
    for (size_t i = 0; i < sizeof set / sizeof set[0]; i++) {
        if (is_set(config, set[i])) {
            return error_set(err, STATUS_CONFIG, "field '%s' is set, which is not supported",
                             set[i]);
        }
    }
    for (size_t i = 0; i < sizeof truths / sizeof truths[0]; i++) {
        if (is_true(config, truths[i])) {
            return error_set(err, STATUS_CONFIG, "field '%s' is true, which is not supported",
                             truths[i]);
        }
    }
    struct span activation = span_of("silu");
    (void)json_string(json_member(config, "hidden_act"), &activation); /* absent: silu */
    if (!span_equal(activation, span_of("silu"))) {
        return error_set(err, STATUS_CONFIG, "field 'hidden_act' is '%.*s', expected silu",
                         activation.size < 40 ? (int)activation.size : 40,
                         (const char *)activation.data);
    }
    double partial = 1.0;
    if (json_real(json_member(config, "partial_rotary_factor"), &partial) && partial != 1.0) {
        return error_set(err, STATUS_CONFIG, "field 'partial_rotary_factor' is %g, expected 1",
                         partial);
    }
    return check_window(config, d, err);
}

/* A token id or a list of them (the first counts); -1 when absent or outside the vocabulary. */
static int read_token(const struct json_value *config, const char *field, int V) {
    const struct json_value *value = json_member(config, field);
    int64_t id = -1;
    if (value != NULL && json_kind(value) == JSON_ARRAY) { value = json_element(value, 0); }
    return json_integer(value, &id) && id >= 0 && id < V ? (int)id : -1;
}

static enum status read_config(const struct json_value *config, struct model_description *d,
                               struct error *err) {
    if (json_kind(config) != JSON_OBJECT) {
        return error_set(err, STATUS_CONFIG, "it is not a JSON object");
    }
    enum status status = read_architecture(config, d, err);
    if (status != STATUS_OK) { return status; }
    status = read_sizes(config, d, err);
    if (status != STATUS_OK) { return status; }
    status = read_rope(config, d, err);
    if (status != STATUS_OK) { return status; }
    status = check_refused(config, d, err);
    if (status != STATUS_OK) { return status; }

    d->tied_head = is_true(config, "tie_word_embeddings");
    d->qkv_bias = strcmp(d->architecture, "qwen2") == 0;
    d->qk_norm = strcmp(d->architecture, "qwen3") == 0;
    d->bos = read_token(config, "bos_token_id", d->V);
    d->eos = read_token(config, "eos_token_id", d->V);
    return STATUS_OK;
}

enum status hf_config_parse(struct span text, struct model_description *ret_description,
                            struct error *err) {
    assert(err != NULL);
    assert(ret_description != NULL);

    struct json_value *config = NULL;
    struct model_description description = {0};
    enum status status = json_parse(text, &config, err);
    if (status != STATUS_OK) {
        if (status == STATUS_MALFORMED) { err->code = STATUS_CONFIG; }
        return err->code;
    }
    status = read_config(config, &description, err);
    json_free(config);
    if (status == STATUS_OK) { *ret_description = description; }
    return status;
}
