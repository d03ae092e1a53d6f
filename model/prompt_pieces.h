/* SPDX-License-Identifier: Apache-2.0
 *
 * prompt_pieces.h - a template as tokenised pieces; inside model/.
 */
#ifndef MODEL_PROMPT_PIECES_H
#define MODEL_PROMPT_PIECES_H

#include "model/prompt.h"
#include "model/prompt_parse.h"

#define PIECE_TOKENS_MAX 512

/* Tokens of a stretch of fixed text. */
struct prompt_piece {
    int count;
    int32_t ids[PIECE_TOKENS_MAX];
};

/* An item is up to three texts around its title and its token, in the file's order. */
struct prompt_item_form {
    enum prompt_part_kind kinds[PROMPT_PARTS_MAX];
    struct prompt_piece texts[PROMPT_PARTS_MAX]; /* of kinds that are TEXT */
    int part_count;
    bool has_token;
};

struct prompt_template {
    const struct tokenizer *tokenizer; /* borrows: until prompt_template_close */
    struct prompt_piece before;        /* {history} */
    struct prompt_piece between;       /* {history} and {candidates} */
    struct prompt_piece after;         /* the last of them */
    struct prompt_piece separator, candidate_separator, empty, end;
    struct prompt_item_form item, candidate;
    bool has_candidates;
    bool title_space;    /* titles are tokenised with a space in front */
    int32_t placeholder; /* id whose embedding is overwritten */
};

#endif
