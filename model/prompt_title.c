/* SPDX-License-Identifier: Apache-2.0
 *
 * prompt_title.c - titles: cleaned, tokenised, ended, and compared with what was generated.
 */
#include <assert.h>

#include "model/prompt.h"
#include "model/prompt_pieces.h"

#define TITLE_BYTES_MAX 512u /* as far as a title is read */
#define TITLE_IDS       2048 /* more than 512 bytes give, some normal forms grow */

/* ASCII white space and control characters. */
static bool is_blank(uint8_t c) {
    return c <= ' ' || c == 0x7f;
}

/* Copies at most TITLE_BYTES_MAX bytes of a title, whole characters, runs of ASCII white space and
 * control characters as one space, none at the ends; with `space`, one in front. Returns the bytes
 * written. */
static size_t title_clean(struct span title, bool space, uint8_t ret_text[TITLE_BYTES_MAX]) {
    size_t size = 0;
    bool gap = space;
    for (size_t i = 0; i < title.size; i++) {
        uint8_t c = title.data[i];
        if (is_blank(c)) {
            gap = gap || size > 0;
            continue;
        }
        if (size + 1 + (gap ? 1u : 0u) > TITLE_BYTES_MAX) { break; }
        if (gap) { ret_text[size++] = ' '; }
        gap = false;
        ret_text[size++] = c;
    }
    if (size < TITLE_BYTES_MAX) { return size; }
    /* Full: drop a character that may be cut, unless it ends exactly here. */
    size_t lead = size - 1;
    while (lead > 0 && (ret_text[lead] & 0xc0) == 0x80) {
        lead--;
    }
    return span_is_utf8(span_make(ret_text + lead, size - lead)) ? size : lead;
}

enum status prompt_title_tokens(const struct prompt_template *template, struct span title,
                                struct title_tokens *ret_tokens, struct error *err) {
    assert(template != NULL);

    uint8_t text[TITLE_BYTES_MAX];
    int32_t ids[TITLE_IDS];
    int count = 0;
    if (!span_is_utf8(title)) { return error_set(err, STATUS_MALFORMED, "title is not UTF-8"); }
    size_t size = title_clean(title, template->title_space, text);
    enum status status =
        tokenizer_encode(template->tokenizer, span_make(text, size), ids, TITLE_IDS, &count, err);
    if (status != STATUS_OK) { return error_wrap(err, "title"); }
    if (count > TITLE_TOKENS_MAX) { count = TITLE_TOKENS_MAX; }
    ret_tokens->count = count;
    memcpy(ret_tokens->ids, ids, (size_t)count * sizeof *ids);
    return STATUS_OK;
}

enum status prompt_candidate(const struct prompt_template *template,
                             const struct title_tokens *title, struct title_tokens *ret_tokens,
                             struct error *err) {
    assert(template != NULL && title->count >= 0);
    const struct prompt_piece *end = &template->end;
    if (end->count >= TITLE_TOKENS_MAX) {
        return error_set(err, STATUS_LIMIT, "the end of a title has %d tokens", end->count);
    }
    int room = TITLE_TOKENS_MAX - end->count;
    int count = title->count < room ? title->count : room;
    memmove(ret_tokens->ids, title->ids, (size_t)count * sizeof *title->ids);
    memcpy(ret_tokens->ids + count, end->ids, (size_t)end->count * sizeof *end->ids);
    ret_tokens->count = count + end->count;
    return STATUS_OK;
}

/* The next byte of a title folded as title_clean folds it; 0 at the end. */
static uint8_t folded_next(struct span text, size_t *at) {
    size_t begin = *at;
    while (*at < text.size && is_blank(text.data[*at])) {
        (*at)++;
    }
    if (*at == text.size) { return 0; }
    if (begin > 0 && *at > begin) { return ' '; /* text.data[*at] comes next */ }
    return text.data[(*at)++];
}

bool prompt_title_same(struct span generated, struct span title) {
    size_t generated_at = 0;
    size_t title_at = 0;
    for (;;) {
        uint8_t a = folded_next(generated, &generated_at);
        uint8_t b = folded_next(title, &title_at);
        if (a != b) { return false; }
        if (a == 0) { return true; }
    }
}
