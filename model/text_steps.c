/* SPDX-License-Identifier: Apache-2.0
 *
 * text_steps.c - runs the list of steps; each makes `next` from `pieces`, then the two are swapped.
 *
 * Semantics are those of `tokenizers`: a pattern sees one piece at a time, as if it were the whole
 * text (so that a look-ahead ends at the piece); cuts are then merged by the behaviour; empty
 * pieces vanish.
 */
#include "model/text_steps.h"

#include <assert.h>

#include "base/memory.h"

#define PIECES_MAX (16u * 1024u * 1024u)
/* Of a rewritten text: steps that put 64 bytes for each character, one behind the other, would take
 * any memory there is. */
#define TEXT_BYTES_MAX (16u * 1024u * 1024u)

void text_work_free(struct text_work *work) {
    memory_free(work->pieces.list);
    memory_free(work->next.list);
    memory_free(work->cuts.list);
    memory_free(work->points);
    buffer_free(&work->buffers[0]);
    buffer_free(&work->buffers[1]);
    text_match_free(work->match);
    *work = (struct text_work){0};
}

enum status text_pieces_add(struct text_pieces *pieces, struct text_piece piece) {
    if (pieces->count == pieces->capacity) {
        if (pieces->count >= PIECES_MAX) { return STATUS_LIMIT; }
        size_t capacity = pieces->capacity == 0 ? 64 : 2 * pieces->capacity;
        struct text_piece *list = memory_resize(pieces->list, capacity * sizeof *list);
        if (list == NULL) { return STATUS_NO_MEMORY; }
        pieces->list = list;
        pieces->capacity = capacity;
    }
    pieces->list[pieces->count++] = piece;
    return STATUS_OK;
}

/* ---- making the list ------------------------------------------------------------------------- */

/* Prepares the step behind the last; it counts once steps->count is raised. */
static enum status step_new(struct text_steps *steps, enum text_step_kind kind, struct span string,
                            struct error *err) {
    if (steps->count == TEXT_STEPS_MAX) {
        return error_set(err, STATUS_CONFIG, "more than %d normalising or splitting steps",
                         TEXT_STEPS_MAX);
    }
    if (string.size > TEXT_STEP_STRING_MAX || !span_is_utf8(string)) {
        return error_set(err, STATUS_CONFIG,
                         "a replacement of %zu bytes, expected UTF-8 of at "
                         "most %u",
                         string.size, TEXT_STEP_STRING_MAX);
    }
    struct text_step *step = &steps->list[steps->count];
    *step = (struct text_step){.kind = kind, .string_size = string.size};
    if (string.size > 0) { memcpy(step->string, string.data, string.size); }
    return STATUS_OK;
}

enum status text_steps_add_split(struct text_steps *steps, struct span expression, bool literal,
                                 enum text_split_behaviour behaviour, bool invert,
                                 struct error *err) {
    enum status status = step_new(steps, TEXT_SPLIT, span_of(""), err);
    if (status != STATUS_OK) { return status; }
    struct text_step *step = &steps->list[steps->count];
    status = text_pattern_compile(expression, literal, &step->pattern, err);
    if (status != STATUS_OK) { return status; }
    step->behaviour = behaviour;
    step->invert = invert;
    steps->count++;
    return STATUS_OK;
}

enum status text_steps_add_replace(struct text_steps *steps, struct span expression, bool literal,
                                   struct span string, struct error *err) {
    enum status status = step_new(steps, TEXT_REPLACE, string, err);
    if (status != STATUS_OK) { return status; }
    struct text_step *step = &steps->list[steps->count];
    status = text_pattern_compile(expression, literal, &step->pattern, err);
    if (status != STATUS_OK) { return status; }
    steps->count++;
    return STATUS_OK;
}

enum status text_steps_add_prepend(struct text_steps *steps, struct span string, bool unless_there,
                                   bool only_first, struct error *err) {
    enum status status = step_new(steps, TEXT_PREPEND, string, err);
    if (status != STATUS_OK) { return status; }
    struct text_step *step = &steps->list[steps->count];
    step->unless_there = unless_there;
    step->only_first = only_first;
    steps->count++;
    return STATUS_OK;
}

enum status text_steps_add_form(struct text_steps *steps, enum text_normal_form form,
                                struct error *err) {
    enum status status = step_new(steps, TEXT_NORMAL_FORM, span_of(""), err);
    if (status != STATUS_OK) { return status; }
    struct text_step *step = &steps->list[steps->count];
    step->form = form;
    steps->count++;
    return STATUS_OK;
}

void text_steps_free(struct text_steps *steps) {
    for (int i = 0; i < steps->count; i++) {
        text_pattern_free(steps->list[i].pattern);
    }
    *steps = (struct text_steps){0};
}

/* ---- splitting ------------------------------------------------------------------------------- */

/* Adds [begin, end) of the text unless empty; `first` is inherited by what begins where piece
 * does. */
static enum status cut_add(struct text_pieces *pieces, struct text_piece piece, size_t begin,
                           size_t end, int32_t id) {
    if (begin == end) { return STATUS_OK; }
    bool first = piece.first && begin == piece.begin;
    return text_pieces_add(pieces, (struct text_piece){begin, end, id, first});
}

/* Length of the character at text[at]; text is UTF-8. */
static size_t character_size(struct span text, size_t at) {
    size_t size = 1;
    while (at + size < text.size && (text.data[at + size] & 0xc0) == 0x80) {
        size++;
    }
    return size;
}

/* Cuts a piece into delimiters (id 1) and what is between (id 0). An empty match cuts and moves on
 * by one character. */
static enum status find_cuts(const struct text_step *step, struct text_work *work,
                             struct text_piece piece, struct text_pieces *cuts, struct error *err) {
    struct span text = span_make(work->text.data + piece.begin, piece.end - piece.begin);
    const int32_t is_match = step->invert ? 0 : 1;
    size_t last = 0; /* end of the last cut */
    size_t from = 0; /* where to look on */
    enum status status;
    while (from <= text.size) {
        bool found = false;
        size_t begin = 0;
        size_t end = 0;
        status =
            text_pattern_find(step->pattern, &work->match, text, from, &found, &begin, &end, err);
        if (status != STATUS_OK) { return status; }
        if (!found) { break; }
        status = cut_add(cuts, piece, piece.begin + last, piece.begin + begin, 1 - is_match);
        if (status != STATUS_OK) { goto fail; }
        status = cut_add(cuts, piece, piece.begin + begin, piece.begin + end, is_match);
        if (status != STATUS_OK) { goto fail; }
        last = end;
        from = end;
        if (begin == end) { from = end < text.size ? end + character_size(text, end) : end + 1; }
    }
    status = cut_add(cuts, piece, piece.begin + last, piece.end, 1 - is_match);
    if (status == STATUS_OK) { return STATUS_OK; }
fail:
    return error_set(err, status, "pieces of a text");
}

/* True when cut i joins the cut in front of it; both are there. */
static bool joins_previous(const struct text_pieces *cuts, size_t i,
                           enum text_split_behaviour behaviour) {
    bool before = cuts->list[i - 1].id == 1;
    bool here = cuts->list[i].id == 1;
    if (behaviour == TEXT_MERGED_WITH_PREVIOUS) { return here && !before; }
    if (behaviour == TEXT_MERGED_WITH_NEXT) { return before && !here; }
    return behaviour == TEXT_CONTIGUOUS && here == before;
}

static enum status run_split(const struct text_step *step, struct text_work *work,
                             struct text_piece piece, struct error *err) {
    work->cuts.count = 0;
    enum status status = find_cuts(step, work, piece, &work->cuts, err);
    if (status != STATUS_OK) { return status; }

    for (size_t i = 0; i < work->cuts.count; i++) {
        struct text_piece cut = work->cuts.list[i];
        if (i > 0 && joins_previous(&work->cuts, i, step->behaviour)) {
            work->next.list[work->next.count - 1].end = cut.end;
            continue;
        }
        if (cut.id == 1 && step->behaviour == TEXT_REMOVED) { continue; }
        cut.id = -1;
        status = text_pieces_add(&work->next, cut);
        if (status != STATUS_OK) { return error_set(err, status, "pieces of a text"); }
    }
    return STATUS_OK;
}

/* ---- rewriting ------------------------------------------------------------------------------- */

static enum status rewrite_replace(const struct text_step *step, struct text_work *work,
                                   struct text_piece piece, struct buffer *out, struct error *err) {
    work->cuts.count = 0;
    enum status status = find_cuts(step, work, piece, &work->cuts, err);
    for (size_t i = 0; status == STATUS_OK && i < work->cuts.count; i++) {
        struct text_piece cut = work->cuts.list[i];
        status = cut.id == 1 ? buffer_append(out, step->string, step->string_size)
                             : buffer_append(out, work->text.data + cut.begin, cut.end - cut.begin);
    }
    return status;
}

static enum status rewrite_prepend(const struct text_step *step, struct text_piece piece,
                                   struct span text, struct buffer *out) {
    bool there = step->unless_there && text.size >= step->string_size &&
                 memcmp(text.data, step->string, step->string_size) == 0;
    if (!there && (!step->only_first || piece.first)) {
        enum status status = buffer_append(out, step->string, step->string_size);
        if (status != STATUS_OK) { return status; }
    }
    return buffer_append(out, text.data, text.size);
}

/* Writes the new text of one piece behind `out`. */
static enum status run_rewrite(const struct text_step *step, struct text_work *work,
                               struct text_piece piece, struct buffer *out, struct error *err) {
    struct span text = span_make(work->text.data + piece.begin, piece.end - piece.begin);
    size_t begin = out->size;
    enum status status;
    if (piece.id >= 0) {
        status = buffer_append(out, text.data, text.size);
    } else if (step->kind == TEXT_NORMAL_FORM) {
        status = text_form_append(step->form, work, text, out);
    } else if (step->kind == TEXT_REPLACE) {
        status = rewrite_replace(step, work, piece, out, err);
    } else {
        status = rewrite_prepend(step, piece, text, out);
    }
    if (status == STATUS_OK && out->size > begin) {
        status = text_pieces_add(&work->next,
                                 (struct text_piece){begin, out->size, piece.id, piece.first});
    }
    return status == STATUS_OK ? STATUS_OK : error_set(err, status, "rewriting a text");
}

/* ---- running --------------------------------------------------------------------------------- */

static enum status run_step(const struct text_step *step, struct text_work *work,
                            struct error *err) {
    struct buffer *out = &work->buffers[work->buffer];
    out->limit = TEXT_BYTES_MAX;
    work->next.count = 0;
    out->size = 0;
    for (size_t i = 0; i < work->pieces.count; i++) {
        struct text_piece piece = work->pieces.list[i];
        enum status status = STATUS_OK;
        if (step->kind != TEXT_SPLIT) {
            status = run_rewrite(step, work, piece, out, err);
        } else if (piece.id >= 0) {
            status = text_pieces_add(&work->next, piece);
            if (status != STATUS_OK) { status = error_set(err, status, "pieces of a text"); }
        } else {
            status = run_split(step, work, piece, err);
        }
        if (status != STATUS_OK) { return status; }
    }
    struct text_pieces swapped = work->pieces;
    work->pieces = work->next;
    work->next = swapped;
    if (step->kind != TEXT_SPLIT) {
        work->text = buffer_span(out);
        work->buffer = 1 - work->buffer;
    }
    return STATUS_OK;
}

enum status text_steps_run(const struct text_steps *steps, struct text_work *work,
                           struct error *err) {
    assert(steps != NULL && work != NULL);
    for (int i = 0; i < steps->count; i++) {
        enum status status = run_step(&steps->list[i], work, err);
        if (status != STATUS_OK) { return status; }
    }
    return STATUS_OK;
}
