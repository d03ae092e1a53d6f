/* SPDX-License-Identifier: Apache-2.0
 *
 * added_tokens.h - tokens that are recognised in the text itself, before any splitting.
 *
 * "<|im_end|>" written in a text is that token. Two rounds, as in `tokenizers`: tokens matched in
 * the raw text, then, in what is left and was normalised, those with the `normalised` flag.
 */
#ifndef MODEL_ADDED_TOKENS_H
#define MODEL_ADDED_TOKENS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/status.h"
#include "model/text_steps.h"

#define ADDED_TOKENS_MAX      65536
#define ADDED_TOKEN_BYTES_MAX 512u

struct added_token {
    struct span text;    /* owns, through added_tokens_add */
    struct span matched; /* what is looked for: text, or text normalised; owns */
    int32_t id;
    bool special;
    bool normalised;  /* looked for in the normalised text */
    bool single_word; /* not inside a word */
    bool strip_left;  /* takes the white space in front of it */
    bool strip_right; /* takes the white space behind it */
};

struct added_tokens {
    struct added_token *list; /* owns; after added_tokens_bind sorted */
    int count, capacity;
    int first[2][257]; /* by round and first byte: where its tokens begin in the list */
};

/* Copies the token's text. CONFIG: too many, or text too long. An empty text is left out. */
MUST_CHECK enum status added_tokens_add(struct added_tokens *added, struct added_token token,
                                        struct error *err);
/* Once, after the last add: normalises what needs it and sorts. */
MUST_CHECK enum status added_tokens_bind(struct added_tokens *added,
                                         const struct text_steps *normaliser, struct error *err);
void added_tokens_free(struct added_tokens *added);
/* NULL when no added token has this id. */
const struct added_token *added_tokens_find(const struct added_tokens *added, int32_t id);

/* Cuts the text pieces of work at the added tokens of one round (0 raw, 1 normalised). */
MUST_CHECK enum status added_tokens_cut(const struct added_tokens *added, int round,
                                        struct text_work *work, struct error *err);

#endif
