/* SPDX-License-Identifier: Apache-2.0
 *
 * peft_config.c - one table says what each field of PEFT's LoraConfig may hold here. (Fields of
 * PEFT 0.21.2.) */
#include "model/peft_config.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "model/peft_adapter.h"

#define FOUND_BYTES 80

const char *const peft_modules[PEFT_MODULES] = {
    "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
    "mlp.gate_proj",    "mlp.up_proj",      "mlp.down_proj",
};

enum rule {
    RULE_ANY,   /* changes nothing in the product, or is read elsewhere */
    RULE_EMPTY, /* null, false, "", [], {} or 0 */
    RULE_NONE,  /* "none" */
    RULE_START, /* an init that leaves the base as it is */
};

struct field {
    const char *name;
    enum rule rule;
    const char *why; /* of a refusal */
};

static const struct field fields[] = {
    {"peft_type", RULE_ANY, NULL},
    {"task_type", RULE_ANY, NULL},
    {"auto_mapping", RULE_ANY, NULL},
    {"peft_version", RULE_ANY, NULL},
    {"base_model_name_or_path", RULE_ANY, NULL},
    {"revision", RULE_ANY, NULL},
    {"inference_mode", RULE_ANY, NULL},
    {"r", RULE_ANY, NULL},
    {"lora_alpha", RULE_ANY, NULL},
    {"lora_dropout", RULE_ANY, NULL}, /* of training there */
    {"use_rslora", RULE_ANY, NULL},
    {"target_modules", RULE_ANY, NULL},
    {"exclude_modules", RULE_ANY, NULL},
    {"layers_to_transform", RULE_ANY, NULL},
    {"layers_pattern", RULE_ANY, NULL},
    {"megatron_core", RULE_ANY, NULL},       /* the name of a library */
    {"qalora_group_size", RULE_ANY, NULL},   /* of use_qalora */
    {"runtime_config", RULE_ANY, NULL},      /* where PEFT computes */
    {"ensure_weight_tying", RULE_ANY, NULL}, /* of modules_to_save */
    {"loftq_config", RULE_ANY, NULL},        /* of init_lora_weights */
    {"eva_config", RULE_ANY, NULL},
    {"corda_config", RULE_ANY, NULL},
    {"lora_ga_config", RULE_ANY, NULL},
    {"init_lora_weights", RULE_START, "the adapter belongs to a base changed by its init"},
    {"bias", RULE_NONE, "trained biases are not part of iLoRA"},
    {"lora_bias", RULE_EMPTY, "trained biases are not part of iLoRA"},
    {"use_dora", RULE_EMPTY, "DoRA's magnitudes are not part of iLoRA"},
    {"use_qalora", RULE_EMPTY, "QA-LoRA pools its input"},
    {"rank_pattern", RULE_EMPTY, "iLoRA has one rank for all modules"},
    {"alpha_pattern", RULE_EMPTY, "iLoRA has one alpha for all modules"},
    {"modules_to_save", RULE_EMPTY, "the base is frozen"},
    {"trainable_token_indices", RULE_EMPTY, "the base's embedding is frozen"},
    {"fan_in_fan_out", RULE_EMPTY, "weights of the Llama family are not transposed"},
    {"layer_replication", RULE_EMPTY, "the base has its own layers"},
    {"target_parameters", RULE_EMPTY, "only linear layers have an adapter"},
    {"alora_invocation_tokens", RULE_EMPTY, "the adapter is on for every token"},
};

static const char *const module_names = "q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, "
                                        "down_proj";

/* ---- values ---------------------------------------------------------------------------------- */

static bool is_empty(const struct json_value *value) {
    struct span text = {NULL, 0};
    double real = 0.0;

    if (value == NULL) { return true; }
    switch (json_kind(value)) {
    case JSON_NULL:
    case JSON_FALSE: return true;
    case JSON_TRUE: return false;
    case JSON_INTEGER:
    case JSON_REAL: return json_real(value, &real) && real == 0.0;
    case JSON_STRING: return json_string(value, &text) && text.size == 0;
    case JSON_ARRAY:
    case JSON_OBJECT: return json_size(value) == 0;
    }
    return false;
}

/* A value in a few words, for an error. */
static const char *found(const struct json_value *value, char words[FOUND_BYTES]) {
    struct span text = {NULL, 0};
    double real = 0.0;

    if (value == NULL) { return "nothing"; }
    switch (json_kind(value)) {
    case JSON_NULL: return "null";
    case JSON_FALSE: return "false";
    case JSON_TRUE: return "true";
    case JSON_INTEGER:
    case JSON_REAL:
        (void)json_real(value, &real); /* a number is one */
        (void)snprintf(words, FOUND_BYTES, "%.9g", real);
        return words;
    case JSON_STRING:
        (void)json_string(value, &text); /* a string is one */
        (void)snprintf(words, FOUND_BYTES, "'%.*s'", text.size < 60 ? (int)text.size : 60,
                       (const char *)text.data);
        return words;
    case JSON_ARRAY:
        (void)snprintf(words, FOUND_BYTES, "a list of %zu", json_size(value));
        return words;
    case JSON_OBJECT:
        (void)snprintf(words, FOUND_BYTES, "an object of %zu", json_size(value));
        return words;
    }
    return "nothing";
}

static bool is_text(const struct json_value *value, const char *text) {
    struct span found_text = {NULL, 0};

    return json_string(value, &found_text) && span_equal(found_text, span_of(text));
}

/* PEFT's inits by name: pissa, olora, corda, loftq and lora_ga subtract something from the base's
 * weights; the others are a start of A and B alone. */
static bool leaves_base(const struct json_value *value) {
    return value == NULL || json_kind(value) != JSON_STRING || is_text(value, "gaussian") ||
           is_text(value, "eva") || is_text(value, "orthogonal");
}

/* ---- fields ---------------------------------------------------------------------------------- */

struct field_visit {
    struct error *err;
    enum status status;
};

static enum status check_field(const struct field *field, const struct json_value *value,
                               struct error *err) {
    char words[FOUND_BYTES];

    switch (field->rule) {
    case RULE_ANY: return STATUS_OK;
    case RULE_EMPTY:
        if (is_empty(value)) { return STATUS_OK; }
        return error_set(err, STATUS_CONFIG, "field '%s' is %s, expected none: %s", field->name,
                         found(value, words), field->why);
    case RULE_NONE:
        if (is_empty(value) || is_text(value, "none")) { return STATUS_OK; }
        return error_set(err, STATUS_CONFIG, "field '%s' is %s, expected 'none': %s", field->name,
                         found(value, words), field->why);
    case RULE_START:
        if (leaves_base(value)) { return STATUS_OK; }
        return error_set(err, STATUS_CONFIG,
                         "field '%s' is %s, expected true, false, 'gaussian', 'eva' or "
                         "'orthogonal': %s",
                         field->name, found(value, words), field->why);
    }
    return STATUS_OK;
}

static bool visit_field(void *context, struct span name, const struct json_value *value) {
    struct field_visit *visit = context;
    char words[FOUND_BYTES];

    for (size_t f = 0; f < sizeof fields / sizeof fields[0]; f++) {
        if (!span_equal(name, span_of(fields[f].name))) { continue; }
        visit->status = check_field(&fields[f], value, visit->err);
        return visit->status == STATUS_OK;
    }
    if (is_empty(value)) { return true; }
    visit->status = error_set(
        visit->err, STATUS_CONFIG, "field '%.*s' is %s, expected none: it is not known here",
        name.size < 60 ? (int)name.size : 60, (const char *)name.data, found(value, words));
    return false;
}

static enum status check_numbers(struct peft_config *config, struct error *err) {
    const struct json_value *rank = json_member(config->json, "r");
    const struct json_value *alpha = json_member(config->json, "lora_alpha");
    const struct json_value *rslora = json_member(config->json, "use_rslora");
    char words[FOUND_BYTES];
    int64_t r = 0;

    if (!json_integer(rank, &r) || r < 1 || r > PEFT_RANK_MAX) {
        return error_set(err, STATUS_CONFIG, "field 'r' is %s, expected 1 to %d",
                         found(rank, words), PEFT_RANK_MAX);
    }
    config->rank = (int)r;
    if (!json_real(alpha, &config->alpha) || !(config->alpha > 0.0) || config->alpha > 1e6) {
        return error_set(err, STATUS_CONFIG, "field 'lora_alpha' is %s, expected > 0 to 1e6",
                         found(alpha, words));
    }
    if (!is_empty(rslora) && !json_bool(rslora, &config->rslora)) {
        return error_set(err, STATUS_CONFIG, "field 'use_rslora' is %s, expected true or false",
                         found(rslora, words));
    }
    return STATUS_OK;
}

/* ---- which modules --------------------------------------------------------------------------- */

/* "model.layers.3.self_attn.q_proj" is, or ends after a dot with, the name. */
static bool name_matches(const char *module, struct span name) {
    size_t size = strlen(module);

    if (name.size == 0 || name.size > size) { return false; }
    if (memcmp(module + size - name.size, name.data, name.size) != 0) { return false; }
    return name.size == size || module[size - name.size - 1] == '.';
}

static bool list_matches(const struct json_value *list, const char *module) {
    for (size_t i = 0; i < json_size(list); i++) {
        struct span name = {NULL, 0};
        if (json_string(json_element(list, i), &name) && name_matches(module, name)) {
            return true;
        }
    }
    return false;
}

/* Layers a config speaks of: none given = all. */
static bool layer_wanted(const struct json_value *layers, int layer) {
    int64_t number = -1;

    if (layers == NULL || json_kind(layers) == JSON_NULL) { return true; }
    if (json_integer(layers, &number)) { return number == layer; }
    for (size_t i = 0; i < json_size(layers); i++) {
        if (json_integer(json_element(layers, i), &number) && number == layer) { return true; }
    }
    return false;
}

static void module_key(int layer, int module, char key[128]) {
    (void)snprintf(key, 128, "model.layers.%d.%s", layer, peft_modules[module]);
}

bool peft_config_targets(const struct peft_config *config, int layer, int module) {
    const struct json_value *targets = json_member(config->json, "target_modules");
    const struct json_value *excluded = json_member(config->json, "exclude_modules");
    char key[128];

    assert(layer >= 0 && module >= 0 && module < PEFT_MODULES);
    if (targets == NULL || json_kind(targets) != JSON_ARRAY) { return false; }
    if (excluded != NULL && json_kind(excluded) == JSON_STRING) { return false; } /* a pattern */
    module_key(layer, module, key);
    return list_matches(targets, key) && !list_matches(excluded, key) &&
           layer_wanted(json_member(config->json, "layers_to_transform"), layer);
}

static bool is_digit(uint8_t c) {
    return c >= '0' && c <= '9';
}

/* The first number in a name; 0 without one. */
static int layer_in(struct span name) {
    size_t i = 0;
    int layer = 0;

    while (i < name.size && !is_digit(name.data[i])) {
        i++;
    }
    for (; i < name.size && is_digit(name.data[i]) && layer < PEFT_LAYERS_MAX; i++) {
        layer = layer * 10 + (name.data[i] - '0');
    }
    return layer;
}

/* A name that is none of the seven in any layer. */
static enum status check_target(const struct json_value *element, struct error *err) {
    struct span name = {NULL, 0};
    char key[128], words[FOUND_BYTES];

    if (json_string(element, &name)) {
        int layer = layer_in(name);
        for (int module = 0; module < PEFT_MODULES; module++) {
            module_key(layer, module, key);
            if (name_matches(key, name)) { return STATUS_OK; }
        }
    }
    return error_set(err, STATUS_CONFIG, "field 'target_modules' holds %s, expected some of %s",
                     found(element, words), module_names);
}

static enum status check_targets(const struct peft_config *config, struct error *err) {
    const struct json_value *targets = json_member(config->json, "target_modules");
    const struct json_value *pattern = json_member(config->json, "layers_pattern");
    char words[FOUND_BYTES];

    if (targets == NULL ||
        (json_kind(targets) != JSON_ARRAY && json_kind(targets) != JSON_STRING) ||
        is_empty(targets)) {
        return error_set(err, STATUS_CONFIG, "field 'target_modules' is %s, expected some of %s",
                         found(targets, words), module_names);
    }
    for (size_t i = 0; i < json_size(targets); i++) {
        enum status status = check_target(json_element(targets, i), err);
        if (status != STATUS_OK) { return status; }
    }
    bool layers = is_empty(pattern) || is_text(pattern, "layers") ||
                  (json_size(pattern) == 1 && is_text(json_element(pattern, 0), "layers"));
    if (!layers) {
        return error_set(err, STATUS_CONFIG, "field 'layers_pattern' is %s, expected 'layers'",
                         found(pattern, words));
    }
    return STATUS_OK;
}

/* ---- the whole ------------------------------------------------------------------------------- */

enum status peft_config_read(struct span text, struct peft_config *ret_config, struct error *err) {
    struct peft_config config = {0};
    struct field_visit visit = {err, STATUS_OK};
    struct span base_name = {NULL, 0};
    char words[FOUND_BYTES];

    enum status status = json_parse(text, &config.json, err);
    if (status == STATUS_MALFORMED) { err->code = status = STATUS_CONFIG; }
    if (status != STATUS_OK) { return status; }
    const struct json_value *type = json_member(config.json, "peft_type");
    if (!is_text(type, "LORA")) {
        status = error_set(err, STATUS_CONFIG, "field 'peft_type' is %s, expected 'LORA'",
                           found(type, words));
    }
    if (status == STATUS_OK) {
        json_members(config.json, visit_field, &visit);
        status = visit.status;
    }
    if (status == STATUS_OK) { status = check_numbers(&config, err); }
    if (status == STATUS_OK) { status = check_targets(&config, err); }
    if (status != STATUS_OK) {
        peft_config_free(&config);
        return status;
    }
    if (json_string(json_member(config.json, "base_model_name_or_path"), &base_name) &&
        base_name.size < sizeof config.base_name) { /* a longer one is for people, too */
        (void)snprintf(config.base_name, sizeof config.base_name, "%.*s", SPAN_ARG(base_name));
    }
    *ret_config = config;
    return STATUS_OK;
}

void peft_config_free(struct peft_config *config) {
    json_free(config->json);
    memset(config, 0, sizeof *config);
}

enum status peft_config_make(int rank, double alpha, const char *base_name, struct buffer *out,
                             struct error *err) {
    struct json_writer w;

    json_write_begin(&w, out);
    json_write_object(&w, NULL);
    json_write_string(&w, "peft_type", span_of("LORA"));
    json_write_string(&w, "task_type", span_of("CAUSAL_LM"));
    json_write_string(&w, "base_model_name_or_path", span_of(base_name));
    json_write_integer(&w, "r", rank);
    json_write_real(&w, "lora_alpha", alpha);
    json_write_real(&w, "lora_dropout", 0);
    json_write_string(&w, "bias", span_of("none"));
    json_write_bool(&w, "fan_in_fan_out", false);
    json_write_bool(&w, "inference_mode", true);
    json_write_array(&w, "target_modules");
    for (int m = 0; m < PEFT_MODULES; m++) { /* "q_proj" of "self_attn.q_proj" */
        json_write_string(&w, NULL, span_of(strchr(peft_modules[m], '.') + 1));
    }
    json_write_array_end(&w);
    json_write_object_end(&w);
    enum status status = json_write_end(&w);
    return status == STATUS_OK ? status : error_set(err, status, "'" PEFT_CONFIG_FILE "'");
}
