/* SPDX-License-Identifier: Apache-2.0
 *
 * checkpoint.c - one door to the three containers, and the checks none of them may skip.
 *
 * At open, before any value is read: the description's numbers are within limits, every tensor the
 * forward pass needs is there, and its shape is the one the description asks for. At read: the
 * shape the caller expects, and no NaN or infinity.
 */
#include "model/checkpoint.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/memory.h"
#include "model/checkpoint_source.h"

#define BUILTIN_PREFIX     "builtin:"
#define TENSOR_WORDS_BYTES (2u * TENSOR_NAME_BYTES)
/* Query heads of one key/value head: the room that attention of single rows has for them
 * (HEADS_MAX of kernels/cpu/attention.c). */
#define QUERIES_A_HEAD_MAX 128

struct checkpoint {
    struct model_source *source; /* owns */
};

/* One size of the description: its names in config.json and in GGUF metadata, what was found, the
 * largest allowed. */
struct description_limit {
    const char *field, *gguf_field;
    int value, max;
};

/* Heads that the kernels do not take. */
static enum status heads_check(const struct model_description *d, struct error *err) {
    if (d->H % d->G != 0 || d->H / d->G > QUERIES_A_HEAD_MAX) {
        return error_set(err, STATUS_CONFIG,
                         "field 'num_key_value_heads' (GGUF: attention.head_count_kv) is %d for "
                         "%d attention heads, expected a divisor with a quotient of at most %d",
                         d->G, d->H, QUERIES_A_HEAD_MAX);
    }
    if (d->D % 2 != 0) {
        return error_set(err, STATUS_CONFIG,
                         "field 'head_dim' (GGUF: attention.key_length) is %d, a head size that is "
                         "odd: rotary pairs need an even one",
                         d->D);
    }
    return STATUS_OK;
}

enum status description_check(const struct model_description *d, struct error *err) {
    /* Largest published Llama-family models stay a factor of four below each of these. */
    const struct description_limit limits[] = {
        {"num_hidden_layers", "block_count", d->L, 512},
        {"hidden_size", "embedding_length", d->C, 65536},
        {"num_attention_heads", "attention.head_count", d->H, 1024},
        {"num_key_value_heads", "attention.head_count_kv", d->G, 1024},
        {"head_dim", "attention.key_length", d->D, 1024},
        {"intermediate_size", "feed_forward_length", d->F, 1 << 20},
        {"vocab_size", "rows of token_embd.weight", d->V, 1 << 22},
        {"max_position_embeddings", "context_length", d->context, 1 << 28},
    };
    for (size_t i = 0; i < sizeof limits / sizeof limits[0]; i++) {
        if (limits[i].value < 1 || limits[i].value > limits[i].max) {
            return error_set(err, STATUS_CONFIG, "field '%s' (GGUF: %s) is %d, expected 1 to %d",
                             limits[i].field, limits[i].gguf_field, limits[i].value, limits[i].max);
        }
    }
    enum status status = heads_check(d, err);
    if (status != STATUS_OK) { return status; }
    if (!(d->norm_epsilon > 0.0f && d->norm_epsilon < 0.1f)) {
        return error_set(err, STATUS_CONFIG,
                         "field 'rms_norm_eps' (GGUF: attention.layer_norm_rms_epsilon) is %g, "
                         "expected 0 < epsilon < 0.1",
                         (double)d->norm_epsilon);
    }
    if (!(d->rope_theta > 1.0f && isfinite(d->rope_theta))) {
        return error_set(err, STATUS_CONFIG,
                         "field 'rope_theta' (GGUF: rope.freq_base) is %g, expected more than 1",
                         (double)d->rope_theta);
    }
    bool scaled = d->rope_scaling != ROPE_PLAIN;
    if (scaled && !(d->rope_factor >= 1.0f && isfinite(d->rope_factor))) {
        return error_set(
            err, STATUS_CONFIG,
            "field 'rope_scaling.factor' (GGUF: rope.scaling.factor) is %g, expected 1 "
            "or more",
            (double)d->rope_factor);
    }
    if (d->rope_scaling == ROPE_LLAMA3 && !(d->rope_low > 0.0f && d->rope_high > d->rope_low &&
                                            isfinite(d->rope_high) && d->rope_context > 0)) {
        return error_set(err, STATUS_CONFIG,
                         "field 'rope_scaling' of type 'llama3' needs 0 < low_freq_factor < "
                         "high_freq_factor and original_max_position_embeddings > 0");
    }
    return STATUS_OK;
}

/* "'model.norm.weight'", with the name it has in the file behind it where that is another one. */
static void tensor_words(const struct model_source *source, const char *name,
                         char ret_words[TENSOR_WORDS_BYTES]) {
    char other[TENSOR_NAME_BYTES] = "";
    if (source->ops->name_in_file != NULL) { source->ops->name_in_file(name, other); }
    if (other[0] != '\0') {
        (void)snprintf(ret_words, TENSOR_WORDS_BYTES, "'%s' ('%s')", name, other);
    } else {
        (void)snprintf(ret_words, TENSOR_WORDS_BYTES, "'%s'", name);
    }
}

/* The tensor is there and has this shape. */
static enum status tensor_check(const struct model_source *source, const char *name, int rows,
                                int cols, struct error *err) {
    int found_rows = 0;
    int found_cols = 0;
    const char *file = source->ops->file(source, name);
    char words[TENSOR_WORDS_BYTES];
    tensor_words(source, name, words);
    if (!source->ops->shape(source, name, &found_rows, &found_cols)) {
        return error_set(err, STATUS_CONFIG, "'%s': tensor %s is missing", file, words);
    }
    if (found_rows < 0 || found_cols < 0) {
        return error_set(err, STATUS_CONFIG,
                         "'%s': tensor %s: field 'shape' is no matrix or vector, the "
                         "description asks for (%d, %d)",
                         file, words, rows, cols);
    }
    if (found_rows != rows || found_cols != cols) {
        return error_set(err, STATUS_CONFIG,
                         "'%s': tensor %s: field 'shape' is (%d, %d), the description asks for "
                         "(%d, %d)",
                         file, words, found_rows, found_cols, rows, cols);
    }
    return STATUS_OK;
}

/* One tensor of a layer: its name behind "model.layers.N." and its shape. */
struct layer_tensor {
    const char *suffix;
    int rows, cols;
    bool needed;
};

static enum status layer_check(const struct model_source *source, int layer, struct error *err) {
    const struct model_description *d = &source->description;
    const int q = d->H * d->D;
    const int kv = d->G * d->D;
    const struct layer_tensor tensors[] = {
        {"input_layernorm.weight", 1, d->C, true},
        {"self_attn.q_proj.weight", q, d->C, true},
        {"self_attn.k_proj.weight", kv, d->C, true},
        {"self_attn.v_proj.weight", kv, d->C, true},
        {"self_attn.o_proj.weight", d->C, q, true},
        {"self_attn.q_proj.bias", 1, q, d->qkv_bias},
        {"self_attn.k_proj.bias", 1, kv, d->qkv_bias},
        {"self_attn.v_proj.bias", 1, kv, d->qkv_bias},
        {"self_attn.q_norm.weight", 1, d->D, d->qk_norm},
        {"self_attn.k_norm.weight", 1, d->D, d->qk_norm},
        {"post_attention_layernorm.weight", 1, d->C, true},
        {"mlp.gate_proj.weight", d->F, d->C, true},
        {"mlp.up_proj.weight", d->F, d->C, true},
        {"mlp.down_proj.weight", d->C, d->F, true},
    };
    for (size_t i = 0; i < sizeof tensors / sizeof tensors[0]; i++) {
        char name[TENSOR_NAME_BYTES];
        int rows = 0;
        int cols = 0;
        (void)snprintf(name, sizeof name, "model.layers.%d.%s", layer, tensors[i].suffix);
        if (!tensors[i].needed) {
            if (!source->ops->shape(source, name, &rows, &cols)) { continue; }
            return error_set(err, STATUS_CONFIG,
                             "'%s': tensor '%s' does not belong to a model of "
                             "architecture '%s'",
                             source->ops->file(source, name), name, d->architecture);
        }
        enum status status = tensor_check(source, name, tensors[i].rows, tensors[i].cols, err);
        if (status != STATUS_OK) { return status; }
    }
    return STATUS_OK;
}

static enum status source_check(const struct model_source *source, struct error *err) {
    const struct model_description *d = &source->description;
    enum status status = description_check(d, err);
    if (status != STATUS_OK) {
        return error_wrap(err, "'%s%s'", source->path, source->ops->description_file);
    }

    status = tensor_check(source, "model.embed_tokens.weight", d->V, d->C, err);
    if (status != STATUS_OK) { return status; }
    status = tensor_check(source, "model.norm.weight", 1, d->C, err);
    if (status != STATUS_OK) { return status; }
    if (!d->tied_head) {
        status = tensor_check(source, "lm_head.weight", d->V, d->C, err);
        if (status != STATUS_OK) { return status; }
    }
    for (int layer = 0; layer < d->L; layer++) {
        status = layer_check(source, layer, err);
        if (status != STATUS_OK) { return status; }
    }
    return STATUS_OK;
}

/* The container is chosen by what the path is: a prefix, a folder, or a file. */
static enum status source_open(const char *path, struct model_source **ret_source,
                               struct error *err) {
    if (strncmp(path, BUILTIN_PREFIX, strlen(BUILTIN_PREFIX)) == 0) {
        return builtin_source_open(path + strlen(BUILTIN_PREFIX), ret_source, err);
    }
    struct stat info;
    if (stat(path, &info) != 0) {
        return error_set(err, STATUS_CONFIG,
                         "base model '%s' cannot be opened: it should be a "
                         "Hugging Face directory, a .gguf file or builtin:tiny|small",
                         path);
    }
    if (!S_ISDIR(info.st_mode)) { return gguf_source_open(path, ret_source, err); }
#ifdef ILORA_TEXT
    return hf_source_open(path, ret_source, err);
#else
    return error_set(err, STATUS_CONFIG,
                     "base model '%s' is a directory: this build reads .gguf "
                     "files only (ILORA_TEXT=OFF)",
                     path);
#endif
}

enum status checkpoint_open(const char *path, struct checkpoint **ret_checkpoint,
                            struct error *err) {
    assert(path != NULL);
    assert(ret_checkpoint != NULL && err != NULL);

    struct model_source *source = NULL;
    enum status status = source_open(path, &source, err);
    if (status == STATUS_NOT_FOUND || status == STATUS_IO) {
        err->code = status = STATUS_CONFIG; /* the operator chose this path */
    }
    return status == STATUS_OK ? checkpoint_of_source(source, ret_checkpoint, err) : status;
}

enum status checkpoint_of_source(struct model_source *source, struct checkpoint **ret_checkpoint,
                                 struct error *err) {
    struct checkpoint *checkpoint = MEMORY_TAKE_ARRAY(struct checkpoint, 1);
    if (checkpoint == NULL) {
        enum status status =
            error_set(err, STATUS_NO_MEMORY, "opening base model '%s'", source->path);
        source->ops->close(source);
        return status;
    }
    checkpoint->source = source;
    enum status status = source_check(source, err);
    if (status != STATUS_OK) {
        checkpoint_close(checkpoint);
        return status;
    }
    *ret_checkpoint = checkpoint;
    return STATUS_OK;
}

void checkpoint_close(struct checkpoint *checkpoint) {
    if (checkpoint == NULL) { return; }
    if (checkpoint->source != NULL) { checkpoint->source->ops->close(checkpoint->source); }
    memory_free(checkpoint);
}

const struct model_description *checkpoint_description(const struct checkpoint *checkpoint) {
    assert(checkpoint != NULL);
    return &checkpoint->source->description;
}

const char *checkpoint_kind(const struct checkpoint *checkpoint) {
    assert(checkpoint != NULL);
    return checkpoint->source->ops->kind;
}

const struct model_source *checkpoint_source(const struct checkpoint *checkpoint) {
    assert(checkpoint != NULL);
    return checkpoint->source;
}

bool checkpoint_has(const struct checkpoint *checkpoint, const char *name) {
    assert(checkpoint != NULL);
    int rows = 0;
    int cols = 0;
    return checkpoint->source->ops->shape(checkpoint->source, name, &rows, &cols);
}

/* Weights are rounded to bfloat16, whose largest number is this; f32 goes on a little further. */
#define WEIGHT_MAX 0x1.fep127f

/* Index of the first value that is NaN, infinite or infinite once rounded to bfloat16; count when
 * there is none. The inner loop has no exit so that it runs at memory speed: a number that the
 * factor takes beyond f32, an infinity or NaN, times zero is NaN, and NaN sticks. */
static size_t find_not_finite(const float *values, size_t count) {
    const size_t block = 4096;
    for (size_t first = 0; first < count; first += block) {
        size_t end = first + block < count ? first + block : count;
        float poison = 0.0f;
        for (size_t i = first; i < end; i++) {
            poison += values[i] * (1.0f + 0x1p-8f) * 0.0f;
        }
        if (poison == 0.0f) { continue; }
        for (size_t i = first; i < end; i++) {
            if (!(fabsf(values[i]) <= WEIGHT_MAX)) { return i; }
        }
    }
    return count;
}

enum status checkpoint_read(struct checkpoint *checkpoint, const char *name, int rows, int cols,
                            float *ret_values, struct error *err) {
    assert(checkpoint != NULL);
    assert(rows > 0 && cols > 0);

    struct model_source *source = checkpoint->source;
    enum status status = tensor_check(source, name, rows, cols, err);
    if (status != STATUS_OK) { return status; }
    status = source->ops->read(source, name, rows, cols, ret_values, err);
    const char *file = source->ops->file(source, name);
    if (status != STATUS_OK) { return error_wrap(err, "'%s'", file); }

    size_t count = (size_t)rows * (size_t)cols;
    size_t bad = find_not_finite(ret_values, count);
    if (bad < count) {
        char words[TENSOR_WORDS_BYTES];
        tensor_words(source, name, words);
        return error_set(
            err, STATUS_CONFIG,
            "'%s': tensor %s holds %g at row %zu, column %zu; weights must be finite in bfloat16",
            file, words, (double)ret_values[bad], bad / (size_t)cols, bad % (size_t)cols);
    }
    return STATUS_OK;
}
