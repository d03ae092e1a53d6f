/* SPDX-License-Identifier: Apache-2.0
 *
 * tokenizer.c - runs the parts of a tokenizer over a text.
 *
 * An encoding takes its own working memory and gives it back, so that callers on any number of
 * threads share one tokenizer, which is never written after opening. Texts are titles: some dozen
 * bytes; the working memory is a few small pieces.
 */
#include "model/tokenizer.h"

#include <assert.h>

#include "base/file.h"
#include "base/memory.h"
#include "model/checkpoint_source.h"
#include "model/tokenizer_parts.h"

struct tokenizer {
    struct tokenizer_parts parts; /* owns */
};

const char tokenizer_pattern_gpt2[] =
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

void tokenizer_parts_free(struct tokenizer_parts *parts) {
    vocabulary_free(&parts->vocabulary);
    bpe_free(&parts->bpe);
    added_tokens_free(&parts->added);
    text_steps_free(&parts->normaliser);
    text_steps_free(&parts->splitter);
    *parts = (struct tokenizer_parts){0};
}

enum status tokenizer_parts_of_bytes(struct tokenizer_parts *parts, struct error *err) {
    static const char *const special[] = {"<|endoftext|>", "<|item|>"};
    enum status status = vocabulary_init(&parts->vocabulary, 256 + 2, err);
    if (status != STATUS_OK) { return status; }
    for (int byte = 0; byte < 256; byte++) {
        uint8_t text[2];
        size_t size = alphabet_of_byte((uint8_t)byte, text);
        status = vocabulary_add(&parts->vocabulary, span_make(text, size), byte, err);
        if (status != STATUS_OK) { return status; }
    }
    for (int i = 0; i < 2; i++) {
        struct added_token token = {.text = span_of(special[i]), .id = 256 + i, .special = true};
        status = vocabulary_add(&parts->vocabulary, token.text, token.id, err);
        if (status != STATUS_OK) { return status; }
        status = added_tokens_add(&parts->added, token, err);
        if (status != STATUS_OK) { return status; }
    }
    status = bpe_init(&parts->bpe, 0, err);
    parts->bpe.byte_level = true;
    parts->size = parts->vocabulary.size;
    parts->bos = -1;
    return status;
}

enum status tokenizer_of_parts(struct tokenizer_parts *parts, struct tokenizer **ret_tokenizer,
                               struct error *err) {
    assert(parts->size > 0);
    struct tokenizer *tokenizer = MEMORY_TAKE_ARRAY(struct tokenizer, 1);
    if (tokenizer == NULL) {
        tokenizer_parts_free(parts);
        return error_set(err, STATUS_NO_MEMORY, "tokenizer");
    }
    tokenizer->parts = *parts;
    *parts = (struct tokenizer_parts){0};

    bpe_bind(&tokenizer->parts.bpe, &tokenizer->parts.vocabulary);
    enum status status =
        added_tokens_bind(&tokenizer->parts.added, &tokenizer->parts.normaliser, err);
    if (status != STATUS_OK) {
        tokenizer_close(tokenizer);
        return status;
    }
    *ret_tokenizer = tokenizer;
    return STATUS_OK;
}

/* Reads tokenizer.json beside the weights; what else is there is named in the refusal. */
static enum status parts_of_folder(const char *folder, struct tokenizer_parts *parts,
                                   struct error *err) {
    char path[FILE_PATH_BYTES_MAX];
    struct span text = {NULL, 0};
    enum status status = path_join(path, folder, "tokenizer.model", err);
    if (status != STATUS_OK) { return status; }
    bool sentencepiece = file_exists(path);
    status = path_join(path, folder, "tokenizer.json", err);
    if (status != STATUS_OK) { return status; }
    if (!file_exists(path) && sentencepiece) {
        return error_set(err, STATUS_CONFIG,
                         "'%s' holds tokenizer.model but no tokenizer.json: "
                         "convert it with AutoTokenizer.from_pretrained(folder)"
                         ".save_pretrained(folder) of the Python package transformers",
                         folder);
    }
    if (!file_exists(path)) {
        return error_set(err, STATUS_CONFIG, "'%s' holds no tokenizer.json", folder);
    }
    status = file_map(path, &text, err);
    if (status != STATUS_OK) { return status; }
    if (text.size > TOKENIZER_JSON_BYTES_MAX) {
        status = error_set(err, STATUS_CONFIG, "it has %zu bytes, expected at most %u", text.size,
                           TOKENIZER_JSON_BYTES_MAX);
    } else {
        status = tokenizer_parts_of_json(text, parts, err);
    }
    file_unmap(text);
    return status == STATUS_OK ? STATUS_OK : error_wrap(err, "'%s'", path);
}

enum status tokenizer_open(struct checkpoint *checkpoint, struct tokenizer **ret_tokenizer,
                           struct error *err) {
    assert(checkpoint != NULL && err != NULL);
    assert(ret_tokenizer != NULL);

    enum status status;
    struct tokenizer_parts parts = {0};
    const struct model_source *source = checkpoint_source(checkpoint);
    const char *kind = checkpoint_kind(checkpoint);
    if (strcmp(kind, "hf") == 0) {
        status = parts_of_folder(source->path, &parts, err);
    } else if (strcmp(kind, "gguf") == 0) {
        status = tokenizer_parts_of_gguf(gguf_source_file(source), &parts, err);
        if (status != STATUS_OK) { status = error_wrap(err, "'%s'", source->path); }
    } else {
        status = tokenizer_parts_of_bytes(&parts, err);
    }
    if (status != STATUS_OK) { goto fail; }
    if (parts.size > source->description.V) {
        bool folder = strcmp(kind, "hf") == 0;
        status = error_set(err, STATUS_CONFIG,
                           "'%s%s': the tokenizer has ids up to %d, tensor "
                           "'model.embed_tokens.weight' (field 'vocab_size') only %d rows",
                           source->path, folder ? "/tokenizer.json" : "", parts.size - 1,
                           source->description.V);
        goto fail;
    }
    status = tokenizer_of_parts(&parts, ret_tokenizer, err);
    if (status != STATUS_OK) { goto fail; }
    return STATUS_OK;

fail:
    tokenizer_parts_free(&parts);
    if (status == STATUS_NOT_FOUND || status == STATUS_IO || status == STATUS_MALFORMED) {
        err->code = status = STATUS_CONFIG; /* the operator chose these files */
    }
    return status;
}

void tokenizer_close(struct tokenizer *tokenizer) {
    if (tokenizer == NULL) { return; }
    tokenizer_parts_free(&tokenizer->parts);
    memory_free(tokenizer);
}

int tokenizer_size(const struct tokenizer *tokenizer) {
    return tokenizer->parts.size;
}

int32_t tokenizer_bos(const struct tokenizer *tokenizer) {
    return tokenizer->parts.bos;
}

const char *tokenizer_kind(const struct tokenizer *tokenizer) {
    const struct bpe *bpe = &tokenizer->parts.bpe;
    if (bpe->byte_level) { return "byte-level BPE"; }
    return bpe->byte_fallback ? "SentencePiece BPE with byte fallback" : "character BPE";
}

/* ---- encoding -------------------------------------------------------------------------------- */

/* From the input to words and added tokens. */
static enum status cut_words(const struct tokenizer_parts *parts, struct text_work *work,
                             struct error *err) {
    struct text_piece whole = {0, work->text.size, -1, true};
    enum status status = text_pieces_add(&work->pieces, whole);
    if (status != STATUS_OK) { return error_set(err, status, "pieces of a text"); }
    status = added_tokens_cut(&parts->added, 0, work, err);
    if (status != STATUS_OK) { return status; }
    status = text_steps_run(&parts->normaliser, work, err);
    if (status != STATUS_OK) { return status; }
    status = added_tokens_cut(&parts->added, 1, work, err);
    if (status != STATUS_OK) { return status; }
    return text_steps_run(&parts->splitter, work, err);
}

static enum status encode_words(const struct tokenizer_parts *parts, const struct text_work *work,
                                struct bpe_scratch *scratch, int32_t *ids, int max, int *count,
                                struct error *err) {
    for (size_t i = 0; i < work->pieces.count; i++) {
        struct text_piece piece = work->pieces.list[i];
        if (piece.id < 0) {
            struct span word = span_make(work->text.data + piece.begin, piece.end - piece.begin);
            enum status status =
                bpe_encode(&parts->bpe, &parts->vocabulary, scratch, word, ids, max, count, err);
            if (status != STATUS_OK) { return status; }
            continue;
        }
        if (*count == max) {
            return error_set(err, STATUS_LIMIT, "text gives more than %d tokens", max);
        }
        ids[(*count)++] = piece.id;
    }
    return STATUS_OK;
}

enum status tokenizer_encode(const struct tokenizer *tokenizer, struct span text, int32_t *ret_ids,
                             int max, int *ret_count, struct error *err) {
    assert(tokenizer != NULL);
    assert(max >= 0);

    if (text.size > TOKENIZER_TEXT_BYTES_MAX) {
        return error_set(err, STATUS_LIMIT, "text of %zu bytes, expected at most %u", text.size,
                         TOKENIZER_TEXT_BYTES_MAX);
    }
    if (!span_is_utf8(text)) { return error_set(err, STATUS_MALFORMED, "text is not UTF-8"); }
    if (text.size == 0) {
        *ret_count = 0;
        return STATUS_OK;
    }
    int count = 0;
    struct bpe_scratch scratch = {0};
    struct text_work work = {.text = text};
    enum status status = cut_words(&tokenizer->parts, &work, err);
    if (status == STATUS_OK) {
        status = encode_words(&tokenizer->parts, &work, &scratch, ret_ids, max, &count, err);
    }
    bpe_scratch_free(&scratch);
    text_work_free(&work);
    if (status == STATUS_OK) { *ret_count = count; }
    return status;
}

/* ---- decoding one token ---------------------------------------------------------------------- */

/* SentencePiece's text: U+2581 is a space, <0xXX> a byte. */
static enum status append_sentencepiece(struct span text, struct buffer *out) {
    uint8_t byte = 0;
    if (text.size == 6 && memcmp(text.data, "<0x", 3) == 0 && text.data[5] == '>') {
        char digits[3] = {(char)text.data[3], (char)text.data[4], '\0'};
        if (hex_decode(digits, &byte, 1)) { return buffer_append(out, &byte, 1); }
    }
    for (size_t i = 0; i < text.size;) {
        bool mark = i + 3 <= text.size && memcmp(text.data + i, "\xe2\x96\x81", 3) == 0;
        enum status status =
            mark ? buffer_append(out, " ", 1) : buffer_append(out, text.data + i, 1);
        if (status != STATUS_OK) { return status; }
        i += mark ? 3 : 1;
    }
    return STATUS_OK;
}

enum status tokenizer_piece(const struct tokenizer *tokenizer, int32_t id, struct buffer *out) {
    const struct tokenizer_parts *parts = &tokenizer->parts;
    const struct added_token *added = added_tokens_find(&parts->added, id);
    if (added != NULL) { return buffer_append(out, added->text.data, added->text.size); }
    if (id < 0 || id >= parts->vocabulary.size || parts->vocabulary.tokens[id].data == NULL) {
        return STATUS_MALFORMED;
    }
    struct span text = parts->vocabulary.tokens[id];
    return parts->bpe.byte_level ? alphabet_decode(text, out) : append_sentencepiece(text, out);
}
