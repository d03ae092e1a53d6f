/* SPDX-License-Identifier: Apache-2.0
 *
 * tiny_learner.c - see tiny_learner.h. It starts over from row 1 with every open: a replay without
 * checkpoints, which must make the same versions again.
 */
#include "tests/support/tiny_learner.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/memory.h"
#include "base/training_row.h"
#include "daemon/model_settings.h"
#include "storage/training_log.h"
#include "tests/support/unit.h"

void tiny_learner_path(const struct tiny_core *core, uint64_t number,
                       char path[FILE_PATH_BYTES_MAX]) {
    char name[64];
    struct error err = {0};
    (void)snprintf(name, sizeof name, "versions/%" PRIu64, number); /* short */
    ASSERT_OK(path_join(path, core->path, name, &err), err);
}

/* The folder of a version: what its counters are, and a manifest that names their digest. One
 * that is there already must be the same. */
static enum status write_folder(struct tiny_core *core, struct version *version,
                                struct error *err) {
    char path[FILE_PATH_BYTES_MAX], file[FILE_PATH_BYTES_MAX], digits[2 * SHA256_BYTES + 1];
    uint8_t digest[SHA256_BYTES], before[SHA256_BYTES];
    tiny_learner_path(core, version->number, path);
    enum status status = dir_make(path, err);
    if (status == STATUS_OK) { status = path_join(file, path, "manifest.json", err); }
    bool again = status == STATUS_OK && sha256_of_file(file, before, err) == STATUS_OK;
    if (status == STATUS_OK) { status = path_join(file, path, "counters.bin", err); }
    if (status == STATUS_OK) { status = counters_save(version->fast->counters, file, err); }
    if (status == STATUS_OK) { status = sha256_of_file(file, digest, err); }
    if (status != STATUS_OK) { return status; }
    hex_encode(digest, SHA256_BYTES, digits);
    char text[256];
    int size = snprintf(text, sizeof text, "{\"version\":%" PRIu64 ",\"counters\":\"%s\"}\n",
                        version->number, digits);
    struct span manifest = span_make(text, (size_t)size);
    sha256_of(manifest, version->digest);
    if (again) { assert_memory_equal(before, version->digest, SHA256_BYTES); }
    status = path_join(file, path, "manifest.json", err);
    return status == STATUS_OK ? file_write(file, &manifest, 1, err) : status;
}

static enum status make_version(struct tiny_core *core, uint64_t number, struct error *err) {
    struct tiny_learner *learner = &core->learner;
    assert_true(core->held_count < TINY_HELD_MAX);
    struct version *version = MEMORY_TAKE_ARRAY(struct version, 1);
    assert_non_null(version);
    version->number = number;
    version->parent = learner->version;
    version->seq_lo = 1;
    version->seq_hi = learner->seq;
    version->rows_trained = learner->seq;
    version->references = 1;
    core->held[core->held_count++] = version;
    enum status status =
        fast_model_new(core->backend, &learner->model->settings,
                       (uint64_t)core->settings.train_seed, false, &version->fast, err);
    if (status == STATUS_OK) { status = fast_model_copy(version->fast, learner->model, err); }
    if (status == STATUS_OK) { status = write_folder(core, version, err); }
    learner->version = number;
    return status;
}

/* Back to a version that is held; false when it is not. */
static bool roll_back(struct tiny_core *core, uint64_t target, struct error *err) {
    for (int i = 0; i < core->held_count; i++) {
        if (core->held[i]->number != target) { continue; }
        ASSERT_OK(fast_model_copy(core->learner.model, core->held[i]->fast, err), *err);
        return true;
    }
    return false;
}

/* What the marks of a batch's last row ask for, once a version. */
static enum status obey(struct tiny_core *core, const struct training_row *row, struct error *err) {
    struct tiny_learner *learner = &core->learner;
    if ((row->marks & TRAINING_FORGET) != 0) { learner->forgets++; }
    if ((row->marks & TRAINING_VERSION) == 0 || row->version <= learner->version) {
        return STATUS_OK;
    }
    bool make = true;
    if ((row->marks & TRAINING_ROLLBACK) != 0) {
        learner->rollbacks++;
        make = roll_back(core, row->argument, err);
    }
    if (make) { return make_version(core, row->version, err); }
    learner->version = row->version; /* rejected: the number is spent */
    return STATUS_OK;
}

static enum status learn_rows(struct tiny_core *core, int count, struct error *err) {
    struct tiny_learner *learner = &core->learner;
    for (int i = 0; i < count; i++) {
        const struct training_row *row = &learner->rows[i];
        int items = learner->model->items;
        if ((int)row->item >= items) { items = (int)row->item + 1; }
        enum status status = fast_model_grow(learner->model, items, err);
        if (status == STATUS_OK) {
            status = counters_add(learner->model->counters, row->window, (int)row->window_count,
                                  row->item, row->seq, err);
        }
        if (status != STATUS_OK) { return status; }
        assert_int_equal(row->seq, learner->seq + 1);
        learner->seq = row->seq;
    }
    return STATUS_OK;
}

/* Length of the next whole batch among `count` rows; 0: there is none. */
static int batch_length(const struct training_row *rows, int count) {
    for (int i = 0; i < count; i++) {
        if ((rows[i].marks & TRAINING_BATCH_END) != 0) { return i + 1; }
    }
    return 0;
}

enum status tiny_core_learn(struct tiny_core *core, struct error *err) {
    struct tiny_learner *learner = &core->learner;
    enum status status = store_reader_renew(core->reader, err);
    int count = 0;
    if (status == STATUS_OK && learner->seq > 0) { /* marks that came late */
        status = training_log_read(core->reader, learner->seq, learner->seq, learner->rows, 1,
                                   &count, err);
        if (status == STATUS_OK) { status = obey(core, &learner->rows[0], err); }
    }
    while (status == STATUS_OK) {
        uint64_t first, last;
        status = training_log_bounds(core->reader, &first, &last, err);
        if (status == STATUS_NOT_FOUND || last <= learner->seq) {
            status = STATUS_OK;
            break;
        }
        if (status != STATUS_OK) { break; }
        status = training_log_read(core->reader, learner->seq + 1, learner->seq + TINY_ROWS,
                                   learner->rows, TINY_ROWS, &count, err);
        if (status != STATUS_OK) { break; }
        count = batch_length(learner->rows, count);
        if (count == 0) { break; }
        status = learn_rows(core, count, err);
        if (status == STATUS_OK) { status = obey(core, &learner->rows[count - 1], err); }
    }
    store_reader_reset(core->reader);
    return status;
}

enum status tiny_learner_open(struct tiny_core *core, struct error *err) {
    struct fast_settings fast = model_settings_fast(&core->settings, 0);
    core->learner.rows = MEMORY_TAKE_ARRAY(struct training_row, TINY_ROWS);
    assert_non_null(core->learner.rows);
    enum status status = fast_model_new(core->backend, &fast, (uint64_t)core->settings.train_seed,
                                        false, &core->learner.model, err);
    return status == STATUS_OK ? make_version(core, 0, err) : status;
}

void tiny_learner_close(struct tiny_core *core) {
    fast_model_free(core->learner.model);
    memory_free(core->learner.rows);
}
