/* SPDX-License-Identifier: Apache-2.0
 *
 * gguf.h - the container of ggml: typed metadata and quantised tensors in one file; inside model/.
 *
 *   "GGUF" u32 version (2, 3)  u64 tensors  u64 entries
 *   entries   string key, u32 type, value            string = u64 size + bytes
 *   tensors   string name, u32 dims, u64 sizes (innermost first), u32 type, u64 offset
 *   padding to general.alignment (32), then the data, offsets relative to here
 *
 * Source: the GGUF specification of the ggml project. All little-endian. Everything is
 * bounds-checked at open, so that later access cannot leave the mapping. Errors are CONFIG and
 * name file and field.
 */
#ifndef MODEL_GGUF_H
#define MODEL_GGUF_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/status.h"

#define GGUF_ENTRIES_MAX      4096u
#define GGUF_TENSORS_MAX      65536u
#define GGUF_STRING_BYTES_MAX (16u * 1024u * 1024u) /* chat templates and regular expressions */
#define GGUF_NAME_BYTES       64u                   /* GGML_MAX_NAME, with the NUL */

enum gguf_kind {
    GGUF_U8,
    GGUF_I8,
    GGUF_U16,
    GGUF_I16,
    GGUF_U32,
    GGUF_I32,
    GGUF_F32,
    GGUF_BOOL,
    GGUF_STRING,
    GGUF_ARRAY,
    GGUF_U64,
    GGUF_I64,
    GGUF_F64,
};

struct gguf_entry {
    struct span key; /* borrows: from the file */
    enum gguf_kind kind;
    enum gguf_kind element; /* of an array; arrays of arrays are refused */
    uint64_t count;         /* elements of an array; 1 otherwise */
    struct span bytes; /* the value; a string without its size; an array's elements as stored */
};

struct gguf_tensor {
    char name[GGUF_NAME_BYTES];
    int dims;          /* 1 to 4 */
    uint64_t sizes[4]; /* innermost first, unused ones 1 */
    uint32_t type;     /* enum gguf_type of gguf_dequant.h, checked to be known */
    struct span bytes; /* borrows: from the file */
};

struct gguf; /* hides the mapping */

MUST_CHECK enum status gguf_open(const char *path, struct gguf **ret_file, struct error *err);
/* The same over bytes in memory, 1-byte aligned is enough. borrows: bytes until gguf_close. */
MUST_CHECK enum status gguf_open_bytes(struct span bytes, struct gguf **ret_file,
                                       struct error *err);
void gguf_close(struct gguf *file);

struct span gguf_bytes(const struct gguf *file); /* the whole file */

/* NULL when absent. */
const struct gguf_entry *gguf_find(const struct gguf *file, const char *key);
const struct gguf_tensor *gguf_tensor_find(const struct gguf *file, const char *name);
size_t gguf_tensor_count(const struct gguf *file);
const struct gguf_tensor *gguf_tensor_at(const struct gguf *file, size_t index); /* by name order */

/* False when entry is NULL or of another kind. Integers of any width; a real also from F64. */
bool gguf_integer(const struct gguf_entry *entry, int64_t *ret_integer);
bool gguf_real(const struct gguf_entry *entry, double *ret_real);
bool gguf_bool(const struct gguf_entry *entry, bool *ret_bool);
bool gguf_string(const struct gguf_entry *entry, struct span *ret_text);

/* Walks an array of strings: *at starts at 0; false after the last. entry is an array of
 * strings. */
bool gguf_next_string(const struct gguf_entry *entry, size_t *at, struct span *ret_text);

#endif
