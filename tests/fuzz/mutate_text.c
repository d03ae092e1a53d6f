/* SPDX-License-Identifier: Apache-2.0
 *
 * mutate_text.c - libFuzzer's mutator for targets whose input is a JSON text.
 */
#include "tests/fuzz/mutate_json.h"

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t size_max, unsigned int seed) {
    if (seed % 2 == 0) { return LLVMFuzzerMutate(data, size, size_max); }
    return mutate_json(data, size, size_max, seed);
}
