/* SPDX-License-Identifier: Apache-2.0
 *
 * rooms.h - what the readers of data.c share while a split is being built.
 */
#ifndef OPS_PAPER_ROOMS_H
#define OPS_PAPER_ROOMS_H

#include <stdbool.h>

#include "ops/paper/data.h"

/* Numbers by name: open addressing, a power of two of places. */
struct paper_index {
    uint32_t *places;  /* owns; number + 1, 0 = free */
    struct span *keys; /* owns; by number; borrows: names in files or in an arena */
    size_t place_count, count, capacity;
};

void paper_index_free(struct paper_index *index);
/* The number of a key, given out from 0 in the order of first sight. NO_MEMORY; LIMIT beyond
 * UINT32_MAX - 1. */
MUST_CHECK enum status paper_index_add(struct paper_index *index, struct span key,
                                       uint32_t *ret_number, bool *ret_new, struct error *err);
bool paper_index_find(const struct paper_index *index, struct span key, uint32_t *ret_number);

struct paper_build {
    struct paper_split *split; /* borrows: filled */
    struct paper_index names;  /* of items */
    size_t item_capacity, sequence_capacity;
    size_t sequence_item_count, sequence_item_capacity;
};

/* Where items stand in a file with a header. */
struct paper_items_form {
    const char *item;      /* column of the id */
    const char *titles[4]; /* the first of these columns that is there; NULL ends */
    bool articles_behind;  /* "Name, The" */
};

/* Room for one more element; false when there is no memory. */
bool paper_make_room(void **array, size_t count, size_t *capacity, size_t element_bytes);
/* Reads the items' file. CONFIG with file and line. */
MUST_CHECK enum status paper_items_read(struct paper_build *build, const char *path,
                                        const struct paper_items_form *form, struct error *err);
/* Adds a sample with the last PAPER_HISTORY_MAX of count items; count >= PAPER_HISTORY_MIN. */
MUST_CHECK enum status paper_sample_add(struct paper_part *part, const uint32_t *history,
                                        size_t count, uint32_t target, struct error *err);
/* Begins a training sequence, or appends to the newest. Its items pointers are set at the end. */
MUST_CHECK enum status paper_sequence_begin(struct paper_build *build, struct error *err);
MUST_CHECK enum status paper_sequence_append(struct paper_build *build, uint32_t item,
                                             struct error *err);

/* The two kinds of folder. */
MUST_CHECK enum status paper_split_folder_read(struct paper_build *build, const char *folder,
                                               struct error *err);
MUST_CHECK enum status paper_recbole_read(struct paper_build *build, const char *inter_path,
                                          const char *item_path, struct error *err);

#endif
