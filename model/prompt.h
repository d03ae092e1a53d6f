/* SPDX-License-Identifier: Apache-2.0
 *
 * prompt.h - a user's history as tokens, by a template from a file.
 *
 * Template file (ops/prompts.txt explains and is also compiled in): sections [NAME] with {history},
 * [NAME.item] with {title} and {item_token}, [NAME.separator], [NAME.empty], [NAME.end]. The item
 * token is a placeholder whose embedding the projector writes; without it the prompt is text
 * alone, and an item without a title is left out.
 *
 *   before ▸ item ▸ separator ▸ item ▸ ... ▸ after       each piece tokenised by itself, once
 *
 * Exact mode (iLoRA as published) also shows the candidates: {candidates} in [NAME] behind
 * {history}, and [NAME.candidate], [NAME.candidate_separator]. Its prompts are "exact_1" to
 * "exact_3", each built hybrid (with item tokens) or as text alone; all tokenise titles alike, so
 * one struct title_tokens an item serves the three.
 *
 *   before ▸ items ▸ between ▸ candidates ▸ after ▸ answer: prompt_candidate(title)
 *
 * Title token ids are cached by item (the cache is dropped when the title changes), so building a
 * prompt in steady state is copying ids.
 */
#ifndef MODEL_PROMPT_H
#define MODEL_PROMPT_H

#include <stdint.h>

#include "base/bytes.h"
#include "base/status.h"
#include "model/tokenizer.h"

#define PROMPT_TOKENS_MAX 1024
#define PROMPT_ITEMS_MAX  64
#define TITLE_TOKENS_MAX  48 /* longer titles are cut */

#define PROMPT_EXACT_TEMPLATES 3 /* "exact_1", "exact_2", "exact_3": one is drawn a batch */

struct prompt_template; /* tokenised pieces */

struct prompt {
    int count; /* tokens */
    int32_t tokens[PROMPT_TOKENS_MAX];
    int item_count;                      /* placeholders written */
    int32_t item_rows[PROMPT_ITEMS_MAX]; /* token index of each item's placeholder */
    uint32_t items[PROMPT_ITEMS_MAX];    /* and the item it stands for */
};

/* The template "stream". path NULL: the compiled-in file. CONFIG names line and what is wrong. The
 * tokenizer must outlive the template. */
MUST_CHECK enum status prompt_template_open(const char *path, const struct tokenizer *tokenizer,
                                            struct prompt_template **ret_template,
                                            struct error *err);
/* The same for a template of another name ("stream_tokens": with item tokens). */
MUST_CHECK enum status prompt_template_open_named(const char *path, const char *name,
                                                  const struct tokenizer *tokenizer,
                                                  struct prompt_template **ret_template,
                                                  struct error *err);
void prompt_template_close(struct prompt_template *template);
/* True when the template writes item tokens. */
int prompt_template_has_item_tokens(const struct prompt_template *template);
/* True when the template shows candidates: for prompt_build_exact, and for it alone. */
int prompt_template_has_candidates(const struct prompt_template *template);

/* One item's title as ids, white space runs as one space; empty for an item without title (then
 * only its item token stands). */
struct title_tokens {
    int count;
    int32_t ids[TITLE_TOKENS_MAX];
};
MUST_CHECK enum status prompt_title_tokens(const struct prompt_template *template,
                                           struct span title, struct title_tokens *ret_tokens,
                                           struct error *err);

/* Builds the prompt of a history: items[i] with titles[i], oldest first. When it would exceed
 * tokens_max (<= PROMPT_TOKENS_MAX) or PROMPT_ITEMS_MAX the oldest items are left out; count 0
 * gives the empty history. LIMIT: not even the empty prompt fits. CONFIG: the template shows
 * candidates. */
MUST_CHECK enum status prompt_build(const struct prompt_template *template, const uint32_t *items,
                                    const struct title_tokens *const *titles, int count,
                                    int tokens_max, struct prompt *ret_prompt, struct error *err);
/* The prompt of exact mode: a history as above, then candidates[i] with candidate_titles[i] in the
 * order given. hybrid: item tokens are written behind titles of both; otherwise they are left out
 * and item_count is 0 (the curriculum's text-only prompt; both have the same text). When it would
 * be too long the oldest items of the history are left out, candidates never. In ret_prompt the
 * history's placeholders come first. The prompt ends where prompt_candidate's tokens begin.
 * LIMIT: the candidates with an empty history do not fit tokens_max or PROMPT_ITEMS_MAX.
 * MALFORMED: a candidate without title in a text-only prompt. CONFIG: no {candidates} here. */
MUST_CHECK enum status prompt_build_exact(const struct prompt_template *template,
                                          const uint32_t *items,
                                          const struct title_tokens *const *titles, int count,
                                          const uint32_t *candidates,
                                          const struct title_tokens *const *candidate_titles,
                                          int candidate_count, bool hybrid, int tokens_max,
                                          struct prompt *ret_prompt, struct error *err);
/* Whether generated text names this title: both without white space (and control characters) at
 * the ends, runs of it as one space, then byte for byte: case counts. The text ends before the
 * "\n" that ended generation. Titles are cut for prompts (512 bytes, TITLE_TOKENS_MAX), so a title
 * beyond that can never be named. */
bool prompt_title_same(struct span generated, struct span title);
/* The tokens of a candidate after the prompt (title head): title, cut where needed, and end ("\n");
 * count >= 1. LIMIT when the end alone does not fit. */
MUST_CHECK enum status prompt_candidate(const struct prompt_template *template,
                                        const struct title_tokens *title,
                                        struct title_tokens *ret_tokens, struct error *err);

#endif
