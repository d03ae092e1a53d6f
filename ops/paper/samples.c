/* SPDX-License-Identifier: Apache-2.0
 *
 * samples.c - tokenises titles, builds prompts. */
#include "ops/paper/samples.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"

/* ---- texts ----------------------------------------------------------------------------------- */

static enum status open_templates(struct paper_texts *texts, const char *prompts,
                                  struct error *err) {
    for (int t = 0; t < PROMPT_EXACT_TEMPLATES; t++) {
        char name[32];
        (void)snprintf(name, sizeof name, "exact_%d", t + 1);
        enum status status =
            prompt_template_open_named(prompts, name, texts->tokenizer, &texts->templates[t], err);
        if (status != STATUS_OK) { return status; }
    }
    return STATUS_OK;
}

static enum status tokenise_titles(struct paper_texts *texts, struct error *err) {
    size_t count = (size_t)texts->split->item_count;
    texts->titles = MEMORY_TAKE_ARRAY(struct title_tokens, count);
    texts->answers = MEMORY_TAKE_ARRAY(struct title_tokens, count);
    if (texts->titles == NULL || texts->answers == NULL) {
        return error_set(err, STATUS_NO_MEMORY, "titles of %zu items", count);
    }
    for (size_t i = 0; i < count; i++) {
        struct span title = texts->split->items[i].title;
        enum status status =
            prompt_title_tokens(texts->templates[0], title, &texts->titles[i], err);
        if (status == STATUS_OK) {
            status =
                prompt_candidate(texts->templates[0], &texts->titles[i], &texts->answers[i], err);
        }
        if (status != STATUS_OK) { return error_wrap(err, "title '%.*s'", SPAN_ARG(title)); }
    }
    return STATUS_OK;
}

static enum status find_stop_ids(struct paper_texts *texts, int32_t eos, struct error *err) {
    int V = tokenizer_size(texts->tokenizer);
    struct buffer piece = {0};
    enum status status = STATUS_OK;
    texts->stop_ids = MEMORY_TAKE_ARRAY(int32_t, V + 1);
    if (texts->stop_ids == NULL) { return error_set(err, STATUS_NO_MEMORY, "stop tokens"); }
    if (eos >= 0) { texts->stop_ids[texts->stop_count++] = eos; }
    for (int32_t id = 0; id < V && status == STATUS_OK; id++) {
        buffer_reset(&piece);
        if (tokenizer_piece(texts->tokenizer, id, &piece) != STATUS_OK) { continue; } /* a hole */
        bool newline = piece.size > 0 && memchr(piece.data, '\n', piece.size) != NULL;
        if (newline && id != eos) { texts->stop_ids[texts->stop_count++] = id; }
    }
    buffer_free(&piece);
    return status;
}

enum status paper_texts_open(const struct paper_split *split, const struct tokenizer *tokenizer,
                             const char *prompts, int32_t eos, struct paper_texts *ret_texts,
                             struct error *err) {
    struct paper_texts texts = {.split = split, .tokenizer = tokenizer};
    enum status status = open_templates(&texts, prompts, err);
    if (status == STATUS_OK) { status = tokenise_titles(&texts, err); }
    if (status == STATUS_OK) { status = find_stop_ids(&texts, eos, err); }
    if (status != STATUS_OK) {
        paper_texts_close(&texts);
        return status;
    }
    *ret_texts = texts;
    return STATUS_OK;
}

void paper_texts_close(struct paper_texts *texts) {
    for (int t = 0; t < PROMPT_EXACT_TEMPLATES; t++) {
        if (texts->templates[t] != NULL) { prompt_template_close(texts->templates[t]); }
    }
    memory_free(texts->titles);
    memory_free(texts->answers);
    memory_free(texts->stop_ids);
    memset(texts, 0, sizeof *texts);
}

/* ---- batch ----------------------------------------------------------------------------------- */

enum status paper_batch_init(struct paper_batch *batch, int capacity, bool listed,
                             struct error *err) {
    size_t n = (size_t)capacity;
    *batch = (struct paper_batch){.capacity = capacity};
    batch->sources = MEMORY_TAKE_ARRAY(const struct paper_sample *, n);
    batch->lists = MEMORY_TAKE_ARRAY(struct paper_candidates, n);
    batch->prompts = MEMORY_TAKE_ARRAY(struct prompt, n);
    batch->states = MEMORY_TAKE_ARRAY(float, n *PAPER_SASREC_WIDTH);
    batch->samples = MEMORY_TAKE_ARRAY(struct lm_sample, n);
    if (listed) {
        batch->candidates = MEMORY_TAKE_ARRAY(struct title_tokens, n * PAPER_CANDIDATES);
    }
    bool taken = batch->sources != NULL && batch->lists != NULL && batch->prompts != NULL &&
                 batch->states != NULL && batch->samples != NULL &&
                 (!listed || batch->candidates != NULL);
    if (!taken) {
        paper_batch_free(batch);
        return error_set(err, STATUS_NO_MEMORY, "batch of %d samples", capacity);
    }
    return STATUS_OK;
}

void paper_batch_free(struct paper_batch *batch) {
    memory_free(batch->sources);
    memory_free(batch->lists);
    memory_free(batch->prompts);
    memory_free(batch->candidates);
    memory_free(batch->states);
    memory_free(batch->samples);
    *batch = (struct paper_batch){0};
}

static enum status build_prompt(const struct paper_texts *texts, const struct paper_sample *sample,
                                const struct paper_candidates *list,
                                const struct paper_showing *how, struct prompt *ret_prompt,
                                struct error *err) {
    const struct title_tokens *history[PAPER_HISTORY_MAX], *candidates[PAPER_CANDIDATES];
    for (int i = 0; i < sample->count; i++) {
        history[i] = &texts->titles[sample->history[i]];
    }
    for (int c = 0; c < PAPER_CANDIDATES; c++) {
        candidates[c] = &texts->titles[list->items[c]];
    }
    enum status status = prompt_build_exact(
        texts->templates[how->template], sample->history, history, sample->count, list->items,
        candidates, PAPER_CANDIDATES, how->hybrid, PROMPT_TOKENS_MAX, ret_prompt, err);
    if (status == STATUS_OK) { return status; }
    struct span title = texts->split->items[sample->target].title;
    return error_wrap(err, "prompt of the sample with target '%.*s'", SPAN_ARG(title));
}

enum status paper_batch_add(struct paper_batch *batch, const struct paper_texts *texts,
                            const struct paper_sample *sample, const struct paper_showing *how,
                            struct error *err) {
    assert(batch->count < batch->capacity);
    assert(!how->listed || batch->candidates != NULL);
    int at = batch->count;
    struct paper_candidates *list = &batch->lists[at];
    enum status status = paper_candidates_draw(texts->split, how->seed, sample, list, err);
    if (status != STATUS_OK) { return status; }
    status = build_prompt(texts, sample, list, how, &batch->prompts[at], err);
    if (status != STATUS_OK) { return status; }

    const struct title_tokens *candidates = &texts->answers[sample->target];
    if (how->listed) {
        struct title_tokens *all = batch->candidates + (size_t)at * PAPER_CANDIDATES;
        for (int c = 0; c < PAPER_CANDIDATES; c++) {
            all[c] = texts->answers[list->items[c]];
        }
        candidates = all;
    }
    batch->sources[at] = sample;
    batch->samples[at] =
        (struct lm_sample){.prompt = &batch->prompts[at],
                           .gate_input = batch->states + (size_t)at * PAPER_SASREC_WIDTH,
                           .target = sample->target,
                           .weight = (float)texts->answers[sample->target].count,
                           .candidates = candidates,
                           .candidate_count = how->listed ? PAPER_CANDIDATES : 1};
    batch->count++;
    return STATUS_OK;
}

enum status paper_batch_finish(struct paper_batch *batch, struct paper_sasrec *sasrec,
                               struct error *err) {
    return paper_sasrec_states(sasrec, batch->sources, batch->count, batch->states, err);
}
