/* SPDX-License-Identifier: Apache-2.0
 *
 * reduce.h - sums and greatest values over a warp and over a block, in a fixed order.
 *
 * Every thread gets the result, and all get the same bits: a butterfly adds the same pairs for
 * every lane, and addition commutes.
 */
#ifndef KERNELS_CUDA_REDUCE_H
#define KERNELS_CUDA_REDUCE_H

#include "kernels/cuda/port.h"

template <class T> __device__ __forceinline__ T warp_sum(T value) {
    for (int distance = WARP / 2; distance > 0; distance /= 2) {
        value += WARP_XOR(value, distance);
    }
    return value;
}

/* The greatest; a NaN may get lost. */
__device__ __forceinline__ float warp_max(float value) {
    for (int distance = WARP / 2; distance > 0; distance /= 2) {
        value = fmaxf(value, WARP_XOR(value, distance));
    }
    return value;
}

/* Sum over the block of `Threads` (a multiple of WARP); all its threads call. May be called again
 * at once: two barriers. */
template <int Threads, class T> __device__ T block_sum(T value) {
    static_assert(Threads % WARP == 0 && Threads <= 1024, "whole warps, at most 32");
    CUDA_SHARED(T, part, [Threads / WARP]);
    value = warp_sum(value);
    if (lane_of_warp() == 0) { part[warp_of_block()] = value; }
    __syncthreads();
    T share = lane_of_warp() < Threads / WARP ? part[lane_of_warp()] : (T)0;
    __syncthreads();
    return warp_sum(share);
}

/* Greatest over the block, as block_sum. */
template <int Threads> __device__ float block_max(float value) {
    static_assert(Threads % WARP == 0 && Threads <= 1024, "whole warps, at most 32");
    CUDA_SHARED(float, part, [Threads / WARP]);
    value = warp_max(value);
    if (lane_of_warp() == 0) { part[warp_of_block()] = value; }
    __syncthreads();
    float share = part[lane_of_warp() % (Threads / WARP)];
    __syncthreads();
    return warp_max(share);
}

#endif
