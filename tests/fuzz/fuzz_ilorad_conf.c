/* SPDX-License-Identifier: Apache-2.0
 *
 * fuzz_ilorad_conf.c - any bytes as ilorad.conf: a line is refused with its number, or its value
 * goes into a setting of every type and is within the limits of the table.
 */
#include "tests/fuzz/fuzz.h"

#include <assert.h>

#include "base/config.h"
#include "base/config_file.h"

struct all_types {
    bool truth;
    int64_t integer, duration_us, bytes;
    double real;
    char text[CONFIG_TEXT_BYTES];
    int choice;
};

static const struct setting table[] = {
    {.section = "s",
     .key = "truth",
     .type = SETTING_BOOL,
     .unit = "",
     .default_value = "yes",
     .sentence = "One.",
     .field = offsetof(struct all_types, truth)},
    {.section = "s",
     .key = "integer",
     .type = SETTING_INTEGER,
     .unit = "events",
     .default_value = "1",
     .minimum = -5,
     .maximum = 1e6,
     .sentence = "One.",
     .field = offsetof(struct all_types, integer)},
    {.section = "s",
     .key = "duration",
     .type = SETTING_DURATION,
     .unit = "ms",
     .default_value = "1",
     .minimum = 0,
     .maximum = 1e12,
     .sentence = "One.",
     .field = offsetof(struct all_types, duration_us)},
    {.section = "s",
     .key = "bytes",
     .type = SETTING_BYTES,
     .unit = "",
     .default_value = "1",
     .minimum = 0,
     .maximum = 1e12,
     .sentence = "One.",
     .field = offsetof(struct all_types, bytes)},
    {.section = "s",
     .key = "real",
     .type = SETTING_REAL,
     .unit = "",
     .default_value = "1",
     .minimum = -1,
     .maximum = 1e3,
     .sentence = "One.",
     .field = offsetof(struct all_types, real)},
    {.section = "s",
     .key = "text",
     .type = SETTING_TEXT,
     .unit = "",
     .default_value = "",
     .minimum = 0,
     .maximum = 100,
     .sentence = "One.",
     .field = offsetof(struct all_types, text)},
    {.section = "s",
     .key = "choice",
     .type = SETTING_CHOICE,
     .unit = "",
     .default_value = "auto",
     .choices = "auto|f32|bf16",
     .sentence = "One.",
     .field = offsetof(struct all_types, choice)},
};

/* Each value goes into every setting: the key only says which one in a real file. */
static enum status visit(void *context, int line, const char *section, const char *key,
                         const char *value, struct error *err) {
    struct all_types *all = context;
    assert(line > 0 && section != NULL && key != NULL);
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        if (config_value_set(&table[i], value, all, err) != STATUS_OK) {
            assert(err->code == STATUS_CONFIG && err->text[0] != '\0');
        }
    }
    assert(all->integer >= -5 && all->integer <= 1000000);
    assert(all->duration_us >= 0 && all->bytes >= 0 && all->choice >= 0 && all->choice < 3);
    assert(all->real >= -1.0 && all->real <= 1e3);
    assert(memchr(all->text, '\0', 101) != NULL);
    return STATUS_OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct error err;
    struct all_types all = {0};
    if (config_text_read("ilorad.conf", span_make(data, size), visit, &all, &err) != STATUS_OK) {
        assert(err.code == STATUS_CONFIG);
    }
    return 0;
}
