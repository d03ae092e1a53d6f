/* SPDX-License-Identifier: Apache-2.0
 *
 * settings_record.h - the settings that affect what is published, as text: for the epoch record,
 * for META (so that a refold after the file changed uses what was in force) and as one digest.
 */
#ifndef DAEMON_SETTINGS_RECORD_H
#define DAEMON_SETTINGS_RECORD_H

#include <stdint.h>

#include "base/status.h"
#include "daemon/settings.h"
#include "proto/outbound.h"
#include "storage/store.h"

#define SETTINGS_RECORD_MAX 128

struct settings_text {
    struct epoch_setting entries[SETTINGS_RECORD_MAX]; /* into keys and values */
    char keys[SETTINGS_RECORD_MAX][64];
    char values[SETTINGS_RECORD_MAX][CONFIG_TEXT_BYTES];
    int count;
};

/* "section.key" and value of each setting that affects output, in the table's order. */
MUST_CHECK enum status settings_text_make(const struct settings *settings,
                                          struct settings_text *ret_text, struct error *err);
/* 64 bits over all of them: equal when and only when (2^-64) they are the same. */
uint64_t settings_text_digest(const struct settings_text *text);
/* META "setting/<section.key>" -> value. */
MUST_CHECK enum status settings_text_save(const struct settings_text *text, struct stage *stage,
                                          struct error *err);
/* Overwrites those settings with what META says; a key META does not know stays. CORRUPT: a value
 * that is not allowed. */
MUST_CHECK enum status settings_text_load(struct settings *settings, struct store_reader *reader,
                                          struct error *err);

#endif
