/* SPDX-License-Identifier: Apache-2.0
 *
 * attention.cu - softmax attention over packed segments, forward, and of single rows over a cache.
 *
 * Forward (Dao et al. 2022, with the loops of Dao 2023): a block has 64 query rows of one head in
 * shared memory and walks over the keys and values that they see, 32 rows at a time; each warp
 * keeps the greatest score so far, the sum and the weighted values of 16 rows in registers. Scores
 * are in units of log 2: one instruction is e^x's cheaper half.
 *
 * A row over a cache is one block's: each warp takes every fourth key, then the first adds up. */
#include "kernels/cuda/attention.h"

/* Keys at a time: what the shared memory of sm_86 (99 KiB) leaves. */
template <int Wide, int Parts> struct forward_columns {
    static constexpr int count = Wide == 128 && Parts == 3 ? 16 : 32;
};

/* ---- forward --------------------------------------------------------------------------------- */

/* What a thread knows of its two rows, row/4 and row/4 + 8 of its warp's 16. */
template <int Wide> struct forward_rows {
    float top[2]; /* greatest score so far, in log 2 */
    float sum[2]; /* of 2^(score - top), over the thread's columns */
    float out[Wide / 8][4];
};

/* Takes scores (16,Columns) of columns whose limit for the thread's rows is `seen` (the
 * first columns are visible); leaves weights in their place. */
template <int Wide, int Columns>
__device__ __forceinline__ void softmax_go_on(struct forward_rows<Wide> *rows,
                                              float (&scores)[Columns / 8][4], const int (&seen)[2],
                                              float scale) {
    float top[2] = {rows->top[0], rows->top[1]}, less[2];

#pragma unroll
    for (int i = 0; i < Columns / 8; i++) {
#pragma unroll
        for (int e = 0; e < 4; e++) {
            const int column = i * 8 + lane_of_warp() % 4 * 2 + e % 2;
            scores[i][e] = column < seen[e / 2] ? scores[i][e] * scale : -INFINITY;
            top[e / 2] = fmaxf(top[e / 2], scores[i][e]);
        }
    }
#pragma unroll
    for (int r = 0; r < 2; r++) { /* over the four threads of a row */
        top[r] = fmaxf(top[r], WARP_XOR(top[r], 1));
        top[r] = fmaxf(top[r], WARP_XOR(top[r], 2));
        const float base = top[r] == -INFINITY ? 0.0f : top[r]; /* a row that sees nothing yet */
        less[r] = exp2f(rows->top[r] - base);
        rows->top[r] = top[r];
        rows->sum[r] *= less[r];
        top[r] = base;
    }
#pragma unroll
    for (int i = 0; i < Columns / 8; i++) {
#pragma unroll
        for (int e = 0; e < 4; e++) {
            scores[i][e] = exp2f(scores[i][e] - top[e / 2]);
            rows->sum[e / 2] += scores[i][e];
        }
    }
#pragma unroll
    for (int i = 0; i < Wide / 8; i++) {
#pragma unroll
        for (int e = 0; e < 4; e++) {
            rows->out[i][e] *= less[e / 2];
        }
    }
}

/* Keys and values [begin, end) against the tile; `causal`: the segment's own, of which row n sees
 * those up to n. */
template <int Wide, int Parts>
__device__ __forceinline__ void forward_range(struct forward_rows<Wide> *rows,
                                              const struct split_tile &q_tile,
                                              const struct split_tile &k_tile,
                                              const struct split_tile &v_tile, struct tensor k,
                                              struct tensor v, int begin, int end, bool causal,
                                              const struct attention_tile &tile, int g,
                                              struct attention_shape shape) {
    constexpr int Columns = forward_columns<Wide, Parts>::count;
    const int warp_first = tile.first + warp_of_block() * 16;
    const int warp_last = tile.first + tile.count - 1 < warp_first + 15
                              ? tile.first + tile.count - 1
                              : warp_first + 15;

    for (int first = begin; first < end; first += Columns) {
        const int count = end - first < Columns ? end - first : Columns;
        __syncthreads();
        head_fill<Columns, Wide, Parts>(k_tile, k, first, count, g * shape.D, shape);
        head_fill<Columns, Wide, Parts>(v_tile, v, first, count, g * shape.D, shape);
        __syncthreads();
        /* the same for the whole warp: it has rows, and they see some of these columns */
        if (warp_first <= warp_last && (!causal || first <= warp_last)) {
            float scores[Columns / 8][4];
            const int row = warp_first + lane_of_warp() / 4;
            const int seen0 = causal && row - first + 1 < count ? row - first + 1 : count;
            const int seen1 = causal && row - first + 9 < count ? row - first + 9 : count;
            const int seen[2] = {seen0, seen1};
            head_scores<Wide, Columns, Parts>(scores, q_tile, k_tile);
            softmax_go_on<Wide, Columns>(rows, scores, seen, shape.scale * LOG2_E);
            head_gather<Wide, Columns, Parts>(rows->out, scores, v_tile);
        }
    }
}

/* out (N,H*D), lse (N,H). Grid (tiles, H). Wide: D rounded up. */
template <int Wide, int Parts>
__global__ void __launch_bounds__(ATTENTION_THREADS, Wide <= 96 && Parts == 2 ? 3 : 2)
    attention_kernel(struct tensor out, struct tensor lse, struct tensor q, struct tensor k,
                     struct tensor v, const struct attention_tile *__restrict__ tiles,
                     struct attention_shape shape) {
    constexpr int Columns = forward_columns<Wide, Parts>::count;
    const struct attention_tile tile = tiles[blockIdx.x];
    const int h = (int)blockIdx.y, g = h / shape.shared;
    struct shared_room room = shared_room_open();
    const struct split_tile q_tile = split_tile_take<Parts>(&room, ATTENTION_ROWS, Wide);
    const struct split_tile k_tile = split_tile_take<Parts>(&room, Columns, Wide);
    const struct split_tile v_tile = split_tile_take<Parts>(&room, Columns, Wide);
    struct forward_rows<Wide> rows = {
        {-INFINITY, -INFINITY}, {0.0f, 0.0f}, {}
    };

    head_fill<ATTENTION_ROWS, Wide, Parts>(q_tile, q, tile.first, tile.count, h * shape.D, shape);
    forward_range<Wide, Parts>(&rows, q_tile, k_tile, v_tile, k, v, tile.prefix_begin,
                               tile.prefix_end, false, tile, g, shape);
    forward_range<Wide, Parts>(&rows, q_tile, k_tile, v_tile, k, v, tile.begin,
                               tile.first + tile.count, true, tile, g, shape);

    for (int r = 0; r < 2; r++) {
        rows.sum[r] += WARP_XOR(rows.sum[r], 1);
        rows.sum[r] += WARP_XOR(rows.sum[r], 2);
        const int row = warp_of_block() * 16 + lane_of_warp() / 4 + r * 8;
        if (row < tile.count && lane_of_warp() % 4 == 0) {
            row_f32(lse, tile.first + row)[h] = (rows.top[r] + log2f(rows.sum[r])) * LN_2;
        }
    }
    head_write<Wide>(out, rows.out, 1.0f / rows.sum[0], 1.0f / rows.sum[1], tile.first, tile.count,
                     h * shape.D, shape.D);
}

/* ---- cached ---------------------------------------------------------------------------------- */

#define CACHED_WARPS (ATTENTION_THREADS / WARP)
#define CACHED_LANE  (ATTENTION_HEAD / WARP) /* numbers of a head that a lane holds */

/* out (n,H*D): row n, head h against rows `ranges[n]` of k and v. Grid (rows, H). */
static __global__ void __launch_bounds__(ATTENTION_THREADS)
    cached_kernel(struct tensor out, struct tensor q, struct tensor k, struct tensor v,
                  const struct row_range *__restrict__ ranges, struct attention_shape shape) {
    CUDA_SHARED(float, part, [CACHED_WARPS][ATTENTION_HEAD + 2]); /* values, greatest, sum */
    const struct row_range range = ranges[blockIdx.x];
    const int n = (int)blockIdx.x, h = (int)blockIdx.y, D = shape.D, g = h / shape.shared;
    const int lane = lane_of_warp(), warp = warp_of_block();
    float q_d[CACHED_LANE], sum_d[CACHED_LANE] = {}, top = -INFINITY, sum = 0.0f;

    for (int i = 0; i < CACHED_LANE; i++) {
        const int d = lane + i * WARP;
        q_d[i] = d < D ? row_f32(q, n)[h * D + d] * (shape.scale * LOG2_E) : 0.0f;
    }
    for (int row = range.begin + warp; row < range.end; row += CACHED_WARPS) {
        const float *k_row = row_f32(k, row) + g * D, *v_row = row_f32(v, row) + g * D;
        float score = 0.0f;
        for (int i = 0; i < CACHED_LANE; i++) {
            const int d = lane + i * WARP;
            score += d < D ? q_d[i] * k_row[d] : 0.0f;
        }
        score = warp_sum(score);
        const float higher = fmaxf(top, score), less = exp2f(top - higher);
        const float p = exp2f(score - higher);
        top = higher;
        sum = sum * less + p;
        for (int i = 0; i < CACHED_LANE; i++) {
            const int d = lane + i * WARP;
            sum_d[i] = sum_d[i] * less + (d < D ? p * v_row[d] : 0.0f);
        }
    }
    for (int i = 0; i < CACHED_LANE; i++) {
        part[warp][lane + i * WARP] = sum_d[i];
    }
    if (lane == 0) {
        part[warp][ATTENTION_HEAD] = top;
        part[warp][ATTENTION_HEAD + 1] = sum;
    }
    __syncthreads();
    for (int d = (int)threadIdx.x; d < D; d += ATTENTION_THREADS) {
        float value = 0.0f;
        top = -INFINITY; /* the first warp has a key */
        sum = 0.0f;
        for (int w = 0; w < CACHED_WARPS; w++) {
            top = fmaxf(top, part[w][ATTENTION_HEAD]);
        }
        for (int w = 0; w < CACHED_WARPS; w++) {
            const float less = exp2f(part[w][ATTENTION_HEAD] - top);
            sum += part[w][ATTENTION_HEAD + 1] * less;
            value += part[w][d] * less;
        }
        row_f32(out, n)[h * D + d] = value / sum;
    }
}

/* ---- launchers ------------------------------------------------------------------------------- */

template <int Wide, int Parts>
static void forward_launch(struct cuda_backend *cuda, struct tensor out, struct tensor lse,
                           struct tensor q, struct tensor k, struct tensor v,
                           const struct attention_tile *tiles, int count,
                           struct attention_shape shape) {
    constexpr int Columns = forward_columns<Wide, Parts>::count;
    const size_t shared =
        split_tile_need(Parts, ATTENTION_ROWS, Wide) + 2 * split_tile_need(Parts, Columns, Wide);

    CUDA_LAUNCH(cuda, attention_kernel<Wide, Parts>, dim3((unsigned)count, (unsigned)lse.cols),
                dim3(ATTENTION_THREADS), shared, out, lse, q, k, v, tiles, shape);
}

template <int Parts>
static void forward_choose(struct cuda_backend *cuda, struct tensor out, struct tensor lse,
                           struct tensor q, struct tensor k, struct tensor v,
                           const struct attention_tile *tiles, int count,
                           struct attention_shape shape) {
    if (shape.D <= 32) {
        forward_launch<32, Parts>(cuda, out, lse, q, k, v, tiles, count, shape);
    } else if (shape.D <= 64) {
        forward_launch<64, Parts>(cuda, out, lse, q, k, v, tiles, count, shape);
    } else if (shape.D <= 96) {
        forward_launch<96, Parts>(cuda, out, lse, q, k, v, tiles, count, shape);
    } else {
        forward_launch<128, Parts>(cuda, out, lse, q, k, v, tiles, count, shape);
    }
}

static void attention_forward(struct backend *be, struct tensor out, struct tensor lse,
                              struct tensor q, struct tensor k, struct tensor v,
                              const struct segment *segments, int segment_count, int H, int G,
                              float scale) {
    struct cuda_backend *cuda = cuda_of(be);
    const int N = q.rows, D = q.cols / H;
    struct attention_tile tiles[ATTENTION_LIST];
    struct attention_walk walk = {segments, segment_count, 0, 0};

    assert(H > 0 && G > 0 && H % G == 0 && q.cols == H * D);
    assert(D > 0 && D <= ATTENTION_HEAD);
    assert(tensor_same_shape(out, q) && tensor_is(lse, N, H));
    assert(tensor_is(k, N, G * D) && tensor_is(v, N, G * D));
    segments_check(segments, segment_count, N);
    const bool fours = tensor_in_heads(q, D) && tensor_in_heads(k, D) && tensor_in_heads(v, D);
    const struct attention_shape shape = {D, H / G, scale, fours};
    for (int count; (count = attention_walk_on(&walk, tiles)) > 0;) {
        const struct attention_tile *device = static_cast<const struct attention_tile *>(
            cuda_pass(cuda, tiles, (size_t)count * sizeof tiles[0]));
        if (device == NULL) { return; }
        if (attention_parts(cuda) == 2) {
            forward_choose<2>(cuda, out, lse, q, k, v, device, count, shape);
        } else {
            forward_choose<3>(cuda, out, lse, q, k, v, device, count, shape);
        }
    }
}

static void attention_cached(struct backend *be, struct tensor out, struct tensor q,
                             struct tensor k, struct tensor v, const struct row_range *ranges,
                             int count, int H, int G, float scale) {
    struct cuda_backend *cuda = cuda_of(be);
    const int D = q.cols / H, most = (int)(CUDA_PASS_BYTES_MAX / sizeof *ranges);

    assert(H > 0 && G > 0 && H % G == 0 && q.cols == H * D);
    assert(D > 0 && D <= ATTENTION_HEAD);
    assert(q.rows == count && tensor_same_shape(out, q));
    assert(tensor_is(k, k.rows, G * D) && tensor_same_shape(k, v));
    for (int n = 0; n < count; n++) {
        assert(ranges[n].begin >= 0 && ranges[n].begin < ranges[n].end && ranges[n].end <= k.rows);
    }
    for (int first = 0; first < count; first += most) {
        const int some = count - first < most ? count - first : most;
        const struct row_range *device = static_cast<const struct row_range *>(
            cuda_pass(cuda, ranges + first, (size_t)some * sizeof *ranges));
        if (device == NULL) { return; }
        CUDA_LAUNCH(cuda, cached_kernel, dim3((unsigned)some, (unsigned)H), dim3(ATTENTION_THREADS),
                    0, tensor_rows(out, first, some), tensor_rows(q, first, some), k, v, device,
                    attention_shape{D, H / G, scale, false});
    }
}

void cuda_attention_install(struct backend_ops *ops) {
    ops->attention_forward = attention_forward;
    ops->attention_cached = attention_cached;
}
