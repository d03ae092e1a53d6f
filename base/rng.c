/* SPDX-License-Identifier: Apache-2.0
 *
 * rng.c - Philox4x32-10: ten rounds of two multiplications and a key schedule of two additions.
 *
 * Number i of (seed, stream) is the first half of the block with counter (i, stream) and key seed,
 * so two streams never overlap and any number can be computed alone.
 */
#include "base/rng.h"

#include <assert.h>
#include <math.h>

/* Table 2 of the paper: multipliers M; section 4: Weyl constants of the key (golden ratio,
 * sqrt(3)-1). */
#define PHILOX_M0     UINT32_C(0xD2511F53)
#define PHILOX_M1     UINT32_C(0xCD9E8D57)
#define PHILOX_W0     UINT32_C(0x9E3779B9)
#define PHILOX_W1     UINT32_C(0xBB67AE85)
#define PHILOX_ROUNDS 10

__extension__ typedef unsigned __int128 wide_t; /* product of two 64-bit numbers */

void philox4x32(const uint32_t counter[4], const uint32_t key[2], uint32_t ret_block[4]) {
    uint32_t x0 = counter[0];
    uint32_t x1 = counter[1];
    uint32_t x2 = counter[2];
    uint32_t x3 = counter[3];
    uint32_t k0 = key[0];
    uint32_t k1 = key[1];

    for (int round = 0; round < PHILOX_ROUNDS; round++) {
        uint64_t p0 = (uint64_t)PHILOX_M0 * x0;
        uint64_t p1 = (uint64_t)PHILOX_M1 * x2;
        x0 = (uint32_t)(p1 >> 32) ^ x1 ^ k0;
        x1 = (uint32_t)p1;
        x2 = (uint32_t)(p0 >> 32) ^ x3 ^ k1;
        x3 = (uint32_t)p0;
        k0 += PHILOX_W0;
        k1 += PHILOX_W1;
    }
    ret_block[0] = x0;
    ret_block[1] = x1;
    ret_block[2] = x2;
    ret_block[3] = x3;
}

struct rng rng_make(uint64_t seed, uint64_t stream) {
    return (struct rng){.seed = seed, .stream = stream, .index = 0};
}

uint64_t rng_u64(struct rng *rng) {
    const uint32_t counter[4] = {(uint32_t)rng->index, (uint32_t)(rng->index >> 32),
                                 (uint32_t)rng->stream, (uint32_t)(rng->stream >> 32)};
    const uint32_t key[2] = {(uint32_t)rng->seed, (uint32_t)(rng->seed >> 32)};
    uint32_t block[4];
    philox4x32(counter, key, block);
    rng->index++;
    return (uint64_t)block[0] | (uint64_t)block[1] << 32;
}

uint64_t rng_below(struct rng *rng, uint64_t bound) {
    assert(bound > 0);

    /* Lemire, "Fast random integer generation in an interval" (2019), algorithm 5: the high word
     * of u*bound is uniform once the 2^64 mod bound smallest low words are rejected. */
    wide_t product = (wide_t)rng_u64(rng) * bound;
    if ((uint64_t)product < bound) {
        uint64_t threshold = (0 - bound) % bound;
        while ((uint64_t)product < threshold) {
            product = (wide_t)rng_u64(rng) * bound;
        }
    }
    return (uint64_t)(product >> 64);
}

double rng_unit(struct rng *rng) {
    return (double)(rng_u64(rng) >> 11) * 0x1p-53;
}

double rng_normal(struct rng *rng) {
    double radius = 1.0 - rng_unit(rng); /* (0,1]: the logarithm stays finite */
    double angle = rng_unit(rng);
    return sqrt(-2.0 * log(radius)) * cos(6.283185307179586476925 * angle);
}
