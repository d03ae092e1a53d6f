/* SPDX-License-Identifier: Apache-2.0
 *
 * arena.c - bump allocation over one fixed piece, or over a chain of blocks.
 *
 * A chained arena keeps its blocks in `full`, newest first; the newest full block is the one in
 * use, so `full_used` counts what lies in all blocks but that one. Reset keeps the newest block
 * and frees the others, so that an arena reset per batch settles on one block that is big enough.
 *
 *   full ─▸ [header|block in use] ─▸ [header|earlier block] ─▸ NULL
 *                   ^ base
 */
#include "base/arena.h"

#include <assert.h>
#include <string.h>

#include "base/memory.h"

#define ARENA_ALIGNMENT 64u /* a cache line, and an AVX-512 register */

struct arena_block {
    struct arena_block *next; /* owns: the earlier block */
    size_t capacity;          /* bytes that follow the header */
};

/* The header takes a whole alignment unit, so that the bytes after it are aligned. */
#define ARENA_HEADER_BYTES ARENA_ALIGNMENT
static_assert(sizeof(struct arena_block) <= ARENA_HEADER_BYTES, "header must fit its unit");

enum status arena_init(struct arena *arena, size_t capacity, struct error *err) {
    memset(arena, 0, sizeof *arena);
    void *base = memory_take_aligned(ARENA_ALIGNMENT, capacity);
    if (base == NULL) { return error_set(err, STATUS_NO_MEMORY, "arena of %zu bytes", capacity); }

    memset(base, 0, capacity);
    arena->base = base;
    arena->capacity = capacity;
    arena->alignment = ARENA_ALIGNMENT;
    arena->owned = true;
    return STATUS_OK;
}

/* Adds a block of at least `size` bytes and makes it the one in use. False: no memory. */
static bool arena_grow(struct arena *arena, size_t size) {
    if (size > SIZE_MAX - ARENA_HEADER_BYTES) { return false; }
    uint8_t *memory = memory_take_aligned(ARENA_ALIGNMENT, ARENA_HEADER_BYTES + size);
    if (memory == NULL) { return false; }

    struct arena_block *block = (struct arena_block *)(void *)memory;
    block->next = arena->full;
    block->capacity = size;
    arena->full = block;
    arena->full_used += arena->used;
    arena->base = memory + ARENA_HEADER_BYTES;
    arena->capacity = size;
    arena->used = 0;
    return true;
}

enum status arena_init_chained(struct arena *arena, size_t block_bytes, struct error *err) {
    assert(block_bytes > 0);

    memset(arena, 0, sizeof *arena);
    arena->alignment = ARENA_ALIGNMENT;
    arena->chained = true;
    if (!arena_grow(arena, block_bytes)) {
        return error_set(err, STATUS_NO_MEMORY, "arena block of %zu bytes", block_bytes);
    }
    return STATUS_OK;
}

void arena_init_over(struct arena *arena, void *base, size_t capacity, size_t alignment) {
    assert((alignment & (alignment - 1)) == 0 && alignment > 0);
    assert(((uintptr_t)base & (alignment - 1)) == 0);

    memset(arena, 0, sizeof *arena);
    arena->base = base;
    arena->capacity = capacity;
    arena->alignment = alignment;
}

static void arena_free_blocks(struct arena_block *block) {
    while (block != NULL) {
        struct arena_block *next = block->next;
        memory_free(block);
        block = next;
    }
}

void arena_free(struct arena *arena) {
    if (arena->owned) { memory_free(arena->base); }
    arena_free_blocks(arena->full);
    memset(arena, 0, sizeof *arena);
}

void *arena_take(struct arena *arena, size_t size) {
    assert(arena->alignment > 0);
    assert(arena->used <= arena->capacity);

    /* used is a multiple of the alignment or equals an unaligned capacity's end. */
    if (size > SIZE_MAX - arena->alignment) { return NULL; }
    size_t rounded = (size + arena->alignment - 1) & ~(arena->alignment - 1);
    size_t left = arena->capacity - arena->used;
    if (size > left) {
        if (!arena->chained) { return NULL; }
        size_t block = arena->capacity > rounded ? arena->capacity : rounded;
        if (!arena_grow(arena, block)) { return NULL; }
        left = arena->capacity;
    }

    uint8_t *piece = arena->base + arena->used;
    arena->used += rounded < left ? rounded : left;
    size_t total = arena->full_used + arena->used;
    if (total > arena->used_max) { arena->used_max = total; }
    return piece;
}

void *arena_take_zeroed(struct arena *arena, size_t size) {
    void *piece = arena_take(arena, size);
    if (piece != NULL) { memset(piece, 0, size); }
    return piece;
}

char *arena_take_copy(struct arena *arena, const void *data, size_t size) {
    if (size == SIZE_MAX) { return NULL; }
    char *copy = arena_take(arena, size + 1);
    if (copy == NULL) { return NULL; }

    if (size > 0) { memcpy(copy, data, size); }
    copy[size] = '\0';
    return copy;
}

void *arena_take_array(struct arena *arena, size_t count, size_t size) {
    if (size > 0 && count > SIZE_MAX / size) { return NULL; }
    return arena_take(arena, count * size);
}

void arena_reset(struct arena *arena) {
    if (arena->chained && arena->full != NULL) {
        arena_free_blocks(arena->full->next);
        arena->full->next = NULL;
        arena->full_used = 0;
    }
    arena->used = 0;
}

arena_mark_t arena_mark(const struct arena *arena) {
    assert(!arena->chained);
    return arena->used;
}

void arena_release(struct arena *arena, arena_mark_t mark) {
    assert(!arena->chained);
    assert(mark <= arena->used);
    arena->used = mark;
}
