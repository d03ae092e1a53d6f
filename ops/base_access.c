/* SPDX-License-Identifier: Apache-2.0
 *
 * base_access.c - opens what a base model consists of, and closes it in the other order. */
#include "ops/base_access.h"

#include <string.h>
#include <unistd.h>

enum status base_access_open(const struct settings *settings, const char *path,
                             struct base_access *ret_access, struct error *err) {
    struct base_access access = {0};
    if (path == NULL) { path = settings->base_model_path; }
    if (path[0] == '\0') {
        return error_set(err, STATUS_CONFIG,
                         "no base model: [base_model] path is empty and --base is not given");
    }
    enum status status = checkpoint_open(path, &access.checkpoint, err);
    if (status != STATUS_OK) { return status; } /* names the file, as the next does */
    status = tokenizer_open(access.checkpoint, &access.tokenizer, err);
    if (status != STATUS_OK) {
        base_access_close(&access);
        return status;
    }
    *ret_access = access;
    return STATUS_OK;
}

enum status base_access_load(struct base_access *access, const struct settings *settings,
                             const struct base_adapter *adapter, int threads, int tokens_max,
                             struct error *err) {
    const char *prompts = settings->base_model_prompts;
    struct ilora_shape shape = {.R = 1,
                                .K = 1,
                                .alpha = 1.0f,
                                .E = (int)settings->sasrec_width,
                                .projector_width = 8,
                                .head = ILORA_HEAD_TITLE};
    struct language_model_settings how = {.tokens_max = tokens_max, .sequences_max = 1};
    if (adapter != NULL) { base_adapter_shape(adapter, &shape); }
    if (threads == 0) { threads = (int)sysconf(_SC_NPROCESSORS_ONLN); }
    enum status status = backend_cpu_new(threads < 1 ? 1 : threads, &access->backend, err);
    if (status != STATUS_OK) { return status; }
    status = prompt_template_open(prompts[0] == '\0' ? NULL : prompts, access->tokenizer,
                                  &access->template, err);
    if (status != STATUS_OK) { return status; }
    status = base_model_load(access->backend, access->checkpoint, PRECISION_F32, false,
                             &access->base, err);
    if (status != STATUS_OK) { return status; }
    if (adapter != NULL) {
        status = base_adapter_params(adapter, access->base, access->backend, &shape,
                                     &access->params, err);
        if (status != STATUS_OK) { return status; }
    }
    return language_model_new(access->base, &how, &shape, &access->lm, err);
}

void base_access_close(struct base_access *access) {
    if (access->lm != NULL) { language_model_free(access->lm); }
    if (access->params != NULL) { ilora_params_free(access->params); }
    if (access->base != NULL) { base_model_free(access->base); }
    if (access->template != NULL) { prompt_template_close(access->template); }
    if (access->backend != NULL) { access->backend->ops->free(access->backend); }
    if (access->tokenizer != NULL) { tokenizer_close(access->tokenizer); }
    if (access->checkpoint != NULL) { checkpoint_close(access->checkpoint); }
    memset(access, 0, sizeof *access);
}
