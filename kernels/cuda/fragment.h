/* SPDX-License-Identifier: Apache-2.0
 *
 * fragment.h - f32 products on bf16 tensor cores: numbers split in parts, tiles of them in shared
 * memory, fragments out of tiles.
 *
 *   x = p0 + p1 + ...    p0 = bf16(x), p1 = bf16(x - p0), ...    (Henry, Tang, Heinecke 2019)
 *
 *   parts  products of parts                      lost of a factor   where
 *     1    00                                     2^-9               bf16 base products
 *     2    00 01 10                               2^-18              attention beside bf16 weights
 *     3    00 01 10 02 11 20                      2^-27: f32         other f32 products
 *
 * Tensor cores of bf16 are 16 times as fast as f32 arithmetic (H100), so that six of them still
 * win; TF32 would lose 2^-11. They cut sums off instead of rounding them (Ootomo & Yokota 2022):
 * with three parts a sum over k is added up outside, 32 of k at a time.
 *
 * A tile is rows of bf16 whose length is a multiple of 8 and, in 16-byte units, odd: the eight rows
 * that one load reads then lie in different banks.
 */
#ifndef KERNELS_CUDA_FRAGMENT_H
#define KERNELS_CUDA_FRAGMENT_H

#include "kernels/cuda/tile.h"

/* Elements between the rows of a tile with `columns` (a multiple of 16). */
#define TILE_ROW(columns) ((columns) + 8)

/* A tile in shared memory, a piece for each part. */
struct split_tile {
    bf16 *part[3];
    int row; /* elements from one row to the next */
};

/* Room for a tile; bytes: split_tile_need. */
template <int Parts>
__device__ __forceinline__ struct split_tile split_tile_take(struct shared_room *room, int rows,
                                                             int columns) {
    struct split_tile tile = {{}, TILE_ROW(columns)};

#pragma unroll
    for (int p = 0; p < Parts; p++) {
        tile.part[p] = shared_take<bf16>(room, rows * tile.row);
    }
    return tile;
}
static inline size_t split_tile_need(int parts, int rows, int columns) {
    return (size_t)parts * shared_need<bf16>((size_t)rows * TILE_ROW(columns));
}

/* ---- splitting ------------------------------------------------------------------------------- */

/* x's next part as f32; *x is what is left. */
__device__ __forceinline__ float split_off(float *x) {
    const float part = f32_of(bf16_of(*x));

    *x -= part;
    return part;
}

/* Two neighbours as a word for each part. */
template <int Parts>
__device__ __forceinline__ void split_pair(float x0, float x1, uint32_t (&words)[Parts]) {
#pragma unroll
    for (int p = 0; p < Parts; p++) {
        words[p] = bf16_pair(x0, x1);
        (void)split_off(&x0);
        (void)split_off(&x1);
    }
}

/* a b as tensor cores have it with two parts or three. */
template <int Parts> __device__ __forceinline__ float split_product(float a, float b) {
    if constexpr (Parts == 3) {
        return a * b;
    } else {
        const float a0 = split_off(&a), a1 = split_off(&a), b0 = split_off(&b), b1 = split_off(&b);
        return a1 * b0 + a0 * b1 + a0 * b0;
    }
}

/* Four neighbours of a tile, `at` a multiple of 4. */
template <int Parts>
__device__ __forceinline__ void split_store(const struct split_tile &tile, int at,
                                            const float4 &x) {
    uint32_t low[Parts], high[Parts];

    split_pair(x.x, x.y, low);
    split_pair(x.z, x.w, high);
#pragma unroll
    for (int p = 0; p < Parts; p++) {
        *reinterpret_cast<uint2 *>(tile.part[p] + at) = {low[p], high[p]};
    }
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
template <int Parts> struct split_left { uint32_t part[Parts][4]; };

/* The left factor of a tile at (row, k). */
template <int Parts, bool Turned>
__device__ __forceinline__ void split_left_load(struct split_left<Parts> &left,
                                                const struct split_tile &tile, int row, int k) {
#pragma unroll
    for (int p = 0; p < Parts; p++) {
        fragment_left<Turned>(left.part[p], tile.part[p], tile.row, row, k);
    }
}

/* c0, c1 (16,8) += left (16,16) times the tile's columns `column` and `column` + 8 at k: small
 * products first. */
template <int Parts, bool Turned>
__device__ __forceinline__ void split_multiply(float (&c0)[4], float (&c1)[4],
                                               const struct split_left<Parts> &left,
                                               const struct split_tile &tile, int column, int k) {
#pragma unroll
    for (int right = Parts - 1; right >= 0; right--) {
        uint32_t words[4];
        fragment_right<Turned>(words, tile.part[right], tile.row, column, k);
        const uint32_t b0[2] = {words[0], words[1]}, b1[2] = {words[2], words[3]};
#pragma unroll
        for (int p = Parts - 1 - right; p >= 0; p--) {
            tile_mma(c0, left.part[p], b0);
            tile_mma(c1, left.part[p], b1);
        }
    }
}

#endif
