/* SPDX-License-Identifier: Apache-2.0
 *
 * fuzz_prompts.c - any bytes as a template file: refused, or parts that lie inside their text.
 */
#include "tests/fuzz/fuzz.h"

#include <assert.h>

#include "model/prompt_parse.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static struct prompt_text sections[PROMPT_SECTION_COUNT];
    struct error err;
    if (size > PROMPT_FILE_BYTES_MAX) { return 0; }
    if (prompt_parse(span_make(data, size), "stream", sections, &err) != STATUS_OK) { return 0; }
    for (int i = 0; i < PROMPT_SECTION_COUNT; i++) {
        for (int p = 0; p < sections[i].part_count; p++) {
            assert(sections[i].parts[p].begin <= sections[i].parts[p].end);
            assert(sections[i].parts[p].end <= sections[i].text_size);
        }
    }
    return 0;
}
