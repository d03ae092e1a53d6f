/* SPDX-License-Identifier: Apache-2.0
 *
 * prompt.c - a template tokenised once into pieces, from which prompt_build.c copies.
 *
 * Pieces are tokenised by themselves: the ids of a title do not depend on what stands beside it, so
 * they are made once an item.
 */
#include "model/prompt.h"

#include <assert.h>

#include "base/file.h"
#include "base/memory.h"
#include "model/prompt_pieces.h"

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

/* The body: what stands before, between and behind {history} and {candidates}. */
static enum status encode_body(struct prompt_template *template, const struct prompt_text *body,
                               struct error *err) {
    struct prompt_piece *piece = &template->before;
    for (int i = 0; i < body->part_count; i++) {
        enum prompt_part_kind kind = body->parts[i].kind;
        if (kind == PROMPT_PART_HISTORY) {
            piece = template->has_candidates ? &template->between : &template->after;
            continue;
        }
        if (kind == PROMPT_PART_CANDIDATES) {
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

static enum status encode_item(const struct prompt_template *template,
                               const struct prompt_text *item, struct prompt_item_form *ret_form,
                               bool *ret_title_space, struct error *err) {
    for (int i = 0; i < item->part_count; i++) {
        ret_form->kinds[i] = item->parts[i].kind;
        if (item->parts[i].kind == PROMPT_PART_TOKEN) { ret_form->has_token = true; }
        if (item->parts[i].kind != PROMPT_PART_TEXT) { continue; }
        struct prompt_part part = item->parts[i];
        bool title_next = i + 1 < item->part_count && item->parts[i + 1].kind == PROMPT_PART_TITLE;
        if (title_next) { *ret_title_space = cut_space(item, &part); }
        enum status status = piece_encode(template, item, part, &ret_form->texts[i], err);
        if (status != STATUS_OK) { return status; }
    }
    ret_form->part_count = item->part_count;
    return STATUS_OK;
}

/* Items of the history and, where the template shows them, candidates. A title is tokenised once,
 * so both have a space in front of it or neither has. */
static enum status encode_items(struct prompt_template *template,
                                const struct prompt_text *sections, struct error *err) {
    const struct prompt_text *candidate = &sections[PROMPT_CANDIDATE];
    bool candidate_space = false;
    enum status status =
        encode_item(template, &sections[PROMPT_ITEM], &template->item, &template->title_space, err);
    if (status != STATUS_OK || !candidate->found) { return status; }
    template->has_candidates = true;
    status = encode_item(template, candidate, &template->candidate, &candidate_space, err);
    if (status != STATUS_OK || candidate_space == template->title_space) { return status; }
    return error_set(err, STATUS_CONFIG,
                     "line %d: section has %s in front of {title}, the history's items have %s",
                     candidate->line, candidate_space ? "a space" : "no space",
                     candidate_space ? "none" : "one");
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
    enum status status = encode_items(template, sections, err);
    if (status != STATUS_OK) { return status; }
    status = encode_body(template, &sections[PROMPT_BODY], err);
    if (status != STATUS_OK) { return status; }
    status = encode_text(template, &sections[PROMPT_SEPARATOR], &template->separator, err);
    if (status != STATUS_OK) { return status; }
    status = encode_text(template, &sections[PROMPT_CANDIDATE_SEPARATOR],
                         &template->candidate_separator, err);
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
    return template->item.has_token || template->candidate.has_token;
}

int prompt_template_has_candidates(const struct prompt_template *template) {
    return template->has_candidates;
}
