/* SPDX-License-Identifier: Apache-2.0
 *
 * config_print.c - the table as a file: effective values, or a commented sample. Door: config.h.
 *
 * Sections appear in the order in which the table first names them; what config_print writes,
 * config_load reads back to the same values (secrets excepted).
 */
#include "base/config.h"

#include <stdio.h>

/* True when no earlier row has the section of row `index`. */
static bool section_is_new(const struct setting *table, int index) {
    for (int i = 0; i < index; i++) {
        if (strcmp(table[i].section, table[index].section) == 0) { return false; }
    }
    return true;
}

static bool section_in_table(const struct setting *table, int count, const char *section) {
    for (int i = 0; i < count; i++) {
        if (strcmp(table[i].section, section) == 0) { return true; }
    }
    return false;
}

bool config_key_is_secret(const char *key) {
    static const char *const words[] = {
        "password", "secret", "jaas", "key.pem", "token", "sasl.username", "oauthbearer.config"};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        if (strstr(key, words[i]) != NULL) { return true; }
    }
    return false;
}

static enum status print_extras(const struct config_extras *extras, const char *section,
                                struct buffer *out) {
    for (int i = 0; extras != NULL && i < extras->count; i++) {
        const struct config_extra *extra = &extras->items[i];
        if (strcmp(extra->section, section) != 0) { continue; }
        const char *value = config_key_is_secret(extra->key) ? "(secret)" : extra->value;
        enum status status = buffer_append_format(out, "%s = %s\n", extra->key, value);
        if (status != STATUS_OK) { return status; }
    }
    return STATUS_OK;
}

static enum status print_setting(const struct setting *setting, const void *settings,
                                 struct buffer *out) {
    char value[CONFIG_TEXT_BYTES];
    enum status status = config_value_text(setting, settings, value, sizeof value);
    if (status != STATUS_OK) { return status; }
    bool hidden = setting->secret && value[0] != '\0';
    return buffer_append_format(out, "%s = %s\n", setting->key, hidden ? "(secret)" : value);
}

static enum status print_section(const struct setting *table, int count, int first,
                                 const void *settings, const struct config_extras *extras,
                                 struct buffer *out) {
    const char *section = table[first].section;
    enum status status = buffer_append_format(out, "%s[%s]\n", out->size > 0 ? "\n" : "", section);
    for (int i = first; status == STATUS_OK && i < count; i++) {
        if (strcmp(table[i].section, section) != 0) { continue; }
        status = print_setting(&table[i], settings, out);
    }
    if (status != STATUS_OK) { return status; }
    return print_extras(extras, section, out);
}

enum status config_print(const struct setting *table, int count, const void *settings,
                         const struct config_extras *extras, struct buffer *out) {
    enum status status = STATUS_OK;
    for (int i = 0; status == STATUS_OK && i < count; i++) {
        if (!section_is_new(table, i)) { continue; }
        status = print_section(table, count, i, settings, extras, out);
    }

    /* Sections that only pass-through keys have. */
    for (int i = 0; status == STATUS_OK && extras != NULL && i < extras->count; i++) {
        const char *section = extras->items[i].section;
        bool seen = section_in_table(table, count, section);
        for (int j = 0; j < i && !seen; j++) {
            seen = strcmp(extras->items[j].section, section) == 0;
        }
        if (seen) { continue; }
        status = buffer_append_format(out, "%s[%s]\n", out->size > 0 ? "\n" : "", section);
        if (status == STATUS_OK) { status = print_extras(extras, section, out); }
    }
    return status;
}

static enum status sample_setting(const struct setting *setting, struct buffer *out) {
    char allowed[320];
    config_allowed_text(setting, allowed, sizeof allowed);
    enum status status =
        buffer_append_format(out, "\n# %s\n# Allowed: %s.%s%s\n", setting->sentence, allowed,
                             setting->reloadable ? " Reloaded on SIGHUP." : "",
                             setting->secret ? " Secret: better as a systemd credential." : "");
    if (status != STATUS_OK) { return status; }
    return buffer_append_format(out, "#%s = %s\n", setting->key, setting->default_value);
}

enum status config_sample(const struct setting *table, int count, struct buffer *out) {
    for (int i = 0; i < count; i++) {
        if (!section_is_new(table, i)) { continue; }
        const char *section = table[i].section;
        enum status status =
            buffer_append_format(out, "%s[%s]\n", out->size > 0 ? "\n" : "", section);
        for (int j = i; status == STATUS_OK && j < count; j++) {
            if (strcmp(table[j].section, section) != 0) { continue; }
            status = sample_setting(&table[j], out);
        }
        if (status != STATUS_OK) { return status; }
    }
    return STATUS_OK;
}
