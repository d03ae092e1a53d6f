/* SPDX-License-Identifier: Apache-2.0
 *
 * tile.h - tensor cores and the copies that feed them, with scalar twins for the executor.
 *
 * The fragment layouts are those of PTX ISA 8.x, "Matrix fragments for mma.m16n8k16" and
 * "ldmatrix": lane l is g = l/4, t = l%4.
 *
 *   a (16,16) bf16   a[0]: row g   cols 2t,2t+1     a[1]: row g+8   same cols
 *                    a[2]: row g   cols 2t+8,2t+9   a[3]: row g+8   same cols
 *   b (16,8)  bf16   b[0]: rows 2t,2t+1 of col g    b[1]: rows 2t+8,2t+9 of col g
 *   c (16,8)  f32    c[0], c[1]: row g cols 2t,2t+1        c[2], c[3]: row g+8
 *
 * All sm_80: the same code runs on every card since then.
 */
#ifndef KERNELS_CUDA_TILE_H
#define KERNELS_CUDA_TILE_H

#include "kernels/cuda/port.h"

#ifdef __CUDACC__

/* c (16,8) += a (16,16) b (16,8); all 32 lanes. */
__device__ __forceinline__ void tile_mma(float (&c)[4], const uint32_t (&a)[4],
                                         const uint32_t (&b)[2]) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
                 "{%0,%1,%2,%3},{%4,%5,%6,%7},{%8,%9},{%0,%1,%2,%3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

/* Four 8x8 blocks of bf16 from shared memory: lane i gives the address of row i%8 of block i/8 (16
 * bytes, aligned); word j of lane l is row l/4, columns 2(l%4) and +1 of block j. */
__device__ __forceinline__ void tile_load(uint32_t (&words)[4], const bf16 *row) {
    unsigned at = (unsigned)__cvta_generic_to_shared(row);
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(words[0]), "=r"(words[1]), "=r"(words[2]), "=r"(words[3])
                 : "r"(at)
                 : "memory");
}

/* The same with each block transposed: word j of lane l is column l/4, rows 2(l%4) and +1. */
__device__ __forceinline__ void tile_load_turned(uint32_t (&words)[4], const bf16 *row) {
    unsigned at = (unsigned)__cvta_generic_to_shared(row);
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(words[0]), "=r"(words[1]), "=r"(words[2]), "=r"(words[3])
                 : "r"(at)
                 : "memory");
}

/* Starts copying 16 bytes from global to shared memory, both aligned to 16; zeros when not `valid`
 * (then `global` is not read, but must be a pointer into memory of the device). */
__device__ __forceinline__ void copy_async(void *shared, const void *global, bool valid) {
    unsigned at = (unsigned)__cvta_generic_to_shared(shared);
    int bytes = valid ? 16 : 0;
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(at), "l"(global), "r"(bytes)
                 : "memory");
}

/* Closes a group of the copies this thread started. */
__device__ __forceinline__ void copy_async_commit() {
    asm volatile("cp.async.commit_group;" ::: "memory");
}

/* Waits for all of this thread's groups but the latest `Pending`; other threads see the bytes after
 * a barrier. */
template <int Pending> __device__ __forceinline__ void copy_async_wait() {
    asm volatile("cp.async.wait_group %0;" ::"n"(Pending) : "memory");
}

#else
#include <cuda_host_tile.hpp>
#endif

#endif
