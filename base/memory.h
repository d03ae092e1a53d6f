/* SPDX-License-Identifier: Apache-2.0
 *
 * memory.h - the one door to the heap.
 *
 * Every room allocates through these, so that a test can make the n-th allocation fail
 * (base/fault.h, FAULT_MEMORY) and see a clean NO_MEMORY. All return NULL on failure and never
 * abort; memory_free accepts NULL. Steady-state code takes from an arena instead.
 */
#ifndef BASE_MEMORY_H
#define BASE_MEMORY_H

#include <stddef.h>

/* Uninitialised; size 0 gives a valid pointer that must be freed. */
void *memory_take(size_t size);
/* count*size zeroed bytes; NULL also when the product overflows. */
void *memory_take_zeroed(size_t count, size_t size);
/* Uninitialised, aligned; alignment is a power of two >= sizeof(void *). */
void *memory_take_aligned(size_t alignment, size_t size);
/* Copies size bytes and adds a NUL. */
char *memory_take_copy(const void *data, size_t size);
/* As realloc: on failure NULL is returned and old stays valid. old may be NULL; size > 0. */
void *memory_resize(void *old, size_t size);
/* Gives back what any of the above returned. */
void memory_free(void *memory);

#define MEMORY_TAKE_ARRAY(type, count) ((type *)memory_take_zeroed((size_t)(count), sizeof(type)))

#endif
