/* SPDX-License-Identifier: Apache-2.0
 *
 * rng.h - counter-based random numbers: nothing to save, nothing to replay wrongly.
 *
 * Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011). A number
 * is a pure function of (seed, stream, index): the stream is what the numbers are for (an enum of
 * the caller with a batch or layer folded in).
 */
#ifndef BASE_RNG_H
#define BASE_RNG_H

#include <stdint.h>

struct rng {
    uint64_t seed;
    uint64_t stream;
    uint64_t index; /* next number */
};

/* The raw block of the paper: 128-bit counter, 64-bit key. */
void philox4x32(const uint32_t counter[4], const uint32_t key[2], uint32_t ret_block[4]);

struct rng rng_make(uint64_t seed, uint64_t stream);
uint64_t rng_u64(struct rng *rng);
/* Uniform in [0, bound), bound > 0, without modulo bias (Lemire's multiply, with rejection). */
uint64_t rng_below(struct rng *rng, uint64_t bound);
double rng_unit(struct rng *rng);   /* [0,1) */
double rng_normal(struct rng *rng); /* mean 0, variance 1 (Box-Muller; two indices a number) */

#endif
