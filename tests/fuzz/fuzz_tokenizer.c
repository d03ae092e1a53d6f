/* SPDX-License-Identifier: Apache-2.0
 *
 * fuzz_tokenizer.c - any bytes as tokenizer.json: refused, or a text encodes to ids in range.
 */
#include "tests/fuzz/fuzz.h"

#include <assert.h>

#include "model/tokenizer_parts.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct error err;
    struct tokenizer_parts parts = {0};
    struct tokenizer *tokenizer = NULL;
    struct buffer piece = {.limit = 65536};
    int32_t ids[128];
    int count = 0;
    enum status status = tokenizer_parts_of_json(span_make(data, size), &parts, &err);
    if (status == STATUS_OK) { status = tokenizer_of_parts(&parts, &tokenizer, &err); }
    tokenizer_parts_free(&parts);
    if (status != STATUS_OK) { return 0; }

    struct span text = span_of(" ab 1 <x> y  b\xc3\xa9's\n\xe2\x96\x81"
                               "A aab");
    status = tokenizer_encode(tokenizer, text, ids, 128, &count, &err);
    for (int i = 0; status == STATUS_OK && i < count; i++) {
        assert(ids[i] >= 0 && ids[i] < tokenizer_size(tokenizer));
        status = tokenizer_piece(tokenizer, ids[i], &piece);
    }
    buffer_free(&piece);
    tokenizer_close(tokenizer);
    return 0;
}
