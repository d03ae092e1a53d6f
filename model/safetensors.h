/* SPDX-License-Identifier: Apache-2.0
 *
 * safetensors.h - what the readers in model/ need beyond checkpoint.h: bytes in memory, dtypes.
 */
#ifndef MODEL_SAFETENSORS_H
#define MODEL_SAFETENSORS_H

#include "base/bytes.h"
#include "model/checkpoint.h"

/* As safetensors_open over bytes in memory. borrows: bytes until safetensors_close. */
MUST_CHECK enum status safetensors_open_bytes(struct span bytes, struct safetensors **ret_file,
                                              struct error *err);
struct span safetensors_bytes(const struct safetensors *file); /* the whole file */
/* Bytes of one value; 0 for a dtype that is not known. */
unsigned safetensors_dtype_bytes(const char *dtype);
/* The first `count` values of a tensor of F32, F16 or BF16; false for another dtype. */
bool safetensors_floats(const struct safetensors_entry *entry, size_t count, float *ret_values);

#endif
