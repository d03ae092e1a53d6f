/* SPDX-License-Identifier: Apache-2.0
 *
 * checkpoint_gguf.c - a GGUF file as a base model: HF's tensor names, the description, row order.
 *
 * ggml's "llama" files hold q and k with their rows permuted for interleaved rotary pairs:
 *   file row   h D + 2 i + p     pair i of head h, part p (0, 1)
 *   our row    h D + p D/2 + i   rotate-half order, as in HF's weights
 * and are un-permuted here. Qwen files are not permuted.
 */
#include "model/checkpoint_source.h"

#include <assert.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/bytes.h"
#include "base/memory.h"
#include "model/float16.h"
#include "model/gguf.h"
#include "model/gguf_dequant.h"

#define KEY_BYTES 96u

struct gguf_source {
    struct model_source source;
    struct gguf *file; /* owns */
    bool permuted;     /* q and k rows are in ggml's order */
};

struct name_pair {
    const char *ours; /* HF's */
    const char *file; /* ggml's */
};

static const struct name_pair global_names[] = {
    {"model.embed_tokens.weight", "token_embd.weight"},
    {"model.norm.weight", "output_norm.weight"},
    {"lm_head.weight", "output.weight"},
};

static const struct name_pair layer_names[] = {
    {"input_layernorm.weight", "attn_norm.weight"},
    {"self_attn.q_proj.weight", "attn_q.weight"},
    {"self_attn.k_proj.weight", "attn_k.weight"},
    {"self_attn.v_proj.weight", "attn_v.weight"},
    {"self_attn.o_proj.weight", "attn_output.weight"},
    {"self_attn.q_proj.bias", "attn_q.bias"},
    {"self_attn.k_proj.bias", "attn_k.bias"},
    {"self_attn.v_proj.bias", "attn_v.bias"},
    {"self_attn.q_norm.weight", "attn_q_norm.weight"},
    {"self_attn.k_norm.weight", "attn_k_norm.weight"},
    {"post_attention_layernorm.weight", "ffn_norm.weight"},
    {"mlp.gate_proj.weight", "ffn_gate.weight"},
    {"mlp.up_proj.weight", "ffn_up.weight"},
    {"mlp.down_proj.weight", "ffn_down.weight"},
};

static const char *pair_find(const struct name_pair *pairs, size_t count, const char *ours) {
    for (size_t i = 0; i < count; i++) {
        if (strcmp(pairs[i].ours, ours) == 0) { return pairs[i].file; }
    }
    return NULL;
}

/* ggml's name for an HF name; "" when it has none. */
static void gguf_name(const char *name, char ret_name[TENSOR_NAME_BYTES]) {
    const char *prefix = "model.layers.";
    const char *known = pair_find(global_names, sizeof global_names / sizeof global_names[0], name);
    ret_name[0] = '\0';
    if (known != NULL) {
        (void)snprintf(ret_name, TENSOR_NAME_BYTES, "%s", known);
        return;
    }
    if (strncmp(name, prefix, strlen(prefix)) != 0) { return; }

    const char *number = name + strlen(prefix);
    const char *dot = strchr(number, '.');
    int64_t layer = -1;
    if (dot == NULL) { return; }
    if (!span_integer(span_make(number, (size_t)(dot - number)), &layer)) { return; }
    known = pair_find(layer_names, sizeof layer_names / sizeof layer_names[0], dot + 1);
    if (known == NULL || layer < 0) { return; }
    (void)snprintf(ret_name, TENSOR_NAME_BYTES, "blk.%lld.%s", (long long)layer, known);
}

/* The tensor behind an HF name; NULL when the file has none. */
static const struct gguf_tensor *tensor_of(const struct gguf *file, const char *name) {
    char file_name[TENSOR_NAME_BYTES];
    gguf_name(name, file_name);
    return gguf_tensor_find(file, file_name); /* no tensor has the name "" */
}

static bool gguf_shape(const struct model_source *source, const char *name, int *ret_rows,
                       int *ret_cols) {
    const struct gguf_source *gguf = (const struct gguf_source *)source;
    const struct gguf_tensor *tensor = tensor_of(gguf->file, name);
    if (tensor == NULL) { return false; }
    bool fits = tensor->sizes[2] == 1 && tensor->sizes[3] == 1; /* each size <= INT32_MAX */
    *ret_cols = (int)tensor->sizes[0];
    *ret_rows = fits ? (int)tensor->sizes[1] : -1;
    return true;
}

/* Where our row lies in a file whose heads of D rows are permuted. */
static size_t permuted_row(size_t row, size_t D) {
    size_t head = row / D;
    size_t part = row % D / (D / 2);
    size_t pair = row % (D / 2);
    return head * D + 2 * pair + part;
}

static enum status gguf_read(struct model_source *source, const char *name, int rows, int cols,
                             float *ret_values, struct error *err) {
    const struct gguf_source *gguf = (const struct gguf_source *)source;
    const struct gguf_tensor *tensor = tensor_of(gguf->file, name);
    if (tensor == NULL) { return error_set(err, STATUS_CONFIG, "tensor '%s' is missing", name); }
    assert((size_t)rows * (size_t)cols * gguf_block_bytes(tensor->type) ==
           tensor->bytes.size * gguf_block_values(tensor->type));

    bool permuted = gguf->permuted && (text_ends_with(name, "self_attn.q_proj.weight") ||
                                       text_ends_with(name, "self_attn.k_proj.weight"));
    size_t row_bytes = tensor->bytes.size / (size_t)rows;
    for (size_t row = 0; row < (size_t)rows; row++) {
        size_t from = permuted ? permuted_row(row, (size_t)source->description.D) : row;
        gguf_dequantise(tensor->type, tensor->bytes.data + from * row_bytes, (size_t)cols,
                        ret_values + row * (size_t)cols);
    }
    return STATUS_OK;
}

static void gguf_visit(const struct model_source *source, model_source_visit visit, void *context) {
    const struct gguf_source *gguf = (const struct gguf_source *)source;
    visit(context, gguf_bytes(gguf->file));
}

static void gguf_source_close(struct model_source *source) {
    struct gguf_source *gguf = (struct gguf_source *)source;
    gguf_close(gguf->file);
    memory_free(gguf->source.path);
    memory_free(gguf);
}

static const char *gguf_file(const struct model_source *source, const char *name) {
    (void)name; /* there is one file */
    return source->path;
}

static const struct model_source_ops gguf_ops = {
    "gguf", gguf_source_close, gguf_shape, gguf_read, gguf_visit, gguf_file, gguf_name, "",
};

const struct gguf *gguf_source_file(const struct model_source *source) {
    assert(source->ops == &gguf_ops);
    return ((const struct gguf_source *)source)->file;
}

/* ---- the description ------------------------------------------------------------------------- */

/* The entry "<architecture>.<field>" (or "<field>" when it already has its own room). */
static const struct gguf_entry *field_find(const struct gguf *file, const char *architecture,
                                           const char *field) {
    char key[KEY_BYTES];
    (void)snprintf(key, sizeof key, "%s.%s", architecture, field);
    return gguf_find(file, key);
}

/* An integer field into *value, which keeps its default when the field is absent and not needed. */
static enum status field_integer(const struct gguf *file, const char *architecture,
                                 const char *field, bool needed, int *value, struct error *err) {
    const struct gguf_entry *entry = field_find(file, architecture, field);
    int64_t found = 0;
    if (entry == NULL && !needed) { return STATUS_OK; }
    if (!gguf_integer(entry, &found) || found < 0 || found > INT_MAX) {
        return error_set(err, STATUS_CONFIG, "metadata '%s.%s' is %s", architecture, field,
                         entry == NULL ? "missing" : "not an integer in range");
    }
    *value = (int)found;
    return STATUS_OK;
}

static enum status field_real(const struct gguf *file, const char *architecture, const char *field,
                              bool needed, float *value, struct error *err) {
    const struct gguf_entry *entry = field_find(file, architecture, field);
    double found = 0.0;
    if (entry == NULL && !needed) { return STATUS_OK; }
    if (!gguf_real(entry, &found)) {
        return error_set(err, STATUS_CONFIG, "metadata '%s.%s' is %s", architecture, field,
                         entry == NULL ? "missing" : "not a real number");
    }
    *value = (float)found;
    return STATUS_OK;
}

/* Fields that change the forward pass in ways this one does not have. */
static enum status check_absent(const struct gguf *file, const char *architecture, int context,
                                struct error *err) {
    static const char *const refused[] = {
        "expert_count",    "attention.scale",        "residual_scale",          "logit_scale",
        "embedding_scale", "attn_logit_softcapping", "final_logit_softcapping",
    };
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        const struct gguf_entry *entry = field_find(file, architecture, refused[i]);
        int64_t integer = 0;
        if (entry == NULL || (gguf_integer(entry, &integer) && integer == 0)) { continue; }
        return error_set(err, STATUS_CONFIG, "metadata '%s.%s' is set, which is not supported",
                         architecture, refused[i]);
    }
    int window = 0;
    enum status status =
        field_integer(file, architecture, "attention.sliding_window", false, &window, err);
    if (status != STATUS_OK) { return status; }
    if (window > 0 && window < context) {
        return error_set(err, STATUS_CONFIG,
                         "metadata '%s.attention.sliding_window' is %d below "
                         "the context of %d: sliding windows are not supported",
                         architecture, window, context);
    }
    return STATUS_OK;
}

/* The factor of pair i in Llama 3's rule (Hugging Face's "llama3" rope type, after Meta's code). */
static float llama3_factor(const struct model_description *d, int i) {
    const double pi = 3.14159265358979323846;
    double wave = 2.0 * pi * pow((double)d->rope_theta, 2.0 * i / d->D);
    double low_wave = d->rope_context / (double)d->rope_low;
    double high_wave = d->rope_context / (double)d->rope_high;
    if (wave < high_wave) { return 1.0f; }
    if (wave > low_wave) { return d->rope_factor; }
    double smooth =
        (d->rope_context / wave - (double)d->rope_low) / (double)(d->rope_high - d->rope_low);
    return (float)(1.0 / ((1.0 - smooth) / (double)d->rope_factor + smooth));
}

/* Llama 3.1 and 3.2 files carry the factors themselves ("rope_freqs.weight", D/2 of them). The rule
 * behind them is that of the published models (low 1, high 4, 8192 positions); anything else is
 * refused rather than approximated. */
static enum status read_rope_factors(const struct gguf *file, struct model_description *d,
                                     struct error *err) {
    const struct gguf_tensor *tensor = gguf_tensor_find(file, "rope_freqs.weight");
    if (tensor == NULL) { return STATUS_OK; }
    if (tensor->type != GGUF_TYPE_F32 || tensor->sizes[0] != (uint64_t)(d->D / 2) ||
        tensor->bytes.size != 4u * (size_t)(d->D / 2)) {
        return error_set(err, STATUS_CONFIG, "tensor 'rope_freqs.weight' is not %d values of F32",
                         d->D / 2);
    }
    d->rope_scaling = ROPE_LLAMA3;
    d->rope_low = 1.0f;
    d->rope_high = 4.0f;
    d->rope_context = 8192;
    d->rope_factor = get_f32le(tensor->bytes.data + 4 * (size_t)(d->D / 2 - 1));
    for (int i = 0; i < d->D / 2; i++) {
        float found = get_f32le(tensor->bytes.data + 4 * (size_t)i);
        float expected = llama3_factor(d, i);
        if (!(fabsf(found - expected) <= 1e-3f * expected)) {
            return error_set(err, STATUS_CONFIG,
                             "tensor 'rope_freqs.weight' holds %g for pair %d, "
                             "Llama 3's rule gives %g: other rope factors are not supported",
                             (double)found, i, (double)expected);
        }
    }
    return STATUS_OK;
}

static enum status read_rope(const struct gguf *file, const char *architecture,
                             struct model_description *d, struct error *err) {
    int rotated = d->D;
    d->rope_theta = 10000.0f;
    enum status status =
        field_real(file, architecture, "rope.freq_base", false, &d->rope_theta, err);
    if (status != STATUS_OK) { return status; }
    status = field_integer(file, architecture, "rope.dimension_count", false, &rotated, err);
    if (status != STATUS_OK) { return status; }
    if (rotated != d->D) {
        return error_set(err, STATUS_CONFIG,
                         "metadata '%s.rope.dimension_count' is %d, expected "
                         "the whole head of %d",
                         architecture, rotated, d->D);
    }

    struct span type = span_of("none");
    const struct gguf_entry *entry = field_find(file, architecture, "rope.scaling.type");
    if (entry != NULL && !gguf_string(entry, &type)) { type = span_of("?"); }
    if (span_equal(type, span_of("linear"))) {
        d->rope_scaling = ROPE_LINEAR;
        return field_real(file, architecture, "rope.scaling.factor", true, &d->rope_factor, err);
    }
    if (!span_equal(type, span_of("none"))) {
        return error_set(err, STATUS_CONFIG,
                         "metadata '%s.rope.scaling.type' is '%.*s', expected "
                         "none or linear",
                         architecture, type.size < 40 ? (int)type.size : 40,
                         (const char *)type.data);
    }
    return read_rope_factors(file, d, err);
}

/* Sizes; D from attention.key_length or C/H. */
static enum status read_sizes(const struct gguf *file, const char *architecture,
                              struct model_description *d, struct error *err) {
    struct integer_field {
        const char *field;
        int *value;
    } const fields[] = {
        {"block_count", &d->L},          {"embedding_length", &d->C},
        {"attention.head_count", &d->H}, {"feed_forward_length", &d->F},
        {"context_length", &d->context},
    };
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
        enum status status =
            field_integer(file, architecture, fields[i].field, true, fields[i].value, err);
        if (status != STATUS_OK) { return status; }
    }
    d->G = d->H;
    d->D = d->H > 0 ? d->C / d->H : 0;
    int value_length = -1;
    enum status status =
        field_integer(file, architecture, "attention.head_count_kv", false, &d->G, err);
    if (status != STATUS_OK) { return status; }
    status = field_integer(file, architecture, "attention.key_length", false, &d->D, err);
    if (status != STATUS_OK) { return status; }
    status = field_integer(file, architecture, "attention.value_length", false, &value_length, err);
    if (status != STATUS_OK) { return status; }
    if (value_length >= 0 && value_length != d->D) {
        return error_set(err, STATUS_CONFIG,
                         "metadata '%s.attention.value_length' is %d, expected "
                         "the key length %d",
                         architecture, value_length, d->D);
    }
    status = field_real(file, architecture, "attention.layer_norm_rms_epsilon", true,
                        &d->norm_epsilon, err);
    if (status != STATUS_OK) { return status; }

    const struct gguf_tensor *embedding = gguf_tensor_find(file, "token_embd.weight");
    if (embedding == NULL) {
        return error_set(err, STATUS_CONFIG, "tensor 'token_embd.weight' is missing");
    }
    d->V = (int)embedding->sizes[1];
    return STATUS_OK;
}

static int token_id(const struct gguf *file, const char *key, int V) {
    int64_t id = -1;
    return gguf_integer(gguf_find(file, key), &id) && id >= 0 && id < V ? (int)id : -1;
}

static enum status read_description(struct gguf_source *gguf, struct error *err) {
    static const char *const architectures[] = {"llama", "mistral", "qwen2", "qwen3"};
    struct model_description *d = &gguf->source.description;
    struct span found = span_of("nothing");
    bool named = gguf_string(gguf_find(gguf->file, "general.architecture"), &found);
    const char *architecture = NULL;
    for (size_t i = 0; i < sizeof architectures / sizeof architectures[0]; i++) {
        if (named && span_equal(found, span_of(architectures[i]))) {
            architecture = architectures[i];
        }
    }
    if (architecture == NULL) {
        return error_set(err, STATUS_CONFIG,
                         "metadata 'general.architecture' is '%.*s', expected "
                         "llama, mistral, qwen2 or qwen3",
                         found.size < 40 ? (int)found.size : 40, (const char *)found.data);
    }
    (void)snprintf(d->architecture, sizeof d->architecture, "%s", architecture);

    enum status status = read_sizes(gguf->file, architecture, d, err);
    if (status != STATUS_OK) { return status; }
    status = check_absent(gguf->file, architecture, d->context, err);
    if (status != STATUS_OK) { return status; }
    /* The rows below need the sizes to be sane; the same check runs again on the whole. */
    d->rope_theta = 10000.0f;
    status = description_check(d, err);
    if (status != STATUS_OK) { return status; }
    status = read_rope(gguf->file, architecture, d, err);
    if (status != STATUS_OK) { return status; }

    d->tied_head = gguf_tensor_find(gguf->file, "output.weight") == NULL;
    d->qkv_bias = strcmp(architecture, "qwen2") == 0;
    d->qk_norm = strcmp(architecture, "qwen3") == 0;
    d->bos = token_id(gguf->file, "tokenizer.ggml.bos_token_id", d->V);
    d->eos = token_id(gguf->file, "tokenizer.ggml.eos_token_id", d->V);
    gguf->permuted = !d->qkv_bias && !d->qk_norm;
    return STATUS_OK;
}

/* takes: file, also on failure. */
static enum status source_make(const char *path, struct gguf *file,
                               struct model_source **ret_source, struct error *err) {
    enum status status;
    struct gguf_source *gguf = MEMORY_TAKE_ARRAY(struct gguf_source, 1);
    if (gguf == NULL) {
        gguf_close(file);
        return error_set(err, STATUS_NO_MEMORY, "opening '%s'", path);
    }
    gguf->file = file;
    gguf->source.ops = &gguf_ops;
    gguf->source.path = memory_take_copy(path, strlen(path));
    if (gguf->source.path == NULL) {
        status = error_set(err, STATUS_NO_MEMORY, "opening '%s'", path);
        goto fail;
    }
    status = read_description(gguf, err);
    if (status != STATUS_OK) {
        status = error_wrap(err, "'%s'", path);
        goto fail;
    }
    *ret_source = &gguf->source;
    return STATUS_OK;

fail:
    gguf_source_close(&gguf->source);
    return status;
}

enum status gguf_source_open(const char *path, struct model_source **ret_source,
                             struct error *err) {
    struct gguf *file = NULL;
    enum status status = gguf_open(path, &file, err);
    return status == STATUS_OK ? source_make(path, file, ret_source, err) : status;
}

enum status gguf_source_open_bytes(const char *path, struct span bytes,
                                   struct model_source **ret_source, struct error *err) {
    struct gguf *file = NULL;
    enum status status = gguf_open_bytes(bytes, &file, err);
    if (status != STATUS_OK) { return error_wrap(err, "'%s'", path); }
    return source_make(path, file, ret_source, err);
}
