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

/* ---- teams: a warp or a whole block works on one row ----------------------------------------- */
/* A block of TEAM_BLOCK threads holds TEAM_BLOCK / Team teams. Narrow rows take a warp, wide ones
 * the block: which one depends on the columns alone, so a row has the same bits wherever it is. */
#define TEAM_BLOCK    256
#define TEAM_COLS_MAX 512 /* columns up to which a warp does a row */

template <int Team> __device__ __forceinline__ int team_row() {
    return (int)blockIdx.x * (TEAM_BLOCK / Team) + (int)threadIdx.x / Team;
}
template <int Team> __device__ __forceinline__ int team_member() {
    return (int)threadIdx.x % Team;
}

/* Over the team; every member gets the result. */
template <int Team, class T> __device__ __forceinline__ T team_sum(T value) {
    static_assert(Team == WARP || Team == TEAM_BLOCK, "a warp or the block");
    if constexpr (Team == WARP) {
        return warp_sum(value);
    } else {
        return block_sum<Team>(value);
    }
}
template <int Team> __device__ __forceinline__ float team_max(float value) {
    static_assert(Team == WARP || Team == TEAM_BLOCK, "a warp or the block");
    if constexpr (Team == WARP) {
        return warp_max(value);
    } else {
        return block_max<Team>(value);
    }
}

#endif
