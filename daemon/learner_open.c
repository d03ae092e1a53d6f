/* SPDX-License-Identifier: Apache-2.0
 *
 * learner_open.c - what the learner's thread owns: backends, base model, tokenizer, learner; and
 * how the learner asks for rows and titles.
 *
 * Why it exists: opening is long, fails in many ways and must name the file and the setting; the
 * loop is short and must not.
 * Thread: learner. */
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/failpoint.h"
#include "base/log.h"
#include "base/memory.h"
#include "daemon/device_plan.h"
#include "daemon/learner_parts.h"
#include "daemon/model_settings.h"
#include "daemon/settings_record.h"

#define PROFILE_BYTES_MAX 4096u

/* ---- the catalogue as of a sequence number, from the reader ---- */

/* Items known at seq: the numbers given so far whose first row is not younger. Numbers are given in
 * order, so a binary search finds the first one that did not exist. */
static enum status items_count(void *context, uint64_t seq, int *ret_count, struct error *err) {
    struct learner_thread *t = context;
    struct span key, value;
    enum status status = store_last(t->reader, STORE_ITEMS, &key, &value, err);
    if (status == STATUS_NOT_FOUND) {
        *ret_count = 0;
        return STATUS_OK;
    }
    if (status != STATUS_OK) { return status; }
    uint32_t low = 0, high = get_u32be(key.data) + 1;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        struct catalogue_item item;
        status = catalogue_read(t->reader, middle, seq, &item, err);
        if (status != STATUS_OK && status != STATUS_NOT_FOUND) { return status; }
        if (status == STATUS_OK) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    *ret_count = (int)low;
    return STATUS_OK;
}

static enum status item_title(void *context, uint32_t item, uint64_t seq, struct span *ret_title,
                              struct error *err) {
    struct learner_thread *t = context;
    struct catalogue_item row;
    enum status status = catalogue_read(t->reader, item, seq, &row, err);
    if (status != STATUS_OK) { return status; }
    *ret_title = row.title;
    return STATUS_OK;
}

struct change_visit {
    enum status (*visit)(void *context, uint32_t item, struct span title, struct error *err);
    void *context;
};

static enum status visit_change(void *context, uint32_t item, const struct catalogue_item *row,
                                struct error *err) {
    const struct change_visit *change = context;
    return change->visit(change->context, item, row->title, err);
}

static enum status item_changes(void *context, uint64_t after, uint64_t upto,
                                enum status (*visit)(void *, uint32_t, struct span, struct error *),
                                void *visit_context, struct error *err) {
    struct learner_thread *t = context;
    struct change_visit change = {visit, visit_context};
    return catalogue_changes(t->reader, after, upto, visit_change, &change, err);
}

static enum status row_exclusions(void *context, uint64_t seq, uint32_t *items, int max,
                                  int *ret_count, struct error *err) {
    struct learner_thread *t = context;
    uint32_t count = 0;
    enum status status =
        training_exclusions_read(t->reader, seq, items, (uint32_t)max, &count, err);
    *ret_count = (int)count;
    return status;
}

/* ---- opening ---- */

static struct learner_settings learner_settings_of(const struct learner_thread *t) {
    const struct model_description *d =
        t->checkpoint != NULL ? checkpoint_description(t->checkpoint) : NULL;
    bool item_tokens = t->template != NULL && prompt_template_has_item_tokens(t->template) != 0;
    return model_settings_learner(t->settings, d != NULL ? 2 * d->C : 0, item_tokens);
}

/* Before the base model is read. */
static enum status plan_memory(struct learner_thread *t, struct error *err) {
    const struct learner_settings settings = learner_settings_of(t);
    struct device_plan plan;
    enum status status =
        device_plan_make(t->be, checkpoint_description(t->checkpoint),
                         device_precision(t->settings, t->be), &settings, &plan, err);
    if (status == STATUS_OK) { status = device_plan_reserve(&plan, t->be, err); }
    if (status != STATUS_OK) { return status; }
    return device_plan_show(&plan, shared_metrics(t->shared), err);
}

static enum status open_base_model(struct learner_thread *t, struct error *err) {
    const struct settings *s = t->settings;
    enum status status = checkpoint_open(s->base_model_path, &t->checkpoint, err);
    if (status != STATUS_OK) { return status; }
    status = checkpoint_sha256(t->checkpoint, t->identity.base_model_sha256, err);
    if (status != STATUS_OK) { return status; }
    status = tokenizer_open(t->checkpoint, &t->tokenizer, err);
    if (status != STATUS_OK) { return status; }
    const struct model_description *d = checkpoint_description(t->checkpoint);
    if (tokenizer_size(t->tokenizer) > d->V) {
        return error_set(err, STATUS_CONFIG,
                         "base model '%s': the tokenizer has %d ids, the embedding %d rows",
                         s->base_model_path, tokenizer_size(t->tokenizer), d->V);
    }
    const char *prompts = s->base_model_prompts[0] != '\0' ? s->base_model_prompts : NULL;
    status = prompt_template_open(prompts, t->tokenizer, &t->template, err);
    if (status != STATUS_OK) { return status; }
    status = plan_memory(t, err);
    if (status != STATUS_OK) { return status; }
    enum precision precision = device_precision(s, t->be);
    status = base_model_load(t->be, t->checkpoint, precision, true, &t->base, err);
    if (status != STATUS_OK) { return status; }
    const char *slash = strrchr(s->base_model_path, '/');
    (void)snprintf(t->identity.base_model, sizeof(t->identity.base_model), "%.255s",
                   slash != NULL ? slash + 1 : s->base_model_path); /* a long name is cut */
    t->identity.has_lm = true;
    return STATUS_OK;
}

/* It is read at every start: a state that was lost is folded again from it. */
static enum status open_adapter(struct learner_thread *t, struct error *err) {
    const char *folder = t->settings->ilora_adapter;
    if (folder[0] == '\0') { return STATUS_OK; }
    if (!t->identity.has_lm) {
        return error_set(err, STATUS_CONFIG,
                         "[ilora] adapter is '%s' and [base_model] path is empty, expected both",
                         folder);
    }
    enum status status = peft_adapter_open(folder, &t->adapter, err);
    return status == STATUS_OK ? STATUS_OK : error_wrap(err, "[ilora] adapter");
}

/* What must be equal for the same rows to give the same bytes. */
static enum status make_profile(struct learner_thread *t, struct error *err) {
    static _Thread_local struct settings_text text;
    enum status status = settings_text_make(t->settings, &text, err);
    if (status != STATUS_OK) { return status; }
    char adapter[2 * SHA256_BYTES + 1] = "";
    if (t->adapter != NULL) { hex_encode(t->adapter->sha256, SHA256_BYTES, adapter); }
    const char *precision = device_precision(t->settings, t->be) == PRECISION_F32 ? "f32" : "bf16";
    /* on a card the fast tier is still the CPU's */
    bool two = strcmp(t->be->profile, t->fast_be->profile) != 0;
    (void)snprintf(t->identity.numeric_profile, sizeof(t->identity.numeric_profile),
                   "%s%s%s; base %s; settings %016" PRIx64 "%s%.16s", t->be->profile,
                   two ? "; fast " : "", two ? t->fast_be->profile : "",
                   t->identity.has_lm ? precision : "none", settings_text_digest(&text),
                   t->adapter != NULL ? "; adapter " : "", adapter); /* 512 bytes hold it */
    return STATUS_OK;
}

static enum status profile_path(const struct learner_thread *t, char path[FILE_PATH_BYTES_MAX],
                                struct error *err) {
    return path_join(path, t->state_path, "profile", err);
}

/* Compares with the profile the versions held were made under. */
static enum status compare_profile(struct learner_thread *t, struct error *err) {
    char path[FILE_PATH_BYTES_MAX];
    enum status status = profile_path(t, path, err);
    if (status != STATUS_OK) { return status; }
    struct buffer held = {0};
    status = file_read(path, PROFILE_BYTES_MAX, &held, err);
    bool same =
        status == STATUS_OK && span_equal(buffer_span(&held), span_of(t->identity.numeric_profile));
    buffer_free(&held);
    t->profile_changed = status == STATUS_OK && !same;
    t->profile_kept = same;
    return status == STATUS_NOT_FOUND ? STATUS_OK : status;
}

enum status learner_parts_keep_profile(struct learner_thread *t, struct error *err) {
    if (t->profile_kept) { return STATUS_OK; }
    char path[FILE_PATH_BYTES_MAX];
    enum status status = profile_path(t, path, err);
    if (status != STATUS_OK) { return status; }
    status = file_replace(path, span_of(t->identity.numeric_profile), err);
    if (status == STATUS_OK) { status = failpoint_pass(FAILPOINT_profile_kept, err); }
    t->profile_kept = status == STATUS_OK;
    return status;
}

static enum status open_learner(struct learner_thread *t, struct error *err) {
    struct learner_settings settings = learner_settings_of(t);
    settings.adapter = t->adapter;
    t->catalogue = (struct learner_catalogue){.context = t,
                                              .count = items_count,
                                              .title = item_title,
                                              .changes = item_changes,
                                              .exclusions = row_exclusions};
    return learner_new(&settings, t->be, t->fast_be, t->base, t->tokenizer, t->template,
                       &t->catalogue, &t->learner, err);
}

/* The fast tier stays on the CPU; without a language model no card is opened. */
static enum status open_devices(struct learner_thread *t, int threads, struct error *err) {
    enum status status = backend_cpu_new(threads, &t->fast_be, err);
    if (status != STATUS_OK) { return status; }
    if (t->settings->base_model_path[0] == '\0') { return backend_cpu_new(threads, &t->be, err); }
    return device_open(t->settings, threads, &t->be, err);
}

enum status learner_parts_open(struct learner_thread *t, struct error *err) {
    const struct settings *s = t->settings;
    int threads = (int)s->device_threads;
    if (threads == 0) { threads = (int)sysconf(_SC_NPROCESSORS_ONLN); }
    if (threads < 1) { threads = 1; }
    t->rows = MEMORY_TAKE_ARRAY(struct training_row, BATCH_EVENTS_MAX);
    if (t->rows == NULL) { return error_set(err, STATUS_NO_MEMORY, "rows of a batch"); }
    enum status status = store_reader_open(t->store, &t->reader, err);
    if (status == STATUS_OK) { status = open_devices(t, threads, err); }
    if (status == STATUS_OK) { status = learner_keep_prepare(t, err); }
    if (status == STATUS_OK && s->base_model_path[0] != '\0') {
        status = open_base_model(t, err);
        if (status != STATUS_OK) { return error_wrap(err, "[base_model] path"); }
    }
    if (status == STATUS_OK) { status = open_adapter(t, err); }
    if (status == STATUS_OK) { status = make_profile(t, err); }
    if (status == STATUS_OK) { status = compare_profile(t, err); }
    if (status == STATUS_OK) { status = open_learner(t, err); }
    if (status == STATUS_OK) { status = learner_keep_restore(t, err); }
    if (status == STATUS_OK) { status = learner_golden_open(t, err); }
    store_reader_reset(t->reader);
    return status;
}

void learner_parts_close(struct learner_thread *t) {
    learner_free(t->learner);
    base_model_free(t->base);
    peft_adapter_close(t->adapter);
    prompt_template_close(t->template);
    tokenizer_close(t->tokenizer);
    checkpoint_close(t->checkpoint);
    if (t->be != NULL) { t->be->ops->free(t->be); }
    if (t->fast_be != NULL) { t->fast_be->ops->free(t->fast_be); }
    if (t->reader != NULL) { store_reader_close(t->reader); }
    memory_free(t->rows);
}
