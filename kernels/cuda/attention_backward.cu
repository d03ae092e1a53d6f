/* SPDX-License-Identifier: Apache-2.0
 *
 * attention_backward.cu - gradients of attention over packed segments.
 *
 * With p = e^(s - lse) and delta = sum over d of dout out, per query row (Dao et al. 2022):
 *
 *   dv += p^T dout    ds = p (dout v^T - delta) scale    dq = ds k    dk += ds^T q
 *
 * Two passes, so that every sum has one owner and an order of its own: no atomics, the same bits
 * each time. The price is that p and dout v^T are computed twice.
 *
 *   queries  a block has 64 query rows and walks over the keys they see     ─▸ dq
 *   keys     a block has 64 key rows and walks, head by head of those that
 *            share them, over the query rows that see them: the segment's
 *            own, then the segments whose prefix they are, in order         ─▸ dk, dv */
#include "kernels/cuda/attention.h"

/* Columns at a time: what the shared memory of sm_86 (99 KiB) leaves beside two tiles of rows. */
template <int Wide, int Parts> struct backward_columns {
    static constexpr int count = Wide <= (Parts == 2 ? 96 : 64) ? 32 : 16;
};

/* The largest head whose tiles fit with three parts; larger ones take two. */
#define BACKWARD_HEAD_THREE 96

/* What both passes read. */
struct backward_inputs {
    struct tensor dout, q, k, v, lse, delta;
};

/* ---- kernels --------------------------------------------------------------------------------- */

/* delta (N,H) = sum over d of dout out; a warp a row and head. Of split numbers, like the dp from
 * which it is taken: where softmax is all but one key's, out is that key's value and the two differ
 * by rounding alone. */
template <int Parts>
__global__ void __launch_bounds__(ATTENTION_THREADS)
    delta_kernel(struct tensor delta, struct tensor dout, struct tensor out, int D) {
    const int item = (int)(blockIdx.x * (ATTENTION_THREADS / WARP)) + warp_of_block();
    const int n = item / delta.cols, h = item % delta.cols;
    float sum = 0.0f;

    for (int d = lane_of_warp(); n < delta.rows && d < D; d += WARP) {
        sum += split_product<Parts>(row_f32(dout, n)[h * D + d], row_f32(out, n)[h * D + d]);
    }
    sum = warp_sum(sum);
    if (n < delta.rows && lane_of_warp() == 0) { row_f32(delta, n)[h] = sum; }
}

/* scores = p = 2^(s - lse), products = ds = p (dp - delta) scale; nothing where a pair is not
 * visible. One element. */
__device__ __forceinline__ void backward_element(float *score, float *product, bool visible,
                                                 float lse, float delta, float scale) {
    const float p = visible ? exp2f((*score * scale - lse) * LOG2_E) : 0.0f;

    *score = p;
    *product = visible ? p * (*product - delta) * scale : 0.0f;
}

/* Keys [begin, end) against a tile of query rows: dq (16,Wide) of a warp += ds k. */
template <int Wide, int Parts>
__device__ __forceinline__ void queries_range(float (&dq)[Wide / 8][4],
                                              const struct split_tile (&rows)[2],
                                              const struct split_tile (&columns)[2],
                                              const struct backward_inputs &in, int begin, int end,
                                              bool causal, const struct attention_tile &tile, int h,
                                              struct attention_shape shape) {
    constexpr int Columns = backward_columns<Wide, Parts>::count;
    const int g = h / shape.shared, warp_first = tile.first + warp_of_block() * 16;
    const int tile_last = tile.first + tile.count - 1;
    const int warp_last = tile_last < warp_first + 15 ? tile_last : warp_first + 15;
    const int row0 = warp_first + lane_of_warp() / 4;
    float lse[2] = {}, delta[2] = {};

    for (int r = 0; r < 2; r++) {
        if (row0 + r * 8 <= tile_last) {
            lse[r] = row_f32(in.lse, row0 + r * 8)[h];
            delta[r] = row_f32(in.delta, row0 + r * 8)[h];
        }
    }
    for (int first = begin; first < end; first += Columns) {
        const int count = end - first < Columns ? end - first : Columns;
        __syncthreads();
        head_fill<Columns, Wide, Parts>(columns[0], in.k, first, count, g * shape.D, shape);
        head_fill<Columns, Wide, Parts>(columns[1], in.v, first, count, g * shape.D, shape);
        __syncthreads();
        if (warp_first <= warp_last && (!causal || first <= warp_last)) { /* the whole warp */
            float p[Columns / 8][4], ds[Columns / 8][4];
            head_scores<Wide, Columns, Parts>(p, rows[0], columns[0]);
            head_scores<Wide, Columns, Parts>(ds, rows[1], columns[1]);
#pragma unroll
            for (int i = 0; i < Columns / 8; i++) {
#pragma unroll
                for (int e = 0; e < 4; e++) {
                    const int row = row0 + e / 2 * 8;
                    const int column = first + i * 8 + lane_of_warp() % 4 * 2 + e % 2;
                    const bool visible =
                        row <= tile_last && column < end && (!causal || column <= row);
                    backward_element(&p[i][e], &ds[i][e], visible, lse[e / 2], delta[e / 2],
                                     shape.scale);
                }
            }
            head_gather<Wide, Columns, Parts>(dq, ds, columns[0]);
        }
    }
}

/* dq (N,H*D). Grid (tiles, H). */
template <int Wide, int Parts>
__global__ void __launch_bounds__(ATTENTION_THREADS)
    queries_kernel(struct tensor dq, struct backward_inputs in,
                   const struct attention_tile *__restrict__ tiles, struct attention_shape shape) {
    constexpr int Columns = backward_columns<Wide, Parts>::count;
    const struct attention_tile tile = tiles[blockIdx.x];
    const int h = (int)blockIdx.y, D = shape.D;
    struct shared_room room = shared_room_open();
    const struct split_tile rows[2] = {split_tile_take<Parts>(&room, ATTENTION_ROWS, Wide),
                                       split_tile_take<Parts>(&room, ATTENTION_ROWS, Wide)};
    const struct split_tile columns[2] = {split_tile_take<Parts>(&room, Columns, Wide),
                                          split_tile_take<Parts>(&room, Columns, Wide)};
    float sum[Wide / 8][4] = {};

    head_fill<ATTENTION_ROWS, Wide, Parts>(rows[0], in.q, tile.first, tile.count, h * D, shape);
    head_fill<ATTENTION_ROWS, Wide, Parts>(rows[1], in.dout, tile.first, tile.count, h * D, shape);
    queries_range<Wide, Parts>(sum, rows, columns, in, tile.prefix_begin, tile.prefix_end, false,
                               tile, h, shape);
    queries_range<Wide, Parts>(sum, rows, columns, in, tile.begin, tile.first + tile.count, true,
                               tile, h, shape);
    head_write<Wide>(dq, sum, 1.0f, 1.0f, tile.first, tile.count, h * D, D);
}

/* Which pairs of a key of the tile and a query see each other. */
struct keys_view {
    int query_begin, query_end;
    int key_begin, key_end;
    bool causal; /* and key <= query */
};

/* lse and delta of the queries of a tile of columns. */
template <int Columns> struct query_numbers { float lse[Columns], delta[Columns]; };

/* Query rows of one head against a tile of keys: dk, dv (16,Wide) of a warp += ds^T q, p^T dout. */
template <int Wide, int Parts>
__device__ __forceinline__ void keys_range(
    float (&dk)[Wide / 8][4], float (&dv)[Wide / 8][4], const struct split_tile (&rows)[2],
    const struct split_tile (&columns)[2],
    struct query_numbers<backward_columns<Wide, Parts>::count> *numbers,
    const struct backward_inputs &in, const struct keys_view &view, int key_first, int h,
    struct attention_shape shape) {
    constexpr int Columns = backward_columns<Wide, Parts>::count;
    const int warp_first = key_first + warp_of_block() * 16, at = (int)threadIdx.x;

    for (int first = view.query_begin; first < view.query_end; first += Columns) {
        const int left = view.query_end - first, count = left < Columns ? left : Columns;
        __syncthreads();
        head_fill<Columns, Wide, Parts>(columns[0], in.q, first, count, h * shape.D, shape);
        head_fill<Columns, Wide, Parts>(columns[1], in.dout, first, count, h * shape.D, shape);
        if (at < Columns) {
            numbers->lse[at] = at < count ? row_f32(in.lse, first + at)[h] : 0.0f;
            numbers->delta[at] = at < count ? row_f32(in.delta, first + at)[h] : 0.0f;
        }
        __syncthreads();
        /* the same for the whole warp: some of its keys are seen by some of these queries */
        if (warp_first < view.key_end && warp_first + 16 > view.key_begin &&
            (!view.causal || warp_first < first + count)) {
            float p[Columns / 8][4], ds[Columns / 8][4];
            head_scores<Wide, Columns, Parts>(p, rows[0], columns[0]);
            head_scores<Wide, Columns, Parts>(ds, rows[1], columns[1]);
#pragma unroll
            for (int i = 0; i < Columns / 8; i++) {
#pragma unroll
                for (int e = 0; e < 4; e++) {
                    const int key = warp_first + lane_of_warp() / 4 + e / 2 * 8;
                    const int column = i * 8 + lane_of_warp() % 4 * 2 + e % 2;
                    const bool visible = key >= view.key_begin && key < view.key_end &&
                                         column < count && (!view.causal || key <= first + column);
                    backward_element(&p[i][e], &ds[i][e], visible, numbers->lse[column],
                                     numbers->delta[column], shape.scale);
                }
            }
            head_gather<Wide, Columns, Parts>(dv, p, columns[1]);
            head_gather<Wide, Columns, Parts>(dk, ds, columns[0]);
        }
    }
}

/* dk, dv (N,G*D). Grid (tiles, G). */
template <int Wide, int Parts>
__global__ void __launch_bounds__(ATTENTION_THREADS)
    keys_kernel(struct tensor dk, struct tensor dv, struct backward_inputs in,
                const struct attention_tile *__restrict__ tiles,
                const struct segment *__restrict__ segments, struct attention_shape shape) {
    constexpr int Columns = backward_columns<Wide, Parts>::count;
    const struct attention_tile tile = tiles[blockIdx.x];
    const int g = (int)blockIdx.y, D = shape.D, tile_end = tile.first + tile.count;
    struct shared_room room = shared_room_open();
    const struct split_tile rows[2] = {split_tile_take<Parts>(&room, ATTENTION_ROWS, Wide),
                                       split_tile_take<Parts>(&room, ATTENTION_ROWS, Wide)};
    const struct split_tile columns[2] = {split_tile_take<Parts>(&room, Columns, Wide),
                                          split_tile_take<Parts>(&room, Columns, Wide)};
    struct query_numbers<Columns> *numbers = shared_take<struct query_numbers<Columns>>(&room, 1);
    float dk_sum[Wide / 8][4] = {}, dv_sum[Wide / 8][4] = {};

    head_fill<ATTENTION_ROWS, Wide, Parts>(rows[0], in.k, tile.first, tile.count, g * D, shape);
    head_fill<ATTENTION_ROWS, Wide, Parts>(rows[1], in.v, tile.first, tile.count, g * D, shape);
    for (int h = g * shape.shared; h < (g + 1) * shape.shared; h++) {
        /* -1 is the segment itself, then those that may have rows of it for a prefix */
        for (int i = tile.viewers_begin - 1; i < tile.viewers_end; i++) {
            struct keys_view view = {tile.first, tile.end, tile.first, tile_end, true};
            if (i >= tile.viewers_begin) {
                const struct segment s = segments[i];
                const int begin = s.prefix_begin > tile.first ? s.prefix_begin : tile.first;
                const int end = s.prefix_end < tile_end ? s.prefix_end : tile_end;
                view = {s.begin, begin < end ? s.end : s.begin, begin, end, false};
            }
            keys_range<Wide, Parts>(dk_sum, dv_sum, rows, columns, numbers, in, view, tile.first, h,
                                    shape);
        }
    }
    head_write<Wide>(dk, dk_sum, 1.0f, 1.0f, tile.first, tile.count, g * D, D);
    head_write<Wide>(dv, dv_sum, 1.0f, 1.0f, tile.first, tile.count, g * D, D);
}

/* ---- launchers ------------------------------------------------------------------------------- */

/* Finds for each tile the first and the last segment that has rows of it for a prefix. */
static void viewers_find(struct attention_tile *tiles, int count, const struct segment *segments,
                         int segment_count) {
    const int low = tiles[0].first, high = tiles[count - 1].first + tiles[count - 1].count;

    for (int i = 0; i < segment_count; i++) {
        const struct segment *s = &segments[i];
        const bool seen = s->prefix_begin < s->prefix_end && s->begin < s->end;
        if (!seen || s->prefix_end <= low || s->prefix_begin >= high) { continue; }
        for (int t = 0; t < count; t++) {
            struct attention_tile *tile = &tiles[t];
            if (s->prefix_end <= tile->first || s->prefix_begin >= tile->first + tile->count) {
                continue;
            }
            if (tile->viewers_begin == tile->viewers_end) { tile->viewers_begin = i; }
            tile->viewers_end = i + 1;
        }
    }
}

/* Both passes over some tiles. */
template <int Wide, int Parts>
static void backward_launch(struct cuda_backend *cuda, struct tensor dq, struct tensor dk,
                            struct tensor dv, const struct backward_inputs &in,
                            const struct attention_tile *tiles, int count,
                            const struct segment *segments, struct attention_shape shape) {
    constexpr int Columns = backward_columns<Wide, Parts>::count;
    const size_t shared = 2 * split_tile_need(Parts, ATTENTION_ROWS, Wide) +
                          2 * split_tile_need(Parts, Columns, Wide);
    const size_t numbers = shared_need<struct query_numbers<Columns>>(1);
    const unsigned H = (unsigned)(dq.cols / shape.D), G = (unsigned)(dk.cols / shape.D);
    const dim3 block(ATTENTION_THREADS);

    CUDA_LAUNCH(cuda, queries_kernel<Wide, Parts>, dim3((unsigned)count, H), block, shared, dq, in,
                tiles, shape);
    CUDA_LAUNCH(cuda, keys_kernel<Wide, Parts>, dim3((unsigned)count, G), block, shared + numbers,
                dk, dv, in, tiles, segments, shape);
}

template <int Parts>
static void backward_choose(struct cuda_backend *cuda, struct tensor dq, struct tensor dk,
                            struct tensor dv, const struct backward_inputs &in,
                            const struct attention_tile *tiles, int count,
                            const struct segment *segments, struct attention_shape shape) {
    if (shape.D <= 32) {
        backward_launch<32, Parts>(cuda, dq, dk, dv, in, tiles, count, segments, shape);
    } else if (shape.D <= 64) {
        backward_launch<64, Parts>(cuda, dq, dk, dv, in, tiles, count, segments, shape);
    } else if (shape.D <= BACKWARD_HEAD_THREE) {
        backward_launch<96, Parts>(cuda, dq, dk, dv, in, tiles, count, segments, shape);
    } else {
        backward_launch<128, 2>(cuda, dq, dk, dv, in, tiles, count, segments, shape);
    }
}

/* Segments, of which there may be more than can be passed at once, to device memory. */
static void segments_write(struct cuda_backend *cuda, struct segment *to,
                           const struct segment *segments, int segment_count) {
    const int most = (int)(CUDA_PASS_BYTES_MAX / sizeof *segments);

    for (int first = 0; first < segment_count; first += most) {
        const int some = segment_count - first < most ? segment_count - first : most;
        const size_t bytes = (size_t)some * sizeof *segments;
        const void *passed = cuda_pass(cuda, segments + first, bytes);
        if (passed == NULL) { return; }
        CUDA_KEEP(cuda, cudaMemcpyAsync(to + first, passed, bytes, cudaMemcpyDeviceToDevice,
                                        cuda->stream));
    }
}

/* The tiles of all segments, some at a time. */
static void backward_walk(struct cuda_backend *cuda, struct tensor dq, struct tensor dk,
                          struct tensor dv, const struct backward_inputs &in,
                          const struct segment *segments, int segment_count,
                          const struct segment *segments_device, struct attention_shape shape) {
    struct attention_tile tiles[ATTENTION_LIST];
    struct attention_walk walk = {segments, segment_count, 0, 0};

    for (int count; (count = attention_walk_on(&walk, tiles)) > 0;) {
        viewers_find(tiles, count, segments, segment_count);
        const struct attention_tile *device = static_cast<const struct attention_tile *>(
            cuda_pass(cuda, tiles, (size_t)count * sizeof tiles[0]));
        if (device == NULL) { return; }
        if (attention_parts(cuda) == 2) {
            backward_choose<2>(cuda, dq, dk, dv, in, device, count, segments_device, shape);
        } else {
            backward_choose<3>(cuda, dq, dk, dv, in, device, count, segments_device, shape);
        }
    }
}

static void attention_backward(struct backend *be, struct tensor dq, struct tensor dk,
                               struct tensor dv, struct tensor dout, struct tensor q,
                               struct tensor k, struct tensor v, struct tensor out,
                               struct tensor lse, const struct segment *segments, int segment_count,
                               int H, int G, float scale) {
    struct cuda_backend *cuda = cuda_of(be);
    const int N = q.rows, D = q.cols / H;

    assert(H > 0 && G > 0 && H % G == 0 && q.cols == H * D);
    assert(D > 0 && D <= ATTENTION_HEAD);
    assert(tensor_same_shape(dq, q) && tensor_same_shape(dk, k) && tensor_same_shape(dv, v));
    assert(tensor_same_shape(out, q) && tensor_same_shape(dout, q) && tensor_is(lse, N, H));
    assert(tensor_is(k, N, G * D) && tensor_is(v, N, G * D));
    segments_check(segments, segment_count, N);
    if (N == 0) { return; }

    /* delta (N,H), then the segments */
    const size_t delta_bytes = shared_need<float>((size_t)N * (size_t)H);
    const size_t segments_bytes = (size_t)segment_count * sizeof *segments;
    unsigned char *memory = static_cast<unsigned char *>(
        cuda_scratch(cuda, CUDA_SLOT_ATTENTION, delta_bytes + segments_bytes));
    if (memory == NULL) { return; }
    const struct tensor delta = tensor_over(memory, DTYPE_F32, N, H);
    struct segment *device = reinterpret_cast<struct segment *>(memory + delta_bytes);
    const bool fours = tensor_in_heads(q, D) && tensor_in_heads(k, D) && tensor_in_heads(v, D) &&
                       tensor_in_heads(dout, D);
    const dim3 grid(cuda_pieces((size_t)N * (size_t)H, ATTENTION_THREADS / WARP));
    const dim3 block(ATTENTION_THREADS);
    if (attention_parts(cuda) == 2 || D > BACKWARD_HEAD_THREE) {
        CUDA_LAUNCH(cuda, delta_kernel<2>, grid, block, 0, delta, dout, out, D);
    } else {
        CUDA_LAUNCH(cuda, delta_kernel<3>, grid, block, 0, delta, dout, out, D);
    }
    segments_write(cuda, device, segments, segment_count);
    backward_walk(cuda, dq, dk, dv, backward_inputs{dout, q, k, v, lse, delta}, segments,
                  segment_count, device, attention_shape{D, H / G, scale, fours});
}

void cuda_attention_backward_install(struct backend_ops *ops) {
    ops->attention_backward = attention_backward;
}
