/* SPDX-License-Identifier: Apache-2.0
 *
 * gguf_dequant.h - ggml's block formats as f32; inside model/.
 *
 *   type   values  bytes  layout of a block                                    value
 *   Q4_0   32      18     f16 d, 16 x two nibbles                              d (q - 8)
 *   Q4_1   32      20     f16 d, f16 m, 16 x two nibbles                       d q + m
 *   Q5_0   32      22     f16 d, u32 fifth bits, 16 x two nibbles              d (q - 16)
 *   Q5_1   32      24     f16 d, f16 m, u32 fifth bits, 16 x two nibbles       d q + m
 *   Q8_0   32      34     f16 d, 32 x i8                                       d q
 *   Q4_K   256     144    f16 d, f16 m, 12 bytes of 6-bit scales, 128 nibbles  d s q - m t
 *   Q5_K   256     176    the same with 32 bytes of fifth bits                 d s q - m t
 *   Q6_K   256     210    128 nibbles, 64 x 2-bit tops, 16 x i8 scales, f16 d  d s (q - 32)
 *
 * Low nibbles come first: value i of a 32-block is the low half of byte i, value i+16 the high
 * half.
 */
#ifndef MODEL_GGUF_DEQUANT_H
#define MODEL_GGUF_DEQUANT_H

#include <stddef.h>
#include <stdint.h>

/* Numbers of the file format. */
enum gguf_type {
    GGUF_TYPE_F32 = 0,
    GGUF_TYPE_F16 = 1,
    GGUF_TYPE_Q4_0 = 2,
    GGUF_TYPE_Q4_1 = 3,
    GGUF_TYPE_Q5_0 = 6,
    GGUF_TYPE_Q5_1 = 7,
    GGUF_TYPE_Q8_0 = 8,
    GGUF_TYPE_Q4_K = 12,
    GGUF_TYPE_Q5_K = 13,
    GGUF_TYPE_Q6_K = 14,
    GGUF_TYPE_BF16 = 30,
};
#define GGUF_TYPES_TEXT "F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q4_K, Q5_K, Q6_K"

/* Values and bytes of one block; 0 for a type that is not supported. */
size_t gguf_block_values(uint32_t type);
size_t gguf_block_bytes(uint32_t type);
/* "Q4_1"; also known by name: types that are not supported; "unknown" otherwise. */
const char *gguf_type_name(uint32_t type);

/* Decodes count values, a whole number of blocks of a supported type. */
void gguf_dequantise(uint32_t type, const uint8_t *blocks, size_t count, float *ret_values);

#endif
