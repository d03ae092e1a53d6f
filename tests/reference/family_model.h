/* SPDX-License-Identifier: Apache-2.0
 *
 * family_model.h - a small random model of each supported family, written as a Hugging Face folder.
 *
 * config.json, safetensors (one file or two with an index, F32 or BF16) and tokenizer.json, as the
 * family publishes them. A function of the family's name alone, so that golden files made from a
 * folder by transformers hold for every folder written later, without Python.
 */
#ifndef TESTS_REFERENCE_FAMILY_MODEL_H
#define TESTS_REFERENCE_FAMILY_MODEL_H

/* The families' names, NULL behind the last. */
extern const char *const family_names[];

/* Writes the model into an existing folder. 0, or -1 with a line on stderr. */
int family_write(const char *name, const char *folder);

#endif
