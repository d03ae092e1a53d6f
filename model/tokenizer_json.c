/* SPDX-License-Identifier: Apache-2.0
 *
 * tokenizer_json.c - a tokenizer from Hugging Face's tokenizer.json.
 *
 *   model           BPE: vocab {text: id}, merges ["a b", ..] or [["a","b"], ..], flags
 *   added_tokens    [{id, content, special, normalized, single_word, lstrip, rstrip}]
 *   normalizer      NFC NFD NFKC NFKD Replace Prepend Sequence
 *   pre_tokenizer   Split Digits ByteLevel Metaspace Sequence
 *   post_processor  only for the token that stands in front of every text (bos)
 *   decoder, truncation, padding: not used
 *
 * A kind or flag that is not in this list is refused by name: a tokenizer that gives other ids than
 * the model was trained on is worse than none.
 */
#include "model/tokenizer_parts.h"

#include <assert.h>
#include <stdlib.h>

#include "base/json.h"
#include "base/memory.h"

#define SEQUENCE_DEPTH_MAX 4
#define SPAN_SHOWN(span)   ((span).size < 60 ? (int)(span).size : 60), (const char *)(span).data

static bool is_set(const struct json_value *object, const char *field) {
    const struct json_value *value = json_member(object, field);
    return value != NULL && json_kind(value) != JSON_NULL;
}

/* The flag's value; its default when absent. */
static bool flag_of(const struct json_value *object, const char *field, bool absent) {
    bool value = absent;
    (void)json_bool(json_member(object, field), &value); /* absent or null: the default */
    return value;
}

static bool type_is(const struct json_value *object, const char *name) {
    struct span type;
    return json_string(json_member(object, "type"), &type) && span_equal(type, span_of(name));
}

static enum status unknown_type(const struct json_value *object, const char *field,
                                struct error *err) {
    struct span type = span_of("missing");
    (void)json_string(json_member(object, "type"), &type); /* stays "missing" */
    return error_set(err, STATUS_CONFIG, "field '%s': type '%.*s' is not supported", field,
                     SPAN_SHOWN(type));
}

/* A pattern object: {"String": text} or {"Regex": expression}. */
static enum status read_pattern(const struct json_value *object, const char *field,
                                struct span *ret_text, bool *ret_literal, struct error *err) {
    const struct json_value *pattern = json_member(object, "pattern");
    *ret_literal = json_string(json_member(pattern, "String"), ret_text);
    if (*ret_literal || json_string(json_member(pattern, "Regex"), ret_text)) { return STATUS_OK; }
    return error_set(err, STATUS_CONFIG, "field '%s.pattern' is neither String nor Regex", field);
}

/* ---- normalizer ------------------------------------------------------------------------------ */

static enum status read_form(const struct json_value *object, struct text_steps *steps,
                             bool *ret_known, struct error *err) {
    static const char *const names[] = {"NFC", "NFD", "NFKC", "NFKD"};
    for (int form = TEXT_NFC; form <= TEXT_NFKD; form++) {
        *ret_known = type_is(object, names[form]);
        if (*ret_known) { return text_steps_add_form(steps, (enum text_normal_form)form, err); }
    }
    return STATUS_OK;
}

static enum status read_normalizer(const struct json_value *object, int depth,
                                   struct text_steps *steps, struct error *err) {
    const char *field = "normalizer";
    if (object == NULL || json_kind(object) == JSON_NULL) { return STATUS_OK; }
    if (depth > SEQUENCE_DEPTH_MAX) {
        return error_set(err, STATUS_CONFIG, "field '%s': sequences nested too deep", field);
    }
    enum status status = STATUS_OK;
    if (type_is(object, "Sequence")) {
        const struct json_value *list = json_member(object, "normalizers");
        for (size_t i = 0; status == STATUS_OK && i < json_size(list); i++) {
            status = read_normalizer(json_element(list, i), depth + 1, steps, err);
        }
        return status;
    }
    struct span text;
    struct span content;
    if (type_is(object, "Prepend")) {
        if (!json_string(json_member(object, "prepend"), &text)) {
            return error_set(err, STATUS_CONFIG, "field '%s.prepend' is not a string", field);
        }
        return text_steps_add_prepend(steps, text, false, false, err);
    }
    if (type_is(object, "Replace")) {
        bool literal = false;
        status = read_pattern(object, field, &text, &literal, err);
        if (status != STATUS_OK) { return status; }
        if (!json_string(json_member(object, "content"), &content)) {
            return error_set(err, STATUS_CONFIG, "field '%s.content' is not a string", field);
        }
        return text_steps_add_replace(steps, text, literal, content, err);
    }
    bool known = false;
    status = read_form(object, steps, &known, err);
    return known || status != STATUS_OK ? status : unknown_type(object, field, err);
}

/* ---- pre_tokenizer --------------------------------------------------------------------------- */

static enum status read_split(const struct json_value *object, struct text_steps *steps,
                              struct error *err) {
    static const char *const names[] = {
        [TEXT_ISOLATED] = "Isolated",
        [TEXT_REMOVED] = "Removed",
        [TEXT_MERGED_WITH_PREVIOUS] = "MergedWithPrevious",
        [TEXT_MERGED_WITH_NEXT] = "MergedWithNext",
        [TEXT_CONTIGUOUS] = "Contiguous",
    };
    struct span pattern;
    struct span behaviour = span_of("missing");
    bool literal = false;
    enum status status = read_pattern(object, "pre_tokenizer", &pattern, &literal, err);
    if (status != STATUS_OK) { return status; }
    (void)json_string(json_member(object, "behavior"), &behaviour); /* stays "missing" */
    for (int i = TEXT_ISOLATED; i <= TEXT_CONTIGUOUS; i++) {
        if (span_equal(behaviour, span_of(names[i]))) {
            return text_steps_add_split(steps, pattern, literal, (enum text_split_behaviour)i,
                                        flag_of(object, "invert", false), err);
        }
    }
    return error_set(err, STATUS_CONFIG,
                     "field 'pre_tokenizer.behavior' is '%.*s', which is not "
                     "supported",
                     SPAN_SHOWN(behaviour));
}

static enum status read_byte_level(const struct json_value *object, struct tokenizer_parts *parts,
                                   struct error *err) {
    enum status status = STATUS_OK;
    if (flag_of(object, "add_prefix_space", true)) {
        status = text_steps_add_prepend(&parts->splitter, span_of(" "), true, false, err);
        if (status != STATUS_OK) { return status; }
    }
    parts->bpe.byte_level = true;
    if (!flag_of(object, "use_regex", true)) { return STATUS_OK; }
    return text_steps_add_split(&parts->splitter, span_of(tokenizer_pattern_gpt2), false,
                                TEXT_ISOLATED, false, err);
}

/* SentencePiece's way: spaces become a mark, one may stand in front, words may begin at marks. */
static enum status read_metaspace(const struct json_value *object, struct text_steps *steps,
                                  struct error *err) {
    struct span mark = span_of("\xe2\x96\x81");
    struct span scheme = span_of("always");
    (void)json_string(json_member(object, "replacement"), &mark);      /* absent: U+2581 */
    (void)json_string(json_member(object, "prepend_scheme"), &scheme); /* absent: always */
    bool never = span_equal(scheme, span_of("never"));
    bool first = span_equal(scheme, span_of("first"));
    if (!never && !first && !span_equal(scheme, span_of("always"))) {
        return error_set(err, STATUS_CONFIG,
                         "field 'pre_tokenizer.prepend_scheme' is '%.*s', "
                         "expected always, first or never",
                         SPAN_SHOWN(scheme));
    }
    if (!flag_of(object, "add_prefix_space", true)) { never = true; } /* files before 2024 */
    enum status status = text_steps_add_replace(steps, span_of(" "), true, mark, err);
    if (status == STATUS_OK && !never) {
        status = text_steps_add_prepend(steps, mark, true, first, err);
    }
    if (status == STATUS_OK && flag_of(object, "split", true)) {
        status = text_steps_add_split(steps, mark, true, TEXT_MERGED_WITH_NEXT, false, err);
    }
    return status;
}

static enum status read_pre_tokenizer(const struct json_value *object, int depth,
                                      struct tokenizer_parts *parts, struct error *err) {
    const char *field = "pre_tokenizer";
    struct text_steps *steps = &parts->splitter;
    if (object == NULL || json_kind(object) == JSON_NULL) { return STATUS_OK; }
    if (depth > SEQUENCE_DEPTH_MAX) {
        return error_set(err, STATUS_CONFIG, "field '%s': sequences nested too deep", field);
    }
    enum status status = STATUS_OK;
    if (type_is(object, "Sequence")) {
        const struct json_value *list = json_member(object, "pretokenizers");
        for (size_t i = 0; status == STATUS_OK && i < json_size(list); i++) {
            status = read_pre_tokenizer(json_element(list, i), depth + 1, parts, err);
        }
        return status;
    }
    if (parts->bpe.byte_level) {
        return error_set(err, STATUS_CONFIG, "field '%s': a step behind ByteLevel is not supported",
                         field);
    }
    if (type_is(object, "Split")) { return read_split(object, steps, err); }
    if (type_is(object, "ByteLevel")) { return read_byte_level(object, parts, err); }
    if (type_is(object, "Metaspace")) { return read_metaspace(object, steps, err); }
    if (type_is(object, "Digits")) {
        bool single = flag_of(object, "individual_digits", false);
        return text_steps_add_split(steps, span_of("\\p{N}"), false,
                                    single ? TEXT_ISOLATED : TEXT_CONTIGUOUS, false, err);
    }
    return unknown_type(object, field, err);
}

/* ---- added_tokens ---------------------------------------------------------------------------- */

static enum status read_added(const struct json_value *list, struct tokenizer_parts *parts,
                              struct error *err) {
    for (size_t i = 0; i < json_size(list); i++) {
        const struct json_value *object = json_element(list, i);
        struct added_token token = {0};
        int64_t id = -1;
        if (!json_string(json_member(object, "content"), &token.text) ||
            !json_integer(json_member(object, "id"), &id) || id < 0 ||
            id >= VOCABULARY_TOKENS_MAX) {
            return error_set(err, STATUS_CONFIG,
                             "field 'added_tokens': entry %zu has no content or "
                             "no id in range",
                             i);
        }
        int32_t known = vocabulary_find(&parts->vocabulary, token.text);
        bool taken = id < parts->vocabulary.size && parts->vocabulary.tokens[id].data != NULL;
        if (known >= 0 ? known != id : taken) {
            return error_set(err, STATUS_CONFIG,
                             "field 'added_tokens': '%.*s' has id %lld, the "
                             "vocabulary says otherwise",
                             SPAN_SHOWN(token.text), (long long)id);
        }
        token.id = (int32_t)id;
        token.special = flag_of(object, "special", false);
        token.normalised = flag_of(object, "normalized", !token.special);
        token.single_word = flag_of(object, "single_word", false);
        token.strip_left = flag_of(object, "lstrip", false);
        token.strip_right = flag_of(object, "rstrip", false);
        enum status status = added_tokens_add(&parts->added, token, err);
        if (status != STATUS_OK) { return error_wrap(err, "field 'added_tokens'"); }
        if (token.id >= parts->size) { parts->size = token.id + 1; }
    }
    return STATUS_OK;
}

/* ---- model ----------------------------------------------------------------------------------- */

/* What the walk over "vocab" carries: the first pass finds the largest id, the second fills. */
struct vocab_reader {
    struct vocabulary *vocabulary; /* NULL: first pass */
    int64_t largest;
    struct error *err;
    enum status status;
};

static bool vocab_visit(void *context, struct span text, const struct json_value *value) {
    struct vocab_reader *reader = context;
    int64_t id = -1;
    if (!json_integer(value, &id) || id < 0 || id >= VOCABULARY_TOKENS_MAX) {
        reader->status = error_set(reader->err, STATUS_CONFIG,
                                   "field 'model.vocab': '%.*s' has no "
                                   "id of 0 to %d",
                                   SPAN_SHOWN(text), VOCABULARY_TOKENS_MAX - 1);
        return false;
    }
    if (id > reader->largest) { reader->largest = id; }
    if (reader->vocabulary == NULL || text.size == 0) { return true; }
    reader->status = vocabulary_add(reader->vocabulary, text, (int32_t)id, reader->err);
    return reader->status == STATUS_OK;
}

static enum status read_vocab(const struct json_value *model, struct tokenizer_parts *parts,
                              struct error *err) {
    const struct json_value *vocab = json_member(model, "vocab");
    if (vocab == NULL || json_kind(vocab) != JSON_OBJECT || json_size(vocab) == 0) {
        return error_set(err, STATUS_CONFIG, "field 'model.vocab' is not an object with members");
    }
    if (json_size(vocab) > TOKENIZER_JSON_TOKENS_MAX) {
        return error_set(err, STATUS_CONFIG, "field 'model.vocab' holds %zu tokens, at most %u",
                         json_size(vocab), TOKENIZER_JSON_TOKENS_MAX);
    }
    struct vocab_reader reader = {NULL, -1, err, STATUS_OK};
    json_members(vocab, vocab_visit, &reader);
    if (reader.status != STATUS_OK) { return reader.status; }
    /* Ids may have holes, but not so many that a short file asks for a huge table. */
    if ((uint64_t)reader.largest > 16 * (uint64_t)json_size(vocab) + 1024) {
        return error_set(err, STATUS_CONFIG, "field 'model.vocab': id %lld among only %zu tokens",
                         (long long)reader.largest, json_size(vocab));
    }
    enum status status = vocabulary_init(&parts->vocabulary, (int)reader.largest + 1, err);
    if (status != STATUS_OK) { return status; }
    reader.vocabulary = &parts->vocabulary;
    json_members(vocab, vocab_visit, &reader);
    if (reader.status != STATUS_OK) { return error_wrap(err, "field 'model.vocab'"); }
    parts->size = parts->vocabulary.size;
    return STATUS_OK;
}

/* The two sides of a merge: "a b" or ["a","b"]. */
static bool merge_sides(const struct json_value *merge, struct span *ret_left,
                        struct span *ret_right) {
    struct span line;
    if (!json_string(merge, &line)) {
        return json_size(merge) == 2 && json_string(json_element(merge, 0), ret_left) &&
               json_string(json_element(merge, 1), ret_right);
    }
    const uint8_t *space = line.size > 0 ? memchr(line.data, ' ', line.size) : NULL;
    if (space == NULL) { return false; }
    *ret_left = span_make(line.data, (size_t)(space - line.data));
    *ret_right = span_make(space + 1, line.size - ret_left->size - 1);
    return memchr(ret_right->data, ' ', ret_right->size) == NULL;
}

static enum status read_merges(const struct json_value *model, struct tokenizer_parts *parts,
                               struct error *err) {
    const struct json_value *merges = json_member(model, "merges");
    const struct vocabulary *vocabulary = &parts->vocabulary;
    if (merges == NULL || json_kind(merges) != JSON_ARRAY) {
        return error_set(err, STATUS_CONFIG, "field 'model.merges' is not an array");
    }
    size_t count = json_size(merges);
    if (count > TOKENIZER_MERGES_MAX(vocabulary->size)) {
        return error_set(err, STATUS_CONFIG,
                         "field 'model.merges' holds %zu merges, expected at most %zu for %d ids",
                         count, TOKENIZER_MERGES_MAX(vocabulary->size), vocabulary->size);
    }
    enum status status = bpe_init(&parts->bpe, count, err);
    for (size_t rank = 0; status == STATUS_OK && rank < count; rank++) {
        uint8_t joined[2 * TOKEN_BYTES_MAX];
        struct span left = {NULL, 0};
        struct span right = {NULL, 0};
        int32_t result = -1;
        bool good = merge_sides(json_element(merges, rank), &left, &right) &&
                    left.size <= TOKEN_BYTES_MAX && right.size <= TOKEN_BYTES_MAX;
        int32_t a = good ? vocabulary_find(vocabulary, left) : -1;
        int32_t b = good ? vocabulary_find(vocabulary, right) : -1;
        if (a >= 0 && b >= 0) {
            memcpy(joined, left.data, left.size);
            memcpy(joined + left.size, right.data, right.size);
            result = vocabulary_find(vocabulary, span_make(joined, left.size + right.size));
        }
        if (result < 0) {
            return error_set(err, STATUS_CONFIG,
                             "field 'model.merges': merge %zu is not two tokens "
                             "that join to a third",
                             rank);
        }
        bpe_add(&parts->bpe, a, b, (uint32_t)rank, result);
    }
    return status;
}

static enum status read_model(const struct json_value *model, struct tokenizer_parts *parts,
                              struct error *err) {
    static const char *const refused[] = {
        "dropout",
        "continuing_subword_prefix",
        "end_of_word_suffix",
    };
    bool old_file = model != NULL && !is_set(model, "type") && is_set(model, "merges");
    if (!old_file && !type_is(model, "BPE")) { return unknown_type(model, "model", err); }
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        struct span text = {NULL, 1};
        if (!is_set(model, refused[i])) { continue; }
        /* Some files write the empty string for "none". */
        if (json_string(json_member(model, refused[i]), &text) && text.size == 0) { continue; }
        return error_set(err, STATUS_CONFIG, "field 'model.%s' is set, which is not supported",
                         refused[i]);
    }
    enum status status = read_vocab(model, parts, err);
    if (status != STATUS_OK) { return status; }
    status = read_merges(model, parts, err);
    if (status != STATUS_OK) { return status; }

    struct span unknown;
    parts->bpe.ignore_merges = flag_of(model, "ignore_merges", false);
    parts->bpe.byte_fallback = flag_of(model, "byte_fallback", false);
    parts->bpe.fuse_unknown = flag_of(model, "fuse_unk", false);
    if (json_string(json_member(model, "unk_token"), &unknown)) {
        parts->bpe.unknown = vocabulary_find(&parts->vocabulary, unknown);
        if (parts->bpe.unknown < 0) {
            return error_set(err, STATUS_CONFIG, "field 'model.unk_token' '%.*s' is no token",
                             SPAN_SHOWN(unknown));
        }
    }
    return STATUS_OK;
}

/* The special token at the front of a TemplateProcessing's "single"; -1 when there is none. */
static int32_t read_bos(const struct json_value *post, const struct tokenizer_parts *parts) {
    if (post == NULL) { return -1; }
    const struct json_value *processors = json_member(post, "processors");
    for (size_t i = 0; i < json_size(processors); i++) {
        if (type_is(json_element(processors, i), "TemplateProcessing")) {
            post = json_element(processors, i);
        }
    }
    struct span text;
    const struct json_value *first = json_element(json_member(post, "single"), 0);
    if (!json_string(json_member(json_member(first, "SpecialToken"), "id"), &text)) { return -1; }
    for (int i = 0; i < parts->added.count; i++) {
        if (span_equal(parts->added.list[i].text, text)) { return parts->added.list[i].id; }
    }
    return vocabulary_find(&parts->vocabulary, text);
}

static enum status read_root(const struct json_value *root, struct tokenizer_parts *parts,
                             struct error *err) {
    if (json_kind(root) != JSON_OBJECT) {
        return error_set(err, STATUS_CONFIG, "it is not a JSON object");
    }
    enum status status = read_model(json_member(root, "model"), parts, err);
    if (status != STATUS_OK) { return status; }
    status = read_normalizer(json_member(root, "normalizer"), 0, &parts->normaliser, err);
    if (status != STATUS_OK) { return status; }
    status = read_pre_tokenizer(json_member(root, "pre_tokenizer"), 0, parts, err);
    if (status != STATUS_OK) { return status; }
    status = read_added(json_member(root, "added_tokens"), parts, err);
    parts->bos = read_bos(json_member(root, "post_processor"), parts);
    return status;
}

enum status tokenizer_parts_of_json(struct span text, struct tokenizer_parts *parts,
                                    struct error *err) {
    assert(parts != NULL && err != NULL);
    struct json_value *root = NULL;
    enum status status = json_parse_limited(text, TOKENIZER_JSON_VALUES_MAX, false, &root, err);
    if (status == STATUS_OK) {
        status = read_root(root, parts, err);
        json_free(root);
    }
    if (status == STATUS_MALFORMED) { err->code = status = STATUS_CONFIG; }
    return status;
}
