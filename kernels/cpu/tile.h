/* SPDX-License-Identifier: Apache-2.0
 *
 * tile.h - the one inner loop of all own products: a block of c = a b with the sums in registers.
 *
 *   c (m,n) = or += a (m,k) b (k,n)      a[i,l] at a + i*a_row + l*a_step   (any strides: a
 *                                        transposed factor is a_row 1)
 *                                        b[l,j] at b + l*b_row + j          (rows contiguous)
 *
 * TILE_ROWS rows times TILE_VECTORS vectors of columns stay in registers while l runs. Each
 * element of c is one chain of multiply-adds in the order of l, whatever tile it falls in: its bits
 * do not depend on m, n or where it stands. This file's users are compiled with -ffp-contract=fast,
 * so that a multiply and an add become one instruction where the set has it.
 */
#ifndef KERNELS_CPU_TILE_H
#define KERNELS_CPU_TILE_H

#include <stdbool.h>
#include <stddef.h>

#include "kernels/cpu/lanes.h"

/* Sums in registers: 16 of 32 zmm; 12 of 16 ymm; 8 of 16 xmm. */
#if LANES == 16
#define TILE_ROWS 8
#elif LANES == 8
#define TILE_ROWS 6
#else
#define TILE_ROWS 4
#endif
#define TILE_VECTORS 2
#define TILE_COLUMNS (TILE_VECTORS * LANES)

/* How a finished tile goes to c. */
enum tile_store { TILE_SET, TILE_ADD };

/* rows <= TILE_ROWS and vectors <= TILE_VECTORS are constants where this is inlined; the last
 * vector has `count` lanes (LANES: whole). */
LANES_INLINE void tile(float *c, size_t c_row, const float *a, size_t a_row, size_t a_step,
                       const float *b, size_t b_row, int k, float alpha, enum tile_store store,
                       const int rows, const int vectors, int count) {
    f32v sum[TILE_ROWS][TILE_VECTORS];

#pragma GCC unroll 8
    for (int i = 0; i < rows; i++) {
#pragma GCC unroll 2
        for (int j = 0; j < vectors; j++) {
            sum[i][j] = (f32v){0};
        }
    }
    for (int l = 0; l < k; l++) {
        f32v b_l[TILE_VECTORS];
        const float *b_at = b + (size_t)l * b_row, *a_at = a + (size_t)l * a_step;
#pragma GCC unroll 2
        for (int j = 0; j < vectors; j++) {
            b_l[j] = j < vectors - 1 || count == LANES ? lanes_load(b_at + j * LANES)
                                                       : lanes_load_part(b_at + j * LANES, count);
        }
#pragma GCC unroll 8
        for (int i = 0; i < rows; i++) {
            f32v a_i = lanes_all(a_at[(size_t)i * a_row]);
#pragma GCC unroll 2
            for (int j = 0; j < vectors; j++) {
                sum[i][j] += a_i * b_l[j];
            }
        }
    }
#pragma GCC unroll 8
    for (int i = 0; i < rows; i++) {
#pragma GCC unroll 2
        for (int j = 0; j < vectors; j++) {
            float *c_at = c + (size_t)i * c_row + j * LANES;
            int lanes = j < vectors - 1 ? LANES : count;
            f32v value = sum[i][j] * alpha;
            if (store == TILE_ADD) { value = value + lanes_load_part(c_at, lanes); }
            lanes_store_part(c_at, value, lanes);
        }
    }
}

/* As tile, for the columns of one vector group; `count` lanes in its last vector. */
LANES_INLINE void tile_column(float *c, size_t c_row, int m, const float *a, size_t a_row,
                              size_t a_step, const float *b, size_t b_row, int k, float alpha,
                              enum tile_store store, const int vectors, int count) {
    int i = 0;

    for (; i + TILE_ROWS <= m; i += TILE_ROWS) {
        tile(c + (size_t)i * c_row, c_row, a + (size_t)i * a_row, a_row, a_step, b, b_row, k, alpha,
             store, TILE_ROWS, vectors, count);
    }
    for (; TILE_ROWS > 4 && i + 4 <= m; i += 4) {
        tile(c + (size_t)i * c_row, c_row, a + (size_t)i * a_row, a_row, a_step, b, b_row, k, alpha,
             store, TILE_ROWS > 4 ? 4 : 1, vectors, count);
    }
    for (; i + 2 <= m; i += 2) {
        tile(c + (size_t)i * c_row, c_row, a + (size_t)i * a_row, a_row, a_step, b, b_row, k, alpha,
             store, 2, vectors, count);
    }
    for (; i < m; i++) {
        tile(c + (size_t)i * c_row, c_row, a + (size_t)i * a_row, a_row, a_step, b, b_row, k, alpha,
             store, 1, vectors, count);
    }
}

/* The whole block, see the top. k 0 sets c to 0. */
static inline __attribute__((unused)) void tile_block(float *c, size_t c_row, int m, int n,
                                                      const float *a, size_t a_row, size_t a_step,
                                                      const float *b, size_t b_row, int k,
                                                      float alpha, enum tile_store store) {
    int j = 0;

    for (; j + TILE_COLUMNS <= n; j += TILE_COLUMNS) {
        tile_column(c + j, c_row, m, a, a_row, a_step, b + j, b_row, k, alpha, store, TILE_VECTORS,
                    LANES);
    }
    for (; j + LANES <= n; j += LANES) {
        tile_column(c + j, c_row, m, a, a_row, a_step, b + j, b_row, k, alpha, store, 1, LANES);
    }
    if (j < n) {
        tile_column(c + j, c_row, m, a, a_row, a_step, b + j, b_row, k, alpha, store, 1, n - j);
    }
}

#endif
