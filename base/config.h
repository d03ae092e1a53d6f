/* SPDX-License-Identifier: Apache-2.0
 *
 * config.h - settings: one table describes them, one function fills a struct from it.
 *
 * Sources, later wins: defaults, the INI file, environment ILORAD_SECTION_KEY, --set
 * section.key=value. Anything unknown, of the wrong type or out of range is STATUS_CONFIG and one
 * line that names file, line, key and what is allowed:
 *   /etc/ilorad/ilorad.conf:12: [train] batch_events = 0: expected an integer from 1 to 65536
 */
#ifndef BASE_CONFIG_H
#define BASE_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/status.h"

#define CONFIG_TEXT_BYTES 512u /* of a text value with its NUL */
#define CONFIG_EXTRA_MAX  128  /* pass-through keys */

enum setting_type {
    SETTING_BOOL,    /* yes/no, true/false, on/off, 1/0 -> bool */
    SETTING_INTEGER, /* -> int64_t */
    SETTING_REAL,    /* -> double */
    /* "200 ms", "30 s", "5 min", "1 h"; bare: in the table's unit; -> int64_t microseconds */
    SETTING_DURATION,
    SETTING_BYTES,  /* "64 MiB", "1 GB", bare = bytes -> int64_t */
    SETTING_TEXT,   /* -> char[CONFIG_TEXT_BYTES] */
    SETTING_CHOICE, /* one of choices "a|b|c" -> int (index) */
};

struct setting {
    const char *section;
    const char *key;
    enum setting_type type;
    const char
        *unit; /* "" or how the number reads: "events", "ms" (durations: unit of a bare number) */
    const char *default_value; /* as it would stand in the file */
    /* TEXT: length in bytes; maximum 0 = as long as fits */
    double minimum, maximum; /* inclusive, in the stored unit (durations: microseconds) */
    const char *choices;     /* SETTING_CHOICE */
    bool reloadable;         /* SIGHUP takes a new value */
    bool affects_output;     /* recorded in the epoch record when it changes */
    bool secret;             /* never printed */
    const char *sentence;    /* what it is, one line */
    size_t field;            /* offsetof the value in the settings struct */
};

/* Keys of one section that are not in the table and are passed through ([kafka] librdkafka
 * properties, [events] weight.TYPE and field.NAME). */
struct config_extra {
    char section[32];
    char key[128];
    char value[CONFIG_TEXT_BYTES];
};

struct config_extras {
    struct config_extra items[CONFIG_EXTRA_MAX];
    int count;
};

/* Decides whether an unknown key may pass; CONFIG when not, with what is allowed in err, or err
 * left alone for the usual words ("unknown key, did you mean"). */
typedef enum status (*config_accept)(const char *section, const char *key, const char *value,
                                     struct error *err);

/* Fills settings (a struct described by the table) from defaults, file (NULL = none; a file that is
 * named and absent is CONFIG), environment and overrides ("section.key=value"). On failure settings
 * and extras are half filled: load into a fresh struct. A pass-through key in the environment is
 * written in lower case with dots: ILORAD_KAFKA_BOOTSTRAP_SERVERS. */
MUST_CHECK enum status config_load(const struct setting *table, int count, const char *path,
                                   const char *const *overrides, int override_count,
                                   config_accept accept, void *settings,
                                   struct config_extras *extras, struct error *err);
/* Appends the effective values as an INI file; secrets as "(secret)". */
MUST_CHECK enum status config_print(const struct setting *table, int count, const void *settings,
                                    const struct config_extras *extras, struct buffer *out);
/* Appends a commented sample: every key with sentence, unit, range, default. */
MUST_CHECK enum status config_sample(const struct setting *table, int count, struct buffer *out);
/* One value as text, as config_print writes it. */
MUST_CHECK enum status config_value_text(const struct setting *setting, const void *settings,
                                         char *text, size_t text_bytes);
/* Parses, checks and stores one value; on failure (CONFIG) the field is as it was. */
MUST_CHECK enum status config_value_set(const struct setting *setting, const char *value,
                                        void *settings, struct error *err);
/* "an integer from 1 to 65536 events": what the setting takes, cut when too long. */
void config_allowed_text(const struct setting *setting, char *text, size_t text_bytes);
/* True for pass-through keys that must never be printed (passwords, private keys, tokens). */
bool config_key_is_secret(const char *key);
/* Sets one value (control record `set`, refold); CONFIG when not allowed. */
MUST_CHECK enum status config_set(const struct setting *table, int count, const char *name,
                                  const char *value, void *settings, struct error *err);

#endif
