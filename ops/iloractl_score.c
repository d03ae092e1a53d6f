/* SPDX-License-Identifier: Apache-2.0
 *
 * iloractl_score.c - how likely a model finds titles after a history, and how it would go on by
 * itself: for people who want to look at a base model, a prompt, a version or an adapter. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/json.h"
#include "base/memory.h"
#include "model/language_model_decode.h"
#include "ops/base_access.h"
#include "ops/command.h"
#include "ops/lines.h"

#define HISTORY_MAX_TITLES    50
#define CANDIDATES_MAX_LISTED 100
#define GENERATED_TOKENS_MAX  256
#define SEQUENCE_TOKENS_MAX   (PROMPT_TOKENS_MAX + TITLE_TOKENS_MAX)

static const char help[] =
    "usage: iloractl score [--base PATH] [--snapshot FOLDER [--gate W,W,...] | --adapter FOLDER]\n"
    "                      [--history TITLE]... [--tokens] [--generate N] [--threads N]\n"
    "                      [CANDIDATE...]\n"
    "\n"
    "The summed log-likelihood of each candidate's title after the prompt of the history\n"
    "(oldest first), by the base model alone or with an adapter. Without candidates, JSON lines\n"
    "of standard input: {\"history\": [titles], \"candidates\": [titles]}; --generate with a\n"
    "--history needs no candidates.\n"
    "\n"
    "  --snapshot FOLDER  a version of the daemon, of a text-only prompt template\n"
    "  --gate W,W,...     the mixture of its experts, of sum 1 (default: all the same, which is\n"
    "                     the adapter that PEFT loads from the folder)\n"
    "  --adapter FOLDER   any PEFT LoRA\n"
    "  --tokens           every token's log-probability too\n"
    "  --generate N       and the likeliest token N times over, at most to the end of a title\n"
    "  --threads N        default: all cores\n"
    "\n"
    "example: iloractl score --base builtin:tiny --history 'Toy Story' --history 'Babe' "
    "'Aladdin'\n";

static int run(const struct command_context *context, int argc, char **argv);
const struct command command_score = {"score", "log-likelihood of titles under a model", help, run};

struct scorer {
    const struct command_context *context;
    struct base_access access;
    struct base_adapter adapter; /* zeroed: the base alone */
    bool tokens;
    int generate;          /* tokens to write; 0 = none */
    float *gate_input;     /* owns: (E) zeros, an adapter of one expert does not look at it */
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

/* Placeholders of item tokens are left out: titles alone have no vectors for them. */
static void drop_placeholders(struct prompt *prompt) {
    int count = 0, placeholder = 0;
    for (int i = 0; i < prompt->count; i++) {
        if (placeholder < prompt->item_count && prompt->item_rows[placeholder] == i) {
            placeholder++;
            continue;
        }
        prompt->tokens[count++] = prompt->tokens[i];
    }
    prompt->count = count;
    prompt->item_count = 0;
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
    enum status status = prompt_build(template, items, pointers, question->history_count,
                                      PROMPT_TOKENS_MAX, scorer->prompt, err);
    if (status != STATUS_OK) { return status; }
    drop_placeholders(scorer->prompt);
    if (scorer->prompt->count > 0) { return STATUS_OK; }
    return error_set(err, STATUS_CONFIG, "the prompt has no tokens");
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
    status = language_model_logits(scorer->access.lm, scorer->access.params, scorer->gate_input,
                                   scorer->sequence, fed, scorer->logits, err);
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

static void write_continuation(const struct scorer *scorer, const struct lm_continuation *written,
                               struct span text, struct json_writer *w) {
    json_write_object(w, "continuation");
    json_write_string(w, "text", text);
    json_write_array(w, "ids");
    for (int i = 0; i < written->count; i++) {
        json_write_integer(w, NULL, written->ids[i]);
    }
    json_write_array_end(w);
    json_write_bool(w, "ended", written->stopped);
    json_write_object_end(w);
    if (!scorer->context->json) {
        (void)printf("%s '%.*s'\n", written->stopped ? "continuation" : "continuation, cut",
                     SPAN_ARG(text));
    }
}

/* Greedy, to the first token of what ends a title, or the base's end of text. */
static enum status generate(struct scorer *scorer, struct json_writer *w, struct error *err) {
    const struct title_tokens no_title = {0};
    struct title_tokens end;
    int32_t ids[GENERATED_TOKENS_MAX];
    struct lm_continuation written = {.ids = ids};
    struct lm_sample sample = {.prompt = scorer->prompt, .gate_input = scorer->gate_input};
    struct buffer text = {0};
    enum status status = prompt_candidate(scorer->access.template, &no_title, &end, err);
    if (status != STATUS_OK) { return status; }
    const int32_t stops[] = {end.ids[0], base_model_description(scorer->access.base)->eos};
    status = language_model_decode(scorer->access.lm, scorer->access.params, false, &sample, 1,
                                   scorer->generate, stops, stops[1] >= 0 ? 2 : 1, &written, err);
    if (status != STATUS_OK) { return status; }
    for (int i = 0; i < written.count && status == STATUS_OK; i++) {
        status = tokenizer_piece(scorer->access.tokenizer, ids[i], &text);
        if (status == STATUS_MALFORMED) { status = STATUS_OK; } /* a padded head: no text */
    }
    if (status == STATUS_OK) {
        write_continuation(scorer, &written, buffer_span(&text), w);
    } else {
        (void)error_set(err, status, "text of the continuation");
    }
    buffer_free(&text);
    return status;
}

static void write_mixture(const struct scorer *scorer, struct json_writer *w) {
    if (scorer->adapter.peft == NULL) { return; }
    json_write_array(w, "mixture");
    for (int k = 0; k < scorer->adapter.experts; k++) {
        json_write_real(w, NULL, (double)scorer->adapter.mixture[k]);
    }
    json_write_array_end(w);
}

static enum status score(struct scorer *scorer, const struct question *question,
                         struct error *err) {
    struct buffer out = {0};
    struct json_writer w;
    enum status status = build_prompt(scorer, question, err);
    if (status != STATUS_OK) { return status; }
    int prompt_count = scorer->prompt->count;
    memcpy(scorer->sequence, scorer->prompt->tokens,
           (size_t)prompt_count * sizeof scorer->sequence[0]);
    json_write_begin(&w, &out);
    json_write_object(&w, NULL);
    json_write_integer(&w, "prompt_tokens", prompt_count);
    write_mixture(scorer, &w);
    json_write_array(&w, "candidates");
    for (int i = 0; i < question->candidate_count && status == STATUS_OK; i++) {
        status = score_candidate(scorer, question->candidates[i], prompt_count, &w, err);
    }
    json_write_array_end(&w);
    if (scorer->generate > 0 && status == STATUS_OK) { status = generate(scorer, &w, err); }
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

/* ---- the command ----------------------------------------------------------------------------- */

/* What the command line names. */
struct wishes {
    const char *base, *snapshot, *adapter, *gate; /* NULL: not given */
    int threads;
};

static enum status open_model(struct scorer *scorer, const struct wishes *wishes,
                              struct error *err) {
    const struct settings *settings = scorer->context->settings;
    struct base_access *access = &scorer->access;
    struct base_adapter *adapter = &scorer->adapter;
    enum status status = base_access_open(settings, wishes->base, access, err);
    if (status == STATUS_OK && wishes->snapshot != NULL) {
        status = base_adapter_open_version(wishes->snapshot, access->checkpoint, adapter, err);
    }
    if (status == STATUS_OK && wishes->adapter != NULL) {
        status = base_adapter_open_peft(wishes->adapter, adapter, err);
    }
    if (status == STATUS_OK && wishes->gate != NULL) {
        status = base_adapter_mix(adapter, wishes->gate, err);
    }
    if (status != STATUS_OK) { return status; }
    status = base_access_load(access, settings, adapter->peft != NULL ? adapter : NULL,
                              wishes->threads, SEQUENCE_TOKENS_MAX, err);
    if (status != STATUS_OK) { return status; }

    size_t V = (size_t)base_model_description(access->base)->V;
    scorer->logits = memory_take(SEQUENCE_TOKENS_MAX * V * sizeof *scorer->logits);
    scorer->prompt = memory_take_zeroed(1, sizeof *scorer->prompt);
    scorer->gate_input = MEMORY_TAKE_ARRAY(float, (size_t)settings->sasrec_width);
    if (scorer->logits == NULL || scorer->prompt == NULL || scorer->gate_input == NULL) {
        return error_set(err, STATUS_NO_MEMORY, "logits");
    }
    return STATUS_OK;
}

static void take_histories(struct options *options, struct question *question) {
    for (const char *title = options_text(options, "--history", NULL);
         title != NULL && question->history_count < HISTORY_MAX_TITLES;
         title = options_text(options, "--history", NULL)) {
        question->history[question->history_count++] = span_of(title);
    }
}

static int run(const struct command_context *context, int argc, char **argv) {
    struct options options = options_of(argc, argv);
    struct question question = {0};
    struct scorer scorer = {.context = context};
    struct wishes wishes = {.base = options_text(&options, "--base", NULL),
                            .snapshot = options_text(&options, "--snapshot", NULL),
                            .adapter = options_text(&options, "--adapter", NULL),
                            .gate = options_text(&options, "--gate", NULL),
                            .threads = (int)options_integer(&options, "--threads", 0, 1, 1024)};
    scorer.tokens = options_flag(&options, "--tokens");
    scorer.generate = (int)options_integer(&options, "--generate", 0, 1, GENERATED_TOKENS_MAX);
    take_histories(&options, &question);
    if (!options_end(&options, &command_score, 0, CANDIDATES_MAX_LISTED)) { return COMMAND_USAGE; }
    if ((wishes.snapshot != NULL && wishes.adapter != NULL) ||
        (wishes.gate != NULL && wishes.snapshot == NULL)) {
        (void)fprintf(stderr,
                      "iloractl score: expected one of --snapshot and --adapter, and --gate "
                      "with --snapshot alone\n");
        return COMMAND_USAGE;
    }
    for (int i = 0; i < options.count; i++) {
        question.candidates[i] = span_of(options.words[i]);
    }
    question.candidate_count = options.count;

    struct error err = {0};
    bool asked = options.count > 0 || (scorer.generate > 0 && question.history_count > 0);
    enum status status = open_model(&scorer, &wishes, &err);
    if (status == STATUS_OK) {
        status = asked ? score(&scorer, &question, &err) : score_lines(&scorer, &err);
    }
    memory_free(scorer.logits);
    memory_free(scorer.prompt);
    memory_free(scorer.gate_input);
    base_access_close(&scorer.access);
    base_adapter_close(&scorer.adapter);
    return status == STATUS_OK ? COMMAND_DONE : command_failed(&command_score, &err);
}
