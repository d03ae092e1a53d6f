/* SPDX-License-Identifier: Apache-2.0
 *
 * product.c - c = alpha op(a) op(b) + beta c in f32, blocked, for the trainable matrices.
 *
 * The shapes here are skinny (rank 8..64, or a sum over all rows), where a general library's copying
 * costs as much as the product. So: a is read in place with any strides; b is packed only when it is
 * transposed, in blocks of BLOCK_K rows that stay in the cache.
 *
 *        n columns                    the team splits whichever of m and n has more tiles;
 *      ┌────┬────┬──                  k is never split: the sum of an element is one thread's,
 *    m │tile│tile│                    in order, first within a block of k, then over the blocks
 */
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/tile.h"

/* Rows of b in one block: 256 x 32 columns x 4 bytes = 32 KiB, the L1 cache. */
#define BLOCK_K 256

struct product {
    float *c;
    size_t c_row;
    const float *a;
    size_t a_row, a_step;
    const float *b;
    size_t b_row, b_column; /* b[l,j] at b + l*b_row + j*b_column */
    int m, n, k;
    float alpha;
};

/* packed (count, columns) = rows [first, first+count) of op(b), columns [begin, begin+columns) */
static void pack_transposed(float *packed, const struct product *p, int first, int count,
                            int begin, int columns) {
    for (int j = 0; j < columns; j++) {
        const float *from = p->b + (size_t)(begin + j) * p->b_column + (size_t)first * p->b_row;
        for (int l = 0; l < count; l++) {
            packed[(size_t)l * (size_t)columns + (size_t)j] = from[l];
        }
    }
}

/* Rows [m0,m1) and columns [n0,n1) of c, with room for BLOCK_K x TILE_COLUMNS packed numbers. */
static void product_part(const struct product *p, float *packed, int m0, int m1, int n0, int n1) {
    for (int j = n0; j < n1; j += TILE_COLUMNS) {
        int columns = n1 - j < TILE_COLUMNS ? n1 - j : TILE_COLUMNS;
        for (int l = 0; l < p->k; l += BLOCK_K) {
            int count = p->k - l < BLOCK_K ? p->k - l : BLOCK_K;
            const float *b = p->b + (size_t)l * p->b_row + j;
            size_t b_row = p->b_row;
            if (p->b_column != 1) {
                pack_transposed(packed, p, l, count, j, columns);
                b = packed;
                b_row = (size_t)columns;
            }
            tile_block(p->c + (size_t)m0 * p->c_row + j, p->c_row, m1 - m0, columns,
                       p->a + (size_t)m0 * p->a_row + (size_t)l * p->a_step, p->a_row, p->a_step,
                       b, b_row, count, p->alpha, TILE_ADD);
        }
    }
}

/* c = beta c over a part; beta 0 does not read c */
static void product_start(const struct product *p, float beta, int m0, int m1, int n0, int n1) {
    for (int i = m0; beta != 1.0f && i < m1; i++) {
        float *c = p->c + (size_t)i * p->c_row;
        for (int j = n0; j < n1; j++) {
            c[j] = beta == 0.0f ? 0.0f : beta * c[j];
        }
    }
}

/* Boundary `part` of `parts` in [0,size], on a multiple of `step`. */
static int split_at(int size, int step, int part, int parts) {
    int64_t steps = (size + step - 1) / step;
    int at = (int)(steps * part / parts) * step;

    return at < size ? at : size;
}

static void product_run(struct backend *be, const struct product *p, float beta) {
    size_t work = (size_t)p->m * (size_t)p->n * (size_t)(p->k > 0 ? p->k : 1);
    /* 131072 multiply-adds: about 2 us of one core, what waking a team costs */
    int parts = work < 131072 ? 1 : be->threads;
    bool by_rows = p->m / TILE_ROWS >= p->n / TILE_COLUMNS;
    size_t room = (size_t)BLOCK_K * TILE_COLUMNS;

    float *scratch = NULL;
    if (p->b_column != 1) {
        scratch = cpu_scratch(cpu_of(be), SCRATCH_PRODUCT,
                              room * (size_t)be->threads * sizeof *scratch);
        if (scratch == NULL) { return; }
    }
#pragma omp parallel for num_threads(parts) schedule(static)
    for (int part = 0; part < parts; part++) {
        float *packed = scratch == NULL ? NULL : scratch + room * (size_t)part;
        int m0 = by_rows ? split_at(p->m, TILE_ROWS, part, parts) : 0;
        int m1 = by_rows ? split_at(p->m, TILE_ROWS, part + 1, parts) : p->m;
        int n0 = by_rows ? 0 : split_at(p->n, TILE_COLUMNS, part, parts);
        int n1 = by_rows ? p->n : split_at(p->n, TILE_COLUMNS, part + 1, parts);
        product_start(p, beta, m0, m1, n0, n1);
        product_part(p, packed, m0, m1, n0, n1);
    }
}

static void product(struct backend *be, struct tensor c, struct tensor a, bool transpose_a,
                    struct tensor b, bool transpose_b, float alpha, float beta) {
    const struct product p = {
        .c = c.data,
        .c_row = (size_t)c.stride,
        .a = a.data,
        .a_row = transpose_a ? 1 : (size_t)a.stride,
        .a_step = transpose_a ? (size_t)a.stride : 1,
        .b = b.data,
        .b_row = transpose_b ? 1 : (size_t)b.stride,
        .b_column = transpose_b ? (size_t)b.stride : 1,
        .m = c.rows,
        .n = c.cols,
        .k = transpose_a ? a.rows : a.cols,
        .alpha = alpha,
    };

    assert(c.dtype == DTYPE_F32 && a.dtype == DTYPE_F32 && b.dtype == DTYPE_F32);
    assert((transpose_a ? a.cols : a.rows) == p.m);
    assert((transpose_b ? b.rows : b.cols) == p.n);
    assert((transpose_b ? b.cols : b.rows) == p.k);
    if (p.m == 0 || p.n == 0) { return; }
    product_run(be, &p, beta);
}

void ISA(product_install)(struct backend_ops *ops) { ops->product = product; }
