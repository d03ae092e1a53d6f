/* SPDX-License-Identifier: Apache-2.0
 *
 * attention.h - what the two directions of attention share: the shapes, a transposed copy of the
 * keys, and the scores of one block of query rows.
 *
 *   one segment, one head:            prefix columns │ own columns
 *                                   ┌────────────────┼──────────┐
 *   block of 16 query rows ───────▸ │  all visible   │ ▒▒▒ ╲    │  what lies right of the block's
 *                                   └────────────────┴───────╲──┘  last row is never computed
 *
 * A block's scores over all its columns are held at once (16 x columns floats, in the L1 or L2
 * cache), so softmax is the plain one, not the running one. Included by files compiled per
 * instruction set.
 */
#ifndef KERNELS_CPU_ATTENTION_H
#define KERNELS_CPU_ATTENTION_H

#include "kernels/cpu/cpu.h"
#include "kernels/cpu/tile.h"

#define QUERY_ROWS 16

struct attention {
    int N, H, G, D;
    float scale;
    struct tensor q, k, v;
    size_t t_row;     /* floats from one row of k_t and v_t to the next, see transposed_row */
    const float *k_t; /* (G,D,N): keys with rows and columns exchanged */
    const float *v_t; /* (G,D,N), backward only */
};

/* Team size: an element of q costs some tens of operations, so a team pays sixteen times sooner. */
static inline int attention_team(const struct backend *be, int N, int C) {
    return (size_t)N * (size_t)C < TEAM_ELEMENTS_MIN / 16 ? 1 : be->threads;
}

/* Query rows [first, first+count) of a segment see `prefix` columns and own columns up to the
 * row. */
struct query_block {
    int first, count; /* rows of the tensor */
    int own;          /* own columns of the last row: first+count-begin */
    int prefix;       /* prefix columns */
};

static inline int segment_prefix(const struct segment *s) {
    return s->prefix_end - s->prefix_begin;
}

LANES_INLINE struct query_block query_block_at(const struct segment *s, int first) {
    int count = s->end - first < QUERY_ROWS ? s->end - first : QUERY_ROWS;
    return (struct query_block){first, count, first + count - s->begin, segment_prefix(s)};
}

/* Floats of one block's scores: QUERY_ROWS x the most columns that a segment has. */
static inline size_t segments_columns_max(const struct segment *segments, int segment_count) {
    int most = 0;

    for (int i = 0; i < segment_count; i++) {
        int columns = segment_prefix(&segments[i]) + segments[i].end - segments[i].begin;
        most = columns > most ? columns : most;
    }
    return (size_t)most;
}

#define CACHE_LINE_FLOATS 16u
/* Row length of a transposed copy: an odd number of cache lines, so that the D lines above each
 * other, which a tile reads together, do not fall into the same few sets of the cache. */
static inline size_t transposed_row(int N) {
    return (((size_t)N + CACHE_LINE_FLOATS - 1) / CACHE_LINE_FLOATS | 1) * CACHE_LINE_FLOATS;
}

/* Rows whose transposition is one piece of work. */
#define TRANSPOSE_ROWS 128

/* t (G,D,N) = x (N,G*D) with rows and columns exchanged per head */
static inline void heads_transpose(float *t, struct tensor x, int G, int D, int team) {
    const size_t t_row = transposed_row(x.rows);
    int blocks = (x.rows + TRANSPOSE_ROWS - 1) / TRANSPOSE_ROWS;

#pragma omp parallel for num_threads(team) schedule(static)
    for (int item = 0; item < blocks * G; item++) {
        int g = item / blocks, first = item % blocks * TRANSPOSE_ROWS;
        int count = x.rows - first < TRANSPOSE_ROWS ? x.rows - first : TRANSPOSE_ROWS;
        matrix_transpose(t + (size_t)g * (size_t)D * t_row + first, t_row,
                         row_f32(x, first) + (size_t)g * (size_t)D, (size_t)x.stride, count, D);
    }
}

/* product (count, prefix+own) = rows of x (count,D) times columns of t (D,N): the block's query
 * rows against its prefix and its own columns. */
LANES_INLINE void block_scores(float *product, int columns, const struct attention *at,
                               const struct segment *s, const struct query_block *block,
                               struct tensor x, int h, const float *t, float scale) {
    size_t t_row = at->t_row, D = (size_t)at->D;
    const float *rows = row_f32(x, block->first) + (size_t)h * D;
    const float *t_g = t + (size_t)(h / (at->H / at->G)) * D * t_row;

    tile_block(product, (size_t)columns, block->count, block->prefix, rows, (size_t)x.stride, 1,
               t_g + s->prefix_begin, t_row, at->D, scale, TILE_SET);
    tile_block(product + block->prefix, (size_t)columns, block->count, block->own, rows,
               (size_t)x.stride, 1, t_g + s->begin, t_row, at->D, scale, TILE_SET);
}

/* out (count,D) = weights (count, prefix+own) times the rows of x (N,G*D) that those columns
 * are. */
LANES_INLINE void block_gather(float *out, size_t out_row, const struct attention *at,
                               const struct segment *s, const struct query_block *block,
                               const float *weights, struct tensor x, int h) {
    size_t columns = (size_t)(block->prefix + block->own), x_row = (size_t)x.stride;
    size_t g = (size_t)(h / (at->H / at->G)) * (size_t)at->D;

    if (block->prefix > 0) {
        tile_block(out, out_row, block->count, at->D, weights, columns, 1,
                   row_f32(x, s->prefix_begin) + g, x_row, block->prefix, 1.0f, TILE_SET);
    }
    tile_block(out, out_row, block->count, at->D, weights + block->prefix, columns, 1,
               row_f32(x, s->begin) + g, x_row, block->own, 1.0f,
               block->prefix > 0 ? TILE_ADD : TILE_SET);
}

/* Columns that row i of the block sees. */
LANES_INLINE int block_visible(const struct query_block *block, int i) {
    return block->prefix + block->own - (block->count - 1 - i);
}

#endif
