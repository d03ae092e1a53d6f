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
#include "ops/base_access.h"
#include "ops/command.h"
#include "ops/lines.h"

#define TOKENS_MAX 65536

static const char base_help[] =
    "usage: iloractl base info [PATH]\n"
    "       iloractl base add PATH\n"
    "\n"
    "info opens a base model (a Hugging Face directory, a .gguf file, builtin:tiny or\n"
    "builtin:small; default: that of the settings), checks its files and prints what it is.\n"
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

static void print_description(const struct command_context *context, struct base_access *access,
                              const char *path, const char *digest) {
    const struct model_description *d = checkpoint_description(access->checkpoint);
    double embedding = (double)d->V * d->C;
    double layer = (double)d->C * (d->H + 2 * d->G) * d->D + (double)d->H * d->D * d->C +
                   3.0 * (double)d->C * d->F;
    double parameters = embedding * (d->tied_head ? 1 : 2) + d->L * layer;
    if (context->json) {
        (void)printf("{\"path\":\"%s\",\"kind\":\"%s\",\"architecture\":\"%s\",\"layers\":%d,"
                     "\"width\":%d,\"heads\":%d,\"kv_heads\":%d,\"feed_forward\":%d,"
                     "\"vocabulary\":%d,\"context\":%d,\"parameters\":%.0f,\"tokenizer\":\"%s\","
                     "\"tokens\":%d,\"sha256\":\"%s\"}\n",
                     path, checkpoint_kind(access->checkpoint), d->architecture, d->L, d->C, d->H,
                     d->G, d->F, d->V, d->context, parameters, tokenizer_kind(access->tokenizer),
                     tokenizer_size(access->tokenizer), digest);
        return;
    }
    (void)printf("%s: %s, architecture %s\n", path, checkpoint_kind(access->checkpoint),
                 d->architecture);
    (void)printf("  %.1f M parameters: %d layers, width %d, %d heads (%d key/value) of %d, "
                 "feed-forward %d\n",
                 parameters / 1e6, d->L, d->C, d->H, d->G, d->D, d->F);
    (void)printf("  vocabulary %d, context %d, %s head, rope theta %g\n", d->V, d->context,
                 d->tied_head ? "tied" : "own", (double)d->rope_theta);
    (void)printf("  tokenizer: %s, %d tokens\n", tokenizer_kind(access->tokenizer),
                 tokenizer_size(access->tokenizer));
    (void)printf("  SHA-256 %s\n", digest);
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
    char text[SHA256_BYTES * 2 + 1];
    enum status status = base_access_open(context->settings, path, &access, &err);
    if (status == STATUS_OK) { status = checkpoint_sha256(access.checkpoint, digest, &err); }
    if (status == STATUS_OK && add) {
        status = base_access_load(&access, context->settings, 0, 64, &err);
    }
    if (status == STATUS_OK) {
        hex_encode(digest, sizeof digest, text);
        print_description(context, &access, path, text);
        if (add && !context->json) {
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
