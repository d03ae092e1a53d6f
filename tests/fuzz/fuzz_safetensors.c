/* SPDX-License-Identifier: Apache-2.0
 *
 * fuzz_safetensors.c - any bytes as a safetensors file: refused, or every tensor readable.
 */
#include "tests/fuzz/fuzz.h"

#include <assert.h>

#include "model/safetensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct error err;
    struct safetensors *file = NULL;
    volatile uint8_t sum = 0; /* so that the reads happen */
    if (safetensors_open_bytes(span_make(data, size), &file, &err) != STATUS_OK) { return 0; }
    for (int i = 0; i < safetensors_count(file); i++) {
        const struct safetensors_entry *entry = safetensors_at(file, i);
        const uint8_t *bytes = entry->data;
        assert(safetensors_find(file, entry->name) == entry);
        if (entry->bytes > 0) { sum = (uint8_t)(sum + bytes[0] + bytes[entry->bytes - 1]); }
    }
    safetensors_close(file);
    return 0;
}
