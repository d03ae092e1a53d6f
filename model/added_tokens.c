/* SPDX-License-Identifier: Apache-2.0
 *
 * added_tokens.c - leftmost, then longest; matches do not overlap.
 *
 * There are a few up to some hundred of them, nearly all beginning with '<': a table by first byte
 * sends all other bytes on with one load.
 */
#include "model/added_tokens.h"

#include <assert.h>
#include <stdlib.h>
#include <utf8proc.h>

#include "base/memory.h"

enum status added_tokens_add(struct added_tokens *added, struct added_token token,
                             struct error *err) {
    if (token.text.size == 0) { return STATUS_OK; }
    if (token.text.size > ADDED_TOKEN_BYTES_MAX || added->count == ADDED_TOKENS_MAX) {
        return error_set(err, STATUS_CONFIG,
                         "added token %d has %zu bytes or is one too many: at "
                         "most %u bytes, %d tokens",
                         token.id, token.text.size, ADDED_TOKEN_BYTES_MAX, ADDED_TOKENS_MAX);
    }
    if (added->count == added->capacity) {
        int capacity = added->capacity == 0 ? 32 : 2 * added->capacity;
        struct added_token *list = memory_resize(added->list, (size_t)capacity * sizeof *list);
        if (list == NULL) { return error_set(err, STATUS_NO_MEMORY, "added tokens"); }
        added->list = list;
        added->capacity = capacity;
    }
    const char *copy = memory_take_copy(token.text.data, token.text.size);
    if (copy == NULL) { return error_set(err, STATUS_NO_MEMORY, "added tokens"); }
    token.text = span_make(copy, token.text.size);
    token.matched = span_make(NULL, 0);
    added->list[added->count++] = token;
    return STATUS_OK;
}

void added_tokens_free(struct added_tokens *added) {
    for (int i = 0; i < added->count; i++) {
        memory_free((void *)(uintptr_t)added->list[i].text.data);
        memory_free((void *)(uintptr_t)added->list[i].matched.data);
    }
    memory_free(added->list);
    *added = (struct added_tokens){0};
}

const struct added_token *added_tokens_find(const struct added_tokens *added, int32_t id) {
    for (int i = 0; i < added->count; i++) {
        if (added->list[i].id == id) { return &added->list[i]; }
    }
    return NULL;
}

/* Sets token->matched: the text, or the text as the normaliser leaves it. */
static enum status token_match_text(struct added_token *token, const struct text_steps *normaliser,
                                    struct error *err) {
    struct text_work work = {.text = token->text};
    enum status status =
        text_pieces_add(&work.pieces, (struct text_piece){0, token->text.size, -1, true});
    if (status != STATUS_OK) {
        status = error_set(err, status, "added token %d", token->id);
        goto done;
    }
    if (token->normalised) { status = text_steps_run(normaliser, &work, err); }
    if (status != STATUS_OK || work.text.size == 0) { goto done; }
    const char *copy = memory_take_copy(work.text.data, work.text.size);
    if (copy == NULL) {
        status = error_set(err, STATUS_NO_MEMORY, "added token %d", token->id);
        goto done;
    }
    token->matched = span_make(copy, work.text.size);

done:
    text_work_free(&work);
    return status;
}

/* By round, first byte, then longest first, then order of appearance (tokens with the same text:
 * the first one wins). */
static int compare_tokens(const void *a, const void *b) {
    const struct added_token *x = a;
    const struct added_token *y = b;
    if (x->normalised != y->normalised) { return x->normalised ? 1 : -1; }
    int x_lead = x->matched.size > 0 ? x->matched.data[0] : 256;
    int y_lead = y->matched.size > 0 ? y->matched.data[0] : 256;
    if (x_lead != y_lead) { return x_lead < y_lead ? -1 : 1; }
    if (x->matched.size != y->matched.size) { return x->matched.size > y->matched.size ? -1 : 1; }
    return x->id < y->id ? -1 : x->id > y->id;
}

enum status added_tokens_bind(struct added_tokens *added, const struct text_steps *normaliser,
                              struct error *err) {
    for (int i = 0; i < added->count; i++) {
        enum status status = token_match_text(&added->list[i], normaliser, err);
        if (status != STATUS_OK) { return status; }
    }
    if (added->count > 0) {
        qsort(added->list, (size_t)added->count, sizeof *added->list, compare_tokens);
    }
    int at = 0;
    for (int round = 0; round < 2; round++) {
        for (int lead = 0; lead < 256; lead++) {
            added->first[round][lead] = at;
            while (at < added->count && added->list[at].normalised == (round == 1) &&
                   added->list[at].matched.size > 0 && added->list[at].matched.data[0] == lead) {
                at++;
            }
        }
        added->first[round][256] = at;
        while (at < added->count && added->list[at].normalised == (round == 1)) {
            at++; /* normalised to nothing: never found */
        }
    }
    return STATUS_OK;
}

/* ---- finding --------------------------------------------------------------------------------- */

static const struct added_token *match_at(const struct added_tokens *added, int round,
                                          struct span text, size_t at) {
    uint8_t lead = text.data[at];
    for (int i = added->first[round][lead]; i < added->first[round][lead + 1]; i++) {
        struct span wanted = added->list[i].matched;
        if (wanted.size <= text.size - at &&
            memcmp(text.data + at, wanted.data, wanted.size) == 0) {
            return &added->list[i];
        }
    }
    return NULL;
}

/* The character that begins at text[at], and its size. */
static int32_t character_at(struct span text, size_t at, size_t *ret_size) {
    utf8proc_int32_t character = 0;
    utf8proc_ssize_t size =
        utf8proc_iterate(text.data + at, (utf8proc_ssize_t)(text.size - at), &character);
    assert(size > 0); /* the text is UTF-8 and `at` a character's beginning */
    *ret_size = (size_t)size;
    return character;
}

/* The character that ends at text[at - 1], and its size. */
static int32_t character_before(struct span text, size_t at, size_t *ret_size) {
    size_t begin = at - 1;
    while (begin > 0 && (text.data[begin] & 0xc0) == 0x80) {
        begin--;
    }
    int32_t character = character_at(span_make(text.data, at), begin, ret_size);
    return character;
}

/* Unicode's White_Space. */
static bool is_white(int32_t c) {
    return (c >= 0x09 && c <= 0x0d) || c == 0x20 || c == 0x85 || c == 0xa0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f ||
           c == 0x205f || c == 0x3000;
}

/* \w of Unicode's technical standard 18: alphabetic, marks, decimal numbers, connectors,
 * joiners. */
static bool is_word(int32_t c) {
    static const bool word[32] = {
        [UTF8PROC_CATEGORY_LU] = true, [UTF8PROC_CATEGORY_LL] = true, [UTF8PROC_CATEGORY_LT] = true,
        [UTF8PROC_CATEGORY_LM] = true, [UTF8PROC_CATEGORY_LO] = true, [UTF8PROC_CATEGORY_MN] = true,
        [UTF8PROC_CATEGORY_MC] = true, [UTF8PROC_CATEGORY_ME] = true, [UTF8PROC_CATEGORY_ND] = true,
        [UTF8PROC_CATEGORY_NL] = true, [UTF8PROC_CATEGORY_PC] = true,
    };
    bool circled = (c >= 0x24b6 && c <= 0x24e9) || (c >= 0x1f130 && c <= 0x1f149) ||
                   (c >= 0x1f150 && c <= 0x1f169) || (c >= 0x1f170 && c <= 0x1f189);
    unsigned category = (unsigned)utf8proc_category(c);
    return circled || c == 0x200c || c == 0x200d || (category < 32 && word[category]);
}

static bool inside_word(struct span text, size_t begin, size_t end) {
    size_t size = 0;
    if (begin > 0 && is_word(character_before(text, begin, &size))) { return true; }
    return end < text.size && is_word(character_at(text, end, &size));
}

/* Grows a match over the white space its token takes; never into what came before `last`. */
static void take_white(const struct added_token *token, struct span text, size_t last,
                       size_t *begin, size_t *end) {
    size_t size = 0;
    while (token->strip_left && *begin > last && is_white(character_before(text, *begin, &size))) {
        *begin -= size;
    }
    while (token->strip_right && *end < text.size && is_white(character_at(text, *end, &size))) {
        *end += size;
    }
}

static enum status cut_piece(const struct added_tokens *added, int round, struct text_work *work,
                             struct text_piece piece) {
    struct span text = span_make(work->text.data + piece.begin, piece.end - piece.begin);
    size_t last = 0; /* end of the last token found */
    for (size_t at = 0; at < text.size;) {
        const struct added_token *token = match_at(added, round, text, at);
        if (token == NULL) {
            at++;
            continue;
        }
        size_t begin = at;
        size_t end = at + token->matched.size;
        at = end;
        if (token->single_word && inside_word(text, begin, end)) { continue; }
        take_white(token, text, last, &begin, &end);

        struct text_piece between = {piece.begin + last, piece.begin + begin, -1,
                                     piece.first && last == 0};
        enum status status = STATUS_OK;
        if (last < begin) { status = text_pieces_add(&work->next, between); }
        if (status != STATUS_OK) { return status; }
        struct text_piece found = {piece.begin + begin, piece.begin + end, token->id,
                                   piece.first && begin == 0};
        status = text_pieces_add(&work->next, found);
        if (status != STATUS_OK) { return status; }
        last = end;
    }
    if (last == text.size) { return STATUS_OK; }
    struct text_piece rest = {piece.begin + last, piece.end, -1, piece.first && last == 0};
    return text_pieces_add(&work->next, rest);
}

enum status added_tokens_cut(const struct added_tokens *added, int round, struct text_work *work,
                             struct error *err) {
    assert(round == 0 || round == 1);
    if (added->first[round][0] == added->first[round][256]) { return STATUS_OK; }

    work->next.count = 0;
    for (size_t i = 0; i < work->pieces.count; i++) {
        struct text_piece piece = work->pieces.list[i];
        enum status status = piece.id >= 0 ? text_pieces_add(&work->next, piece)
                                           : cut_piece(added, round, work, piece);
        if (status != STATUS_OK) { return error_set(err, status, "pieces of a text"); }
    }
    struct text_pieces swapped = work->pieces;
    work->pieces = work->next;
    work->next = swapped;
    return STATUS_OK;
}
