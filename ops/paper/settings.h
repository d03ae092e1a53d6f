/* SPDX-License-Identifier: Apache-2.0
 *
 * settings.h - how `iloractl paper` is asked to run; zero means the default of that field.
 */
#ifndef OPS_PAPER_SETTINGS_H
#define OPS_PAPER_SETTINGS_H

#include <stdbool.h>

#include "daemon/settings.h"
#include "model/language_model.h"
#include "ops/paper/result.h"

enum paper_device { PAPER_DEVICE_AUTO, PAPER_DEVICE_CPU, PAPER_DEVICE_CUDA };

struct paper_settings {
    const struct settings *daemon; /* borrows: [base_model] path and prompts */
    const char *data;              /* folder */
    const char *base;              /* NULL: [base_model] path */
    const char *out;               /* folder */
    bool wanted[PAPER_METHOD_COUNT];
    int experts;          /* K of iLoRA */
    enum ilora_gate gate; /* of iLoRA */
    int seeds;            /* 1 .. seeds */
    int epochs;           /* over the training samples */
    int limit;            /* training samples a seed; 0 = all */
    int limit_test;       /* test samples; 0 = all */
    int batch;            /* samples of a step */
    int rank;             /* R */
    double alpha;         /* s = alpha / (R/K) */
    double
        learning_rate; /* 0: 8e-4 for RecBole folders (MovieLens), 7e-4 for split ones (LastFM) */
    double dropout;    /* on the LoRA input */
    enum paper_device device;
    bool precision_auto; /* bf16 where the device has it */
    enum precision precision;
    int tokens;           /* rows of one micro-batch */
    int threads;          /* 0 = all cores */
    int checkpoint_steps; /* 0 = one a minute */
    bool json;
};

#endif
