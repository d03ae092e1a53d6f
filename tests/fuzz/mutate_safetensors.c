/* SPDX-License-Identifier: Apache-2.0
 *
 * mutate_safetensors.c - libFuzzer's mutator for a JSON header behind its size, in front of data.
 *
 * Every other change is made inside the header, and its size follows; the others to any bytes.
 * Sometimes the data is cut or grown. */
#include "tests/fuzz/mutate_json.h"

#include <string.h>

#include "base/bytes.h"
#include "base/rng.h"

#define TEXT_MAX 8192u

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t size_max, unsigned int seed) {
    uint64_t header = size >= 8 ? get_u64le(data) : UINT64_MAX;
    if (seed % 2 == 0 || size < 10 || header > size - 8 || header > TEXT_MAX / 2) {
        return LLVMFuzzerMutate(data, size, size_max);
    }
    uint8_t text[TEXT_MAX];
    struct rng rng = rng_make(seed, 11);
    size_t behind = size - 8 - (size_t)header;
    memcpy(text, data + 8, (size_t)header);
    size_t count = mutate_json(text, (size_t)header, TEXT_MAX, seed);
    if (rng_below(&rng, 4) == 0) { behind = (size_t)rng_below(&rng, 64); }
    if (count < 2 || 8 + count + behind > size_max) { return size; }

    size_t kept = size - 8 - (size_t)header < behind ? size - 8 - (size_t)header : behind;
    memmove(data + 8 + count, data + 8 + header, kept);
    memset(data + 8 + count + kept, 0, behind - kept);
    memcpy(data + 8, text, count);
    put_u64le(data, count);
    return 8 + count + behind;
}
