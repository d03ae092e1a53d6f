/* SPDX-License-Identifier: Apache-2.0
 *
 * fuzz_hf_config.c - any bytes as config.json: refused, or a description whose check can say
 * why not.
 */
#include "tests/fuzz/fuzz.h"

#include <assert.h>

#include "model/checkpoint_source.h"
#include "model/hf_config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct error err;
    struct model_description description;
    if (hf_config_parse(span_make(data, size), &description, &err) != STATUS_OK) { return 0; }
    if (description_check(&description, &err) != STATUS_OK) { return 0; }
    assert(description.H % description.G == 0 && description.D > 0 && description.V > 0);
    assert(description.bos < description.V && description.eos < description.V);
    return 0;
}
