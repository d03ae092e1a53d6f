/* SPDX-License-Identifier: Apache-2.0
 *
 * card_model.c - see card_model.h. Values come from one block of random numbers that is read at an
 * odd stride of places: a 7B model is made at the speed of memory, and no matrix repeats within a
 * row's reach. */
#include "tests/cuda/card_model.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "base/rng.h"
#include "model/checkpoint_source.h"

#define BLOCK   1048583u /* floats, a prime */
#define HISTORY 5
#define SEED    UINT64_C(0x63617264)

#define SMALL .L = 2, .V = 331, .context = 512, .norm_epsilon = 1e-5f, .rope_theta = 10000.0f
#define LARGE .context = 4096, .norm_epsilon = 1e-5f, .rope_theta = 10000.0f
#define ENDS  .bos = 1, .eos = 2

const struct card_model card_families[] = {
    {"llama2", {.architecture = "llama", .C = 64, .H = 4, .G = 4, .D = 16, .F = 96, SMALL, ENDS}},
    {"llama3",
     {.architecture = "llama",
      .C = 128,
      .H = 2,
      .G = 1,
      .D = 64,
      .F = 160,
      SMALL,
      ENDS,
      .rope_scaling = ROPE_LLAMA3,
      .rope_factor = 8.0f,
      .rope_low = 1.0f,
      .rope_high = 4.0f,
      .rope_context = 128,
      .tied_head = true}},
    {"smollm2",
     {.architecture = "llama",
      .C = 192,
      .H = 3,
      .G = 1,
      .D = 64,
      .F = 136,
      SMALL,
      ENDS,
      .tied_head = true}},
    {"mistral",
     {.architecture = "mistral", .C = 128, .H = 4, .G = 2, .D = 32, .F = 112, SMALL, ENDS}},
    {"qwen2",
     {.architecture = "qwen2",
      .C = 96,
      .H = 6,
      .G = 2,
      .D = 16,
      .F = 104,
      SMALL,
      ENDS,
      .qkv_bias = true,
      .tied_head = true}},
    {"qwen3",
     {.architecture = "qwen3",
      .C = 72,
      .H = 2,
      .G = 1,
      .D = 128,
      .F = 88,
      SMALL,
      ENDS,
      .qk_norm = true}},
    {NULL, {.L = 0}},
};

const struct card_model card_shapes[] = {
    {"SmolLM2-135M",
     {.architecture = "llama",
      .L = 30,
      .C = 576,
      .H = 9,
      .G = 3,
      .D = 64,
      .F = 1536,
      .V = 49152,
      LARGE,
      ENDS,
      .tied_head = true}},
    {"Llama-3.2-1B",
     {.architecture = "llama",
      .L = 16,
      .C = 2048,
      .H = 32,
      .G = 8,
      .D = 64,
      .F = 8192,
      .V = 128256,
      LARGE,
      ENDS,
      .tied_head = true}},
    {"Llama-2-7B",
     {.architecture = "llama",
      .L = 32,
      .C = 4096,
      .H = 32,
      .G = 32,
      .D = 128,
      .F = 11008,
      .V = 32000,
      LARGE,
      ENDS}},
    {NULL, {.L = 0}},
};

struct card_source {
    struct model_source source;
    float *block; /* owns: (BLOCK) uniform in [-sqrt(3), sqrt(3)): variance 1 */
};

struct place {
    const char *suffix;
    int rows, cols;
    float center, deviation;
};

/* Rows, columns and spread of a tensor; false when the model has none of that name. */
static bool find(const struct model_description *d, const char *name, struct place *ret_place) {
    const float c = 1.0f / sqrtf((float)d->C), f = 1.0f / sqrtf((float)d->F);
    const int q = d->H * d->D, kv = d->G * d->D;
    const float quiet = 1.0f / sqrtf(2.0f * (float)d->L), o = quiet / sqrtf((float)q);
    const struct place places[] = {
        {"model.embed_tokens.weight", d->V, d->C, 0.0f, c},
        {"model.norm.weight", 1, d->C, 1.0f, 0.1f},
        {"lm_head.weight", d->tied_head ? 0 : d->V, d->C, 0.0f, c},
        {".input_layernorm.weight", 1, d->C, 1.0f, 0.1f},
        {".post_attention_layernorm.weight", 1, d->C, 1.0f, 0.1f},
        {".self_attn.q_proj.weight", q, d->C, 0.0f, c},
        {".self_attn.k_proj.weight", kv, d->C, 0.0f, c},
        {".self_attn.v_proj.weight", kv, d->C, 0.0f, c},
        {".self_attn.o_proj.weight", d->C, q, 0.0f, o},
        {".mlp.gate_proj.weight", d->F, d->C, 0.0f, c},
        {".mlp.up_proj.weight", d->F, d->C, 0.0f, c},
        {".mlp.down_proj.weight", d->C, d->F, 0.0f, quiet * f},
        {".self_attn.q_proj.bias", d->qkv_bias ? 1 : 0, q, 0.0f, 0.1f},
        {".self_attn.k_proj.bias", d->qkv_bias ? 1 : 0, kv, 0.0f, 0.1f},
        {".self_attn.v_proj.bias", d->qkv_bias ? 1 : 0, kv, 0.0f, 0.1f},
        {".self_attn.q_norm.weight", d->qk_norm ? 1 : 0, d->D, 1.0f, 0.1f},
        {".self_attn.k_norm.weight", d->qk_norm ? 1 : 0, d->D, 1.0f, 0.1f},
    };
    size_t length = strlen(name);
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        size_t tail = strlen(places[i].suffix);
        if (places[i].rows == 0 || length < tail) { continue; }
        if (strcmp(name + length - tail, places[i].suffix) != 0) { continue; }
        *ret_place = places[i];
        return true;
    }
    return false;
}

static void source_close(struct model_source *source) {
    struct card_source *card = (struct card_source *)source;
    memory_free(card->block);
    memory_free(source->path);
    memory_free(card);
}

static bool source_shape(const struct model_source *source, const char *name, int *ret_rows,
                         int *ret_cols) {
    struct place place;
    if (!find(&source->description, name, &place)) { return false; }
    *ret_rows = place.rows;
    *ret_cols = place.cols;
    return true;
}

static enum status source_read(struct model_source *source, const char *name, int rows, int cols,
                               float *ret_values, struct error *err) {
    const struct card_source *card = (const struct card_source *)source;
    struct place place;
    if (!find(&source->description, name, &place)) {
        return error_set(err, STATUS_CONFIG, "tensor '%s' is missing", name);
    }
    size_t at = 0, count = (size_t)rows * (size_t)cols;
    for (const char *c = name; *c != '\0'; c++) {
        at = (at * 131 + (unsigned char)*c) % BLOCK;
    }
    for (size_t i = 0; i < count; i++) {
        ret_values[i] = place.center + place.deviation * card->block[at];
        at = at + 1 == BLOCK ? 0 : at + 1;
    }
    return STATUS_OK;
}

static void source_visit(const struct model_source *source, model_source_visit visit,
                         void *context) {
    visit(context, span_of(source->path));
}

static const char *source_file(const struct model_source *source, const char *name) {
    (void)name; /* all come from the block */
    return source->path;
}

static void source_name(const char *name, char ret_name[TENSOR_NAME_BYTES]) {
    (void)name;
    ret_name[0] = '\0';
}

static const struct model_source_ops source_ops = {
    "card model", source_close, source_shape, source_read,
    source_visit, source_file,  source_name,  ""};

enum status card_model_open(const struct card_model *model, struct checkpoint **ret_checkpoint,
                            struct error *err) {
    struct card_source *card = MEMORY_TAKE_ARRAY(struct card_source, 1);
    if (card == NULL) { return error_set(err, STATUS_NO_MEMORY, "model %s", model->name); }
    card->source.ops = &source_ops;
    card->source.description = model->description;
    card->source.path = memory_take_copy(model->name, strlen(model->name));
    card->block = MEMORY_TAKE_ARRAY(float, BLOCK);
    if (card->source.path == NULL || card->block == NULL) {
        source_close(&card->source);
        return error_set(err, STATUS_NO_MEMORY, "model %s", model->name);
    }
    struct rng rng = rng_make(SEED, 1);
    for (size_t i = 0; i < BLOCK; i++) {
        card->block[i] = 1.7320508f * (2.0f * (float)rng_unit(&rng) - 1.0f);
    }
    return checkpoint_of_source(&card->source, ret_checkpoint, err);
}

/* ---- samples --------------------------------------------------------------------------------- */

static void random_title(struct title_tokens *title, struct rng *rng, int V, int tokens) {
    title->count = tokens < TITLE_TOKENS_MAX ? tokens : TITLE_TOKENS_MAX;
    for (int t = 0; t < title->count; t++) {
        title->ids[t] = (int32_t)rng_below(rng, (uint64_t)V);
    }
}

bool card_samples_make(struct card_samples *s, int V, int E, int items, int count, int tokens,
                       bool ragged, bool item_tokens, int candidates, int title_tokens) {
    struct rng rng = rng_make(SEED, 2);
    *s = (struct card_samples){.count = count};
    s->samples = MEMORY_TAKE_ARRAY(struct lm_sample, count);
    s->gate_inputs = MEMORY_TAKE_ARRAY(float, (size_t)count *(size_t)E);
    s->histories = MEMORY_TAKE_ARRAY(uint32_t, (size_t)count * HISTORY);
    if (s->samples == NULL || s->gate_inputs == NULL || s->histories == NULL) { return false; }
    for (int n = 0; n < count; n++) {
        struct prompt *prompt = MEMORY_TAKE_ARRAY(struct prompt, 1);
        struct title_tokens *titles = MEMORY_TAKE_ARRAY(struct title_tokens, candidates + 1);
        struct lm_sample *sample = &s->samples[n];
        sample->prompt = prompt;
        sample->candidates = titles;
        if (prompt == NULL || titles == NULL) { return false; }
        prompt->count = ragged && tokens > n ? tokens - n : tokens;
        for (int t = 0; t < prompt->count; t++) {
            prompt->tokens[t] = (int32_t)rng_below(&rng, (uint64_t)V);
        }
        for (int h = 0; h < HISTORY; h++) {
            s->histories[n * HISTORY + h] = (uint32_t)rng_below(&rng, (uint64_t)items);
            if (!item_tokens || 2 * h + 1 >= prompt->count) { continue; }
            prompt->item_rows[h] = 2 * h + 1;
            prompt->items[h] = s->histories[n * HISTORY + h];
            prompt->item_count = h + 1;
        }
        for (int e = 0; e < E; e++) {
            s->gate_inputs[n * E + e] = (float)rng_normal(&rng);
        }
        for (int c = 0; c < candidates; c++) {
            random_title(&titles[c], &rng, V, title_tokens);
        }
        sample->gate_input = s->gate_inputs + (size_t)n * (size_t)E;
        sample->history = s->histories + (size_t)n * HISTORY;
        sample->history_count = HISTORY;
        sample->target = (uint32_t)rng_below(&rng, (uint64_t)items);
        sample->weight = 1.0f;
        sample->candidate_count = candidates;
    }
    return true;
}

void card_samples_free(struct card_samples *s) {
    for (int n = 0; s->samples != NULL && n < s->count; n++) {
        union {
            const void *given;
            void *owned;
        } prompt = {s->samples[n].prompt}, titles = {s->samples[n].candidates};
        memory_free(prompt.owned);
        memory_free(titles.owned);
    }
    memory_free(s->samples);
    memory_free(s->gate_inputs);
    memory_free(s->histories);
    *s = (struct card_samples){0};
}
