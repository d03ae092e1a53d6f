/* SPDX-License-Identifier: Apache-2.0
 *
 * port.h - one kernel source, two builds: nvcc for the device, g++ for the tests' executor.
 *
 *   norm.cu ──nvcc──▸ sm_80 86 89 90 and PTX          (this file: CUDA's own headers)
 *           └─g++───▸ functions that tests/cuda runs  (this file: <cuda_host.hpp>, on the include
 *                     thread by thread on a CPU         path of that build alone)
 *
 * What is not written outside this file and tile.h: `__shared__`, `<<<>>>`, inline PTX,
 * `__CUDA_ARCH__`. What is not used at all: `__activemask`, cooperative groups, part warps, float
 * atomics, waiting between blocks. A block has a multiple of 32 threads; a thread never returns
 * before the last barrier or warp operation of its kernel. Kernels are not overloaded and have no
 * default arguments.
 *
 * Barriers are CUDA's own words, __syncthreads() and __syncwarp(): the executor stops a thread
 * there and goes on with another one.
 */
#ifndef KERNELS_CUDA_PORT_H
#define KERNELS_CUDA_PORT_H

#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef __CUDACC__
#include <cuda_bf16.h>
#include <cuda_runtime.h>
#else
#include <cuda_host.hpp>
#endif

#define WARP     32
#define WARP_ALL 0xffffffffu

/* Lane of the thread in its warp and warp of the thread in its block; blocks are (threads, 1, 1) or
 * (x, y, 1) with x*y a multiple of WARP. */
__device__ __forceinline__ int thread_of_block() {
    return (int)(threadIdx.y * blockDim.x + threadIdx.x);
}
__device__ __forceinline__ int lane_of_warp() {
    return thread_of_block() % WARP;
}
__device__ __forceinline__ int warp_of_block() {
    return thread_of_block() / WARP;
}

/* ---- exchange within a warp: all 32 lanes take part ------------------------------------------ */
/* The value of lane (own lane ^ distance). */
#define WARP_XOR(value, distance) __shfl_xor_sync(WARP_ALL, (value), (distance))
/* The value of lane (own lane + distance), the own one beyond the warp's end. */
#define WARP_DOWN(value, distance) __shfl_down_sync(WARP_ALL, (value), (distance))
/* The value of lane (own lane - distance), the own one before the warp's start. */
#define WARP_UP(value, distance) __shfl_up_sync(WARP_ALL, (value), (distance))
/* The value of one lane for all. */
#define WARP_FROM(value, lane) __shfl_sync(WARP_ALL, (value), (lane))
/* Bit i: lane i's condition. */
#define WARP_BALLOT(condition) __ballot_sync(WARP_ALL, (condition))
#define WARP_ANY(condition)    (__any_sync(WARP_ALL, (condition)) != 0)

/* ---- bf16 ------------------------------------------------------------------------------------ */
typedef __nv_bfloat16 bf16;

/* Round to nearest even. */
__device__ __forceinline__ bf16 bf16_of(float x) {
    return __float2bfloat16_rn(x);
}
__device__ __forceinline__ float f32_of(bf16 x) {
    return __bfloat162float(x);
}
/* Two neighbours in one register: `low` has the lower address. */
__device__ __forceinline__ uint32_t bf16_pair(float low, float high) {
    return (uint32_t)__bfloat16_as_ushort(bf16_of(low)) |
           (uint32_t)__bfloat16_as_ushort(bf16_of(high)) << 16;
}

/* ---- shared memory --------------------------------------------------------------------------- */
/* An array of a fixed size, uninitialised: CUDA_SHARED(float, part, [8]); */
#ifdef __CUDACC__
#define CUDA_SHARED(type, name, dims) __shared__ type name dims
#else
#define CUDA_SHARED(type, name, dims) CUDA_HOST_SHARED(type, name, dims)
#endif

/* Bytes that one take of `count` elements uses; a launch asks for the sum over its takes. */
template <class T> static inline size_t shared_need(size_t count) {
    return (count * sizeof(T) + 15) & ~(size_t)15;
}

/* The block's dynamic shared memory, taken piece by piece; every piece begins on 16 bytes and all
 * threads take the same pieces in the same order. The executor hands out each piece as a heap block
 * of its own, full of 0xff, so that running out of one is seen. */
struct shared_room {
#ifdef __CUDACC__
    unsigned char *next;
#else
    unsigned taken;
#endif
};

__device__ __forceinline__ struct shared_room shared_room_open() {
    struct shared_room room;
#ifdef __CUDACC__
    extern __shared__ __align__(128) unsigned char port_shared[];
    room.next = port_shared;
#else
    room.taken = 0;
#endif
    return room;
}

template <class T> __device__ __forceinline__ T *shared_take(struct shared_room *room, int count) {
#ifdef __CUDACC__
    T *piece = reinterpret_cast<T *>(room->next);
    room->next += ((size_t)count * sizeof(T) + 15) & ~(size_t)15;
    return piece;
#else
    return static_cast<T *>(cuda_host::shared_piece(room->taken++, (size_t)count * sizeof(T)));
#endif
}

/* ---- launch ---------------------------------------------------------------------------------- */
/* Bytes of dynamic shared memory above which a kernel must be told. CUDA C++ Programming Guide,
 * 16.5.3 "Shared Memory". */
#define SHARED_BYTES_PLAIN 49152u

/* Enqueues the kernel; the only place with <<<>>>. Called by CUDA_LAUNCH (cuda.h). */
template <class... P, class... A>
static inline cudaError_t port_launch(const char *what, cudaStream_t stream, void (*kernel)(P...),
                                      dim3 grid, dim3 block, size_t shared_bytes, A... args) {
    static_assert(sizeof...(P) == sizeof...(A), "as many arguments as the kernel has");
    if (shared_bytes > SHARED_BYTES_PLAIN) {
        cudaError_t e =
            cudaFuncSetAttribute(reinterpret_cast<const void *>(kernel),
                                 cudaFuncAttributeMaxDynamicSharedMemorySize, (int)shared_bytes);
        if (e != cudaSuccess) { return e; }
    }
#ifdef __CUDACC__
    (void)what;
    kernel<<<grid, block, shared_bytes, stream>>>(static_cast<P>(args)...);
    return cudaGetLastError();
#else
    (void)stream;
    return cuda_host::launch(what, kernel, grid, block, shared_bytes, static_cast<P>(args)...);
#endif
}

#endif
