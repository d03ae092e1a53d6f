/* SPDX-License-Identifier: Apache-2.0
 *
 * text_steps.h - what happens to a text between raw bytes and words: normalising, then splitting.
 *
 *   "Ａ1 b" ──NORMAL_FORM──▶ "A1 b" ──SPLIT \p{N}──▶ "A" "1" " b" ──SPLIT
 * pattern──▶ words
 *
 * A tokenizer is a list of such steps. Each takes the pieces left by the one before; a step either
 * cuts pieces or rewrites their text. Hugging Face's named normalisers and pre-tokenizers are made
 * of these four kinds. pcre2 and utf8proc stay inside.
 */
#ifndef MODEL_TEXT_STEPS_H
#define MODEL_TEXT_STEPS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/status.h"

#define TEXT_STEPS_MAX         16
#define TEXT_STEP_STRING_MAX   64u /* bytes of a replacement or prefix */
#define TEXT_PATTERN_BYTES_MAX 8192u

enum text_step_kind { TEXT_NORMAL_FORM, TEXT_REPLACE, TEXT_PREPEND, TEXT_SPLIT };
enum text_normal_form { TEXT_NFC, TEXT_NFD, TEXT_NFKC, TEXT_NFKD };

/* What becomes of a match (the "delimiter") when a piece is cut at it. */
enum text_split_behaviour {
    TEXT_ISOLATED, /* a piece of its own */
    TEXT_REMOVED,
    TEXT_MERGED_WITH_PREVIOUS, /* joins the piece in front */
    TEXT_MERGED_WITH_NEXT,
    TEXT_CONTIGUOUS, /* neighbouring matches are one piece */
};

struct text_pattern; /* hides pcre2's code */

struct text_step {
    enum text_step_kind kind;
    enum text_normal_form form;           /* NORMAL_FORM */
    struct text_pattern *pattern;         /* owns; SPLIT, REPLACE */
    enum text_split_behaviour behaviour;  /* SPLIT */
    bool invert;                          /* SPLIT: what does not match is the delimiter */
    uint8_t string[TEXT_STEP_STRING_MAX]; /* REPLACE: the new text; PREPEND: the prefix */
    size_t string_size;                   /* bytes */
    bool unless_there;                    /* PREPEND: not when the piece begins with it already */
    bool only_first;                      /* PREPEND: only to the piece the text begins with */
};

struct text_steps {
    struct text_step list[TEXT_STEPS_MAX];
    int count;
};

/* A cut-out of the text in hand. */
struct text_piece {
    size_t begin, end; /* bytes; begin < end */
    int32_t id;        /* an added token, passes through all steps; -1 = text */
    bool first;        /* the text begins here */
};

struct text_pieces {
    struct text_piece *list; /* owns */
    size_t count, capacity;
};

/* Pieces and text of one encoding; zero-initialised is valid. */
struct text_work {
    struct span text; /* what the pieces cut: the input, or one of the buffers */
    struct text_pieces pieces;
    struct text_pieces next;  /* being made by the running step */
    struct text_pieces cuts;  /* matches of one piece: id 1 = delimiter, 0 = between */
    struct buffer buffers[2]; /* rewritten text; one of them may be `text` */
    int buffer;               /* which one the next rewrite fills */
    struct text_match *match; /* owns; hides pcre2's match data */
    int32_t *points;          /* owns; code points of one piece */
    size_t point_capacity;
};
void text_work_free(struct text_work *work);
MUST_CHECK enum status text_pieces_add(struct text_pieces *pieces, struct text_piece piece);

/* Compiles a regular expression in Oniguruma's dialect as far as the published tokenizers use it:
 * \s, \S, \w mean Unicode's White_Space and word characters. literal: the text as it stands.
 * CONFIG says what does not compile or would mean something else here. */
MUST_CHECK enum status text_pattern_compile(struct span expression, bool literal,
                                            struct text_pattern **ret_pattern, struct error *err);
void text_pattern_free(struct text_pattern *pattern);

/* Appends a SPLIT step; takes: nothing. LIMIT, CONFIG as text_pattern_compile. */
MUST_CHECK enum status text_steps_add_split(struct text_steps *steps, struct span expression,
                                            bool literal, enum text_split_behaviour behaviour,
                                            bool invert, struct error *err);
MUST_CHECK enum status text_steps_add_replace(struct text_steps *steps, struct span expression,
                                              bool literal, struct span string, struct error *err);
MUST_CHECK enum status text_steps_add_prepend(struct text_steps *steps, struct span string,
                                              bool unless_there, bool only_first,
                                              struct error *err);
MUST_CHECK enum status text_steps_add_form(struct text_steps *steps, enum text_normal_form form,
                                           struct error *err);
void text_steps_free(struct text_steps *steps);

/* Runs all steps over the pieces in work. The text must be UTF-8. NO_MEMORY, LIMIT. */
MUST_CHECK enum status text_steps_run(const struct text_steps *steps, struct text_work *work,
                                      struct error *err);

/* Finds the next match of the pattern in text at or behind `from`; false when there is none. A
 * status other than OK: NO_MEMORY or LIMIT. Inside model/text_*.c only. */
MUST_CHECK enum status text_pattern_find(const struct text_pattern *pattern,
                                         struct text_match **match, struct span text, size_t from,
                                         bool *ret_found, size_t *ret_begin, size_t *ret_end,
                                         struct error *err);
void text_match_free(struct text_match *match);

/* Appends the piece, which is UTF-8, in a normal form, in time linear in its size. NO_MEMORY.
 * Inside model/text_*.c only. */
MUST_CHECK enum status text_form_append(enum text_normal_form form, struct text_work *work,
                                        struct span piece, struct buffer *out);

#endif
