/* SPDX-License-Identifier: Apache-2.0
 *
 * prompt_parse.h - the text of a template file, cut into its parts; inside model/.
 */
#ifndef MODEL_PROMPT_PARSE_H
#define MODEL_PROMPT_PARSE_H

#include "base/bytes.h"
#include "base/status.h"

#define PROMPT_FILE_BYTES_MAX 65536u
#define PROMPT_TEXT_BYTES_MAX 4096u /* of one section */

/* The sections of one template. A section that is absent has data NULL. */
enum prompt_section {
    PROMPT_BODY,                /* [name] */
    PROMPT_ITEM,                /* [name.item] */
    PROMPT_SEPARATOR,           /* [name.separator] */
    PROMPT_CANDIDATE,           /* [name.candidate] */
    PROMPT_CANDIDATE_SEPARATOR, /* [name.candidate_separator] */
    PROMPT_EMPTY,               /* [name.empty] */
    PROMPT_END,                 /* [name.end] */
};
#define PROMPT_SECTION_COUNT 7

/* What a section's text consists of, in order. */
enum prompt_part_kind {
    PROMPT_PART_TEXT,
    PROMPT_PART_HISTORY,
    PROMPT_PART_CANDIDATES,
    PROMPT_PART_TITLE,
    PROMPT_PART_TOKEN
};
#define PROMPT_PARTS_MAX 8

struct prompt_part {
    enum prompt_part_kind kind;
    size_t begin, end; /* TEXT: bytes of text[] */
};

struct prompt_text {
    bool found;
    int line; /* of the section's header, for errors */
    struct prompt_part parts[PROMPT_PARTS_MAX];
    int part_count;
    char text[PROMPT_TEXT_BYTES_MAX]; /* escapes resolved */
    size_t text_size;                 /* bytes */
};

/* Cuts file into the sections of the template `name`. CONFIG with the line and what is wrong there:
 * unknown section or placeholder, a section twice, body without {history}, item without
 * {title}, {candidates} in front of {history} or without its sections... */
MUST_CHECK enum status prompt_parse(struct span file, const char *name,
                                    struct prompt_text ret_sections[PROMPT_SECTION_COUNT],
                                    struct error *err);

extern const char prompt_default_text[]; /* ops/prompts.txt */

#endif
