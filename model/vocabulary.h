/* SPDX-License-Identifier: Apache-2.0
 *
 * vocabulary.h - token text <-> id, and the alphabet that byte-level vocabularies are written in.
 *
 * A byte-level vocabulary writes each byte as one printable character: 188 bytes that are printable
 * in Latin-1 stand for themselves, the other 68 are U+0100, U+0101, ... in order of the byte
 * (GPT-2's bytes_to_unicode; Radford et al. 2019, released code).
 */
#ifndef MODEL_VOCABULARY_H
#define MODEL_VOCABULARY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/bytes.h"
#include "base/status.h"

#define VOCABULARY_TOKENS_MAX (1 << 22)
#define TOKEN_BYTES_MAX       4096u

struct vocabulary {
    struct arena text;   /* owns: the bytes of all tokens */
    struct span *tokens; /* owns; (size): text of each id, data NULL = no token has this id */
    int size;            /* ids are 0 .. size-1 */
    int32_t *slots;      /* owns; (slot_count): open addressing, -1 = empty */
    size_t slot_count;   /* a power of two, at least twice size */
    size_t longest;      /* bytes of the longest token */
};

/* An empty vocabulary with room for ids 0 .. size-1. */
MUST_CHECK enum status vocabulary_init(struct vocabulary *vocabulary, int size, struct error *err);
void vocabulary_free(struct vocabulary *vocabulary);

/* Copies the text. MALFORMED: id out of range or taken, text empty, too long or already there. */
MUST_CHECK enum status vocabulary_add(struct vocabulary *vocabulary, struct span text, int32_t id,
                                      struct error *err);
/* -1 when there is no such token. */
int32_t vocabulary_find(const struct vocabulary *vocabulary, struct span text);

/* The character of a byte, as UTF-8 of 1 or 2 bytes; returns how many. */
size_t alphabet_of_byte(uint8_t byte, uint8_t ret_utf8[2]);
/* Appends the bytes that text in the alphabet stands for; a character outside it stands for
 * itself. */
MUST_CHECK enum status alphabet_decode(struct span text, struct buffer *out);

#endif
