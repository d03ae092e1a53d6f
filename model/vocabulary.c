/* SPDX-License-Identifier: Apache-2.0
 *
 * vocabulary.c - a hash table over the token texts, filled once and then only read.
 */
#include "model/vocabulary.h"

#include <assert.h>

#include "base/hash.h"
#include "base/memory.h"

/* Text is taken in blocks: of the size that this many tokens of eight bytes need, within these. */
#define TEXT_BLOCK_MIN 1024u
#define TEXT_BLOCK_MAX (256u * 1024u)

enum status vocabulary_init(struct vocabulary *vocabulary, int size, struct error *err) {
    assert(vocabulary != NULL);
    assert(size > 0 && size <= VOCABULARY_TOKENS_MAX);

    *vocabulary = (struct vocabulary){.size = size, .slot_count = 16};
    while (vocabulary->slot_count < 2 * (size_t)size) {
        vocabulary->slot_count *= 2;
    }
    size_t block = 8 * (size_t)size;
    block = block < TEXT_BLOCK_MIN   ? TEXT_BLOCK_MIN
            : block > TEXT_BLOCK_MAX ? TEXT_BLOCK_MAX
                                     : block;
    enum status status = arena_init_chained(&vocabulary->text, block, err);
    if (status != STATUS_OK) { return status; }
    vocabulary->text.alignment = 1; /* text only */
    vocabulary->tokens = MEMORY_TAKE_ARRAY(struct span, size);
    vocabulary->slots = memory_take(vocabulary->slot_count * sizeof *vocabulary->slots);
    if (vocabulary->tokens == NULL || vocabulary->slots == NULL) {
        vocabulary_free(vocabulary);
        return error_set(err, STATUS_NO_MEMORY, "vocabulary of %d tokens", size);
    }
    memset(vocabulary->slots, 0xff, vocabulary->slot_count * sizeof *vocabulary->slots); /* -1 */
    return STATUS_OK;
}

void vocabulary_free(struct vocabulary *vocabulary) {
    arena_free(&vocabulary->text);
    memory_free(vocabulary->tokens);
    memory_free(vocabulary->slots);
    *vocabulary = (struct vocabulary){0};
}

/* The slot that holds text, or the empty one where it would go. */
static size_t slot_of(const struct vocabulary *vocabulary, struct span text) {
    size_t mask = vocabulary->slot_count - 1;
    size_t slot = (size_t)hash64(text, 0) & mask;
    while (vocabulary->slots[slot] >= 0 &&
           !span_equal(vocabulary->tokens[vocabulary->slots[slot]], text)) {
        slot = (slot + 1) & mask;
    }
    return slot;
}

enum status vocabulary_add(struct vocabulary *vocabulary, struct span text, int32_t id,
                           struct error *err) {
    if (id < 0 || id >= vocabulary->size || vocabulary->tokens[id].data != NULL) {
        return error_set(err, STATUS_MALFORMED, "token id %d is %s", id,
                         id < 0 || id >= vocabulary->size ? "out of range" : "there twice");
    }
    if (text.size == 0 || text.size > TOKEN_BYTES_MAX) {
        return error_set(err, STATUS_MALFORMED, "token %d has %zu bytes, expected 1 to %u", id,
                         text.size, TOKEN_BYTES_MAX);
    }
    size_t slot = slot_of(vocabulary, text);
    if (vocabulary->slots[slot] >= 0) {
        return error_set(err, STATUS_MALFORMED, "tokens %d and %d have the same text",
                         vocabulary->slots[slot], id);
    }
    char *copy = arena_take_copy(&vocabulary->text, text.data, text.size);
    if (copy == NULL) { return error_set(err, STATUS_NO_MEMORY, "text of token %d", id); }
    vocabulary->tokens[id] = span_make(copy, text.size);
    vocabulary->slots[slot] = id;
    if (text.size > vocabulary->longest) { vocabulary->longest = text.size; }
    return STATUS_OK;
}

int32_t vocabulary_find(const struct vocabulary *vocabulary, struct span text) {
    if (text.size == 0 || text.size > vocabulary->longest) { return -1; }
    return vocabulary->slots[slot_of(vocabulary, text)];
}

/* Bytes that stand for themselves: printable ASCII, and Latin-1 without the soft hyphen. The others
 * are 0x00-0x20 (33 of them), 0x7f-0xa0 (34) and 0xad, numbered in this order from U+0100. */
static bool is_own_character(unsigned byte) {
    return (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
}

static unsigned character_of_byte(unsigned byte) {
    if (is_own_character(byte)) { return byte; }
    if (byte <= 0x20) { return 0x100 + byte; }
    return byte == 0xad ? 0x100 + 67 : 0x100 + 33 + byte - 0x7f;
}

size_t alphabet_of_byte(uint8_t byte, uint8_t ret_utf8[2]) {
    unsigned character = character_of_byte(byte);
    if (character < 0x80) {
        ret_utf8[0] = (uint8_t)character;
        return 1;
    }
    ret_utf8[0] = (uint8_t)(0xc0 | character >> 6);
    ret_utf8[1] = (uint8_t)(0x80 | (character & 0x3f));
    return 2;
}

/* The byte behind a character of the alphabet; -1 when it is not one of it. */
static int byte_of_character(unsigned character) {
    if (character < 0x100) { return is_own_character(character) ? (int)character : -1; }
    unsigned rank = character - 0x100;
    if (rank < 33) { return (int)rank; }
    if (rank < 67) { return (int)(rank - 33 + 0x7f); }
    return rank == 67 ? 0xad : -1;
}

enum status alphabet_decode(struct span text, struct buffer *out) {
    for (size_t i = 0; i < text.size;) {
        const uint8_t *p = text.data + i;
        size_t size = 1;
        int byte = byte_of_character(p[0]);
        if (p[0] >= 0xc0 && p[0] < 0xe0 && i + 1 < text.size) {
            size = 2;
            byte = byte_of_character((unsigned)(p[0] & 0x1f) << 6 | (p[1] & 0x3f));
        } else if (p[0] >= 0x80) {
            byte = -1; /* three or four bytes: not in the alphabet, byte by byte */
        }
        uint8_t decoded = (uint8_t)byte;
        enum status status =
            byte >= 0 ? buffer_append(out, &decoded, 1) : buffer_append(out, p, size);
        if (status != STATUS_OK) { return status; }
        i += size;
    }
    return STATUS_OK;
}
