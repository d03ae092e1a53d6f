/* SPDX-License-Identifier: Apache-2.0
 *
 * base_access.h - a base model opened by a tool: files checked, tokenizer, and on demand the
 * weights.
 */
#ifndef OPS_BASE_ACCESS_H
#define OPS_BASE_ACCESS_H

#include "daemon/settings.h"
#include "kernels/backend.h"
#include "model/checkpoint.h"
#include "model/language_model.h"
#include "model/prompt.h"
#include "model/tokenizer.h"
#include "ops/base_adapter.h"

struct base_access {
    struct checkpoint *checkpoint;    /* owns */
    struct tokenizer *tokenizer;      /* owns */
    struct backend *backend;          /* owns; with weights */
    struct base_model *base;          /* owns; with weights */
    struct prompt_template *template; /* owns; with weights */
    struct language_model *lm;        /* owns; with weights */
    struct ilora_params *params;      /* owns; with an adapter, else NULL */
};

/* path NULL: [base_model] path. CONFIG names file and field. */
MUST_CHECK enum status base_access_open(const struct settings *settings, const char *path,
                                        struct base_access *ret_access, struct error *err);
/* Loads the weights for scoring up to tokens_max tokens at once; adapter (may be NULL) becomes
 * access->params. CONFIG: it does not fit the base. */
MUST_CHECK enum status base_access_load(struct base_access *access, const struct settings *settings,
                                        const struct base_adapter *adapter, int threads,
                                        int tokens_max, struct error *err);
void base_access_close(struct base_access *access);

#endif
