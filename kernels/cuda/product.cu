/* SPDX-License-Identifier: Apache-2.0
 *
 * product.cu - c = alpha op(a) op(b) + beta c: the own kernel, made for the thin products of LoRA.
 *
 *   forward   h  (N,R) = x A^T       few columns, long k       ─▸ tile of 64 x 16
 *             y (N,O) += u B^T       short k, all of c moves   ─▸ tile of 64 x 64
 *   backward  dA (R,I) += dh^T x     few rows, k = N           ─▸ turned: dA^T = x^T dh
 *
 * A block of four warps does a tile, 32 of k at a time, through shared memory, on tensor cores with
 * numbers split in three, which is f32 (fragment.h); the next 32 are on their way in registers
 * meanwhile. Where c has too few tiles to fill a card, k is cut into parts that are summed
 * afterwards, in order. The cut depends on the shape alone. */
#include "kernels/cuda/product.h"

#include <utility>

#include "kernels/cuda/fragment.h"

#define PRODUCT_THREADS 128
#define PRODUCT_ROWS    64 /* of a tile: 16 a warp */
#define PRODUCT_DEPTH   32 /* of k at a time */
#define PRODUCT_WIDE    64 /* columns of a tile */
#define PRODUCT_NARROW  16

/* Tiles from which k is not cut, and the least k of a part: two tiles for each of the 132
 * multiprocessors of an H100. */
#define PRODUCT_TILES_MIN 256
#define PRODUCT_PART_MIN  256

/* Up to this many rows, columns or inner elements cublasLt is slow (its tiles are part empty). */
#define PRODUCT_THIN 64

/* What the kernel gets. */
struct product_job {
    float *c;
    size_t c_row, c_column; /* elements between rows, between columns */
    const void *a, *b;
    size_t a_line, b_line;
    bool a_fours, b_fours; /* four neighbours may be read at once */
    int m, n, k;
    float alpha, beta;
    float *part; /* (parts,m,n): sums of parts, when parts > 1 */
    int part_depth, parts;
};

/* ---- kernels --------------------------------------------------------------------------------- */

/* Lines [line0, line0+Lines) and columns [column0, column0+Columns) of a matrix on their way from
 * global memory to a tile of the same shape. */
template <int Lines, int Columns> struct product_fetch {
    static constexpr int count = Lines * Columns / 4 / PRODUCT_THREADS;
    float4 four[count];

    template <class T>
    __device__ __forceinline__ void start(const T *x, size_t x_line, int line0, int lines,
                                          int column0, int columns, bool fours) {
#pragma unroll
        for (int i = 0; i < count; i++) {
            const int e = i * PRODUCT_THREADS + (int)threadIdx.x;
            const int line = line0 + e / (Columns / 4), column = column0 + e % (Columns / 4) * 4;
            four[i] = line < lines ? four_read(x + (size_t)line * x_line, column, columns, fours)
                                   : make_float4(0.0f, 0.0f, 0.0f, 0.0f);
        }
    }
    template <int Parts> __device__ __forceinline__ void finish(const struct split_tile &tile) {
#pragma unroll
        for (int i = 0; i < count; i++) {
            const int e = i * PRODUCT_THREADS + (int)threadIdx.x;
            split_store<Parts>(tile, e / (Columns / 4) * tile.row + e % (Columns / 4) * 4, four[i]);
        }
    }
};

/* sum (16,Width) of a warp += its 16 rows of a times b, over one depth of tiles. */
template <int Width, bool TurnA, bool TurnB, int Parts>
__device__ __forceinline__ void product_step(float (&sum)[Width / 8][4], const struct split_tile &a,
                                             const struct split_tile &b) {
#pragma unroll
    for (int k = 0; k < PRODUCT_DEPTH; k += 16) {
        struct split_left<Parts> left;
        split_left_load<Parts, TurnA>(left, a, warp_of_block() * 16, k);
#pragma unroll
        for (int i = 0; i < Width / 8; i += 2) {
            split_multiply<Parts, TurnB>(sum[i], sum[i + 1], left, b, i * 8, k);
        }
    }
}

/* The same, added up outside of the tensor cores (fragment.h). */
template <int Width, bool TurnA, bool TurnB, int Parts>
__device__ __forceinline__ void product_step_rounded(float (&sum)[Width / 8][4],
                                                     const struct split_tile &a,
                                                     const struct split_tile &b) {
    float step[Width / 8][4] = {};

    product_step<Width, TurnA, TurnB, Parts>(step, a, b);
#pragma unroll
    for (int i = 0; i < Width / 8; i++) {
#pragma unroll
        for (int e = 0; e < 4; e++) {
            sum[i][e] += step[i][e];
        }
    }
}

/* One element of c, or of the part. */
__device__ __forceinline__ void product_write(const struct product_job &job, int i, int j,
                                              float sum) {
    if (i >= job.m || j >= job.n) { return; }
    if (job.parts > 1) {
        const size_t line = (size_t)blockIdx.z * (size_t)job.m + (size_t)i;
        job.part[line * (size_t)job.n + (size_t)j] = sum;
    } else {
        float *c = job.c + (size_t)i * job.c_row + (size_t)j * job.c_column;
        *c = job.beta == 0.0f ? job.alpha * sum : job.alpha * sum + job.beta * *c;
    }
}

/* Grid (row tiles, column tiles, parts of k). TurnA: a is stored (k,m). TurnB: b is stored (k,n).
 * B: float or bf16. Parts: of a number, 3 or 1. */
template <int Width, bool TurnA, bool TurnB, class B, int Parts>
__global__ void __launch_bounds__(PRODUCT_THREADS, 2) product_kernel(struct product_job job) {
    constexpr int a_lines = TurnA ? PRODUCT_DEPTH : PRODUCT_ROWS;
    constexpr int a_columns = TurnA ? PRODUCT_ROWS : PRODUCT_DEPTH;
    constexpr int b_lines = TurnB ? PRODUCT_DEPTH : Width;
    constexpr int b_columns = TurnB ? Width : PRODUCT_DEPTH;
    const int i0 = (int)blockIdx.x * PRODUCT_ROWS, j0 = (int)blockIdx.y * Width;
    const int k0 = (int)blockIdx.z * job.part_depth;
    const int k1 = job.k - k0 < job.part_depth ? job.k : k0 + job.part_depth;
    const float *a = static_cast<const float *>(job.a);
    const B *b = static_cast<const B *>(job.b);
    struct shared_room room = shared_room_open();
    const struct split_tile a_tile = split_tile_take<Parts>(&room, a_lines, a_columns);
    const struct split_tile b_tile = split_tile_take<Parts>(&room, b_lines, b_columns);
    struct product_fetch<a_lines, a_columns> a_next;
    struct product_fetch<b_lines, b_columns> b_next;
    float sum[Width / 8][4] = {};

    const auto fetch = [&](int k) {
        a_next.start(a, job.a_line, TurnA ? k : i0, TurnA ? job.k : job.m, TurnA ? i0 : k,
                     TurnA ? job.m : job.k, job.a_fours);
        b_next.start(b, job.b_line, TurnB ? k : j0, TurnB ? job.k : job.n, TurnB ? j0 : k,
                     TurnB ? job.n : job.k, job.b_fours);
    };
    if (k0 < k1) { fetch(k0); }
    for (int k = k0; k < k1; k += PRODUCT_DEPTH) {
        a_next.template finish<Parts>(a_tile);
        b_next.template finish<Parts>(b_tile);
        __syncthreads();
        if (k + PRODUCT_DEPTH < k1) { fetch(k + PRODUCT_DEPTH); }
        if constexpr (Parts > 1) {
            product_step_rounded<Width, TurnA, TurnB, Parts>(sum, a_tile, b_tile);
        } else {
            product_step<Width, TurnA, TurnB, Parts>(sum, a_tile, b_tile);
        }
        __syncthreads();
    }

    const int i = i0 + warp_of_block() * 16 + lane_of_warp() / 4;
    const int j = j0 + lane_of_warp() % 4 * 2;
#pragma unroll
    for (int block = 0; block < Width / 8; block++) {
#pragma unroll
        for (int e = 0; e < 4; e++) {
            product_write(job, i + e / 2 * 8, j + block * 8 + e % 2, sum[block][e]);
        }
    }
}

/* c = alpha (the parts in order) + beta c; one thread an element. */
static __global__ void __launch_bounds__(256) product_sum_kernel(struct product_job job) {
    const size_t size = (size_t)job.m * (size_t)job.n;
    const size_t e = (size_t)blockIdx.x * 256 + threadIdx.x;

    if (e < size) {
        float sum = 0.0f;
        for (int part = 0; part < job.parts; part++) {
            sum += job.part[(size_t)part * size + e];
        }
        float *c = job.c + e / (size_t)job.n * job.c_row + e % (size_t)job.n * job.c_column;
        *c = job.beta == 0.0f ? job.alpha * sum : job.alpha * sum + job.beta * *c;
    }
}

/* ---- launchers ------------------------------------------------------------------------------- */

/* Bytes of a block's tiles, whichever way they are turned. */
static size_t product_shared(int parts, int width) {
    const size_t a = split_tile_need(parts, PRODUCT_ROWS, PRODUCT_DEPTH);
    const size_t b = split_tile_need(parts, width, PRODUCT_DEPTH);
    const size_t b_other = split_tile_need(parts, PRODUCT_DEPTH, width);

    return a + (b > b_other ? b : b_other);
}

template <int Width, class B, int Parts>
static void product_launch(struct cuda_backend *cuda, const struct product_job &job, bool turn_a,
                           bool turn_b) {
    const dim3 grid(cuda_pieces((size_t)job.m, PRODUCT_ROWS), cuda_pieces((size_t)job.n, Width),
                    (unsigned)job.parts);
    const dim3 block(PRODUCT_THREADS);
    const size_t shared = product_shared(Parts, Width);

    if (!turn_a && !turn_b) {
        CUDA_LAUNCH(cuda, product_kernel<Width, false, false, B, Parts>, grid, block, shared, job);
    } else if (!turn_a) {
        CUDA_LAUNCH(cuda, product_kernel<Width, false, true, B, Parts>, grid, block, shared, job);
    } else if (!turn_b) {
        CUDA_LAUNCH(cuda, product_kernel<Width, true, false, B, Parts>, grid, block, shared, job);
    } else {
        CUDA_LAUNCH(cuda, product_kernel<Width, true, true, B, Parts>, grid, block, shared, job);
    }
}

/* Cuts k so that the tiles of all parts fill a card. */
static void product_cut(struct product_job *job, int width) {
    const int tiles = (int)cuda_pieces((size_t)job->m, PRODUCT_ROWS) *
                      (int)cuda_pieces((size_t)job->n, (size_t)width);
    int parts = (int)cuda_pieces(PRODUCT_TILES_MIN, (size_t)tiles);

    if (parts > job->k / PRODUCT_PART_MIN) { parts = job->k / PRODUCT_PART_MIN; }
    if (parts < 1) { parts = 1; }
    const int depth = (int)cuda_pieces((size_t)job->k, (size_t)parts);
    job->part_depth = (int)cuda_pieces((size_t)depth, PRODUCT_DEPTH) * PRODUCT_DEPTH;
    job->parts = job->k == 0 ? 1 : (int)cuda_pieces((size_t)job->k, (size_t)job->part_depth);
}

static bool in_fours(const void *x, int line, size_t element_bytes) {
    return (uintptr_t)x % (4 * element_bytes) == 0 && line % 4 == 0;
}

void cuda_product_own(struct cuda_backend *cuda, const struct cuda_product *p) {
    const bool a_fours = in_fours(p->a, p->a_line, sizeof(float));
    const bool b_fours = in_fours(p->b, p->b_line, p->b_bf16 ? sizeof(bf16) : sizeof(float));
    /* few rows become few columns: c^T = b^T a^T */
    const bool turned = !p->b_bf16 && p->m <= PRODUCT_NARROW && p->n > PRODUCT_NARROW;
    struct product_job job = {.c = p->c,
                              .c_row = (size_t)p->c_line,
                              .c_column = 1,
                              .a = p->a,
                              .b = p->b,
                              .a_line = (size_t)p->a_line,
                              .b_line = (size_t)p->b_line,
                              .a_fours = a_fours,
                              .b_fours = b_fours,
                              .m = p->m,
                              .n = p->n,
                              .k = p->k,
                              .alpha = p->alpha,
                              .beta = p->beta,
                              .part = NULL,
                              .part_depth = 0,
                              .parts = 1};
    bool turn_a = p->a_turned, turn_b = !p->b_turned;

    if (p->m == 0 || p->n == 0) { return; }
    if (turned) {
        std::swap(job.c_row, job.c_column);
        std::swap(job.a, job.b);
        std::swap(job.a_line, job.b_line);
        std::swap(job.a_fours, job.b_fours);
        std::swap(job.m, job.n);
        turn_a = !p->b_turned;
        turn_b = p->a_turned;
    }
    const int width = job.n <= PRODUCT_NARROW && !p->b_bf16 ? PRODUCT_NARROW : PRODUCT_WIDE;
    product_cut(&job, width);
    if (job.parts > 1) {
        const size_t floats = (size_t)job.parts * (size_t)job.m * (size_t)job.n;
        job.part =
            static_cast<float *>(cuda_scratch(cuda, CUDA_SLOT_PRODUCT, floats * sizeof(float)));
        if (job.part == NULL) { return; }
    }
    if (p->b_bf16) {
        product_launch<PRODUCT_WIDE, bf16, 1>(cuda, job, turn_a, turn_b);
    } else if (width == PRODUCT_NARROW) {
        product_launch<PRODUCT_NARROW, float, 3>(cuda, job, turn_a, turn_b);
    } else {
        product_launch<PRODUCT_WIDE, float, 3>(cuda, job, turn_a, turn_b);
    }
    if (job.parts > 1) {
        const size_t size = (size_t)job.m * (size_t)job.n;
        CUDA_LAUNCH(cuda, product_sum_kernel, dim3(cuda_pieces(size, 256)), dim3(256), 0, job);
    }
}

void cuda_product_run(struct cuda_backend *cuda, const struct cuda_product *p) {
    const int least = p->m < p->n ? p->m : p->n;
    const bool thin = !p->b_bf16 && (least <= PRODUCT_THIN || p->k <= PRODUCT_THIN);

    if (cuda->fault.code != STATUS_OK || p->m == 0 || p->n == 0) { return; }
    if (thin || !cuda_product_library(cuda, p)) { cuda_product_own(cuda, p); }
}

static void product(struct backend *be, struct tensor c, struct tensor a, bool transpose_a,
                    struct tensor b, bool transpose_b, float alpha, float beta) {
    const struct cuda_product p = {.c = static_cast<float *>(c.data),
                                   .c_line = c.stride,
                                   .a = static_cast<const float *>(a.data),
                                   .a_line = a.stride,
                                   .a_turned = transpose_a,
                                   .b = b.data,
                                   .b_line = b.stride,
                                   .b_turned = transpose_b,
                                   .b_bf16 = false,
                                   .m = c.rows,
                                   .n = c.cols,
                                   .k = transpose_a ? a.rows : a.cols,
                                   .alpha = alpha,
                                   .beta = beta};

    assert(c.dtype == DTYPE_F32 && a.dtype == DTYPE_F32 && b.dtype == DTYPE_F32);
    assert((transpose_a ? a.cols : a.rows) == p.m);
    assert((transpose_b ? b.rows : b.cols) == p.n);
    assert((transpose_b ? b.cols : b.rows) == p.k);
    cuda_product_run(cuda_of(be), &p);
}

void cuda_product_install(struct backend_ops *ops) {
    ops->product = product;
}
