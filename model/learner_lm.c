/* SPDX-License-Identifier: Apache-2.0
 *
 * learner_lm.c - the language model's part of the learner: its objects and the titles.
 *
 * A title is tokenised and embedded once, when it arrives or changes; prompts then copy ids. After
 * a restart the ids are made again from the catalogue when they are needed, which gives
 * the same. */
#include <assert.h>
#include <inttypes.h>
#include <string.h>

#include "base/memory.h"
#include "model/learner_lm.h"

#define PROMPT_TOKENS_MIN 48  /* the words of a template and a title or two */
#define TITLES_A_BATCH    128 /* embedded in one batch: a new catalogue must not hold it up */
#define TITLES_A_CALL     64  /* titles embedded at once */
#define SEQUENCE_TOKENS   8   /* shorter prompts than this do not fill a pack */

/* Version 0 is the adapter that the operator brought, if any. */
static enum status lm_start(struct learner *learner, struct learner_lm *lm, struct error *err) {
    struct ilora_params *const all[] = {lm->params, lm->served, lm->reference};
    const struct peft_adapter *adapter = learner->settings.adapter;

    for (int p = 0; p < 3 && adapter != NULL; p++) {
        enum status status = peft_adapter_start(adapter, all[p], err);
        if (status != STATUS_OK) { return status; }
    }
    return STATUS_OK;
}

struct language_model_settings learner_lm_budget(const struct learner_settings *settings) {
    int sequences = settings->micro_batch_tokens / SEQUENCE_TOKENS;
    return (struct language_model_settings){
        .tokens_max = settings->micro_batch_tokens,
        .sequences_max = sequences > 0 ? sequences : 1,
        .items_max = settings->fast.sasrec.items_max,
        .training = true,
    };
}

static enum status lm_models(struct learner *learner, struct learner_lm *lm, struct error *err) {
    const struct learner_settings *settings = &learner->settings;
    const struct model_description *description = base_model_description(lm->base);
    uint64_t seed = hash64_pair(settings->seed, (uint64_t)LEARNER_ILORA, 0);
    const struct language_model_settings how = learner_lm_budget(settings);

    enum status status = language_model_new(lm->base, &how, &settings->ilora, &lm->model, err);
    if (status != STATUS_OK) { return status; }
    status =
        ilora_params_new(learner->be, description, &settings->ilora, seed, true, &lm->params, err);
    if (status != STATUS_OK) { return status; }
    status =
        ilora_params_new(learner->be, description, &settings->ilora, seed, false, &lm->served, err);
    if (status != STATUS_OK) { return status; }
    status = ilora_params_new(learner->be, description, &settings->ilora, seed, false,
                              &lm->reference, err);
    if (status != STATUS_OK) { return status; }
    status = lm_start(learner, lm, err);
    if (status != STATUS_OK) { return status; }
    lm->floats = ilora_params_floats(lm->params);
    lm->host = MEMORY_TAKE_ARRAY(float, lm->floats);
    if (lm->host == NULL) { return error_set(err, STATUS_NO_MEMORY, "a slab of parameters"); }
    return STATUS_OK;
}

int learner_lm_prompt_limit(const struct learner *learner) {
    const struct learner_settings *settings = &learner->settings;
    int context = base_model_description(learner->lm->base)->context;
    int limit = settings->micro_batch_tokens;

    if ((settings->ilora.head & ILORA_HEAD_TITLE) != 0) {
        limit -= (settings->title_negatives + 1) * TITLE_TOKENS_MAX;
        context -= TITLE_TOKENS_MAX;
    }
    limit = limit < context ? limit : context;
    return limit < PROMPT_TOKENS_MAX ? limit : PROMPT_TOKENS_MAX;
}

enum status learner_lm_new(struct learner *learner, struct base_model *base,
                           const struct tokenizer *tokenizer,
                           const struct prompt_template *template, struct error *err) {
    struct learner_lm *lm = MEMORY_TAKE_ARRAY(struct learner_lm, 1);
    if (lm == NULL) { return error_set(err, STATUS_NO_MEMORY, "the language model's learner"); }

    learner->lm = lm;
    lm->base = base;
    lm->tokenizer = tokenizer;
    lm->template = template;
    if (learner_lm_prompt_limit(learner) < PROMPT_TOKENS_MIN) {
        return error_set(err, STATUS_CONFIG,
                         "micro_batch_tokens %d leave %d tokens for a prompt, expected %d or more",
                         learner->settings.micro_batch_tokens, learner_lm_prompt_limit(learner),
                         PROMPT_TOKENS_MIN);
    }
    if (learner->settings.title_vectors) {
        int W = 2 * base_model_description(base)->C;
        assert(learner->settings.fast.sasrec.title_width == W);
        enum status status = title_vectors_init(&lm->titles, W, err);
        if (status != STATUS_OK) { return status; }
    }
    return lm_models(learner, lm, err);
}

void learner_lm_free(struct learner_lm *lm) {
    if (lm == NULL) { return; }
    for (int i = 0; i < lm->capacity; i++) {
        memory_free(lm->tokens[i]);
    }
    memory_free(lm->tokens);
    memory_free(lm->host);
    memory_free(lm->waiting);
    memory_free(lm->is_waiting);
    title_vectors_free(&lm->titles);
    language_model_free(lm->model);
    ilora_params_free(lm->params);
    ilora_params_free(lm->served);
    ilora_params_free(lm->reference);
    memory_free(lm);
}

struct title_vectors *learner_lm_title_vectors(struct learner *learner) {
    if (learner->lm == NULL || learner->lm->titles.W == 0) { return NULL; }
    return &learner->lm->titles;
}

/* ---- titles ---------------------------------------------------------------------------------- */

static enum status lm_reserve(struct learner_lm *lm, int items, struct error *err) {
    if (items <= lm->capacity) { return STATUS_OK; }
    int capacity = lm->capacity > 0 ? lm->capacity : 1024;
    while (capacity < items) {
        capacity *= 2;
    }
    void *tokens = memory_resize(lm->tokens, (size_t)capacity * sizeof(struct title_tokens *));
    if (tokens == NULL) { return error_set(err, STATUS_NO_MEMORY, "titles of %d items", items); }
    lm->tokens = tokens;
    uint8_t *is_waiting = memory_resize(lm->is_waiting, (size_t)capacity);
    if (is_waiting == NULL) {
        return error_set(err, STATUS_NO_MEMORY, "titles of %d items", items);
    }
    lm->is_waiting = is_waiting;
    for (int i = lm->capacity; i < capacity; i++) {
        lm->tokens[i] = NULL;
        lm->is_waiting[i] = 0;
    }
    lm->capacity = capacity;
    return STATUS_OK;
}

static enum status lm_tokenise(struct learner_lm *lm, uint32_t item, struct span title,
                               struct error *err) {
    enum status status = lm_reserve(lm, (int)item + 1, err);
    if (status != STATUS_OK) { return status; }
    if (lm->tokens[item] == NULL) {
        lm->tokens[item] = MEMORY_TAKE_ARRAY(struct title_tokens, 1);
        if (lm->tokens[item] == NULL) {
            return error_set(err, STATUS_NO_MEMORY, "title of item %u", item);
        }
    }
    lm->tokens[item]->count = 0;
    if (title.size == 0) { return STATUS_OK; }
    return prompt_title_tokens(lm->template, title, lm->tokens[item], err);
}

enum status learner_lm_title(struct learner *learner, uint32_t item,
                             const struct title_tokens **ret_tokens, struct error *err) {
    struct learner_lm *lm = learner->lm;

    if ((int64_t)item >= lm->capacity || lm->tokens[item] == NULL) {
        struct span title = {NULL, 0};
        enum status status =
            learner->catalogue.title(learner->catalogue.context, item, lm->titles_seq, &title, err);
        if (status != STATUS_OK) { return error_wrap(err, "title of item %u", item); }
        status = lm_tokenise(lm, item, title, err);
        if (status != STATUS_OK) { return error_wrap(err, "title of item %u", item); }
    }
    *ret_tokens = lm->tokens[item];
    return STATUS_OK;
}

/* Titles waiting to be embedded together. */
struct title_queue {
    struct learner *learner;
    int count;
    uint32_t item[TITLES_A_CALL];
};

static enum status give_vector(struct learner *learner, uint32_t item, const float *raw,
                               float *scratch, struct error *err) {
    title_vectors_standardise(&learner->lm->titles, raw, scratch);
    return sasrec_set_title(learner->fast->sasrec, item, scratch, err);
}

/* raw (count,W) of the queued titles: the first ones are measured, then all get their vectors. */
static enum status queue_give(struct title_queue *queue, const float *raw, float *scratch,
                              struct error *err) {
    struct learner *learner = queue->learner;
    struct title_vectors *titles = &learner->lm->titles;
    const size_t W = (size_t)titles->W;
    bool measured = false;
    enum status status = STATUS_OK;

    for (int t = 0; t < queue->count; t++) {
        if (title_vectors_add(titles, queue->item[t], raw + (size_t)t * W)) { measured = true; }
    }
    if (measured) { title_vectors_measure(titles); }
    for (int t = 0; measured && t < titles->measured && status == STATUS_OK; t++) {
        status = give_vector(learner, titles->item[t], titles->raw + (size_t)t * W, scratch, err);
    }
    for (int t = 0; t < queue->count && status == STATUS_OK; t++) {
        status = give_vector(learner, queue->item[t], raw + (size_t)t * W, scratch, err);
    }
    return status;
}

static enum status queue_embed(struct title_queue *queue, struct error *err) {
    struct learner_lm *lm = queue->learner->lm;
    const size_t W = (size_t)lm->titles.W;
    const struct title_tokens *tokens[TITLES_A_CALL];

    if (queue->count == 0) { return STATUS_OK; }
    for (int t = 0; t < queue->count; t++) {
        tokens[t] = lm->tokens[queue->item[t]];
    }
    float *raw = MEMORY_TAKE_ARRAY(float, (size_t)(queue->count + 1) * W);
    if (raw == NULL) { return error_set(err, STATUS_NO_MEMORY, "title embeddings"); }
    enum status status = language_model_embed_titles(lm->model, tokens, queue->count, raw, err);
    if (status == STATUS_OK) {
        status = queue_give(queue, raw, raw + (size_t)queue->count * W, err);
    }
    memory_free(raw);
    queue->count = 0;
    learner_beat(queue->learner);
    return status;
}

static enum status visit_change(void *context, uint32_t item, struct span title,
                                struct error *err) {
    struct learner *learner = context;

    if (item >= (uint32_t)learner->fast->items) { return STATUS_OK; } /* hidden before it began */
    enum status status = lm_tokenise(learner->lm, item, title, err);
    if (status != STATUS_OK || learner->lm->titles.W == 0) { return status; }
    if (learner->lm->tokens[item]->count == 0) {
        return sasrec_set_title(learner->fast->sasrec, item, NULL, err);
    }
    return learner_lm_wait_title(learner->lm, item, err);
}

enum status learner_lm_wait_title(struct learner_lm *lm, uint32_t item, struct error *err) {
    enum status status = lm_reserve(lm, (int)item + 1, err);
    if (status != STATUS_OK) { return status; }
    if (lm->is_waiting[item]) { return STATUS_OK; } /* embedded once, with its last title */
    if (lm->waiting_count == lm->waiting_capacity) {
        int capacity = lm->waiting_capacity > 0 ? 2 * lm->waiting_capacity : 1024;
        uint32_t *waiting = memory_resize(lm->waiting, (size_t)capacity * sizeof *waiting);
        if (waiting == NULL) { return error_set(err, STATUS_NO_MEMORY, "titles that wait"); }
        lm->waiting = waiting;
        lm->waiting_capacity = capacity;
    }
    lm->waiting[lm->waiting_count++] = item;
    lm->is_waiting[item] = 1;
    return STATUS_OK;
}

/* Embeds the first ones that wait. */
static enum status embed_waiting(struct learner *learner, struct error *err) {
    struct learner_lm *lm = learner->lm;
    int count = lm->waiting_count < TITLES_A_BATCH ? lm->waiting_count : TITLES_A_BATCH;
    struct title_queue queue = {.learner = learner};
    enum status status = STATUS_OK;

    for (int t = 0; t < count && status == STATUS_OK; t++) {
        const struct title_tokens *tokens;
        status = learner_lm_title(learner, lm->waiting[t], &tokens, err);
        if (status != STATUS_OK || tokens->count == 0) { continue; } /* the title went away again */
        queue.item[queue.count++] = lm->waiting[t];
        if (queue.count == TITLES_A_CALL) { status = queue_embed(&queue, err); }
    }
    if (status == STATUS_OK) { status = queue_embed(&queue, err); }
    if (status != STATUS_OK) { return status; }
    for (int t = 0; t < count; t++) {
        lm->is_waiting[lm->waiting[t]] = 0;
    }
    lm->waiting_count -= count;
    if (lm->waiting_count > 0) { /* without any the list may not be there yet */
        memmove(lm->waiting, lm->waiting + count, (size_t)lm->waiting_count * sizeof *lm->waiting);
    }
    return STATUS_OK;
}

enum status learner_lm_titles(struct learner *learner, uint64_t upto, struct error *err) {
    struct learner_lm *lm = learner->lm;

    enum status status = learner->catalogue.changes(learner->catalogue.context, lm->titles_seq,
                                                    upto, visit_change, learner, err);
    if (status == STATUS_OK) {
        lm->titles_seq = upto;
        status = embed_waiting(learner, err);
    }
    return status == STATUS_OK ? STATUS_OK : error_wrap(err, "titles up to row %" PRIu64, upto);
}
