/* SPDX-License-Identifier: Apache-2.0
 *
 * lanes.h - as many floats at a time as one register holds, with the compiler's vector types.
 *
 * 16 with AVX-512, 8 with AVX2, 4 elsewhere: the source is the same, the width is that of the copy
 * being compiled (a type wider than the registers would live in memory). A row of any length is a
 * run of whole vectors and one part of 1..LANES-1 lanes; missing lanes read as zero and are not
 * written.
 */
#ifndef KERNELS_CPU_LANES_H
#define KERNELS_CPU_LANES_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__AVX512F__)
#include <immintrin.h>
#define LANES      16
#define LANES_LOG2 4
#define LANES_NUMBERED \
    { 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15 }
#define LANES_LOW  0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23
#define LANES_HIGH 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31
#elif defined(__AVX2__)
#include <immintrin.h>
#define LANES      8
#define LANES_LOG2 3
#define LANES_NUMBERED \
    { 0, 1, 2, 3, 4, 5, 6, 7 }
#define LANES_LOW  0, 8, 1, 9, 2, 10, 3, 11
#define LANES_HIGH 4, 12, 5, 13, 6, 14, 7, 15
#else
#define LANES      4
#define LANES_LOG2 2
#define LANES_NUMBERED \
    { 0, 1, 2, 3 }
#define LANES_LOW  0, 4, 1, 5
#define LANES_HIGH 2, 6, 3, 7
#endif

typedef float f32v __attribute__((vector_size(4 * LANES)));
typedef int32_t i32v __attribute__((vector_size(4 * LANES)));

#define LANES_INLINE static inline __attribute__((always_inline, unused))

/* x in all lanes; x - 0 is x for every x, also -0. */
LANES_INLINE f32v lanes_all(float x) {
    return x - (f32v){0};
}

LANES_INLINE f32v lanes_load(const float *p) {
    f32v v;
    memcpy(&v, p, sizeof v);
    return v;
}

LANES_INLINE void lanes_store(float *p, f32v v) {
    memcpy(p, &v, sizeof v);
}

/* The first `count` lanes (1..LANES), zeros beyond. */
LANES_INLINE f32v lanes_load_part(const float *p, int count) {
#if defined(__AVX512F__)
    return (f32v)_mm512_maskz_loadu_ps((__mmask16)((1u << count) - 1u), p);
#elif defined(__AVX2__)
    const i32v lane = LANES_NUMBERED;
    return (f32v)_mm256_maskload_ps(p, (__m256i)(lane < count));
#else
    f32v v = {0};
    for (int i = 0; i < count; i++) {
        v[i] = p[i];
    }
    return v;
#endif
}

LANES_INLINE void lanes_store_part(float *p, f32v v, int count) {
#if defined(__AVX512F__)
    _mm512_mask_storeu_ps(p, (__mmask16)((1u << count) - 1u), (__m512)v);
#elif defined(__AVX2__)
    const i32v lane = LANES_NUMBERED;
    _mm256_maskstore_ps(p, (__m256i)(lane < count), (__m256)v);
#else
    for (int i = 0; i < count; i++) {
        p[i] = v[i];
    }
#endif
}

/* a where the mask's lane is all ones, b where it is zero. */
LANES_INLINE f32v lanes_select(i32v mask, f32v a, f32v b) {
    return (f32v)(((i32v)a & mask) | ((i32v)b & ~mask));
}

LANES_INLINE f32v lanes_max(f32v a, f32v b) {
    return lanes_select(a > b, a, b);
}

/* Lanes 0..count-1 of v, `fill` in the others. */
LANES_INLINE f32v lanes_keep(f32v v, int count, float fill) {
    const i32v lane = LANES_NUMBERED;
    return lanes_select(lane < count, v, lanes_all(fill));
}

/* to[i][j] = from[j][i], LANES x LANES. Each round interleaves row i with row i + LANES/2, which
 * moves one bit of the row index into the column index; after log2(LANES) rounds they have changed
 * places. */
LANES_INLINE void lanes_transpose(float *to, size_t to_row, const float *from, size_t from_row) {
    f32v a[LANES], b[LANES];

#pragma GCC unroll 16
    for (size_t i = 0; i < LANES; i++) {
        a[i] = lanes_load(from + i * from_row);
    }
#pragma GCC unroll 4
    for (int round = 0; round < LANES_LOG2; round++) {
#pragma GCC unroll 8
        for (int i = 0; i < LANES / 2; i++) {
            b[2 * i] = __builtin_shufflevector(a[i], a[i + LANES / 2], LANES_LOW);
            b[2 * i + 1] = __builtin_shufflevector(a[i], a[i + LANES / 2], LANES_HIGH);
        }
#pragma GCC unroll 16
        for (int i = 0; i < LANES; i++) {
            a[i] = b[i];
        }
    }
#pragma GCC unroll 16
    for (size_t i = 0; i < LANES; i++) {
        lanes_store(to + i * to_row, a[i]);
    }
}

/* to (cols,rows) = from (rows,cols) with rows and columns exchanged, any size */
static inline __attribute__((unused)) void matrix_transpose(float *to, size_t to_row,
                                                            const float *from, size_t from_row,
                                                            int rows, int cols) {
    for (int i = 0; i < rows; i += LANES) {
        for (int j = 0; j < cols; j += LANES) {
            float *to_ij = to + (size_t)j * to_row + i;
            const float *from_ij = from + (size_t)i * from_row + j;
            if (i + LANES <= rows && j + LANES <= cols) {
                lanes_transpose(to_ij, to_row, from_ij, from_row);
                continue;
            }
            for (int p = 0; p < LANES && i + p < rows; p++) {
                for (int q = 0; q < LANES && j + q < cols; q++) {
                    to_ij[(size_t)q * to_row + (size_t)p] =
                        from_ij[(size_t)p * from_row + (size_t)q];
                }
            }
        }
    }
}

typedef float f32x8 __attribute__((vector_size(32)));
typedef float f32x4 __attribute__((vector_size(16)));

/* Sum of the lanes, as a balanced tree: lane i + lane i + half, and so on down to one. */
LANES_INLINE float lanes_sum(f32v v) {
#if LANES == 16
    f32x8 half = __builtin_shufflevector(v, v, 0, 1, 2, 3, 4, 5, 6, 7) +
                 __builtin_shufflevector(v, v, 8, 9, 10, 11, 12, 13, 14, 15);
#elif LANES == 8
    f32x8 half = v;
#endif
#if LANES >= 8
    f32x4 quarter = __builtin_shufflevector(half, half, 0, 1, 2, 3) +
                    __builtin_shufflevector(half, half, 4, 5, 6, 7);
#else
    f32x4 quarter = v;
#endif
    f32x4 pair = quarter + __builtin_shufflevector(quarter, quarter, 2, 3, 2, 3);
    return pair[0] + pair[1];
}

/* The greatest lane; a NaN may get lost. */
LANES_INLINE float lanes_greatest(f32v v) {
    float a[LANES];

    memcpy(a, &v, sizeof a);
    for (int half = LANES / 2; half > 0; half /= 2) {
        for (int i = 0; i < half; i++) {
            a[i] = a[i] > a[i + half] ? a[i] : a[i + half];
        }
    }
    return a[0];
}

/* e^x. Range reduction x = n ln2 + r, |r| <= ln2/2, then the Taylor series to r^7 (its remainder is
 * below 6e-9) and 2^n through the exponent bits. At most 1.5 ulp from the true value; 0 below -86.9
 * (near the smallest normal), infinity above 88.72, NaN stays NaN. */
LANES_INLINE f32v lanes_exp(f32v x) {
    const f32v low = lanes_all(-86.9f), high = lanes_all(88.72f);
    const f32v shift = lanes_all(12582912.0f); /* 1.5 * 2^23: adding it rounds to an integer */
    f32v clamped = lanes_select(x > high, high, lanes_select(x < low, low, x));
    f32v shifted = clamped * 1.44269504f + shift;
    f32v n = shifted - shift;
    f32v r = clamped - n * 0.693145752f; /* ln2 in two parts: the first has 9 trailing zero bits */
    r = r - n * 1.42860677e-6f;
    f32v p = r * (1.0f / 5040.0f) + (1.0f / 720.0f);
    p = p * r + (1.0f / 120.0f);
    p = p * r + (1.0f / 24.0f);
    p = p * r + (1.0f / 6.0f);
    p = p * r + 0.5f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    /* 2^n as 2^(n-1) * 2, so that n = 128 does not overflow the exponent field. */
    i32v exponent = ((i32v)shifted - (i32v)shift + 126) << 23;
    f32v y = p * (f32v)exponent * 2.0f;
    y = lanes_select(x < low, lanes_all(0.0f), y);
    y = lanes_select(x > high, lanes_all(INFINITY), y);
    return y;
}

#endif
