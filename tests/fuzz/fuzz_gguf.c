/* SPDX-License-Identifier: Apache-2.0
 *
 * fuzz_gguf.c - any bytes as a GGUF file: refused, or every tensor decodes, the tokenizer works,
 * and as a base model it has what its description says.
 */
#include "tests/fuzz/fuzz.h"

#include <assert.h>
#include <string.h>

#include "model/checkpoint_source.h"
#include "model/gguf.h"
#include "model/gguf_dequant.h"
#include "model/tokenizer_parts.h"

#define BLOCK_VALUES_MAX 256
#define VALUES_MAX       4096u

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

static void read_one(struct checkpoint *checkpoint, const char *name, int rows, int cols) {
    static float values[VALUES_MAX];
    struct error err;
    if ((size_t)rows * (size_t)cols > VALUES_MAX) { return; }
    if (checkpoint_read(checkpoint, name, rows, cols, values, &err) != STATUS_OK) {
        assert(err.code == STATUS_CONFIG && strstr(err.text, name) != NULL);
        return;
    }
    for (int i = 0; i < rows * cols; i++) {
        assert(values[i] - values[i] == 0.0f); /* no NaN, no infinity */
    }
}

/* The file as a base model: what opens has every tensor of its description. */
static void use_model(const uint8_t *data, size_t size) {
    struct error err;
    struct model_source *source = NULL;
    struct checkpoint *checkpoint = NULL;
    enum status status = gguf_source_open_bytes("x.gguf", span_make(data, size), &source, &err);
    if (status == STATUS_OK) { status = checkpoint_of_source(source, &checkpoint, &err); }
    if (status != STATUS_OK) {
        assert(strstr(err.text, "x.gguf") != NULL);
        return;
    }
    const struct model_description *d = checkpoint_description(checkpoint);
    assert(d->H % d->G == 0 && d->D % 2 == 0);
    read_one(checkpoint, "model.embed_tokens.weight", d->V, d->C);
    read_one(checkpoint, "model.layers.0.self_attn.q_proj.weight", d->H * d->D, d->C);
    read_one(checkpoint, "model.layers.0.self_attn.k_proj.weight", d->G * d->D, d->C);
    read_one(checkpoint, "model.layers.0.mlp.down_proj.weight", d->C, d->F);
    checkpoint_close(checkpoint);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct error err;
    struct gguf *file = NULL;
    if (gguf_open_bytes(span_make(data, size), &file, &err) != STATUS_OK) { return 0; }
    read_tensors(file);
    use_tokenizer(file);
    gguf_close(file);
    use_model(data, size);
    return 0;
}
