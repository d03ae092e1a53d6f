/* SPDX-License-Identifier: Apache-2.0
 *
 * evaluate.c - decodes, matches, scores, a piece of the test part at a time. */
#include "ops/paper/evaluate.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/memory.h"
#include "model/language_model_decode.h"

#define PIECE_SAMPLES 16
#define SALT_TEST     0x74657374u
#define UNKNOWN       "\xef\xbf\xbd" /* U+FFFD */
#define SALT_TEMPLATE 0x74656d70u

/* ---- test samples ---------------------------------------------------------------------------- */

struct ranked {
    uint64_t hash;
    int index;
};

static int compare_hashes(const void *a, const void *b) {
    const struct ranked *left = a, *right = b;
    if (left->hash != right->hash) { return left->hash < right->hash ? -1 : 1; }
    return left->index - right->index;
}

static int compare_indices(const void *a, const void *b) {
    return ((const struct ranked *)a)->index - ((const struct ranked *)b)->index;
}

enum status paper_test_choose(const struct paper_split *split, int limit,
                              const struct paper_sample **ret_samples, int *ret_count,
                              struct error *err) {
    int count = split->test.count;
    struct ranked *ranked = MEMORY_TAKE_ARRAY(struct ranked, count);
    if (ranked == NULL) { return error_set(err, STATUS_NO_MEMORY, "%d test samples", count); }
    for (int i = 0; i < count; i++) {
        uint64_t hash = hash64_pair(split->test.samples[i].id, SALT_TEST, PAPER_LISTS_SEED);
        ranked[i] = (struct ranked){hash, i};
    }
    int chosen = limit > 0 && limit < count ? limit : count;
    qsort(ranked, (size_t)count, sizeof *ranked, compare_hashes);
    qsort(ranked, (size_t)chosen, sizeof *ranked, compare_indices);
    for (int i = 0; i < chosen; i++) {
        ret_samples[i] = &split->test.samples[ranked[i].index];
    }
    *ret_count = chosen;
    memory_free(ranked);
    return STATUS_OK;
}

/* ---- answers --------------------------------------------------------------------------------- */

static void write_title(struct json_writer *w, const char *name, const struct paper_split *split,
                        const struct paper_candidates *list, int place) {
    if (place < 0) { return; }
    json_write_string(w, name, split->items[list->items[place]].title);
}

/* One line: what was asked, what was said, what it means. */
static enum status answer_line(const struct paper_split *split, const struct paper_sample *sample,
                               const struct paper_candidates *list, const struct span *text,
                               const struct paper_result *result, int at, struct buffer *answers,
                               struct error *err) {
    char id[17];
    struct json_writer w;
    (void)snprintf(id, sizeof id, "%016" PRIx64, sample->id);
    json_write_begin(&w, answers);
    json_write_object(&w, NULL);
    json_write_string(&w, "sample", span_of(id));
    json_write_array(&w, "history");
    for (int i = 0; i < sample->count; i++) {
        json_write_string(&w, NULL, split->items[sample->history[i]].title);
    }
    json_write_array_end(&w);
    json_write_array(&w, "candidates");
    for (int c = 0; c < PAPER_CANDIDATES; c++) {
        json_write_integer(&w, NULL, (int64_t)list->items[c]);
    }
    json_write_array_end(&w);
    write_title(&w, "target", split, list, list->target_at);
    if (text != NULL) { json_write_string(&w, "text", *text); }
    write_title(&w, "answered", split, list, result->answered[at]);
    write_title(&w, "scored", split, list, result->scored[at]);
    json_write_bool(&w, "hit", result->answered[at] == list->target_at);
    json_write_object_end(&w);
    enum status status = json_write_end(&w);
    if (status == STATUS_OK) { status = buffer_append(answers, "\n", 1); }
    return status == STATUS_OK ? status : error_set(err, status, "answers");
}

struct evaluation {
    const struct paper_model *model;
    struct paper_batch batch;                         /* owns */
    int32_t ids[PIECE_SAMPLES * PAPER_ANSWER_TOKENS]; /* of continuations */
    struct lm_continuation continuations[PIECE_SAMPLES];
    float likelihoods[PIECE_SAMPLES * PAPER_CANDIDATES];
    struct buffer bytes, text; /* owns: of one answer */
};

/* A continuation as text. Bytes that are not UTF-8, and an id that the tokenizer has no piece for
 * (padding of the output layer), become U+FFFD, which no title holds. */
static enum status answer_text(struct evaluation *evaluation, int at, struct error *err) {
    const struct lm_continuation *continuation = &evaluation->continuations[at];
    const struct tokenizer *tokenizer = evaluation->model->texts->tokenizer;
    struct buffer *bytes = &evaluation->bytes, *text = &evaluation->text;
    enum status status = STATUS_OK;
    buffer_reset(bytes);
    buffer_reset(text);
    for (int i = 0; i < continuation->count && status == STATUS_OK; i++) {
        status = tokenizer_piece(tokenizer, continuation->ids[i], bytes);
        if (status == STATUS_MALFORMED) { status = buffer_append(bytes, UNKNOWN, 3); }
    }
    for (size_t at_byte = 0; at_byte < bytes->size && status == STATUS_OK;) {
        struct span rest = span_make(bytes->data + at_byte, bytes->size - at_byte);
        size_t size = span_utf8_sequence(rest);
        status = size > 0 ? buffer_append(text, rest.data, size) : buffer_append(text, UNKNOWN, 3);
        at_byte += size > 0 ? size : 1;
    }
    return status == STATUS_OK ? status : error_set(err, status, "text of an answer");
}

static int most_likely(const float *likelihoods) {
    int best = 0;
    for (int c = 1; c < PAPER_CANDIDATES; c++) {
        if (likelihoods[c] > likelihoods[best]) { best = c; }
    }
    return best;
}

/* Decodes and scores the samples of the batch: result places [first, first+batch.count). */
static enum status answer_batch(struct evaluation *evaluation, int first,
                                struct paper_result *result, struct buffer *answers,
                                struct error *err) {
    const struct paper_model *model = evaluation->model;
    struct paper_batch *batch = &evaluation->batch;
    enum status status = language_model_decode(
        model->lm, model->params, false, batch->samples, batch->count, PAPER_ANSWER_TOKENS,
        model->texts->stop_ids, model->texts->stop_count, evaluation->continuations, err);
    if (status != STATUS_OK) { return error_wrap(err, "writing answers"); }
    status = language_model_score_titles(model->lm, model->params, false, batch->samples,
                                         batch->count, evaluation->likelihoods, err);
    if (status != STATUS_OK) { return error_wrap(err, "scoring candidates"); }
    for (int i = 0; i < batch->count; i++) {
        const struct paper_candidates *list = &batch->lists[i];
        status = answer_text(evaluation, i, err);
        if (status != STATUS_OK) { return status; }
        struct span text = buffer_span(&evaluation->text);
        result->target[first + i] = list->target_at;
        result->answered[first + i] =
            paper_candidates_named(model->split, list, text, PAPER_MATCH_WHOLE);
        result->lenient[first + i] =
            paper_candidates_named(model->split, list, text, PAPER_MATCH_PUBLISHED);
        result->scored[first + i] = most_likely(evaluation->likelihoods + i * PAPER_CANDIDATES);
        status = answer_line(model->split, batch->sources[i], list, &text, result, first + i,
                             answers, err);
        if (status != STATUS_OK) { return status; }
    }
    return STATUS_OK;
}

static enum status fill_piece(struct evaluation *evaluation,
                              const struct paper_sample *const *samples, int count,
                              struct error *err) {
    const struct paper_model *model = evaluation->model;
    struct paper_showing how = {
        .hybrid = model->params != NULL, .listed = true, .seed = PAPER_LISTS_SEED};
    evaluation->batch.count = 0;
    for (int i = 0; i < count; i++) {
        uint64_t draw = hash64_pair(samples[i]->id, SALT_TEMPLATE, PAPER_LISTS_SEED);
        how.template = (int)(draw % PROMPT_EXACT_TEMPLATES);
        enum status status =
            paper_batch_add(&evaluation->batch, model->texts, samples[i], &how, err);
        if (status != STATUS_OK) { return status; }
        evaluation->continuations[i] =
            (struct lm_continuation){.ids = evaluation->ids + i * PAPER_ANSWER_TOKENS};
    }
    return paper_batch_finish(&evaluation->batch, model->sasrec, err);
}

enum status paper_evaluate(const struct paper_model *model,
                           const struct paper_sample *const *samples, int count,
                           struct progress *progress, struct paper_result *result,
                           struct buffer *answers, struct error *err) {
    int64_t began_us = clock_monotonic_us();
    struct evaluation *evaluation = MEMORY_TAKE_ARRAY(struct evaluation, 1);
    if (evaluation == NULL) { return error_set(err, STATUS_NO_MEMORY, "evaluation"); }
    evaluation->model = model;
    enum status status = paper_batch_init(&evaluation->batch, PIECE_SAMPLES, true, err);
    for (int first = 0; first < count && status == STATUS_OK; first += PIECE_SAMPLES) {
        int piece = count - first < PIECE_SAMPLES ? count - first : PIECE_SAMPLES;
        status = fill_piece(evaluation, samples + first, piece, err);
        if (status == STATUS_OK) { status = answer_batch(evaluation, first, result, answers, err); }
        progress_at(progress, first + piece, (double)NAN);
    }
    if (status == STATUS_OK) {
        progress_end(progress, count, (double)NAN);
        result->timing.evaluate_seconds = (double)(clock_monotonic_us() - began_us) / 1e6;
    }
    buffer_free(&evaluation->text);
    buffer_free(&evaluation->bytes);
    paper_batch_free(&evaluation->batch);
    memory_free(evaluation);
    return status;
}

enum status paper_evaluate_sasrec(const struct paper_split *split, struct paper_sasrec *sasrec,
                                  const struct paper_sample *const *samples, int count,
                                  struct paper_result *result, struct buffer *answers,
                                  struct error *err) {
    float state[PAPER_SASREC_WIDTH];
    int64_t began_us = clock_monotonic_us();
    for (int i = 0; i < count; i++) {
        struct paper_candidates list;
        enum status status = paper_candidates_draw(split, PAPER_LISTS_SEED, samples[i], &list, err);
        if (status == STATUS_OK) {
            status = paper_sasrec_states(sasrec, samples + i, 1, state, err);
        }
        if (status != STATUS_OK) { return status; }
        int place = paper_sasrec_choose(sasrec, state, &list, NULL);
        result->target[i] = list.target_at;
        result->answered[i] = result->lenient[i] = result->scored[i] = place;
        status = answer_line(split, samples[i], &list, NULL, result, i, answers, err);
        if (status != STATUS_OK) { return status; }
    }
    result->timing.evaluate_seconds = (double)(clock_monotonic_us() - began_us) / 1e6;
    return STATUS_OK;
}
