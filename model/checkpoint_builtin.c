/* SPDX-License-Identifier: Apache-2.0
 *
 * checkpoint_builtin.c - small Llamas with seeded random weights, for tests and the demo's
 * --offline.
 *
 *   name    C   L  H  G  D   F    V     head
 *   tiny    16  2  2  1  8   32   320   tied
 *   small   64  2  4  2  16  128  320   tied
 *
 * A weight is a function of (seed, tensor name, index) alone: Philox numbers, uniform, so that the
 * same bits come out on every machine (no log or cosine of some libm). Scale: a linear layer has
 * standard deviation 1/sqrt(in), those that write to the residual stream 1/sqrt(2 L in); norms lie
 * around 1; logits then have a variance of about one.
 */
#include "model/checkpoint_source.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "base/rng.h"

#define BUILTIN_SEED_DEFAULT 1u
#define BUILTIN_VOCABULARY   320
#define BUILTIN_EOS          256 /* first id after the 256 bytes */
#define IDENTITY_BYTES       128u

struct builtin_shape {
    const char *name;
    int C, L, H, G, D, F;
};

static const struct builtin_shape builtin_shapes[] = {
    {"tiny", 16, 2, 2, 1, 8, 32},
    {"small", 64, 2, 4, 2, 16, 128},
};

struct builtin_source {
    struct model_source source;
    uint64_t seed;
    char identity[IDENTITY_BYTES]; /* what the digest is taken of */
};

struct builtin_tensor {
    const char *suffix;
    int rows, cols;
    float center;    /* mean */
    float deviation; /* standard deviation */
};

static void builtin_close(struct model_source *source) {
    memory_free(source->path);
    memory_free(source);
}

/* Fills a tensor's shape and scale; false when the model has none of that name. */
static bool builtin_find(const struct model_description *d, const char *name,
                         struct builtin_tensor *ret_tensor) {
    const float c = 1.0f / sqrtf((float)d->C);
    const float out = 1.0f / sqrtf(2.0f * (float)d->L);
    const int q = d->H * d->D;
    const int kv = d->G * d->D;
    const struct builtin_tensor global[] = {
        {"model.embed_tokens.weight", d->V, d->C, 0.0f, c},
        {"model.norm.weight", 1, d->C, 1.0f, 0.1f},
    };
    const struct builtin_tensor layered[] = {
        {"input_layernorm.weight", 1, d->C, 1.0f, 0.1f},
        {"self_attn.q_proj.weight", q, d->C, 0.0f, c},
        {"self_attn.k_proj.weight", kv, d->C, 0.0f, c},
        {"self_attn.v_proj.weight", kv, d->C, 0.0f, c},
        {"self_attn.o_proj.weight", d->C, q, 0.0f, out / sqrtf((float)q)},
        {"post_attention_layernorm.weight", 1, d->C, 1.0f, 0.1f},
        {"mlp.gate_proj.weight", d->F, d->C, 0.0f, c},
        {"mlp.up_proj.weight", d->F, d->C, 0.0f, c},
        {"mlp.down_proj.weight", d->C, d->F, 0.0f, out / sqrtf((float)d->F)},
    };
    for (size_t i = 0; i < sizeof global / sizeof global[0]; i++) {
        if (strcmp(name, global[i].suffix) == 0) {
            *ret_tensor = global[i];
            return true;
        }
    }
    const char *prefix = "model.layers.";
    if (strncmp(name, prefix, strlen(prefix)) != 0) { return false; }
    struct span layer = span_of(name + strlen(prefix));
    const char *dot = strchr(name + strlen(prefix), '.');
    int64_t index = -1;
    if (dot == NULL) { return false; }
    layer.size = (size_t)(dot - (name + strlen(prefix)));
    if (!span_integer(layer, &index) || index < 0 || index >= d->L) { return false; }
    for (size_t i = 0; i < sizeof layered / sizeof layered[0]; i++) {
        if (strcmp(dot + 1, layered[i].suffix) == 0) {
            *ret_tensor = layered[i];
            return true;
        }
    }
    return false;
}

static bool builtin_tensor_shape(const struct model_source *source, const char *name, int *ret_rows,
                                 int *ret_cols) {
    struct builtin_tensor tensor;
    if (!builtin_find(&source->description, name, &tensor)) { return false; }
    *ret_rows = tensor.rows;
    *ret_cols = tensor.cols;
    return true;
}

/* FNV-1a of the name: the random stream of a tensor. */
static uint64_t name_stream(const char *name) {
    uint64_t hash = 14695981039346656037ull;
    for (; *name != '\0'; name++) {
        hash = (hash ^ (uint8_t)*name) * 1099511628211ull;
    }
    return hash;
}

static enum status builtin_read(struct model_source *source, const char *name, int rows, int cols,
                                float *ret_values, struct error *err) {
    const struct builtin_source *builtin = (const struct builtin_source *)source;
    struct builtin_tensor tensor;
    if (!builtin_find(&source->description, name, &tensor)) {
        return error_set(err, STATUS_CONFIG, "tensor '%s' is missing", name);
    }
    struct rng rng = rng_make(builtin->seed, name_stream(name));
    const float width = 2.0f * 1.7320508f * tensor.deviation; /* of a uniform: sqrt(12) sigma */
    size_t count = (size_t)rows * (size_t)cols;
    for (size_t i = 0; i < count; i++) {
        float unit = (float)(rng_u64(&rng) >> 40) * 0x1p-24f; /* 24 bits: exact in f32 */
        ret_values[i] = tensor.center + width * (unit - 0.5f);
    }
    return STATUS_OK;
}

static void builtin_visit(const struct model_source *source, model_source_visit visit,
                          void *context) {
    const struct builtin_source *builtin = (const struct builtin_source *)source;
    visit(context, span_of(builtin->identity));
}

static const char *builtin_file(const struct model_source *source, const char *name) {
    (void)name; /* all are made by the same rule */
    return source->path;
}

static const struct model_source_ops builtin_ops = {
    "builtin", builtin_close, builtin_tensor_shape, builtin_read, builtin_visit, builtin_file, NULL,
    "",
};

/* Splits "small:7" into a shape and a seed. */
static enum status builtin_parse(const char *name, const struct builtin_shape **ret_shape,
                                 uint64_t *ret_seed, struct error *err) {
    size_t length = strcspn(name, ":");
    const struct builtin_shape *shape = NULL;
    for (size_t i = 0; i < sizeof builtin_shapes / sizeof builtin_shapes[0]; i++) {
        const char *known = builtin_shapes[i].name;
        if (strlen(known) == length && strncmp(name, known, length) == 0) {
            shape = &builtin_shapes[i];
        }
    }
    uint64_t seed = BUILTIN_SEED_DEFAULT;
    bool good = shape != NULL;
    if (good && name[length] == ':') {
        const char *digits = name + length + 1;
        size_t count = strspn(digits, "0123456789");
        good = count >= 1 && count <= 18 && digits[count] == '\0';
        seed = 0;
        for (size_t i = 0; good && i < count; i++) {
            seed = seed * 10 + (uint64_t)(digits[i] - '0');
        }
    }
    if (!good) {
        return error_set(err, STATUS_CONFIG,
                         "base model 'builtin:%s' is unknown: expected "
                         "builtin:tiny or builtin:small, with ':seed' of at most 18 digits",
                         name);
    }
    *ret_shape = shape;
    *ret_seed = seed;
    return STATUS_OK;
}

enum status builtin_source_open(const char *name, struct model_source **ret_source,
                                struct error *err) {
    assert(name != NULL);

    const struct builtin_shape *shape = NULL;
    uint64_t seed = 0;
    enum status status = builtin_parse(name, &shape, &seed, err);
    if (status != STATUS_OK) { return status; }

    struct builtin_source *builtin = MEMORY_TAKE_ARRAY(struct builtin_source, 1);
    if (builtin == NULL) { return error_set(err, STATUS_NO_MEMORY, "opening builtin:%s", name); }
    builtin->source.ops = &builtin_ops;
    builtin->seed = seed;
    (void)snprintf(builtin->identity, sizeof builtin->identity, "builtin:%s:%llu", shape->name,
                   (unsigned long long)seed);
    builtin->source.path = memory_take_copy(builtin->identity, strlen(builtin->identity));
    if (builtin->source.path == NULL) {
        builtin_close(&builtin->source);
        return error_set(err, STATUS_NO_MEMORY, "opening builtin:%s", name);
    }
    builtin->source.description = (struct model_description){
        .architecture = "llama",
        .C = shape->C,
        .L = shape->L,
        .H = shape->H,
        .G = shape->G,
        .D = shape->D,
        .F = shape->F,
        .V = BUILTIN_VOCABULARY,
        .context = 4096,
        .norm_epsilon = 1e-5f,
        .rope_theta = 10000.0f,
        .rope_scaling = ROPE_PLAIN,
        .tied_head = true,
        .bos = BUILTIN_EOS,
        .eos = BUILTIN_EOS,
    };
    *ret_source = &builtin->source;
    return STATUS_OK;
}
