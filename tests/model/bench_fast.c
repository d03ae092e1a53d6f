/* SPDX-License-Identifier: Apache-2.0
 *
 * bench_fast.c - replays a RecBole interaction file through the learner and prints the prequential
 * figures of all cheap models, and events per second. Not a ctest: it needs a real data set.
 *
 *   bench_fast FILE.inter [key=value ...]
 *   with a language model: base=PATH titles=FILE.item lm_rate=0.05 eval_lm_rate=0.02 show=20
 *
 * MODEL.md's evaluation: stable time order; batches of 256 events; a row's history is the user's
 * items with a smaller time, so events of the same second never see each other; every row whose
 * history has three items is predicted before its batch is learned, over the whole catalogue minus
 * what the user consumed before. The known figures count 91,636 events of MovieLens 100K: their
 * script began at the batch that holds event 5,000, that is after event 4,864 (`warmup`).
 */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "tests/model/bench_stream.h"

static double option(int argc, char **argv, const char *key, double value) {
    size_t size = strlen(key);

    for (int n = 2; n < argc; n++) {
        if (strncmp(argv[n], key, size) == 0 && argv[n][size] == '=') {
            return strtod(argv[n] + size + 1, NULL);
        }
    }
    return value;
}

/* ---- run ------------------------------------------------------------------------------------- */

static struct learner_settings settings_of(int argc, char **argv, int items) {
    return (struct learner_settings){
        .seed = (uint64_t)option(argc, argv, "seed", 1),
        .fast = {.sasrec = {.E = (int)option(argc, argv, "width", 64),
                            .blocks = (int)option(argc, argv, "blocks", 2),
                            .S = (int)option(argc, argv, "history", 50),
                            .items_max = items},
                 .counters = {.items_max = items,
                              .neighbours_max = (int)option(argc, argv, "neighbours", 1024),
                              .span = (int)option(argc, argv, "span", 20),
                              .half_life = option(argc, argv, "half_life", 2000)},
                 .history_span = (int)option(argc, argv, "history_span", 10),
                 .candidates = 100,
                 .new_share = 0.1},
        .sasrec_step = {.learning_rate = (float)option(argc, argv, "learning_rate", 2e-3),
                        .beta1 = 0.9F,
                        .beta2 = 0.98F,
                        .epsilon = 1e-8F,
                        .clip_norm = (float)option(argc, argv, "clip_norm", 5),
                        .dropout = (float)option(argc, argv, "dropout", 0.2)},
        .sasrec_replay_users = option(argc, argv, "replay", 1),
        .replay_rows_max = 20000,
        .eval_candidates = 20,
        .warmup_events = (uint64_t)option(argc, argv, "warmup", 4864),
        .min_history = 3,
    };
}

static void must(enum status status, const struct error *err) {
    if (status != STATUS_OK) { bench_give_up(err->text); }
}

static double seconds(void) {
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static void print_figures(const struct learner *learner) {
    static struct eval_figure figures[FIGURES_MAX];
    int count = learner_figures(learner, figures, FIGURES_MAX);

    (void)printf("%-20s %-11s %-7s %8s %7s %7s %8s %7s %9s\n", "model", "kind", "slice", "rows",
                 "HR@1", "HR@10", "NDCG@10", "MRR", "log loss");
    for (int f = 0; f < count; f++) {
        const struct eval_figure *figure = &figures[f];
        double n = (double)figure->count;
        (void)printf("%-20s %-11s %-7s %8" PRIu64 " %7.4f %7.4f %8.4f %7.4f %9.4f\n", figure->model,
                     figure->kind, figure->slice, figure->count, figure->hit_1 / n,
                     figure->hit_10 / n, figure->ndcg_10 / n, figure->mrr / n,
                     figure->log_loss / n);
    }
}

/* Shares of the rows that the language model trains on and is evaluated on; how far to go. */
struct rates {
    double lm, eval_lm;
    int events;
    int show; /* batches between two tables; 0: only at the end */
};

/* The core marks rows by hash; so does the bench. */
static void mark(struct training_row *row, const struct rates *rates) {
    if (hash_unit(row->seq, 1, 77) < rates->lm) { row->marks |= TRAINING_LM; }
    if (hash_unit(row->seq, 2, 77) < rates->eval_lm) { row->marks |= TRAINING_EVALUATE_LM; }
}

static void print_pairs(const struct learner *learner) {
    struct eval_pair pairs[8];
    int count = learner_pairs(learner, pairs, 8);

    for (int p = 0; p < count; p++) {
        double n = (double)pairs[p].count;
        double hit = pairs[p].hit_1_sum / n, loss = pairs[p].log_loss_sum / n;
        double hit_error = sqrt((pairs[p].hit_1_square / n - hit * hit) / n);
        double loss_error = sqrt((pairs[p].log_loss_square / n - loss * loss) / n);
        (void)printf("%s - %s, %.0f rows: HR@1 of 20 %+.4f +- %.4f, log loss %+.4f +- %.4f\n",
                     pairs[p].a, pairs[p].b, n, hit, 1.96 * hit_error, loss, 1.96 * loss_error);
    }
}

static void replay(struct stream *stream, struct learner *learner, const struct rates *rates) {
    static struct training_row rows[BENCH_BATCH];
    struct batch_stats stats;
    struct error err;
    int64_t positions = 0, samples = 0, tokens = 0;
    struct rusage usage;
    int events = rates->events < stream->count ? rates->events : stream->count, batches = 0;

    stream->rows = rows;
    double begin = seconds();
    for (int first = 0; first < events; first += BENCH_BATCH) {
        int count = events - first < BENCH_BATCH ? events - first : BENCH_BATCH;
        for (int n = 0; n < count; n++) {
            bench_stream_row(stream, first + n, n, &rows[n]);
            mark(&rows[n], rates);
        }
        rows[count - 1].marks |= TRAINING_BATCH_END;
        must(learner_batch(learner, rows, count, NULL, NULL, &stats, &err), &err);
        positions += stats.sasrec.positions;
        samples += stats.lm.samples;
        tokens += stats.lm_tokens;
        if (rates->show > 0 && ++batches % rates->show == 0) {
            (void)printf("after %d events, %" PRId64 " samples, item loss %.4f, %.1f s\n",
                         first + count, samples, stats.lm.item_loss, seconds() - begin);
            print_pairs(learner);
            (void)fflush(stdout);
        }
    }
    double took = seconds() - begin;
    (void)getrusage(RUSAGE_SELF, &usage);
    print_figures(learner);
    print_pairs(learner);
    (void)printf("%d events in %.2f s: %.0f events/s; %.1f SASRec positions an event; "
                 "%" PRId64 " samples, %" PRId64 " tokens; CPU %.2f s; peak %ld MiB\n",
                 events, took, events / took, (double)positions / events, samples, tokens,
                 (double)usage.ru_utime.tv_sec + 1e-6 * (double)usage.ru_utime.tv_usec,
                 usage.ru_maxrss / 1024);
}

/* The language model's part, when base= names one. */
struct base {
    struct checkpoint *checkpoint;
    struct base_model *model;
    struct tokenizer *tokenizer;
    struct prompt_template *template;
};

static void base_open(struct base *base, struct backend *be, const char *path,
                      struct learner_settings *settings, int argc, char **argv) {
    struct error err;

    enum precision precision = backend_cpu_has_bf16() ? PRECISION_BF16 : PRECISION_F32;
    must(checkpoint_open(path, &base->checkpoint, &err), &err);
    must(base_model_load(be, base->checkpoint, precision, true, &base->model, &err), &err);
    must(tokenizer_open(base->checkpoint, &base->tokenizer, &err), &err);
    must(prompt_template_open(NULL, base->tokenizer, &base->template, &err), &err);
    settings->lm = true;
    settings->title_vectors = option(argc, argv, "title_vectors", 1) > 0;
    if (settings->title_vectors) {
        settings->fast.sasrec.title_width = 2 * base_model_description(base->model)->C;
    }
    settings->ilora = (struct ilora_shape){
        .R = 8,
        .K = (int)option(argc, argv, "experts", 4),
        .alpha = 32,
        .gate_floor = 0.05F,
        .E = settings->fast.sasrec.E,
        .projector_width = 256,
        .items_max = settings->fast.sasrec.items_max,
        .head = ILORA_HEAD_ITEM,
        .item_tokens = prompt_template_has_item_tokens(base->template) != 0,
    };
    float heads = (float)option(argc, argv, "head_multiplier", 7);
    settings->lm_step = (struct lm_step){
        .learning_rate = (float)option(argc, argv, "lm_learning_rate", 3e-4),
        .multiplier = {1, heads, 1, heads},
        .weight_decay = 0.01F,
        .beta1 = 0.9F,
        .beta2 = 0.999F,
        .epsilon = 1e-8F,
        .clip_norm = 1,
        .ema_decay = (float)option(argc, argv, "ema_decay", 0.9),
    };
    settings->lm_warmup_steps = 20;
    settings->history = 10;
    settings->micro_batch_tokens = 2048;
    settings->replay = option(argc, argv, "lm_replay", 0.25);
}

static void base_close(struct base *base) {
    prompt_template_close(base->template);
    tokenizer_close(base->tokenizer);
    base_model_free(base->model);
    checkpoint_close(base->checkpoint);
}

/* Text after key= or NULL. */
static const char *text_option(int argc, char **argv, const char *key) {
    size_t size = strlen(key);

    for (int n = 2; n < argc; n++) {
        bool found = strncmp(argv[n], key, size) == 0 && argv[n][size] == '=';
        if (found) { return argv[n] + size + 1; }
    }
    return NULL;
}

int main(int argc, char **argv) {
    struct stream stream = {0};
    struct base base = {0};
    struct backend *be = NULL;
    struct learner *learner = NULL;
    struct error err;

    if (argc < 2) { bench_give_up("usage: bench_fast FILE.inter [key=value ...]"); }
    bench_stream_open(&stream, argv[1], text_option(argc, argv, "titles"));
    must(backend_cpu_new((int)option(argc, argv, "threads", 2), &be, &err), &err);
    struct learner_settings settings = settings_of(argc, argv, stream.items);
    const char *path = text_option(argc, argv, "base");
    if (path != NULL) { base_open(&base, be, path, &settings, argc, argv); }
    const struct learner_catalogue catalogue = bench_stream_catalogue(&stream);
    must(learner_new(&settings, be, be, base.model, base.tokenizer, base.template, &catalogue,
                     &learner, &err),
         &err);
    (void)printf("%s; %d users, %d items\n", be->profile, stream.users, stream.items);
    const struct rates rates = {
        option(argc, argv, "lm_rate", 0.05), option(argc, argv, "eval_lm_rate", 0.02),
        (int)option(argc, argv, "events", stream.count), (int)option(argc, argv, "show", 0)};
    replay(&stream, learner, &rates);
    learner_free(learner);
    base_close(&base);
    be->ops->free(be);
    bench_stream_close(&stream);
    return 0;
}
