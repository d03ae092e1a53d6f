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
#include <stdint.h>
#include <string.h>
#ifdef __AVX512F__
#include <immintrin.h>
#endif

#define LANES 16

typedef float f32x16 __attribute__((vector_size(64)));
typedef int32_t i32x16 __attribute__((vector_size(64)));

#define LANES_INLINE static inline __attribute__((always_inline, unused))

LANES_INLINE f32x16 lanes_all(float x) { return (f32x16){0} + x; }

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

/* Sum of the lanes, as a balanced tree: ((0+8)+(4+12))+... */
LANES_INLINE float lanes_sum(f32x16 v) {
    float a[LANES];
    memcpy(a, &v, sizeof a);
    for (int half = LANES / 2; half > 0; half /= 2) {
        for (int i = 0; i < half; i++) {
            a[i] += a[i + half];
        }
    }
    return a[0];
}

LANES_INLINE float lanes_greatest(f32x16 v) {
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
