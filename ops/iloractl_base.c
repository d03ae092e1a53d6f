/* SPDX-License-Identifier: Apache-2.0
 *
 * iloractl_base.c - base models: checked and described; and texts as their tokenizer sees them. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/memory.h"
#include "daemon/model_settings.h"
#include "model/base_model.h"
#include "ops/base_access.h"
#include "ops/base_memory.h"
#include "ops/command.h"
#include "ops/lines.h"

#define TOKENS_MAX 65536

static const char base_help[] =
    "usage: iloractl base info [PATH]\n"
    "       iloractl base add PATH\n"
    "\n"
    "info opens a base model (a Hugging Face directory, a .gguf file, builtin:tiny or\n"
    "builtin:small; default: that of the settings), checks its files and prints what it is:\n"
    "architecture, parameters, memory for scoring and training in f32 and bf16 (with [ilora] and\n"
    "[train] of the settings), tokenizer and SHA-256; with --json for programs.\n"
    "add does the same, also reads every weight, and prints the line for ilorad.conf.\n"
    "\n"
    "example: iloractl base add /srv/models/SmolLM2-135M-Instruct.Q4_1.gguf\n";
static const char tokenize_help[] =
    "usage: iloractl tokenize [--base PATH] [TEXT...]\n"
    "\n"
    "Token ids and pieces of each text (or of each line of standard input), without special\n"
    "tokens added.\n"
    "\n"
    "example: iloractl tokenize --base builtin:tiny 'Toy Story (1995)'\n";

static int run_base(const struct command_context *context, int argc, char **argv);
static int run_tokenize(const struct command_context *context, int argc, char **argv);
const struct command command_base = {"base", "check and describe a base model", base_help,
                                     run_base};
const struct command command_tokenize = {"tokenize", "texts as token ids", tokenize_help,
                                         run_tokenize};

/* ---- base ---- */

/* The ways a base model is held: name, precision, with what training keeps. */
struct memory_mode {
    const char *name;
    enum precision precision;
    bool training;
};
static const struct memory_mode memory_modes[] = {
    {"scoring_f32", PRECISION_F32, false},
    {"scoring_bf16", PRECISION_BF16, false},
    {"training_f32", PRECISION_F32, true},
    {"training_bf16", PRECISION_BF16, true},
};
#define MEMORY_MODES (sizeof memory_modes / sizeof memory_modes[0])

/* What one base model is, for both ways of printing. */
struct base_facts {
    const char *path;
    char sha256[SHA256_BYTES * 2 + 1];
    struct learner_settings learner; /* rank, experts, heads and micro batch in the settings */
    struct base_memory memory[MEMORY_MODES];
};

static enum status collect_memory(const struct command_context *context,
                                  const struct model_description *d, struct base_facts *facts,
                                  struct error *err) {
    facts->learner = model_settings_learner(context->settings, 2 * d->C, false);
    for (size_t i = 0; i < MEMORY_MODES; i++) {
        enum status status = base_memory_of(
            d, &facts->learner.ilora, facts->learner.micro_batch_tokens, memory_modes[i].precision,
            memory_modes[i].training, &facts->memory[i], err);
        if (status != STATUS_OK) { return status; }
    }
    return STATUS_OK;
}

static enum status print_json(const struct base_access *access, const struct base_facts *facts,
                              struct error *err) {
    const struct model_description *d = checkpoint_description(access->checkpoint);
    const struct {
        const char *name;
        int64_t value;
    } numbers[] = {
        {"layers", d->L},
        {"width", d->C},
        {"heads", d->H},
        {"kv_heads", d->G},
        {"head_size", d->D},
        {"feed_forward", d->F},
        {"vocabulary", d->V},
        {"context", d->context},
        {"tokens", tokenizer_size(access->tokenizer)},
        {"parameters", (int64_t)base_model_parameters(d)},
    };
    struct buffer out = {0};
    struct json_writer w;
    json_write_begin(&w, &out);
    json_write_object(&w, NULL);
    json_write_string(&w, "path", span_of(facts->path));
    json_write_string(&w, "kind", span_of(checkpoint_kind(access->checkpoint)));
    json_write_string(&w, "architecture", span_of(d->architecture));
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        json_write_integer(&w, numbers[i].name, numbers[i].value);
    }
    json_write_bool(&w, "tied_head", d->tied_head);
    json_write_string(&w, "tokenizer", span_of(tokenizer_kind(access->tokenizer)));
    json_write_string(&w, "sha256", span_of(facts->sha256));
    json_write_object(&w, "memory");
    for (size_t i = 0; i < MEMORY_MODES; i++) {
        const struct base_memory *m = &facts->memory[i];
        json_write_object(&w, memory_modes[i].name);
        json_write_integer(&w, "weights", (int64_t)m->weights);
        json_write_integer(&w, "parameters", (int64_t)m->parameters);
        json_write_integer(&w, "work", (int64_t)m->work);
        json_write_object_end(&w);
    }
    json_write_object_end(&w);
    json_write_object_end(&w);
    enum status status = json_write_end(&w);
    if (status == STATUS_OK) {
        print_bytes(buffer_span(&out));
    } else {
        status = error_set(err, status, "describing '%s'", facts->path);
    }
    buffer_free(&out);
    return status;
}

static void print_lines(const struct base_access *access, const struct base_facts *facts) {
    const struct model_description *d = checkpoint_description(access->checkpoint);
    const double mib = 1024.0 * 1024.0;
    (void)printf("%s: %s, architecture %s\n", facts->path, checkpoint_kind(access->checkpoint),
                 d->architecture);
    (void)printf("  %.1f M parameters: %d layers, width %d, %d heads (%d key/value) of %d, "
                 "feed-forward %d\n",
                 (double)base_model_parameters(d) / 1e6, d->L, d->C, d->H, d->G, d->D, d->F);
    (void)printf("  vocabulary %d, context %d, %s head, rope theta %g\n", d->V, d->context,
                 d->tied_head ? "tied" : "own", (double)d->rope_theta);
    (void)printf("  tokenizer: %s, %d tokens\n", tokenizer_kind(access->tokenizer),
                 tokenizer_size(access->tokenizer));
    (void)printf("  memory in MiB, rank %d, %d experts, micro batch of %d tokens:\n",
                 facts->learner.ilora.R, facts->learner.ilora.K, facts->learner.micro_batch_tokens);
    for (size_t i = 0; i < MEMORY_MODES; i++) {
        const struct base_memory *m = &facts->memory[i];
        (void)printf("    %-8s %-4s %9.1f = weights %.1f + trained %.1f + work %.1f\n",
                     memory_modes[i].training ? "training" : "scoring",
                     memory_modes[i].precision == PRECISION_F32 ? "f32" : "bf16",
                     (double)(m->weights + m->parameters + m->work) / mib, (double)m->weights / mib,
                     (double)m->parameters / mib, (double)m->work / mib);
    }
    (void)printf("  SHA-256 %s\n", facts->sha256);
}

static int run_base(const struct command_context *context, int argc, char **argv) {
    struct options options = options_of(argc, argv);
    if (!options_end(&options, &command_base, 1, 2)) { return COMMAND_USAGE; }
    bool add = strcmp(options.words[0], "add") == 0;
    if ((!add && strcmp(options.words[0], "info") != 0) || (add && options.count < 2)) {
        (void)fputs(base_help, stderr);
        return COMMAND_USAGE;
    }
    const char *path = options.count == 2 ? options.words[1] : context->settings->base_model_path;
    char whole[FILE_PATH_BYTES_MAX];
    if (strncmp(path, "builtin:", 8) != 0 && path[0] != '\0' && path[0] != '/') {
        char *absolute = realpath(path, NULL);
        if (absolute != NULL && strlen(absolute) < sizeof whole) {
            memcpy(whole, absolute, strlen(absolute) + 1);
            path = whole;
        }
        free(absolute); /* style: allow free: realpath took it */
    }
    struct error err = {0};
    struct base_access access = {0};
    uint8_t digest[SHA256_BYTES];
    struct base_facts facts = {.path = path};
    enum status status = base_access_open(context->settings, path, &access, &err);
    if (status == STATUS_OK) { status = checkpoint_sha256(access.checkpoint, digest, &err); }
    if (status == STATUS_OK && add) {
        status = base_access_load(&access, context->settings, NULL, 0, 64, &err);
    }
    if (status == STATUS_OK) {
        hex_encode(digest, sizeof digest, facts.sha256);
        status = collect_memory(context, checkpoint_description(access.checkpoint), &facts, &err);
    }
    if (status == STATUS_OK && context->json) { status = print_json(&access, &facts, &err); }
    if (status == STATUS_OK && !context->json) {
        print_lines(&access, &facts);
        if (add) {
            (void)printf("all weights were read. In ilorad.conf:\n\n[base_model]\npath = %s\n",
                         path);
        }
    }
    base_access_close(&access);
    return status == STATUS_OK ? COMMAND_DONE : command_failed(&command_base, &err);
}

/* ---- tokenize ---- */

static enum status print_tokens(const struct command_context *context,
                                const struct tokenizer *tokenizer, struct span text,
                                struct error *err) {
    struct buffer out = {0}, piece = {0};
    struct json_writer w;
    int count = 0;
    int32_t *ids = MEMORY_TAKE_ARRAY(int32_t, TOKENS_MAX);
    if (ids == NULL) { return error_set(err, STATUS_NO_MEMORY, "token ids"); }
    enum status status = tokenizer_encode(tokenizer, text, ids, TOKENS_MAX, &count, err);
    json_write_begin(&w, &out);
    json_write_object(&w, NULL);
    json_write_array(&w, "ids");
    for (int i = 0; i < count; i++) {
        json_write_integer(&w, NULL, ids[i]);
    }
    json_write_array_end(&w);
    json_write_array(&w, "pieces");
    for (int i = 0; i < count && status == STATUS_OK; i++) {
        buffer_reset(&piece);
        status = tokenizer_piece(tokenizer, ids[i], &piece);
        if (!context->json) {
            (void)printf("%8d  '%.*s'\n", ids[i], (int)piece.size, (const char *)piece.data);
        }
        struct span shown = buffer_span(&piece);
        json_write_string(&w, NULL, span_is_utf8(shown) ? shown : span_of("\xEF\xBF\xBD"));
    }
    json_write_array_end(&w);
    json_write_object_end(&w);
    if (status == STATUS_OK) { status = json_write_end(&w); }
    if (status == STATUS_OK && context->json) { print_bytes(buffer_span(&out)); }
    buffer_free(&out);
    buffer_free(&piece);
    memory_free(ids);
    return status;
}

static int run_tokenize(const struct command_context *context, int argc, char **argv) {
    struct options options = options_of(argc, argv);
    const char *base = options_text(&options, "--base", NULL);
    if (!options_end(&options, &command_tokenize, 0, 10000)) { return COMMAND_USAGE; }
    struct error err = {0};
    struct base_access access = {0};
    enum status status = base_access_open(context->settings, base, &access, &err);
    for (int i = 0; i < options.count && status == STATUS_OK; i++) {
        status = print_tokens(context, access.tokenizer, span_of(options.words[i]), &err);
    }
    if (options.count == 0 && status == STATUS_OK) {
        struct lines lines;
        lines_init(&lines, STDIN_FILENO);
        while (status == STATUS_OK) {
            struct span line;
            status = lines_next(&lines, -1, &line, &err);
            if (status == STATUS_OK) {
                status = print_tokens(context, access.tokenizer, line, &err);
            }
        }
        if (status == STATUS_NOT_FOUND) { status = STATUS_OK; }
        lines_free(&lines);
    }
    base_access_close(&access);
    return status == STATUS_OK ? COMMAND_DONE : command_failed(&command_tokenize, &err);
}
