/* SPDX-License-Identifier: Apache-2.0
 *
 * attention.c - softmax attention over packed segments, forward, and of single rows over a cache.
 *
 * Work is (segment, head, block of query rows); pieces write disjoint outputs, so which thread
 * takes which never shows in the result. */
#include "kernels/cpu/attention.h"

#define HEADS_MAX 128 /* query heads of one key head; Llama 3 has 4 and 8 */

/* p = e^(p - max) over the first `visible` numbers, 0 up to `columns`; returns the sum and the
 * greatest. */
static float softmax_start(float *p, int visible, int columns, float *ret_top) {
    f32v most = lanes_all(-INFINITY), total = {0};
    int c = 0;

    for (; c + LANES <= visible; c += LANES) {
        most = lanes_max(lanes_load(p + c), most);
    }
    if (c < visible) {
        int count = visible - c;
        most = lanes_max(lanes_keep(lanes_load_part(p + c, count), count, -INFINITY), most);
    }
    float top = lanes_greatest(most);
    for (c = 0; c + LANES <= visible; c += LANES) {
        f32v e = lanes_exp(lanes_load(p + c) - top);
        lanes_store(p + c, e);
        total += e;
    }
    if (c < visible) {
        int count = visible - c;
        f32v e = lanes_keep(lanes_exp(lanes_load_part(p + c, count) - top), count, 0.0f);
        lanes_store_part(p + c, e, count);
        total += e;
    }
    for (c = visible; c < columns; c++) {
        p[c] = 0.0f;
    }
    *ret_top = top;
    return lanes_sum(total);
}

static void scale_head(float *out, float scale, int D) {
    for (int d = 0; d < D; d++) {
        out[d] *= scale;
    }
}

/* One block of query rows of one head. scores: room for QUERY_ROWS x columns. */
static void block_forward(const struct attention *at, const struct segment *s, int h, int first,
                          float *scores, struct tensor out, struct tensor lse) {
    const struct query_block block = query_block_at(s, first);
    const int D = at->D, columns = block.prefix + block.own;
    float sums[QUERY_ROWS];

    block_scores(scores, columns, at, s, &block, at->q, h, at->k_t, at->scale);
    for (int i = 0; i < block.count; i++) {
        float top;
        float *row = scores + (size_t)i * (size_t)columns;
        sums[i] = softmax_start(row, block_visible(&block, i), columns, &top);
        row_f32(lse, first + i)[h] = top + logf(sums[i]);
    }

    float *out_h = row_f32(out, first) + (size_t)h * (size_t)D;
    block_gather(out_h, (size_t)out.stride, at, s, &block, scores, at->v, h);
    for (int i = 0; i < block.count; i++) {
        scale_head(out_h + (size_t)i * (size_t)out.stride, 1.0f / sums[i], D);
    }
}

static void attention_forward(struct backend *be, struct tensor out, struct tensor lse,
                              struct tensor q, struct tensor k, struct tensor v,
                              const struct segment *segments, int segment_count, int H, int G,
                              float scale) {
    const int N = q.rows, D = q.cols / H, team = attention_team(be, N, H * D);
    size_t columns_max = segments_columns_max(segments, segment_count);
    size_t t_size = transposed_row(N) * (size_t)G * (size_t)D, room = QUERY_ROWS * columns_max;

    assert(H > 0 && G > 0 && H % G == 0 && q.cols == H * D);
    assert(tensor_same_shape(out, q) && tensor_is(lse, N, H));
    assert(tensor_is(k, N, G * D) && tensor_is(v, N, G * D));
    segments_check(segments, segment_count, N);
    if (N == 0) { return; }
    float *t =
        cpu_scratch(cpu_of(be), SCRATCH_ATTENTION, (t_size + room * (size_t)team) * sizeof *t);
    if (t == NULL) { return; }
    heads_transpose(t, k, G, D, team);

    const struct attention at = {N, H, G, D, scale, q, k, v, transposed_row(N), t, NULL};
#pragma omp parallel for num_threads(team) schedule(dynamic, 1)
    for (int item = 0; item < segment_count * H; item++) {
        const struct segment *s = &segments[item / H];
        float *scores = t + t_size + room * (size_t)team_member();
        for (int first = s->begin; first < s->end; first += QUERY_ROWS) {
            block_forward(&at, s, item % H, first, scores, out, lse);
        }
    }
}

/* One row, the query heads of one key head. Tiles and softmax are those of block_forward, in the
 * same order, so a row's bits are what a plain segment gives its last row. t: room for the keys
 * with rows and columns exchanged (D, transposed_row(columns)), then the scores. */
static void row_cached(const struct attention *at, int n, int g, struct row_range range, float *t,
                       struct tensor out) {
    const int D = at->D, columns = range.end - range.begin, heads = at->H / at->G;
    const size_t t_row = transposed_row(columns), width = (size_t)columns;
    const size_t first = (size_t)g * (size_t)heads * (size_t)D;
    const size_t key_head = (size_t)g * (size_t)D;
    float *scores = t + (size_t)D * t_row, *out_g = row_f32(out, n) + first;

    matrix_transpose(t, t_row, row_f32(at->k, range.begin) + key_head, (size_t)at->k.stride,
                     columns, D);
    tile_block(scores, width, heads, columns, row_f32(at->q, n) + first, (size_t)D, 1, t, t_row, D,
               at->scale, TILE_SET);
    float sums[HEADS_MAX];
    for (int h = 0; h < heads; h++) {
        float top;
        sums[h] = softmax_start(scores + (size_t)h * width, columns, columns, &top);
    }
    tile_block(out_g, (size_t)D, heads, D, scores, width, 1, row_f32(at->v, range.begin) + key_head,
               (size_t)at->v.stride, columns, 1.0f, TILE_SET);
    for (int h = 0; h < heads; h++) {
        scale_head(out_g + (size_t)h * (size_t)D, 1.0f / sums[h], D);
    }
}

static void attention_cached(struct backend *be, struct tensor out, struct tensor q,
                             struct tensor k, struct tensor v, const struct row_range *ranges,
                             int count, int H, int G, float scale) {
    const int D = q.cols / H;
    size_t columns_max = 0, seen = 0;

    assert(H > 0 && G > 0 && H % G == 0 && H / G <= HEADS_MAX && q.cols == H * D);
    assert(q.rows == count && tensor_same_shape(out, q));
    assert(tensor_is(k, k.rows, G * D) && tensor_same_shape(k, v));
    for (int n = 0; n < count; n++) {
        assert(ranges[n].begin >= 0 && ranges[n].begin < ranges[n].end && ranges[n].end <= k.rows);
        size_t columns = (size_t)(ranges[n].end - ranges[n].begin);
        columns_max = columns > columns_max ? columns : columns_max;
        seen += columns;
    }
    if (count == 0) { return; }
    const int team = seen * (size_t)(G * D) < TEAM_ELEMENTS_MIN ? 1 : be->threads;
    size_t room = (size_t)D * transposed_row((int)columns_max) + (size_t)(H / G) * columns_max;
    float *t = cpu_scratch(cpu_of(be), SCRATCH_ATTENTION, room * (size_t)team * sizeof *t);
    if (t == NULL) { return; }

    const struct attention at = {.H = H, .G = G, .D = D, .scale = scale, .q = q, .k = k, .v = v};
#pragma omp parallel for num_threads(team) schedule(dynamic, 1)
    for (int item = 0; item < count * G; item++) {
        row_cached(&at, item / G, item % G, ranges[item / G], t + room * (size_t)team_member(),
                   out);
    }
}

void ISA(attention_install)(struct backend_ops *ops) {
    ops->attention_forward = attention_forward;
    ops->attention_cached = attention_cached;
}
