/* SPDX-License-Identifier: Apache-2.0
 *
 * forgets.c - records of forgotten users to and from META.
 *
 * Why it exists: after a forget nothing is left that could tell which versions learned from the
 * user; so it is written down in the same transaction that removes the user.
 * Thread: core; forget_read: any, with its own reader. */
#include "daemon/forgets.h"

#include <inttypes.h>
#include <stdio.h>

#define FORGET_FIELDS    7
#define FORGET_BYTES     (8u * FORGET_FIELDS)
#define FORGET_KEY_BYTES 32

static struct span forget_key(uint64_t user_key, char text[FORGET_KEY_BYTES]) {
    (void)snprintf(text, FORGET_KEY_BYTES, "forgotten/%016" PRIx64, user_key); /* 26 bytes */
    return span_of(text);
}

static void fields_of(struct forget_record *record, uint64_t *fields[FORGET_FIELDS]) {
    fields[0] = &record->first_seq;
    fields[1] = &record->events;
    fields[2] = &record->seq;
    fields[3] = &record->epoch;
    fields[4] = &record->mark_seq;
    fields[5] = &record->first_version;
    fields[6] = &record->last_version;
}

static enum status forget_decode(uint64_t user_key, struct span value,
                                 struct forget_record *ret_record, struct error *err) {
    if (value.size != FORGET_BYTES) {
        return error_set(err, STATUS_CORRUPT, "meta 'forgotten/%016" PRIx64 "' is malformed",
                         user_key);
    }
    uint64_t *fields[FORGET_FIELDS];
    fields_of(ret_record, fields);
    for (size_t i = 0; i < FORGET_FIELDS; i++) {
        *fields[i] = get_u64le((const uint8_t *)value.data + 8 * i);
    }
    return STATUS_OK;
}

static enum status forget_save(struct stage *stage, uint64_t user_key, struct forget_record record,
                               struct error *err) {
    uint8_t bytes[FORGET_BYTES];
    uint64_t *fields[FORGET_FIELDS];
    char text[FORGET_KEY_BYTES];
    fields_of(&record, fields);
    for (size_t i = 0; i < FORGET_FIELDS; i++) {
        put_u64le(bytes + 8 * i, *fields[i]);
    }
    return stage_put(stage, STORE_META, forget_key(user_key, text), span_make(bytes, sizeof bytes),
                     err);
}

/* NOT_FOUND: none. */
static enum status forget_load(struct stage *stage, uint64_t user_key,
                               struct forget_record *ret_record, struct error *err) {
    char text[FORGET_KEY_BYTES];
    struct span value = {0};
    enum status status = stage_get(stage, STORE_META, forget_key(user_key, text), &value, err);
    return status == STATUS_OK ? forget_decode(user_key, value, ret_record, err) : status;
}

static uint64_t lower_known(uint64_t a, uint64_t b) {
    if (a == 0 || b == 0) { return a + b; }
    return a < b ? a : b;
}

enum status forget_note(struct stage *stage, uint64_t user_key, const struct sequence *sequence,
                        uint64_t seq, uint64_t epoch, struct error *err) {
    struct forget_record before = {0};
    enum status status = forget_load(stage, user_key, &before, err);
    if (status == STATUS_OK && sequence->total == 0) { return STATUS_OK; }
    if (status != STATUS_OK && status != STATUS_NOT_FOUND) { return status; }
    struct forget_record record = {.first_seq = lower_known(before.first_seq, sequence->first_seq),
                                   .events = before.events + sequence->total,
                                   .seq = seq,
                                   .epoch = epoch,
                                   .first_version =
                                       lower_known(before.first_version, sequence->first_version)};
    return forget_save(stage, user_key, record, err);
}

enum status forget_mark(struct stage *stage, uint64_t user_key, uint64_t mark_seq,
                        uint64_t last_version, struct error *err) {
    struct forget_record record = {0};
    enum status status = forget_load(stage, user_key, &record, err);
    if (status == STATUS_NOT_FOUND) { return STATUS_OK; } /* queued by an older program */
    if (status != STATUS_OK || record.mark_seq != 0) { return status; }
    record.mark_seq = mark_seq;
    record.last_version = last_version;
    return forget_save(stage, user_key, record, err);
}

enum status forget_read(struct store_reader *reader, uint64_t user_key,
                        struct forget_record *ret_record, struct error *err) {
    char text[FORGET_KEY_BYTES];
    struct span value = {0};
    enum status status = store_get(reader, STORE_META, forget_key(user_key, text), &value, err);
    return status == STATUS_OK ? forget_decode(user_key, value, ret_record, err) : status;
}
