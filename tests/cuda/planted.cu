/* SPDX-License-Identifier: Apache-2.0
 *
 * planted.cu - one small kernel per fault that the executor or a sanitizer must report, and a few
 * that look bold and are right. test_cuda_planted.c runs this program once per fault.
 *
 * usage: planted NAME [ascending|descending|shuffled [SEED]]
 * Prints the launch's error and the first results: "launch 0: 1 2 3 4" */
#include <cstdio>
#include <cstdlib>

#include "kernels/cuda/reduce.h"
#include "kernels/cuda/tile.h"
#include "tests/cuda/cuda_host_control.h"

namespace {

constexpr int out_count = 64;

/* ---- memory ---------------------------------------------------------------------------------- */

__global__ void shared_overrun(float *out, int by) {
    CUDA_SHARED(float, s, [32]);
    float *p = s;
    p[(int)threadIdx.x + by] = 1.0f;
    __syncthreads();
    out[threadIdx.x] = p[threadIdx.x];
}
__global__ void piece_overrun(float *out, int by) {
    struct shared_room room = shared_room_open();
    float *a = shared_take<float>(&room, 32), *b = shared_take<float>(&room, 32);
    b[threadIdx.x] = 0.0f;
    a[(int)threadIdx.x + by] = 1.0f;
    __syncthreads();
    out[threadIdx.x] = a[threadIdx.x] + b[threadIdx.x];
}
__global__ void global_overrun(float *out, int by) {
    out[(int)threadIdx.x + out_count - 32 + by] = 1.0f;
}
__attribute__((noinline)) float *lost(float *p) { /* the compiler loses the size */
    return p;
}
__global__ void local_overrun(float *out, int by) {
    float a[4] = {1, 2, 3, 4}, *p = lost(a);
    __syncthreads();
    out[threadIdx.x] = p[3 + by];
}
__device__ float deep(float x, int n) { // NOLINT: recursion is the point
    volatile float pad[64];
    pad[n % 64] = x;
    return n == 0 ? x : deep(x, n - 1) + pad[n % 64];
}
__global__ void stack_overflow(float *out, int by) {
    out[threadIdx.x] = deep(1.0f, by * 100000);
}
__global__ void unwritten_shared(float *out, int by) {
    CUDA_SHARED(float, s, [64]);
    s[threadIdx.x] = 1.0f;
    __syncthreads();
    out[threadIdx.x] = s[threadIdx.x] + s[(int)threadIdx.x + 32 * by];
}
__global__ void misaligned(float *out, int by) {
    const float4 v = *reinterpret_cast<const float4 *>(out + by);
    out[threadIdx.x] = v.x;
}
__global__ void overflow_int(float *out, int by) {
    out[threadIdx.x] = (float)((2147483647 - 1 + by) + by);
}
__global__ void take_too_much(float *out, int by) {
    struct shared_room room = shared_room_open();
    float *s = shared_take<float>(&room, 64 * by);
    s[threadIdx.x] = 1.0f;
    out[threadIdx.x] = s[threadIdx.x];
}

/* ---- barriers -------------------------------------------------------------------------------- */

__global__ void missing_barrier(float *out, int by) {
    CUDA_SHARED(float, s, [64]);
    s[threadIdx.x] = (float)threadIdx.x;
    out[threadIdx.x] = s[((int)threadIdx.x + by) % 64];
}
__global__ void missing_barrier_again(float *out, int by) { /* between a read and the next write */
    CUDA_SHARED(float, s, [2]);
    for (int i = 0; i < 2; i++) {
        if (lane_of_warp() == 0) { s[warp_of_block()] = (float)(i + by); }
        __syncthreads();
        out[threadIdx.x] += s[0] + s[1];
    }
}
__global__ void missing_syncwarp(float *out, int by) {
    CUDA_SHARED(float, s, [32]);
    s[threadIdx.x] = (float)threadIdx.x;
    out[threadIdx.x] = s[(int)threadIdx.x ^ by];
}
__global__ void early_return(float *out, int by) {
    if ((int)threadIdx.x >= 32 + by) { return; }
    __syncthreads();
    out[threadIdx.x] = 1.0f;
}
__global__ void two_barriers(float *out, int by) {
    if ((int)threadIdx.x < 32 * by) {
        __syncthreads();
    } else {
        __syncthreads();
    }
    out[threadIdx.x] = 1.0f;
}

/* ---- warps ----------------------------------------------------------------------------------- */

__global__ void absent_lane(float *out, int by) {
    float v = 1.0f;
    if (threadIdx.x < 16) { v = __shfl_sync(0xffffu, v, 19 + by); }
    out[threadIdx.x] = v;
}
__global__ void mixed_masks(float *out, int by) {
    float v = 1.0f;
    if (threadIdx.x < 16) {
        v = __shfl_xor_sync(0xffffffffu, v, by);
    } else {
        v = __shfl_xor_sync(0xffff0000u, v, by);
    }
    out[threadIdx.x] = v;
}
__global__ void left_out(float *out, int by) {
    out[threadIdx.x] = __shfl_xor_sync(0x0000ffffu, 1.0f, by);
}
__global__ void divergent_mma(float *out, int by) {
    float c[4] = {};
    const uint32_t a[4] = {}, b[2] = {};
    if ((int)threadIdx.x < 31 + by - 1) { tile_mma(c, a, b); }
    out[threadIdx.x] = c[0];
}
__global__ void unwaited_copy(float *out, int by) { /* reads before the bytes have come */
    CUDA_SHARED(float4, s, [32]);
    s[threadIdx.x] = make_float4(-1.0f, -1.0f, -1.0f, -1.0f);
    copy_async(&s[threadIdx.x], out + 4 * (threadIdx.x % 4), true);
    copy_async_commit();
    const float got = s[threadIdx.x].x;
    copy_async_wait<0>();
    out[(int)threadIdx.x + by] = got;
}
__global__ void forgotten_copy(float *out, int by) {
    CUDA_SHARED(float4, s, [32]);
    copy_async(&s[threadIdx.x], out, by != 0);
    copy_async_commit();
}

/* ---- order ----------------------------------------------------------------------------------- */

__global__ void block_order(float *out, int by) { /* blocks depend on each other */
    if (threadIdx.x == 0) {
        out[blockIdx.x] = blockIdx.x == 0 ? 1.0f : out[blockIdx.x - by] + 1.0f;
    }
}
__global__ void atomic_sum(float *out, int by) { /* the bits depend on who comes first */
    const float v = 1.0f / (float)(1 + (int)(blockIdx.x * blockDim.x + threadIdx.x) * by);
    atomicAdd(out, v);
}
__global__ void fixed_sum(float *out, int by) { /* they do not */
    const float v = 1.0f / (float)(1 + (int)threadIdx.x * by);
    const float sum = block_sum<64>(v);
    if (threadIdx.x == 0) { *out = sum; }
}

__global__ void reduce_again(float *out, int by) { /* reductions one after the other */
    float top = 0.0f, sum = 0.0f;
    for (int i = 0; i < 3; i++) {
        top += block_max<64>((float)((int)threadIdx.x * by + i));
    }
    for (int i = 0; i < 3; i++) {
        sum += block_sum<64>((float)(by + i));
    }
    out[threadIdx.x] = threadIdx.x % 2 == 0 ? top : sum;
}

/* ---- right, though it does not look it ------------------------------------------------------- */

__global__ void halves(float *out, int by) { /* two disjoint masks at once */
    float v = (float)threadIdx.x;
    if (threadIdx.x < 16) {
        v = __shfl_xor_sync(0x0000ffffu, v, by);
    } else {
        v = __shfl_xor_sync(0xffff0000u, v, 2 * by);
    }
    out[threadIdx.x] = v;
}
__global__ void last_block(float *out, int by) { /* the last block adds up: fence and counter */
    CUDA_SHARED(bool, last, );
    unsigned *count = reinterpret_cast<unsigned *>(out + 32);
    if (threadIdx.x == 0) {
        out[blockIdx.x + 1] = (float)(blockIdx.x + 1);
        __threadfence();
        last = atomicAdd(count, (unsigned)by) == gridDim.x - 1;
    }
    __syncthreads();
    if (last && threadIdx.x == 0) {
        __threadfence();
        float sum = 0.0f;
        for (unsigned i = 0; i < gridDim.x; i++) {
            sum += out[i + 1];
        }
        *out = sum;
    }
}
/* a (16,16) with a[i][k] = i - k, b (16,8) with b[k][j] = k + j, through asynchronous copies, tile
 * loads and a product; both tiles are packed by the first warp. */
__global__ void tiles(float *out, int by) {
    CUDA_SHARED(bf16, a, [16][24]);
    CUDA_SHARED(bf16, b, [16][8]);
    CUDA_SHARED(bf16, kept, [16][24]);
    const int lane = lane_of_warp();
    for (int i = lane; i < 16 * 24; i += WARP) {
        kept[i / 24][i % 24] = bf16_of((float)(i / 24 - i % 24));
    }
    for (int i = lane; i < 16 * 8; i += WARP) {
        b[i / 8][i % 8] = bf16_of((float)(i / 8 + i % 8));
    }
    __syncwarp();
    for (int i = lane; i < 16 * 3; i += WARP) {
        copy_async(&a[i / 3][i % 3 * 8], &kept[i / 3][i % 3 * 8], by != 0);
    }
    copy_async_commit();
    copy_async_wait<0>();
    __syncwarp();
    uint32_t fa[4], fb[4];
    float c[4] = {};
    tile_load(fa, &a[lane % 16][lane / 16 * 8]);
    tile_load_turned(fb, &b[lane % 16][0]);
    const uint32_t first[2] = {fb[0], fb[1]};
    tile_mma(c, fa, first);
    out[lane] = c[0];
}

struct planted {
    const char *name;
    void (*kernel)(float *out, int by);
    unsigned grid, block;
    size_t shared_bytes;
};

const planted all[] = {
    {"shared_overrun", shared_overrun, 1, 32, 0},
    {"piece_overrun", piece_overrun, 1, 32, 256},
    {"global_overrun", global_overrun, 1, 32, 0},
    {"local_overrun", local_overrun, 1, 32, 0},
    {"stack_overflow", stack_overflow, 1, 32, 0},
    {"unwritten_shared", unwritten_shared, 1, 32, 0},
    {"misaligned", misaligned, 1, 32, 0},
    {"overflow_int", overflow_int, 1, 32, 0},
    {"take_too_much", take_too_much, 1, 32, 128},
    {"missing_barrier", missing_barrier, 1, 64, 0},
    {"missing_barrier_again", missing_barrier_again, 1, 64, 0},
    {"missing_syncwarp", missing_syncwarp, 1, 32, 0},
    {"early_return", early_return, 1, 64, 0},
    {"two_barriers", two_barriers, 1, 64, 0},
    {"absent_lane", absent_lane, 1, 32, 0},
    {"mixed_masks", mixed_masks, 1, 32, 0},
    {"left_out", left_out, 1, 32, 0},
    {"divergent_mma", divergent_mma, 1, 32, 0},
    {"unwaited_copy", unwaited_copy, 1, 32, 0},
    {"forgotten_copy", forgotten_copy, 1, 32, 0},
    {"block_order", block_order, 8, 32, 0},
    {"atomic_sum", atomic_sum, 4, 64, 0},
    {"fixed_sum", fixed_sum, 1, 64, 0},
    {"reduce_again", reduce_again, 1, 64, 0},
    {"halves", halves, 1, 32, 0},
    {"last_block", last_block, 8, 32, 0},
    {"tiles", tiles, 1, 32, 0},
    {"too_many_threads", halves, 1, 2048, 0},
    {"no_blocks", halves, 0, 32, 0},
    {"too_much_shared", halves, 1, 32, 300000},
};

void order_set(int argc, char **argv) {
    const uint64_t seed = argc > 3 ? strtoull(argv[3], nullptr, 10) : 1;
    const char *order = argc > 2 ? argv[2] : "ascending";

    if (strcmp(order, "descending") == 0) { cuda_host_set_order(CUDA_HOST_DESCENDING, seed); }
    if (strcmp(order, "shuffled") == 0) { cuda_host_set_order(CUDA_HOST_SHUFFLED, seed); }
}

} // namespace

int main(int argc, char **argv) {
    void *memory = nullptr;
    float host[out_count] = {};

    order_set(argc, argv);
    if (cudaMalloc(&memory, sizeof host) != cudaSuccess) { return 1; }
    auto *out = static_cast<float *>(memory);
    if (cudaMemsetAsync(out, 0, sizeof host, nullptr) != cudaSuccess) { return 1; }
    for (const planted &p : all) {
        if (argc < 2 || strcmp(p.name, argv[1]) != 0) { continue; }
        const cudaError_t e = port_launch(p.name, nullptr, p.kernel, dim3(p.grid), dim3(p.block),
                                          p.shared_bytes, out, 1);
        if (cudaMemcpyAsync(host, out, sizeof host, cudaMemcpyDeviceToHost, nullptr) != 0) {
            return 1;
        }
        printf("launch %d:", e);
        for (int i = 0; i < 8; i++) {
            printf(" %.9g", double(host[i]));
        }
        printf("\nguards %s\n", cuda_host_guards_whole() ? "whole" : "broken");
        return cudaFree(out) == cudaSuccess ? 0 : 1;
    }
    if (argc > 1 && strcmp(argv[1], "host_reads_device") == 0) {
        printf("%g\n", double(out[0]));
        return 0;
    }
    fprintf(stderr, "planted: no such fault\n");
    return 64;
}
