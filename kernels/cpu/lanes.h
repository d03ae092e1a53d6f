/* SPDX-License-Identifier: Apache-2.0
 *
 * lanes.h - sixteen floats at a time, with the compiler's vector types.
 *
 * One zmm register with AVX-512, two ymm with AVX2, four xmm or plain code elsewhere: the source and
 * the order of every sum are the same, only the instructions differ. A row of any length is a run of
 * whole vectors and one part of 1..15 lanes; missing lanes read as zero and are not written.
 */
#ifndef KERNELS_CPU_LANES_H
#define KERNELS_CPU_LANES_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#ifdef __AVX512F__
#include <immintrin.h>
#endif

#define LANES 16

typedef float f32x16 __attribute__((vector_size(64)));
typedef int32_t i32x16 __attribute__((vector_size(64)));

#define LANES_INLINE static inline __attribute__((always_inline, unused))

LANES_INLINE f32x16 lanes_all(float x) {
    return (f32x16){x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x};
}

LANES_INLINE f32x16 lanes_load(const float *p) {
    f32x16 v;
    memcpy(&v, p, sizeof v);
    return v;
}

LANES_INLINE void lanes_store(float *p, f32x16 v) { memcpy(p, &v, sizeof v); }

/* The first `count` lanes (1..16), zeros beyond. */
LANES_INLINE f32x16 lanes_load_part(const float *p, int count) {
#ifdef __AVX512F__
    return (f32x16)_mm512_maskz_loadu_ps((__mmask16)((1u << count) - 1u), p);
#else
    f32x16 v = {0};
    for (int i = 0; i < count; i++) {
        v[i] = p[i];
    }
    return v;
#endif
}

LANES_INLINE void lanes_store_part(float *p, f32x16 v, int count) {
#ifdef __AVX512F__
    _mm512_mask_storeu_ps(p, (__mmask16)((1u << count) - 1u), (__m512)v);
#else
    for (int i = 0; i < count; i++) {
        p[i] = v[i];
    }
#endif
}

/* a where the mask's lane is all ones, b where it is zero. */
LANES_INLINE f32x16 lanes_select(i32x16 mask, f32x16 a, f32x16 b) {
    return (f32x16)(((i32x16)a & mask) | ((i32x16)b & ~mask));
}

LANES_INLINE f32x16 lanes_max(f32x16 a, f32x16 b) { return lanes_select(a > b, a, b); }

/* Lanes 0..count-1 of v, `fill` in the others. */
LANES_INLINE f32x16 lanes_keep(f32x16 v, int count, float fill) {
    const i32x16 lane = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    return lanes_select(lane < count, v, lanes_all(fill));
}

/* First and second half of a and b interleaved: a0 b0 a1 b1 ... */
LANES_INLINE f32x16 lanes_riffle_low(f32x16 a, f32x16 b) {
    return __builtin_shufflevector(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
}
LANES_INLINE f32x16 lanes_riffle_high(f32x16 a, f32x16 b) {
    return __builtin_shufflevector(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15,
                                   31);
}

/* to[i][j] = from[j][i], 16 x 16. Four perfect shuffles of the 256 numbers (2i, 2i+1 from rows i and
 * i+8) move each bit of the row index into the column index. */
LANES_INLINE void lanes_transpose(float *to, size_t to_row, const float *from, size_t from_row) {
    f32x16 a[LANES], b[LANES];

#pragma GCC unroll 16
    for (size_t i = 0; i < LANES; i++) {
        a[i] = lanes_load(from + i * from_row);
    }
#pragma GCC unroll 2
    for (int round = 0; round < 2; round++) {
#pragma GCC unroll 8
        for (int i = 0; i < LANES / 2; i++) {
            b[2 * i] = lanes_riffle_low(a[i], a[i + LANES / 2]);
            b[2 * i + 1] = lanes_riffle_high(a[i], a[i + LANES / 2]);
        }
#pragma GCC unroll 8
        for (int i = 0; i < LANES / 2; i++) {
            a[2 * i] = lanes_riffle_low(b[i], b[i + LANES / 2]);
            a[2 * i + 1] = lanes_riffle_high(b[i], b[i + LANES / 2]);
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
                    to_ij[(size_t)q * to_row + (size_t)p] = from_ij[(size_t)p * from_row + (size_t)q];
                }
            }
        }
    }
}

typedef float f32x8 __attribute__((vector_size(32)));
typedef float f32x4 __attribute__((vector_size(16)));

/* Sum of the lanes, as a balanced tree: lane i + lane i+8, then i+4, i+2, i+1. */
LANES_INLINE float lanes_sum(f32x16 v) {
    f32x8 a = __builtin_shufflevector(v, v, 0, 1, 2, 3, 4, 5, 6, 7) +
              __builtin_shufflevector(v, v, 8, 9, 10, 11, 12, 13, 14, 15);
    f32x4 b = __builtin_shufflevector(a, a, 0, 1, 2, 3) + __builtin_shufflevector(a, a, 4, 5, 6, 7);
    f32x4 c = b + __builtin_shufflevector(b, b, 2, 3, 2, 3);
    return c[0] + c[1];
}

/* The greatest lane; a NaN may get lost. */
LANES_INLINE float lanes_greatest(f32x16 v) {
    f32x16 a = lanes_max(
        v, __builtin_shufflevector(v, v, 8, 9, 10, 11, 12, 13, 14, 15, 8, 9, 10, 11, 12, 13, 14, 15));
    f32x16 b = lanes_max(
        a, __builtin_shufflevector(a, a, 4, 5, 6, 7, 4, 5, 6, 7, 4, 5, 6, 7, 4, 5, 6, 7));
    float x = b[0] > b[2] ? b[0] : b[2], y = b[1] > b[3] ? b[1] : b[3];
    return x > y ? x : y;
}

/* e^x. Range reduction x = n ln2 + r, |r| <= ln2/2, then the Taylor series to r^7 (its remainder is
 * below 6e-9) and 2^n through the exponent bits. At most 1.5 ulp from the true value; 0 below -86.9
 * (near the smallest normal), infinity above 88.72, NaN stays NaN. */
LANES_INLINE f32x16 lanes_exp(f32x16 x) {
    const f32x16 low = lanes_all(-86.9f), high = lanes_all(88.72f);
    const f32x16 shift = lanes_all(12582912.0f); /* 1.5 * 2^23: adding it rounds to an integer */
    f32x16 clamped = lanes_select(x > high, high, lanes_select(x < low, low, x));
    f32x16 shifted = clamped * 1.44269504f + shift;
    f32x16 n = shifted - shift;
    f32x16 r = clamped - n * 0.693145752f; /* ln2 in two parts: the first has 9 trailing zero bits */
    r = r - n * 1.42860677e-6f;
    f32x16 p = r * (1.0f / 5040.0f) + (1.0f / 720.0f);
    p = p * r + (1.0f / 120.0f);
    p = p * r + (1.0f / 24.0f);
    p = p * r + (1.0f / 6.0f);
    p = p * r + 0.5f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    /* 2^n as 2^(n-1) * 2, so that n = 128 does not overflow the exponent field. */
    i32x16 exponent = ((i32x16)shifted - (i32x16)shift + 126) << 23;
    f32x16 y = p * (f32x16)exponent * 2.0f;
    y = lanes_select(x < low, lanes_all(0.0f), y);
    y = lanes_select(x > high, lanes_all(INFINITY), y);
    return y;
}

#endif
