/* SPDX-License-Identifier: Apache-2.0
 *
 * device_plan.c - chooses the device, adds up its memory, refuses what does not fit.
 *
 * Why it exists: a learner that runs out of device memory an hour after READY stops in the middle
 * of a step; the sum is known before anything is loaded.
 * Thread: learner. */
#include "daemon/device_plan.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/bytes.h"
#include "base/file.h"
#include "base/log.h"
#include "model/base_model.h"

#define MIB               ((size_t)1 << 20)
#define LIBRARY_BYTES     (32 * MIB) /* cublasLt's workspace */
#define STAGE_BYTES       (24 * MIB) /* rings, and 16 MiB of rows that are rounded on the way */
#define MARGIN_SHARE      32         /* one part in so many stays free */
#define WEIGHT_LINE_BYTES 16         /* rows of a weight on a card are padded to this */
#define MEMINFO_BYTES_MAX 8192u

/* ---- which device ---------------------------------------------------------------------------- */

static bool is_card(const struct backend *be) {
    return strcmp(be->ops->name, "cuda") == 0;
}

enum status device_open(const struct settings *settings, int threads, struct backend **ret_backend,
                        struct error *err) {
    int index = (int)settings->device_index;
    if (settings->device_backend == DEVICE_CHOICE_CPU) {
        enum status status = backend_cpu_new(threads, ret_backend, err);
        if (status != STATUS_OK) { return status; }
        LOG_INFO("device: %s ([device] backend = cpu)", (*ret_backend)->profile);
        return STATUS_OK;
    }
    enum status status = backend_cuda_new(index, ret_backend, err);
    if (status == STATUS_OK) {
        LOG_INFO("device: card %d, %s ([device] backend = %s)", index, (*ret_backend)->profile,
                 settings->device_backend == DEVICE_CHOICE_AUTO ? "auto" : "cuda");
        return STATUS_OK;
    }
    if (status != STATUS_NOT_FOUND) { return error_wrap(err, "[device] index = %d", index); }
    if (settings->device_backend == DEVICE_CHOICE_CUDA) {
        err->code = STATUS_CONFIG;
        return error_wrap(err, "[device] backend = cuda, index = %d", index);
    }
    struct error why = *err;
    status = backend_cpu_new(threads, ret_backend, err);
    if (status != STATUS_OK) { return status; }
    LOG_INFO("device: %s ([device] backend = auto; no card: %s)", (*ret_backend)->profile,
             why.text);
    return STATUS_OK;
}

enum precision device_precision(const struct settings *settings, const struct backend *be) {
    switch (settings->device_precision) {
    case PRECISION_CHOICE_F32: return PRECISION_F32;
    case PRECISION_CHOICE_BF16: return PRECISION_BF16;
    default: return is_card(be) || backend_cpu_has_bf16() ? PRECISION_BF16 : PRECISION_F32;
    }
}

/* ---- what it takes --------------------------------------------------------------------------- */

/* One copy of a matrix on a card; on the CPU one for each direction. */
static struct base_model_form form_on(const struct backend *be, enum precision precision,
                                      bool head) {
    bool card = is_card(be);
    return (struct base_model_form){.precision = precision,
                                    .copies = card ? 1 : 2,
                                    .row_bytes = card ? WEIGHT_LINE_BYTES : 1,
                                    .head = head};
}

/* Scratch of operators on a card: the rows of the widest product, rounded (in) and in parts (out),
 * twice because a slot that grows is taken before others shrink. The CPU's is not counted: it is
 * small, and the system's to give. */
static size_t workspace_bytes(const struct backend *be, const struct model_description *d,
                              int tokens) {
    if (!is_card(be)) { return 0; }
    size_t widest = (size_t)(2 * d->F > 3 * d->H * d->D ? 2 * d->F : 3 * d->H * d->D);
    return LIBRARY_BYTES + STAGE_BYTES + 2 * (size_t)tokens * widest * (2 + 4);
}

enum status device_plan_make(const struct backend *be, const struct model_description *base,
                             enum precision precision, const struct learner_settings *learner,
                             struct device_plan *ret_plan, struct error *err) {
    const struct language_model_settings how = learner_lm_budget(learner);
    bool title = (learner->ilora.head & ILORA_HEAD_TITLE) != 0;
    const struct base_model_form form = form_on(be, precision, title || !base->tied_head);
    struct device_plan plan = {.weights = base_model_measure(base, &form),
                               .workspace = workspace_bytes(be, base, how.tokens_max)};
    size_t floats = 0;
    enum status status = ilora_params_measure(base, &learner->ilora, &floats, err);
    if (status == STATUS_OK) {
        status = language_model_measure(base, &how, &learner->ilora, &plan.activations, err);
    }
    if (status != STATUS_OK) { return error_wrap(err, "planning the device's memory"); }
    plan.adapters = (5 + 2) * floats * sizeof(float); /* five slabs; served and reference */
    plan.versions = DEVICE_VERSIONS * floats * sizeof(float);
    *ret_plan = plan;
    return STATUS_OK;
}

size_t device_plan_total(const struct device_plan *plan) {
    return plan->weights + plan->adapters + plan->versions + plan->activations + plan->workspace;
}

/* ---- whether it fits ------------------------------------------------------------------------- */

static size_t in_mib(size_t bytes) {
    return (bytes + MIB - 1) / MIB;
}

static void plan_words(const struct device_plan *plan, char *words, size_t words_bytes) {
    (void)snprintf(words, words_bytes, /* five numbers fit */
                   "%zu MiB: weights %zu, adapters %zu, versions %zu, activations %zu, "
                   "workspace %zu",
                   in_mib(device_plan_total(plan)), in_mib(plan->weights), in_mib(plan->adapters),
                   in_mib(plan->versions), in_mib(plan->activations), in_mib(plan->workspace));
}

/* What to lower: the largest part that a setting rules. */
static const char *setting_to_lower(const struct device_plan *plan) {
    size_t rows = plan->activations + plan->workspace;
    size_t trained = plan->adapters + plan->versions;
    if (plan->weights > rows && plan->weights > trained) {
        return "choose a smaller [base_model] path, or lower [train] micro_batch_tokens";
    }
    if (rows >= trained) { return "lower [train] micro_batch_tokens"; }
    return "lower [ilora] rank or [state] items_max";
}

enum status device_plan_check(const struct device_plan *plan, size_t free_bytes,
                              struct error *err) {
    char words[256];
    size_t total = device_plan_total(plan);
    if (total + total / MARGIN_SHARE <= free_bytes) { return STATUS_OK; }
    plan_words(plan, words, sizeof words);
    return error_set(err, STATUS_CONFIG,
                     "the device has %zu MiB free and the language model needs %s: %s",
                     free_bytes / MIB, words, setting_to_lower(plan));
}

/* Bytes of one line of proc(5)'s meminfo, which counts in KiB; 0 when it has no such line. */
static size_t meminfo_bytes(const char *text, const char *name) {
    const char *line = strstr(text, name);
    int64_t kib = 0;
    if (line == NULL) { return 0; }
    line += strlen(name);
    line += strspn(line, " ");
    struct span digits = span_make(line, strspn(line, "0123456789"));
    return span_integer(digits, &kib) ? (size_t)kib * 1024 : 0;
}

/* False: not to be known. */
static bool host_memory(size_t *ret_free, size_t *ret_total) {
    struct buffer bytes = {0};
    struct error ignored;
    char text[MEMINFO_BYTES_MAX + 1] = "";
    if (file_read("/proc/meminfo", MEMINFO_BYTES_MAX, &bytes, &ignored) == STATUS_OK) {
        memcpy(text, bytes.data, bytes.size);
        text[bytes.size] = '\0';
    }
    buffer_free(&bytes);
    *ret_free = meminfo_bytes(text, "MemAvailable:");
    *ret_total = meminfo_bytes(text, "MemTotal:");
    return *ret_free > 0 && *ret_total > 0;
}

enum status device_plan_reserve(const struct device_plan *plan, struct backend *be,
                                struct error *err) {
    char words[256];
    size_t free_bytes = 0, total_bytes = 0;
    plan_words(plan, words, sizeof words);
    if (!is_card(be)) {
        if (!host_memory(&free_bytes, &total_bytes)) { return STATUS_OK; }
    } else {
        enum status status = backend_cuda_memory(be, &free_bytes, &total_bytes, err);
        if (status != STATUS_OK) { return status; }
    }
    LOG_INFO("device memory: %s, of %zu MiB free (%zu in all)", words, free_bytes / MIB,
             total_bytes / MIB);
    enum status status = device_plan_check(plan, free_bytes, err);
    if (status != STATUS_OK || !is_card(be)) { return status; }
    void *memory = NULL;
    status = be->ops->memory_take(be, device_plan_total(plan), &memory, err);
    if (status == STATUS_NO_MEMORY) { err->code = STATUS_CONFIG; }
    if (status != STATUS_OK) { return error_wrap(err, "device memory for %s", words); }
    be->ops->memory_give(be, memory);
    return be->ops->synchronise(be, err);
}

enum status device_plan_show(const struct device_plan *plan, struct metrics *metrics,
                             struct error *err) {
    const struct {
        const char *labels;
        size_t bytes;
    } kinds[] = {{"kind=\"weights\"", plan->weights},
                 {"kind=\"adapters\"", plan->adapters},
                 {"kind=\"versions\"", plan->versions},
                 {"kind=\"activations\"", plan->activations},
                 {"kind=\"workspace\"", plan->workspace}};
    for (size_t i = 0; metrics != NULL && i < sizeof kinds / sizeof kinds[0]; i++) {
        struct metric *metric = NULL;
        enum status status =
            metrics_add(metrics, METRIC_GAUGE, "ilorad_device_memory_bytes", kinds[i].labels,
                        "Memory planned on the language model's device.", NULL, 0, &metric, err);
        if (status != STATUS_OK) { return status; }
        metric_set(metric, (double)kinds[i].bytes);
    }
    return STATUS_OK;
}
