/* SPDX-License-Identifier: Apache-2.0
 *
 * mutate_json.c - finds the values of a JSON text and replaces, copies, moves or removes them.
 *
 * Why: of random bytes in a JSON text nine in ten only show that the parser refuses them. The walk
 * is lenient: on a text that is no JSON it finds what looks like values. */
#include "tests/fuzz/mutate_json.h"

#include <stdbool.h>
#include <string.h>

#include "base/rng.h"

#define VALUES_MAX 1024
#define DEPTH_MAX  80
#define PIECE_MAX  4096u

struct value {
    size_t begin, end; /* with quotes or brackets */
};

struct values {
    struct value list[VALUES_MAX];
    int count;
};

static const char *const interesting[] = {
    "0",
    "1",
    "-1",
    "2",
    "3",
    "127",
    "255",
    "65535",
    "2147483647",
    "2147483648",
    "1e999",
    "4294967295",
    "4294967296",
    "1e-40",
    "9223372036854775807",
    "-0.0",
    "1e18",
    "0.5",
    "null",
    "true",
    "false",
    "\"\"",
    "[]",
    "{}",
    "\"\\u0000\"",
    "[[[[]]]]",
    "\"\\ud83d\\ude00\"",
    "18446744073709551616",
};

size_t mutate_splice(uint8_t *text, size_t size, size_t size_max, size_t begin, size_t end,
                     const uint8_t *piece, size_t count) {
    uint8_t copy[PIECE_MAX];
    if (count > sizeof copy || size - (end - begin) + count > size_max) { return size; }
    memcpy(copy, piece, count);
    memmove(text + begin + count, text + end, size - end);
    memcpy(text + begin, copy, count);
    return size - (end - begin) + count;
}

static size_t string_end(const uint8_t *text, size_t size, size_t at) {
    for (at++; at < size; at++) {
        if (text[at] == '\\') {
            at++;
        } else if (text[at] == '"') {
            return at + 1;
        }
    }
    return size;
}

static bool is_word(uint8_t c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || c == '-' || c == '+' || c == '.' ||
           c == 'E';
}

static void value_add(struct values *values, size_t begin, size_t end) {
    if (values->count < VALUES_MAX) { values->list[values->count++] = (struct value){begin, end}; }
}

/* Strings (keys too), words, and the containers around them. */
static void values_find(const uint8_t *text, size_t size, struct values *values) {
    size_t open[DEPTH_MAX];
    int depth = 0;
    for (size_t at = 0; at < size;) {
        uint8_t c = text[at];
        size_t begin = at;
        if (c == '"') {
            at = string_end(text, size, at);
            value_add(values, begin, at);
            continue;
        }
        if (is_word(c)) {
            while (at < size && is_word(text[at])) {
                at++;
            }
            value_add(values, begin, at);
            continue;
        }
        if ((c == '{' || c == '[') && depth < DEPTH_MAX) { open[depth++] = at; }
        if ((c == '}' || c == ']') && depth > 0) { value_add(values, open[--depth], at + 1); }
        at++;
    }
}

/* The whole member or element around a value: from the key, with a comma behind. */
static struct value member_of(const uint8_t *text, size_t size, struct value value) {
    size_t end = value.end;
    if (end < size && text[end] == ':') { /* a key: its value too, up to the comma */
        int depth = 0;
        for (end++; end < size; end++) {
            uint8_t c = text[end];
            if (c == '"') { end = string_end(text, size, end) - 1; }
            if (c == '{' || c == '[') { depth++; }
            if ((c == '}' || c == ']') && --depth < 0) { break; }
            if (c == ',' && depth == 0) { break; }
        }
    }
    if (end < size && text[end] == ',') { end++; }
    return (struct value){value.begin, end};
}

size_t mutate_json(uint8_t *text, size_t size, size_t size_max, unsigned seed) {
    struct rng rng = rng_make(seed, 7);
    static struct values found; /* 16 KiB; libFuzzer has one thread */
    struct values *values = &found;
    values->count = 0;
    values_find(text, size, values);
    if (values->count == 0) { return LLVMFuzzerMutate(text, size, size_max); }
    struct value to = values->list[rng_below(&rng, (uint64_t)values->count)];
    struct value from = values->list[rng_below(&rng, (uint64_t)values->count)];
    switch (rng_below(&rng, 8)) {
    case 0: {
        const char *word = interesting[rng_below(&rng, sizeof interesting / sizeof *interesting)];
        return mutate_splice(text, size, size_max, to.begin, to.end, (const uint8_t *)word,
                             strlen(word));
    }
    case 1:
    case 2:
        return mutate_splice(text, size, size_max, to.begin, to.end, text + from.begin,
                             from.end - from.begin);
    case 3: {
        struct value member = member_of(text, size, to);
        return mutate_splice(text, size, size_max, member.begin, member.end, text, 0);
    }
    case 4: {
        struct value member = member_of(text, size, from);
        return mutate_splice(text, size, size_max, to.begin, to.begin, text + member.begin,
                             member.end - member.begin);
    }
    default: { /* libFuzzer's bytes and dictionary inside one value */
        uint8_t piece[PIECE_MAX];
        size_t count = to.end - to.begin;
        if (count == 0 || count > PIECE_MAX / 2) { return LLVMFuzzerMutate(text, size, size_max); }
        bool quoted = text[to.begin] == '"' && count >= 2;
        struct value inner = {to.begin + quoted, to.end - quoted};
        count = inner.end - inner.begin;
        memcpy(piece, text + inner.begin, count);
        count = LLVMFuzzerMutate(piece, count, PIECE_MAX / 2);
        return mutate_splice(text, size, size_max, inner.begin, inner.end, piece, count);
    }
    }
}
