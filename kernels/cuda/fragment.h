/* SPDX-License-Identifier: Apache-2.0
 *
 * fragment.h - f32 products on bf16 tensor cores: numbers split in two, tiles of them in shared
 * memory, fragments out of tiles.
 *
 *   x = high + low + rest    high = bf16(x), low = bf16(x - high), |rest| <= 2^-18 |x|
 *   a b ~ low_a high_b + high_a low_b + high_a high_b          (Henry, Tang, Heinecke 2019)
 *
 * Three products of 8 bits each give 16 to 17 bits of every factor, 100 times more than TF32, at a
 * third of the bf16 rate. What is lost is 2^-17 of a term; sums are f32.
 *
 * A tile is rows of bf16 whose length is a multiple of 8 and, in 16-byte units, odd: the eight rows
 * that one load reads then lie in different banks.
 */
#ifndef KERNELS_CUDA_FRAGMENT_H
#define KERNELS_CUDA_FRAGMENT_H

#include "kernels/cuda/tile.h"

/* Elements between the rows of a tile with `columns` (a multiple of 16). */
#define TILE_ROW(columns) ((columns) + 8)

/* A tile in shared memory; low is not there where products are bf16's own. */
struct split_tile {
    bf16 *high, *low;
    int row; /* elements from one row to the next */
};

/* Room for a tile with low parts; bytes: split_tile_need. */
__device__ __forceinline__ struct split_tile split_tile_take(struct shared_room *room, int rows,
                                                             int columns) {
    struct split_tile tile;
    tile.row = TILE_ROW(columns);
    tile.high = shared_take<bf16>(room, rows * tile.row);
    tile.low = shared_take<bf16>(room, rows * tile.row);
    return tile;
}
static inline size_t split_tile_need(int rows, int columns) {
    return 2 * shared_need<bf16>((size_t)rows * TILE_ROW(columns));
}

/* ---- splitting ------------------------------------------------------------------------------- */

/* Two neighbours as a word of high and a word of low parts. */
__device__ __forceinline__ void split_pair(float x0, float x1, uint32_t *ret_high,
                                           uint32_t *ret_low) {
    *ret_high = bf16_pair(x0, x1);
    *ret_low = bf16_pair(x0 - f32_of(bf16_of(x0)), x1 - f32_of(bf16_of(x1)));
}

/* a b as tensor cores with split numbers have it. */
__device__ __forceinline__ float split_product(float a, float b) {
    const float high_a = f32_of(bf16_of(a)), low_a = f32_of(bf16_of(a - high_a));
    const float high_b = f32_of(bf16_of(b)), low_b = f32_of(bf16_of(b - high_b));

    return low_a * high_b + high_a * low_b + high_a * high_b;
}

/* Four neighbours of a tile, `at` a multiple of 4. */
template <bool Split>
__device__ __forceinline__ void split_store(const struct split_tile &tile, int at,
                                            const float4 &x) {
    uint2 high, low;
    split_pair(x.x, x.y, &high.x, &low.x);
    split_pair(x.z, x.w, &high.y, &low.y);
    *reinterpret_cast<uint2 *>(tile.high + at) = high;
    if constexpr (Split) { *reinterpret_cast<uint2 *>(tile.low + at) = low; }
}

/* ---- four neighbours from global memory ------------------------------------------------------ */

__device__ __forceinline__ float number_of(float x) {
    return x;
}
__device__ __forceinline__ float number_of(bf16 x) {
    return f32_of(x);
}
__device__ __forceinline__ float4 four_of(const float *line) {
    return *reinterpret_cast<const float4 *>(line);
}
__device__ __forceinline__ float4 four_of(const bf16 *line) {
    const uint2 words = *reinterpret_cast<const uint2 *>(line);
    return make_float4(__uint_as_float(words.x << 16), __uint_as_float(words.x & 0xffff0000u),
                       __uint_as_float(words.y << 16), __uint_as_float(words.y & 0xffff0000u));
}

/* Columns first..first+3 of a line of `columns`, zeros beyond. fours: lines begin on four elements'
 * alignment. */
template <class T>
__device__ __forceinline__ float4 four_read(const T *line, int first, int columns, bool fours) {
    float4 x = make_float4(0.0f, 0.0f, 0.0f, 0.0f);

    if (fours && first + 4 <= columns) { return four_of(line + first); }
    if (first < columns) { x.x = number_of(line[first]); }
    if (first + 1 < columns) { x.y = number_of(line[first + 1]); }
    if (first + 2 < columns) { x.z = number_of(line[first + 2]); }
    if (first + 3 < columns) { x.w = number_of(line[first + 3]); }
    return x;
}

/* ---- fragments: all 32 lanes ----------------------------------------------------------------- */
/* The left factor (16,16) at (row, k): `turned` when the tile holds it as (k, row). */
template <bool Turned>
__device__ __forceinline__ void fragment_left(uint32_t (&words)[4], const bf16 *tile, int tile_row,
                                              int row, int k) {
    const int lane = lane_of_warp(), block = lane / 8, line = lane % 8;

    if constexpr (Turned) {
        tile_load_turned(words, tile + (k + block / 2 * 8 + line) * tile_row + row + block % 2 * 8);
    } else {
        tile_load(words, tile + (row + block % 2 * 8 + line) * tile_row + k + block / 2 * 8);
    }
}

/* Two right factors (16,8) side by side at (k, column): words 0, 1 and words 2, 3. `turned` when
 * the tile holds them as (k, column), else as (column, k). */
template <bool Turned>
__device__ __forceinline__ void fragment_right(uint32_t (&words)[4], const bf16 *tile, int tile_row,
                                               int column, int k) {
    const int lane = lane_of_warp(), block = lane / 8, line = lane % 8;

    if constexpr (Turned) {
        tile_load_turned(words,
                         tile + (k + block % 2 * 8 + line) * tile_row + column + block / 2 * 8);
    } else {
        tile_load(words, tile + (column + block / 2 * 8 + line) * tile_row + k + block % 2 * 8);
    }
}

/* A left factor, split. */
struct split_left {
    uint32_t high[4], low[4];
};

/* c0, c1 (16,8) += left (16,16) times the tile's columns `column` and `column` + 8 at k. */
template <bool Split, bool Turned>
__device__ __forceinline__ void split_multiply(float (&c0)[4], float (&c1)[4],
                                               const struct split_left &left,
                                               const struct split_tile &tile, int column, int k) {
    uint32_t words[4];

    fragment_right<Turned>(words, tile.high, tile.row, column, k);
    const uint32_t high0[2] = {words[0], words[1]}, high1[2] = {words[2], words[3]};
    if constexpr (Split) {
        tile_mma(c0, left.low, high0);
        tile_mma(c1, left.low, high1);
        fragment_right<Turned>(words, tile.low, tile.row, column, k);
        const uint32_t low0[2] = {words[0], words[1]}, low1[2] = {words[2], words[3]};
        tile_mma(c0, left.high, low0);
        tile_mma(c1, left.high, low1);
    }
    tile_mma(c0, left.high, high0);
    tile_mma(c1, left.high, high1);
}

#endif
