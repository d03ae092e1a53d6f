/* SPDX-License-Identifier: Apache-2.0
 *
 * crc32c.c - CRC-32C (Castagnoli), by the SSE4.2 instruction where the CPU has it, else by eight
 * tables that take eight bytes a step.
 *
 * Polynomial 0x1EDC6F41, reflected 0x82F63B78, initial value and final xor all ones (RFC 3720,
 * section 12.1 and appendix B.4). tables[k][b] is the effect of byte b that has k bytes after it.
 */
#include "base/hash.h"

#include <pthread.h>
#include <stdbool.h>

#define CRC32C_POLYNOMIAL UINT32_C(0x82F63B78)

static uint32_t crc32c_tables[8][256];
static bool crc32c_has_instruction;
static pthread_once_t crc32c_once = PTHREAD_ONCE_INIT;

static void crc32c_prepare(void) {
    for (uint32_t byte = 0; byte < 256; byte++) {
        uint32_t crc = byte;
        for (int bit = 0; bit < 8; bit++) {
            crc = crc >> 1 ^ (crc & 1 ? CRC32C_POLYNOMIAL : 0);
        }
        crc32c_tables[0][byte] = crc;
    }
    for (int k = 1; k < 8; k++) {
        for (uint32_t byte = 0; byte < 256; byte++) {
            uint32_t crc = crc32c_tables[k - 1][byte];
            crc32c_tables[k][byte] = crc >> 8 ^ crc32c_tables[0][crc & 255];
        }
    }
#if defined(__x86_64__)
    crc32c_has_instruction = __builtin_cpu_supports("sse4.2") != 0;
#endif
}

uint32_t crc32c_by_tables(uint32_t crc, const void *data, size_t size) {
    (void)pthread_once(&crc32c_once, crc32c_prepare); /* cannot fail with a static control */

    const uint8_t *p = data;
    crc = ~crc;
    for (; size >= 8; size -= 8, p += 8) {
        uint32_t low = crc ^ get_u32le(p);
        uint32_t high = get_u32le(p + 4);
        crc = crc32c_tables[7][low & 255] ^ crc32c_tables[6][low >> 8 & 255] ^
              crc32c_tables[5][low >> 16 & 255] ^ crc32c_tables[4][low >> 24] ^
              crc32c_tables[3][high & 255] ^ crc32c_tables[2][high >> 8 & 255] ^
              crc32c_tables[1][high >> 16 & 255] ^ crc32c_tables[0][high >> 24];
    }
    for (; size > 0; size--, p++) {
        crc = crc >> 8 ^ crc32c_tables[0][(crc ^ *p) & 255];
    }
    return ~crc;
}

#if defined(__x86_64__)
__attribute__((target("sse4.2"))) static uint32_t crc32c_by_instruction(uint32_t crc,
                                                                        const uint8_t *p,
                                                                        size_t size) {
    uint64_t wide = ~crc;
    for (; size >= 8; size -= 8, p += 8) {
        wide = __builtin_ia32_crc32di(wide, get_u64le(p));
    }
    crc = (uint32_t)wide;
    for (; size > 0; size--, p++) {
        crc = __builtin_ia32_crc32qi(crc, *p);
    }
    return ~crc;
}
#endif

uint32_t crc32c(uint32_t crc, const void *data, size_t size) {
    (void)pthread_once(&crc32c_once, crc32c_prepare); /* cannot fail with a static control */

#if defined(__x86_64__)
    if (crc32c_has_instruction) { return crc32c_by_instruction(crc, data, size); }
#endif
    return crc32c_by_tables(crc, data, size);
}
