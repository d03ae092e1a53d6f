/* SPDX-License-Identifier: Apache-2.0
 *
 * sasrec.c - epochs over windows, validation, the best values kept. */
#include "ops/paper/sasrec.h"

#include "base/clock.h"
#include "base/memory.h"
#include "base/rng.h"
#include "ops/paper/state.h"

#define LEARNING_RATE  1e-3f /* Kang & McAuley 2018 */
#define DROPOUT        0.3f  /* between their 0.2 (dense) and 0.5 (sparse data) */
#define BATCH_WINDOWS  128   /* theirs */
#define CLIP_NORM      5.0f
#define STATES_AT_ONCE 64
#define STREAM_ORDER   0x73617372u /* "sasr"; epoch in the upper half */
#define STREAM_CUT     0x73617363u

static struct sasrec_shape shape_of(int item_count) {
    return (struct sasrec_shape){
        .E = PAPER_SASREC_WIDTH, .blocks = 1, .S = PAPER_HISTORY_MAX, .items_max = item_count};
}

/* ---- windows --------------------------------------------------------------------------------- */

struct windows {
    struct sasrec_sequence *list; /* owns */
    int count;
};

static int windows_at_most(const struct paper_split *split) {
    int64_t count = 0;
    for (int s = 0; s < split->sequence_count; s++) {
        count += split->sequences[s].count / PAPER_HISTORY_MAX + 2;
    }
    return (int)count;
}

/* Windows of S+1 items that share one item, the first one shorter by a draw: every transition of
 * every sequence once; then shuffled (Fisher & Yates). */
static void windows_cut(struct windows *windows, const struct paper_split *split, uint64_t seed,
                        int epoch) {
    const int S = PAPER_HISTORY_MAX;
    struct rng cut = rng_make(seed, (uint64_t)epoch << 32 | STREAM_CUT);
    struct rng order = rng_make(seed, (uint64_t)epoch << 32 | STREAM_ORDER);
    windows->count = 0;
    for (int s = 0; s < split->sequence_count; s++) {
        const struct paper_sequence *sequence = &split->sequences[s];
        int begin = 0, end = 1 + (int)rng_below(&cut, (uint64_t)S);
        while (begin + 1 < sequence->count) {
            int last = end < sequence->count - 1 ? end : sequence->count - 1;
            windows->list[windows->count++] = (struct sasrec_sequence){
                .items = sequence->items + begin, .count = last - begin + 1, .weight = 1.0f};
            begin = last;
            end = last + S;
        }
    }
    for (int i = windows->count - 1; i > 0; i--) {
        int other = (int)rng_below(&order, (uint64_t)i + 1);
        struct sasrec_sequence kept = windows->list[i];
        windows->list[i] = windows->list[other];
        windows->list[other] = kept;
    }
}

/* ---- states and choice ----------------------------------------------------------------------- */

enum status paper_sasrec_states(struct paper_sasrec *sasrec,
                                const struct paper_sample *const *samples, int count,
                                float *ret_states, struct error *err) {
    struct sasrec_sequence sequences[STATES_AT_ONCE];
    for (int first = 0; first < count; first += STATES_AT_ONCE) {
        int n = count - first < STATES_AT_ONCE ? count - first : STATES_AT_ONCE;
        for (int i = 0; i < n; i++) {
            const struct paper_sample *sample = samples[first + i];
            sequences[i] =
                (struct sasrec_sequence){.items = sample->history, .count = sample->count};
        }
        enum status status = sasrec_states(sasrec->sasrec, sasrec->work, sequences, n,
                                           ret_states + (size_t)first * PAPER_SASREC_WIDTH, err);
        if (status != STATUS_OK) { return error_wrap(err, "SASRec's states"); }
    }
    return STATUS_OK;
}

int paper_sasrec_choose(const struct paper_sasrec *sasrec, const float *state,
                        const struct paper_candidates *candidates, int *ret_rank) {
    const float *vectors = sasrec_vectors(sasrec->sasrec);
    double scores[PAPER_CANDIDATES];
    int best = 0, rank = 1;
    for (int c = 0; c < PAPER_CANDIDATES; c++) {
        const float *v = vectors + (size_t)candidates->items[c] * PAPER_SASREC_WIDTH;
        scores[c] = 0.0;
        for (int e = 0; e < PAPER_SASREC_WIDTH; e++) {
            scores[c] += (double)state[e] * (double)v[e];
        }
        if (scores[c] > scores[best]) { best = c; }
    }
    for (int c = 0; c < PAPER_CANDIDATES; c++) {
        bool earlier = scores[c] == scores[candidates->target_at] && c < candidates->target_at;
        if (scores[c] > scores[candidates->target_at] || earlier) { rank++; }
    }
    if (ret_rank != NULL) { *ret_rank = rank; }
    return best;
}

/* ---- training -------------------------------------------------------------------------------- */

struct trainer {
    const struct paper_split *split;
    uint64_t seed, candidate_seed;
    struct sasrec *learning; /* owns */
    struct windows windows;
    struct paper_sasrec best; /* owns until handed out */
    int64_t step;
};

static enum status validate(struct trainer *trainer, struct paper_sasrec *model, double *ret_mrr,
                            struct error *err) {
    const struct paper_part *valid = &trainer->split->valid;
    float state[PAPER_SASREC_WIDTH];
    double sum = 0.0;
    for (int i = 0; i < valid->count; i++) {
        const struct paper_sample *sample = &valid->samples[i];
        struct paper_candidates candidates;
        int rank = 0;
        enum status status = paper_candidates_draw(trainer->split, trainer->candidate_seed, sample,
                                                   &candidates, err);
        if (status != STATUS_OK) { return status; }
        status = paper_sasrec_states(model, &sample, 1, state, err);
        if (status != STATUS_OK) { return status; }
        (void)paper_sasrec_choose(model, state, &candidates, &rank); /* the rank is wanted */
        sum += 1.0 / rank;
    }
    *ret_mrr = sum / valid->count;
    return STATUS_OK;
}

static enum status one_epoch(struct trainer *trainer, int epoch, double *ret_loss,
                             struct error *err) {
    struct sasrec_step how = {.learning_rate = LEARNING_RATE,
                              .beta1 = 0.9f,
                              .beta2 = 0.98f,
                              .epsilon = 1e-8f,
                              .clip_norm = CLIP_NORM,
                              .dropout = DROPOUT};
    double loss = 0.0;
    int64_t positions = 0;
    windows_cut(&trainer->windows, trainer->split, trainer->seed, epoch);
    for (int first = 0; first < trainer->windows.count; first += BATCH_WINDOWS) {
        int left = trainer->windows.count - first;
        struct sasrec_stats stats;
        how.step = ++trainer->step;
        enum status status =
            sasrec_train(trainer->learning, trainer->windows.list + first,
                         left < BATCH_WINDOWS ? left : BATCH_WINDOWS, &how, &stats, err);
        if (status != STATUS_OK) { return status; }
        loss += stats.loss * stats.positions;
        positions += stats.positions;
    }
    *ret_loss = positions > 0 ? loss / (double)positions : 0.0;
    return STATUS_OK;
}

/* Epochs until the validation part has not improved for PAPER_SASREC_PATIENCE of them. */
static enum status train(struct trainer *trainer, struct progress *progress, struct error *err) {
    struct paper_sasrec now = {.sasrec = trainer->learning, .work = trainer->best.work};
    double mrr = 0.0, loss = 0.0;
    int epoch = 0;
    for (; epoch < PAPER_SASREC_EPOCHS && epoch - trainer->best.epochs < PAPER_SASREC_PATIENCE;) {
        enum status status = one_epoch(trainer, epoch++, &loss, err);
        if (status != STATUS_OK) { return status; }
        (void)sasrec_vectors(trainer->learning); /* computes them for what follows */
        status = validate(trainer, &now, &mrr, err);
        if (status != STATUS_OK) { return status; }
        progress_at(progress, epoch, loss);
        if (trainer->best.epochs > 0 && mrr <= trainer->best.valid_mrr) { continue; }
        status = sasrec_copy(trainer->best.sasrec, trainer->learning, err);
        if (status != STATUS_OK) { return status; }
        trainer->best.epochs = epoch;
        trainer->best.valid_mrr = mrr;
        trainer->best.loss = loss;
    }
    progress->total = epoch; /* stopped early: done all the same */
    progress_end(progress, epoch, loss);
    return STATUS_OK;
}

enum status paper_sasrec_train(struct backend *be, const struct paper_split *split, uint64_t seed,
                               uint64_t candidate_seed, struct progress *progress,
                               struct paper_sasrec *ret_sasrec, struct error *err) {
    const int64_t began_us = clock_monotonic_us();
    struct sasrec_shape shape = shape_of(split->item_count);
    struct trainer trainer = {.split = split, .seed = seed, .candidate_seed = candidate_seed};
    trainer.windows.list = MEMORY_TAKE_ARRAY(struct sasrec_sequence, windows_at_most(split));
    enum status status = STATUS_OK;
    if (trainer.windows.list == NULL) {
        status = error_set(err, STATUS_NO_MEMORY, "windows of %d sequences", split->sequence_count);
        goto done;
    }
    status = sasrec_new(be, &shape, seed, true, &trainer.learning, err);
    if (status != STATUS_OK) { goto done; }
    status = sasrec_grow(trainer.learning, split->item_count, err);
    if (status != STATUS_OK) { goto done; }
    status = sasrec_new(be, &shape, seed, false, &trainer.best.sasrec, err);
    if (status != STATUS_OK) { goto done; }
    status = sasrec_work_new(be, &shape, false, &trainer.best.work, err);
    if (status != STATUS_OK) { goto done; }
    status = train(&trainer, progress, err);
    if (status != STATUS_OK) { goto done; }
    trainer.best.seconds = (double)(clock_monotonic_us() - began_us) / 1e6;
    *ret_sasrec = trainer.best;
    trainer.best = (struct paper_sasrec){0};
done:
    paper_sasrec_free(&trainer.best);
    sasrec_free(trainer.learning);
    memory_free(trainer.windows.list);
    return status;
}

void paper_sasrec_free(struct paper_sasrec *sasrec) {
    sasrec_free(sasrec->sasrec);
    sasrec_work_free(sasrec->work);
    *sasrec = (struct paper_sasrec){0};
}

/* ---- file ------------------------------------------------------------------------------------ */

/* What is kept beside the values: epochs, validation figure, loss. */
#define KEPT_COUNT 3

enum status paper_sasrec_write(const struct paper_sasrec *sasrec, const char *path,
                               struct error *err) {
    const double kept[KEPT_COUNT] = {(double)sasrec->epochs, sasrec->valid_mrr, sasrec->loss};
    struct tensor_list list = {0};
    for (int i = 0; i < sasrec_tensor_count(sasrec->sasrec); i++) {
        const struct sasrec_tensor *tensor = sasrec_tensor_at(sasrec->sasrec, i);
        tensor_list_add(&list, tensor->name, "", "F32", tensor->rows, tensor->cols,
                        tensor->value.data);
    }
    tensor_list_add(&list, "paper.kept", "", "F64", 1, KEPT_COUNT, kept);
    enum status status = paper_tensors_write(&list, path, err);
    tensor_list_free(&list);
    return status;
}

enum status paper_sasrec_read(struct backend *be, int item_count, const char *path,
                              struct paper_sasrec *ret_sasrec, struct error *err) {
    struct sasrec_shape shape = shape_of(item_count);
    struct paper_sasrec read = {0};
    struct safetensors *file = NULL;
    double kept[KEPT_COUNT];
    enum status status = safetensors_open(path, &file, err);
    if (status != STATUS_OK) { return status; }
    status = sasrec_new(be, &shape, 0, false, &read.sasrec, err);
    if (status != STATUS_OK) { goto done; }
    status = sasrec_grow(read.sasrec, item_count, err);
    if (status != STATUS_OK) { goto done; }
    status = sasrec_work_new(be, &shape, false, &read.work, err);
    for (int i = 0; i < sasrec_tensor_count(read.sasrec) && status == STATUS_OK; i++) {
        const struct sasrec_tensor *tensor = sasrec_tensor_at(read.sasrec, i);
        status = tensor_file_copy(file, tensor->name, "", "F32", tensor->rows, tensor->cols,
                                  tensor->value.data, err);
    }
    if (status != STATUS_OK) { goto done; }
    status = tensor_file_copy(file, "paper.kept", "", "F64", 1, KEPT_COUNT, kept, err);
    if (status != STATUS_OK) { goto done; }
    read.epochs = (int)kept[0];
    read.valid_mrr = kept[1];
    read.loss = kept[2];
    sasrec_loaded(read.sasrec, item_count);
    *ret_sasrec = read;
    read = (struct paper_sasrec){0};
done:
    paper_sasrec_free(&read);
    safetensors_close(file);
    return status == STATUS_OK ? status : error_wrap(err, "'%s'", path);
}
