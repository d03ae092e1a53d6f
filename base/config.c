/* SPDX-License-Identifier: Apache-2.0
 *
 * config.c - fills a settings struct from defaults, file, environment and overrides, in this order.
 *
 *   file (config_file.c) ─┐
 *   environment ──────────┼─▸ config_apply ─▸ in the table? ─▸ config_value_set ─▸ field
 *   --set ────────────────┘                   else accept() ─▸ config_keep_extra
 *
 * Whatever is refused says where it stood, what it was and what is allowed.
 */
#include "base/config.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/config_file.h"
#include "base/memory.h"

#define CONFIG_DISTANCE_MAX 2 /* wrong letters that "did you mean" forgives */
#define CONFIG_KEY_BYTES    sizeof(((struct config_extra *)0)->key)
#define CONFIG_PREFIX       "ILORAD_"

/* One load: the destination, and which line of the file set what. */
struct config_load {
    const struct setting *table;
    int count;
    config_accept accept; /* NULL: no unknown key may pass */
    void *settings;
    struct config_extras *extras; /* NULL only when accept is NULL */
    struct error *err;
    int *lines;                        /* owns; (count), 0 = not in the file */
    int extra_lines[CONFIG_EXTRA_MAX]; /* the same for extras */
};

static int setting_find(const struct setting *table, int count, const char *section,
                        const char *key) {
    for (int i = 0; i < count; i++) {
        if (strcmp(table[i].section, section) == 0 && strcmp(table[i].key, key) == 0) { return i; }
    }
    return -1;
}

static int extra_find(const struct config_extras *extras, const char *section, const char *key) {
    for (int i = 0; i < extras->count; i++) {
        const struct config_extra *extra = &extras->items[i];
        if (strcmp(extra->section, section) == 0 && strcmp(extra->key, key) == 0) { return i; }
    }
    return -1;
}

/* Edit distance of two keys (Levenshtein), for suggestions; keys longer than the row are far. */
static int key_distance(const char *a, const char *b) {
    int row[CONFIG_KEY_BYTES];
    int columns = (int)strlen(b);
    if (columns >= (int)CONFIG_KEY_BYTES) { return INT32_MAX; }
    for (int j = 0; j <= columns; j++) {
        row[j] = j;
    }
    for (int i = 1; a[i - 1] != '\0'; i++) {
        int diagonal = row[0];
        row[0] = i;
        for (int j = 1; j <= columns; j++) {
            int replaced = diagonal + (a[i - 1] != b[j - 1]);
            int shorter = (row[j] < row[j - 1] ? row[j] : row[j - 1]) + 1;
            diagonal = row[j];
            row[j] = replaced < shorter ? replaced : shorter;
        }
    }
    return row[columns];
}

/* CONFIG: "[train] batch_event: unknown key, did you mean batch_events?", or the keys there are. */
static enum status config_unknown(const struct setting *table, int count, const char *section,
                                  const char *key, struct error *err) {
    const char *nearest = NULL;
    int distance = CONFIG_DISTANCE_MAX + 1;
    char keys[ERROR_TEXT_BYTES / 2] = "";
    size_t used = 0;
    for (int i = 0; i < count; i++) {
        if (strcmp(table[i].section, section) != 0) { continue; }
        int d = key_distance(key, table[i].key);
        if (d < distance) {
            distance = d;
            nearest = table[i].key;
        }
        int length =
            snprintf(keys + used, sizeof keys - used, "%s%s", used > 0 ? ", " : "", table[i].key);
        if (length > 0 && used + (size_t)length < sizeof keys) { used += (size_t)length; }
        keys[used] = '\0'; /* a name that did not fit is left out */
    }
    if (nearest != NULL) {
        return error_set(err, STATUS_CONFIG, "[%s] %s: unknown key, did you mean '%s'?", section,
                         key, nearest);
    }
    if (used == 0) {
        return error_set(err, STATUS_CONFIG, "[%s] %s: unknown section", section, key);
    }
    return error_set(err, STATUS_CONFIG, "[%s] %s: unknown key, expected one of %s", section, key,
                     keys);
}

/* Keeps a pass-through key; an earlier source's value of the same key is replaced. */
static enum status config_keep_extra(struct config_load *load, const char *section, const char *key,
                                     const char *value, int *ret_index, struct error *err) {
    struct config_extras *extras = load->extras;
    int index = extra_find(extras, section, key);
    if (index < 0 && extras->count == CONFIG_EXTRA_MAX) {
        return error_set(err, STATUS_CONFIG, "[%s] %s: more than %d pass-through keys", section,
                         key, CONFIG_EXTRA_MAX);
    }
    struct config_extra kept;
    memset(&kept, 0, sizeof kept);
    if (strlen(section) >= sizeof kept.section || strlen(key) >= sizeof kept.key ||
        strlen(value) >= sizeof kept.value) {
        return error_set(err, STATUS_CONFIG, "[%s] %.40s: expected at most %zu bytes of value",
                         section, key, sizeof kept.value - 1);
    }
    memcpy(kept.section, section, strlen(section));
    memcpy(kept.key, key, strlen(key));
    memcpy(kept.value, value, strlen(value));

    if (index < 0) { index = extras->count++; }
    extras->items[index] = kept;
    *ret_index = index;
    return STATUS_OK;
}

/* Sets one key. ret_line: where its line number in the file is kept. */
static enum status config_apply(struct config_load *load, const char *section, const char *key,
                                const char *value, int **ret_line, struct error *err) {
    int index = setting_find(load->table, load->count, section, key);
    if (index >= 0) {
        enum status status = config_value_set(&load->table[index], value, load->settings, err);
        if (status == STATUS_OK) { *ret_line = &load->lines[index]; }
        return status;
    }

    if (load->accept == NULL) {
        return config_unknown(load->table, load->count, section, key, err);
    }
    err->text[0] = '\0';
    enum status status = load->accept(section, key, value, err);
    if (status != STATUS_OK && err->text[0] == '\0') {
        return config_unknown(load->table, load->count, section, key, err);
    }
    if (status != STATUS_OK) { return status; }
    status = config_keep_extra(load, section, key, value, &index, err);
    if (status == STATUS_OK) { *ret_line = &load->extra_lines[index]; }
    return status;
}

static enum status config_take_line(void *context, int line, const char *section, const char *key,
                                    const char *value, struct error *err) {
    struct config_load *load = context;
    int *set_on = NULL;
    enum status status = config_apply(load, section, key, value, &set_on, err);
    if (status != STATUS_OK) { return status; }
    if (*set_on != 0) {
        return error_set(err, STATUS_CONFIG, "[%s] %s: set twice, the first time on line %d",
                         section, key, *set_on);
    }
    *set_on = line;
    return STATUS_OK;
}

static enum status config_take_defaults(struct config_load *load) {
    for (int i = 0; i < load->count; i++) {
        const struct setting *setting = &load->table[i];
        enum status status =
            config_value_set(setting, setting->default_value, load->settings, load->err);
        if (status != STATUS_OK) { return error_wrap(load->err, "built-in default"); }
    }
    return STATUS_OK;
}

/* How a letter of a section or key stands in the environment: upper case, '_' for all but
 * digits. */
static char environment_letter(char c) {
    if (c >= 'a' && c <= 'z') { return (char)(c - 'a' + 'A'); }
    bool kept = (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    if (kept) { return c; }
    return '_';
}

/* True when `upper` begins with the name: "batch_events" and "BATCH_EVENTS". */
static bool name_matches(const char *name, const char *upper) {
    for (; *name != '\0'; name++, upper++) {
        if (*upper != environment_letter(*name)) { return false; }
    }
    return true;
}

/* The way back for pass-through keys: lower case with dots. */
static char property_letter(char c) {
    if (c >= 'A' && c <= 'Z') { return (char)(c - 'A' + 'a'); }
    if (c == '_') { return '.'; }
    return c;
}

/* The key that ILORAD_SECTION_KEY names in this section: the table's spelling, or lower case with
 * dots, as the pass-through keys are written. */
static const char *environment_key(const struct config_load *load, const char *section,
                                   const char *upper, char key[CONFIG_KEY_BYTES]) {
    for (int i = 0; i < load->count; i++) {
        const struct setting *setting = &load->table[i];
        if (strcmp(setting->section, section) != 0) { continue; }
        if (strlen(setting->key) == strlen(upper) && name_matches(setting->key, upper)) {
            return setting->key;
        }
    }
    size_t length = strlen(upper);
    if (length >= CONFIG_KEY_BYTES) { length = CONFIG_KEY_BYTES - 1; }
    for (size_t i = 0; i < length; i++) {
        key[i] = property_letter(upper[i]);
    }
    key[length] = '\0';
    return key;
}

/* The longest section of the table that `upper` ("TRAIN_BATCH_EVENTS") begins with; NULL. */
static const char *environment_section(const struct config_load *load, const char *upper) {
    const char *found = NULL;
    for (int i = 0; i < load->count; i++) {
        const char *section = load->table[i].section;
        size_t length = strlen(section);
        if (found != NULL && strlen(found) >= length) { continue; }
        if (strlen(upper) > length + 1 && name_matches(section, upper) && upper[length] == '_') {
            found = section;
        }
    }
    return found;
}

static enum status config_take_environment(struct config_load *load) {
    for (char **entry = environ; entry != NULL && *entry != NULL; entry++) {
        if (strncmp(*entry, CONFIG_PREFIX, strlen(CONFIG_PREFIX)) != 0) { continue; }
        const char *value = strchr(*entry, '=');
        char name[CONFIG_KEY_BYTES * 2];
        size_t length = value != NULL ? (size_t)(value - *entry) : 0;
        if (length == 0 || length >= sizeof name) { continue; } /* longer than any key there is */
        memcpy(name, *entry, length);
        name[length] = '\0';

        const char *upper = name + strlen(CONFIG_PREFIX);
        const char *section = environment_section(load, upper);
        if (section == NULL) {
            return error_set(load->err, STATUS_CONFIG,
                             "environment %s: expected ILORAD_SECTION_KEY of a known section",
                             name);
        }
        char lower[CONFIG_KEY_BYTES];
        const char *key = environment_key(load, section, upper + strlen(section) + 1, lower);
        int *line = NULL;
        enum status status = config_apply(load, section, key, value + 1, &line, load->err);
        if (status != STATUS_OK) { return error_wrap(load->err, "environment %s", name); }
    }
    return STATUS_OK;
}

/* "section.key" in two; the key may have dots of its own. False: no dot, or too long. */
static bool name_split(const char *name, size_t length, char section[CONFIG_KEY_BYTES],
                       char key[CONFIG_KEY_BYTES]) {
    const char *dot = memchr(name, '.', length);
    if (dot == NULL) { return false; }
    size_t section_length = (size_t)(dot - name);
    size_t key_length = length - section_length - 1;
    if (section_length >= CONFIG_KEY_BYTES || key_length >= CONFIG_KEY_BYTES) { return false; }
    memcpy(section, name, section_length);
    section[section_length] = '\0';
    memcpy(key, dot + 1, key_length);
    key[key_length] = '\0';
    return true;
}

static enum status config_take_override(struct config_load *load, const char *override) {
    char section[CONFIG_KEY_BYTES];
    char key[CONFIG_KEY_BYTES];
    const char *equals = strchr(override, '=');
    if (equals == NULL || !name_split(override, (size_t)(equals - override), section, key)) {
        return error_set(load->err, STATUS_CONFIG, "--set %.100s: expected section.key=value",
                         override);
    }
    int *line = NULL;
    enum status status = config_apply(load, section, key, equals + 1, &line, load->err);
    if (status != STATUS_OK) { return error_wrap(load->err, "--set %s.%s", section, key); }
    return STATUS_OK;
}

enum status config_load(const struct setting *table, int count, const char *path,
                        const char *const *overrides, int override_count, config_accept accept,
                        void *settings, struct config_extras *extras, struct error *err) {
    assert(err != NULL);
    assert(accept == NULL || extras != NULL);

    struct config_load load = {.table = table,
                               .count = count,
                               .accept = accept,
                               .settings = settings,
                               .extras = extras,
                               .err = err,
                               .lines = MEMORY_TAKE_ARRAY(int, count)};
    if (load.lines == NULL) {
        return error_set(err, STATUS_NO_MEMORY, "loading the configuration");
    }
    if (extras != NULL) { extras->count = 0; }

    enum status status = config_take_defaults(&load);
    if (status == STATUS_OK && path != NULL) {
        status = config_file_read(path, config_take_line, &load, err);
    }
    if (status == STATUS_OK) { status = config_take_environment(&load); }
    for (int i = 0; status == STATUS_OK && i < override_count; i++) {
        status = config_take_override(&load, overrides[i]);
    }
    memory_free(load.lines);
    return status;
}

enum status config_set(const struct setting *table, int count, const char *name, const char *value,
                       void *settings, struct error *err) {
    char section[CONFIG_KEY_BYTES];
    char key[CONFIG_KEY_BYTES];
    if (!name_split(name, strlen(name), section, key)) {
        return error_set(err, STATUS_CONFIG, "'%.100s': expected section.key", name);
    }
    int index = setting_find(table, count, section, key);
    if (index < 0) { return config_unknown(table, count, section, key, err); }
    return config_value_set(&table[index], value, settings, err);
}
