/* SPDX-License-Identifier: Apache-2.0
 *
 * attention_backward.c - gradients of attention over packed segments.
 *
 * With p = e^(s - lse) and delta = sum over d of dout out, per query row (Dao et al. 2022):
 *
 *   dv += p^T dout    ds = p (dout v^T - delta) scale    dq = ds k    dk += ds^T q
 *
 * Determinism: keys gather from many query rows, from the query heads that share them, and from the
 * segments whose prefix they are. So the unit of work is (family of segments, key head): a family
 * is a run of segments that prefixes tie together. One thread goes through it in a fixed order, and
 * two units write disjoint outputs: no atomics, and it does not show who took which. */
#include "kernels/cpu/attention.h"

#include <string.h>

/* One thread's working memory. */
struct backward_room {
    float *p;  /* QUERY_ROWS x columns: probabilities */
    float *ds; /* QUERY_ROWS x columns: dout v^T, then ds */
};

struct backward {
    struct attention at;
    struct tensor dq, dk, dv, dout, out, lse;
};

/* sum over d of a b */
static float head_dot(const float *a, const float *b, int D) {
    f32v sum = {0};
    int d = 0;

    for (; d + LANES <= D; d += LANES) {
        sum += lanes_load(a + d) * lanes_load(b + d);
    }
    if (d < D) { sum += lanes_load_part(a + d, D - d) * lanes_load_part(b + d, D - d); }
    return lanes_sum(sum);
}

/* p = e^(s - lse), ds = p (dp - delta) scale over what the row sees; zeros up to `columns`. p holds
 * s and ds holds dp before. */
static void softmax_back_row(float *p, float *ds, float lse, float delta, float scale, int visible,
                             int columns) {
    int c = 0;

    for (; c + LANES <= visible; c += LANES) {
        f32v e = lanes_exp(lanes_load(p + c) - lse);
        lanes_store(p + c, e);
        lanes_store(ds + c, e * (lanes_load(ds + c) - delta) * scale);
    }
    for (; c < columns; c += LANES) {
        int count = columns - c < LANES ? columns - c : LANES;
        int seen = visible - c > 0 ? visible - c : 0;
        f32v e = lanes_keep(lanes_exp(lanes_load_part(p + c, count) - lse), seen, 0.0f);
        f32v d = lanes_keep(e * (lanes_load_part(ds + c, count) - delta) * scale, seen, 0.0f);
        lanes_store_part(p + c, e, count);
        lanes_store_part(ds + c, d, count);
    }
}

/* Adds the block's share to the key rows [begin, begin+count), whose columns start at `column`. */
static void keys_add(const struct backward *b, const struct query_block *block,
                     const struct backward_room *room, int h, int begin, int count, int column,
                     int columns) {
    const int D = b->at.D;
    size_t g = (size_t)(h / (b->at.H / b->at.G)) * (size_t)D, h_at = (size_t)h * (size_t)D;

    tile_block(row_f32(b->dv, begin) + g, (size_t)b->dv.stride, count, D, room->p + column, 1,
               (size_t)columns, row_f32(b->dout, block->first) + h_at, (size_t)b->dout.stride,
               block->count, 1.0f, TILE_ADD);
    tile_block(row_f32(b->dk, begin) + g, (size_t)b->dk.stride, count, D, room->ds + column, 1,
               (size_t)columns, row_f32(b->at.q, block->first) + h_at, (size_t)b->at.q.stride,
               block->count, 1.0f, TILE_ADD);
}

static void block_backward(const struct backward *b, const struct segment *s, int h, int first,
                           const struct backward_room *room) {
    const struct attention *at = &b->at;
    const struct query_block block = query_block_at(s, first);
    const int D = at->D, columns = block.prefix + block.own;
    size_t h_at = (size_t)h * (size_t)D;

    block_scores(room->p, columns, at, s, &block, at->q, h, at->k_t, at->scale);
    block_scores(room->ds, columns, at, s, &block, b->dout, h, at->v_t, 1.0f);
    for (int i = 0; i < block.count; i++) {
        size_t row_at = (size_t)i * (size_t)columns;
        float delta =
            head_dot(row_f32(b->dout, first + i) + h_at, row_f32(b->out, first + i) + h_at, D);
        softmax_back_row(room->p + row_at, room->ds + row_at, row_f32(b->lse, first + i)[h], delta,
                         at->scale, block_visible(&block, i), columns);
    }

    block_gather(row_f32(b->dq, first) + h_at, (size_t)b->dq.stride, at, s, &block, room->ds, at->k,
                 h);
    keys_add(b, &block, room, h, s->prefix_begin, block.prefix, 0, columns);
    keys_add(b, &block, room, h, s->begin, block.own, block.prefix, columns);
}

/* One segment's query rows for every query head that shares key head g. */
static void segment_backward(const struct backward *b, const struct segment *s, int g,
                             const struct backward_room *room) {
    const int shared = b->at.H / b->at.G;
    size_t head_bytes = (size_t)b->at.D * sizeof(float);

    for (int n = s->begin; n < s->end; n++) {
        memset(row_f32(b->dk, n) + (size_t)g * (size_t)b->at.D, 0, head_bytes);
        memset(row_f32(b->dv, n) + (size_t)g * (size_t)b->at.D, 0, head_bytes);
    }
    for (int h = g * shared; h < (g + 1) * shared; h++) {
        for (int first = s->begin; first < s->end; first += QUERY_ROWS) {
            block_backward(b, s, h, first, room);
        }
    }
}

/* starts[f] = first segment of family f, starts[families] = segment_count; returns families. A
 * segment whose prefix reaches back to an earlier family merges everything in between. */
static int families_find(int *starts, const struct segment *segments, int segment_count) {
    int families = 0;

    for (int i = 0; i < segment_count; i++) {
        starts[families] = i;
        families++;
        if (segment_prefix(&segments[i]) == 0) { continue; }
        while (families > 1 && segments[i].prefix_begin < segments[starts[families - 1]].begin) {
            families--;
        }
    }
    starts[families] = segment_count;
    return families;
}

static void attention_backward(struct backend *be, struct tensor dq, struct tensor dk,
                               struct tensor dv, struct tensor dout, struct tensor q,
                               struct tensor k, struct tensor v, struct tensor out,
                               struct tensor lse, const struct segment *segments, int segment_count,
                               int H, int G, float scale) {
    const int N = q.rows, D = q.cols / H, team = attention_team(be, N, H * D);
    size_t t_size = transposed_row(N) * (size_t)G * (size_t)D;
    size_t room = QUERY_ROWS * segments_columns_max(segments, segment_count);

    assert(H > 0 && G > 0 && H % G == 0 && q.cols == H * D);
    assert(tensor_same_shape(dq, q) && tensor_same_shape(dk, k) && tensor_same_shape(dv, v));
    assert(tensor_same_shape(out, q) && tensor_same_shape(dout, q) && tensor_is(lse, N, H));
    assert(tensor_is(k, N, G * D) && tensor_is(v, N, G * D));
    segments_check(segments, segment_count, N);
    if (N == 0) { return; }
    size_t floats = 2 * t_size + 2 * room * (size_t)team;
    float *t = cpu_scratch(cpu_of(be), SCRATCH_ATTENTION,
                           floats * sizeof *t + ((size_t)segment_count + 1) * sizeof(int));
    if (t == NULL) { return; }
    int *starts = (int *)(void *)(t + floats);
    int families = families_find(starts, segments, segment_count);
    heads_transpose(t, k, G, D, team);
    heads_transpose(t + t_size, v, G, D, team);

    const struct backward b = {
        {N, H, G, D, scale, q, k, v, transposed_row(N), t, t + t_size}, dq, dk, dv, dout, out, lse};
#pragma omp parallel for num_threads(team) schedule(dynamic, 1)
    for (int item = 0; item < families * G; item++) {
        float *base = t + 2 * t_size + 2 * room * (size_t)team_member();
        const struct backward_room mine = {base, base + room};
        for (int i = starts[item / G]; i < starts[item / G + 1]; i++) {
            segment_backward(&b, &segments[i], item % G, &mine);
        }
    }
}

void ISA(attention_backward_install)(struct backend_ops *ops) {
    ops->attention_backward = attention_backward;
}
