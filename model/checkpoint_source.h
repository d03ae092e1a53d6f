/* SPDX-License-Identifier: Apache-2.0
 *
 * checkpoint_source.h - what each container of a base model must be able to do; inside model/ only.
 *
 *   checkpoint.c ──▶ struct model_source_ops ◀── checkpoint_gguf.c
 *                                            ◀── checkpoint_hf.c       (with ILORA_TEXT)
 *                                            ◀── checkpoint_builtin.c
 *
 * A source knows names and shapes and decodes values; checkpoint.c checks them against the
 * description and against NaN, so that no container can forget to.
 */
#ifndef MODEL_CHECKPOINT_SOURCE_H
#define MODEL_CHECKPOINT_SOURCE_H

#include "base/bytes.h"
#include "model/checkpoint.h"

#define TENSOR_NAME_BYTES 128u

struct model_source;

/* Called with the bytes that make the model what it is, in a fixed order. */
typedef void (*model_source_visit)(void *context, struct span bytes);

struct model_source_ops {
    const char *kind; /* "gguf", "hf", "builtin" */
    void (*close)(struct model_source *source);
    /* False when there is no such tensor. A vector has rows 1. */
    bool (*shape)(const struct model_source *source, const char *name, int *ret_rows,
                  int *ret_cols);
    /* Decodes a tensor that has exactly this shape. */
    enum status (*read)(struct model_source *source, const char *name, int rows, int cols,
                        float *ret_values, struct error *err);
    void (*visit)(const struct model_source *source, model_source_visit visit, void *context);
    /* For the error line: the file that holds this tensor, or where it was looked for. borrows:
     * until close. */
    const char *(*file)(const struct model_source *source, const char *name);
    /* The tensor's name in that file where it has another one there, "" otherwise. NULL: the names
     * are the same. */
    void (*name_in_file)(const char *name, char ret_name[TENSOR_NAME_BYTES]);
    const char *description_file; /* where the sizes stand, below path; "" = path itself */
};

/* Containers embed this as their first member. */
struct model_source {
    const struct model_source_ops *ops;
    struct model_description description;
    char *path; /* owns: the source; as given to checkpoint_open */
};

MUST_CHECK enum status gguf_source_open(const char *path, struct model_source **ret_source,
                                        struct error *err);
/* The same over bytes in memory (tests, fuzzing); path is for messages. borrows: bytes until
 * close. */
MUST_CHECK enum status gguf_source_open_bytes(const char *path, struct span bytes,
                                              struct model_source **ret_source, struct error *err);
MUST_CHECK enum status hf_source_open(const char *path, struct model_source **ret_source,
                                      struct error *err);
/* name: what follows "builtin:", "tiny" or "small", with ":seed" or not. */
MUST_CHECK enum status builtin_source_open(const char *name, struct model_source **ret_source,
                                           struct error *err);

struct gguf;
/* The file behind a source of kind "gguf": the tokenizer is in its metadata. */
const struct gguf *gguf_source_file(const struct model_source *source);

/* A checkpoint over a source opened elsewhere, with all checks of checkpoint_open. takes: source,
 * also on failure. */
MUST_CHECK enum status checkpoint_of_source(struct model_source *source,
                                            struct checkpoint **ret_checkpoint, struct error *err);

/* The source of an open checkpoint. borrows: until checkpoint_close. */
const struct model_source *checkpoint_source(const struct checkpoint *checkpoint);

/* Limits of every size in a description, and what must divide what. CONFIG names the field. */
MUST_CHECK enum status description_check(const struct model_description *description,
                                         struct error *err);

#endif
