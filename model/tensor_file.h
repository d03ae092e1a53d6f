/* SPDX-License-Identifier: Apache-2.0
 *
 * tensor_file.h - named arrays of versions and checkpoints in safetensors files, and the JSON file
 * beside them that names every file with its SHA-256.
 */
#ifndef MODEL_TENSOR_FILE_H
#define MODEL_TENSOR_FILE_H

#include <stddef.h>
#include <stdint.h>

#include "base/hash.h"
#include "base/json.h"
#include "base/status.h"
#include "model/checkpoint.h"

/* Entries on their way into a file. Zeroed is empty; borrows: the data, until the file
 * is written. */
struct tensor_list {
    struct safetensors_entry *entries; /* owns */
    int count, capacity;
    enum status status; /* the first failure sticks */
};

void tensor_list_free(struct tensor_list *list);
/* dtype: "F32", "F64", "I64", "U8". suffix is appended to the name. */
void tensor_list_add(struct tensor_list *list, const char *name, const char *suffix,
                     const char *dtype, int64_t rows, int64_t cols, const void *data);
MUST_CHECK enum status tensor_list_write(const struct tensor_list *list, const char *folder,
                                         const char *name, struct error *err);

/* Rows of a tensor of that name; -1 when it is not there. */
int64_t tensor_file_rows(const struct safetensors *file, const char *name);
/* Copies exactly (rows,cols) of that dtype. CORRUPT names tensor, found and expected. */
MUST_CHECK enum status tensor_file_copy(const struct safetensors *file, const char *name,
                                        const char *suffix, const char *dtype, int64_t rows,
                                        int64_t cols, void *ret_data, struct error *err);

/* "files": {name: sha256, ...} of a folder's files, in the order given. */
MUST_CHECK enum status folder_digests_write(struct json_writer *w, const char *folder,
                                            const char *const *names, int count, struct error *err);
/* Reads folder/name, parses it, checks every digest in its "files". ret_digest (may be NULL): of
 * the JSON file itself. CORRUPT names the file. json_free the value. */
MUST_CHECK enum status folder_digests_check(const char *folder, const char *name,
                                            struct json_value **ret_json,
                                            uint8_t ret_digest[SHA256_BYTES], struct error *err);
/* A member that must be a number >= 0. */
MUST_CHECK enum status json_count(const struct json_value *json, const char *name,
                                  uint64_t *ret_count, struct error *err);

#endif
