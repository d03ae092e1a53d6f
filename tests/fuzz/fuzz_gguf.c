/* SPDX-License-Identifier: Apache-2.0
 *
 * fuzz_gguf.c - any bytes as a GGUF file: refused, or every tensor decodes and the tokenizer works.
 */
#include "tests/fuzz/fuzz.h"

#include <assert.h>

#include "model/gguf.h"
#include "model/gguf_dequant.h"
#include "model/tokenizer_parts.h"

#define BLOCK_VALUES_MAX 256

static void read_tensors(const struct gguf *file) {
    float values[BLOCK_VALUES_MAX];
    for (size_t i = 0; i < gguf_tensor_count(file); i++) {
        const struct gguf_tensor *tensor = gguf_tensor_at(file, i);
        size_t block = gguf_block_values(tensor->type);
        size_t bytes = gguf_block_bytes(tensor->type);
        assert(block > 0 && block <= BLOCK_VALUES_MAX && tensor->bytes.size >= bytes);
        gguf_dequantise(tensor->type, tensor->bytes.data, block, values);
        gguf_dequantise(tensor->type, tensor->bytes.data + tensor->bytes.size - bytes, block,
                        values);
    }
}

static void use_tokenizer(const struct gguf *file) {
    struct error err;
    struct tokenizer_parts parts = {0};
    struct tokenizer *tokenizer = NULL;
    int32_t ids[64];
    int count = 0;
    enum status status = tokenizer_parts_of_gguf(file, &parts, &err);
    if (status == STATUS_OK) { status = tokenizer_of_parts(&parts, &tokenizer, &err); }
    tokenizer_parts_free(&parts);
    if (status != STATUS_OK) { return; }
    status =
        tokenizer_encode(tokenizer, span_of("ab <|end|>A1 \xc3\xa9  aab"), ids, 64, &count, &err);
    for (int i = 0; status == STATUS_OK && i < count; i++) {
        assert(ids[i] >= 0 && ids[i] < tokenizer_size(tokenizer));
    }
    tokenizer_close(tokenizer);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct error err;
    struct gguf *file = NULL;
    if (gguf_open_bytes(span_make(data, size), &file, &err) != STATUS_OK) { return 0; }
    read_tensors(file);
    use_tokenizer(file);
    gguf_close(file);
    return 0;
}
