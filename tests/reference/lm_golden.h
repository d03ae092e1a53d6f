/* SPDX-License-Identifier: Apache-2.0
 *
 * lm_golden.h - a file of named arrays: what the PyTorch reference and the C tests exchange.
 *
 *   record: char name[72] | i32 rows | i32 cols | i32 kind (0 f32, 1 i32) | rows*cols 4-byte values
 *
 * Little-endian; records follow one another to the end of the file.
 */
#ifndef TESTS_REFERENCE_LM_GOLDEN_H
#define TESTS_REFERENCE_LM_GOLDEN_H

#include <stdint.h>
#include <stdio.h>

#define LM_GOLDEN_NAME_BYTES 72
#define LM_GOLDEN_MAX        512

struct lm_array {
    char name[LM_GOLDEN_NAME_BYTES];
    int32_t rows, cols, kind;
    void *values; /* owns: float or int32_t */
};

struct lm_golden {
    struct lm_array arrays[LM_GOLDEN_MAX];
    int count;
};

/* 0, or -1 with a line on stderr. */
int lm_golden_read(const char *path, struct lm_golden *golden);
void lm_golden_free(struct lm_golden *golden);
/* NULL when there is none of that name. */
const struct lm_array *lm_golden_find(const struct lm_golden *golden, const char *name);
/* Ends the program when absent: the file does not fit the test. */
const float *lm_golden_floats(const struct lm_golden *golden, const char *name);
const int32_t *lm_golden_integers(const struct lm_golden *golden, const char *name, int *ret_count);
/* Appends a record of f32. 0 or -1. */
int lm_golden_write(FILE *file, const char *name, int rows, int cols, const float *values);

#endif
