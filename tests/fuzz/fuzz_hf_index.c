/* SPDX-License-Identifier: Apache-2.0
 *
 * fuzz_hf_index.c - any bytes as model.safetensors.index.json: refused, or plain file names, each
 * once and sorted, and every tensor in one of them.
 */
#include "tests/fuzz/fuzz.h"

#include <assert.h>
#include <string.h>

#include "model/hf_index.h"

/* As if the shards held each tensor in the file that its first letter says. */
static int find(const void *context, const char *tensor) {
    const struct hf_index *index = context;
    return tensor[0] == '\0' ? -1 : (uint8_t)tensor[0] % index->count;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct error err;
    struct hf_index index;
    enum status status = hf_index_parse(span_make(data, size), &index, &err);
    if (status != STATUS_OK) {
        assert(status == STATUS_CONFIG && err.text[0] != '\0');
        return 0;
    }
    assert(index.count > 0 && index.count <= HF_SHARDS_MAX);
    for (int i = 0; i < index.count; i++) {
        assert(index.names[i][0] != '\0' && index.names[i][0] != '.');
        assert(strchr(index.names[i], '/') == NULL);
        assert(i == 0 || strcmp(index.names[i - 1], index.names[i]) < 0);
    }
    status = hf_index_check(&index, find, &index, &err);
    assert(status == STATUS_OK || status == STATUS_CONFIG);
    hf_index_free(&index);
    return 0;
}
