/* SPDX-License-Identifier: Apache-2.0
 *
 * attention.h - what the two directions of attention share: query and key tiles, their products,
 * and the list of tiles that a launch works through.
 *
 *   a tile: up to 64 rows of one segment,       prefix columns │ own columns
 *   16 a warp                                 ┌────────────────┼──────────┐
 *   against 32 columns at a time ───────────▸ │  all visible   │ ▒▒▒ ╲    │
 *                                             └────────────────┴───────╲──┘
 *
 * Rows and columns are counted from where their segment, or its prefix, begins: a segment has the
 * same bits wherever it stands. Products run on tensor cores with split numbers (fragment.h): three
 * parts, which is f32, or two where the backend holds bf16 weights. Their inputs then are exact to
 * 2^-9, so that 2^-18 loses nothing, at half the price: of Llama-3.2-1B's training step at T = 410
 * attention would be 0.7 GFLOP of 4.0 a token with three parts.
 */
#ifndef KERNELS_CUDA_ATTENTION_H
#define KERNELS_CUDA_ATTENTION_H

#include "kernels/cuda/fragment.h"

#include "kernels/cuda/cuda.h"

#define ATTENTION_THREADS 128
#define ATTENTION_ROWS    64  /* of a tile: 16 a warp */
#define ATTENTION_HEAD    128 /* the largest head */
#define ATTENTION_LIST    256 /* tiles of one launch */

#define LOG2_E 1.4426950408889634f /* e^x = 2^(x LOG2_E) */
#define LN_2   0.6931471805599453f

/* What all kernels get. */
struct attention_shape {
    int D, shared; /* head size, query heads of one key head */
    float scale;
    bool fours; /* heads of all tensors may be read four numbers at a time */
};

/* Rows [first, first+count) of a segment, and what they see or who sees them. */
struct attention_tile {
    int32_t first, count;
    int32_t begin, end;                 /* of the segment */
    int32_t prefix_begin, prefix_end;   /* of the segment */
    int32_t viewers_begin, viewers_end; /* segments among which are all whose prefix has rows
                                                 of this tile */
};

/* ---- inside kernels -------------------------------------------------------------------------- */

/* A tile of Rows rows = rows [first, first+count) of a head that begins at `column`; zeros in rows
 * from count and columns from D on. */
template <int Rows, int Wide, int Parts>
__device__ __forceinline__ void head_fill(const struct split_tile &tile, struct tensor x, int first,
                                          int count, int column, struct attention_shape shape) {
    for (int e = (int)threadIdx.x; e < Rows * (Wide / 4); e += ATTENTION_THREADS) {
        const int row = e / (Wide / 4), d = e % (Wide / 4) * 4;
        const float4 four =
            row < count ? four_read(row_f32(x, first + row) + column, d, shape.D, shape.fours)
                        : make_float4(0.0f, 0.0f, 0.0f, 0.0f);
        split_store<Parts>(tile, row * tile.row + d, four);
    }
}

/* scores (16,Columns) of a warp = its rows of one tile times the rows of another. */
template <int Wide, int Columns, int Parts>
__device__ __forceinline__ void head_scores(float (&scores)[Columns / 8][4],
                                            const struct split_tile &rows,
                                            const struct split_tile &columns) {
#pragma unroll
    for (int i = 0; i < Columns / 8; i++) {
#pragma unroll
        for (int e = 0; e < 4; e++) {
            scores[i][e] = 0.0f;
        }
    }
#pragma unroll
    for (int d = 0; d < Wide; d += 16) {
        struct split_left<Parts> left;
        split_left_load<Parts, false>(left, rows, warp_of_block() * 16, d);
#pragma unroll
        for (int i = 0; i < Columns / 8; i += 2) {
            split_multiply<Parts, false>(scores[i], scores[i + 1], left, columns, i * 8, d);
        }
    }
}

/* out (16,Wide) += weights (16,Columns) times the rows of a tile. */
template <int Wide, int Columns, int Parts>
__device__ __forceinline__ void head_gather(float (&out)[Wide / 8][4],
                                            const float (&weights)[Columns / 8][4],
                                            const struct split_tile &tile) {
#pragma unroll
    for (int k = 0; k < Columns / 16; k++) {
        struct split_left<Parts> left; /* the layout of a sum is that of a left factor */
#pragma unroll
        for (int word = 0; word < 4; word++) {
            const float *pair = &weights[2 * k + word / 2][word % 2 * 2];
            uint32_t words[Parts];
            split_pair(pair[0], pair[1], words);
            for (int p = 0; p < Parts; p++) {
                left.part[p][word] = words[p];
            }
        }
#pragma unroll
        for (int i = 0; i < Wide / 8; i += 2) {
            split_multiply<Parts, true>(out[i], out[i + 1], left, tile, i * 8, k * 16);
        }
    }
}

/* Rows of the tensor [first, first+count), columns of one head = out (16,Wide) of a warp times a
 * factor for each of the thread's two rows. */
template <int Wide>
__device__ __forceinline__ void head_write(struct tensor to, const float (&out)[Wide / 8][4],
                                           float factor0, float factor1, int first, int count,
                                           int column, int D) {
    const int row = warp_of_block() * 16 + lane_of_warp() / 4, d0 = lane_of_warp() % 4 * 2;

#pragma unroll
    for (int i = 0; i < Wide / 8; i++) {
#pragma unroll
        for (int e = 0; e < 4; e++) {
            const int r = row + e / 2 * 8, d = i * 8 + d0 + e % 2;
            if (r < count && d < D) {
                row_f32(to, first + r)[column + d] = out[i][e] * (e < 2 ? factor0 : factor1);
            }
        }
    }
}

/* ---- on the host ----------------------------------------------------------------------------- */

/* Parts of a number, see above. */
static inline int attention_parts(const struct cuda_backend *cuda) {
    return cuda->bf16_weights > 0 ? 2 : 3;
}

/* Where a walk over the tiles of all segments is. */
struct attention_walk {
    const struct segment *segments;
    int segment_count;
    int segment, row; /* next tile: this row of this segment, counted from its begin */
};

/* Fills up to ATTENTION_LIST tiles and goes on; returns how many. */
static inline int attention_walk_on(struct attention_walk *walk, struct attention_tile *tiles) {
    int count = 0;

    while (walk->segment < walk->segment_count && count < ATTENTION_LIST) {
        const struct segment *s = &walk->segments[walk->segment];
        const int left = s->end - s->begin - walk->row;
        if (left <= 0) {
            walk->segment++;
            walk->row = 0;
            continue;
        }
        tiles[count] = {s->begin + walk->row,
                        left < ATTENTION_ROWS ? left : ATTENTION_ROWS,
                        s->begin,
                        s->end,
                        s->prefix_begin,
                        s->prefix_end,
                        0,
                        0};
        walk->row += ATTENTION_ROWS;
        count++;
    }
    return count;
}

static inline bool tensor_in_heads(struct tensor t, int D) {
    return (uintptr_t)t.data % 16 == 0 && t.stride % 4 == 0 && D % 4 == 0;
}

#endif
