/* SPDX-License-Identifier: Apache-2.0
 *
 * prompt_build.c - prompts copied from a template's pieces.
 *
 * A prompt is filled from the newest item backwards to find how many fit, then written forwards.
 */
#include <assert.h>

#include "model/prompt.h"
#include "model/prompt_pieces.h"

/* One list of a prompt: the history or the candidates. */
struct prompt_list {
    const struct prompt_item_form *form;
    const struct prompt_piece *separator;
    const uint32_t *items;
    const struct title_tokens *const *titles;
    int count;
    bool tokens; /* write item tokens where the form has them */
};

static int item_tokens_count(const struct prompt_list *list, const struct title_tokens *title) {
    int count = 0;
    for (int i = 0; i < list->form->part_count; i++) {
        switch (list->form->kinds[i]) {
        case PROMPT_PART_TEXT: count += list->form->texts[i].count; break;
        case PROMPT_PART_TITLE: count += title->count; break;
        case PROMPT_PART_TOKEN: count += list->tokens ? 1 : 0; break;
        case PROMPT_PART_HISTORY:
        case PROMPT_PART_CANDIDATES: break; /* never in an item */
        }
    }
    return count;
}

/* Text-only prompts have nothing to say about an item without a title. */
static bool item_is_silent(const struct prompt_list *list, const struct title_tokens *title) {
    return title->count == 0 && !(list->tokens && list->form->has_token);
}

static void append_ids(struct prompt *prompt, const int32_t *ids, int count) {
    assert(prompt->count + count <= PROMPT_TOKENS_MAX);
    memcpy(prompt->tokens + prompt->count, ids, (size_t)count * sizeof *ids);
    prompt->count += count;
}

static void append_piece(struct prompt *prompt, const struct prompt_piece *piece) {
    append_ids(prompt, piece->ids, piece->count);
}

static void append_item(const struct prompt_list *list, int index, int32_t placeholder,
                        struct prompt *prompt) {
    const struct title_tokens *title = list->titles[index];
    for (int i = 0; i < list->form->part_count; i++) {
        switch (list->form->kinds[i]) {
        case PROMPT_PART_TEXT: append_piece(prompt, &list->form->texts[i]); break;
        case PROMPT_PART_TITLE: append_ids(prompt, title->ids, title->count); break;
        case PROMPT_PART_TOKEN:
            if (!list->tokens) { break; }
            prompt->item_rows[prompt->item_count] = prompt->count;
            prompt->items[prompt->item_count++] = list->items[index];
            append_ids(prompt, &placeholder, 1);
            break;
        case PROMPT_PART_HISTORY:
        case PROMPT_PART_CANDIDATES: break; /* never in an item */
        }
    }
}

static void append_list(const struct prompt_list *list, int first, int32_t placeholder,
                        struct prompt *prompt) {
    bool later = false;
    for (int i = first; i < list->count; i++) {
        if (item_is_silent(list, list->titles[i])) { continue; }
        if (later) { append_piece(prompt, list->separator); }
        append_item(list, i, placeholder, prompt);
        later = true;
    }
}

/* Index of the oldest item that still fits when all newer ones are written. */
static int first_that_fits(const struct prompt_list *list, int items_max, int room) {
    int first = list->count;
    int written = 0;
    for (int i = list->count - 1; i >= 0 && written < items_max; i--) {
        if (item_is_silent(list, list->titles[i])) { continue; }
        int needed = item_tokens_count(list, list->titles[i]);
        if (written > 0) { needed += list->separator->count; }
        if (needed > room) { break; }
        room -= needed;
        written++;
        first = i;
    }
    return first;
}

/* Writes the prompt around both lists; candidates NULL for a template without. candidate_tokens is
 * their size with separators. */
static enum status build(const struct prompt_template *template, const struct prompt_list *history,
                         const struct prompt_list *candidates, int candidate_tokens, int tokens_max,
                         struct prompt *ret_prompt, struct error *err) {
    int fixed = template->before.count + template->after.count;
    int items_max = PROMPT_ITEMS_MAX;
    if (candidates != NULL) {
        fixed += template->between.count + candidate_tokens;
        items_max -= candidates->count;
    }
    int first = first_that_fits(history, items_max, tokens_max - fixed);
    bool empty = first == history->count;
    if (fixed + (empty ? template->empty.count : 0) > tokens_max) {
        return error_set(err, STATUS_LIMIT, "an empty prompt%s has %d tokens, more than %d",
                         candidates != NULL ? " with its candidates" : "",
                         fixed + template->empty.count, tokens_max);
    }
    ret_prompt->count = 0;
    ret_prompt->item_count = 0;
    append_piece(ret_prompt, &template->before);
    if (empty) { append_piece(ret_prompt, &template->empty); }
    append_list(history, first, template->placeholder, ret_prompt);
    if (candidates != NULL) {
        append_piece(ret_prompt, &template->between);
        append_list(candidates, 0, template->placeholder, ret_prompt);
    }
    append_piece(ret_prompt, &template->after);
    return STATUS_OK;
}

enum status prompt_build(const struct prompt_template *template, const uint32_t *items,
                         const struct title_tokens *const *titles, int count, int tokens_max,
                         struct prompt *ret_prompt, struct error *err) {
    assert(template != NULL && count >= 0);
    assert(tokens_max > 0 && tokens_max <= PROMPT_TOKENS_MAX);

    if (template->has_candidates) {
        return error_set(err, STATUS_CONFIG,
                         "the prompt shows candidates, which exact mode alone "
                         "has: expected a template without {candidates}");
    }
    struct prompt_list history = {
        &template->item, &template->separator, items, titles, count, true};
    return build(template, &history, NULL, 0, tokens_max, ret_prompt, err);
}

enum status prompt_build_exact(const struct prompt_template *template, const uint32_t *items,
                               const struct title_tokens *const *titles, int count,
                               const uint32_t *candidates,
                               const struct title_tokens *const *candidate_titles,
                               int candidate_count, bool hybrid, int tokens_max,
                               struct prompt *ret_prompt, struct error *err) {
    assert(template != NULL && count >= 0 && candidate_count >= 1);
    assert(tokens_max > 0 && tokens_max <= PROMPT_TOKENS_MAX);

    if (!template->has_candidates) {
        return error_set(err, STATUS_CONFIG,
                         "the prompt shows no candidates: expected a template with {candidates}");
    }
    if (candidate_count > PROMPT_ITEMS_MAX) {
        return error_set(err, STATUS_LIMIT, "%d candidates, more than %d items of a prompt",
                         candidate_count, PROMPT_ITEMS_MAX);
    }
    struct prompt_list history = {&template->item, &template->separator, items, titles, count,
                                  hybrid};
    struct prompt_list shown = {&template->candidate, &template->candidate_separator,
                                candidates,           candidate_titles,
                                candidate_count,      hybrid};
    int tokens = 0;
    for (int i = 0; i < candidate_count; i++) {
        if (item_is_silent(&shown, candidate_titles[i])) {
            return error_set(err, STATUS_MALFORMED, "candidate %d (item %u) has no title", i + 1,
                             candidates[i]);
        }
        tokens += item_tokens_count(&shown, candidate_titles[i]);
        if (i > 0) { tokens += template->candidate_separator.count; }
    }
    return build(template, &history, &shown, tokens, tokens_max, ret_prompt, err);
}
