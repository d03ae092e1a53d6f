/* SPDX-License-Identifier: Apache-2.0
 *
 * state.h - the folder of a run of `iloractl paper`: what is finished, and where the
 * unfinished stands.
 *
 *   OUT/settings.json               what the run was begun with; another value is refused by name
 *   OUT/lock                        held by the process that works here
 *   OUT/base.json                   a method without seeds
 *   OUT/seed-1/sasrec.safetensors   values of SASRec
 *   OUT/seed-1/ilora.checkpoint     values, moments, step; until the method is finished
 *   OUT/seed-1/ilora.safetensors    the trained adapter, by name
 *   OUT/seed-1/ilora.answers.jsonl  every answer
 *   OUT/seed-1/ilora.json           the result: written last, so it stands for "finished"
 *   OUT/results.json                the report
 *
 * Every file appears whole or not at all. Seeds and methods may be added to a folder later.
 */
#ifndef OPS_PAPER_STATE_H
#define OPS_PAPER_STATE_H

#include "base/file.h"
#include "model/language_model.h"
#include "model/tensor_file.h"
#include "ops/paper/result.h"

#define PAPER_VALUE_BYTES 512

/* One thing that must not change while a folder is filled. */
struct paper_setting {
    char name[32]; /* as on the command line, without dashes */
    char value[PAPER_VALUE_BYTES];
};

struct paper_state {
    char folder[FILE_PATH_BYTES_MAX];
    int lock_fd; /* owns; -1 none */
};

/* Makes the folder or continues it. CONFIG: another process works there; a setting was another one
 * when the folder was begun. IO. */
MUST_CHECK enum status paper_state_open(const char *folder, const struct paper_setting *settings,
                                        int count, struct paper_state *ret_state,
                                        struct error *err);
void paper_state_close(struct paper_state *state);
/* OUT/seed-SEED/NAME, or OUT/NAME for seed 0; makes the folder of the seed. */
MUST_CHECK enum status paper_state_path(const struct paper_state *state, int seed, const char *stem,
                                        const char *ending, char ret_path[FILE_PATH_BYTES_MAX],
                                        struct error *err);

/* NOT_FOUND: not finished yet. CORRUPT names the file. */
MUST_CHECK enum status paper_state_result_read(const struct paper_state *state, int seed,
                                               enum paper_method method,
                                               struct paper_result *ret_result, struct error *err);
MUST_CHECK enum status paper_state_result_write(const struct paper_state *state, int seed,
                                                enum paper_method method,
                                                const struct paper_result *result,
                                                struct error *err);

/* Writes the tensors to path: whole, fsynced, renamed. */
MUST_CHECK enum status paper_tensors_write(const struct tensor_list *list, const char *path,
                                           struct error *err);

/* Values, both moments and what `result` counts of training (steps, tokens, losses, seconds). */
MUST_CHECK enum status paper_checkpoint_write(const char *path, struct ilora_params *params,
                                              const struct paper_result *result, struct error *err);
/* The same back. NOT_FOUND: there is none, nothing changed. CORRUPT names the file. */
MUST_CHECK enum status paper_checkpoint_read(const char *path, struct ilora_params *params,
                                             struct paper_result *result, struct error *err);
/* The adapter alone, tensors by name as PEFT calls them. */
MUST_CHECK enum status paper_adapter_write(const char *path, struct ilora_params *params,
                                           struct error *err);

#endif
