/* SPDX-License-Identifier: Apache-2.0
 *
 * iloractl_score.c - how likely the frozen base finds titles after a history: what the title head
 * starts from, for people who want to look at a base model or a prompt. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/json.h"
#include "base/memory.h"
#include "ops/base_access.h"
#include "ops/command.h"
#include "ops/lines.h"

#define HISTORY_MAX_TITLES    50
#define CANDIDATES_MAX_LISTED 100
#define SEQUENCE_TOKENS_MAX   (PROMPT_TOKENS_MAX + TITLE_TOKENS_MAX)

static const char help[] =
    "usage: iloractl score [--base PATH] [--history TITLE]... [--tokens] [--threads N] "
    "CANDIDATE...\n"
    "\n"
    "The summed log-likelihood of each candidate's title after the prompt of the history\n"
    "(oldest first), by the base model alone. Without candidates, JSON lines of standard\n"
    "input: {\"history\": [titles], \"candidates\": [titles]}.\n"
    "\n"
    "  --tokens      every token's log-probability too\n"
    "  --threads N   default: all cores\n"
    "\n"
    "example: iloractl score --base builtin:tiny --history 'Toy Story' --history 'Babe' "
    "'Aladdin'\n";

static int run(const struct command_context *context, int argc, char **argv);
const struct command command_score = {"score", "log-likelihood of titles under the base model",
                                      help, run};

struct scorer {
    const struct command_context *context;
    struct base_access access;
    bool tokens;
    float *logits;         /* owns: (SEQUENCE_TOKENS_MAX, V) */
    struct prompt *prompt; /* owns */
    int32_t sequence[SEQUENCE_TOKENS_MAX];
};

struct question {
    struct span history[HISTORY_MAX_TITLES];
    int history_count;
    struct span candidates[CANDIDATES_MAX_LISTED];
    int candidate_count;
};

/* log softmax(logits)[target] in double: one row, so exactness is free. */
static double log_probability(const float *logits, int V, int32_t target) {
    double largest = -(double)INFINITY, sum = 0.0;
    for (int v = 0; v < V; v++) {
        largest = fmax(largest, (double)logits[v]);
    }
    for (int v = 0; v < V; v++) {
        sum += exp((double)logits[v] - largest);
    }
    return (double)logits[target] - largest - log(sum);
}

/* The prompt's tokens without placeholders of item tokens: the base alone has no vectors for
 * them. */
static int prompt_tokens(const struct prompt *prompt, int32_t *tokens) {
    int count = 0, placeholder = 0;
    for (int i = 0; i < prompt->count; i++) {
        if (placeholder < prompt->item_count && prompt->item_rows[placeholder] == i) {
            placeholder++;
            continue;
        }
        tokens[count++] = prompt->tokens[i];
    }
    return count;
}

static enum status build_prompt(struct scorer *scorer, const struct question *question,
                                struct error *err) {
    struct prompt_template *template = scorer->access.template;
    struct title_tokens titles[HISTORY_MAX_TITLES];
    const struct title_tokens *pointers[HISTORY_MAX_TITLES];
    uint32_t items[HISTORY_MAX_TITLES];
    for (int i = 0; i < question->history_count; i++) {
        enum status status = prompt_title_tokens(template, question->history[i], &titles[i], err);
        if (status != STATUS_OK) { return status; }
        pointers[i] = &titles[i];
        items[i] = (uint32_t)i;
    }
    return prompt_build(template, items, pointers, question->history_count, PROMPT_TOKENS_MAX,
                        scorer->prompt, err);
}

static enum status score_candidate(struct scorer *scorer, struct span title, int prompt_count,
                                   struct json_writer *w, struct error *err) {
    struct title_tokens plain, candidate;
    int V = base_model_description(scorer->access.base)->V;
    enum status status = prompt_title_tokens(scorer->access.template, title, &plain, err);
    if (status != STATUS_OK) { return status; }
    status = prompt_candidate(scorer->access.template, &plain, &candidate, err);
    if (status != STATUS_OK) { return status; }
    memcpy(scorer->sequence + prompt_count, candidate.ids,
           (size_t)candidate.count * sizeof *candidate.ids);
    int fed = prompt_count + candidate.count - 1; /* the last token predicts nothing we need */
    status = language_model_logits(scorer->access.lm, NULL, NULL, scorer->sequence, fed,
                                   scorer->logits, err);
    if (status != STATUS_OK) { return status; }
    double sum = 0.0, each[TITLE_TOKENS_MAX];
    for (int i = 0; i < candidate.count; i++) {
        const float *row = scorer->logits + (size_t)(prompt_count - 1 + i) * (size_t)V;
        each[i] = log_probability(row, V, candidate.ids[i]);
        sum += each[i];
    }
    json_write_object(w, NULL);
    json_write_string(w, "title", title);
    json_write_real(w, "log_likelihood", sum);
    json_write_integer(w, "tokens", candidate.count);
    if (scorer->tokens) {
        json_write_array(w, "token_log_probabilities");
        for (int i = 0; i < candidate.count; i++) {
            json_write_real(w, NULL, each[i]);
        }
        json_write_array_end(w);
    }
    json_write_object_end(w);
    if (!scorer->context->json) {
        (void)printf("%12.4f  %.*s\n", sum, SPAN_ARG(title));
        struct buffer piece = {0};
        for (int i = 0; scorer->tokens && i < candidate.count; i++) {
            buffer_reset(&piece);
            status = tokenizer_piece(scorer->access.tokenizer, candidate.ids[i], &piece);
            if (status != STATUS_OK) { break; }
            bool newline = piece.size == 1 && piece.data[0] == '\n';
            (void)printf("  %10.4f  '%.*s'\n", each[i], newline ? 2 : (int)piece.size,
                         newline ? "\\n" : (const char *)piece.data);
        }
        buffer_free(&piece);
    }
    return status;
}

static enum status score(struct scorer *scorer, const struct question *question,
                         struct error *err) {
    struct buffer out = {0};
    struct json_writer w;
    enum status status = build_prompt(scorer, question, err);
    if (status != STATUS_OK) { return status; }
    int prompt_count = prompt_tokens(scorer->prompt, scorer->sequence);
    if (prompt_count == 0) { return error_set(err, STATUS_CONFIG, "the prompt has no tokens"); }
    json_write_begin(&w, &out);
    json_write_object(&w, NULL);
    json_write_integer(&w, "prompt_tokens", prompt_count);
    json_write_array(&w, "candidates");
    for (int i = 0; i < question->candidate_count && status == STATUS_OK; i++) {
        status = score_candidate(scorer, question->candidates[i], prompt_count, &w, err);
    }
    json_write_array_end(&w);
    json_write_object_end(&w);
    if (status == STATUS_OK) {
        status = json_write_end(&w);
        if (status != STATUS_OK) { (void)error_set(err, status, "the result"); }
    }
    if (status == STATUS_OK && scorer->context->json) { print_bytes(buffer_span(&out)); }
    buffer_free(&out);
    return status;
}

static enum status titles_of(const struct json_value *array, const char *name, struct span *titles,
                             int max, int *ret_count, struct error *err) {
    size_t count = json_size(array);
    if (count > (size_t)max) {
        return error_set(err, STATUS_LIMIT, "'%s': at most %d titles", name, max);
    }
    for (size_t i = 0; i < count; i++) {
        if (!json_string(json_element(array, i), &titles[i])) {
            return error_set(err, STATUS_MALFORMED, "'%s': expected strings", name);
        }
    }
    *ret_count = (int)count;
    return STATUS_OK;
}

static enum status score_line(struct scorer *scorer, struct span line, struct error *err) {
    struct json_value *value = NULL;
    struct question question = {0};
    enum status status = json_parse(line, &value, err);
    if (status != STATUS_OK) { return status; }
    status = titles_of(json_member(value, "history"), "history", question.history,
                       HISTORY_MAX_TITLES, &question.history_count, err);
    if (status == STATUS_OK) {
        status = titles_of(json_member(value, "candidates"), "candidates", question.candidates,
                           CANDIDATES_MAX_LISTED, &question.candidate_count, err);
    }
    if (status == STATUS_OK) { status = score(scorer, &question, err); }
    json_free(value);
    return status;
}

static enum status score_lines(struct scorer *scorer, struct error *err) {
    struct lines lines;
    enum status status = STATUS_OK;
    lines_init(&lines, STDIN_FILENO);
    while (status == STATUS_OK) {
        struct span line;
        status = lines_next(&lines, -1, &line, err);
        if (status == STATUS_OK && line.size > 0) {
            status = score_line(scorer, line, err);
            if (status != STATUS_OK) {
                (void)error_wrap(err, "line %" PRIu64, lines.number); /* returns its code */
            }
        }
    }
    lines_free(&lines);
    return status == STATUS_NOT_FOUND && err->code == STATUS_OK ? STATUS_OK : status;
}

static int run(const struct command_context *context, int argc, char **argv) {
    struct options options = options_of(argc, argv);
    struct question question = {0};
    struct scorer scorer = {.context = context};
    const char *base = options_text(&options, "--base", NULL);
    int threads = (int)options_integer(&options, "--threads", 0, 1, 1024);
    scorer.tokens = options_flag(&options, "--tokens");
    for (const char *title = options_text(&options, "--history", NULL);
         title != NULL && question.history_count < HISTORY_MAX_TITLES;
         title = options_text(&options, "--history", NULL)) {
        question.history[question.history_count++] = span_of(title);
    }
    if (!options_end(&options, &command_score, 0, CANDIDATES_MAX_LISTED)) { return COMMAND_USAGE; }
    for (int i = 0; i < options.count; i++) {
        question.candidates[i] = span_of(options.words[i]);
    }
    question.candidate_count = options.count;

    struct error err = {0};
    enum status status = base_access_open(context->settings, base, &scorer.access, &err);
    if (status == STATUS_OK) {
        status =
            base_access_load(&scorer.access, context->settings, threads, SEQUENCE_TOKENS_MAX, &err);
    }
    if (status == STATUS_OK) {
        size_t V = (size_t)base_model_description(scorer.access.base)->V;
        scorer.logits = memory_take(SEQUENCE_TOKENS_MAX * V * sizeof *scorer.logits);
        scorer.prompt = memory_take_zeroed(1, sizeof *scorer.prompt);
        if (scorer.logits == NULL || scorer.prompt == NULL) {
            status = error_set(&err, STATUS_NO_MEMORY, "logits");
        }
    }
    if (status == STATUS_OK) {
        status = options.count > 0 ? score(&scorer, &question, &err) : score_lines(&scorer, &err);
    }
    memory_free(scorer.logits);
    memory_free(scorer.prompt);
    base_access_close(&scorer.access);
    return status == STATUS_OK ? COMMAND_DONE : command_failed(&command_score, &err);
}
