/* SPDX-License-Identifier: Apache-2.0
 *
 * settings_record.c - settings to text and back.
 *
 * Why it exists: what was published follows from the settings in force then, so they are part of
 * the record and not of a file somebody may edit.
 * Thread: core. */
#include "daemon/settings_record.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/hash.h"

enum status settings_text_make(const struct settings *settings, struct settings_text *ret_text,
                               struct error *err) {
    int count;
    const struct setting *table = settings_table(&count);
    ret_text->count = 0;
    for (int i = 0; i < count; i++) {
        if (!table[i].affects_output) { continue; }
        assert(ret_text->count < SETTINGS_RECORD_MAX);
        int n = ret_text->count;
        (void)snprintf(ret_text->keys[n], sizeof(ret_text->keys[n]), "%s.%s", table[i].section,
                       table[i].key); /* the table's names are short */
        enum status status = config_value_text(&table[i], settings, ret_text->values[n],
                                               sizeof(ret_text->values[n]));
        if (status != STATUS_OK) { return error_set(err, status, "setting %s", ret_text->keys[n]); }
        ret_text->entries[n] =
            (struct epoch_setting){span_of(ret_text->keys[n]), span_of(ret_text->values[n])};
        ret_text->count++;
    }
    return STATUS_OK;
}

uint64_t settings_text_digest(const struct settings_text *text) {
    uint64_t digest = 0;
    for (int i = 0; i < text->count; i++) {
        digest = hash64(text->entries[i].key, digest);
        digest = hash64(text->entries[i].value, digest);
    }
    return digest;
}

static void meta_key(char key[80], const char *name) {
    (void)snprintf(key, 80, "setting/%s", name); /* names have at most 63 bytes */
}

enum status settings_text_save(const struct settings_text *text, struct stage *stage,
                               struct error *err) {
    for (int i = 0; i < text->count; i++) {
        char key[80];
        meta_key(key, text->keys[i]);
        enum status status =
            stage_put(stage, STORE_META, span_of(key), text->entries[i].value, err);
        if (status != STATUS_OK) { return status; }
    }
    return STATUS_OK;
}

enum status settings_text_load(struct settings *settings, struct store_reader *reader,
                               struct error *err) {
    int count;
    const struct setting *table = settings_table(&count);
    for (int i = 0; i < count; i++) {
        if (!table[i].affects_output) { continue; }
        char name[64], key[80], value[CONFIG_TEXT_BYTES];
        (void)snprintf(name, sizeof(name), "%s.%s", table[i].section, table[i].key);
        meta_key(key, name);
        struct span text;
        enum status status = store_get(reader, STORE_META, span_of(key), &text, err);
        if (status == STATUS_NOT_FOUND) { continue; }
        if (status != STATUS_OK) { return status; }
        (void)snprintf(value, sizeof(value), "%.*s", SPAN_ARG(text));
        status = config_set(table, count, name, value, settings, err);
        if (status != STATUS_OK) {
            err->code = STATUS_CORRUPT;
            return error_wrap(err, "setting recorded in meta");
        }
    }
    return STATUS_OK;
}
