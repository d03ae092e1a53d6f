/* SPDX-License-Identifier: Apache-2.0
 *
 * family_model.c - see family_model.h. One table says what the families differ in. */
#include "tests/reference/family_model.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/file.h"
#include "base/json.h"
#include "model/checkpoint.h"
#include "model/vocabulary.h"

#define LAYERS      2
#define TENSORS_MAX (3 + 14 * LAYERS)
#define WORDS       "the", "an", "in", "er", "on", "st", "or"
#define PATTERN_TAIL \
    "| ?[^\\\\s\\\\p{L}\\\\p{N}]+[\\\\r\\\\n]*|\\\\s*[\\\\r\\\\n]+|\\\\s+(?!\\\\S)|\\\\s+"
#define PATTERN_HEAD "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?\\\\p{L}+|"
#define SPLIT(regex)                                                                        \
    "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\",\"pattern\":{\"Regex\":" \
    "\"" regex "\"},\"behavior\":\"Isolated\",\"invert\":false},{\"type\":\"ByteLevel\","   \
    "\"add_prefix_space\":false,\"trim_offsets\":true,\"use_regex\":false}]}"

struct family {
    const char *name;
    const char *type; /* model_type */
    int C, H, G, D, F, V;
    double epsilon, theta;
    bool tied, qkv_bias, qk_norm;
    bool bf16;
    int shards;
    bool sentencepiece;
    const char *more;       /* members of config.json, each behind a comma */
    const char *normalizer; /* JSON */
    const char *splitter;   /* JSON */
};

static const char legacy[] =
    "{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Prepend\",\"prepend\":\"\xe2\x96\x81\"},"
    "{\"type\":\"Replace\",\"pattern\":{\"String\":\" \"},\"content\":\"\xe2\x96\x81\"}]}";
static const char metaspace[] =
    "{\"type\":\"Metaspace\",\"replacement\":\"\xe2\x96\x81\",\"prepend_scheme\":\"first\","
    "\"split\":false}";
static const char smollm[] =
    "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Digits\",\"individual_digits\":true},"
    "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"trim_offsets\":true,"
    "\"use_regex\":true}]}";
static const char llama3[] = SPLIT(PATTERN_HEAD "\\\\p{N}{1,3}" PATTERN_TAIL);
static const char qwen2[] = SPLIT(PATTERN_HEAD "\\\\p{N}" PATTERN_TAIL);
static const char rope31[] =
    ",\"rope_scaling\":{\"rope_type\":\"llama3\",\"factor\":8.0,\"low_freq_factor\":1.0,"
    "\"high_freq_factor\":4.0,\"original_max_position_embeddings\":16}";
static const char no_window[] = ",\"sliding_window\":null";
static const char idle_window[] =
    ",\"sliding_window\":64,\"use_sliding_window\":false,\"max_window_layers\":2";

static const struct family families[] = {
    /* name, type, C, H, G, D, F, V, eps, theta, tied, bias, norm, bf16, shards, sentencepiece */
    {"llama2", "llama", 24, 3, 3, 8, 33, 323, 1e-5, 1e4, false, false, false, true, 1, true, "",
     legacy, "null"},
    {"llama3", "llama", 16, 4, 2, 4, 32, 322, 1e-5, 5e5, false, false, false, true, 2, false,
     rope31, "null", llama3},
    {"tinyllama", "llama", 16, 4, 1, 4, 31, 320, 1e-5, 1e4, false, false, false, false, 1, true, "",
     legacy, "null"},
    {"smollm2", "llama", 18, 3, 1, 6, 35, 321, 1e-5, 1e5, true, false, false, true, 1, false, "",
     "null", smollm},
    {"mistral", "mistral", 15, 2, 1, 10, 32, 320, 1e-5, 1e6, false, false, false, false, 2, true,
     no_window, "null", metaspace},
    {"qwen2", "qwen2", 16, 4, 2, 4, 29, 320, 1e-6, 1e6, true, true, false, true, 1, false,
     idle_window, "{\"type\":\"NFC\"}", qwen2},
    {"qwen3", "qwen3", 13, 2, 1, 12, 32, 320, 1e-6, 1e6, true, false, true, true, 2, false, "",
     "{\"type\":\"NFC\"}", qwen2},
};
const char *const family_names[] = {"llama2",  "llama3", "tinyllama", "smollm2",
                                    "mistral", "qwen2",  "qwen3",     NULL};

/* ---- weights --------------------------------------------------------------------------------- */

/* [0,1): a hash of (tensor, element), the same on every machine. */
static double spread(uint32_t tensor, uint32_t element) {
    uint32_t x = element * 0x85EBCA77u + tensor * 0x9E3779B1u + 777u;
    x = (x ^ (x >> 15)) * 0x2C1B3C6Du;
    x = (x ^ (x >> 12)) * 0x297A2D39u;
    return (double)((x ^ (x >> 15)) >> 8) / 16777216.0;
}

struct model {
    const struct family *family;
    struct safetensors_entry entries[TENSORS_MAX];
    void *data[TENSORS_MAX]; /* owns */
    int count;
};

/* Adds rows x cols (rows 0: a vector) around center, uniform with this deviation. */
static int add_tensor(struct model *model, const char *name, int rows, int cols, double center,
                      double deviation) {
    size_t count = (size_t)(rows > 0 ? rows : 1) * (size_t)cols;
    size_t width = model->family->bf16 ? 2 : 4;
    uint8_t *data = calloc(count, width);
    if (data == NULL) { return -1; }
    for (size_t i = 0; i < count; i++) {
        double u = 2.0 * spread((uint32_t)model->count, (uint32_t)i) - 1.0;
        float value = (float)(center + 1.7320508 * deviation * u);
        uint32_t bits;
        memcpy(&bits, &value, sizeof bits);
        uint16_t high = (uint16_t)(bits >> 16); /* BF16 by cutting: transformers reads the file */
        memcpy(data + i * width, width == 2 ? (void *)&high : (void *)&bits, width);
    }
    struct safetensors_entry *entry = &model->entries[model->count];
    model->data[model->count++] = data;
    (void)snprintf(entry->name, sizeof entry->name, "%s", name);
    (void)snprintf(entry->dtype, sizeof entry->dtype, width == 2 ? "BF16" : "F32");
    entry->dims = rows > 0 ? 2 : 1;
    entry->shape[0] = rows > 0 ? rows : cols;
    entry->shape[1] = cols;
    entry->data = data;
    entry->bytes = count * width;
    return 0;
}

static int add_layer(struct model *model, int layer) {
    const struct family *f = model->family;
    const int q = f->H * f->D, k = f->G * f->D;
    const double c = 1.0 / sqrt(f->C), out = 0.5;
    const struct {
        const char *name;
        int rows, cols;
        double center, deviation;
        bool absent;
    } list[] = {
        {"input_layernorm.weight", 0, f->C, 1.0, 0.1, false},
        {"self_attn.q_proj.weight", q, f->C, 0.0, c, false},
        {"self_attn.k_proj.weight", k, f->C, 0.0, c, false},
        {"self_attn.v_proj.weight", k, f->C, 0.0, c, false},
        {"self_attn.o_proj.weight", f->C, q, 0.0, out / sqrt(q), false},
        {"self_attn.q_proj.bias", 0, q, 0.0, 0.3, !f->qkv_bias},
        {"self_attn.k_proj.bias", 0, k, 0.0, 0.3, !f->qkv_bias},
        {"self_attn.v_proj.bias", 0, k, 0.0, 0.3, !f->qkv_bias},
        {"self_attn.q_norm.weight", 0, f->D, 1.0, 0.2, !f->qk_norm},
        {"self_attn.k_norm.weight", 0, f->D, 1.0, 0.2, !f->qk_norm},
        {"post_attention_layernorm.weight", 0, f->C, 1.0, 0.1, false},
        {"mlp.gate_proj.weight", f->F, f->C, 0.0, c, false},
        {"mlp.up_proj.weight", f->F, f->C, 0.0, c, false},
        {"mlp.down_proj.weight", f->C, f->F, 0.0, out / sqrt(f->F), false},
    };
    for (size_t i = 0; i < sizeof list / sizeof list[0]; i++) {
        char name[128];
        (void)snprintf(name, sizeof name, "model.layers.%d.%s", layer, list[i].name);
        if (!list[i].absent && add_tensor(model, name, list[i].rows, list[i].cols, list[i].center,
                                          list[i].deviation) != 0) {
            return -1;
        }
    }
    return 0;
}

static int add_all(struct model *model) {
    const struct family *f = model->family;
    int bad = add_tensor(model, "model.embed_tokens.weight", f->V, f->C, 0.0, 1.0 / sqrt(f->C));
    for (int layer = 0; layer < LAYERS; layer++) {
        bad |= add_layer(model, layer);
    }
    bad |= add_tensor(model, "model.norm.weight", 0, f->C, 1.0, 0.1);
    if (!f->tied) { bad |= add_tensor(model, "lm_head.weight", f->V, f->C, 0.0, 1.0 / sqrt(f->C)); }
    return bad;
}

/* ---- files ----------------------------------------------------------------------------------- */

static int complain(enum status status, const struct error *err) {
    if (status == STATUS_OK) { return 0; }
    (void)fprintf(stderr, "%s\n", err->text);
    return -1;
}

static int write_file(const char *folder, const char *name, struct span text) {
    struct error err = {.text = ""};
    char path[FILE_PATH_BYTES_MAX];
    enum status status = path_join(path, folder, name, &err);
    if (status == STATUS_OK) { status = file_write(path, &text, 1, &err); }
    return complain(status, &err);
}

static int write_config(const struct family *f, const char *folder) {
    char text[2048];
    int size = snprintf(
        text, sizeof text,
        "{\"model_type\":\"%s\",\"hidden_size\":%d,\"num_hidden_layers\":%d,"
        "\"num_attention_heads\":%d,\"num_key_value_heads\":%d,\"head_dim\":%d,"
        "\"intermediate_size\":%d,\"vocab_size\":%d,\"rms_norm_eps\":%g,\"rope_theta\":%.1f,"
        "\"hidden_act\":\"silu\",\"max_position_embeddings\":4096,\"tie_word_embeddings\":%s,"
        "\"bos_token_id\":1,\"eos_token_id\":%d,\"torch_dtype\":\"%s\"%s}\n",
        f->type, f->C, LAYERS, f->H, f->G, f->D, f->F, f->V, f->epsilon, f->theta,
        f->tied ? "true" : "false", f->sentencepiece ? 2 : 256, f->bf16 ? "bfloat16" : "float32",
        f->more);
    return write_file(folder, "config.json", span_make(text, (size_t)size));
}

/* One file, or two halves with the index that names them. */
static int write_weights(const struct model *model, const char *folder) {
    struct error err = {.text = ""};
    struct buffer index = {0};
    struct json_writer w;
    const int shards = model->family->shards;
    size_t bytes = 0;
    for (int i = 0; i < model->count; i++) {
        bytes += model->entries[i].bytes;
    }
    json_write_begin(&w, &index);
    json_write_object(&w, NULL);
    json_write_object(&w, "metadata");
    json_write_integer(&w, "total_size", (int64_t)bytes);
    json_write_object_end(&w);
    json_write_object(&w, "weight_map");
    int bad = 0;
    for (int shard = 0; shard < shards && bad == 0; shard++) {
        char name[64], path[FILE_PATH_BYTES_MAX];
        int first = model->count * shard / shards, end = model->count * (shard + 1) / shards;
        (void)snprintf(name, sizeof name, "model-%05d-of-%05d.safetensors", shard + 1, shards);
        if (shards == 1) { (void)snprintf(name, sizeof name, "model.safetensors"); }
        for (int i = first; i < end; i++) {
            json_write_string(&w, model->entries[i].name, span_of(name));
        }
        const char *const metadata[][2] = {{"format", "pt"}};
        enum status status = path_join(path, folder, name, &err);
        if (status == STATUS_OK) {
            status =
                safetensors_write(path, model->entries + first, end - first, metadata, 1, &err);
        }
        bad = complain(status, &err);
    }
    json_write_object_end(&w);
    json_write_object_end(&w);
    if (json_write_end(&w) != STATUS_OK) { bad = -1; }
    if (bad == 0 && shards > 1) {
        bad = write_file(folder, "model.safetensors.index.json", buffer_span(&index));
    }
    buffer_free(&index);
    return bad;
}

/* ---- tokenizer.json -------------------------------------------------------------------------- */

/* The ids in order: bytes and words, special tokens where the kind has them. */
static void write_vocabulary(struct json_writer *w, const struct family *f,
                             const char *const *special, int count) {
    static const char *const words[] = {WORDS};
    int id = 0;
    if (f->sentencepiece) {
        for (; id < count; id++) {
            json_write_integer(w, special[id], id);
        }
    }
    for (int byte = 0; byte < 256; byte++) {
        char text[8] = {0};
        if (f->sentencepiece) {
            (void)snprintf(text, sizeof text, "<0x%02X>", (unsigned)byte);
        } else {
            (void)alphabet_of_byte((uint8_t)byte, (uint8_t *)text); /* at most 2 bytes */
        }
        json_write_integer(w, text, id++);
    }
    for (int i = 0; !f->sentencepiece && i < count; i++) {
        json_write_integer(w, special[i], id++);
    }
    for (char letter = 'a'; f->sentencepiece && letter <= 'z'; letter++) {
        char text[2] = {letter, '\0'};
        json_write_integer(w, text, id++);
    }
    if (f->sentencepiece) { json_write_integer(w, "\xe2\x96\x81", id++); }
    json_write_integer(w, "th", id++);
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        json_write_integer(w, words[i], id++);
    }
}

static void write_merges(struct json_writer *w) {
    static const char *const words[] = {"th", WORDS};
    json_write_array(w, "merges");
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        char text[8];
        int left = (int)strlen(words[i]) - 1; /* all but the last letter, which is a token */
        (void)snprintf(text, sizeof text, "%.*s %s", left, words[i], words[i] + left);
        json_write_string(w, NULL, span_of(text));
    }
    json_write_array_end(w);
}

static int write_tokenizer(const struct family *f, const char *folder) {
    static const char *const bytes[] = {"<|endoftext|>", "<|im_end|>"};
    static const char *const pieces[] = {"<unk>", "<s>", "</s>"};
    const char *const *special = f->sentencepiece ? pieces : bytes;
    const int count = f->sentencepiece ? 3 : 2, first = f->sentencepiece ? 0 : 256;
    struct buffer model = {0}, text = {0};
    struct json_writer w;
    json_write_begin(&w, &model);
    json_write_object(&w, NULL);
    json_write_string(&w, "type", span_of("BPE"));
    if (f->sentencepiece) { json_write_string(&w, "unk_token", span_of("<unk>")); }
    json_write_bool(&w, "fuse_unk", f->sentencepiece);
    json_write_bool(&w, "byte_fallback", f->sentencepiece);
    json_write_bool(&w, "ignore_merges", f->splitter == llama3);
    json_write_object(&w, "vocab");
    write_vocabulary(&w, f, special, count);
    json_write_object_end(&w);
    write_merges(&w);
    json_write_object_end(&w);
    int bad = json_write_end(&w) == STATUS_OK ? 0 : -1;

    char head[4096];
    int size = snprintf(head, sizeof head, "{\"version\":\"1.0\",\"added_tokens\":[");
    for (int i = 0; i < count; i++) {
        size += snprintf(head + size, sizeof head - (size_t)size,
                         "%s{\"id\":%d,\"content\":\"%s\",\"single_word\":false,\"lstrip\":false,"
                         "\"rstrip\":false,\"normalized\":false,\"special\":true}",
                         i > 0 ? "," : "", first + i, special[i]);
    }
    size += snprintf(head + size, sizeof head - (size_t)size,
                     "],\"normalizer\":%s,\"pre_tokenizer\":%s,\"post_processor\":null,"
                     "\"decoder\":null,\"model\":",
                     f->normalizer, f->splitter);
    if (buffer_append(&text, head, (size_t)size) != STATUS_OK ||
        buffer_append(&text, model.data, model.size) != STATUS_OK ||
        buffer_append(&text, "}\n", 2) != STATUS_OK) {
        bad = -1;
    }
    if (bad == 0) { bad = write_file(folder, "tokenizer.json", buffer_span(&text)); }
    buffer_free(&model);
    buffer_free(&text);
    return bad;
}

int family_write(const char *name, const char *folder) {
    struct model model = {0};
    for (size_t i = 0; i < sizeof families / sizeof families[0]; i++) {
        if (strcmp(families[i].name, name) == 0) { model.family = &families[i]; }
    }
    if (model.family == NULL) {
        (void)fprintf(stderr, "no family '%s'\n", name);
        return -1;
    }
    int bad = add_all(&model);
    if (bad == 0) { bad = write_config(model.family, folder); }
    if (bad == 0) { bad = write_weights(&model, folder); }
    if (bad == 0) { bad = write_tokenizer(model.family, folder); }
    for (int i = 0; i < model.count; i++) {
        free(model.data[i]);
    }
    return bad;
}
