/* SPDX-License-Identifier: Apache-2.0
 *
 * query_receipt.c - the receipt of a forgotten user: what was removed, what still waits for it, and
 * which versions learned from the user.
 *
 *   rows         erased when the training log begins beyond mark_seq (forgets.h)
 *   checkpoints  erased when two are kept and both are beyond mark_seq: what the learner saved
 *                there, it saved after it had forgotten
 *
 * Why it is read off and not written: when the learner writes a checkpoint is a matter of time, and
 * a record of it would make the ledger depend on that. Log and folders cannot say too much.
 * Thread: doors. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "daemon/forgets.h"
#include "daemon/query.h"
#include "daemon/query_parts.h"
#include "storage/training_log.h"

#define CHECKPOINTS_LATER 2 /* PROTOCOL.md, Forgetting */

/* What is on disk now. */
struct erasure {
    uint64_t log_first;         /* first row of the training log; 0: it is empty */
    uint64_t checkpoint_oldest; /* 0: there is none */
    int checkpoint_count;
    bool rows, checkpoints; /* erased */
};

static enum status note_checkpoint(void *context, const char *name, bool is_dir,
                                   struct error *err) {
    struct erasure *erasure = context;
    int64_t seq = 0;
    (void)err;
    if (!is_dir || !span_integer(span_of(name), &seq) || seq < 0) { return STATUS_OK; }
    if (erasure->checkpoint_count == 0 || (uint64_t)seq < erasure->checkpoint_oldest) {
        erasure->checkpoint_oldest = (uint64_t)seq;
    }
    erasure->checkpoint_count++;
    return STATUS_OK;
}

static enum status look(const struct query *query, struct store_reader *reader,
                        const struct forget_record *record, struct erasure *ret_erasure,
                        struct error *err) {
    struct erasure found = {0};
    uint64_t last;
    char path[FILE_PATH_BYTES_MAX];
    /* Folders first: a checkpoint only ever makes room for a younger one. */
    enum status status =
        path_join(path, shared_settings(query->shared)->state_path, "checkpoints", err);
    if (status == STATUS_OK && file_exists(path)) {
        status = dir_list(path, note_checkpoint, &found, err);
    }
    if (status != STATUS_OK) { return status; }
    status = training_log_bounds(reader, &found.log_first, &last, err);
    if (status != STATUS_OK && status != STATUS_NOT_FOUND) { return status; }
    bool marked = record->mark_seq > 0;
    found.rows = marked && (found.log_first == 0 || found.log_first > record->mark_seq);
    found.checkpoints = marked && found.checkpoint_count >= CHECKPOINTS_LATER &&
                        found.checkpoint_oldest > record->mark_seq;
    *ret_erasure = found;
    return STATUS_OK;
}

static void write_numbers(struct json_writer *w, const struct forget_record *record,
                          const struct erasure *erasure) {
    json_write_integer(w, "epoch", (int64_t)record->epoch);
    json_write_integer(w, "seq", (int64_t)record->seq);
    json_write_integer(w, "first_seq", (int64_t)record->first_seq);
    json_write_integer(w, "events", (int64_t)record->events);
    json_write_integer(w, "learner_forgets_at", (int64_t)record->mark_seq);
    json_write_bool(w, "rows_erased", erasure->rows);
    json_write_integer(w, "log_from", (int64_t)erasure->log_first);
    json_write_bool(w, "checkpoints_erased", erasure->checkpoints);
    json_write_integer(w, "checkpoint_oldest", (int64_t)erasure->checkpoint_oldest);
    json_write_integer(w, "checkpoints", erasure->checkpoint_count);
    json_write_object(w, "versions");
    if (record->events > 0) {
        json_write_integer(w, "first", (int64_t)record->first_version);
        if (record->last_version > 0) {
            json_write_integer(w, "last", (int64_t)record->last_version);
        }
    }
    json_write_object_end(w);
}

static enum status receipt_in(const struct query *query, struct store_reader *reader,
                              struct span user, struct buffer *out, struct error *err) {
    uint64_t key = hash64(user, (uint64_t)shared_settings(query->shared)->train_seed);
    struct forget_record record;
    struct erasure erasure;
    struct sequence sequence;
    enum status status = forget_read(reader, key, &record, err);
    if (status == STATUS_NOT_FOUND) {
        return error_set(err, status, "user '%.*s' was never forgotten", SPAN_ARG(user));
    }
    if (status == STATUS_OK) { status = sequence_read(reader, user, &sequence, err); }
    if (status == STATUS_OK) { status = look(query, reader, &record, &erasure, err); }
    if (status != STATUS_OK) { return status; }

    struct json_writer w;
    char digits[17];
    const char *state = erasure.rows && erasure.checkpoints ? "erased"
                        : record.mark_seq > 0               ? "erasing"
                                                            : "waiting for a batch end";
    (void)snprintf(digits, sizeof digits, "%016" PRIx64, key); /* 16 */
    json_write_begin(&w, out);
    json_write_object(&w, NULL);
    json_write_string(&w, "user", user);
    json_write_string(&w, "user_key", span_of(digits));
    json_write_string(&w, "state", span_of(state));
    json_write_bool(&w, "returned", sequence.total > 0);
    write_numbers(&w, &record, &erasure);
    json_write_object_end(&w);
    return query_written(&w, err);
}

enum status query_receipt(struct query *query, struct span user, struct buffer *out,
                          struct error *err) {
    struct view view;
    enum status status = query_check_user(user, err);
    if (status == STATUS_OK) { status = view_open(query, &view, err); }
    if (status != STATUS_OK) { return status; }
    size_t before = out->size;
    status = receipt_in(query, view.reader, user, out, err);
    if (status != STATUS_OK) { out->size = before; }
    view_close(&view);
    return status;
}
