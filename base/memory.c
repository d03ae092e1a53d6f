/* SPDX-License-Identifier: Apache-2.0
 *
 * memory.c - malloc and its relatives behind the fault counter.
 */
#include "base/memory.h"

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/fault.h"

void *memory_take(size_t size) {
    if (fault_fires(FAULT_MEMORY)) { return NULL; }
    return malloc(size > 0 ? size : 1);
}

void *memory_take_zeroed(size_t count, size_t size) {
    if (fault_fires(FAULT_MEMORY)) { return NULL; }
    if (count == 0 || size == 0) { return calloc(1, 1); }
    if (count > SIZE_MAX / size) { return NULL; } /* calloc checks too; sanitizers abort there */
    return calloc(count, size);
}

void *memory_take_aligned(size_t alignment, size_t size) {
    assert(alignment >= sizeof(void *));
    assert((alignment & (alignment - 1)) == 0);

    if (fault_fires(FAULT_MEMORY)) { return NULL; }
    if (size > SIZE_MAX - alignment) { return NULL; }

    size_t rounded = (size + alignment - 1) & ~(alignment - 1);
    return aligned_alloc(alignment, rounded > 0 ? rounded : alignment);
}

char *memory_take_copy(const void *data, size_t size) {
    if (size == SIZE_MAX) { return NULL; }

    char *copy = memory_take(size + 1);
    if (copy == NULL) { return NULL; }
    if (size > 0) { memcpy(copy, data, size); }
    copy[size] = '\0';
    return copy;
}

void *memory_resize(void *old, size_t size) {
    assert(size > 0);

    if (fault_fires(FAULT_MEMORY)) { return NULL; }
    return realloc(old, size);
}

void memory_free(void *memory) {
    free(memory);
}
