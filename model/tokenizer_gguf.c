/* SPDX-License-Identifier: Apache-2.0
 *
 * tokenizer_gguf.c - a tokenizer from a GGUF file's metadata.
 *
 *   tokenizer.ggml.model       "gpt2": byte-level BPE    "llama": SentencePiece BPE
 *   tokenizer.ggml.pre         gpt2 only: the name of the splitting pattern
 *   tokenizer.ggml.tokens      array of strings
 *   tokenizer.ggml.token_type  1 normal 2 unknown 3 control 4 user-defined 5 unused 6 byte
 *   tokenizer.ggml.merges      gpt2: "left right", best first
 *   tokenizer.ggml.scores      llama: f32, higher joins first
 *
 * The patterns are those of the tokenizer.json files that the names stand for.
 */
#include "model/tokenizer_parts.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>

#include "base/memory.h"
#include "model/float16.h"

#define PRE_SPLITS_MAX 2
/* Bytes looked up to find all cuts of all tokens, each size^2: Gemma's 256 k tokens take 25 M. */
#define CUT_BYTES_MAX (1u << 28)

enum gguf_token_type {
    GGUF_TOKEN_NORMAL = 1,
    GGUF_TOKEN_UNKNOWN = 2,
    GGUF_TOKEN_CONTROL = 3,
    GGUF_TOKEN_USER_DEFINED = 4,
};

/* A named splitting, as the family's tokenizer.json has it. */
struct pre_split {
    const char *name;
    const char *patterns[PRE_SPLITS_MAX]; /* applied in order, matches isolated */
    bool nfc;
    bool ignore_merges;
};

#define PATTERN_GPT2 tokenizer_pattern_gpt2
static const char pattern_llama3[] =
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}|"
    " ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
static const char pattern_qwen2[] =
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}|"
    " ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
static const char pattern_digit[] = "\\p{N}";

static const struct pre_split pre_splits[] = {
    {"smollm", {pattern_digit, PATTERN_GPT2}, false, false},
    {"gpt-2", {PATTERN_GPT2, NULL}, false, false},
    {"default", {PATTERN_GPT2, NULL}, false, false},
    {"llama-bpe", {pattern_llama3, NULL}, false, true},
    {"llama3", {pattern_llama3, NULL}, false, true},
    {"qwen2", {pattern_qwen2, NULL}, true, false},
};

/* The array of this key with this kind of elements; NULL and a CONFIG error otherwise. */
static const struct gguf_entry *find_array(const struct gguf *file, const char *key,
                                           enum gguf_kind element, struct error *err) {
    const struct gguf_entry *entry = gguf_find(file, key);
    if (entry == NULL || entry->kind != GGUF_ARRAY || entry->element != element) {
        (void)error_set(err, STATUS_CONFIG, "metadata '%s' is %s", key,
                        entry == NULL ? "missing" : "not an array of the expected kind");
        return NULL; /* err says why */
    }
    return entry;
}

static enum status read_tokens(const struct gguf *file, struct tokenizer_parts *parts,
                               struct error *err) {
    const struct gguf_entry *tokens = find_array(file, "tokenizer.ggml.tokens", GGUF_STRING, err);
    if (tokens == NULL) { return err->code; }
    if (tokens->count < 1 || tokens->count > VOCABULARY_TOKENS_MAX) {
        return error_set(err, STATUS_CONFIG,
                         "metadata 'tokenizer.ggml.tokens' holds %llu tokens, "
                         "expected 1 to %d",
                         (unsigned long long)tokens->count, VOCABULARY_TOKENS_MAX);
    }
    enum status status = vocabulary_init(&parts->vocabulary, (int)tokens->count, err);
    if (status != STATUS_OK) { return status; }
    parts->size = (int)tokens->count;

    size_t at = 0;
    struct span text;
    for (int id = 0; gguf_next_string(tokens, &at, &text); id++) {
        if (!span_is_utf8(text)) {
            return error_set(err, STATUS_CONFIG,
                             "metadata 'tokenizer.ggml.tokens': token %d is not "
                             "UTF-8",
                             id);
        }
        /* Padding tokens of some files share a text: the first one is found by it. */
        if (vocabulary_find(&parts->vocabulary, text) >= 0) { continue; }
        status = vocabulary_add(&parts->vocabulary, text, id, err);
        if (status != STATUS_OK) { return error_wrap(err, "metadata 'tokenizer.ggml.tokens'"); }
    }
    return STATUS_OK;
}

/* Control, user-defined and unknown tokens are recognised in the text, as the families'
 * tokenizer.json does; the unknown token has a place of its own, too. */
static enum status read_types(const struct gguf *file, struct tokenizer_parts *parts,
                              struct error *err) {
    const struct gguf_entry *types = find_array(file, "tokenizer.ggml.token_type", GGUF_I32, err);
    if (types == NULL) { return err->code; }
    if (types->count != (uint64_t)parts->vocabulary.size) {
        return error_set(err, STATUS_CONFIG,
                         "metadata 'tokenizer.ggml.token_type' holds %llu "
                         "types for %d tokens",
                         (unsigned long long)types->count, parts->vocabulary.size);
    }
    for (int id = 0; id < parts->vocabulary.size; id++) {
        uint32_t type = get_u32le(types->bytes.data + 4 * (size_t)id);
        struct span text = parts->vocabulary.tokens[id];
        if (type == GGUF_TOKEN_UNKNOWN && !parts->bpe.byte_level) { parts->bpe.unknown = id; }
        bool added = type == GGUF_TOKEN_CONTROL || type == GGUF_TOKEN_USER_DEFINED ||
                     type == GGUF_TOKEN_UNKNOWN;
        if (!added || text.data == NULL) { continue; }
        struct added_token token = {
            .text = text, .id = id, .special = type != GGUF_TOKEN_USER_DEFINED};
        enum status status = added_tokens_add(&parts->added, token, err);
        if (status != STATUS_OK) { return error_wrap(err, "metadata 'tokenizer.ggml.token_type'"); }
    }
    return STATUS_OK;
}

/* ---- byte-level BPE -------------------------------------------------------------------------- */

/* Adds the pair (left, right) when all three texts are tokens. */
static bool merge_add(struct tokenizer_parts *parts, struct span left, struct span right,
                      uint32_t rank) {
    uint8_t joined[2 * TOKEN_BYTES_MAX];
    if (left.size + right.size > sizeof joined) { return false; }
    memcpy(joined, left.data, left.size);
    memcpy(joined + left.size, right.data, right.size);
    int32_t a = vocabulary_find(&parts->vocabulary, left);
    int32_t b = vocabulary_find(&parts->vocabulary, right);
    int32_t c = vocabulary_find(&parts->vocabulary, span_make(joined, left.size + right.size));
    if (a < 0 || b < 0 || c < 0) { return false; }
    bpe_add(&parts->bpe, a, b, rank, c);
    return true;
}

static enum status read_merges(const struct gguf *file, struct tokenizer_parts *parts,
                               struct error *err) {
    const struct gguf_entry *merges = find_array(file, "tokenizer.ggml.merges", GGUF_STRING, err);
    if (merges == NULL) { return err->code; }
    if (merges->count > TOKENIZER_MERGES_MAX(parts->size)) {
        return error_set(err, STATUS_CONFIG,
                         "metadata 'tokenizer.ggml.merges' holds %llu merges, expected at most %zu "
                         "for %d tokens",
                         (unsigned long long)merges->count, TOKENIZER_MERGES_MAX(parts->size),
                         parts->size);
    }
    enum status status = bpe_init(&parts->bpe, (size_t)merges->count, err);
    if (status != STATUS_OK) { return status; }

    size_t at = 0;
    struct span line;
    for (uint32_t rank = 0; gguf_next_string(merges, &at, &line); rank++) {
        const uint8_t *space = line.size > 0 ? memchr(line.data, ' ', line.size) : NULL;
        size_t left = space != NULL ? (size_t)(space - line.data) : 0;
        bool good = space != NULL && merge_add(parts, span_make(line.data, left),
                                               span_make(space + 1, line.size - left - 1), rank);
        if (!good) {
            return error_set(err, STATUS_CONFIG,
                             "metadata 'tokenizer.ggml.merges': merge %u '%.*s' "
                             "is not two tokens that join to a third",
                             rank, line.size < 80 ? (int)line.size : 80, (const char *)line.data);
        }
    }
    return STATUS_OK;
}

static enum status read_pre(const struct gguf *file, struct tokenizer_parts *parts,
                            struct error *err) {
    struct span name = span_of("default");
    (void)gguf_string(gguf_find(file, "tokenizer.ggml.pre"), &name); /* old files have none */
    const struct pre_split *pre = NULL;
    for (size_t i = 0; i < sizeof pre_splits / sizeof pre_splits[0]; i++) {
        if (span_equal(name, span_of(pre_splits[i].name))) { pre = &pre_splits[i]; }
    }
    if (pre == NULL) {
        return error_set(err, STATUS_CONFIG,
                         "metadata 'tokenizer.ggml.pre' is '%.*s', expected "
                         "smollm, gpt-2, default, llama-bpe, llama3 or qwen2",
                         name.size < 40 ? (int)name.size : 40, (const char *)name.data);
    }
    bool prefix = false;
    (void)gguf_bool(gguf_find(file, "tokenizer.ggml.add_space_prefix"), &prefix); /* absent: no */
    enum status status = STATUS_OK;
    if (pre->nfc) { status = text_steps_add_form(&parts->normaliser, TEXT_NFC, err); }
    for (int i = 0; status == STATUS_OK && i < PRE_SPLITS_MAX && pre->patterns[i] != NULL; i++) {
        status = text_steps_add_split(&parts->splitter, span_of(pre->patterns[i]), false,
                                      TEXT_ISOLATED, false, err);
    }
    if (status == STATUS_OK && prefix) {
        return error_set(err, STATUS_CONFIG,
                         "metadata 'tokenizer.ggml.add_space_prefix' is true, "
                         "which byte-level tokenizers do not support");
    }
    parts->bpe.ignore_merges = pre->ignore_merges;
    return status;
}

/* ---- SentencePiece BPE ----------------------------------------------------------------------- */

struct scored_token {
    float score;
    int32_t id;
};

static int compare_scores(const void *a, const void *b) {
    const struct scored_token *x = a;
    const struct scored_token *y = b;
    if (x->score != y->score) { return x->score > y->score ? -1 : 1; }
    return x->id < y->id ? -1 : 1;
}

/* Every way to cut a token into two tokens is a merge of the token's rank. */
static size_t token_merges(struct tokenizer_parts *parts, struct span text, uint32_t rank,
                           bool add) {
    size_t count = 0;
    for (size_t cut = 1; cut < text.size; cut++) {
        if ((text.data[cut] & 0xc0) == 0x80) { continue; }
        struct span left = span_make(text.data, cut);
        struct span right = span_make(text.data + cut, text.size - cut);
        if (vocabulary_find(&parts->vocabulary, left) < 0 ||
            vocabulary_find(&parts->vocabulary, right) < 0) {
            continue;
        }
        count++;
        if (add) { (void)merge_add(parts, left, right, rank); /* all three are tokens */ }
    }
    return count;
}

/* Scores are numbers, and tokens short enough that their cuts are found at once. */
static enum status check_scores(const struct tokenizer_parts *parts, const uint8_t *scores,
                                struct error *err) {
    size_t work = 0;
    for (int id = 0; id < parts->vocabulary.size; id++) {
        float score = get_f32le(scores + 4 * (size_t)id);
        size_t size = parts->vocabulary.tokens[id].size;
        if (isnan(score)) {
            return error_set(err, STATUS_CONFIG,
                             "metadata 'tokenizer.ggml.scores': that of token %d is not a number",
                             id);
        }
        work += size * size; /* at most 2^22 tokens of 2^12 bytes */
        if (work > CUT_BYTES_MAX) {
            return error_set(err, STATUS_CONFIG,
                             "metadata 'tokenizer.ggml.tokens': up to token %d the squares of the "
                             "tokens' lengths add up to more than %u",
                             id, CUT_BYTES_MAX);
        }
    }
    return STATUS_OK;
}

/* SentencePiece joins the pair whose token has the best score; so ranks are places in score
 * order. */
static enum status rank_by_score(const struct gguf *file, struct tokenizer_parts *parts,
                                 struct error *err) {
    const int size = parts->vocabulary.size;
    const struct gguf_entry *scores = find_array(file, "tokenizer.ggml.scores", GGUF_F32, err);
    if (scores == NULL) { return err->code; }
    if (scores->count != (uint64_t)size) {
        return error_set(err, STATUS_CONFIG,
                         "metadata 'tokenizer.ggml.scores' holds %llu scores "
                         "for %d tokens",
                         (unsigned long long)scores->count, size);
    }
    enum status status = check_scores(parts, scores->bytes.data, err);
    if (status != STATUS_OK) { return status; }
    struct scored_token *order = MEMORY_TAKE_ARRAY(struct scored_token, size);
    if (order == NULL) { return error_set(err, STATUS_NO_MEMORY, "scores of %d tokens", size); }
    for (int id = 0; id < size; id++) {
        order[id] = (struct scored_token){get_f32le(scores->bytes.data + 4 * (size_t)id), id};
    }
    qsort(order, (size_t)size, sizeof *order, compare_scores);

    size_t merges = 0;
    for (int id = 0; id < size; id++) {
        merges += token_merges(parts, parts->vocabulary.tokens[id], 0, false);
    }
    int32_t unknown = parts->bpe.unknown;
    status = bpe_init(&parts->bpe, merges, err);
    for (int i = 0; status == STATUS_OK && i < size; i++) {
        struct span text = parts->vocabulary.tokens[order[i].id];
        (void)token_merges(parts, text, (uint32_t)i, true); /* counted above */
    }
    parts->bpe.unknown = unknown;
    memory_free(order);
    return status;
}

/* "▁" in front and for every space, as Llama 2's tokenizer.json does. */
static enum status add_sentencepiece_steps(const struct gguf *file, struct tokenizer_parts *parts,
                                           struct error *err) {
    const struct span mark = span_of("\xe2\x96\x81");
    bool prefix = true;
    (void)gguf_bool(gguf_find(file, "tokenizer.ggml.add_space_prefix"), &prefix); /* absent: yes */
    enum status status = STATUS_OK;
    if (prefix) {
        status = text_steps_add_prepend(&parts->normaliser, mark, false, false, err);
        if (status != STATUS_OK) { return status; }
    }
    status = text_steps_add_replace(&parts->normaliser, span_of(" "), true, mark, err);
    parts->bpe.byte_fallback = true;
    parts->bpe.fuse_unknown = true;
    return status;
}

/* The token in front of every text: SentencePiece models have one unless the file says no. */
static int32_t read_bos(const struct gguf *file, const struct tokenizer_parts *parts) {
    bool add = !parts->bpe.byte_level;
    int64_t id = -1;
    (void)gguf_bool(gguf_find(file, "tokenizer.ggml.add_bos_token"), &add);  /* absent: by kind */
    (void)gguf_integer(gguf_find(file, "tokenizer.ggml.bos_token_id"), &id); /* absent: none */
    return add && id >= 0 && id < parts->size ? (int32_t)id : -1;
}

enum status tokenizer_parts_of_gguf(const struct gguf *file, struct tokenizer_parts *parts,
                                    struct error *err) {
    assert(file != NULL);
    struct span model = span_of("missing");
    bool named = gguf_string(gguf_find(file, "tokenizer.ggml.model"), &model);
    bool byte_level = named && span_equal(model, span_of("gpt2"));
    if (!byte_level && !(named && span_equal(model, span_of("llama")))) {
        return error_set(err, STATUS_CONFIG,
                         "metadata 'tokenizer.ggml.model' is '%.*s', expected "
                         "gpt2 or llama",
                         model.size < 40 ? (int)model.size : 40, (const char *)model.data);
    }
    enum status status = read_tokens(file, parts, err);
    if (status != STATUS_OK) { return status; }
    parts->bpe.unknown = -1;
    if (byte_level) {
        status = read_merges(file, parts, err);
        if (status != STATUS_OK) { return status; }
        parts->bpe.byte_level = true;
        parts->bos = read_bos(file, parts);
        status = read_pre(file, parts, err);
        if (status != STATUS_OK) { return status; }
        return read_types(file, parts, err);
    }
    status = read_types(file, parts, err);
    if (status != STATUS_OK) { return status; }
    parts->bos = read_bos(file, parts);
    status = rank_by_score(file, parts, err);
    if (status != STATUS_OK) { return status; }
    return add_sentencepiece_steps(file, parts, err);
}
