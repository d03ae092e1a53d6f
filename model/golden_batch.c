/* SPDX-License-Identifier: Apache-2.0
 *
 * golden_batch.c - the batch, its figures, and the check of a version.
 *
 * Everything is a function of (base model, token ids below); the ids come from Philox with a fixed
 * seed, so that no file holds them. */
#include "model/golden_batch.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "base/rng.h"
#include "model/learner_lm.h"

#define GOLDEN_SEED       UINT64_C(0x676f6c64656e)
#define STREAM_TOKENS     1u
#define STREAM_SIGNS      2u
#define TOLERANCE_F32     1e-3
#define TOLERANCE_BF16    3e-2
#define TOLERANCE_ONE     1e-2 /* probabilities of a catalogue, added in f32 */
#define PROMPTS_A_VERSION 2

static void make_tokens(int V, int run, int32_t *ret_ids) {
    struct rng rng = rng_make(GOLDEN_SEED, STREAM_TOKENS << 8 | (uint64_t)run);
    for (int t = 0; t < GOLDEN_TOKENS; t++) {
        ret_ids[t] = (int32_t)rng_below(&rng, (uint64_t)V);
    }
}

/* Two figures of one hidden state x (C). */
static void make_figures(const float *x, int C, double *ret_figures) {
    struct rng rng = rng_make(GOLDEN_SEED, STREAM_SIGNS << 8);
    double squares = 0.0, along = 0.0;
    for (int c = 0; c < C; c++) {
        double sign = (rng_u64(&rng) & 1u) != 0 ? 1.0 : -1.0;
        squares += (double)x[c] * (double)x[c];
        along += sign * (double)x[c];
    }
    ret_figures[0] = sqrt(squares / C);
    ret_figures[1] = along / sqrt((double)C);
}

enum status golden_batch_run(struct learner *learner, struct golden_batch *ret_golden,
                             struct error *err) {
    struct title_tokens runs[GOLDEN_RUNS];
    const struct title_tokens *list[GOLDEN_RUNS];
    struct golden_batch golden;
    assert(learner->lm != NULL);

    const struct model_description *d = base_model_description(learner->lm->base);
    const size_t width = 2 * (size_t)d->C;
    float *vectors = MEMORY_TAKE_ARRAY(float, GOLDEN_RUNS *width);
    if (vectors == NULL) { return error_set(err, STATUS_NO_MEMORY, "golden batch"); }
    for (int r = 0; r < GOLDEN_RUNS; r++) {
        runs[r].count = GOLDEN_TOKENS;
        make_tokens(d->V, r, runs[r].ids);
        list[r] = &runs[r];
    }
    enum status status =
        language_model_embed_titles(learner->lm->model, list, GOLDEN_RUNS, vectors, err);
    for (int r = 0; r < GOLDEN_RUNS && status == STATUS_OK; r++) {
        const float *half = vectors + (size_t)r * width;
        make_figures(half, d->C, golden.figure + 4 * r);
        make_figures(half + d->C, d->C, golden.figure + 4 * r + 2);
    }
    memory_free(vectors);
    if (status != STATUS_OK) { return error_wrap(err, "golden batch"); }
    *ret_golden = golden;
    return STATUS_OK;
}

double golden_batch_difference(const struct golden_batch *a, const struct golden_batch *b) {
    double worst = 0.0;
    for (int i = 0; i < GOLDEN_FIGURES; i++) {
        double rms = a->figure[i - i % 2];
        double share = fabs(a->figure[i] - b->figure[i]) / rms;
        if (!isfinite(share)) { return INFINITY; }
        if (share > worst) { worst = share; }
    }
    return worst;
}

double golden_batch_tolerance(enum precision precision) {
    return precision == PRECISION_F32 ? TOLERANCE_F32 : TOLERANCE_BF16;
}

/* The probabilities of one prompt: numbers that add up to one. */
static void check_row(const float *logprobs, int M, char *ret_reason) {
    double sum = 0.0;
    for (int m = 0; m < M; m++) {
        sum += exp((double)logprobs[m]);
    }
    if (!isfinite(sum)) {
        (void)snprintf(ret_reason, GOLDEN_REASON_BYTES, "golden batch: scores are not finite");
    } else if (fabs(sum - 1.0) > TOLERANCE_ONE) {
        (void)snprintf(ret_reason, GOLDEN_REASON_BYTES,
                       "golden batch: probabilities add up to %.3g, expected 1", sum); /* fits */
    }
}

enum status golden_batch_version(struct learner *learner, char ret_reason[GOLDEN_REASON_BYTES],
                                 struct error *err) {
    struct learner_lm *lm = learner->lm;
    int M = learner->fast->items;
    ret_reason[0] = '\0';
    if (lm == NULL || M == 0 || (learner->settings.ilora.head & ILORA_HEAD_ITEM) == 0) {
        return STATUS_OK;
    }
    struct lm_sample samples[PROMPTS_A_VERSION] = {{0}};
    struct prompt *prompts = MEMORY_TAKE_ARRAY(struct prompt, PROMPTS_A_VERSION);
    float *input = MEMORY_TAKE_ARRAY(float, learner->settings.ilora.E);
    float *logprobs = MEMORY_TAKE_ARRAY(float, PROMPTS_A_VERSION *(size_t)M);
    enum status status = STATUS_OK;
    if (prompts == NULL || input == NULL || logprobs == NULL) {
        status = error_set(err, STATUS_NO_MEMORY, "golden batch of a version");
    }
    for (int p = 0; p < PROMPTS_A_VERSION && status == STATUS_OK; p++) {
        prompts[p].count = GOLDEN_TOKENS;
        make_tokens(base_model_description(lm->base)->V, p, prompts[p].tokens);
        samples[p] = (struct lm_sample){.prompt = &prompts[p], .gate_input = input, .weight = 1.0f};
    }
    if (status == STATUS_OK) {
        lm->items_lent = true; /* a step that goes on takes its own back */
        status = language_model_set_items(lm->model, sasrec_vectors(learner->fast->sasrec), M, err);
    }
    if (status == STATUS_OK) {
        status = language_model_score_items(lm->model, lm->served, false, samples,
                                            PROMPTS_A_VERSION, logprobs, err);
    }
    for (int p = 0; p < PROMPTS_A_VERSION && status == STATUS_OK; p++) {
        if (ret_reason[0] == '\0') { check_row(logprobs + (size_t)p * (size_t)M, M, ret_reason); }
    }
    memory_free(prompts);
    memory_free(input);
    memory_free(logprobs);
    return status == STATUS_OK ? STATUS_OK : error_wrap(err, "golden batch of a version");
}
