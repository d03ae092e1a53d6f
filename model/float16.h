/* SPDX-License-Identifier: Apache-2.0
 *
 * float16.h - the two 16-bit floating-point formats of weight files, as f32.
 *
 *   f16   1 sign  5 exponent (bias 15)  10 fraction     IEEE 754 binary16
 *   bf16  1 sign  8 exponent (bias 127)  7 fraction     the upper half of an f32
 *
 * Values in files are little-endian. Both conversions are exact.
 */
#ifndef MODEL_FLOAT16_H
#define MODEL_FLOAT16_H

#include <stdint.h>
#include <string.h>

#include "base/bytes.h"

static inline float float_of_bits(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static inline float float_of_bf16(uint16_t bits) {
    return float_of_bits((uint32_t)bits << 16);
}

static inline float float_of_f16(uint16_t bits) {
    uint32_t sign = (uint32_t)(bits & 0x8000u) << 16;
    uint32_t exponent = (bits >> 10) & 0x1fu;
    uint32_t fraction = bits & 0x3ffu;
    if (exponent == 0x1fu) { return float_of_bits(sign | 0x7f800000u | fraction << 13); }
    if (exponent == 0) { /* zero and subnormals: fraction * 2^-24 */
        float value = (float)fraction * 0x1p-24f;
        return sign != 0 ? -value : value;
    }
    return float_of_bits(sign | (exponent + 112u) << 23 | fraction << 13);
}

static inline float get_f16le(const uint8_t *p) {
    return float_of_f16(get_u16le(p));
}

static inline float get_f32le(const uint8_t *p) {
    return float_of_bits(get_u32le(p));
}

/* Whole arrays, as they lie in files; the source needs no alignment. */
static inline void floats_of_f32le(const uint8_t *bytes, size_t count, float *ret_values) {
    for (size_t i = 0; i < count; i++) {
        ret_values[i] = get_f32le(bytes + 4 * i);
    }
}

static inline void floats_of_f16le(const uint8_t *bytes, size_t count, float *ret_values) {
    for (size_t i = 0; i < count; i++) {
        ret_values[i] = get_f16le(bytes + 2 * i);
    }
}

static inline void floats_of_bf16le(const uint8_t *bytes, size_t count, float *ret_values) {
    for (size_t i = 0; i < count; i++) {
        ret_values[i] = float_of_bf16(get_u16le(bytes + 2 * i));
    }
}

#endif
