/* SPDX-License-Identifier: Apache-2.0
 *
 * arena.h - memory by lifetime: take many pieces, give all back at once.
 *
 *   base ┌────────────┬───────────┬─────────────────────┐ base+capacity
 *        │ piece      │ piece     │ free                │
 *        └────────────┴───────────┴─────────────────────┘
 *                                  ^ used                   high-water mark: used_max
 *
 * A fixed arena never grows: a take beyond capacity returns NULL (the caller says LIMIT or
 * NO_MEMORY). The same code sub-allocates device slabs: then base is a device pointer, which is
 * never read or written here. A chained arena adds blocks (for start-up and per-batch text).
 */
#ifndef BASE_ARENA_H
#define BASE_ARENA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

struct arena_block;

struct arena {
    uint8_t *base;            /* first byte; device memory allowed */
    size_t capacity;          /* bytes of the current block */
    size_t used;              /* bytes; used <= capacity */
    size_t used_max;          /* bytes over all blocks, high-water mark */
    size_t alignment;         /* bytes, a power of two: 64 host, 256 device */
    bool owned;               /* base was allocated by arena_init */
    bool chained;             /* grows by blocks */
    struct arena_block *full; /* chained: earlier blocks */
    size_t full_used;         /* chained: bytes used in them */
};

/* A mark to return to: arena_mark / arena_release give back everything taken since. Fixed only. */
typedef size_t arena_mark_t;

/* Host arena of fixed capacity; memory is allocated and zeroed now. */
MUST_CHECK enum status arena_init(struct arena *arena, size_t capacity, struct error *err);
/* Host arena that adds blocks of at least block_bytes. */
MUST_CHECK enum status arena_init_chained(struct arena *arena, size_t block_bytes,
                                          struct error *err);
/* Sub-allocates memory somebody else owns (a device slab). */
void arena_init_over(struct arena *arena, void *base, size_t capacity, size_t alignment);
void arena_free(struct arena *arena);

/* Uninitialised piece, aligned; NULL when it does not fit. size 0 gives a valid pointer. */
void *arena_take(struct arena *arena, size_t size);
/* Zeroed piece. Host arenas only. */
void *arena_take_zeroed(struct arena *arena, size_t size);
/* Copies size bytes and adds a NUL. */
char *arena_take_copy(struct arena *arena, const void *data, size_t size);
#define ARENA_TAKE_ARRAY(arena, type, count) \
    ((type *)arena_take_array((arena), (size_t)(count), sizeof(type)))
/* NULL also when count*size overflows. */
void *arena_take_array(struct arena *arena, size_t count, size_t size);

void arena_reset(struct arena *arena);
arena_mark_t arena_mark(const struct arena *arena);
void arena_release(struct arena *arena, arena_mark_t mark);

#endif
