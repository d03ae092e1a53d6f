/* SPDX-License-Identifier: Apache-2.0
 *
 * fuzz_peft_config.c - any bytes as adapter_config.json: refused, or a rank, a scale and modules.
 */
#include "tests/fuzz/fuzz.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#include "model/peft_config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct error err;
    struct peft_config config;
    enum status status = peft_config_read(span_make(data, size), &config, &err);
    if (status != STATUS_OK) {
        assert(status == STATUS_CONFIG && err.text[0] != '\0');
        return 0;
    }
    assert(config.rank > 0 && isfinite(config.alpha));
    assert(memchr(config.base_name, '\0', sizeof config.base_name) != NULL);
    for (int layer = 0; layer < 3; layer++) {
        for (int module = 0; module < PEFT_MODULES; module++) {
            (void)peft_config_targets(&config, layer, module); /* any answer, no crash */
        }
    }
    peft_config_free(&config);
    return 0;
}
