/* SPDX-License-Identifier: Apache-2.0
 *
 * config_value.c - one setting: text into a struct's field, the field back into text, and the words
 * that say what is allowed. Whole files are in config.c; the door of both is config.h.
 */
#include "base/config.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#define VALUE_TEXT_BYTES 160u /* of a range in words */

struct unit {
    const char *name;
    double factor; /* in the stored unit */
};

/* Largest first, which is the order in which a value is printed. Further down: other spellings. */
static const struct unit duration_units[] = {
    {"d", 86400e6}, {"h", 3600e6}, {"min", 60e6}, {"s", 1e6}, {"ms", 1e3}, {"us", 1}, {"m", 60e6},
};
#define DURATION_UNITS_PRINTED 6
static const struct unit bytes_units[] = {
    {"TiB", 0x1p40}, {"GiB", 0x1p30}, {"MiB", 0x1p20}, {"KiB", 0x1p10}, {"B", 1},
    {"TB", 1e12},    {"GB", 1e9},     {"MB", 1e6},     {"kB", 1e3},     {"KB", 1e3},
};
#define BYTES_UNITS_PRINTED 5
#define UNIT_COUNT(units)   ((int)(sizeof(units) / sizeof((units)[0])))

static void *field_of(const struct setting *setting, void *settings) {
    return (char *)settings + setting->field;
}

static const void *field_of_const(const struct setting *setting, const void *settings) {
    return (const char *)settings + setting->field;
}

/* Factor of a unit's name; 0 when there is none of that name. */
static double unit_factor(const struct unit *units, int count, const char *name) {
    for (int i = 0; i < count; i++) {
        if (strcmp(units[i].name, name) == 0) { return units[i].factor; }
    }
    return 0;
}

/* "200 ms": the largest unit that divides the amount. 0 prints in the smallest unit. */
static void unit_text(const struct unit *units, int count, double amount, char *text,
                      size_t text_bytes) {
    int i = amount == 0 ? count - 1 : 0;
    while (i < count - 1 && fmod(amount, units[i].factor) != 0) {
        i++;
    }
    (void)snprintf(text, text_bytes, "%.15g %s", amount / units[i].factor, units[i].name);
}

/* A bound of the table in the words of the type. */
static void bound_text(const struct setting *setting, double bound, char *text, size_t text_bytes) {
    if (setting->type == SETTING_DURATION) {
        unit_text(duration_units, DURATION_UNITS_PRINTED, bound, text, text_bytes);
    } else if (setting->type == SETTING_BYTES) {
        unit_text(bytes_units, BYTES_UNITS_PRINTED, bound, text, text_bytes);
    } else {
        (void)snprintf(text, text_bytes, "%.15g", bound);
    }
}

/* "a, b, c" of "a|b|c". */
static void choices_text(const char *choices, char *text, size_t text_bytes) {
    size_t used = 0;
    for (const char *p = choices; *p != '\0' && used + 3 < text_bytes; p++) {
        bool separator = *p == '|';
        text[used] = *p;
        if (separator) { text[used] = ','; }
        used++;
        if (separator) { text[used++] = ' '; }
    }
    text[used] = '\0';
}

void config_allowed_text(const struct setting *setting, char *text, size_t text_bytes) {
    static const char *const words[] = {
        [SETTING_BOOL] = "yes or no", [SETTING_INTEGER] = "an integer",
        [SETTING_REAL] = "a number",  [SETTING_DURATION] = "a duration",
        [SETTING_BYTES] = "a size",   [SETTING_TEXT] = "text",
        [SETTING_CHOICE] = "one of",
    };
    const char *word = words[setting->type];
    if (setting->type == SETTING_CHOICE) {
        char names[VALUE_TEXT_BYTES];
        choices_text(setting->choices, names, sizeof names);
        (void)snprintf(text, text_bytes, "%s %s", word, names);
        return;
    }
    if (setting->type == SETTING_BOOL) {
        (void)snprintf(text, text_bytes, "%s", word);
        return;
    }
    if (setting->type == SETTING_TEXT) {
        double longest = setting->maximum > 0 ? setting->maximum : CONFIG_TEXT_BYTES - 1;
        (void)snprintf(text, text_bytes, "%s of %.0f to %.0f bytes", word, setting->minimum,
                       longest);
        return;
    }

    char low[48];
    char high[48];
    bound_text(setting, setting->minimum, low, sizeof low);
    bound_text(setting, setting->maximum, high, sizeof high);
    bool plain = setting->type == SETTING_INTEGER || setting->type == SETTING_REAL;
    bool named = plain && setting->unit != NULL && setting->unit[0] != '\0';
    (void)snprintf(text, text_bytes, "%s from %s to %s%s%s", word, low, high, named ? " " : "",
                   named ? setting->unit : "");
}

static bool parse_bool(const char *value, bool *ret_bool) {
    static const char *const yes[] = {"yes", "true", "on", "1"};
    static const char *const no[] = {"no", "false", "off", "0"};
    for (int i = 0; i < 4; i++) {
        bool is_yes = strcasecmp(value, yes[i]) == 0;
        if (is_yes || strcasecmp(value, no[i]) == 0) {
            *ret_bool = is_yes;
            return true;
        }
    }
    return false;
}

/* A finite decimal number and what follows it, blanks between them skipped. */
static bool parse_number(const char *value, double *ret_number, const char **ret_rest) {
    size_t length = strspn(value, "+-.0123456789");
    if (!span_real(span_make(value, length), ret_number)) { return false; }
    *ret_rest = value + length + strspn(value + length, " \t");
    return true;
}

/* A number with a unit into a whole amount of the stored unit. */
static bool parse_amount(const char *value, const struct unit *units, int count,
                         const char *bare_unit, int64_t *ret_amount) {
    double number = 0;
    const char *rest = NULL;
    if (!parse_number(value, &number, &rest)) { return false; }

    double factor = unit_factor(units, count, rest[0] != '\0' ? rest : bare_unit);
    double amount = round(number * factor);
    if (factor == 0 || !(fabs(amount) < 0x1p62)) { return false; }
    *ret_amount = (int64_t)amount;
    return true;
}

static bool parse_choice(const char *choices, const char *value, int *ret_index) {
    size_t length = strlen(value);
    int index = 0;
    for (const char *p = choices; length > 0; index++) {
        size_t name_length = strcspn(p, "|");
        if (name_length == length && memcmp(p, value, length) == 0) {
            *ret_index = index;
            return true;
        }
        if (p[name_length] == '\0') { return false; }
        p += name_length + 1;
    }
    return false;
}

/* Text without control characters whose length the table allows. */
static bool text_allowed(const struct setting *setting, const char *value) {
    size_t length = strlen(value);
    double longest = setting->maximum > 0 ? setting->maximum : CONFIG_TEXT_BYTES - 1;
    if (length >= CONFIG_TEXT_BYTES) { return false; }
    if ((double)length < setting->minimum || (double)length > longest) { return false; }
    for (const char *p = value; *p != '\0'; p++) {
        if ((unsigned char)*p < 0x20 || *p == 0x7F) { return false; }
    }
    return true;
}

static bool in_range(const struct setting *setting, double number) {
    return number >= setting->minimum && number <= setting->maximum;
}

/* Parses, checks the range and stores; false leaves the field as it was. */
static bool value_store(const struct setting *setting, const char *value, void *settings) {
    void *field = field_of(setting, settings);
    int64_t integer = 0;
    double real = 0;
    bool parsed = false;

    switch (setting->type) {
    case SETTING_BOOL: return parse_bool(value, field);
    case SETTING_CHOICE: return parse_choice(setting->choices, value, field);
    case SETTING_TEXT:
        if (!text_allowed(setting, value)) { return false; }
        memcpy(field, value, strlen(value) + 1);
        return true;
    case SETTING_REAL:
        if (!span_real(span_of(value), &real) || !in_range(setting, real)) { return false; }
        *(double *)field = real;
        return true;
    case SETTING_INTEGER: parsed = span_integer(span_of(value), &integer); break;
    case SETTING_DURATION:
        parsed = parse_amount(value, duration_units, UNIT_COUNT(duration_units), setting->unit,
                              &integer);
        break;
    case SETTING_BYTES:
        parsed = parse_amount(value, bytes_units, UNIT_COUNT(bytes_units), "B", &integer);
        break;
    }
    if (!parsed || !in_range(setting, (double)integer)) { return false; }
    *(int64_t *)field = integer;
    return true;
}

enum status config_value_set(const struct setting *setting, const char *value, void *settings,
                             struct error *err) {
    assert((int)setting->type >= SETTING_BOOL && (int)setting->type <= SETTING_CHOICE);
    if (value_store(setting, value, settings)) { return STATUS_OK; }

    char allowed[2 * VALUE_TEXT_BYTES];
    config_allowed_text(setting, allowed, sizeof allowed);
    return error_set(err, STATUS_CONFIG, "[%s] %s = %.100s: expected %s", setting->section,
                     setting->key, setting->secret ? "(secret)" : value, allowed);
}

/* The name number `index` of "a|b|c". */
static struct span choice_name(const char *choices, int index) {
    const char *p = choices;
    for (int i = 0; i < index; i++) {
        p += strcspn(p, "|");
        assert(*p == '|'); /* only value_store writes the index */
        p++;
    }
    return span_make(p, strcspn(p, "|"));
}

enum status config_value_text(const struct setting *setting, const void *settings, char *text,
                              size_t text_bytes) {
    const void *field = field_of_const(setting, settings);
    char whole[CONFIG_TEXT_BYTES];
    struct span name;
    switch (setting->type) {
    case SETTING_BOOL:
        (void)snprintf(whole, sizeof whole, "%s", *(const bool *)field ? "yes" : "no");
        break;
    case SETTING_INTEGER:
        (void)snprintf(whole, sizeof whole, "%" PRId64, *(const int64_t *)field);
        break;
    case SETTING_REAL:
        (void)snprintf(whole, sizeof whole, "%.9g", *(const double *)field);
        if (strtod(whole, NULL) != *(const double *)field) {
            (void)snprintf(whole, sizeof whole, "%.17g", *(const double *)field);
        }
        break;
    case SETTING_DURATION:
        unit_text(duration_units, DURATION_UNITS_PRINTED, (double)*(const int64_t *)field, whole,
                  sizeof whole);
        break;
    case SETTING_BYTES:
        unit_text(bytes_units, BYTES_UNITS_PRINTED, (double)*(const int64_t *)field, whole,
                  sizeof whole);
        break;
    case SETTING_TEXT: (void)snprintf(whole, sizeof whole, "%s", (const char *)field); break;
    case SETTING_CHOICE:
        name = choice_name(setting->choices, *(const int *)field);
        (void)snprintf(whole, sizeof whole, "%.*s", SPAN_ARG(name));
        break;
    }

    size_t length = strlen(whole);
    if (length >= text_bytes) { return STATUS_LIMIT; }
    memcpy(text, whole, length + 1);
    return STATUS_OK;
}
