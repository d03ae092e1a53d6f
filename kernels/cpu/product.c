/* SPDX-License-Identifier: Apache-2.0
 *
 * product.c - c = alpha op(a) op(b) + beta c in f32, blocked, for the trainable matrices.
 *
 * The shapes here are often skinny (rank 8..64, or a sum over all rows), where copying costs as
 * much as the product: a factor is packed only when its lines would not come in order.
 *
 *        n columns                    the team splits whichever of m and n has more tiles;
 *      ┌────┬────┬──                  k is never split: the sum of an element is one thread's,
 *    m │tile│tile│                    in order, first within a block of k, then over the blocks
 *
 * One thread: for 1024 columns, for 256 of k { pack b; for 96 rows { pack a; tiles } }: a tile's
 * part of b stays in the L1 cache, the packed a in L2, the packed b in L2 or L3. */
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/tile.h"

#define BLOCK_K 256
#define BLOCK_N 1024
#define BLOCK_M (12 * TILE_ROWS)
/* Floats of packed b and packed a of one thread. */
#define ROOM_B ((size_t)BLOCK_K * BLOCK_N)
#define ROOM_A ((size_t)BLOCK_K * BLOCK_M)

/* Up to this k a tile's sums cost less than fetching its part of c. */
#define THIN_K 32
/* A sum over rows that gives so few columns is better turned: its vectors would be part empty. */
#define THIN_N 32

/* Rows of a from which packing b in order pays: fewer read it only once or twice. */
#define PACK_B_ROWS_MIN (4 * TILE_ROWS)

struct product {
    float *c;
    size_t c_row;
    const float *a;
    size_t a_row, a_step;
    const float *b;
    size_t b_row, b_column; /* b[l,j] at b + l*b_row + j*b_column */
    int m, n, k;
    float alpha, beta;
};

/* A block of the product: rows [m0,m1), columns [n0,n1), inner [l0,l0+count). */
struct block {
    int m0, m1, n0, n1, l0, count;
};

/* packed = panels of TILE_COLUMNS columns, each (count, TILE_COLUMNS), of the block's part of b */
static void pack_b(float *packed, const struct product *p, const struct block *at) {
    for (int j = at->n0; j < at->n1; j += TILE_COLUMNS) {
        int columns = at->n1 - j < TILE_COLUMNS ? at->n1 - j : TILE_COLUMNS;
        const float *b = p->b + (size_t)j * p->b_column + (size_t)at->l0 * p->b_row;
        if (p->b_column != 1) {
            matrix_transpose(packed, TILE_COLUMNS, b, p->b_column, columns, at->count);
        } else {
            for (int l = 0; l < at->count; l++) {
                memcpy(packed + (size_t)l * TILE_COLUMNS, b + (size_t)l * p->b_row,
                       (size_t)columns * sizeof *packed);
            }
        }
        packed += (size_t)at->count * TILE_COLUMNS;
    }
}

/* packed = panels of TILE_ROWS rows, each (count, TILE_ROWS), of a transposed a */
static void pack_a(float *packed, const struct product *p, const struct block *at) {
    for (int i = at->m0; i < at->m1; i += TILE_ROWS) {
        int rows = at->m1 - i < TILE_ROWS ? at->m1 - i : TILE_ROWS;
        const float *a = p->a + i + (size_t)at->l0 * p->a_step;
        for (int l = 0; rows == TILE_ROWS && l < at->count; l++) {
            memcpy(packed + (size_t)l * TILE_ROWS, a + (size_t)l * p->a_step,
                   TILE_ROWS * sizeof *packed);
        }
        for (int l = 0; rows < TILE_ROWS && l < at->count; l++) {
            memcpy(packed + (size_t)l * TILE_ROWS, a + (size_t)l * p->a_step,
                   (size_t)rows * sizeof *packed);
        }
        packed += (size_t)at->count * TILE_ROWS;
    }
}

/* A block of rows against one panel of columns from j; packed_a and packed_b are NULL where read in
 * place. */
static void panel_multiply(const struct product *p, const float *packed_a, const float *packed_b,
                           const struct block *at, int i, int rows, int j, enum tile_store store) {
    int columns = at->n1 - j < TILE_COLUMNS ? at->n1 - j : TILE_COLUMNS;
    const float *b = packed_b == NULL ? p->b + (size_t)at->l0 * p->b_row + j
                                      : packed_b + (size_t)(j - at->n0) * (size_t)at->count;
    const float *a = packed_a == NULL ? p->a + (size_t)i * p->a_row + (size_t)at->l0 * p->a_step
                                      : packed_a + (size_t)(i - at->m0) * (size_t)at->count;
    tile_block(p->c + (size_t)i * p->c_row + j, p->c_row, rows, columns, a,
               packed_a == NULL ? p->a_row : 1, packed_a == NULL ? p->a_step : TILE_ROWS, b,
               packed_b == NULL ? p->b_row : TILE_COLUMNS, at->count, p->alpha, store);
}

/* The block's rows against its columns. With a short k the time goes to c: then its rows are walked
 * along, so that the CPU's prefetcher sees them coming. */
static void block_multiply(const struct product *p, const float *packed_a, const float *packed_b,
                           const struct block *at) {
    enum tile_store store = at->l0 == 0 && p->beta == 0.0f ? TILE_SET : TILE_ADD;
    bool thin = at->count <= THIN_K;
    int row_step = packed_a == NULL && !thin ? BLOCK_M : TILE_ROWS;

    if (thin) {
        for (int i = at->m0; i < at->m1; i += row_step) {
            int rows = at->m1 - i < row_step ? at->m1 - i : row_step;
            for (int j = at->n0; j < at->n1; j += TILE_COLUMNS) {
                panel_multiply(p, packed_a, packed_b, at, i, rows, j, store);
            }
        }
        return;
    }
    for (int j = at->n0; j < at->n1; j += TILE_COLUMNS) {
        for (int i = at->m0; i < at->m1; i += row_step) {
            int rows = at->m1 - i < row_step ? at->m1 - i : row_step;
            panel_multiply(p, packed_a, packed_b, at, i, rows, j, store);
        }
    }
}

/* All rows of a part against one packed block of b. */
static void rows_multiply(const struct product *p, float *room_a, const float *packed_b, int m0,
                          int m1, struct block at) {
    for (at.m0 = m0; at.m0 < m1; at.m0 = at.m1) {
        at.m1 = m1 - at.m0 < BLOCK_M ? m1 : at.m0 + BLOCK_M;
        if (room_a != NULL) { pack_a(room_a, p, &at); }
        block_multiply(p, room_a, packed_b, &at);
    }
}

/* Rows [m0,m1) and columns [n0,n1) of c. room: ROOM_B + ROOM_A floats. */
static void product_part(const struct product *p, float *room, int m0, int m1, int n0, int n1) {
    struct block at = {0};
    bool packs_b = p->b_column != 1 || (m1 - m0 >= PACK_B_ROWS_MIN && p->b_row > 2 * TILE_COLUMNS);
    bool packs_a = p->a_row == 1 && p->a_step > TILE_ROWS && n1 - n0 > TILE_COLUMNS;

    for (at.n0 = n0; at.n0 < n1; at.n0 = at.n1) {
        at.n1 = n1 - at.n0 < BLOCK_N ? n1 : at.n0 + BLOCK_N;
        for (at.l0 = 0; at.l0 < p->k; at.l0 += BLOCK_K) {
            at.count = p->k - at.l0 < BLOCK_K ? p->k - at.l0 : BLOCK_K;
            if (packs_b) { pack_b(room, p, &at); }
            rows_multiply(p, packs_a ? room + ROOM_B : NULL, packs_b ? room : NULL, m0, m1, at);
        }
    }
}

/* c = beta c over a part, where the first block does not set or simply add. */
static void product_start(const struct product *p, int m0, int m1, int n0, int n1) {
    if (p->beta == 1.0f || (p->beta == 0.0f && p->k > 0)) { return; }
    for (int i = m0; i < m1; i++) {
        float *c = p->c + (size_t)i * p->c_row;
        for (int j = n0; j < n1; j++) {
            c[j] = p->beta == 0.0f ? 0.0f : p->beta * c[j];
        }
    }
}

/* Boundary `part` of `parts` in [0,size], on a multiple of `step`. */
static int split_at(int size, int step, int part, int parts) {
    int64_t steps = (size + step - 1) / step;
    int at = (int)(steps * part / parts) * step;

    return at < size ? at : size;
}

/* rooms: (ROOM_B + ROOM_A) floats a thread. */
static void product_run(struct backend *be, const struct product *p, float *rooms) {
    size_t work = (size_t)p->m * (size_t)p->n * (size_t)(p->k > 0 ? p->k : 1);
    /* 524288 multiply-adds are about 5 us of one core, twice what waking a team costs */
    int parts = work < 524288 ? 1 : be->threads;
    bool by_rows = p->m / TILE_ROWS >= p->n / TILE_COLUMNS;

#pragma omp parallel for num_threads(parts) schedule(static)
    for (int part = 0; part < parts; part++) {
        int m0 = by_rows ? split_at(p->m, TILE_ROWS, part, parts) : 0;
        int m1 = by_rows ? split_at(p->m, TILE_ROWS, part + 1, parts) : p->m;
        int n0 = by_rows ? 0 : split_at(p->n, TILE_COLUMNS, part, parts);
        int n1 = by_rows ? p->n : split_at(p->n, TILE_COLUMNS, part + 1, parts);
        product_start(p, m0, m1, n0, n1);
        product_part(p, rooms + (ROOM_B + ROOM_A) * (size_t)part, m0, m1, n0, n1);
    }
}

/* c = beta c + t^T; t (n,m) dense */
static void add_transposed(const struct product *p, const float *t) {
    for (int i = 0; i < p->m; i++) {
        float *c = p->c + (size_t)i * p->c_row;
        for (int j = 0; j < p->n; j++) {
            float value = t[(size_t)j * (size_t)p->m + (size_t)i];
            c[j] = p->beta == 0.0f ? value : p->beta * c[j] + value;
        }
    }
}

/* c = a^T b with few columns: as the transposed product b^T a, whose rows are long. */
static void product_turned(struct backend *be, const struct product *p, float *rooms, float *t) {
    const struct product turned = {
        .c = t,
        .c_row = (size_t)p->m,
        .a = p->b,
        .a_row = 1,
        .a_step = p->b_row,
        .b = p->a,
        .b_row = p->a_step,
        .b_column = 1,
        .m = p->n,
        .n = p->m,
        .k = p->k,
        .alpha = p->alpha,
        .beta = 0.0f,
    };
    product_run(be, &turned, rooms);
    add_transposed(p, t);
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
        .beta = beta,
    };

    assert(c.dtype == DTYPE_F32 && a.dtype == DTYPE_F32 && b.dtype == DTYPE_F32);
    assert((transpose_a ? a.cols : a.rows) == p.m);
    assert((transpose_b ? b.rows : b.cols) == p.n);
    assert((transpose_b ? b.cols : b.rows) == p.k);
    if (p.m == 0 || p.n == 0) { return; }

    bool turned = transpose_a && !transpose_b && p.n <= THIN_N && p.m > 4 * p.n && p.k > 0;
    size_t room = (ROOM_B + ROOM_A) * (size_t)be->threads;
    size_t extra = turned ? (size_t)p.m * (size_t)p.n : 0;
    float *rooms = cpu_scratch(cpu_of(be), SCRATCH_PRODUCT, (room + extra) * sizeof *rooms);
    if (rooms == NULL) { return; }
    if (turned) {
        product_turned(be, &p, rooms, rooms + room);
    } else {
        product_run(be, &p, rooms);
    }
}

void ISA(product_install)(struct backend_ops *ops) {
    ops->product = product;
}
