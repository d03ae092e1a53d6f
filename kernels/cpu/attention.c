/* SPDX-License-Identifier: Apache-2.0
 *
 * attention.c - softmax attention over packed segments, forward.
 *
 * Work is (segment, head, block of query rows); pieces write disjoint outputs, so which thread
 * takes which never shows in the result. */
#include "kernels/cpu/attention.h"

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

void ISA(attention_install)(struct backend_ops *ops) {
    ops->attention_forward = attention_forward;
}
