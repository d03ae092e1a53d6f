/* SPDX-License-Identifier: Apache-2.0
 *
 * op_cases.c - the one list of operator cases; every backend is run through it.
 *
 * Sizes are odd on purpose: 1, 7, 33 and 257 leave part vectors, part tiles and single rows. Each
 * operator has one case of more than 32,768 elements, which a team shares, and the ones that see
 * packed rows have a full pack of 4,096. */
#include "tests/kernels/op_case.h"

static const struct segment one_row[] = {{0, 1, 0, 0}};
static const struct segment seven[] = {{0, 7, 0, 0}};
static const struct segment long_row[] = {{0, 257, 0, 0}};
/* unequal, with empty ones and rows of one */
static const struct segment packed[] = {{0, 0, 0, 0},   {0, 13, 0, 0},  {13, 14, 0, 0},
                                        {14, 14, 0, 0}, {14, 51, 0, 0}, {51, 65, 0, 0}};
/* a prompt of 19, three branches, then another prompt of 5 with two branches, one of one row */
static const struct segment branches[] = {{0, 19, 0, 0},   {19, 23, 0, 19}, {23, 30, 0, 19},
                                          {30, 31, 0, 19}, {31, 36, 0, 0},  {36, 40, 31, 36},
                                          {40, 41, 31, 36}};
/* prefixes that are part of a prompt, over a block's edge, and one that reaches over a family */
static const struct segment windows[] = {
    {0, 40, 0, 0}, {40, 45, 3, 40}, {45, 50, 0, 0}, {50, 85, 20, 33}};

/* a full pack: 4,096 rows, 32 sequences of 128 */
#define FOUR(at)                                                                                \
    {(at), (at) + 128, 0, 0}, {(at) + 128, (at) + 256, 0, 0}, {(at) + 256, (at) + 384, 0, 0}, { \
        (at) + 384, (at) + 512, 0, 0                                                            \
    }
static const struct segment full[] = {FOUR(0),    FOUR(512),  FOUR(1024), FOUR(1536),
                                      FOUR(2048), FOUR(2560), FOUR(3072), FOUR(3584)};

/* a row that sees itself, the same rows twice, ranges that overlap, that go back, that are long */
static const struct row_range first_only[] = {{0, 1}};
static const struct row_range mixed[] = {{0, 7},   {0, 7},  {3, 20}, {2, 3},
                                         {32, 33}, {5, 33}, {0, 33}};
static const struct row_range far[] = {{0, 257}, {100, 357}, {356, 357}, {1, 18}};

#define SEGMENTS(list) .segments = (list), .segment_count = (int)(sizeof(list) / sizeof((list)[0]))

const struct op_case op_cases[] = {
    /* N rows, C = O columns, K = I inner; flag_b: bias */
    {"linear", .N = 1, .C = 1, .K = 1},
    {"linear", .N = 7, .C = 33, .K = 17, .flag_b = true, .pad = 3},
    {"linear", .N = 33, .C = 96, .K = 64, .pad = 1},
    {"linear", .N = 257, .samples = 8, .C = 31, .K = 130, .flag_b = true},
    {"linear", .N = 100, .samples = 8, .C = 192, .K = 257, .pad = 5},
    {"linear", .N = 4096, .samples = 2, .C = 9, .K = 16},
    {"linear +=", .N = 33, .C = 48, .K = 64, .flag_a = true, .pad = 4},
    {"linear +=", .N = 129, .samples = 8, .C = 64, .K = 33, .flag_a = true},
    {"linear bf16", .N = 1, .C = 1, .K = 1, .precision = PRECISION_BF16},
    {"linear bf16", .N = 33, .C = 96, .K = 64, .pad = 1, .precision = PRECISION_BF16},
    {"linear bf16", .N = 257, .C = 130, .K = 192, .flag_b = true, .precision = PRECISION_BF16},
    {"linear bf16", .N = 7, .C = 33, .K = 17, .pad = 3, .precision = PRECISION_BF16},
    {"back linear", .N = 33, .C = 96, .K = 64, .pad = 1, .precision = PRECISION_BF16},
    {"back linear", .N = 257, .C = 130, .K = 192, .flag_a = true, .precision = PRECISION_BF16},
    {"back linear", .N = 7, .C = 257, .K = 33, .flag_a = true, .pad = 2},

    /* c (N,C) over K */
    {"product", .N = 1, .C = 1, .K = 1, .alpha = 1.0f},
    {"product", .N = 7, .C = 33, .K = 0, .alpha = 1.0f, .beta = 0.5f},
    {"product", .N = 7, .C = 33, .K = 9, .alpha = 2.0f, .pad = 3},
    {"product", .N = 33, .C = 7, .K = 257, .flag_a = true, .alpha = 1.0f, .beta = 1.0f, .pad = 2},
    {"product", .N = 257, .C = 8, .K = 64, .flag_b = true, .alpha = 0.5f, .pad = 1},
    {"product", .N = 64, .C = 16, .K = 600, .flag_a = true, .flag_b = true, .alpha = -1.0f,
     .beta = 0.25f, .pad = 7},
    {"product", .N = 129, .C = 257, .K = 65, .flag_b = true, .alpha = 1.0f, .beta = 1.0f},
    {"product", .N = 8, .C = 257, .K = 300, .flag_a = true, .alpha = 1.0f, .beta = 1.0f, .pad = 1},
    {"product", .N = 257, .C = 129, .K = 8, .alpha = 4.0f, .beta = 1.0f, .pad = 1},
    {"product", .N = 257, .C = 1, .K = 33, .flag_b = true, .alpha = 1.0f},
    {"product", .N = 4096, .samples = 2, .C = 16, .K = 24, .flag_b = true, .alpha = 1.0f},
    {"product", .N = 16, .samples = 2, .C = 24, .K = 4096, .flag_a = true, .alpha = 1.0f,
     .beta = 1.0f},
    {"product", .N = 200, .C = 300, .K = 513, .alpha = 1.0f, .pad = 3},

    {"rmsnorm", .N = 1, .C = 1, .alpha = 1e-5f},
    {"rmsnorm", .N = 7, .C = 33, .alpha = 1e-5f, .pad = 3},
    {"rmsnorm", .N = 257, .C = 64, .alpha = 1e-6f, .pad = 1},
    {"rmsnorm", .N = 65, .C = 577, .alpha = 1e-5f},
    {"rmsnorm", .N = 4096, .samples = 2, .C = 9, .alpha = 1e-5f},
    {"layernorm", .N = 1, .C = 2, .alpha = 1e-5f},
    {"layernorm", .N = 7, .C = 33, .alpha = 1e-5f, .pad = 3},
    {"layernorm", .N = 257, .C = 64, .alpha = 1e-5f, .pad = 1},
    {"layernorm", .N = 65, .C = 577, .alpha = 1e-5f},

    /* K rows of the table */
    {"rotary", .N = 1, .H = 1, .D = 2, .K = 1},
    {"rotary", .N = 7, .H = 3, .D = 8, .K = 11, .pad = 5},
    {"rotary", .N = 65, .H = 9, .D = 64, .K = 40, .flag_a = true, .pad = 1},

    {"attention", .N = 1, .H = 1, .G = 1, .D = 8, .alpha = 0.35f, SEGMENTS(one_row)},
    {"attention", .N = 7, .H = 4, .G = 2, .D = 16, .alpha = 0.25f, .pad = 3, SEGMENTS(seven)},
    {"attention", .N = 65, .samples = 16, .H = 3, .G = 1, .D = 24, .alpha = 0.2f, .pad = 1,
     SEGMENTS(packed)},
    {"attention", .N = 41, .samples = 16, .H = 6, .G = 2, .D = 16, .alpha = 0.25f, .pad = 2,
     SEGMENTS(branches)},
    {"attention", .N = 85, .samples = 16, .H = 2, .G = 2, .D = 8, .alpha = 0.3f, SEGMENTS(windows)},
    {"attention", .N = 257, .samples = 4, .H = 2, .G = 1, .D = 64, .alpha = 0.125f,
     SEGMENTS(long_row)},
    {"attention", .N = 65, .samples = 16, .H = 2, .G = 1, .D = 96, .alpha = 0.1f, SEGMENTS(packed)},
    {"attention", .N = 4096, .samples = 2, .H = 1, .G = 1, .D = 64, .alpha = 0.125f,
     SEGMENTS(full)},
    {"attention", .N = 41, .samples = 16, .H = 2, .G = 2, .D = 128, .alpha = 0.09f, .pad = 4,
     SEGMENTS(branches)},

    /* K rows of keys and values */
    {"cached attention", .N = 1, .K = 1, .H = 1, .G = 1, .D = 8, .alpha = 0.35f,
     .ranges = first_only},
    {"cached attention", .N = 7, .K = 33, .H = 4, .G = 2, .D = 16, .alpha = 0.25f, .pad = 3,
     .ranges = mixed},
    {"cached attention", .N = 7, .K = 33, .H = 9, .G = 3, .D = 64, .alpha = 0.125f, .pad = 1,
     .ranges = mixed},
    {"cached attention", .N = 7, .K = 40, .H = 7, .G = 1, .D = 24, .alpha = 0.2f, .ranges = mixed},
    {"cached attention", .N = 4, .K = 357, .H = 2, .G = 2, .D = 96, .alpha = 0.1f, .pad = 2,
     .ranges = far},
    {"cached attention", .N = 4, .K = 357, .H = 14, .G = 2, .D = 128, .alpha = 0.09f, .pad = 5,
     .ranges = far},

    {"swiglu", .N = 1, .C = 1},
    {"swiglu", .N = 7, .C = 33, .pad = 3},
    {"swiglu", .N = 33, .C = 257, .flag_a = true, .pad = 1},
    {"swiglu", .N = 257, .C = 130},
    {"gelu", .N = 7, .C = 33, .pad = 3},
    {"gelu", .N = 257, .C = 130},
    {"relu", .N = 7, .C = 33, .pad = 3},
    {"relu", .N = 257, .C = 130},

    {"axpby", .N = 7, .C = 33, .alpha = 2.5f, .beta = 0.0f, .pad = 3},
    {"axpby", .N = 257, .C = 130, .alpha = -1.0f, .beta = 0.5f},
    {"multiply", .N = 33, .C = 7, .pad = 2},
    {"add_bias", .N = 1, .C = 1},
    {"add_bias", .N = 257, .C = 130, .pad = 3},
    {"sum_rows", .N = 257, .C = 130, .pad = 3},
    {"sum_rows", .N = 1, .C = 7},

    /* K rows of the table */
    {"gather", .N = 33, .C = 7, .K = 9, .pad = 2},
    {"gather", .N = 257, .C = 130, .K = 64},
    {"gather", .N = 4096, .samples = 2, .C = 7, .K = 257},
    {"scatter", .N = 7, .C = 33, .K = 9, .pad = 2},
    {"add_scatter", .N = 33, .C = 7, .K = 9, .pad = 2},
    {"add_scatter", .N = 257, .C = 130, .K = 64},

    /* C = R ranks, K experts, H sequences; flag_a: interleaved; beta: in place */
    {"gate", .N = 1, .C = 8, .K = 1, .H = 1},
    {"gate", .N = 33, .C = 8, .K = 2, .H = 5, .pad = 1},
    {"gate", .N = 257, .C = 64, .K = 4, .H = 7, .beta = 1.0f},
    {"gate", .N = 4096, .samples = 2, .C = 16, .K = 4, .H = 33, .pad = 1},
    {"gate", .N = 513, .C = 64, .K = 8, .H = 7, .flag_a = true, .pad = 3},
    {"gate", .N = 513, .C = 128, .K = 8, .H = 3, .pad = 1},
    {"softmax", .N = 1, .C = 1},
    {"softmax", .N = 7, .C = 4, .beta = 0.05f, .pad = 1},
    {"softmax", .N = 33, .C = 8, .beta = 0.05f},
    {"softmax", .N = 33, .C = 257},

    {"cross_entropy", .N = 1, .C = 1},
    {"cross_entropy", .N = 7, .C = 33, .pad = 3},
    {"cross_entropy", .N = 33, .C = 1683},
    {"cross_entropy", .N = 4096, .samples = 2, .C = 33},
    {"log_softmax_at", .N = 7, .C = 33, .pad = 3},
    {"log_softmax_at", .N = 33, .C = 1683},
    {"log_softmax", .N = 7, .C = 33, .pad = 3},
    {"log_softmax", .N = 33, .C = 1683},

    {"adamw", .N = 7, .C = 33, .alpha = 0.1f, .pad = 3},
    {"adamw", .N = 257, .C = 130},
    {"adam_rows", .N = 7, .C = 33, .K = 11, .alpha = 0.1f, .pad = 3},
    {"adam_rows", .N = 256, .C = 130, .K = 257},
};

const int op_case_count = (int)(sizeof op_cases / sizeof op_cases[0]);
