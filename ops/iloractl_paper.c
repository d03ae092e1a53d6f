/* SPDX-License-Identifier: Apache-2.0
 *
 * iloractl_paper.c - iLoRA's published experiment in one command: SASRec, LoRA and iLoRA trained
 * offline on files, evaluated side by side. */
#include <string.h>

#include "ops/command.h"
#include "ops/paper/candidates.h"
#include "ops/paper/run.h"

#define SEQUENCE_ROWS_MIN (PROMPT_TOKENS_MAX + PAPER_CANDIDATES * TITLE_TOKENS_MAX)
#define OUT_DEFAULT       "paper"

static const char help[] =
    "usage: iloractl paper --data DIR [--base PATH] [--methods LIST] [options]\n"
    "\n"
    "The offline experiment of iLoRA (Kong et al. 2024) on files of sequences: trains SASRec,\n"
    "plain LoRA (one expert) and iLoRA for each seed, asks each for the next item among 20, and\n"
    "prints HR@1 and ValidRatio with 95 % intervals. The same command continues a run that was\n"
    "killed; more seeds and methods may be added to it.\n"
    "\n"
    "  --data DIR          items.tsv, train.tsv, valid.tsv, test.tsv (as LastFM), or RecBole's\n"
    "                      *.inter and *.item (as MovieLens 100K)\n"
    "  --base PATH         base model (default: [base_model] path)\n"
    "  --methods LIST      of base, sasrec, lora, ilora (default: all)\n"
    "  --experts K         of iLoRA (4)\n"
    "  --gate GATE         resnet: of the released code; linear: of the paper (resnet)\n"
    "  --seeds N           (1)\n"
    "  --epochs N          (5)\n"
    "  --limit N           training samples a seed, by draw (all)\n"
    "  --limit-test N      test samples, by hash, the same for all (all)\n"
    "  --batch N           samples of a step (128)\n"
    "  --rank R            over all experts (8)\n"
    "  --alpha A           (32)\n"
    "  --lr X              (8e-4 for RecBole's files, 7e-4 for the others)\n"
    "  --dropout P         on the LoRA input (0.1)\n"
    "  --device D          cpu, cuda or auto: a card where there is one (auto)\n"
    "  --precision P       of the base's products: f32, bf16 or auto: bf16 where the device\n"
    "                      has it (auto)\n"
    "  --tokens N          rows of one pass; memory grows with it (2048)\n"
    "  --threads N         (all cores)\n"
    "  --checkpoint N      steps from one to the next (default: one a minute)\n"
    "  --out DIR           results, answers, adapters, checkpoints (" OUT_DEFAULT ")\n"
    "\n"
    "HR@1 valid is the paper's: of the answers that name a candidate. HR@1 scored takes the most\n"
    "likely of the 20 titles. With --json the text of OUT/results.json is printed.\n"
    "\n"
    "example: iloractl paper --data lastfm --base SmolLM2-135M-Instruct.Q4_1.gguf --limit 1024\n";

static int run(const struct command_context *context, int argc, char **argv);
const struct command command_paper = {"paper", "iLoRA's published experiment on your machine", help,
                                      run};

/* One word of several; false: said on stderr. */
static bool choose(const char *option, const char *word, const char *const *words, int count,
                   int *ret_index) {
    for (int i = 0; i < count; i++) {
        if (strcmp(word, words[i]) == 0) {
            *ret_index = i;
            return true;
        }
    }
    (void)fprintf(stderr, "iloractl: %s %s: expected", option, word);
    for (int i = 0; i < count; i++) {
        (void)fprintf(stderr, "%s %s", i > 0 ? " or" : "", words[i]);
    }
    (void)fputc('\n', stderr);
    return false;
}

static bool read_methods(const char *list, struct paper_settings *settings) {
    const char *at = list;
    while (true) {
        size_t size = strcspn(at, ",");
        enum paper_method method;
        if (!paper_method_find(span_make(at, size), &method)) {
            (void)fprintf(
                stderr,
                "iloractl: --methods %s: expected base, sasrec, lora, ilora, separated by "
                "commas\n",
                list);
            return false;
        }
        settings->wanted[method] = true;
        if (at[size] == '\0') { return true; }
        at += size + 1;
    }
}

static bool read_options(struct options *options, struct paper_settings *settings) {
    static const char *const gates[] = {"linear", "resnet"};
    static const char *const precisions[] = {"f32", "bf16", "auto"};
    static const char *const devices[] = {"auto", "cpu", "cuda"};
    int gate = 0, precision = 0, device = 0;
    settings->data = options_text(options, "--data", NULL);
    settings->base = options_text(options, "--base", NULL);
    settings->out = options_text(options, "--out", OUT_DEFAULT);
    bool good =
        read_methods(options_text(options, "--methods", "base,sasrec,lora,ilora"), settings);
    good = choose("--gate", options_text(options, "--gate", "resnet"), gates, 2, &gate) && good;
    good = choose("--precision", options_text(options, "--precision", "auto"), precisions, 3,
                  &precision) &&
           good;
    good =
        choose("--device", options_text(options, "--device", "auto"), devices, 3, &device) && good;
    settings->gate = gate == 0 ? ILORA_GATE_LINEAR : ILORA_GATE_RESNET;
    settings->precision = precision == 0 ? PRECISION_F32 : PRECISION_BF16;
    settings->precision_auto = precision == 2;
    settings->device = device == 0   ? PAPER_DEVICE_AUTO
                       : device == 1 ? PAPER_DEVICE_CPU
                                     : PAPER_DEVICE_CUDA;
    settings->experts = (int)options_integer(options, "--experts", 4, 1, 16);
    settings->seeds = (int)options_integer(options, "--seeds", 1, 1, PAPER_SEEDS_MAX);
    settings->epochs = (int)options_integer(options, "--epochs", 5, 1, 1000);
    settings->limit = (int)options_integer(options, "--limit", 0, 1, INT32_MAX);
    settings->limit_test = (int)options_integer(options, "--limit-test", 0, 1, INT32_MAX);
    settings->batch = (int)options_integer(options, "--batch", 128, 1, 65536);
    settings->rank = (int)options_integer(options, "--rank", 8, 1, 1024);
    settings->alpha = options_real(options, "--alpha", 32.0, 1e-6, 1e6);
    settings->learning_rate = options_real(options, "--lr", 0.0, 1e-12, 10.0);
    settings->dropout = options_real(options, "--dropout", 0.1, 0.0, 0.99);
    settings->tokens =
        (int)options_integer(options, "--tokens", 2048, SEQUENCE_ROWS_MIN, 1024 * 1024);
    settings->threads = (int)options_integer(options, "--threads", 0, 1, 1024);
    settings->checkpoint_steps = (int)options_integer(options, "--checkpoint", 0, 1, 1000000);
    return good;
}

/* What no single option can be blamed for; false: said on stderr. */
static bool check_together(const struct paper_settings *settings) {
    if (settings->data == NULL) {
        (void)fputs("iloractl paper: --data DIR is missing; see iloractl paper --help\n", stderr);
        return false;
    }
    if (settings->rank % settings->experts != 0) {
        (void)fprintf(stderr, "iloractl: --rank %d: expected a multiple of --experts %d\n",
                      settings->rank, settings->experts);
        return false;
    }
    return true;
}

static int run(const struct command_context *context, int argc, char **argv) {
    struct options options = options_of(argc, argv);
    struct paper_settings settings = {.daemon = context->settings, .json = context->json};
    struct error err = {0};
    bool good = read_options(&options, &settings);
    good = options_end(&options, &command_paper, 0, 0) && good;
    if (!good || !check_together(&settings)) { return COMMAND_USAGE; }
    enum status status = paper_run(&settings, &err);
    return status == STATUS_OK ? COMMAND_DONE : command_failed(&command_paper, &err);
}
