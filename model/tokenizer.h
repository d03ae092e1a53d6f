/* SPDX-License-Identifier: Apache-2.0
 *
 * tokenizer.h - text -> token ids, the same ids as Hugging Face `tokenizers` gives.
 *
 * Byte-level BPE (GPT-2 family: SmolLM2, Llama 3, Qwen) with its normaliser and pre-tokenizer
 * pattern; SentencePiece-style BPE with byte fallback (Llama 2) comes behind the same door. From
 * tokenizer.json or from a GGUF file's metadata. pcre2 and utf8proc stay inside.
 */
#ifndef MODEL_TOKENIZER_H
#define MODEL_TOKENIZER_H

#include <stdint.h>

#include "base/bytes.h"
#include "base/status.h"
#include "model/checkpoint.h"

#define TOKENIZER_TEXT_BYTES_MAX (1024u * 1024u)

struct tokenizer;

/* The tokenizer that belongs to a checkpoint. CONFIG names what is missing or not supported. */
MUST_CHECK enum status tokenizer_open(struct checkpoint *checkpoint,
                                      struct tokenizer **ret_tokenizer, struct error *err);
void tokenizer_close(struct tokenizer *tokenizer);
int tokenizer_size(const struct tokenizer *tokenizer); /* ids are 0 .. size-1 */
/* The token the model expects in front of every text (Llama), -1 when none (SmolLM2, Qwen). It is
 * not added by tokenizer_encode; prompts begin with it. */
int32_t tokenizer_bos(const struct tokenizer *tokenizer);

/* Ids of the text, without special tokens added; special tokens written in the text are recognised
 * as HF does with add_special_tokens=False. Thread-safe for concurrent callers. LIMIT: more than
 * max. */
MUST_CHECK enum status tokenizer_encode(const struct tokenizer *tokenizer, struct span text,
                                        int32_t *ret_ids, int max, int *ret_count,
                                        struct error *err);
/* The bytes of one token as it would be decoded; MALFORMED: no such id. */
MUST_CHECK enum status tokenizer_piece(const struct tokenizer *tokenizer, int32_t id,
                                       struct buffer *out);
const char *tokenizer_kind(const struct tokenizer *tokenizer); /* "byte-level BPE", ... */

#endif
