/* SPDX-License-Identifier: Apache-2.0
 *
 * prompt.c - a template tokenised once; a prompt is then copied from pieces.
 *
 * Pieces are tokenised by themselves: the ids of a title do not depend on what stands beside it, so
 * they are made once an item. A prompt is filled from the newest item backwards to find how many
 * fit, then written forwards.
 */
#include "model/prompt.h"

#include <assert.h>

#include "base/file.h"
#include "base/memory.h"
#include "model/prompt_parse.h"

#define PIECE_TOKENS_MAX 512
#define TITLE_BYTES_MAX  512u /* as far as a title is read */
#define TITLE_IDS        2048 /* more than 512 bytes give, some normal forms grow */

/* Tokens of a stretch of fixed text. */
struct prompt_piece {
    int count;
    int32_t ids[PIECE_TOKENS_MAX];
};

/* An item is up to three texts around its title and its token: parts in the file's order. */
struct prompt_item_part {
    enum prompt_part_kind kind;
    int piece; /* TEXT: index into item_texts */
};

struct prompt_template {
    const struct tokenizer *tokenizer; /* borrows: until prompt_template_close */
    struct prompt_piece before, after; /* of {history} */
    struct prompt_piece separator, empty, end;
    struct prompt_piece item_texts[PROMPT_PARTS_MAX];
    struct prompt_item_part item[PROMPT_PARTS_MAX];
    int item_parts;
    bool has_tokens;
    bool title_space;    /* titles are tokenised with a space in front */
    int32_t placeholder; /* id whose embedding is overwritten */
};

static enum status piece_encode(const struct prompt_template *template,
                                const struct prompt_text *section, struct prompt_part part,
                                struct prompt_piece *ret_piece, struct error *err) {
    struct span text = span_make(section->text + part.begin, part.end - part.begin);
    enum status status = tokenizer_encode(template->tokenizer, text, ret_piece->ids,
                                          PIECE_TOKENS_MAX, &ret_piece->count, err);
    if (status == STATUS_OK) { return STATUS_OK; }
    if (status == STATUS_LIMIT) { err->code = STATUS_CONFIG; }
    return error_wrap(err, "line %d: section", section->line);
}

/* Byte-level vocabularies hold words with the space in front of them (" Story"), so a space at the
 * end of a text belongs to the title behind it. True when there was one; it is cut off. */
static bool cut_space(const struct prompt_text *section, struct prompt_part *part) {
    if (part->end == part->begin || section->text[part->end - 1] != ' ') { return false; }
    part->end--;
    return true;
}

/* The body: what stands before and behind {history}. */
static enum status encode_body(struct prompt_template *template, const struct prompt_text *body,
                               struct error *err) {
    struct prompt_piece *piece = &template->before;
    for (int i = 0; i < body->part_count; i++) {
        if (body->parts[i].kind == PROMPT_PART_HISTORY) {
            piece = &template->after;
            continue;
        }
        struct prompt_part part = body->parts[i];
        bool last = i + 1 == body->part_count;
        if (last && template->title_space) { (void)cut_space(body, &part); /* may be none */ }
        enum status status = piece_encode(template, body, part, piece, err);
        if (status != STATUS_OK) { return status; }
    }
    int32_t bos = tokenizer_bos(template->tokenizer);
    if (bos < 0) { return STATUS_OK; }
    if (template->before.count == PIECE_TOKENS_MAX) {
        return error_set(err, STATUS_CONFIG, "line %d: section of more than %d tokens", body->line,
                         PIECE_TOKENS_MAX - 1);
    }
    memmove(template->before.ids + 1, template->before.ids,
            (size_t) template->before.count * sizeof *template->before.ids);
    template->before.ids[0] = bos;
    template->before.count++;
    return STATUS_OK;
}

static enum status encode_item(struct prompt_template *template, const struct prompt_text *item,
                               struct error *err) {
    for (int i = 0; i < item->part_count; i++) {
        template->item[i] = (struct prompt_item_part){item->parts[i].kind, i};
        if (item->parts[i].kind == PROMPT_PART_TOKEN) { template->has_tokens = true; }
        if (item->parts[i].kind != PROMPT_PART_TEXT) { continue; }
        struct prompt_part part = item->parts[i];
        bool title_next = i + 1 < item->part_count && item->parts[i + 1].kind == PROMPT_PART_TITLE;
        if (title_next) { template->title_space = cut_space(item, &part); }
        enum status status = piece_encode(template, item, part, &template->item_texts[i], err);
        if (status != STATUS_OK) { return status; }
    }
    template->item_parts = item->part_count;
    return STATUS_OK;
}

/* A section that is one text; absent = nothing. */
static enum status encode_text(const struct prompt_template *template,
                               const struct prompt_text *section, struct prompt_piece *ret_piece,
                               struct error *err) {
    if (section->part_count == 0) { return STATUS_OK; }
    return piece_encode(template, section, section->parts[0], ret_piece, err);
}

/* Encodes every section; the end of a candidate is "\n" unless the file says otherwise. */
static enum status encode_sections(struct prompt_template *template,
                                   const struct prompt_text *sections, struct error *err) {
    enum status status = encode_item(template, &sections[PROMPT_ITEM], err);
    if (status != STATUS_OK) { return status; }
    status = encode_body(template, &sections[PROMPT_BODY], err);
    if (status != STATUS_OK) { return status; }
    status = encode_text(template, &sections[PROMPT_SEPARATOR], &template->separator, err);
    if (status != STATUS_OK) { return status; }
    status = encode_text(template, &sections[PROMPT_EMPTY], &template->empty, err);
    if (status != STATUS_OK) { return status; }
    status = encode_text(template, &sections[PROMPT_END], &template->end, err);
    if (status != STATUS_OK) { return status; }
    if (template->end.count == 0) {
        status = tokenizer_encode(template->tokenizer, span_of("\n"), template->end.ids,
                                  PIECE_TOKENS_MAX, &template->end.count, err);
        if (status != STATUS_OK) { return status; }
    }
    if (template->end.count < 1 || template->end.count >= TITLE_TOKENS_MAX) {
        return error_set(err, STATUS_CONFIG, "the end of a title has %d tokens, expected 1 to %d",
                         template->end.count, TITLE_TOKENS_MAX - 1);
    }
    return STATUS_OK;
}

/* The item placeholder: a token of that name, else id 0. Its own embedding is never read. */
static enum status find_placeholder(const struct tokenizer *tokenizer, int32_t *ret_id,
                                    struct error *err) {
    int32_t ids[16]; /* the name is 8 bytes */
    int count = 0;
    enum status status = tokenizer_encode(tokenizer, span_of("<|item|>"), ids, 16, &count, err);
    if (status != STATUS_OK) { return status; }
    *ret_id = count == 1 ? ids[0] : 0;
    return STATUS_OK;
}

enum status prompt_template_open_named(const char *path, const char *name,
                                       const struct tokenizer *tokenizer,
                                       struct prompt_template **ret_template, struct error *err) {
    assert(tokenizer != NULL && name != NULL);
    assert(ret_template != NULL && err != NULL);

    enum status status = STATUS_OK;
    struct buffer file = {0};
    struct span text = span_of(prompt_default_text);
    struct prompt_template *template = MEMORY_TAKE_ARRAY(struct prompt_template, 1);
    struct prompt_text *sections = MEMORY_TAKE_ARRAY(struct prompt_text, PROMPT_SECTION_COUNT);
    if (template == NULL || sections == NULL) {
        status = error_set(err, STATUS_NO_MEMORY, "prompt template");
        goto fail;
    }
    template->tokenizer = tokenizer;
    status = find_placeholder(tokenizer, &template->placeholder, err);
    if (status != STATUS_OK) { goto fail; }
    if (path != NULL) {
        status = file_read(path, PROMPT_FILE_BYTES_MAX, &file, err);
        if (status != STATUS_OK) { goto fail; }
        text = buffer_span(&file);
    }
    status = prompt_parse(text, name, sections, err);
    if (status != STATUS_OK) { goto fail; }
    status = encode_sections(template, sections, err);
    if (status != STATUS_OK) { goto fail; }

    buffer_free(&file);
    memory_free(sections);
    *ret_template = template;
    return STATUS_OK;

fail:
    buffer_free(&file);
    memory_free(sections);
    memory_free(template);
    if (status != STATUS_NO_MEMORY) { err->code = STATUS_CONFIG; /* the operator chose the file */ }
    return error_wrap(err, "prompts '%s'", path != NULL ? path : "compiled in");
}

enum status prompt_template_open(const char *path, const struct tokenizer *tokenizer,
                                 struct prompt_template **ret_template, struct error *err) {
    return prompt_template_open_named(path, "stream", tokenizer, ret_template, err);
}

void prompt_template_close(struct prompt_template *template) {
    memory_free(template);
}

int prompt_template_has_item_tokens(const struct prompt_template *template) {
    return template->has_tokens;
}

/* ---- titles ---------------------------------------------------------------------------------- */

/* Copies at most TITLE_BYTES_MAX bytes of a title, whole characters, runs of ASCII white space and
 * control characters as one space, none at the ends; with `space`, one in front. Returns the bytes
 * written. */
static size_t title_clean(struct span title, bool space, uint8_t ret_text[TITLE_BYTES_MAX]) {
    size_t size = 0;
    bool gap = space;
    for (size_t i = 0; i < title.size; i++) {
        uint8_t c = title.data[i];
        if (c <= ' ' || c == 0x7f) {
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

/* ---- prompts --------------------------------------------------------------------------------- */

static int item_tokens_count(const struct prompt_template *template,
                             const struct title_tokens *title) {
    int count = 0;
    for (int i = 0; i < template->item_parts; i++) {
        switch (template->item[i].kind) {
        case PROMPT_PART_TEXT: count += template->item_texts[template->item[i].piece].count; break;
        case PROMPT_PART_TITLE: count += title->count; break;
        case PROMPT_PART_TOKEN: count += 1; break;
        case PROMPT_PART_HISTORY: break; /* never in an item */
        }
    }
    return count;
}

/* Text-only templates have nothing to say about an item without a title. */
static bool item_is_silent(const struct prompt_template *template,
                           const struct title_tokens *title) {
    return !template->has_tokens && title->count == 0;
}

static void append_ids(struct prompt *prompt, const int32_t *ids, int count) {
    assert(prompt->count + count <= PROMPT_TOKENS_MAX);
    memcpy(prompt->tokens + prompt->count, ids, (size_t)count * sizeof *ids);
    prompt->count += count;
}

static void append_item(const struct prompt_template *template, uint32_t item,
                        const struct title_tokens *title, struct prompt *prompt) {
    for (int i = 0; i < template->item_parts; i++) {
        const struct prompt_piece *text = &template->item_texts[template->item[i].piece];
        switch (template->item[i].kind) {
        case PROMPT_PART_TEXT: append_ids(prompt, text->ids, text->count); break;
        case PROMPT_PART_TITLE: append_ids(prompt, title->ids, title->count); break;
        case PROMPT_PART_TOKEN:
            prompt->item_rows[prompt->item_count] = prompt->count;
            prompt->items[prompt->item_count++] = item;
            append_ids(prompt, &template->placeholder, 1);
            break;
        case PROMPT_PART_HISTORY: break; /* never in an item */
        }
    }
}

/* Index of the oldest item that still fits when all newer ones are written. */
static int first_that_fits(const struct prompt_template *template,
                           const struct title_tokens *const *titles, int count, int room) {
    int first = count;
    int written = 0;
    for (int i = count - 1; i >= 0 && written < PROMPT_ITEMS_MAX; i--) {
        if (item_is_silent(template, titles[i])) { continue; }
        int needed = item_tokens_count(template, titles[i]);
        if (written > 0) { needed += template->separator.count; }
        if (needed > room) { break; }
        room -= needed;
        written++;
        first = i;
    }
    return first;
}

enum status prompt_build(const struct prompt_template *template, const uint32_t *items,
                         const struct title_tokens *const *titles, int count, int tokens_max,
                         struct prompt *ret_prompt, struct error *err) {
    assert(template != NULL && count >= 0);
    assert(tokens_max > 0 && tokens_max <= PROMPT_TOKENS_MAX);

    int fixed = template->before.count + template->after.count;
    int first = first_that_fits(template, titles, count, tokens_max - fixed);
    bool empty = first == count;
    if (fixed + (empty ? template->empty.count : 0) > tokens_max) {
        return error_set(err, STATUS_LIMIT, "an empty prompt has %d tokens, more than %d",
                         fixed + template->empty.count, tokens_max);
    }
    ret_prompt->count = 0;
    ret_prompt->item_count = 0;
    append_ids(ret_prompt, template->before.ids, template->before.count);
    if (empty) { append_ids(ret_prompt, template->empty.ids, template->empty.count); }
    bool later = false;
    for (int i = first; i < count; i++) {
        if (item_is_silent(template, titles[i])) { continue; }
        if (later) { append_ids(ret_prompt, template->separator.ids, template->separator.count); }
        append_item(template, items[i], titles[i], ret_prompt);
        later = true;
    }
    append_ids(ret_prompt, template->after.ids, template->after.count);
    return STATUS_OK;
}
