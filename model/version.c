/* SPDX-License-Identifier: Apache-2.0
 *
 * version.c - versions: made from the learner's state, loaded from a folder, gone back to.
 *
 * A version is a copy, so the learner goes on at once and many threads may read it. Making one
 * again from the same rows gives the same bytes and so the same digest; that is how a replay is
 * checked. */
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/memory.h"
#include "model/version_files.h"

void version_take(struct version *version) {
    int before = __atomic_fetch_add(&version->references, 1, __ATOMIC_RELAXED);

    assert(before > 0);
    (void)before; /* used by the assertion */
}

void version_give(struct version *version) {
    if (version == NULL) { return; }
    int before = __atomic_fetch_sub(&version->references, 1, __ATOMIC_ACQ_REL);
    assert(before > 0);
    if (before > 1) { return; }
    fast_model_free(version->fast);
    ilora_params_free(version->params);
    memory_free(version->figures);
    memory_free(version);
}

/* The last part of the path, without ".tmp". */
static void folder_name(const char *path, char *ret_name, size_t size) {
    const char *slash = strrchr(path, '/');
    const char *name = slash != NULL ? slash + 1 : path;
    size_t length = strlen(name);

    if (length > 4 && strcmp(name + length - 4, ".tmp") == 0) { length -= 4; }
    (void)snprintf(ret_name, size, "%.*s", (int)length, name);
}

/* Empty objects of the learner's shapes. */
static enum status version_new(struct learner *learner, const char *path,
                               struct version **ret_version, struct error *err) {
    struct version *version = MEMORY_TAKE_ARRAY(struct version, 1);
    if (version == NULL) { return error_set(err, STATUS_NO_MEMORY, "version"); }

    version->references = 1;
    folder_name(path, version->folder, sizeof version->folder);
    version->figures = MEMORY_TAKE_ARRAY(struct eval_figure, FIGURES_MAX);
    enum status status = STATUS_OK;
    if (version->figures == NULL) { status = error_set(err, STATUS_NO_MEMORY, "figures"); }
    if (status == STATUS_OK) {
        status = fast_model_new(learner->fast_be, &learner->settings.fast, 0, false, &version->fast,
                                err);
    }
    if (status != STATUS_OK) {
        version_give(version);
        return status;
    }
    *ret_version = version;
    return STATUS_OK;
}

/* The borrowed (M,E) vectors; for a version they are held, not computed. */
static void version_point(struct version *version) {
    union {
        const float *held;
        float *shown; /* the struct's field is not const; nobody writes a version */
    } vectors = {sasrec_vectors(version->fast->sasrec)};

    version->vectors = vectors.shown;
}

static enum status version_fill(struct learner *learner, struct version *version,
                                struct error *err) {
    (void)sasrec_vectors(learner->fast->sasrec); /* computes them */
    enum status status = fast_model_copy(version->fast, learner->fast, err);
    if (status != STATUS_OK) { return status; }
    if (learner->lm != NULL) {
        status = learner_lm_served(learner, &version->params, err);
        if (status != STATUS_OK) { return status; }
    }
    version->parent = learner->version;
    version->seq_lo = learner->version_seq + 1;
    version->seq_hi = learner->seq;
    version->restored_from = learner->restored_from;
    version->rows_trained = learner->since.trained;
    version->rows_unsampled = learner->since.unsampled;
    version->rows_quarantined = learner->since.quarantined;
    version->rows_excluded = learner->since.excluded;
    version->figure_count = eval_book_figures(&learner->book, version->figures, FIGURES_MAX);
    version_point(version);
    return STATUS_OK;
}

enum status learner_make_version(struct learner *learner, uint64_t number, const char *path,
                                 const char *numeric_profile, const char *base_model_name,
                                 const uint8_t base_sha256[SHA256_BYTES],
                                 struct version **ret_version, struct error *err) {
    const struct peft_adapter *adapter = learner->lm != NULL ? learner->settings.adapter : NULL;
    const struct version_origin origin = {numeric_profile, base_model_name, base_sha256,
                                          adapter != NULL ? adapter->sha256 : NULL};
    struct version *version = NULL;

    if (file_exists(path)) {
        return error_set(err, STATUS_CORRUPT, "version folder '%s' exists already", path);
    }
    enum status status = version_new(learner, path, &version, err);
    if (status != STATUS_OK) { goto fail; }
    version->number = number;
    status = version_fill(learner, version, err);
    if (status != STATUS_OK) { goto fail; }
    status = dir_make(path, err);
    if (status != STATUS_OK) { goto fail; }
    status = version_files_write(learner, version, path, &origin, err);
    if (status != STATUS_OK) { goto fail; }
    if (learner->lm != NULL) { status = learner_lm_refer(learner, version->params, err); }
    if (status != STATUS_OK) { goto fail; }

    learner->version = number;
    learner->version_seq = learner->seq;
    learner->restored_from = 0;
    learner->since = (struct row_counts){0};
    *ret_version = version;
    return STATUS_OK;
fail:
    version_give(version);
    return error_wrap(err, "making version %" PRIu64, number);
}

static enum status numbers_read(struct version *version, const struct json_value *json,
                                struct error *err) {
    struct number {
        const char *name;
        uint64_t *value;
    };
    const struct number numbers[] = {
        {"version", &version->number},
        {"parent", &version->parent},
        {"restored_from", &version->restored_from},
        {"seq_lo", &version->seq_lo},
        {"seq_hi", &version->seq_hi},
        {"rows_trained", &version->rows_trained},
        {"rows_unsampled", &version->rows_unsampled},
        {"rows_quarantined", &version->rows_quarantined},
        {"rows_excluded", &version->rows_excluded},
    };

    for (size_t n = 0; n < sizeof numbers / sizeof numbers[0]; n++) {
        enum status status = json_count(json, numbers[n].name, numbers[n].value, err);
        if (status != STATUS_OK) { return status; }
    }
    return STATUS_OK;
}

enum status learner_load_version(struct learner *learner, const char *path,
                                 struct version **ret_version, struct error *err) {
    struct json_value *json = NULL;
    struct version *version = NULL;

    enum status status = version_new(learner, path, &version, err);
    if (status != STATUS_OK) { goto done; }
    status = folder_digests_check(path, "manifest.json", &json, version->digest, err);
    if (status != STATUS_OK) { goto done; }
    status = numbers_read(version, json, err);
    if (status != STATUS_OK) { goto done; }
    if (learner->lm != NULL) { status = learner_lm_empty(learner, &version->params, err); }
    if (status != STATUS_OK) { goto done; }
    status = version_files_read(learner, version, path, err);
    if (status != STATUS_OK) { goto done; }
    version_point(version);
done:
    json_free(json);
    if (status != STATUS_OK) {
        version_give(version);
        return error_wrap(err, "loading version '%s'", path);
    }
    *ret_version = version;
    return STATUS_OK;
}

enum status learner_restore_version(struct learner *learner, const struct version *version,
                                    struct error *err) {
    enum status status = sasrec_copy(learner->fast->sasrec, version->fast->sasrec, err);
    if (status != STATUS_OK) { goto fail; }
    status = counters_copy(learner->fast->counters, version->fast->counters, err);
    if (status != STATUS_OK) { goto fail; }
    if (learner->lm != NULL) { status = learner_lm_restore(learner, version->params, err); }
    if (status != STATUS_OK) { goto fail; }

    learner->fast->fast_stack = version->fast->fast_stack;
    learner->fast->full_stack = version->fast->full_stack;
    learner->sasrec_steps = learner->lm_steps = 0; /* moments are zero: bias correction restarts */
    if (learner->seq > version->seq_hi) {
        reservoir_exclude(learner->reservoir, version->seq_hi + 1, learner->seq);
    }
    learner->restored_from = version->number;
    return STATUS_OK;
fail:
    return error_wrap(err, "going back to version %" PRIu64, version->number);
}
