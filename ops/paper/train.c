/* SPDX-License-Identifier: Apache-2.0
 *
 * train.c - draws, the schedule, steps, checkpoints. */
#include "ops/paper/train.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/memory.h"
#include "base/rng.h"
#include "ops/paper/state.h"

#define PI                  3.14159265358979323846
#define WARMUP_SHARE        20    /* one step in twenty: 5 % */
#define RATE_FLOOR          0.01  /* of the rate: where warm-up starts and the cosine ends */
#define GATE_MULTIPLIER     0.3f  /* released code of iLoRA */
#define L2_PROJECTOR_GATE   1e-5f /* the same */
#define CHECKPOINT_EVERY_US 60000000
/* Streams of the counter-based generator (the epoch in the upper half), and salts of its seed. */
#define STREAM_CHOICE 0x63686f73u
#define STREAM_EPOCH  0x65706f63u
#define SALT_LOADER   0x6c6f6164u
#define SALT_LISTS    0x6c697374u
#define SALT_DROPOUT  0x64726f70u

double paper_learning_rate(double learning_rate, int64_t step, int64_t steps) {
    assert(step >= 0 && step < steps);
    const double lowest = learning_rate * RATE_FLOOR;
    int64_t warmup = steps / WARMUP_SHARE;
    if (step < warmup) { return lowest + (learning_rate - lowest) * (double)step / (double)warmup; }
    double wave = 0.5 * (1.0 + cos(PI * (double)step / (double)steps));
    return lowest + (learning_rate - lowest) * wave;
}

static void shuffle(struct rng rng, int *order, int count) {
    for (int i = count - 1; i > 0; i--) { /* Fisher & Yates */
        int other = (int)rng_below(&rng, (uint64_t)i + 1);
        int kept = order[i];
        order[i] = order[other];
        order[other] = kept;
    }
}

void paper_train_choose(int count, int limit, uint64_t seed, int *order, int *ret_count) {
    for (int i = 0; i < count; i++) {
        order[i] = i;
    }
    *ret_count = count;
    if (limit <= 0 || limit >= count) { return; }
    shuffle(rng_make(seed, STREAM_CHOICE), order, count);
    *ret_count = limit;
}

void paper_train_shuffle(const int *chosen, int count, uint64_t seed, int epoch, int *ret_order) {
    memcpy(ret_order, chosen, (size_t)count * sizeof *chosen);
    shuffle(rng_make(seed, (uint64_t)epoch << 32 | STREAM_EPOCH), ret_order, count);
}

static int64_t steps_of_epoch(const struct paper_settings *settings, int samples) {
    return (samples + settings->batch - 1) / settings->batch;
}

int64_t paper_train_steps(const struct paper_settings *settings, int sample_count) {
    int samples =
        settings->limit > 0 && settings->limit < sample_count ? settings->limit : sample_count;
    return settings->epochs * steps_of_epoch(settings, samples);
}

/* ---- one run --------------------------------------------------------------------------------- */

struct run {
    const struct paper_model *model;
    uint64_t seed;
    int *chosen; /* owns: (train.count), the first `samples` count */
    int *order;  /* owns: (samples) of `epoch` */
    int samples;
    int epoch; /* whose order it is; -1 none */
    int64_t steps;
    struct paper_batch batch;  /* owns */
    struct progress *progress; /* borrows */
    double packs;              /* of the step under way, about */
    int packs_done;
    int64_t trained; /* samples before this step */
};

/* Called between micro-batches: a step may take minutes. */
static void within_step(void *context) {
    struct run *run = context;
    run->packs_done++;
    double share = run->packs_done / (run->packs + 1.0);
    int64_t samples = (int64_t)(share < 1.0 ? share * run->batch.count : run->batch.count - 1);
    progress_at(run->progress, run->trained + samples, (double)NAN);
}

/* Micro-batches that the step will take, about: rows of its samples over rows of a pass. */
static double packs_of(const struct run *run) {
    int64_t rows = 0;
    for (int i = 0; i < run->batch.count; i++) {
        rows += run->batch.prompts[i].count + run->batch.samples[i].candidates[0].count - 1;
    }
    return (double)rows / run->model->settings->tokens;
}

/* The samples of one step, counted from 0, as they are shown. */
static enum status fill_batch(struct run *run, int64_t step, struct error *err) {
    const struct paper_model *model = run->model;
    int64_t per_epoch = steps_of_epoch(model->settings, run->samples);
    int epoch = (int)(step / per_epoch);
    int first = (int)(step % per_epoch) * model->settings->batch;
    int count = run->samples - first;
    if (count > model->settings->batch) { count = model->settings->batch; }
    if (epoch != run->epoch) {
        paper_train_shuffle(run->chosen, run->samples, run->seed, epoch, run->order);
        run->epoch = epoch;
    }

    double total = (double)run->samples * model->settings->epochs;
    struct paper_showing how = {.seed = hash64_pair(run->seed, (uint64_t)epoch, SALT_LISTS)};
    uint64_t draws = hash64_pair(run->seed, (uint64_t)step, SALT_LOADER);
    run->batch.count = 0;
    for (int i = 0; i < count; i++) {
        if (i % PAPER_LOADER_BATCH == 0) {
            double share = ((double)epoch * run->samples + first + i) / total; /* tau / T */
            struct rng rng = rng_make(draws, (uint64_t)(i / PAPER_LOADER_BATCH));
            how.template = (int)rng_below(&rng, PROMPT_EXACT_TEMPLATES);
            how.hybrid = rng_unit(&rng) < share;
        }
        const struct paper_sample *sample = &model->split->train.samples[run->order[first + i]];
        enum status status = paper_batch_add(&run->batch, model->texts, sample, &how, err);
        if (status != STATUS_OK) { return status; }
    }
    return paper_batch_finish(&run->batch, model->sasrec, err);
}

static enum status one_step(struct run *run, struct paper_result *result, struct error *err) {
    const struct paper_settings *settings = run->model->settings;
    struct lm_step_stats stats;
    enum status status = fill_batch(run, result->steps, err);
    if (status != STATUS_OK) { return status; }
    run->packs = packs_of(run);
    run->packs_done = 0;
    run->trained = result->trained;
    struct lm_step how = {.learning_rate = (float)paper_learning_rate(settings->learning_rate,
                                                                      result->steps, run->steps),
                          .multiplier = {1.0f, 1.0f, GATE_MULTIPLIER, 1.0f},
                          .beta1 = 0.9f,
                          .beta2 = 0.999f,
                          .epsilon = 1e-8f, /* torch.optim.Adam */
                          .step = result->steps + 1,
                          .dropout = (float)settings->dropout,
                          .dropout_seed = hash64_pair(run->seed, 0, SALT_DROPOUT),
                          .l2 = {0.0f, L2_PROJECTOR_GATE, L2_PROJECTOR_GATE, 0.0f},
                          .gate_batch = PAPER_LOADER_BATCH};
    status = language_model_train(run->model->lm, run->model->params, NULL, run->batch.samples,
                                  run->batch.count, &how, within_step, run, &stats, err);
    if (status != STATUS_OK) { return status; }
    if (result->steps == 0) { result->first_loss = stats.title_loss; }
    result->last_loss = stats.title_loss;
    result->steps++;
    result->trained += run->batch.count;
    result->tokens += stats.tokens;
    result->discarded += stats.discarded;
    return STATUS_OK;
}

/* Steps until the end, a checkpoint now and then and at the end. */
static enum status all_steps(struct run *run, const char *path, struct paper_result *result,
                             struct error *err) {
    const struct paper_settings *settings = run->model->settings;
    const double seconds_before = result->timing.train_seconds;
    const int64_t began_us = clock_monotonic_us();
    int64_t saved_us = began_us;
    while (result->steps < run->steps) {
        enum status status = one_step(run, result, err);
        if (status != STATUS_OK) { return error_wrap(err, "step %lld", (long long)result->steps); }
        int64_t now_us = clock_monotonic_us();
        result->timing.train_seconds = seconds_before + (double)(now_us - began_us) / 1e6;
        progress_at(run->progress, result->trained, result->last_loss);
        bool due = settings->checkpoint_steps > 0 ? result->steps % settings->checkpoint_steps == 0
                                                  : now_us - saved_us >= CHECKPOINT_EVERY_US;
        if (!due && result->steps < run->steps) { continue; }
        status = paper_checkpoint_write(path, run->model->params, result, err);
        if (status != STATUS_OK) { return status; }
        saved_us = now_us;
    }
    return STATUS_OK;
}

enum status paper_train(const struct paper_model *model, uint64_t seed, const char *path,
                        struct progress *progress, struct paper_result *result, struct error *err) {
    const int count = model->split->train.count;
    struct run run = {.model = model, .seed = seed, .epoch = -1, .progress = progress};
    run.chosen = MEMORY_TAKE_ARRAY(int, count);
    run.order = MEMORY_TAKE_ARRAY(int, count);
    enum status status = STATUS_OK;
    if (run.chosen == NULL || run.order == NULL) {
        status = error_set(err, STATUS_NO_MEMORY, "order of %d samples", count);
        goto done;
    }
    paper_train_choose(count, model->settings->limit, seed, run.chosen, &run.samples);
    run.steps = paper_train_steps(model->settings, count);
    status = paper_batch_init(&run.batch, model->settings->batch, false, err);
    if (status != STATUS_OK) { goto done; }

    status = paper_checkpoint_read(path, model->params, result, err);
    if (status != STATUS_OK && status != STATUS_NOT_FOUND) { goto done; }
    progress->first = result->trained;
    progress->total = (int64_t)run.samples * model->settings->epochs;
    status = all_steps(&run, path, result, err);
    if (status == STATUS_OK) { progress_end(progress, result->trained, result->last_loss); }
done:
    paper_batch_free(&run.batch);
    memory_free(run.chosen);
    memory_free(run.order);
    return status;
}
