/* SPDX-License-Identifier: Apache-2.0
 *
 * lm_golden.c - reads and writes files of named arrays. For tests: what does not fit ends the
 * program. */
#include "tests/reference/lm_golden.h"

#include <stdlib.h>
#include <string.h>

#define CELLS_MAX (64 * 1024 * 1024)

static int read_array(FILE *file, struct lm_array *array) {
    if (fread(array->name, 1, LM_GOLDEN_NAME_BYTES, file) != LM_GOLDEN_NAME_BYTES) { return 1; }
    int32_t shape[3];
    if (fread(shape, sizeof shape[0], 3, file) != 3) { return -1; }
    array->name[LM_GOLDEN_NAME_BYTES - 1] = '\0';
    array->rows = shape[0];
    array->cols = shape[1];
    array->kind = shape[2];
    if (shape[0] < 0 || shape[1] < 0 || (int64_t)shape[0] * shape[1] > CELLS_MAX) { return -1; }
    size_t cells = (size_t)shape[0] * (size_t)shape[1];
    array->values = calloc(cells + 1, 4);
    if (array->values == NULL) { return -1; }
    return fread(array->values, 4, cells, file) == cells ? 0 : -1;
}

int lm_golden_read(const char *path, struct lm_golden *golden) {
    memset(golden, 0, sizeof *golden);
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        fprintf(stderr, "%s: cannot be opened\n", path);
        return -1;
    }
    int end = 0;
    while (end == 0 && golden->count < LM_GOLDEN_MAX) {
        end = read_array(file, &golden->arrays[golden->count]);
        if (end == 0) { golden->count++; }
    }
    (void)fclose(file); /* read only */
    if (end == 1) { return 0; }
    fprintf(stderr, "%s: cut or malformed after %d arrays\n", path, golden->count);
    lm_golden_free(golden);
    return -1;
}

void lm_golden_free(struct lm_golden *golden) {
    for (int i = 0; i < LM_GOLDEN_MAX; i++) {
        free(golden->arrays[i].values);
    }
    memset(golden, 0, sizeof *golden);
}

const struct lm_array *lm_golden_find(const struct lm_golden *golden, const char *name) {
    for (int i = 0; i < golden->count; i++) {
        if (strcmp(golden->arrays[i].name, name) == 0) { return &golden->arrays[i]; }
    }
    return NULL;
}

static const struct lm_array *must_find(const struct lm_golden *golden, const char *name,
                                        int kind) {
    const struct lm_array *array = lm_golden_find(golden, name);
    if (array == NULL || array->kind != kind) {
        fprintf(stderr, "no array '%s' of kind %d\n", name, kind);
        abort();
    }
    return array;
}

const float *lm_golden_floats(const struct lm_golden *golden, const char *name) {
    return must_find(golden, name, 0)->values;
}

const int32_t *lm_golden_integers(const struct lm_golden *golden, const char *name,
                                  int *ret_count) {
    const struct lm_array *array = must_find(golden, name, 1);
    if (ret_count != NULL) { *ret_count = array->rows * array->cols; }
    return array->values;
}

int lm_golden_write(FILE *file, const char *name, int rows, int cols, const float *values) {
    char padded[LM_GOLDEN_NAME_BYTES] = {0};
    int32_t shape[3] = {rows, cols, 0};
    size_t cells = (size_t)rows * (size_t)cols;
    (void)snprintf(padded, sizeof padded, "%s", name);
    return fwrite(padded, 1, sizeof padded, file) == sizeof padded &&
                   fwrite(shape, sizeof shape[0], 3, file) == 3 &&
                   fwrite(values, 4, cells, file) == cells
               ? 0
               : -1;
}
