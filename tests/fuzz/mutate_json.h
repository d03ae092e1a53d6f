/* SPDX-License-Identifier: Apache-2.0
 *
 * mutate_json.h - changes a JSON text value by value, so that a fuzzer gets past the parser.
 */
#ifndef TESTS_FUZZ_MUTATE_JSON_H
#define TESTS_FUZZ_MUTATE_JSON_H

#include <stddef.h>
#include <stdint.h>

/* Changes text[size] in place, at most to size_max bytes; the same seed makes the same change.
 * Returns the new size. */
size_t mutate_json(uint8_t *text, size_t size, size_t size_max, unsigned seed);

/* Replaces text[begin, end) by `count` bytes; returns the new size, or the old one when it would be
 * above size_max. piece may lie in text. */
size_t mutate_splice(uint8_t *text, size_t size, size_t size_max, size_t begin, size_t end,
                     const uint8_t *piece, size_t count);

/* libFuzzer's own mutation. */
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t size_max);
/* What libFuzzer calls when it is there. */
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t size_max, unsigned int seed);

#endif
