/* SPDX-License-Identifier: Apache-2.0
 *
 * gguf_dequant.c - one small function a block format, and the table that names them.
 *
 * Products are formed in the order of the gguf reference implementation (scale times sub-scale
 * first), so that the values are equal to its bit for bit.
 */
#include "model/gguf_dequant.h"

#include <assert.h>

#include "model/float16.h"

typedef void (*block_decode)(const uint8_t *block, float *ret_values);

static void decode_q4_0(const uint8_t *block, float *ret_values) {
    const float d = get_f16le(block);
    const uint8_t *nibbles = block + 2;
    for (int i = 0; i < 16; i++) {
        ret_values[i] = d * (float)((nibbles[i] & 15) - 8);
        ret_values[i + 16] = d * (float)((nibbles[i] >> 4) - 8);
    }
}

static void decode_q4_1(const uint8_t *block, float *ret_values) {
    const float d = get_f16le(block);
    const float m = get_f16le(block + 2);
    const uint8_t *nibbles = block + 4;
    for (int i = 0; i < 16; i++) {
        ret_values[i] = d * (float)(nibbles[i] & 15) + m;
        ret_values[i + 16] = d * (float)(nibbles[i] >> 4) + m;
    }
}

/* Five-bit number of value i (0..31): a nibble and its bit of fifths. */
static int five_bits(const uint8_t *nibbles, uint32_t fifths, int i) {
    int low = i < 16 ? nibbles[i] & 15 : nibbles[i - 16] >> 4;
    return low | (int)((fifths >> i) & 1u) << 4;
}

static void decode_q5_0(const uint8_t *block, float *ret_values) {
    const float d = get_f16le(block);
    const uint32_t fifths = get_u32le(block + 2);
    for (int i = 0; i < 32; i++) {
        ret_values[i] = d * (float)(five_bits(block + 6, fifths, i) - 16);
    }
}

static void decode_q5_1(const uint8_t *block, float *ret_values) {
    const float d = get_f16le(block);
    const float m = get_f16le(block + 2);
    const uint32_t fifths = get_u32le(block + 4);
    for (int i = 0; i < 32; i++) {
        ret_values[i] = d * (float)five_bits(block + 8, fifths, i) + m;
    }
}

static void decode_q8_0(const uint8_t *block, float *ret_values) {
    const float d = get_f16le(block);
    for (int i = 0; i < 32; i++) {
        ret_values[i] = d * (float)(int8_t)block[2 + i];
    }
}

/* Scale and minimum of sub-block j (0..7), six bits each in 12 bytes: the first four have a byte of
 * their own, the last four a nibble and the two spare top bits of the first. */
static void scale_and_minimum(const uint8_t *packed, int j, int *ret_scale, int *ret_minimum) {
    if (j < 4) {
        *ret_scale = packed[j] & 63;
        *ret_minimum = packed[j + 4] & 63;
        return;
    }
    *ret_scale = (packed[j + 4] & 15) | (packed[j - 4] >> 6) << 4;
    *ret_minimum = packed[j + 4] >> 4 | (packed[j] >> 6) << 4;
}

/* Q4_K and Q5_K: eight sub-blocks of 32; a pair of them shares 32 bytes of nibbles. fifths NULL: no
 * fifth bits. */
static void decode_pairs(const uint8_t *block, const uint8_t *fifths, const uint8_t *nibbles,
                         float *ret_values) {
    const float d = get_f16le(block);
    const float m = get_f16le(block + 2);
    for (int j = 0; j < 8; j++) {
        int scale = 0;
        int minimum = 0;
        scale_and_minimum(block + 4, j, &scale, &minimum);
        const float step = d * (float)scale;
        const float low = m * (float)minimum;
        const uint8_t *pair = nibbles + 32 * (j / 2);
        for (int i = 0; i < 32; i++) {
            int q = j % 2 == 0 ? pair[i] & 15 : pair[i] >> 4;
            if (fifths != NULL) { q |= ((fifths[i] >> j) & 1) << 4; }
            ret_values[32 * j + i] = step * (float)q - low;
        }
    }
}

static void decode_q4_k(const uint8_t *block, float *ret_values) {
    decode_pairs(block, NULL, block + 16, ret_values);
}

static void decode_q5_k(const uint8_t *block, float *ret_values) {
    decode_pairs(block, block + 16, block + 48, ret_values);
}

static void decode_q6_k(const uint8_t *block, float *ret_values) {
    const float d = get_f16le(block + 208);
    for (int i = 0; i < 256; i++) {
        const int half = i / 128; /* each half: 64 bytes of nibbles, 32 of tops */
        const int quarter = i % 128 / 32;
        const int lane = i % 32;
        const uint8_t *nibbles = block + 64 * half + 32 * (quarter % 2);
        int low = quarter < 2 ? nibbles[lane] & 15 : nibbles[lane] >> 4;
        int top = (block[128 + 32 * half + lane] >> (2 * quarter)) & 3;
        const float step = d * (float)(int8_t)block[192 + i / 16];
        ret_values[i] = step * (float)((low | top << 4) - 32);
    }
}

struct block_format {
    uint32_t type;
    const char *name;
    size_t values, bytes; /* values 0: known by name only */
    block_decode decode;
};

static const struct block_format block_formats[] = {
    {GGUF_TYPE_F32, "F32", 1, 4, NULL}, /* plain values: float16.h */
    {GGUF_TYPE_F16, "F16", 1, 2, NULL},
    {GGUF_TYPE_BF16, "BF16", 1, 2, NULL},
    {GGUF_TYPE_Q4_0, "Q4_0", 32, 18, decode_q4_0},
    {GGUF_TYPE_Q4_1, "Q4_1", 32, 20, decode_q4_1},
    {GGUF_TYPE_Q5_0, "Q5_0", 32, 22, decode_q5_0},
    {GGUF_TYPE_Q5_1, "Q5_1", 32, 24, decode_q5_1},
    {GGUF_TYPE_Q8_0, "Q8_0", 32, 34, decode_q8_0},
    {GGUF_TYPE_Q4_K, "Q4_K", 256, 144, decode_q4_k},
    {GGUF_TYPE_Q5_K, "Q5_K", 256, 176, decode_q5_k},
    {GGUF_TYPE_Q6_K, "Q6_K", 256, 210, decode_q6_k},
    {9, "Q8_1", 0, 0, NULL},
    {10, "Q2_K", 0, 0, NULL},
    {11, "Q3_K", 0, 0, NULL},
    {15, "Q8_K", 0, 0, NULL},
    {20, "IQ4_NL", 0, 0, NULL},
    {23, "IQ4_XS", 0, 0, NULL},
    {39, "MXFP4", 0, 0, NULL},
};

static const struct block_format *block_format_find(uint32_t type) {
    for (size_t i = 0; i < sizeof block_formats / sizeof block_formats[0]; i++) {
        if (block_formats[i].type == type) { return &block_formats[i]; }
    }
    return NULL;
}

size_t gguf_block_values(uint32_t type) {
    const struct block_format *format = block_format_find(type);
    return format != NULL ? format->values : 0;
}

size_t gguf_block_bytes(uint32_t type) {
    const struct block_format *format = block_format_find(type);
    return format != NULL ? format->bytes : 0;
}

const char *gguf_type_name(uint32_t type) {
    const struct block_format *format = block_format_find(type);
    return format != NULL ? format->name : "unknown";
}

void gguf_dequantise(uint32_t type, const uint8_t *blocks, size_t count, float *ret_values) {
    const struct block_format *format = block_format_find(type);
    assert(format != NULL && format->values > 0);
    assert(count % format->values == 0);

    if (type == GGUF_TYPE_F32) {
        floats_of_f32le(blocks, count, ret_values);
    } else if (type == GGUF_TYPE_F16) {
        floats_of_f16le(blocks, count, ret_values);
    } else if (type == GGUF_TYPE_BF16) {
        floats_of_bf16le(blocks, count, ret_values);
    } else {
        for (size_t i = 0; i < count / format->values; i++) {
            format->decode(blocks + i * format->bytes, ret_values + i * format->values);
        }
    }
}
